"""The searches have teeth: bugs that caches had are planted, and each is told by the check that is there for it.

A bug is one piece of the code replaced. The names S… and F… are those of the defects of the seed's sketch and of the
failures reported of other caches. It counts as found only if the named check reports it with the named words.
"""

from __future__ import annotations
import __future__

import asyncio
import contextlib
import inspect
import logging
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import detangle
import pytest

from livelake.cache import AnalyticsCache, ProactiveRefresh, Refresher, analytics_cache, arguments, dependencies
from livelake.cache.dependencies import Dependencies
from livelake.cache.flight import Flight
from livelake.cache.reader import Answer, Reader
from livelake.cache.refresh import Loaded, Watched
from livelake.cache.registry import Registry
from livelake.cache.slot import Slot
from livelake.errors import KeyExprError, UsageError
from livelake.events import Doubt, LocalBus
from livelake.invalidation import CacheInvalidator
from livelake.testing import ManualClock, RecordingBus
from schedules import threads
from schedules.scenarios import SCENARIOS
from schedules.thread_scenarios import THREAD_SCENARIOS
from schedules.world import Bag

RUNS = 3_000
SEEDS = 20


class Bug(NamedTuple):
    name: str
    owner: Any
    function: str
    code: str
    """What stands there."""
    instead: str
    check: str
    """The scenario, or the function below, that finds it."""
    says: str


# -------------------------------------------------------------------- checks that need no schedule


async def failing_refresh_is_tried_again() -> None:
    clock = ManualClock()
    cache = AnalyticsCache(clock=clock)
    cache.insert("k", 1, depends_on="events/T/**")
    cache.apply("events/T/1/1")
    calls = 0

    async def compute() -> int:
        nonlocal calls
        calls += 1
        raise ValueError("no")

    for _ in range(2):
        await cache.get_or_compute("k", compute, stale_while_revalidate=60.0)
        await asyncio.sleep(0.01)
        clock.advance(10)
    assert calls == 2, "stuck: a refresh that failed was never tried again"


async def doubt_drops() -> None:
    cache = AnalyticsCache()
    bus = RecordingBus(LocalBus())
    async with CacheInvalidator(cache, bus):
        cache.insert("k", 1, depends_on="events/T/**")
        bus.inject(Doubt(dependencies.KeyExpr("events/**"), "lag"))
        assert cache.get("k") is None, "doubt: an answer outlived the loss of events"
    await bus.close()


async def what_was_there_before_is_in_doubt() -> None:
    cache = AnalyticsCache()
    cache.insert("k", 1, depends_on="events/T/**")
    async with LocalBus() as bus, CacheInvalidator(cache, bus):
        assert cache.get("k") is None, "subscription: an answer from before it is trusted"


async def a_replay_drops_nothing() -> None:
    cache = AnalyticsCache()

    async def run(flight: Flight[int]) -> int:
        flight.pin({"sales": 5}, [dependencies.KeyExpr("lake/sales/main/orders")])
        return 1

    await cache.fetch("k", run, depends_on=frozenset({dependencies.KeyExpr("lake/**")}), pins=True)
    for version in (5, 3, 5, 4):
        cache.apply("lake/sales/main/orders", source="sales", version=version)
    assert cache.get("k") == 1, "replay: a repeated change dropped an answer that had seen it"


async def companions_who_have_seen_it_stay() -> None:
    cache, versions = AnalyticsCache(), {"a": 4, "b": 4, "c": 5}
    for key, version in versions.items():

        async def run(flight: Flight[int], version: int = version) -> int:
            flight.pin({"sales": version})
            return version

        on = frozenset({dependencies.KeyExpr("lake/sales/main/orders")})
        await cache.fetch(key, run, depends_on=on, pins=True)
    cache.apply("lake/sales/main/orders", source="sales", version=5)
    assert cache.get("a") is cache.get("b") is None, "I1: a companion was forgotten"
    assert cache.get("c") == 5, "replay: a companion that had seen the change was dropped"


def companions_who_are_computed_again_are_kept() -> None:
    cache = AnalyticsCache()
    for _ in range(3):
        for key in "abc":
            cache.insert(key, key, depends_on="events/T/**")
        assert [cache.get(key) for key in "abc"] == ["a", "b", "c"], "lost: a companion joined those who have ended"
        cache.apply("events/T/1/1")
        cache.insert("b", "b", depends_on="events/T/**")  # the others have ended and are there


def arguments_stay_apart() -> None:
    cache = AnalyticsCache()

    @cache.cached()
    def echo(value: Any) -> Any:
        return value

    for value in (1, 1.0, True, "1", 0.0, -0.0, Decimal("1"), Decimal("1.00"), None, (1,), (1.0,)):
        assert repr(echo(value)) == repr(value), f"key: {value!r} was given the answer of another argument"


async def errors_are_not_kept() -> None:
    cache = AnalyticsCache()
    calls = 0

    async def compute() -> int:
        nonlocal calls
        calls += 1
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await cache.get_or_compute("k", compute)
    assert calls == 2, "poisoned: an error was kept that nobody asked to keep"


async def refreshes_are_bounded() -> None:
    refresher = Refresher(workers=2)
    running = most = 0

    async def load(touch: Any) -> Loaded[int]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return Loaded(1, None, lambda: None)

    for _ in range(10):
        refresher.watch(load, lambda value: None, lambda error: None)
    await asyncio.sleep(0.01)
    await refresher.close()
    assert most <= 2, "unbounded: more refreshes at once than workers"


class Ticking(ManualClock):
    """Time passes between any two looks, as it does."""

    def monotonic(self) -> float:
        self._monotonic += 1e-6
        return self._monotonic


async def what_nobody_reads_is_dropped() -> None:
    clock = Ticking()
    cache = AnalyticsCache(time_to_live=None, time_to_idle=None, clock=clock)
    async with ProactiveRefresh(cache, demand=10.0, clock=clock) as refresh:
        refresh.keep("k", lambda: asyncio.sleep(0, 1), depends_on="events/T/**")
        for _ in range(5):
            await asyncio.sleep(1)
            clock.advance(4)
            cache.apply("events/T/1/1")
        await asyncio.sleep(1)
        assert "k" not in refresh, "demand: it is refreshed although nobody reads it"


async def a_clock_set_back_keeps_nothing_alive() -> None:
    clock = ManualClock()
    cache = AnalyticsCache(time_to_live=10, time_to_idle=None, clock=clock)
    cache.insert("k", 1)
    clock.jump(-1000)
    clock.advance(10)
    assert cache.get("k") is None, "clock: a wall clock that was set back kept an answer alive"


async def a_window_closes_on_the_wall_clock() -> None:
    clock = ManualClock()
    cache = AnalyticsCache(time_to_idle=None, clock=clock)
    cache.insert("k", 1, valid_until=clock.now() + timedelta(seconds=5))
    clock.jump(5)
    assert cache.get("k") is None, "window: an answer outlived its window"


async def the_expired_leave() -> None:
    clock = ManualClock()
    cache = AnalyticsCache(time_to_live=10, time_to_idle=None, clock=clock)
    for n in range(10):
        cache.insert(n, n, depends_on="events/T/**")
    clock.advance(100)
    cache.settle()
    assert len(cache._registry.index) == 0, "left behind: the expired stay"


async def stale_has_a_bound() -> None:
    clock = ManualClock()
    cache = AnalyticsCache(time_to_live=10, time_to_idle=None, keep_stale=1000, clock=clock)
    cache.insert("k", 1)
    clock.advance(100)
    read = await cache.read("k", lambda: asyncio.sleep(0, 2), stale_while_revalidate=5.0)
    assert read.value == 2, "bound: an answer was served that was staler than asked for"
    await cache.close()


async def wildcards_drop_what_they_may_mean() -> None:
    cache = AnalyticsCache()
    cache.insert("k", 1, depends_on="events/T/7/**")
    cache.apply("events/**")
    assert cache.get("k") is None, "wildcard: a change that may mean it did not drop it"


async def neighbours_are_left_alone() -> None:
    cache = AnalyticsCache()
    cache.insert("k", 1, depends_on="events/Todo/**")
    cache.apply("events/TodoList/1/1")
    assert cache.get("k") == 1, "prefix: TodoList is not Todo"


async def companions_are_dropped_together() -> None:
    cache = AnalyticsCache()
    told: list[int] = []
    for key in "abc":
        cache.insert(key, key, depends_on="events/Todo/**")
    read = await cache.fetch("b", unwanted, watcher=lambda: told.append(1))
    dropped = cache.apply("events/Todo/1/1")
    assert [cache.get(key) for key in "abc"] == [None] * 3, (
        "companions: one of those that depend on the same was kept"
    )
    assert (read.status, dropped) == ("hit", 3), "companions: miscounted"
    assert told == [1], "companions: a watcher was not told"
    for key in "abc":
        cache.insert(key, key, depends_on="events/Todo/**")
    cache.invalidate("a")
    assert (cache.get("a"), cache.get("c")) == (None, "c"), "companions: one is dropped alone"
    assert cache.apply("events/Todo/1/2") == 2, "companions: miscounted"


async def unwanted(_flight: object) -> object:
    raise AssertionError("companions: a fresh entry was computed again")


async def what_can_never_match_is_refused() -> None:
    with contextlib.suppress(KeyExprError):
        AnalyticsCache().insert("k", 1, depends_on="evnets/Todo/**")
        raise AssertionError("never: a dependency that nothing can match was taken")


async def a_bad_policy_leaves_no_flight() -> None:
    cache = AnalyticsCache()
    with pytest.raises(UsageError):
        await cache.get_or_compute("k", lambda: 1, time_to_live=-1.0)
    assert cache.stats().flights == 0, "left behind: a flight that nobody will ever land"


async def a_big_answer_is_not_kept() -> None:
    cache = AnalyticsCache(max_bytes=100)
    cache.insert("k", b"x" * 50)
    cache.insert("k", b"x" * 101)
    assert cache.get("k") is None, "capacity: the answer that it replaces was served"


def a_late_word_of_an_eviction() -> None:
    cache, bag = AnalyticsCache(), Bag()
    bag.install(cache)
    cache.insert("k", 1)
    bag.evict("k")
    cache.insert("k", 2)
    cache.settle()
    assert cache.get("k") == 2, "identity: the newer was dropped for the eviction of the older"


def a_late_put_of_the_evicted() -> None:
    cache, bag = AnalyticsCache(), Bag()
    bag.install(cache)
    cache.insert("k", 1, depends_on="events/T/**")
    slot = bag.kept["k"]
    bag.evict("k")
    cache.settle()
    bag.put(slot)  # it was on its way
    cache.apply("events/T/1/1")
    assert cache.get("k") is None, "unreachable: the store serves what no change reaches"


def _taking(condition: str) -> str:
    """Taken out of the index by a predicate of its own, as a seed's loop over all patterns would."""
    taken = f"taken = [s for s in self.index.slots() if {condition}]"
    return f"{taken}; [self.make_stale(s, key, []) for s in taken]; return 0"


CHECKS: dict[str, Callable[[], Any]] = {
    check.__name__: check
    for check in (
        failing_refresh_is_tried_again,
        doubt_drops,
        what_was_there_before_is_in_doubt,
        a_replay_drops_nothing,
        arguments_stay_apart,
        errors_are_not_kept,
        refreshes_are_bounded,
        what_nobody_reads_is_dropped,
        a_clock_set_back_keeps_nothing_alive,
        a_window_closes_on_the_wall_clock,
        the_expired_leave,
        stale_has_a_bound,
        wildcards_drop_what_they_may_mean,
        neighbours_are_left_alone,
        companions_are_dropped_together,
        what_can_never_match_is_refused,
        a_bad_policy_leaves_no_flight,
        a_big_answer_is_not_kept,
        a_late_word_of_an_eviction,
        a_late_put_of_the_evicted,
        companions_who_have_seen_it_stay,
        companions_who_are_computed_again_are_kept,
    )
}
ON_LOOP = {scenario.__name__: scenario for scenario in SCENARIOS}
IN_THREADS = {scenario.__name__: scenario for scenario in THREAD_SCENARIOS}

BUGS: tuple[Bug, ...] = (
    Bug(
        "F1 S12 stale fill",
        Flight,
        "_land",
        "if current and self.keep and fits and seen and",
        "if self.keep and fits and",
        "reads_and_commits",
        "I1",
    ),
    Bug(
        "F1 a change forgets flights",
        Registry,
        "concern",
        "self.make_stale(slot, change, woken)",
        "flight is None and self.make_stale(slot, change, woken)",
        "threads_read_and_commit",
        "I1",
    ),
    Bug(
        "F1 a pin forgets what was heard",
        Flight,
        "pin",
        "for change in slot.unseen:",
        "for change in ():",
        "reads_and_commits_with_versions",
        "I1",
    ),
    Bug(
        "F2 readers join a fenced flight",
        Registry,
        "make_stale",
        "del self.flights[slot.key]",
        "pass",
        "reads_and_commits",
        "I1",
    ),
    Bug(
        "F2 readers join one that has read and not pinned",
        Answer,
        "missed_a_change",
        "return any(",
        "return False and (",
        "reads_and_commits_with_versions",
        "I1",
    ),
    Bug(
        "F2 the same, on two loops",
        Answer,
        "missed_a_change",
        "return any(",
        "return False and (",
        "two_loops_with_versions",
        "I1",
    ),
    Bug(
        "F2 forced-fresh joins what has begun",
        Flight,
        "is_too_old_for_fresh",
        "return self.begun",
        "return False",
        "forced_fresh_reads",
        "I1",
    ),
    Bug(
        "F3 S16 older lands last",
        AnalyticsCache,
        "insert",
        'registry.make_stale(flight.slot, "replaced by insert", woken)',
        "pass",
        "inserted_under_reads",
        "I8",
    ),
    Bug(
        "F3 the same, in threads",
        AnalyticsCache,
        "insert",
        'registry.make_stale(flight.slot, "replaced by insert", woken)',
        "pass",
        "threads_insert",
        "I1",
    ),
    Bug(
        "F4 a failed refresh sticks",
        Registry,
        "put_off",
        "self.monotonic() + pause",
        "FOREVER + pause",
        "failing_refresh_is_tried_again",
        "stuck",
    ),
    Bug(
        "F5 the leader takes all with it",
        Flight,
        "leave",
        "deserted = not self.waiters and not self.done",
        "deserted = False; self.task.cancel()",
        "one_survives_the_cancelled",
        "I3: the survivor",
    ),
    Bug(
        "F5 the deserted fly on",
        Flight,
        "leave",
        "deserted = not self.waiters and not self.done",
        "deserted = False",
        "nobody_waits_for_ever",
        "left behind: still computing",
    ),
    Bug(
        "F5 who is cancelled stays a waiter",
        Flight,
        "leave",
        "self.waiters.pop(waiter, None)",
        "pass",
        "nobody_waits_for_ever",
        "left behind: still computing",
    ),
    Bug(
        "F5 a dead flight stays",
        Flight,
        "_end",
        "del registry.flights[slot.key]",
        "pass",
        "computations_fail",
        "failed at|left behind: a flight",
    ),
    Bug(
        "F5 freed early, runs twice",
        Flight,
        "_begin",
        "self.begun = True",
        "self.begun = True; registry.flights.pop(self.slot.key, None)",
        "reads_and_commits",
        "I3",
    ),
    Bug(
        "F5 cancelled before its first step",
        Flight,
        "_make_sure",
        "if not self.done:",
        "if False:",
        "closed_at_any_time",
        "hang",
    ),
    Bug(
        "F5 followers are not told of a failure",
        Flight,
        "_end",
        "_deliver(waiters)",
        "pass",
        "computations_fail",
        "hang",
    ),
    Bug(
        "F6 S48 no single flight",
        Flight,
        "enter",
        "registry.flights[key] = flight",
        "pass",
        "reads_and_commits",
        "I3",
    ),
    Bug(
        "F6 forced-fresh runs beside",
        Flight,
        "enter",
        "after=registry.flights.get(key)",
        "after=None",
        "forced_fresh_reads",
        "I3",
    ),
    Bug(
        "F7 S50 a predicate misses flights",
        AnalyticsCache,
        "invalidate_where",
        "(*registry.entries, *registry.flights, *registry.failures)",
        "registry.entries",
        "threads_invalidate_where",
        "I1",
    ),
    Bug(
        "F7 a predicate misses kept failures",
        AnalyticsCache,
        "invalidate_where",
        ", *registry.failures",
        "",
        "cleared_while_failing",
        "I1: a failure",
    ),
    Bug(
        "F8 S13 registered after the read",
        Flight,
        "enter",
        "registry.index.register(slot)",
        "keep = registry.keep; registry.keep = lambda s, *a: (registry.index.register(s), keep(s, *a))",
        "reads_and_commits",
        "I1",
    ),
    Bug(
        "F9 S6 S7 lag is shrugged off",
        CacheInvalidator,
        "_hear",
        "self.dropped +=",
        "if not hasattr(signal, 'sequence'): return\n    self.dropped +=",
        "doubt_drops",
        "doubt",
    ),
    Bug(
        "F10 S30 filled before it listens",
        CacheInvalidator,
        "start",
        "self._apply_all()",
        "pass",
        "what_was_there_before_is_in_doubt",
        "subscription",
    ),
    Bug(
        "F11 S14 the event precedes the data",
        Slot,
        "has_seen",
        ">= change.version",
        ">= change.version - 1",
        "reads_and_commits_with_versions",
        "I1",
    ),
    Bug(
        "F12 a replay counts again",
        Slot,
        "has_seen",
        ">= change.version",
        "> change.version",
        "a_replay_drops_nothing",
        "replay",
    ),
    Bug(
        "F13 S33 label and data disagree",
        Flight,
        "pin",
        "slot.pinned = dict(versions)",
        "slot.pinned = {name: version + 1 for name, version in versions.items()}",
        "reads_and_commits_with_versions",
        "I1",
    ),
    Bug(
        "F27 S5 S37 types are confused",
        arguments,
        "_typed",
        "return (type(value), exact(value))",
        "return exact(value)",
        "arguments_stay_apart",
        "key",
    ),
    Bug(
        "F27 -0.0 is 0.0",
        arguments,
        "exact",
        "return _pack(value)",
        "return value",
        "arguments_stay_apart",
        "key: -0.0",
    ),
    Bug("F28 S49 an error is kept", Reader, "_enter", "or 0.0", "or 60.0", "errors_are_not_kept", "poisoned"),
    Bug(
        "F28 a failure outlives a change",
        Flight,
        "_end",
        "slot.is_stale or bool(slot.unseen)",
        "False",
        "failures_are_kept_with_versions",
        "I1: a failure",
    ),
    Bug(
        "F28 a change misses kept failures",
        Registry,
        "keep_failure",
        "self.index.register(failed)",
        "pass",
        "failures_are_kept",
        "I1: a failure",
    ),
    Bug(
        "F29 S15 refreshes without a bound",
        Watched,
        "run",
        "async with self._refresher._turns:",
        "if True:",
        "refreshes_are_bounded",
        "unbounded",
    ),
    Bug(
        "F29 S10 evicted, still registered",
        Registry,
        "forget",
        "self.index.discard(slot)",
        "pass",
        "evicted_at_any_time",
        "left behind: a registration",
    ),
    Bug(
        "S19 landing counts as a read",
        Registry,
        "keep",
        "slot.read_at = slot.landed_at",
        "slot.read_at = self.monotonic()",
        "what_nobody_reads_is_dropped",
        "demand",
    ),
    Bug(
        "F31 S3 ages by the wall clock",
        AnalyticsCache,
        "__init__",
        "self._monotonic = clock.monotonic",
        "self._monotonic = self._registry_monotonic = lambda: clock.now().timestamp(); "
        "self._registry.monotonic = self._monotonic",
        "a_clock_set_back_keeps_nothing_alive",
        "clock",
    ),
    Bug(
        "F31 S2 a window does not close",
        AnalyticsCache,
        "peek",
        "and (slot.valid_until is None or self._wall().timestamp() < slot.valid_until)",
        "",
        "a_window_closes_on_the_wall_clock",
        "window",
    ),
    Bug("S4 the expired stay", Registry, "_sweep", "self.forget(slot)", "pass", "the_expired_leave", "left behind"),
    Bug(
        "S18 stale is not said",
        Reader,
        "_kept",
        'return Answer(slot, "stale")',
        'return Answer(slot, "hit")',
        "stale_while_revalidated",
        "I1",
    ),
    Bug(
        "S18 stale without a bound",
        Registry,
        "stale_entry",
        "self.monotonic() - since <= within",
        "True",
        "stale_has_a_bound",
        "bound",
    ),
    Bug(
        "S17 a failing refresh is taken for an answer",
        Reader,
        "_outcome",
        "if demand.watcher is None:",
        "if True:",
        "refreshed_ahead_and_failing",
        "last change",
    ),
    Bug(
        "S24 includes instead of intersects",
        Registry,
        "overtake",
        "taken = self.index.take(key)",
        _taking("any(d.includes(key) for d in s.depends_on)"),
        "wildcards_drop_what_they_may_mean",
        "wildcard",
    ),
    Bug(
        "S21 S22 prefixes of text",
        Registry,
        "overtake",
        "taken = self.index.take(key)",
        _taking("any(str(key).startswith(str(d).rstrip('/*')) for d in s.depends_on)"),
        "neighbours_are_left_alone",
        "prefix",
    ),
    Bug(
        "a group has ended, and readers do not look",
        AnalyticsCache,
        "peek",
        "and ((group := slot.group) is None or group.cause is None)",
        "",
        "companions_are_dropped_together",
        "companions: one of those",
    ),
    Bug(
        "who is watched shares the fate of its group",
        Reader,
        "_decide",
        "registry.index.single_out(answer.slot)",
        "pass",
        "companions_are_dropped_together",
        "companions: a watcher",
    ),
    Bug(
        "one that is dropped stays in its group",
        dependencies.Dependencies,
        "discard",
        "group.slots.discard(slot)",
        "pass",
        "companions_are_dropped_together",
        "companions: miscounted",
    ),
    Bug(
        "S11 a mistyped dependency",
        dependencies,
        "key_exprs",
        "if not _can_match(key)",
        "if False and not _can_match(key)",
        "what_can_never_match_is_refused",
        "never",
    ),
    Bug(
        "lost: another loop is not woken",
        sys.modules[Flight.__module__],
        "_deliver",
        "loop.call_soon_threadsafe(_wake, waiter)",
        "pass",
        "two_loops",
        "hang",
    ),
    Bug(
        "lost: threads are not woken",
        sys.modules[Flight.__module__],
        "_deliver",
        "if loop is None or loop is here:",
        "if loop is here and loop:",
        "threads_read_and_commit",
        "hang|AttributeError|NoneType",
    ),
    Bug(
        "lost: the leading loop dies unnoticed",
        Flight,
        "_check_leader",
        "self._end(lost=True)",
        "pass",
        "the_leading_loop_goes_away",
        "hang",
    ),
    Bug(
        "lost: a watched entry is evicted",
        Registry,
        "tidy",
        "if not slot.watchers:",
        "if True:",
        "watched_until_the_last_change",
        "last change",
    ),
    Bug(
        "F5 a wait that swallows its cancellation",
        Watched,
        "_sleep",
        "async with asyncio.timeout(seconds):",
        "if await asyncio.wait_for(self._changed.wait(), seconds):",
        "a_refresh_is_closed_as_a_change_comes",
        "hang",
    ),
    Bug(
        "lost: the mark is cleared after the load",
        Watched,
        "run",
        "loaded = await self._load(self.touch)",
        "loaded = await self._load(self.touch); self._changed.clear()",
        "refreshed_ahead",
        "last change",
    ),
    Bug(
        "store: evicted by key, not by identity",
        Registry,
        "tidy",
        "if self.entries.get(key) is not slot:",
        "slot = self.entries.get(key)\n        if slot is None:",
        "a_late_word_of_an_eviction",
        "identity",
    ),
    Bug(
        "store: bytes are not given back",
        Registry,
        "forget",
        "self.bytes -= slot.size",
        "pass",
        "evicted_at_any_time",
        "bytes",
    ),
    Bug(
        "store: what does not fit leaves the old",
        AnalyticsCache,
        "insert",
        'registry.drop(key, "replaced by what does not fit", woken)',
        "pass",
        "a_big_answer_is_not_kept",
        "capacity",
    ),
    Bug(
        "a bad policy strands a flight",
        Reader,
        "_enter",
        "seconds <= 0:",
        "seconds <= 0 and Flight.enter(self._registry, demand.key, demand.depends_on, loop, grace=0, pins=False):",
        "a_bad_policy_leaves_no_flight",
        "left behind",
    ),
    Bug(
        "groups: a dissolved one is still joined",
        Dependencies,
        "dissolve",
        "self._groups.get(group.expression) is group",
        "False",
        "companions_and_commits",
        "unreachable",
    ),
    Bug(
        "groups: an ended one is still joined",
        Dependencies,
        "gather",
        "group is None or group.cause is not None",
        "group is None",
        "companions_who_are_computed_again_are_kept",
        "lost",
    ),
    Bug(
        "groups: a commit ends those who have seen it",
        Registry,
        "overtake_before",
        "taken += self.index.dissolve(found)",
        "found.stale_at, found.cause = self.monotonic(), change.key",
        "companions_who_have_seen_it_stay",
        "replay",
    ),
    Bug(
        "groups: a commit forgets those who have seen it",
        Registry,
        "overtake_before",
        "self.index.register(found)",
        "pass",
        "companions_and_commits",
        "unreachable|I1",
    ),
    Bug(
        "groups: the watched are told by nobody",
        Dependencies,
        "single_out",
        "slot.group is not None and",
        "False and",
        "companions_come_and_go",
        "last change",
    ),
)


async def nobody_waits_for_ever() -> None:
    """Everybody is cancelled while the computation waits for something that never comes."""
    clock = ManualClock()
    cache = AnalyticsCache(grace=0.01, clock=clock)
    running = 0

    async def never() -> None:
        nonlocal running
        running += 1
        try:
            await asyncio.Event().wait()
        finally:
            running -= 1

    callers = [asyncio.ensure_future(cache.get_or_compute("k", never)) for _ in range(2)]
    await asyncio.sleep(0.001)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    await asyncio.sleep(1)
    assert running == 0, "left behind: still computing for nobody"


async def a_refresh_is_closed_as_a_change_comes() -> None:
    cache = AnalyticsCache(clock=ManualClock())
    async with ProactiveRefresh(cache, clock=ManualClock()) as refresh:
        refresh.keep("k", lambda: asyncio.sleep(0, 1), depends_on="events/T/**")
        await asyncio.sleep(1)
        cache.apply("events/T/1/1")
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(refresh.close())
        await asyncio.sleep(100)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        assert closing.done(), "hang: close waits for a task that has swallowed its cancellation"


CHECKS["nobody_waits_for_ever"] = nobody_waits_for_ever
CHECKS["a_refresh_is_closed_as_a_change_comes"] = a_refresh_is_closed_as_a_change_comes


# -------------------------------------------------------------------- planting


@contextlib.contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """The function with one piece of its code replaced. Fails if that piece does not stand there any more."""
    original = inspect.getattr_static(bug.owner, bug.function)
    inner = original.fget if isinstance(original, property) else original
    source = textwrap.dedent(inspect.getsource(getattr(inner, "__func__", inner)))
    assert bug.code in source, f"{bug.name}: {bug.function} has changed; plant the bug anew"
    module = bug.owner if inspect.ismodule(bug.owner) else sys.modules[bug.owner.__module__]
    code = compile(source.replace(bug.code, bug.instead), "<planted>", "exec", __future__.annotations.compiler_flag)
    names: dict[str, Any] = {}
    exec(code, module.__dict__, names)
    users = [user for user in (module, analytics_cache) if getattr(user, bug.function, None) is original]
    owners = users if inspect.ismodule(bug.owner) else [bug.owner]
    for owner in owners:
        setattr(owner, bug.function, names[bug.function])
    try:
        yield
    finally:
        for owner in owners:
            setattr(owner, bug.function, original)


def broken_by(check: str, seed: int = 1) -> str:
    """What the check reports, '' if it passes."""
    try:
        if check in ON_LOOP:
            detangle.explore(
                ON_LOOP[check], runs=RUNS, strategy=detangle.RandomWalk(seed), shrink=False, database=False
            )
        elif check in IN_THREADS:
            threads.explore(IN_THREADS[check], RUNS, seed)
        elif inspect.iscoroutinefunction(CHECKS[check]):
            detangle.run(CHECKS[check])
        else:
            CHECKS[check]()
    except detangle.BugFound as found:
        failure = found.report.failure
        return "hang: deadlock" if failure.kind == "deadlock" else failure.message
    except threads.BrokenSchedule as broken:
        return str(broken.__cause__)
    except (AssertionError, pytest.fail.Exception) as error:
        return str(error)
    return ""


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "livelake.cache")
    caplog.set_level(logging.CRITICAL, "asyncio")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_told_by_its_own_check(bug: Bug) -> None:
    said: list[str] = []
    with planted(bug):
        for seed in range(SEEDS):  # one bug may break several promises, in different schedules
            said.append(broken_by(bug.check, seed))
            if re.search(bug.says, said[-1]):
                return
    pytest.fail(f"{bug.name}: {bug.check} does not say {bug.says!r}, but {sorted(set(said))}")


@pytest.mark.parametrize("check", CHECKS)
def test_without_a_bug_the_check_is_silent(check: str) -> None:
    """The searched scenarios are run without a bug in `test_cache_schedules`."""
    assert broken_by(check) == ""


def test_there_are_bugs_enough() -> None:
    assert len(BUGS) >= 25
    assert len({bug.name for bug in BUGS}) == len(BUGS)
