"""Processes and what can happen to them: a router, publishers, a subscriber, and maybe a network between them.

Everything is on the loopback, or in network namespaces of its own. Only processes that it started are ended.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from events.through import free_port
from faults.network import Network
from faults.truth import PER_NODE, Truth
from faults.verdict import Record, Verdict, judge

PATIENCE = 60.0  # seconds; generous, for what is sure to come
TESTS = Path(__file__).resolve().parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}


def until(question: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := question()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)
    return found


class Process:
    """One process that is told and asks nothing unasked. ``within`` are words that come before the command."""

    def __init__(self, module: str, settings: dict[str, Any], errors: Path, within: Sequence[str] = ()) -> None:
        self._errors = errors.open("ab")
        self.process = subprocess.Popen(
            [*within, sys.executable, "-m", module, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=ENVIRONMENT,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        self.frozen = False

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def tell(self, **order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def hear(self, seconds: float = PATIENCE) -> dict[str, Any]:
        """Its next answer; fails if it hangs or has crashed."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"{self} does not answer: it hangs") from None
        assert line, f"{self} has ended, {self.process.wait(10)}:\n{Path(self._errors.name).read_text()[-3000:]}"
        return dict(json.loads(line))

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        self.tell(do=do, **more)
        return self.hear()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.frozen = False

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    def stop(self) -> None:
        """Ask it to close its bus and end; it must."""
        assert self.ask("stop") == {"stopped": True}
        assert self.process.wait(PATIENCE) == 0
        self.wait()

    def wait(self) -> None:
        self.process.wait(PATIENCE)
        self._reading.join(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._errors.close()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def __repr__(self) -> str:
        return f"<process {self.process.args!r:.80}>"


class Router:
    """A router in a process; always at the same endpoint."""

    def __init__(self, endpoint: str, errors: Path, within: Sequence[str] = ()) -> None:
        self.endpoint, self._errors, self._within = endpoint, errors, within
        self.start()

    def start(self) -> None:
        with self._errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*self._within, sys.executable, "-m", "faults.router", self.endpoint],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=ENVIRONMENT,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.split() == [self.endpoint], self._errors.read_text()[-3000:]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


class Rig:
    """``publishers`` processes, p0, p1, …, one router, one subscriber. ``cut`` names who stands behind a network that
    can be cut: ``p0`` and ``reader``. ``bound``: seconds, see `verdict`."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int = 1,
        publishers: int = 2,
        bound: float,
        rate: float = 100.0,
        wild: float = 0.01,
        outbox: int = 65_536,
        blindfold: bool = False,
        deaf: bool = False,
        network: Network | None = None,
    ) -> None:
        self.folder, self.bound, self.network = folder, bound, network
        self.rng = random.Random(seed)
        self.rate, self.wild, self.outbox = rate, wild, outbox
        self.aggregates = publishers * PER_NODE
        self.truth = Truth(folder / "truth", self.aggregates)
        self.cuts: list[tuple[str, float, float]] = []
        self.faults: list[str] = []
        host = "127.0.0.1" if network is None else network.hub
        self.router = Router(f"tcp/{host}:{free_port()}", folder / "router.err", self._within("router"))
        self.publishers = [self._publisher(number) for number in range(publishers)]
        self.subscriber = Process(
            "faults.subscriber",
            self._settings() | {"blindfold": blindfold, "deaf": deaf},
            folder / "subscriber.err",
            self._within("reader"),
        )
        self.runs = [each.hear()["ready"] for each in self.publishers]
        self.subscriber.hear()
        self.meet()

    def _within(self, name: str) -> Sequence[str]:
        return () if self.network is None else self.network.within(name)

    def _settings(self) -> dict[str, Any]:
        return {
            "connect": [self.router.endpoint],
            "truth": str(self.folder / "truth"),
            "aggregates": self.aggregates,
            "seed": self.rng.randrange(2**32),
        }

    def _publisher(self, number: int) -> Process:
        more = {"number": number, "rate": 0.0, "wild": self.wild, "outbox": self.outbox}
        return Process(
            "faults.publisher", self._settings() | more, self.folder / f"p{number}.err", self._within(f"p{number}")
        )

    # What is so

    def state(self) -> dict[str, Any]:
        return self.subscriber.ask("state")

    def is_whole(self) -> bool:
        """Whether every publisher's present run is heard and nothing is blind."""
        state = self.state()
        return not state["blind"] and {*self.runs} <= {*state["heard"]}

    def emit(self, count: int) -> None:
        """Have each publisher publish that many, and wait until the last was heard and the truth is cached."""
        last = [each.ask("emit", count=count) for each in self.publishers]

        def is_heard() -> bool:
            state = self.state()
            newest = state["newest"]
            return not state["behind"] and all(
                newest.get(str(each["aggregate"]), 0) >= each["version"] for each in last
            )

        until(is_heard, "new events are heard, and the truth is cached")

    def meet(self) -> None:
        """Wait until every publisher is heard and nothing is blind."""
        until(self.is_whole, f"all are heard: {self.state()}")

    @contextlib.contextmanager
    def watched(self) -> Iterator[list[Verdict]]:
        """Judge what happens inside; then all is healed, quiet and equal. The verdict is the list's only item."""
        self.cuts, self.faults, found = [], [], []
        self.subscriber.ask("begin")
        self.set(rate=self.rate)
        yield found
        self.set(rate=0, drop=0, duplicate=0, reorder=0, slow=0)
        until(lambda: not any(each.ask("stats")["outbox"] for each in self.publishers), "the outboxes are empty")
        self.meet()
        found.append(self.settle())

    def settle(self) -> Verdict:
        """Within the bound everything that was lost is noticed, and everything that a read returns is the truth."""
        deadline = time.monotonic() + self.bound
        while math.isinf((verdict := self.verdict()).noticed_at(1.0)) and time.monotonic() < deadline:
            self.run(0.05)
        until(lambda: not self.stale(), f"nothing is stale: {self.stale()}", max(deadline - time.monotonic(), 0.1))
        return verdict

    def stale(self) -> dict[str, Any]:
        return dict(self.subscriber.ask("compare")["stale"])

    def verdict(self) -> Verdict:
        self.subscriber.ask("report", to=str(self.folder / "record"))
        record = pickle.loads((self.folder / "record").read_bytes())
        assert isinstance(record, Record)
        self.record = record
        return judge(record, self.truth, self.bound, cut=self.cuts)

    # What is done

    def set(self, **how: Any) -> None:
        for each in self.publishers:
            each.ask("set", **how)

    def run(self, seconds: float) -> None:
        """Let it go on as it is: part of every fault is how long it lasts."""
        time.sleep(seconds)

    def restart_router(self, down: float) -> None:
        self.faults.append(f"router killed, down {down:.1f} s")
        self.router.kill()
        self.run(down)
        self.router.start()

    def freeze_router(self, seconds: float) -> None:
        self.faults.append(f"router frozen {seconds:.1f} s")
        self.router.freeze()
        try:
            self.run(seconds)
        finally:
            self.router.thaw()

    def freeze_publisher(self, number: int, seconds: float) -> None:
        self.faults.append(f"publisher frozen {seconds:.1f} s")
        began = time.monotonic()
        self.publishers[number].freeze()
        try:
            self.run(seconds)
        finally:
            self.publishers[number].thaw()
            self.cuts.append((f"p{number}", began, time.monotonic()))

    def crash_publisher(self, number: int, *, after: int, down: float = 0.0, rate: float | None = None) -> None:
        """Kill -9, at once (``after`` 0) or right after that many publications; then start it again."""
        self.faults.append(f"publisher crashed after {after} events, down {down:.1f} s")
        old = self.publishers[number]
        if after:
            old.tell(do="crash", count=after)
            assert old.process.wait(PATIENCE) == -signal.SIGKILL
        else:
            old.kill()
        old.wait()
        self.run(down)
        self.publishers[number] = new = self._publisher(number)
        self.runs[number] = new.hear()["ready"]
        new.ask("set", rate=self.rate if rate is None else rate)

    def cut(self, name: str, seconds: float, *, one_way: bool = False) -> None:
        """Nothing gets to or from ``name`` any more, without a word; ``one_way``: nothing gets to it."""
        assert self.network is not None
        self.faults.append(f"{name} cut off {'one way ' if one_way else ''}{seconds:.1f} s")
        began = time.monotonic()
        self.network.cut(name, one_way=one_way)
        try:
            self.run(seconds)
        finally:
            self.network.heal(name)
            self.cuts.append((name, began, time.monotonic()))

    def close(self) -> None:
        """End all; the buses close in order where nothing has failed before."""
        for process in (*self.publishers, self.subscriber):
            if process.alive and not process.frozen:
                process.stop()
        self.kill()

    def kill(self) -> None:
        for process in (*getattr(self, "publishers", ()), getattr(self, "subscriber", None)):
            if process is not None and process.alive:
                process.kill()
        self.router.kill()


@contextlib.contextmanager
def rigged(folder: Path, **how: Any) -> Iterator[Rig]:
    rig = Rig.__new__(Rig)
    try:
        rig.__init__(folder, **how)  # type: ignore[misc]  # so that what it started is ended when it fails half way
        yield rig
        rig.close()
    finally:
        if hasattr(rig, "router"):
            rig.kill()
