"""Waiting for a condition that other threads make true, in any number of event loops, without polling.

The one rule: whoever changes something first changes it, then rings. Whoever waits first lies down to sleep, then
looks; so a change is either seen by that look or rung for.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Bell"]

_Sleeper = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class Bell:
    """Wakes those who wait. ``ring`` from any thread; costs one look at a list while nobody waits."""

    __slots__ = ("_lock", "_sleepers")

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the list; held for microseconds, never while foreign code runs
        self._sleepers: list[_Sleeper] = []

    def ring(self) -> None:
        """Have everyone who waits look again."""
        if not self._sleepers:
            return
        with self._lock:
            sleepers, self._sleepers = self._sleepers, []
        for loop, future in sleepers:
            with suppress(RuntimeError):  # its loop has ended, and the waiter with it
                loop.call_soon_threadsafe(_wake, future)

    async def wait(self, until: Callable[[], bool], timeout: float = math.inf) -> bool:
        """Whether ``until()`` came true within ``timeout`` seconds; what it raises is raised. Cancellable."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            sleeper: _Sleeper = (loop, loop.create_future())
            with self._lock:
                self._sleepers.append(sleeper)
            try:
                if until():
                    return True
                left = deadline - loop.time()
                if left <= 0:
                    return False
                await asyncio.wait([sleeper[1]], timeout=None if math.isinf(left) else left)
            finally:
                with self._lock, suppress(ValueError):
                    self._sleepers.remove(sleeper)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
