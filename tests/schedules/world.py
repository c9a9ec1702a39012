"""A small world around the cache, for searches over interleavings.

There is one truth per table, a number that commits increase. A computation takes several steps and reads the
truth at one of them. A commit changes the truth, and is acknowledged some steps later, when `apply` has
returned. What must hold, whatever the schedule:

    I1  a read that begins after an acknowledgement returns at least that truth
    I3  no two computations of one key run at once that began in the same state of the data
    I8  what one reader sees of a key never goes back
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import detangle

from livelake.cache import AnalyticsCache, Flight
from livelake.keys import KeyExpr
from livelake.testing import ManualClock

EVENT = "events/T/1/1"
TABLE = "lake/sales/main/orders"


class Failed(Exception):
    """What a computation raises when it is told to."""


class World:
    """See the module. ``versioned``: changes carry a version, and computations pin what they read."""

    def __init__(self, *, versioned: bool = False, **settings: Any) -> None:
        settings = {
            "time_to_live": None,
            "time_to_idle": None,
            "grace": 0.01,
            "clock": ManualClock(),
            **settings,
        }
        self.cache = AnalyticsCache(100, **settings)
        self.versioned = versioned
        self.truth = 0
        self.acknowledged = 0
        self.computations = 0
        self.running: Counter[tuple[str, int]] = Counter()
        self.interrupted = 0

    async def compute(self, flight: Flight[int], key: str, *, fail: bool = False) -> int:
        state = (key, self.acknowledged)
        self.running[state] += 1
        self.computations += 1
        assert self.running[state] == 1, f"I3: two computations of {key} in one state of the data"
        try:
            await asyncio.sleep(0)
            value = self.truth
            if self.versioned:
                flight.pin({"sales": value}, [KeyExpr(TABLE)])
            await asyncio.sleep(0)
            if fail:
                raise Failed
            await asyncio.sleep(0)
            return value
        except asyncio.CancelledError:
            self.interrupted += 1
            raise
        finally:
            self.running[state] -= 1

    async def read(self, key: str = "k", *, fail: bool = False, fresh: bool = False) -> int:
        floor = self.truth if fresh else self.acknowledged
        read = await self.cache.fetch(
            key,
            lambda flight: self.compute(flight, key, fail=fail),
            depends_on=frozenset({KeyExpr("lake/**" if self.versioned else "events/T/**")}),
            pins=self.versioned,
            fresh=fresh,
        )
        assert read.value >= floor, f"I1: {read.value} was read after {floor} had been acknowledged"
        return read.value

    async def commit(self) -> None:
        self.truth += 1
        version = self.truth
        await asyncio.sleep(0)
        if self.versioned:
            self.cache.apply(TABLE, source="sales", version=version)
        else:
            self.cache.apply(EVENT)
        self.acknowledged = max(self.acknowledged, version)

    async def reader(self, times: int = 2, **how: Any) -> None:
        last = 0
        for _ in range(times):
            value = await self.read(**how)
            assert value >= last, f"I8: {value} after {last}"
            last = value

    async def writer(self, times: int = 2) -> None:
        for _ in range(times):
            await self.commit()

    async def impatient(self, work: Callable[[], Awaitable[Any]]) -> None:
        """Do it, cancelled at an await that the schedule chooses (or not at all)."""
        with contextlib.suppress(TimeoutError):
            await detangle.maybe_timeout(work(), points=6)

    async def settle(self) -> None:
        """What must be so when everybody has gone: nothing flies, nothing leaks, and a read is right."""
        await asyncio.sleep(1)  # virtual: lets the grace of deserted flights run out
        assert self.cache.stats().flights == 0, "a flight was left behind"
        assert not +self.running, f"still computing: {self.running}"
        index = self.cache._registry.index
        assert {s.key for s in index.slots()} <= set(self.cache._registry.entries), "a registration was left behind"
        assert await self.read() == self.truth, "I1: the last change was missed"
        await self.cache.close()
