"""Searched interleavings of read, change, compute, fail, cancel, evict, expire, refresh and close.

On one event loop (detangle), in threads and on several loops (`threads`). Each scenario is searched systematically
within a few deviations from the default order, then at random. Two processes share the work.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import threading
import time
from collections.abc import Iterator
from multiprocessing.pool import AsyncResult
from typing import Any

import detangle
import pytest

from livelake.cache import AnalyticsCache
from schedules import threads
from schedules.scenarios import SCENARIOS
from schedules.thread_scenarios import THREAD_SCENARIOS
from schedules.world import check_books

BY_NAME: dict[str, Any] = {scenario.__name__: scenario for scenario in (*SCENARIOS, *THREAD_SCENARIOS)}
ON_LOOP_RUNS, THREAD_RUNS = 4_400, 4_000
STRESS = 10
ran: dict[str, int] = {}


def search(name: str, runs: int, seed: int = 1) -> tuple[int, int, str]:
    """Exactly ``runs`` schedules of one scenario: (ran, distinct, what broke). Only the first seed is systematic."""
    logging.getLogger("livelake.cache").setLevel(logging.CRITICAL)
    scenario = BY_NAME[name]
    try:
        if scenario in THREAD_SCENARIOS:
            return (*threads.explore(scenario, runs, seed), "")
        if seed > 1:
            found = detangle.explore(scenario, runs=runs, seed=seed, database=False)
            return found.runs, found.distinct_schedules, ""
        within = detangle.explore(scenario, runs=runs // 3, strategy=detangle.DFS(max_delays=3), database=False)
        rest = detangle.explore(scenario, runs=runs - within.runs, seed=seed, database=False)
    except AssertionError as error:
        return 0, 0, str(error)
    return within.runs + rest.runs, max(within.distinct_schedules, rest.distinct_schedules), ""


def _searches(request: pytest.FixtureRequest, times: int) -> Iterator[dict[str, list[AsyncResult[Any]]]]:
    wanted = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    names = [
        n for n in dict.fromkeys(params["scenario"] for params in wanted if "scenario" in params) if n in BY_NAME
    ]
    # A worker holds on to what it has searched: it is replaced now and then.
    # (Not a ProcessPoolExecutor: that of Python 3.11 stands still when `max_tasks_per_child` is reached.)
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=8) as pool:
        seeds = range(1, times + 1)
        yield {name: [pool.apply_async(search, (name, _runs(name), seed)) for seed in seeds] for name in names}


def _runs(name: str) -> int:
    return THREAD_RUNS if BY_NAME[name] in THREAD_SCENARIOS else ON_LOOP_RUNS


@pytest.fixture(scope="module")
def searches(request: pytest.FixtureRequest) -> Iterator[dict[str, list[AsyncResult[Any]]]]:
    yield from _searches(request, 1)


@pytest.fixture(scope="module")
def long_searches(request: pytest.FixtureRequest) -> Iterator[dict[str, list[AsyncResult[Any]]]]:
    yield from _searches(request, STRESS)


@pytest.mark.parametrize("scenario", BY_NAME)
def test_no_schedule_breaks_the_promise(
    scenario: str, searches: dict[str, list[AsyncResult[Any]]], record_property: Any
) -> None:
    """I1, I2, I3, I6, I8: nothing stale, no hang, one flight, no lost change, nothing left behind."""
    ((schedules, distinct, broken),) = [each.get(110) for each in searches[scenario]]
    assert not broken, broken
    assert schedules == _runs(scenario)
    assert distinct > 1
    ran[scenario] = schedules
    record_property("schedules", schedules)
    record_property("distinct", distinct)


def test_two_hundred_thousand_schedules_are_searched(record_property: Any) -> None:
    """What the tests above run, and (when all of them did) what they did run."""
    planned = sum(_runs(name) for name in BY_NAME)
    total = sum(ran.values()) if len(ran) == len(BY_NAME) else planned
    record_property("schedules", total)
    print(f"{total} schedules of {len(BY_NAME)} scenarios")
    assert len(BY_NAME) >= 20
    assert total == planned >= 200_000


def test_a_schedule_of_threads_can_be_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What broke says how to see it again, and breaks in the same way."""
    from livelake.cache.registry import Registry

    make_stale = Registry.make_stale

    def entries_only(self: Registry, slot: Any, cause: Any, woken: Any) -> None:
        if slot.flight is None:
            make_stale(self, slot, cause, woken)

    monkeypatch.setattr(Registry, "make_stale", entries_only)
    scenario = BY_NAME["threads_read_and_commit"]
    with pytest.raises(threads.BrokenSchedule, match="I1") as first:
        threads.explore(scenario, 2_000)
    for _ in range(3):
        with pytest.raises(threads.BrokenSchedule) as again:
            threads.run_once(scenario, detangle.Replay(first.value.choices))
        assert str(again.value.__cause__) == str(first.value.__cause__)


@pytest.mark.stress
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("scenario", BY_NAME)
def test_no_schedule_of_two_million_breaks_the_promise(
    scenario: str, long_searches: dict[str, list[AsyncResult[Any]]]
) -> None:
    """The same, ten times as many: more than 2,000,000 together."""
    assert STRESS * sum(_runs(name) for name in BY_NAME) >= 2_000_000
    found = [each.get(7000) for each in long_searches[scenario]]
    assert not any(broken for _, _, broken in found), found
    assert sum(schedules for schedules, _, _ in found) == STRESS * _runs(scenario)


@pytest.mark.parametrize("seconds", [2.0, pytest.param(60.0, marks=[pytest.mark.stress, pytest.mark.timeout(200)])])
def test_the_real_store_under_real_threads(seconds: float) -> None:  # noqa: C901
    """I1, I5, I8 with moka itself: readers, loops, inserts, evictions and changes for a bounded time."""
    cache = AnalyticsCache(8, time_to_live=None, time_to_idle=None)
    truth, acknowledged = [0] * 12, [0] * 12
    deadline = time.monotonic() + seconds
    wrong: list[str] = []

    def check(n: int, value: int, floor: int) -> None:
        if value < floor:
            wrong.append(f"I1: {value} of {n} was read after {floor} had been acknowledged")

    def read() -> None:
        while time.monotonic() < deadline:
            for n in range(12):
                floor = acknowledged[n]
                value = cache.get_or_compute_sync(n, lambda n=n: truth[n], depends_on=f"events/T/{n}/*")
                check(n, value, floor)

    async def read_on_loop() -> None:
        async def compute(n: int) -> int:
            value = truth[n]
            await asyncio.sleep(0)
            return value

        while time.monotonic() < deadline:
            for n in range(12):
                floor = acknowledged[n]
                value = await cache.get_or_compute(n, lambda n=n: compute(n), depends_on=f"events/T/{n}/*")
                check(n, value, floor)

    def write() -> None:
        while time.monotonic() < deadline:
            for n in range(12):
                truth[n] += 1
                if n % 3:
                    cache.apply(f"events/T/{n}/1")
                else:
                    cache.invalidate_where(lambda key, n=n: key == n)
                acknowledged[n] = truth[n]
                cache.insert(f"other {n}", n)

    works = [read, read, lambda: asyncio.run(read_on_loop()), write]
    crowd = [threading.Thread(target=work) for work in works]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join(seconds + 60)
    assert not any(thread.is_alive() for thread in crowd), "hang: a thread is still waiting"
    assert wrong == []
    check_books(cache)
    assert cache.stats().computed > 100
