"""What does the bus add to bare Zenoh, and how fast is it without a wire?

* **In process**: `LocalBus.publish_nowait` with one handler, and with an invalidator that makes one of 10,000 entries
  stale; median of single calls.
* **Second session**: two sessions of this process, linked by a Unix socket. From before ``publish`` to the moment
  when the entry (one hit among 10,000 dependencies) is stale in the cache behind the other session, against a bare
  ``put`` into an indirect Zenoh callback of the other session.
* **Router**: the same through a router in another process, both ways over loopback TCP.
* **Rate**: another process puts numbered events, one hit each among 100,000 dependencies, by the bus's own writer;
  events made stale a second, against a bare subscriber with an empty Python callback that hears the same puts. (With
  ``silence=10``: a wire that is full delays heartbeats by more than the default, and the doubt would drop the rest.)

All bare sessions are opened with the bus's own configuration.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from time import perf_counter_ns
from typing import Any

from benchmarks.harness import ROOT, Bar, Report, Settings, duration
from livelake import AnalyticsCache, CacheInvalidator, Event, LocalBus, ZenohBus
from livelake.events import Bus
from livelake.events.zenoh_config import session_config

PATIENCE = 30.0
_VALUE = object()


def run(settings: Settings) -> Report:
    report = Report(
        question="What does the bus add to bare Zenoh?",
        columns=("question", "livelake", "bare Zenoh", "ratio", "rounds"),
    )
    asyncio.run(_answer(report, settings))
    return report


async def _answer(report: Report, settings: Settings) -> None:
    await _in_process(report, settings)
    with tempfile.TemporaryDirectory(prefix="livelake-") as folder:
        socket = f"unixsock-stream/{folder}/bus"
        await _latency(report, settings, "second session", socket, socket, bars=True)
    with _Router() as router:
        await _latency(report, settings, "across a router", router.endpoint, None, bars=False)
        await _rate(report, settings, router.endpoint)


# In process


async def _in_process(report: Report, settings: Settings) -> None:
    count = 200 if settings.quick else 5_000
    for name, bus in (("LocalBus", LocalBus()), ("ZenohBus, embedded", ZenohBus())):
        async with bus:
            with bus.subscribe("events/**", lambda _signal: None):
                handler = await _publishing(bus, count, settings)
            async with _Behind(bus, 10_000) as behind:
                invalidating = await _publishing(bus, count, settings, behind)
        for what, rounds in (("one handler", handler), ("an invalidator", invalidating)):
            shown = f"{duration(min(rounds))}–{duration(max(rounds))}"
            report.rows.append((f"{name}, {what}, p50", duration(statistics.median(rounds)), "", "", shown))
            report.raw[f"{name}, {what}"] = rounds
        if name == "LocalBus":
            report.bars.append(Bar("LocalBus, one handler, p50, µs", statistics.median(handler) / 1e3, 10))


async def _publishing(bus: Bus, count: int, settings: Settings, behind: _Behind | None = None) -> list[float]:
    """The median of single calls, a number a round."""
    medians = []
    for _ in range(settings.rounds):
        spent = []
        for number in range(count):
            event = Event(aggregate_type="Order", aggregate_id=str(number), event_type="Paid")
            began = perf_counter_ns()
            bus.publish_nowait(event)
            spent.append(perf_counter_ns() - began)
        medians.append(statistics.median(spent))
        if behind is not None:
            behind.refill(count)
    return medians


class _Behind:
    """A cache behind a bus, with ``size`` entries that depend on one aggregate each."""

    def __init__(self, bus: Bus, size: int) -> None:
        self.cache = AnalyticsCache(2 * size, time_to_live=None, time_to_idle=None)
        self.invalidator = CacheInvalidator(self.cache, bus)
        self._size = size

    def refill(self, count: int | None = None) -> None:
        for number in range(self._size if count is None else count):
            self.insert(number)

    def insert(self, number: int) -> None:
        self.cache.insert(number, _VALUE, depends_on=f"events/Order/{number}/**")

    async def __aenter__(self) -> _Behind:
        await self.invalidator.__aenter__()
        self.refill()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.invalidator.__aexit__()


# Latency


async def _latency(
    report: Report, settings: Settings, name: str, connect: str, listen: str | None, *, bars: bool
) -> None:
    count = 20 if settings.quick else 300
    ours, bare = [], []
    async with AsyncExitStack() as stack:
        stale = threading.Event()
        far = await stack.enter_async_context(ZenohBus(listen=[listen]) if listen else ZenohBus([connect]))
        near = await stack.enter_async_context(ZenohBus([connect]))
        behind = await stack.enter_async_context(_Behind(far, 10_000))
        far_side = stack.enter_context(_bare(listen=f"{listen}-bare") if listen else _bare(connect))
        near_side = stack.enter_context(_bare(f"{listen}-bare" if listen else connect))
        await _acquainted(near, far)
        heard = threading.Event()
        at = 0

        def hear(_sample: object) -> None:
            nonlocal at
            at = perf_counter_ns()
            heard.set()

        far_side.declare_subscriber("bare/**", hear)
        await _first_heard(lambda: near_side.put("bare/x", b""), heard)
        for _ in range(settings.rounds):
            spent = []
            for number in range(count):
                heard.clear()
                began = perf_counter_ns()
                near_side.put(f"bare/Order/{number}/1", b"x" * 100)
                assert heard.wait(PATIENCE)
                spent.append(at - began)
                time.sleep(0.0005)  # one at a time, as a dashboard's writes come
            bare.append(statistics.median(spent))
            ours.append(statistics.median([_stale_after(near, behind, number, stale) for number in range(count)]))
    _add(report, f"{name}: publish → stale, p50", ours, bare)
    if bars:
        ratio = statistics.median([a / b for a, b in zip(ours, bare, strict=True)])
        report.bars.append(Bar(f"{name} / bare put into an indirect callback", ratio, 3))
        report.bars.append(Bar(f"{name}, p50, µs", statistics.median(ours) / 1e3, 100))


def _stale_after(near: ZenohBus, behind: _Behind, number: int, stale: threading.Event) -> float:
    """Nanoseconds from the call of publish to the entry being stale at the other bus."""
    behind.insert(number)  # again: a doubt may have dropped it
    slot = behind.cache.peek(number)
    assert slot is not None, "the far bus is blind"
    at = 0

    def mark() -> None:
        nonlocal at
        at = perf_counter_ns()
        stale.set()

    stale.clear()
    with behind.cache._registry.lock:
        behind.cache._registry.index.single_out(slot)
        slot.watchers += (mark,)
    event = Event(aggregate_type="Order", aggregate_id=str(number), event_type="Paid", payload={"amount": 12})
    began = perf_counter_ns()
    near.publish_nowait(event)
    assert stale.wait(PATIENCE)
    time.sleep(0.0005)
    return at - began


def _bare(connect: str | None = None, *, listen: str | None = None) -> Any:
    """A bare session with the bus's settings."""
    import zenoh

    to, at = [connect] if connect else [], [listen] if listen else []
    config = session_config(to, at, None, lease=1.0, timeout=5.0, credentials=None)
    return zenoh.open(zenoh.Config.from_json5(json.dumps(config)))


async def _acquainted(*buses: ZenohBus) -> None:
    """Wait until each has heard the others' first heartbeat."""
    async with asyncio.timeout(PATIENCE):
        while any(not bus.stats().sources or bus.blind() for bus in buses):
            await asyncio.sleep(0.01)


async def _first_heard(put: Callable[[], None], heard: threading.Event) -> None:
    async with asyncio.timeout(PATIENCE):
        while not heard.is_set():
            put()
            await asyncio.sleep(0.01)


# Rate


async def _rate(report: Report, settings: Settings, endpoint: str) -> None:
    count = 2_000 if settings.quick else 50_000
    ours, bare, caught = [], [], []
    async with ZenohBus([endpoint], silence=10.0) as bus, _Behind(bus, 100_000) as behind:
        for _ in range(min(settings.rounds, 7)):
            bare.append(await _bare_rate(endpoint, count))
            before, dropped = bus.stats().received, behind.invalidator.dropped
            with _publisher(endpoint, "Order", count):
                async with asyncio.timeout(PATIENCE):
                    while bus.stats().received == before:
                        await asyncio.sleep(0.0005)
                    began = perf_counter_ns()
                    while behind.cache.get(count - 1) is not None or bus.stats().inbox:
                        await asyncio.sleep(0.001)
                ours.append((perf_counter_ns() - began) / count)
                caught.append(behind.invalidator.dropped - dropped)
            behind.refill()
        flushes = bus.stats().flushes
    report.notes.append(f"rate: entries made stale a round {caught}; doubts on the way: {dict(flushes)}")
    ratio = statistics.median([b / a for a, b in zip(ours, bare, strict=True)])
    rates = [f"{1e9 / statistics.median(each):,.0f}/s" for each in (ours, bare)]
    report.rows.append(("events from another process", *rates, f"{ratio:.2f}", ""))
    report.raw["rate, ns an event"] = {"livelake": ours, "bare": bare}
    report.bars.append(Bar("bare rate / 4 ÷ our rate (1 is a quarter)", 0.25 / ratio, 1))


async def _bare_rate(endpoint: str, count: int) -> float:
    """Nanoseconds an event at a subscriber whose callback only counts."""
    arrived = threading.Event()
    seen = first = last = 0

    def empty(_sample: object) -> None:
        nonlocal seen, first, last
        seen += 1
        if seen == 1:
            first = perf_counter_ns()
        elif seen == count:
            last = perf_counter_ns()
            arrived.set()

    with _bare(endpoint) as session:
        subscriber = session.declare_subscriber("events/Bare/**", empty)
        with _publisher(endpoint, "Bare", count):
            assert await asyncio.to_thread(arrived.wait, PATIENCE), f"only {seen} of {count} arrived"
        subscriber.undeclare()
    return (last - first) / count


@contextmanager
def _publisher(endpoint: str, kind: str, count: int) -> Iterator[None]:
    """The process that puts; it stays until all has arrived, for what is on its way goes with a session."""
    command = [sys.executable, "-m", "benchmarks.bus", endpoint, kind, str(count)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        yield
    finally:
        process.stdin.close()
        process.wait(PATIENCE)


async def publish(endpoint: str, kind: str, count: int) -> None:
    """In the child: everything is numbered and encoded beforehand, then leaves at full speed."""
    from livelake.events import frames
    from livelake.events.codec import encode
    from livelake.events.outbound import Outbound, Parcel
    from livelake.events.zenoh_session import open_session

    config = session_config([endpoint], (), None, lease=1.0, timeout=5.0, credentials=None)
    session = await open_session(config, endpoint, 5.0)
    tagger = frames.Tagger(f"bench{time.time_ns():x}", time.time_ns() // 1_000_000 << 20)
    out = Outbound(tagger, session.put, heartbeat=0.1, most_items=count + 10, at_exit=session.close, numbered=dict)
    session.announce(f"livelake/source/{tagger.node}/{tagger.epoch:x}")
    out.start()
    await asyncio.sleep(0.3)  # a few heartbeats: the others know it
    parcels = []
    for number in range(count):
        event = Event(aggregate_type=kind, aggregate_id=str(number), event_type="Paid", sequence=1)
        parcels.append(Parcel(event.key, encode(event), tagger.tag(number + 1), kind, number + 1))
    for parcel in parcels:
        out.box.put(parcel, len(parcel.payload), force=True)
    await asyncio.to_thread(sys.stdin.read)
    out.stop(PATIENCE)
    session.retract()
    session.close()


class _Router:
    def __enter__(self) -> _Router:
        command = [sys.executable, "-m", "livelake", "router", "--listen", "tcp/127.0.0.1:0"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.endpoint = next(word.strip(",.") for word in line.split() if word.startswith("tcp/"))
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)


def _add(report: Report, name: str, ours: list[float], bare: list[float]) -> None:
    ratio = statistics.median([a / b for a, b in zip(ours, bare, strict=True)])
    shown = f"{min(a / b for a, b in zip(ours, bare, strict=True)):.1f}–"
    shown += f"{max(a / b for a, b in zip(ours, bare, strict=True)):.1f}"
    medians = duration(statistics.median(ours)), duration(statistics.median(bare))
    report.rows.append((name, *medians, f"{ratio:.2f}", shown))
    report.raw[name] = {"livelake_ns": ours, "bare_ns": bare}


if __name__ == "__main__":
    asyncio.run(publish(sys.argv[1], sys.argv[2], int(sys.argv[3])))
