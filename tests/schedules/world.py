"""A small world around the cache, for searches over interleavings.

There is one truth, a number that commits increase. A computation takes several steps and reads the truth at one
of them. A commit changes the truth, and is acknowledged some steps later, when `apply` has returned. What must
hold, whatever the schedule:

    I1  a read that begins after an acknowledgement returns at least that truth, or says that it is stale
    I3  no two computations of one key run at once that began in the same state of the data
    I8  what one reader sees of a key never goes back
    and in the end: nobody hangs, the last change is not lost, nothing is left behind
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

import detangle

from livelake.cache import AnalyticsCache, Flight
from livelake.cache.slot import Slot
from livelake.cache.store import Store
from livelake.keys import KeyExpr
from livelake.testing import ManualClock

EVENT = "events/T/1/1"
TABLE = "lake/sales/main/orders"
ON_EVENTS = frozenset({KeyExpr("events/T/**")})
ON_LAKE = frozenset({KeyExpr("lake/**")})


class Failed(Exception):
    """What a computation raises when it is told to, and the truth that it had read by then."""

    def __init__(self, truth: int = 0) -> None:
        super().__init__(f"failed at {truth}")
        self.truth = truth


class Bag(Store):
    """The store without moka: it evicts on command, and tells of it late, as moka does.

    ``refuse``: it drops what was just set, as TinyLFU may. ``pause`` is called before every step.
    """

    def __init__(self, max_capacity: int = 100, pause: Callable[[], None] = lambda: None) -> None:
        self.max_capacity, self.max_bytes = max_capacity, None
        self._size_of = sys.getsizeof
        self.evictions = deque()
        self.kept: dict[Hashable, Slot[Any]] = {}
        self.untold: list[Any] = []
        self.refuse: Callable[[], bool] = lambda: False
        self.pause = pause
        self.touched = deque(maxlen=100)
        self.lock = contextlib.nullcontext()  # type: ignore[assignment]

    def look(self, key: Hashable) -> Slot[Any] | None:
        return self.kept.get(key)

    def _tell_touches(self) -> None:
        self.touched.clear()

    def put(self, slot: Slot[Any]) -> None:
        self.pause()
        self.settle()
        before = self.kept.pop(slot.key, None)
        if before is not None:
            self.untold.append((slot.key, before, "replaced"))
        if self.refuse():
            self.untold.append((slot.key, slot, "size"))
        else:
            self.kept[slot.key] = slot
            while len(self.kept) > self.max_capacity:
                self.evict(next(iter(self.kept)))

    def remove(self, slot: Slot[Any]) -> None:
        self.pause()
        self.settle()
        if self.kept.get(slot.key) is slot:
            self.untold.append((slot.key, self.kept.pop(slot.key), "explicit"))

    def evict(self, key: Hashable) -> None:
        slot = self.kept.pop(key, None)
        if slot is not None:
            self.untold.append((key, slot, "size"))

    def settle(self) -> None:
        while self.untold:
            self.evictions.append(self.untold.pop(0))

    def install(self, cache: AnalyticsCache) -> None:
        cache._registry.store = self
        cache._touched = self.touched.append


def check_books(cache: AnalyticsCache) -> None:
    """What must be so when everybody has gone."""
    cache.settle()
    registry = cache._registry
    assert not registry.flights, "left behind: a flight"
    held = {id(slot) for slot in (*registry.entries.values(), *registry.failures.values())}
    assert all(id(slot) in held for slot in registry.index.slots()), "left behind: a registration"
    reachable = {id(slot) for slot in registry.index.slots()}
    for slot in registry.entries.values():
        is_safe = slot.is_stale or not slot.depends_on or id(slot) in reachable
        assert slot.registered or slot.is_stale, "unreachable: an entry that is not registered"
        assert is_safe, "unreachable: an entry that no change finds"
    assert registry.bytes == sum(slot.size for slot in registry.entries.values()), "bytes: the sum is wrong"
    assert not any(slot.watchers for slot in registry.index.slots()), "left behind: a watcher"
    assert all(task.done() for task in cache._reader._tasks), "left behind: a task"
    if isinstance(registry.store, Bag):
        for key, slot in registry.store.kept.items():
            current = registry.entries.get(key) is slot
            assert current or slot.is_stale, "unreachable: the store has what no change will reach"


class World:
    """See the module. ``versioned``: changes carry a version, and computations pin what they read."""

    def __init__(self, *, versioned: bool = False, bag: bool = False, **settings: Any) -> None:
        self.clock = ManualClock()
        settings = {"time_to_live": None, "time_to_idle": None, "grace": 0.01, "clock": self.clock, **settings}
        self.cache = AnalyticsCache(100, **settings)
        self.bag = Bag()
        if bag:
            self.bag.install(self.cache)
        self.versioned = versioned
        self.depends_on = ON_LAKE if versioned else ON_EVENTS
        self.truth = 0
        self.acknowledged = 0
        self.computations = 0
        self.running: Counter[tuple[str, int]] = Counter()
        self.interrupted = 0

    async def compute(self, flight: Flight[int], key: str = "k", *, fail: bool = False, keep: bool = True) -> int:
        state = (key, self.acknowledged)
        self.running[state] += 1
        self.computations += 1
        try:
            assert self.running[state] == 1, f"I3: two computations of {key} in one state of the data"
            await asyncio.sleep(0)
            value = self.truth
            if fail and detangle.flip(0.5):
                raise Failed(value)
            if self.versioned:
                await asyncio.sleep(0)  # between the snapshot and the pin a query is planned
                flight.pin({"sales": value}, [KeyExpr(TABLE)], keep=keep)
            await asyncio.sleep(0)
            if fail:
                raise Failed(value)
            await asyncio.sleep(0)
            return value
        except asyncio.CancelledError:
            self.interrupted += 1
            raise
        finally:
            self.running[state] -= 1

    async def read(self, key: str = "k", *, fail: bool = False, keep: bool = True, **policy: Any) -> int:
        floor = self.truth if policy.get("fresh") else self.acknowledged
        try:
            read = await self.cache.fetch(
                key,
                lambda flight: self.compute(flight, key, fail=fail, keep=keep),
                depends_on=self.depends_on,
                pins=self.versioned,
                **policy,
            )
        except Failed as error:
            assert error.truth >= floor, f"I1: a failure at {error.truth} was kept after {floor} was acknowledged"  # noqa: PT017
            raise
        if read.status == "stale":
            asked = policy.get("stale_while_revalidate") or policy.get("stale_if_error")
            assert asked, "I1: a stale answer for one who did not ask for it"
        else:
            assert read.value >= floor, f"I1: {read.value} was read after {floor} had been acknowledged"
        return read.value

    async def tolerant(self, times: int = 1, **how: Any) -> None:
        """A reader who shrugs at failures."""
        for _ in range(times):
            with contextlib.suppress(Failed):
                await self.read(**how)

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
        assert not +self.running, f"left behind: still computing {self.running}"
        check_books(self.cache)
        assert await self.read() == self.truth, "I1: the last change was missed"
        check_books(self.cache)
        await self.cache.close()
