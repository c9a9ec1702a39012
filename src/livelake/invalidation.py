"""`CacheInvalidator`: what a bus tells is applied to a cache. Joins cache and events; needs no engine.

Every signal has a key: an event its own, a change or a doubt the expression that it covers. Applying it makes
stale what depends on anything that the key may mean, in the thread that heard of it, before the publisher goes on.
So doubt about one source drops what depends on that source, and nothing that a snapshot can vouch for (I4).
"""

from __future__ import annotations

from typing import Self

from livelake.cache import AnalyticsCache
from livelake.errors import ClosedError
from livelake.events import Bus, Signal, Subscription
from livelake.keys import KeyExpr


class CacheInvalidator:
    """Applies every signal under ``scope`` to the cache between `start` and `stop`, or inside ``async with``.

    One that was stopped, or whose bus was closed, has made stale all that depended on ``scope``: from then on
    nobody would hear of a change.
    """

    def __init__(self, cache: AnalyticsCache, bus: Bus, *, scope: str = "events/**") -> None:
        self._cache = cache
        self._bus = bus
        self._scope = KeyExpr(scope)
        self._subscription: Subscription | None = None
        self.dropped = 0
        """How many entries it has made stale."""

    def start(self) -> None:
        """Listen from now on. What was cached before is in doubt: it may have missed a change (I2)."""
        if self._subscription is not None:
            raise ClosedError("this invalidator has been started already; make another one")
        self._subscription = self._bus.subscribe(self._scope, self._hear)
        self._cache.apply(self._scope)

    def stop(self) -> None:
        """Listen no more. Stopping twice is fine."""
        if self._subscription is not None and not self._subscription.closed:
            self._subscription.close()
            self._cache.apply(self._scope)

    def _hear(self, signal: Signal) -> None:
        self.dropped += self._cache.apply(signal.key)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.stop()
