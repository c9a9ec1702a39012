"""Proactive refresh: chosen answers are computed again as soon as a change touches them (the seed's pattern 3).

Each key that is kept has one task of the `Refresher`: at most ``workers`` computations run at once, a burst of
changes is one round, the last change is never missed, and a failing computation pauses with jitter while the last
good answer stays, known to be stale. What nobody reads is dropped, not refreshed: after ``demand`` seconds without a
read the next change ends the task and leaves the key to be computed when it is asked for.

A round is an ordinary flight of the cache: readers join it, and an older result never replaces a newer one (I8).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Self, Unpack

from livelake.cache.analytics_cache import AnalyticsCache
from livelake.cache.callables import plain
from livelake.cache.dependencies import key_exprs
from livelake.cache.policy import Policy
from livelake.cache.refresh import Loaded, Refresher, Touch, Watched
from livelake.cache.slot import Slot
from livelake.clock import SYSTEM, Clock
from livelake.errors import ClosedError

log = logging.getLogger("livelake.cache")


class _Unwanted(Exception):  # noqa: N818 - not an error: how a task that nobody needs ends
    pass


class ProactiveRefresh:
    """Keeps chosen keys of a cache warm. Belongs to the event loop that made it; ``async with`` closes it."""

    def __init__(
        self, cache: AnalyticsCache, *, workers: int = 4, demand: float = 300.0, clock: Clock = SYSTEM
    ) -> None:
        self._cache = cache
        self._demand = demand
        self._monotonic = clock.monotonic
        self._refresher = Refresher(workers)
        self._kept: dict[Hashable, Watched[Any]] = {}
        self._closed = False

    def keep(
        self,
        key: Hashable,
        compute: Callable[[], Any],
        *,
        depends_on: str | Iterable[str],
        **policy: Unpack[Policy],
    ) -> None:
        """Compute ``key`` now, and again after every change under ``depends_on``, as long as somebody reads it.

        Keeping a key that is kept already changes nothing. Raises `KeyExprError` for a bad dependency.
        """
        if self._closed:
            raise ClosedError("this refresh has been closed; make another one")
        keys = key_exprs(depends_on)
        if key in self._kept:
            return
        wanted_at = self._monotonic()
        slot: Slot[Any] | None = None

        async def load(touch: Touch) -> Loaded[Any]:
            nonlocal slot, wanted_at
            if slot is not None and slot.read_at > slot.landed_at:
                wanted_at = max(wanted_at, slot.read_at)
            if self._monotonic() - wanted_at >= self._demand:
                raise _Unwanted
            read = await self._cache.fetch(key, plain(compute), depends_on=keys, watcher=touch, **policy)
            slot = read.slot
            held = read.slot
            lasts = held.fresh_until - self._monotonic()
            again_in = max(0.0, lasts) if -math.inf < lasts < math.inf else None
            return Loaded(held.value, again_in, lambda: self._cache.unwatch(held, touch))

        def fail(error: Exception) -> None:
            if isinstance(error, _Unwanted):
                self.forget(key)
            else:
                log.warning("refreshing %r failed and will be tried again: %s", key, error)

        self._kept[key] = self._refresher.watch(
            load, lambda _value: None, fail, release=lambda touch: self._cache.unwatch(None, touch)
        )

    def forget(self, key: Hashable) -> bool:
        """Refresh ``key`` no more; True if it was kept. Its present answer stays as long as it is right."""
        watched = self._kept.pop(key, None)
        if watched is None:
            return False
        if watched.task is not None and watched.task is not asyncio.current_task():
            watched.task.cancel()
        elif watched.task is not None:
            asyncio.get_running_loop().call_soon(watched.task.cancel)
        return True

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    async def close(self) -> None:
        """Cancel and await every refresh. Closing twice is fine."""
        self._closed = True
        self._kept.clear()
        await self._refresher.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()
