"""What a reader may ask for, one promise a test: policies, `read`, `cached`, plain threads, `ProactiveRefresh`."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import detangle
import pytest

from livelake.cache import AnalyticsCache, CacheStats, Flight, ProactiveRefresh
from livelake.errors import ClosedError, KeyExprError, UsageError
from livelake.keys import KeyExpr
from livelake.testing import ManualClock


class Source:
    """Something to compute, that counts."""

    def __init__(self, value: Any = 1) -> None:
        self.value = value
        self.calls = 0

    async def __call__(self) -> Any:
        self.calls += 1
        value = self.value
        await asyncio.sleep(0)
        if isinstance(value, Exception):
            raise value
        return value


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cache(clock: ManualClock) -> AnalyticsCache:
    return AnalyticsCache(time_to_live=100, time_to_idle=None, keep_stale=50, clock=clock)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


class Ticking(ManualClock):
    """Time passes between any two looks, as it does."""

    def monotonic(self) -> float:
        self._monotonic += 1e-6
        return self._monotonic


# -------------------------------------------------------------------- stale while revalidate


async def test_a_stale_answer_is_taken_and_said_and_computed_again_behind(
    cache: AnalyticsCache, clock: ManualClock
) -> None:
    source = Source(1)
    await cache.get_or_compute("k", source, depends_on="events/T/**")
    clock.advance(3)
    cache.apply("events/T/1/1")
    source.value = 2
    read = await cache.read("k", source, depends_on="events/T/**", stale_while_revalidate=10.0)
    assert (read.value, read.status, read.age) == (1, "stale", 3)
    await until(lambda: cache.get("k") == 2)
    assert source.calls == 2
    assert cache.stats().refreshes == 1


async def test_an_answer_staler_than_asked_for_is_computed_while_one_waits(
    cache: AnalyticsCache, clock: ManualClock
) -> None:
    source = Source(1)
    await cache.get_or_compute("k", source, depends_on="events/T/**")
    cache.apply("events/T/1/1")
    source.value = 2
    clock.advance(10.001)
    read = await cache.read("k", source, stale_while_revalidate=10.0)
    assert (read.value, read.status) == (2, "miss")


async def test_the_bound_counts_from_expiry_too_and_keep_stale_is_its_end(
    cache: AnalyticsCache, clock: ManualClock
) -> None:
    cache.insert("k", 1)
    clock.advance(105)
    assert (await cache.read("k", Source(RuntimeError()), stale_while_revalidate=5.0)).status == "stale"
    await until(lambda: not cache.stats().flights)
    clock.advance(46)
    assert (await cache.read("k", Source(2), stale_while_revalidate=1000.0)).status == "miss"


async def test_a_background_refresh_that_fails_is_put_off_longer_and_longer(
    cache: AnalyticsCache, clock: ManualClock
) -> None:
    cache.insert("k", 1, depends_on="events/T/**")
    cache.apply("events/T/1/1")
    source = Source(ValueError("no"))
    times = []
    for _ in range(200):
        calls = source.calls
        assert (await cache.read("k", source, stale_while_revalidate=49.0)).status == "stale"
        await until(lambda: not cache.stats().flights)
        if source.calls > calls:
            times.append(clock.monotonic())
        clock.advance(0.2)
    assert 5 <= len(times) <= 9
    assert times[-1] - times[-2] > 2 * (times[2] - times[1])
    assert cache.stats().refreshes_coalesced > 100


async def test_one_refresh_for_many_stale_readers(cache: AnalyticsCache) -> None:
    """F29."""
    cache.insert("k", 1, depends_on="events/T/**")
    cache.apply("events/T/1/1")
    source = Source(2)
    reads = await asyncio.gather(*(cache.read("k", source, stale_while_revalidate=9.0) for _ in range(50)))
    assert {read.status for read in reads} == {"stale"}
    await until(lambda: cache.get("k") == 2)
    assert source.calls == 1


# -------------------------------------------------------------------- errors


async def test_stale_if_error_serves_the_last_good_answer_with_the_error(
    cache: AnalyticsCache, clock: ManualClock
) -> None:
    cache.insert("k", 1, depends_on="events/T/**")
    cache.apply("events/T/1/1")
    clock.advance(4)
    read = await cache.read("k", Source(ValueError("no")), stale_if_error=4.0)
    assert (read.value, read.status, str(read.error)) == (1, "stale", "no")
    clock.advance(0.001)
    with pytest.raises(ValueError, match="no"):
        await cache.read("k", Source(ValueError("no")), stale_if_error=4.0)


async def test_a_kept_failure_is_raised_again_until_it_is_old(cache: AnalyticsCache, clock: ManualClock) -> None:
    source = Source(ValueError("no"))
    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            await cache.get_or_compute("k", source, negative_ttl=10.0)
    assert source.calls == 1
    clock.advance(10)
    source.value = 2
    assert await cache.get_or_compute("k", source, negative_ttl=10.0) == 2


@pytest.mark.parametrize("how", ["apply", "invalidate", "invalidate_where", "clear", "insert"])
async def test_a_kept_failure_goes_with_any_change(cache: AnalyticsCache, how: str) -> None:
    source = Source(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await cache.get_or_compute("k", source, depends_on="events/T/**", negative_ttl=10.0)
    source.value = 2
    {
        "apply": lambda: cache.apply("events/T/1/1"),
        "invalidate": lambda: cache.invalidate("k"),
        "invalidate_where": lambda: cache.invalidate_where(lambda key: key == "k"),
        "clear": cache.clear,
        "insert": lambda: cache.insert("k", 2),
    }[how]()
    assert await cache.get_or_compute("k", source, negative_ttl=10.0) == 2
    assert not cache._registry.failures
    assert not [slot for slot in cache._registry.index.slots() if slot.value != 2]


async def test_a_failure_that_a_commit_overlapped_before_it_pinned_is_not_kept(cache: AnalyticsCache) -> None:
    """I1: planning failed because a table was missing; the commit that made it came meanwhile."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def run(flight: Flight[int]) -> int:
        begun.set()
        await go.wait()
        raise ValueError("no such table")

    async def fine(flight: Flight[int]) -> int:
        return 1

    depends_on = frozenset({KeyExpr("lake/**")})
    first = asyncio.ensure_future(cache.fetch("k", run, depends_on=depends_on, pins=True, negative_ttl=60.0))
    await begun.wait()
    cache.apply("lake/sales/main/orders", source="sales", version=7)
    go.set()
    with pytest.raises(ValueError, match="no such table"):
        await first
    assert (await cache.fetch("k", fine, depends_on=depends_on, negative_ttl=60.0)).value == 1


async def test_a_watcher_is_told_of_a_failure_and_not_handed_a_stale_answer(cache: AnalyticsCache) -> None:
    """The last change: nobody would tell it when the stale answer could be replaced."""
    cache.insert("k", 1, depends_on="events/T/**")
    cache.apply("events/T/1/1")

    async def run(flight: Flight[int]) -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await cache.fetch("k", run, watcher=lambda: None, stale_if_error=60.0)


# -------------------------------------------------------------------- fresh, bypass, lifetimes


async def test_fresh_refuses_what_is_kept_and_keeps_its_own_for_others(cache: AnalyticsCache) -> None:
    source = Source(1)
    await cache.get_or_compute("k", source)
    source.value = 2
    assert await cache.get_or_compute("k", source, fresh=True) == 2
    assert cache.get("k") == 2


async def test_fresh_does_not_join_a_flight_that_has_begun_even_if_it_has_not_pinned(cache: AnalyticsCache) -> None:
    """Its transaction may be older than the call already."""
    begun, go, truth = asyncio.Event(), asyncio.Event(), [1]

    async def run(flight: Flight[int]) -> int:
        value = truth[0]
        begun.set()
        await go.wait()
        flight.pin({})
        return value

    first = asyncio.ensure_future(cache.fetch("k", run, pins=True))
    await begun.wait()
    truth[0] = 2
    second = asyncio.ensure_future(cache.fetch("k", run, pins=True, fresh=True))
    await asyncio.sleep(0)
    go.set()
    assert [(await first).value, (await second).value] == [1, 2]


async def test_who_joins_between_snapshot_and_pin_does_not_get_what_is_older_than_an_acknowledged_commit(
    cache: AnalyticsCache,
) -> None:
    """I1: found by the search with two loops."""
    begun, go, truth = asyncio.Event(), asyncio.Event(), [1]

    async def run(flight: Flight[int]) -> int:
        value = truth[0]
        begun.set()
        await go.wait()  # it is planned
        flight.pin({"sales": value}, [KeyExpr("lake/sales/main/orders")])
        return value

    read = functools.partial(cache.fetch, "k", run, depends_on=frozenset({KeyExpr("lake/**")}), pins=True)
    first = asyncio.ensure_future(read())
    await begun.wait()
    truth[0] = 2
    cache.apply("lake/sales/main/orders", source="sales", version=2)
    second = asyncio.ensure_future(read())
    await until(lambda: cache.stats().joins)
    go.set()
    assert (await first).value == 1
    assert (await second).value == 2


async def test_a_bypass_is_for_its_caller_alone(cache: AnalyticsCache) -> None:
    cache.insert("k", 1)
    read = await cache.read("k", Source(2), bypass=True)
    assert (read.value, read.status) == (2, "bypass")
    assert await asyncio.to_thread(lambda: cache.get_or_compute_sync("k", lambda: 3, bypass=True)) == 3
    assert cache.get("k") == 1
    assert cache.stats().bypasses == 2
    await cache.close()
    with pytest.raises(ClosedError):
        await cache.read("k", Source(2), bypass=True)


async def test_an_entry_may_have_lifetimes_of_its_own(cache: AnalyticsCache, clock: ManualClock) -> None:
    await cache.get_or_compute("short", Source(1), time_to_live=5.0)
    await cache.get_or_compute("idle", Source(1), time_to_idle=5.0)
    cache.insert("inserted", 1, time_to_live=5.0)
    clock.advance(4.9)
    assert [cache.get(key) for key in ("short", "idle", "inserted")] == [1, 1, 1]
    clock.advance(4.9)
    assert [cache.get(key) for key in ("short", "idle", "inserted")] == [None, 1, None]
    clock.advance(5)
    assert cache.get("idle") is None


@pytest.mark.parametrize("name", ["time_to_live", "time_to_idle", "negative_ttl"])
async def test_a_lifetime_of_nothing_is_refused_and_strands_no_flight(cache: AnalyticsCache, name: str) -> None:
    with pytest.raises(UsageError, match=name):
        await cache.get_or_compute("k", Source(1), **{name: 0.0})  # type: ignore[misc]
    assert cache.stats().flights == 0
    async with asyncio.timeout(5):
        assert await cache.get_or_compute("k", Source(1)) == 1


# -------------------------------------------------------------------- read, stats


async def test_a_read_says_how_it_came_about_and_how_old_it_is(cache: AnalyticsCache, clock: ManualClock) -> None:
    source = Source(1)
    both = await asyncio.gather(cache.read("k", source), cache.read("k", source))
    assert [read.status for read in both] == ["miss", "joined"]
    clock.advance(7)
    read = await cache.read("k", source)
    assert (read.status, read.age, read.error) == ("hit", 7, None)


async def test_the_numbers_add_up(cache: AnalyticsCache, clock: ManualClock) -> None:
    await asyncio.gather(*(cache.get_or_compute("k", Source(b"12345"), depends_on="events/T/**") for _ in range(3)))
    cache.get("k")
    cache.get("other")
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.joins, stats.computed) == (1, 2, 2, 1)
    assert (stats.entries, stats.bytes, stats.flights) == (1, 5, 0)
    cache.apply("events/T/1/1")
    assert (cache.stats().entries, cache.stats().invalidations) == (0, 1)
    with pytest.raises(ValueError, match="no"):
        await cache.get_or_compute("k", Source(ValueError("no")))
    assert cache.stats().errors == 1
    assert set(cache.stats().as_dict()) == set(CacheStats.__slots__)


async def test_what_has_expired_is_no_entry_even_before_it_is_swept(
    cache: AnalyticsCache, clock: ManualClock
) -> None:
    cache.insert("k", 1)
    clock.advance(100)
    assert len(cache) == 0
    assert "k" not in cache
    assert cache.explain("k").state == "expired"


@pytest.mark.parametrize("key", ["evnets/Todo/**", "events/Todo", "lake/sales", "events/a/b/c/d"])
async def test_a_dependency_that_can_never_match_is_refused(cache: AnalyticsCache, key: str) -> None:
    """S11."""
    with pytest.raises(KeyExprError):
        await cache.get_or_compute("k", Source(), depends_on=key)
    with pytest.raises(KeyExprError):
        cache.insert("k", 1, depends_on=[key])
    with pytest.raises(KeyExprError):
        cache.cached(depends_on=key)


# -------------------------------------------------------------------- the decorator

SAME_TO_PYTHON = (1, 1.0, True, "1", 0, 0.0, -0.0, False, Decimal("1"), Decimal("1.00"), None, (1,), (1.0,), b"1")


async def test_arguments_that_python_calls_equal_are_kept_apart(cache: AnalyticsCache) -> None:
    """F27."""

    @cache.cached()
    async def echo(value: Any) -> str:
        return repr(value)

    assert [await echo(value) for value in SAME_TO_PYTHON] == [repr(value) for value in SAME_TO_PYTHON]
    assert cache.stats().computed == len(SAME_TO_PYTHON)
    assert len({echo.cache_key(value) for value in SAME_TO_PYTHON}) == len(SAME_TO_PYTHON)  # type: ignore[attr-defined]


def test_plain_functions_are_kept_by_their_arguments_however_these_are_passed(cache: AnalyticsCache) -> None:
    calls = []

    @cache.cached(depends_on="events/T/**")
    def add(a: int, b: int = 2, *more: int, c: int = 3, **rest: int) -> int:
        calls.append(1)
        return a + b + c + sum(more) + sum(rest.values())

    assert add(1) == add(1, 2) == add(a=1, b=2) == add(b=2, a=1) == add(1, c=3) == 6
    assert len(calls) == 1
    assert add(1, x=1, y=2) == add(1, y=2, x=1) == 9
    assert len(calls) == 2
    assert add(1, 2, 0) == 6
    assert len(calls) == 3
    cache.apply("events/T/1/1")
    assert add(1) == 6
    assert len(calls) == 4
    assert add.__name__ == "add"


def test_an_argument_without_a_hash_is_refused_unless_a_key_is_given(cache: AnalyticsCache) -> None:
    @cache.cached()
    def total(values: list[int]) -> int:
        return sum(values)

    @cache.cached(key=lambda values: tuple(values))
    def total_by_key(values: list[int]) -> int:
        return sum(values)

    with pytest.raises(UsageError, match="argument values"):
        total([1, 2])
    assert total_by_key([1, 2]) == total_by_key([1, 2]) == 3
    with pytest.raises(TypeError):
        total()  # type: ignore[call-arg]


async def test_methods_are_kept_by_their_object(cache: AnalyticsCache) -> None:
    class Shop:
        def __init__(self, n: int) -> None:
            self.n = n

        @cache.cached()
        async def orders(self, day: str) -> int:
            return self.n

    one, two = Shop(1), Shop(2)
    assert [await one.orders("mon"), await two.orders("mon"), await one.orders("mon")] == [1, 2, 1]
    assert cache.stats().computed == 2


async def test_what_a_decorated_function_raises_is_raised_and_not_kept(cache: AnalyticsCache) -> None:
    calls = []

    @cache.cached()
    async def unlucky() -> int:
        calls.append(1)
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await unlucky()
    assert len(calls) == 2


# -------------------------------------------------------------------- plain threads


async def test_a_thread_whose_loop_runs_is_refused_instead_of_standing_still(cache: AnalyticsCache) -> None:
    with pytest.raises(UsageError, match="event loop"):
        cache.get_or_compute_sync("k", lambda: 1)
    cache.insert("k", 1)
    assert cache.get_or_compute_sync("k", lambda: 2) == 1  # a hit stands still for nobody


def test_a_plain_thread_computes_here_and_raises_here(cache: AnalyticsCache) -> None:
    assert cache.get_or_compute_sync("k", lambda: 1, depends_on="events/T/**") == 1
    assert cache.get_or_compute_sync("k", lambda: 2) == 1
    cache.apply("events/T/1/1")
    with pytest.raises(ZeroDivisionError):
        cache.get_or_compute_sync("k", lambda: 1 // 0)
    assert cache.get_or_compute_sync("k", lambda: 1 // 0, stale_if_error=9.0) == 1
    with pytest.raises(KeyboardInterrupt):
        cache.get_or_compute_sync("k", _interrupted)
    assert cache.stats().flights == 0


def _interrupted() -> int:
    raise KeyboardInterrupt


# -------------------------------------------------------------------- proactive refresh


class Kept:
    """A cache with one key that is kept warm, on virtual time."""

    def __init__(self, clock: ManualClock | None = None, **settings: Any) -> None:
        self.clock = clock or ManualClock()
        self.cache = AnalyticsCache(time_to_live=None, time_to_idle=None, clock=self.clock)
        self.refresh = ProactiveRefresh(self.cache, clock=self.clock, **settings)
        self.source = Source(0)

    def keep(self) -> None:
        self.refresh.keep("k", self.source, depends_on="events/T/**")

    def change(self) -> None:
        self.source.value += 1
        self.cache.apply("events/T/1/1")


def test_a_burst_is_one_round_and_the_last_change_is_there() -> None:
    async def scenario() -> None:
        kept = Kept()
        async with kept.refresh:
            kept.keep()
            kept.keep()  # changes nothing
            await asyncio.sleep(1)
            for _ in range(100):
                kept.change()
            await asyncio.sleep(1)
            assert kept.cache.get("k") == 100
            assert kept.source.calls <= 3
            assert "k" in kept.refresh
            assert len(kept.refresh) == 1

    detangle.run(scenario)


def test_a_refresh_that_fails_pauses_and_the_last_good_answer_is_marked(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        kept = Kept()
        async with kept.refresh:
            kept.keep()
            await asyncio.sleep(1)
            kept.source.value = ValueError("no")
            kept.cache.apply("events/T/1/1")
            await asyncio.sleep(20)
            assert 4 <= kept.source.calls <= 8
            assert kept.cache.get("k") is None
            read = await kept.cache.read("k", kept.source, stale_while_revalidate=50.0)
            assert (read.value, read.status) == (0, "stale")
            kept.source.value = 7
            await asyncio.sleep(40)
            assert kept.cache.get("k") == 7
        assert "no" in caplog.text

    detangle.run(scenario)


@pytest.mark.parametrize("clock", [ManualClock, Ticking])
def test_what_nobody_reads_is_dropped_by_the_next_change(clock: type[ManualClock]) -> None:
    """S19; also with a clock that moves between landing and being kept, as real ones do."""

    async def scenario() -> None:
        kept = Kept(clock(), demand=10.0)
        async with kept.refresh:
            kept.keep()
            await asyncio.sleep(1)
            for _ in range(5):
                kept.clock.advance(5)
                assert kept.cache.get("k") is not None
                kept.change()
                await asyncio.sleep(1)
            assert "k" in kept.refresh
            calls = kept.source.calls
            for _ in range(3):
                kept.clock.advance(5)
                kept.change()
                await asyncio.sleep(1)
            assert "k" not in kept.refresh
            assert kept.source.calls <= calls + 2
            assert await kept.cache.get_or_compute("k", kept.source) == kept.source.value

    detangle.run(scenario)


def test_forgotten_and_closed_it_computes_no_more_and_leaves_no_watcher() -> None:
    async def scenario() -> None:
        kept = Kept()
        kept.keep()
        await asyncio.sleep(1)
        assert kept.refresh.forget("k")
        assert not kept.refresh.forget("k")
        await asyncio.sleep(1)
        kept.change()
        await asyncio.sleep(1)
        assert kept.source.calls == 1
        kept.keep()
        await kept.refresh.close()
        await kept.refresh.close()
        assert not asyncio.all_tasks() - {asyncio.current_task()}
        assert not any(slot.watchers for slot in kept.cache._registry.index.slots())
        with pytest.raises(ClosedError):
            kept.keep()

    detangle.run(scenario)


def test_a_bad_dependency_is_refused_where_it_is_kept() -> None:
    async def scenario() -> None:
        kept = Kept()
        with pytest.raises(KeyExprError):
            kept.refresh.keep("k", kept.source, depends_on="events/T")
        assert "k" not in kept.refresh
        await kept.refresh.close()

    detangle.run(scenario)
