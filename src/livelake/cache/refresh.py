"""The refresher: keeps watched things true. Engine-free, over callables.

For each watched thing one task: load it, publish it, sleep until it may have changed, again. While a load runs,
any number of changes become one more round; a change is never missed, because the mark is taken off before the
load begins and the load attaches itself to what it read. A load that fails is tried again after pauses that grow.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

log = logging.getLogger("livelake.cache")

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """What a load brings. ``again_in``: seconds after which time alone makes it untrue, None if never."""

    value: T
    again_in: float | None
    release: Callable[[], None]
    """Detach the mark from what was read; called once, when a newer load has landed or nobody watches."""


Touch = Callable[[], None]
Load = Callable[[Touch], Awaitable[Loaded[T]]]


class Refresher:
    """Owns the tasks of all watched things of one event loop. At most ``workers`` loads run at once."""

    def __init__(self, workers: int = 8) -> None:
        self._turns = asyncio.Semaphore(workers)
        self._tasks: set[asyncio.Task[None]] = set()
        self.rounds = 0
        self.failures = 0

    def watch(
        self,
        load: Load[T],
        publish: Callable[[T], None],
        fail: Callable[[Exception], None],
        *,
        overtaken: Callable[[], Exception] | None = None,
        release: Callable[[Touch], None] | None = None,
    ) -> Watched[T]:
        """Begin to keep one thing true. ``publish`` and ``fail`` are called on this loop, in order.

        A load that failed is tried again after a pause, or at once when it is touched. ``release`` is called with the
        mark at the end, to detach it from what failed.

        With ``overtaken`` it is loaded once only: when it is true no longer, ``fail(overtaken())`` says so.
        """
        watched = Watched(self, load, publish, fail, overtaken, release)
        task = asyncio.get_running_loop().create_task(watched.run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        watched.task = task
        return watched

    async def close(self) -> None:
        """Cancel everything and wait for it. Closing twice is fine."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Watched(Generic[T]):
    """One thing that is kept true. `touch` may be called from any thread."""

    def __init__(
        self,
        refresher: Refresher,
        load: Load[T],
        publish: Callable[[T], None],
        fail: Callable[[Exception], None],
        overtaken: Callable[[], Exception] | None,
        release: Callable[[Touch], None] | None,
    ) -> None:
        self.task: asyncio.Task[None] | None = None
        self._refresher = refresher
        self._load = load
        self._publish = publish
        self._fail = fail
        self._overtaken = overtaken
        self._release = release
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def touch(self) -> None:
        """It may have changed."""
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody watches any more
            self._loop.call_soon_threadsafe(self._changed.set)

    async def run(self) -> None:
        """The rounds, until cancelled."""
        held: Loaded[T] | None = None
        failed = 0
        try:
            while True:
                self._changed.clear()  # before reading: what changes from now on makes another round
                try:
                    async with self._refresher._turns:
                        self._refresher.rounds += 1
                        loaded = await self._load(self.touch)
                except Exception as error:
                    failed += 1
                    self._refresher.failures += 1
                    self._fail(error)
                    pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (failed - 1))
                    await self._sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311
                    continue
                failed = 0
                if held is not None:
                    held.release()
                held = loaded
                self._publish(loaded.value)
                await self._sleep(loaded.again_in)
                if self._overtaken is not None:
                    self._fail(self._overtaken())
                    return
        finally:
            if held is not None:
                held.release()
            if self._release is not None:
                self._release(self.touch)

    async def _sleep(self, seconds: float | None) -> None:
        # Not `wait_for`: Python 3.11's swallows a cancellation that meets the change, and `close` would hang.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def close(self) -> None:
        """Stop; what is being loaded is cancelled. Closing twice is fine."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
