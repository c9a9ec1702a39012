"""`CacheInvalidator`: what a bus tells is applied to a cache. Joins cache and events; needs no engine.

Every signal has a key: an event its own, a change or a doubt the expression that it covers. Applying it makes
stale what depends on anything that the key may mean, in the thread that heard of it, before the publisher goes on.
So doubt about one source drops what depends on that source, and nothing that a snapshot can vouch for (I4). What the
bus is blind to, the cache does not keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

from livelake.cache import AnalyticsCache
from livelake.errors import ClosedError
from livelake.events import Bus, Signal, Subscription
from livelake.keys import KeyExpr


class CacheInvalidator:
    """Applies every signal under ``scope``, an expression or several, to the cache between `start` and `stop`, or
    inside ``async with``.

    One that was stopped, or whose bus was closed, has made stale all that depended on its scope: from then on
    nobody would hear of a change.
    """

    def __init__(self, cache: AnalyticsCache, bus: Bus, *, scope: str | Iterable[str] = "events/**") -> None:
        self._cache = cache
        self._bus = bus
        self._scopes = tuple(KeyExpr(each) for each in ([scope] if isinstance(scope, str) else scope))
        self._subscriptions: list[Subscription] | None = None
        self._see_again: Callable[[], None] | None = None
        self.dropped = 0
        """How many entries it has made stale."""

    def start(self) -> None:
        """Listen from now on. What was cached before is in doubt: it may have missed a change (I2)."""
        if self._subscriptions is not None:
            raise ClosedError("this invalidator has been started already; make another one")
        self._see_again = self._cache.add_blindness(self._blind)
        self._subscriptions = [self._bus.subscribe(scope, self._hear) for scope in self._scopes]
        self._apply_all()

    def stop(self) -> None:
        """Listen no more. Stopping twice is fine."""
        open_ones = [each for each in self._subscriptions or () if not each.closed]
        for each in open_ones:
            each.close()
        if open_ones:
            self._apply_all()
        if self._see_again is not None:
            self._see_again()
            self._see_again = None

    def _apply_all(self) -> None:
        for scope in self._scopes:
            self._cache.apply(scope)

    def _hear(self, signal: Signal) -> None:
        self.dropped += self._cache.apply(signal.key)

    def _blind(self) -> tuple[KeyExpr, ...]:
        """What the bus cannot vouch for, as far as it is looked after here."""
        return tuple(
            each if scope.includes(each) else scope
            for each in self._bus.blind()
            for scope in self._scopes
            if scope.intersects(each)
        )

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.stop()
