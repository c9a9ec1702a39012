"""Which caches answer wrongly when a change, a cancellation or a crowd comes at the wrong moment?

Every question is a script: the computation stops at a gate that the script holds, so that what overlaps what is
decided by events, never by time. "Blocked" is the one thing that events cannot tell of a foreign library: for
coroutines it means many turns of the loop without an end, for threads half a second without one; the answer
itself is then read off the *value*, so a wrong guess could only flatter a library.

    stale kept     read A computes from the old state · change, invalidate · A ends · a new read: the old value?
    old joined     read A computes from the old state · change, invalidate · read B begins · A ends: B old?
    cancel spreads A computes, B waits for the same key · A's caller is cancelled: does B get no value?
    stampede       100 reads of one cold key at once: more than one computation?
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Callable
from typing import Any

from benchmarks.harness import Report, Settings
from benchmarks.libraries import LIBRARIES, Cached, Library, reader_threads

_TURNS = 500
_DEADLINE = 20.0


class Source:
    """A source whose state changes, and a computation over it that stops, the first time, between read and answer."""

    def __init__(self, *, threads: bool, gated: bool = True) -> None:
        self.state = "old"
        self.computed = 0
        self.has_read = threading.Event()
        self.gate = threading.Event()
        self._threads = threads
        self._gated = gated
        self._opened = asyncio.Event()  # the gate, for coroutines
        self._lock = threading.Lock()

    @property
    def compute(self) -> Callable[..., Any]:
        return self._in_thread if self._threads else self._on_loop

    def open(self) -> None:
        self.gate.set()
        self._opened.set()

    def _begin(self) -> tuple[str, bool]:
        with self._lock:
            self.computed += 1
            return self.state, self._gated and self.computed == 1

    def _in_thread(self) -> str:
        read, wait = self._begin()
        self.has_read.set()
        if wait:
            self.gate.wait(_DEADLINE)
        return read

    async def _on_loop(self) -> str:
        read, wait = self._begin()
        self.has_read.set()
        if wait:
            await self._opened.wait()
        return read

    async def begun(self) -> None:
        """Until the first computation has read."""
        if self._threads:
            assert await asyncio.to_thread(self.has_read.wait, _DEADLINE)
            return
        for _ in range(_TURNS):
            if self.has_read.is_set():
                return
            await asyncio.sleep(0)
        raise AssertionError("the computation never began")

    async def blocked(self, task: asyncio.Future[Any]) -> None:
        """Until ``task`` has ended, or is taken to wait for somebody."""
        if self._threads:
            await asyncio.wait((task,), timeout=0.5)
            return
        for _ in range(_TURNS):
            if task.done():
                return
            await asyncio.sleep(0)


async def stale_kept(library: Library) -> str:
    source = Source(threads=library.threads)
    cached = library.make(source.compute)
    first = asyncio.ensure_future(cached.read())
    await source.begun()
    source.state = "new"
    await cached.invalidate()
    source.open()
    await first
    return _yes(await _value(cached.read()) == "old")


async def old_joined(library: Library) -> str:
    source = Source(threads=library.threads)
    cached = library.make(source.compute)
    first = asyncio.ensure_future(cached.read())
    await source.begun()
    source.state = "new"
    await cached.invalidate()
    second = asyncio.ensure_future(cached.read())  # begins after the change was acknowledged
    await source.blocked(second)
    source.open()
    await first
    return _yes(await _value(second) == "old")


async def cancel_spreads(library: Library) -> str:
    if library.threads:
        return "n/a"  # threads are not cancelled
    source = Source(threads=False)
    cached = library.make(source.compute)
    first = asyncio.ensure_future(cached.read())
    await source.begun()
    second = asyncio.ensure_future(cached.read())
    await source.blocked(second)
    first.cancel()
    await asyncio.wait((first,))
    await source.blocked(second)
    source.open()
    answer = await _value(second)
    if answer == "old":
        return "no"
    return "yes, and kept" if await _value(cached.read()) != "old" else "yes"


async def stampede(library: Library) -> str:
    source = Source(threads=library.threads)
    cached = library.make(source.compute)
    reads = [asyncio.ensure_future(cached.read()) for _ in range(100 if not library.threads else 20)]
    await source.begun()
    await source.blocked(asyncio.gather(*reads))
    source.open()
    await asyncio.gather(*reads)
    return _yes(source.computed > 1)


async def works(library: Library) -> bool:
    """That an ordinary invalidation works as it is used here; else the other answers would mean nothing."""
    source = Source(threads=library.threads, gated=False)
    cached: Cached = library.make(source.compute)
    before = await cached.read()
    source.state = "new"
    kept = await cached.read()
    await cached.invalidate()
    return (before, kept, await cached.read()) == ("old", "old", "new")


SCRIPTS = {
    "stale kept": stale_kept,
    "old joined": old_joined,
    "cancel spreads": cancel_spreads,
    "stampede": stampede,
}


def run(settings: Settings) -> Report:
    report = Report(
        question="Does it answer wrongly? (yes is bad)",
        columns=("cache", "version", *SCRIPTS),
        notes=[
            *(f"{each.name}: {each.how}" for each in LIBRARIES),
            "of those without a yes, only livelake knows tags or patterns: the others invalidate one key, or all",
        ],
    )
    for library in LIBRARIES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs, about how they are used
            answers = asyncio.run(_answers(library))
        report.rows.append((library.name, library.version or "", *answers))
        report.raw[library.name] = {"version": library.version, **dict(zip(SCRIPTS, answers, strict=True))}
    return report


async def _answers(library: Library) -> list[str]:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # what a library leaves behind is not asked
    with reader_threads():
        try:
            if not await works(library):
                return ["its invalidation does not work"] + [""] * (len(SCRIPTS) - 1)
        except ImportError:
            return ["not installed"] + [""] * (len(SCRIPTS) - 1)
        return [await asyncio.wait_for(script(library), _DEADLINE) for script in SCRIPTS.values()]


async def _value(read: Any) -> Any:
    """What a read brings: its value, or the name of what it raised. Never the caller's own cancellation."""
    task = asyncio.ensure_future(read)
    done, _ = await asyncio.wait((task,), timeout=_DEADLINE / 2)
    if not done:
        return "hangs"
    if task.cancelled():
        return "CancelledError"
    error = task.exception()
    return task.result() if error is None else type(error).__name__


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"
