"""The cache's surface, one promise a test. Interleavings are searched in tests/schedules."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from livelake.cache import AnalyticsCache, CacheDependency, Flight
from livelake.errors import BusyError, ClosedError, KeyExprError, LivelakeError, UsageError
from livelake.events import Event, LocalBus
from livelake.invalidation import CacheInvalidator
from livelake.keys import KeyExpr
from livelake.testing import ManualClock


class Source:
    """Something to compute, that counts and can be held up."""

    def __init__(self, value: Any = 1) -> None:
        self.value = value
        self.calls = 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> Any:
        self.calls += 1
        value = self.value
        await self.go.wait()
        if isinstance(value, Exception):
            raise value
        return value


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cache(clock: ManualClock) -> AnalyticsCache:
    return AnalyticsCache(clock=clock)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


# -------------------------------------------------------------------- time


async def test_a_value_lives_for_its_time_to_live_and_not_a_moment_longer(clock: ManualClock) -> None:
    cache = AnalyticsCache(time_to_live=300, time_to_idle=None, clock=clock)
    cache.insert("k", "v")
    clock.advance(299.999)
    assert cache.get("k") == "v"
    clock.advance(0.001)
    assert cache.get("k") is None


async def test_a_value_that_nobody_reads_goes_after_its_time_to_idle(
    cache: AnalyticsCache, clock: ManualClock
) -> None:
    cache.insert("k", "v")
    for _ in range(3):
        clock.advance(59)
        assert cache.get("k") == "v"
    clock.advance(60)
    assert cache.get("k") is None


async def test_valid_until_is_the_wall_clock_and_its_moment_is_a_miss(
    cache: AnalyticsCache, clock: ManualClock
) -> None:
    cache.insert("k", "v", valid_until=clock.now() + timedelta(seconds=10))
    clock.jump(9.999)
    assert cache.get("k") == "v"
    clock.jump(0.001)
    assert cache.get("k") is None


async def test_a_read_after_the_window_closed_does_not_join_a_flight_from_before(
    cache: AnalyticsCache, clock: ManualClock
) -> None:
    """I1, in time: the flight began on the day that is over."""
    source = Source("yesterday")
    source.go.clear()
    midnight = clock.now() + timedelta(seconds=10)
    before = asyncio.create_task(cache.get_or_compute("k", source, valid_until=midnight))
    await until(lambda: source.calls)
    clock.advance(10)
    source.value = "today"
    after = asyncio.create_task(cache.get_or_compute("k", source, valid_until=midnight + timedelta(days=1)))
    await until(lambda: cache.stats().misses == 2)
    source.go.set()
    assert await asyncio.gather(before, after) == ["yesterday", "today"]
    assert cache.get("k") == "today"


async def test_a_clock_set_back_keeps_nothing_alive_beyond_its_time_to_live(
    cache: AnalyticsCache, clock: ManualClock
) -> None:
    cache.insert("k", "v")
    clock.jump(-86_400)
    clock.advance(300)
    assert cache.get("k") is None


async def test_the_age_of_an_answer_counts_from_when_it_was_begun(clock: ManualClock) -> None:
    cache = AnalyticsCache(time_to_live=10, time_to_idle=None, clock=clock)

    async def slow() -> int:
        clock.advance(4)
        return 1

    await cache.get_or_compute("k", slow)
    clock.advance(5.9)
    assert cache.get("k") == 1
    clock.advance(0.1)
    assert cache.get("k") is None


async def test_the_dead_are_swept_and_leave_no_registration(clock: ManualClock) -> None:
    cache = AnalyticsCache(10_000, clock=clock)
    for n in range(500):
        cache.insert(n, n, depends_on=[f"events/T/{n}/**"])
    clock.advance(301)
    cache.settle()
    assert len(cache) == 0
    assert len(cache._registry.index) == 0
    assert cache._registry.entries == {}
    assert cache.stats().expirations == 500


async def test_naive_times_and_empty_lifetimes_are_refused(cache: AnalyticsCache) -> None:
    with pytest.raises(UsageError, match="aware"):
        cache.insert("k", 1, valid_until=datetime(2024, 1, 1))
    with pytest.raises(UsageError, match="time_to_live"):
        AnalyticsCache(time_to_live=0)
    with pytest.raises(UsageError, match="max_capacity"):
        AnalyticsCache(0)


# -------------------------------------------------------------------- changes


async def test_an_event_drops_what_depends_on_it_and_nothing_else(cache: AnalyticsCache) -> None:
    cache.insert("all", 1, depends_on=["events/Todo/**"])
    cache.insert("one", 2, depends_on=["events/Todo/42/**"])
    cache.insert("other", 3, depends_on=["events/TodoList/**"])
    cache.insert("nothing", 4)
    cache.insert("everything", 5, depends_on="**")
    assert cache.apply("events/Todo/7/1") == 2
    assert [cache.get(key) for key in ("all", "one", "other", "nothing", "everything")] == [None, 2, 3, 4, None]
    assert cache.apply("events/Todo/42/1") == 1
    assert cache.get("one") is None


async def test_a_wildcard_publication_drops_all_that_it_may_mean(cache: AnalyticsCache) -> None:
    """S24: test for intersection, not inclusion."""
    cache.insert("one", 1, depends_on=["events/Todo/42/**"])
    assert cache.apply("events/**") == 1


async def test_a_commit_that_an_answer_has_seen_does_not_touch_it(cache: AnalyticsCache) -> None:
    async def run(flight: Flight[int]) -> int:
        flight.pin({"sales": 5}, [KeyExpr("lake/sales/main/orders")])
        return 1

    await cache.fetch("k", run, depends_on=frozenset({KeyExpr("lake/**")}), pins=True)
    assert cache.apply("lake/sales/main/orders", source="sales", version=5) == 0
    assert cache.apply("lake/sales/main/people", source="sales", version=6) == 0
    assert cache.get("k") == 1
    assert cache.apply("lake/sales/main/orders", source="sales", version=6) == 1
    assert cache.get("k") is None


async def test_many_changes_before_a_flight_pins_are_bounded_and_none_is_forgotten(cache: AnalyticsCache) -> None:
    """I5, I1."""
    for newest, kept in ((500, True), (499, False)):
        begun, go = asyncio.Event(), asyncio.Event()

        async def run(flight: Flight[int], newest: int = newest, begun: Any = begun, go: Any = go) -> int:
            begun.set()
            await go.wait()
            flight.pin({"sales": newest}, [KeyExpr("lake/sales/main/orders")])
            assert len(flight.slot.unseen) == 0
            return newest

        reading = asyncio.create_task(cache.fetch(newest, run, depends_on=frozenset({KeyExpr("lake/**")}), pins=True))
        await begun.wait()
        for version in range(1, 501):
            cache.apply("lake/sales/main/orders", source="sales", version=version)
        slot = cache._registry.flights[newest].slot
        assert len(slot.unseen) <= 65
        go.set()
        assert (await reading).value == newest
        assert (cache.get(newest) is not None) is kept


async def test_a_bad_dependency_is_refused_where_it_is_declared(cache: AnalyticsCache) -> None:
    with pytest.raises(KeyExprError):
        await cache.get_or_compute("k", Source(), depends_on=["events//Todo"])
    with pytest.raises(KeyExprError):
        cache.apply("")
    assert cache.stats().flights == 0


async def test_invalidate_by_key_and_by_predicate(cache: AnalyticsCache) -> None:
    for n in range(10):
        cache.insert(n, n)
    assert cache.invalidate(3)
    assert not cache.invalidate(3)
    assert cache.invalidate_where(lambda key: isinstance(key, int) and key % 2 == 0) == 5
    assert [n for n in range(10) if cache.get(n) is not None] == [1, 5, 7, 9]
    assert cache.clear() == 4
    assert len(cache) == 0


async def test_a_predicate_covers_flights(cache: AnalyticsCache) -> None:
    """F7: what is being computed must not be kept either."""
    source = Source()
    source.go.clear()
    reading = asyncio.create_task(cache.get_or_compute("k", source))
    await until(lambda: source.calls)
    assert cache.invalidate_where(lambda key: key == "k") == 1
    source.go.set()
    assert await reading == 1
    assert cache.get("k") is None


async def test_an_insert_overrules_an_older_flight(cache: AnalyticsCache) -> None:
    """I8."""
    source = Source("old")
    source.go.clear()
    reading = asyncio.create_task(cache.get_or_compute("k", source))
    await until(lambda: source.calls)
    cache.insert("k", "new")
    source.go.set()
    assert await reading == "old"
    assert cache.get("k") == "new"


async def test_the_builder_of_the_seed(cache: AnalyticsCache) -> None:
    dependency = (
        CacheDependency("daily_stats:2024-01-15")
        .depends_on_aggregate("Todo")
        .depends_on_instance("User", "a/b")
        .depends_on_key("lake/sales/**")
    )
    cache.insert(dependency.cache_key, 1, depends_on=dependency.depends_on)
    assert cache.apply(Event(aggregate_type="User", aggregate_id="b", event_type="x", sequence=1).key) == 0
    assert cache.apply(Event(aggregate_type="User", aggregate_id="a/b", event_type="x", sequence=1).key) == 1
    cache.insert(dependency.cache_key, 2, depends_on=dependency.depends_on)
    assert cache.apply("lake/sales/main/orders") == 1


# -------------------------------------------------------------------- the bus


async def test_what_is_published_has_been_applied_when_publish_returns(cache: AnalyticsCache) -> None:
    async with LocalBus() as bus, CacheInvalidator(cache, bus):
        cache.insert("k", 1, depends_on=["events/Todo/**"])
        await bus.publish(Event(aggregate_type="Todo", aggregate_id="1", event_type="Done"))
        assert cache.get("k") is None
        cache.insert("k", 1, depends_on=["events/Todo/**"])
        await bus.invalidate("events/*/1/**")
        assert cache.get("k") is None


async def test_a_closed_bus_leaves_nothing_that_it_would_have_dropped(cache: AnalyticsCache) -> None:
    """I4: doubt drops what depends on events, and nothing that a snapshot can vouch for."""
    bus = LocalBus()
    async with CacheInvalidator(cache, bus):
        cache.insert("event", 1, depends_on=["events/Todo/**"])
        cache.insert("table", 2, depends_on=["lake/sales/main/orders"])
        await bus.close()
        assert cache.get("event") is None
        assert cache.get("table") == 2


async def test_nothing_cached_before_the_invalidator_listened_is_trusted(cache: AnalyticsCache) -> None:
    """I2, S30: an entry from before the subscription may have missed an event."""
    cache.insert("k", 1, depends_on=["events/Todo/**"])
    async with LocalBus() as bus:
        invalidator = CacheInvalidator(cache, bus)
        async with invalidator:
            assert cache.get("k") is None
            cache.insert("k", 1, depends_on=["events/Todo/**"])
        assert cache.get("k") is None
        with pytest.raises(ClosedError):
            invalidator.start()


# -------------------------------------------------------------------- flights


async def test_ten_thousand_callers_compute_once(cache: AnalyticsCache) -> None:
    """I3, F6."""
    source = Source()
    values = await asyncio.gather(*(cache.get_or_compute("k", source) for _ in range(10_000)))
    assert set(values) == {1}
    assert source.calls == 1


async def test_an_error_reaches_everyone_who_waited_and_nobody_after(cache: AnalyticsCache) -> None:
    """I6."""
    source = Source(ValueError("no"))
    results = await asyncio.gather(*(cache.get_or_compute("k", source) for _ in range(5)), return_exceptions=True)
    assert [str(result) for result in results] == ["no"] * 5
    assert source.calls == 1
    source.value = 2
    assert await cache.get_or_compute("k", source) == 2


async def test_the_last_good_value_only_where_asked_for_and_not_too_old(
    cache: AnalyticsCache, clock: ManualClock
) -> None:
    """I6."""
    source = Source()
    await cache.get_or_compute("k", source, depends_on=["events/T/**"])
    cache.apply("events/T/1/1")
    source.value = ValueError("no")
    with pytest.raises(ValueError, match="no"):
        await cache.get_or_compute("k", source)
    clock.advance(5)
    assert await cache.get_or_compute("k", source, stale_if_error=5) == 1
    clock.advance(1)
    with pytest.raises(ValueError, match="no"):
        await cache.get_or_compute("k", source, stale_if_error=5)
    assert cache.stats().stale_served == 1


async def test_a_computation_cancelled_from_inside_is_an_error_not_a_cancellation(cache: AnalyticsCache) -> None:
    """F5: cashews hands its followers a CancelledError."""

    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(BusyError, match="cancelled from inside"):
        await cache.get_or_compute("k", cancelled)


async def test_a_reload_within_the_grace_finds_the_computation_still_running() -> None:
    cache = AnalyticsCache(grace=3600.0)
    source = Source()
    source.go.clear()
    first = asyncio.create_task(cache.get_or_compute("k", source))
    await until(lambda: source.calls)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(cache.get_or_compute("k", source))
    await until(lambda: cache.stats().joins)
    source.go.set()
    assert await second == 1
    assert source.calls == 1
    await cache.close()


async def test_plain_functions_run_in_a_thread(cache: AnalyticsCache) -> None:
    assert await cache.get_or_compute("k", lambda: threading.get_ident()) != threading.get_ident()

    async def seven() -> int:
        return 7

    assert await cache.get_or_compute("l", lambda: seven()) == 7


async def test_closing_cancels_what_flies_and_refuses_what_comes(cache: AnalyticsCache) -> None:
    source = Source()
    source.go.clear()
    reading = asyncio.create_task(cache.get_or_compute("k", source))
    await until(lambda: source.calls)
    await cache.close()
    await cache.close()
    with pytest.raises(ClosedError):
        await reading
    with pytest.raises(ClosedError):
        await cache.get_or_compute("k", source)
    with pytest.raises(ClosedError):
        cache.insert("k", 1)


# -------------------------------------------------------------------- bounds


async def test_capacity_is_held_and_the_evicted_leave_no_registration(clock: ManualClock) -> None:
    """I5, F29: an entry and its registration live and die together."""
    cache = AnalyticsCache(100, clock=clock)
    for n in range(2_000):
        cache.insert(n, n, depends_on=[f"events/T/{n}/**"])
    cache.settle()
    registry = cache._registry
    assert 0 < len(cache) <= 100
    assert len(registry.index) == len(registry.entries) <= 100
    assert all(registry.store.look(key) is slot for key, slot in registry.entries.items())


async def test_bytes_are_held_and_what_can_never_fit_is_not_kept(clock: ManualClock) -> None:
    """I5."""
    cache = AnalyticsCache(1_000, max_bytes=10_000, clock=clock)
    for n in range(100):
        cache.insert(n, b"x" * 1_000)
    cache.settle()
    assert 0 < sum(len(slot.value) for slot in cache._registry.entries.values()) <= 10_000
    cache.insert("big", b"x" * 10_001)
    assert cache.get("big") is None

    async def big() -> bytes:
        return b"x" * 10_001

    assert len(await cache.get_or_compute("big", big, depends_on=["events/T/**"])) == 10_001
    assert cache.get("big") is None
    assert not [slot for slot in cache._registry.index.slots() if slot.key == "big"]


async def test_a_watched_entry_hears_of_changes_even_after_eviction(clock: ManualClock) -> None:
    """I5 and the last change: what the store drops, a watcher still depends on."""
    cache = AnalyticsCache(10, clock=clock)
    heard: list[int] = []

    async def run(flight: Flight[int]) -> int:
        return 1

    read = await cache.fetch(
        "k", run, depends_on=frozenset({KeyExpr("events/T/**")}), watcher=lambda: heard.append(1)
    )
    for n in range(500):
        cache.insert(n, n)
        cache.get(n)
    cache.settle()
    cache.apply("events/T/1/1")
    assert heard == [1]
    cache.unwatch(read.slot, lambda: None)


async def test_the_heap_of_deadlines_does_not_grow_with_replacements(cache: AnalyticsCache) -> None:
    for n in range(10_000):
        cache.insert("k", n)
    assert len(cache._registry._deadlines) < 200


async def test_keys_of_every_kind_and_a_none_value(cache: AnalyticsCache) -> None:
    source = Source(None)
    for key in ("k", 1, ("a", 1), frozenset({1})):
        assert await cache.get_or_compute(key, source) is None
        assert await cache.get_or_compute(key, source) is None
    assert source.calls == 4
    with pytest.raises(TypeError):
        await cache.get_or_compute(["unhashable"], source)


# -------------------------------------------------------------------- threads and loops


async def in_other_loop(work: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine on a loop of its own, in a thread of its own."""
    return await asyncio.to_thread(lambda: asyncio.run(_call(work)))


async def _call(work: Callable[[], Awaitable[Any]]) -> Any:
    return await work()


async def test_callers_on_several_loops_share_one_computation(cache: AnalyticsCache) -> None:
    """I3."""
    source = Source()
    source.go.clear()
    leader = asyncio.create_task(cache.get_or_compute("k", source))
    await until(lambda: source.calls)
    followers = [asyncio.create_task(in_other_loop(lambda: cache.get_or_compute("k", source))) for _ in range(3)]
    await until(lambda: cache.stats().joins == 3)
    source.go.set()
    assert await asyncio.gather(leader, *followers) == [1] * 4
    assert source.calls == 1


async def test_when_the_leading_loop_ends_a_follower_leads_again(cache: AnalyticsCache) -> None:
    begun = threading.Event()

    async def never() -> None:
        begun.set()
        await asyncio.Event().wait()

    stop: list[Callable[[], object]] = []

    def lead() -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(cache.get_or_compute("k", never))
        stop.append(lambda: loop.call_soon_threadsafe(task.cancel))
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        for left in asyncio.all_tasks(loop):
            left.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    leading = asyncio.create_task(asyncio.to_thread(lead))
    await asyncio.to_thread(begun.wait, 20)
    source = Source(2)
    follower = asyncio.create_task(cache.get_or_compute("k", source))
    await until(lambda: cache.stats().joins)
    stop[0]()
    assert await asyncio.wait_for(follower, 20) == 2
    await leading


async def test_a_loop_that_is_closed_without_a_word_does_not_hang_its_followers(cache: AnalyticsCache) -> None:
    begun = threading.Event()

    async def never() -> None:
        begun.set()
        await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    leader = loop.create_task(cache.get_or_compute("k", never))
    running = threading.Thread(target=loop.run_forever)
    running.start()
    await asyncio.to_thread(begun.wait, 20)
    follower = asyncio.create_task(cache.get_or_compute("k", Source(2)))
    await until(lambda: cache.stats().joins)
    loop.call_soon_threadsafe(loop.stop)
    await asyncio.to_thread(running.join)
    loop.close()
    assert await asyncio.wait_for(follower, 20) == 2
    leader._log_destroy_pending = False  # type: ignore[attr-defined]
    cache._reader._tasks.clear()


def test_threads_never_read_what_was_invalidated_before_they_began() -> None:
    """I1 under real threads: readers beside an invalidator, on the real store."""
    cache = AnalyticsCache(50, time_to_live=None, time_to_idle=None)
    truth = [0]
    acknowledged = [0]
    deadline = time.monotonic() + 1.5
    wrong: list[tuple[int, int]] = []

    async def compute() -> int:
        value = truth[0]
        await asyncio.sleep(0)
        return value

    async def read() -> None:
        while time.monotonic() < deadline:
            floor = acknowledged[0]
            value = await cache.get_or_compute("k", compute, depends_on=["events/T/**"])
            if value < floor:
                wrong.append((value, floor))
            value = cache.get("k", floor)

    def write() -> None:
        while time.monotonic() < deadline:
            truth[0] += 1
            cache.apply("events/T/1/1")
            acknowledged[0] = truth[0]

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(lambda: asyncio.run(read())) for _ in range(3)] + [pool.submit(write)]
        for job in jobs:
            job.result(60)
    assert wrong == []
    assert cache.stats().computed > 10


async def test_a_slot_is_free_when_nobody_holds_it(cache: AnalyticsCache) -> None:
    """Nothing grows: a dropped value is garbage."""

    class Value:
        alive = 0

        def __init__(self) -> None:
            Value.alive += 1

        def __del__(self) -> None:
            Value.alive -= 1

    for n in range(20):
        await cache.get_or_compute(n, Value)
    cache.clear()
    cache.settle()
    gc.collect()
    assert Value.alive == 0


def test_every_error_has_one_root() -> None:
    from livelake import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 8
    assert all(issubclass(kind, LivelakeError) for kind in kinds)
    assert all(kind.__doc__ for kind in kinds)
