"""A flight: one computation under way, and everyone who waits for it.

Waiters may sit on any event loop. Each waits on a future of its own, so that one who is cancelled leaves
alone. The outcome is read from the flight; the futures only say "now".

All fields change under the lock of the cache; delivery happens outside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from livelake.cache.slot import Slot
from livelake.keys import KeyExpr

if TYPE_CHECKING:
    from livelake.cache.analytics_cache import AnalyticsCache

V = TypeVar("V")
Waiter = asyncio.Future[None]


class Flight(Generic[V]):
    """What a computation is given, and what its waiters share."""

    __slots__ = (
        "_cache",
        "after",
        "begun",
        "done",
        "error",
        "keep",
        "loop",
        "lost",
        "reading",
        "slot",
        "task",
        "waiters",
    )

    def __init__(self, cache: AnalyticsCache, slot: Slot[V], loop: asyncio.AbstractEventLoop) -> None:
        self._cache = cache
        self.slot = slot
        self.loop = loop
        self.task: asyncio.Task[None] | None = None
        self.after: Flight[V] | None = None  # a forced-fresh flight begins when the one before it has ended
        self.waiters: dict[Waiter, asyncio.AbstractEventLoop] = {}
        self.begun = False  # until the computation is called, every change will be seen by it
        self.reading = True  # until it has pinned (where it does), changes with a version cannot fence it
        self.keep = True
        self.done = False
        self.lost = False  # ended without an outcome: whoever still waits leads again
        self.error: BaseException | None = None

    def pin(
        self,
        versions: Mapping[str, int],
        depends_on: Iterable[KeyExpr] | None = None,
        *,
        valid_until: float | None = None,
        keep: bool = True,
    ) -> bool:
        """Say what the computation has begun to read; returns False if a change has already overtaken it.

        ``versions`` maps each source to the version that is read; ``depends_on`` narrows the provisional
        dependencies to the real ones; ``valid_until`` (wall clock, seconds) bounds the answer in time;
        ``keep=False`` shares the answer with those who wait and keeps it for nobody else. To be called in
        the transaction that reads, once, from any thread.
        """
        return self._cache._pin(self, versions, depends_on, valid_until, keep)

    def take_waiters(self) -> list[tuple[Waiter, asyncio.AbstractEventLoop]]:
        waiters = list(self.waiters.items())
        self.waiters.clear()
        return waiters


Run = Callable[[Flight[V]], Awaitable[V]]


def deliver(waiters: Iterable[tuple[Waiter, asyncio.AbstractEventLoop]]) -> None:
    """Wake each waiter on its own loop. A loop that has closed meanwhile has nobody left to wake."""
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    for waiter, loop in waiters:
        if loop is here:
            _wake(waiter)
        else:
            try:
                loop.call_soon_threadsafe(_wake, waiter)
            except RuntimeError:
                continue


def _wake(waiter: Waiter) -> None:
    if not waiter.done():
        waiter.set_result(None)
