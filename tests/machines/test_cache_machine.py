"""The whole surface of the cache against a naive model: a dictionary, and a list of what has happened."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from livelake.cache import AnalyticsCache, Change, Flight
from livelake.errors import ClosedError
from livelake.keys import KeyExpr
from livelake.testing import ManualClock

LIVE, IDLE, KEEP_STALE = 100.0, 40.0, 30.0
KEYS = ("a", "b", "c", 1, ("a", 1))
EVENTS = ("events/T/1/1", "events/T/2/1", "events/U/1/1", "events/T/**", "lake/sales/main/orders")
DEPENDENCIES: tuple[tuple[str, ...], ...] = (
    (),
    ("events/T/**",),
    ("events/T/1/**",),
    ("events/U/**", "events/T/2/*"),
    ("lake/sales/main/orders",),
    ("**",),
)
TOUCHES = {
    (event, depends_on): any(KeyExpr(event).intersects(KeyExpr(one)) for one in depends_on)
    for event in EVENTS
    for depends_on in DEPENDENCIES
}
keys = st.sampled_from(KEYS)
dependencies = st.sampled_from(DEPENDENCIES)


class Kept:
    """An answer as the model knows it."""

    def __init__(self, value: int, depends_on: tuple[str, ...], now: float) -> None:
        self.value = value
        self.depends_on = depends_on
        self.begun = self.read = now
        self.live = LIVE
        self.until: Any = None  # wall clock
        self.version: int | None = None
        self.stale_at: float | None = None


class Failure(Exception):
    pass


class CacheMachine(RuleBasedStateMachine):
    """Roomy: what is not stale and not expired must be there. `TinyMachine` lets the store evict."""

    capacity = 1_000

    @initialize()
    def begin(self) -> None:
        self.clock = ManualClock()
        self.cache = AnalyticsCache(self.capacity, LIVE, IDLE, keep_stale=KEEP_STALE, clock=self.clock)
        self.loop = asyncio.new_event_loop()
        self.model: dict[Any, Kept] = {}
        self.failed: dict[Any, tuple[float, tuple[str, ...], Failure]] = {}
        self.watched: list[dict[str, Any]] = []
        self.counter = 0
        self.hits = self.invalidations = 0

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.run_until_complete(self.cache.close())
            for _ in range(2):
                self.loop.run_until_complete(self.cache.close())
            with pytest.raises(ClosedError):
                self.cache.insert("k", 1)
            assert not self.cache._registry.flights
            assert not self.cache._reader._tasks
            self.loop.close()

    # ---------------------------------------------------------------- the model

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def fresh(self, key: Any) -> Kept | None:
        kept = self.model.get(key)
        return kept if kept is not None and self.since(kept) is None else None

    def since(self, kept: Kept) -> float | None:
        """Since when it has not been fresh."""
        if kept.stale_at is not None:
            return kept.stale_at
        if self.now >= kept.begun + kept.live:
            return kept.begun + kept.live
        if self.now - kept.read >= IDLE:
            return kept.read + IDLE
        if kept.until is not None and self.clock.now() >= kept.until:
            return self.now - (self.clock.now() - kept.until).total_seconds()
        return None

    def next(self) -> int:
        self.counter += 1
        return self.counter

    def keep(self, key: Any, depends_on: tuple[str, ...]) -> Kept:
        self.end(key)
        self.failed.pop(key, None)
        self.model[key] = Kept(self.counter, depends_on, self.now)
        return self.model[key]

    def end(self, key: Any) -> None:
        """The entry under the key is no more: who watches it is told."""
        kept = self.model.get(key)
        for watch in self.watched:
            if watch["kept"] is kept and kept is not None and watch["on"]:
                watch["due"], watch["on"] = watch["due"] + 1, False

    def stale(self, key: Any) -> int:
        kept = self.model[key]
        self.end(key)
        if kept.stale_at is not None:
            return 0
        kept.stale_at = self.now
        return 1

    def lost(self, key: Any, kept: Kept | None) -> bool:
        """Whether the store may have evicted it."""
        return False

    def check(self, key: Any, value: Any, kept: Kept | None) -> bool:
        """``value`` or nothing was found; True if it was a hit."""
        if kept is None:
            assert value is None, f"{key}: {value} is served, and nothing fresh should be there"
            return False
        if value is None:
            assert self.lost(key, kept), f"{key}: {kept.value} should be there"
            return False
        assert value == kept.value, f"{key}: {value} is served instead of {kept.value}"
        kept.read = self.now
        return True

    def run(self, work: Any) -> Any:
        """On the loop, until everything that was begun has ended."""

        async def main() -> Any:
            outcome = await asyncio.gather(work, return_exceptions=True)
            while self.cache._reader._tasks:
                await asyncio.sleep(0)
            return outcome[0]

        return self.loop.run_until_complete(main())

    # ---------------------------------------------------------------- reading

    @rule(key=keys)
    def get(self, key: Any) -> None:
        self.hits += self.check(key, self.cache.get(key), self.fresh(key))

    @rule(key=keys, depends_on=dependencies, how=st.sampled_from(["get_or_compute", "read", "sync"]))
    def compute(self, key: Any, depends_on: tuple[str, ...], how: str) -> None:
        kept, failure = self.fresh(key), self.failed.get(key)
        value = self.next()

        async def work() -> int:
            return value

        if how == "sync":
            try:
                found: Any = self.cache.get_or_compute_sync(key, lambda: value, depends_on=depends_on)
            except Failure as error:
                found = error
        elif how == "read":
            found = self.run(self.cache.read(key, work, depends_on=depends_on))
            if not isinstance(found, Exception):
                assert found.status == ("hit" if found.value != value else "miss")
                found = found.value
        else:
            found = self.run(self.cache.get_or_compute(key, work, depends_on=depends_on))
        if kept is not None and found == kept.value:
            kept.read = self.now
            self.hits += 1
        elif kept is None or self.lost(key, kept):
            if failure is not None and self.now < failure[0]:
                assert found is failure[2], "a failure that is kept was not raised"
            else:
                assert found == value, f"{key}: {found} was read, and {value} computed"
                self.keep(key, depends_on)
        else:
            raise AssertionError(f"{key}: {found} was read, and {kept.value} is kept")

    @rule(key=keys, bound=st.sampled_from([5.0, 25.0]))
    def stale_while_revalidate(self, key: Any, bound: float) -> None:
        kept, failure = self.model.get(key), self.failed.get(key)
        value = self.next()

        async def work() -> int:
            return value

        read = self.run(self.cache.read(key, work, stale_while_revalidate=bound))
        if isinstance(read, Failure):
            assert failure is not None
            assert read is failure[2]
            return
        since = None if kept is None else self.since(kept)
        if read.status == "hit":
            assert kept is not None
            assert since is None
            assert read.value == kept.value
            kept.read = self.now
            self.hits += 1
        elif read.status == "stale":
            assert kept is not None
            assert since is not None
            assert self.now - since <= bound, "staler than asked for"
            assert read.value == kept.value
            refreshed = self.cache._registry.entries[key]
            if refreshed.value == value:  # not put off after a failure
                self.keep(key, ())
        else:
            assert read.value == value
            assert kept is None or since is not None or self.lost(key, kept)
            self.keep(key, ())

    @rule(
        key=keys, depends_on=dependencies, negative=st.sampled_from([None, 20.0]), bound=st.sampled_from([None, 10.0])
    )
    def fail(self, key: Any, depends_on: tuple[str, ...], negative: float | None, bound: float | None) -> None:
        kept, before = self.model.get(key), self.failed.get(key)
        error = Failure(self.next())

        async def work() -> int:
            raise error

        outcome = self.run(
            self.cache.read(key, work, depends_on=depends_on, negative_ttl=negative, stale_if_error=bound)
        )
        since = None if kept is None else self.since(kept)
        if outcome is error or (not isinstance(outcome, Exception) and outcome.status == "stale"):
            if before is not None:
                assert self.now >= before[0], "a failure was kept, and it was computed again"
            if negative:
                self.failed[key] = (self.now + negative, depends_on, error)
        if isinstance(outcome, Failure):
            assert outcome is error or (before is not None and outcome is before[2] and self.now < before[0])
        elif outcome.status == "stale":
            assert kept is not None
            assert bound is not None
            assert since is None or self.now - since <= bound
            assert outcome.value == kept.value
            assert outcome.error is error
        else:
            assert outcome.status == "hit"
            self.hits += self.check(key, outcome.value, self.fresh(key))

    @rule(key=keys, depends_on=dependencies)
    def fresh_read(self, key: Any, depends_on: tuple[str, ...]) -> None:
        value = self.next()

        async def work() -> int:
            return value

        assert self.run(self.cache.get_or_compute(key, work, depends_on=depends_on, fresh=True)) == value
        self.keep(key, depends_on)

    @rule(key=keys)
    def bypass(self, key: Any) -> None:
        value = self.next()
        assert self.cache.get_or_compute_sync(key, lambda: value, bypass=True) == value

    @rule(key=keys, version=st.integers(0, 5), overtaken=st.booleans())
    def read_a_table(self, key: Any, version: int, overtaken: bool) -> None:
        """A computation that pins ``version``; a commit of the next comes while it runs, or does not."""
        kept, failure = self.fresh(key), self.failed.get(key)
        value = self.next()

        async def work(flight: Flight[int]) -> int:
            if overtaken:
                self.apply_to_model(EVENTS[-1], "sales", version + 1)
                self.cache.apply(EVENTS[-1], source="sales", version=version + 1)
            assert flight.pin({"sales": version}, [KeyExpr(EVENTS[-1])]) is not overtaken
            return value

        read = self.run(self.cache.fetch(key, work, depends_on=frozenset({KeyExpr("lake/**")}), pins=True))
        if isinstance(read, Failure):
            assert failure is not None
            assert read is failure[2]
        elif read.status == "hit":
            self.hits += self.check(key, read.value, kept)
        else:
            assert kept is None or self.lost(key, kept)
            assert read.value == value
            if not overtaken:
                self.keep(key, (EVENTS[-1],)).version = version

    # ---------------------------------------------------------------- changing

    @rule(key=keys, depends_on=dependencies, window=st.sampled_from([None, 20]), live=st.sampled_from([None, 15.0]))
    def insert(self, key: Any, depends_on: tuple[str, ...], window: int | None, live: float | None) -> None:
        until = None if window is None else self.clock.now() + timedelta(seconds=window)
        self.cache.insert(key, self.next(), depends_on=depends_on, valid_until=until, time_to_live=live)
        kept = self.keep(key, depends_on)
        kept.until, kept.live = until, live or LIVE

    def apply_to_model(self, event: str, source: str | None = None, version: int = 0) -> int:
        count = 0
        for key, kept in list(self.model.items()):
            seen = source is not None and kept.version is not None and kept.version >= version
            if TOUCHES[event, kept.depends_on] and not seen and kept.stale_at is None and not self.gone(key):
                count += self.stale(key)
        for key, (_, depends_on, _error) in list(self.failed.items()):
            if TOUCHES[event, depends_on]:
                del self.failed[key]
        self.invalidations += count
        return count

    def gone(self, key: Any) -> bool:
        """Swept or evicted: the cache holds it no more (what the model says of it is checked elsewhere)."""
        return key not in self.cache._registry.entries

    @rule(event=st.sampled_from(EVENTS))
    def apply(self, event: str) -> None:
        expected = self.apply_to_model(event)
        assert self.cache.apply(event) == expected

    @rule(version=st.integers(0, 6))
    def commit(self, version: int) -> None:
        expected = self.apply_to_model(EVENTS[-1], "sales", version)
        assert self.cache.apply(EVENTS[-1], source="sales", version=version) == expected

    @rule(events=st.lists(st.sampled_from(EVENTS), max_size=3))
    def apply_all(self, events: list[str]) -> None:
        expected = sum(self.apply_to_model(event) for event in events)
        assert self.cache.apply_all([Change(KeyExpr(event)) for event in events]) == expected

    @rule(key=keys)
    def invalidate(self, key: Any) -> None:
        there = key in self.cache._registry.entries
        assert self.cache.invalidate(key) is there
        self.drop(key)

    @rule(which=st.sampled_from([str, tuple, int]))
    def invalidate_where(self, which: type) -> None:
        there = sum(isinstance(key, which) for key in self.cache._registry.entries)
        assert self.cache.invalidate_where(lambda key: isinstance(key, which)) == there
        for key in KEYS:
            if isinstance(key, which):
                self.drop(key)

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        for key in KEYS:
            self.drop(key)
        assert len(self.cache) == 0

    def drop(self, key: Any) -> None:
        self.end(key)
        self.model.pop(key, None)
        self.failed.pop(key, None)

    # ---------------------------------------------------------------- watching, time

    @rule(key=keys, depends_on=dependencies)
    def watch(self, key: Any, depends_on: tuple[str, ...]) -> None:
        kept, failure = self.fresh(key), self.failed.get(key)
        value = self.next()
        watch: dict[str, Any] = {"heard": 0, "due": 0, "on": True}

        def heard() -> None:
            watch["heard"] += 1

        async def work(_flight: Flight[int]) -> int:
            return value

        read = self.run(self.cache.fetch(key, work, depends_on=frozenset(map(KeyExpr, depends_on)), watcher=heard))
        if isinstance(read, Failure):
            assert failure is not None
            return
        if read.status == "hit":
            self.hits += self.check(key, read.value, kept)
        else:
            assert kept is None or self.lost(key, kept)
            self.keep(key, depends_on)
        watch.update(kept=self.model[key], slot=read.slot, call=heard)
        self.watched.append(watch)

    @precondition(lambda self: getattr(self, "watched", None))
    @rule(data=st.data())
    def unwatch(self, data: st.DataObject) -> None:
        watch = data.draw(st.sampled_from(self.watched))
        self.cache.unwatch(watch["slot"], watch["call"])
        watch["on"] = False

    @rule(seconds=st.sampled_from([0.5, 5.0, 14.5, 39.5, 61.0]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-3600, -5, 5, 3600]))
    def jump(self, seconds: float) -> None:
        self.clock.jump(seconds)

    @rule()
    def settle(self) -> None:
        self.cache.settle()

    # ---------------------------------------------------------------- what must always be so

    @rule(key=keys)
    def explain(self, key: Any) -> None:
        state = self.cache.explain(key).state
        kept = self.fresh(key)
        if kept is None:
            assert state in ("absent", "stale", "expired")
        else:
            assert state == "fresh" or (state == "absent" and self.lost(key, kept))

    @invariant()
    def the_books_are_right(self) -> None:
        if not hasattr(self, "cache"):
            return
        registry = self.cache._registry
        held = {id(slot) for slot in (*registry.entries.values(), *registry.failures.values())}
        assert all(id(slot) in held for slot in registry.index.slots()), "left behind: a registration"
        assert registry.bytes == sum(slot.size for slot in registry.entries.values()), "bytes: the sum is wrong"
        assert all(slot.is_stale or slot.registered for slot in registry.entries.values()), "unreachable: an entry"
        assert not registry.flights
        stats = self.cache.stats()
        assert stats.hits == self.hits
        assert stats.invalidations == self.invalidations
        assert stats.entries == sum(self.fresh(key) is not None and not self.gone(key) for key in KEYS)

    @invariant()
    def who_watches_was_told(self) -> None:
        for watch in getattr(self, "watched", ()):
            assert watch["heard"] == watch["due"], "last change: a watcher was not told, or twice"


class TinyMachine(CacheMachine):
    """Two places: anything may be evicted, but nothing wrong is ever served."""

    capacity = 2

    def lost(self, key: Any, kept: Kept | None) -> bool:
        return True

    @rule()
    def the_bound_is_held(self) -> None:
        self.cache.settle()
        watched = sum(bool(slot.watchers) for slot in self.cache._registry.entries.values())
        stale = sum(slot.is_stale for slot in self.cache._registry.entries.values())
        assert len(self.cache._registry.entries) <= self.capacity + watched + stale


QUICK = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
TestCache = CacheMachine.TestCase
TestCache.settings = QUICK
TestTinyCache = TinyMachine.TestCase
TestTinyCache.settings = QUICK
