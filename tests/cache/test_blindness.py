"""What may change unheard is given to those who wait, and not kept (I4)."""

from __future__ import annotations

import asyncio

import pytest

from livelake import AnalyticsCache, KeyExpr
from livelake.testing import ManualClock

TODO, USER = "events/Todo/**", "events/User/**"


@pytest.fixture
def scopes() -> set[KeyExpr]:
    return set()


@pytest.fixture
def cache(scopes: set[KeyExpr]) -> AnalyticsCache:
    cache = AnalyticsCache(clock=ManualClock())
    cache.add_blindness(lambda: scopes)
    return cache


async def ask(cache: AnalyticsCache, depends_on: str) -> tuple[str, int]:
    calls = iter(range(100))
    read = await cache.read("key", lambda: next(calls), depends_on=depends_on)
    return read.status, len(cache)


async def test_i4_blind_answers_are_not_kept_and_others_are(cache: AnalyticsCache, scopes: set[KeyExpr]) -> None:
    scopes.add(KeyExpr("events/Todo/**"))
    assert await ask(cache, TODO) == ("miss", 0)
    assert await ask(cache, TODO) == ("miss", 0)
    assert await ask(cache, "events/*/7/**") == ("miss", 0)
    assert await ask(cache, USER) == ("miss", 1)
    assert await ask(cache, USER) == ("hit", 1)


async def test_i4_sight_comes_back(cache: AnalyticsCache, scopes: set[KeyExpr]) -> None:
    scopes.add(KeyExpr("events/**"))
    await ask(cache, TODO)
    scopes.clear()
    assert await ask(cache, TODO) == ("miss", 1)
    assert await ask(cache, TODO) == ("hit", 1)


async def test_i4_going_blind_while_a_flight_is_under_way(cache: AnalyticsCache, scopes: set[KeyExpr]) -> None:
    began, go = asyncio.Event(), asyncio.Event()

    async def compute() -> int:
        began.set()
        await go.wait()
        return 1

    first = asyncio.create_task(cache.read("key", compute, depends_on=TODO))
    await began.wait()
    scopes.add(KeyExpr("events/Todo/**"))
    second = asyncio.create_task(cache.read("key", compute, depends_on=TODO))
    await asyncio.sleep(0)
    go.set()
    assert [(await each).status for each in (first, second)] == ["miss", "joined"]  # one computation, no stampede
    assert "key" not in cache
    assert len(cache._registry.index) == 0


async def test_i4_what_is_inserted_blind_is_not_kept(cache: AnalyticsCache, scopes: set[KeyExpr]) -> None:
    cache.insert("key", 1, depends_on=TODO)
    scopes.add(KeyExpr("events/Todo/**"))
    cache.insert("key", 2, depends_on=TODO)
    assert cache.get("key") is None
    cache.insert("lake", 3, depends_on="lake/sales/main/orders")  # a snapshot vouches for it
    assert cache.get("lake") == 3


async def test_i4_a_failure_is_not_kept_blind(cache: AnalyticsCache, scopes: set[KeyExpr]) -> None:
    calls = 0

    def fail() -> None:
        nonlocal calls
        calls += 1
        raise ValueError("down")

    scopes.add(KeyExpr("events/**"))
    for _ in range(3):
        with pytest.raises(ValueError, match="down"):
            await cache.get_or_compute("key", fail, depends_on=TODO, negative_ttl=60.0)
    assert calls == 3


async def test_asking_ends(scopes: set[KeyExpr]) -> None:
    cache = AnalyticsCache()
    remove = cache.add_blindness(lambda: scopes)
    scopes.add(KeyExpr("events/**"))
    remove()
    remove()
    assert await ask(cache, TODO) == ("miss", 1)


def test_looking_whether_it_is_there_is_no_read() -> None:
    clock = ManualClock()
    cache = AnalyticsCache(clock=clock, time_to_idle=60.0)
    cache.insert("key", 1)
    clock.advance(50)
    assert "key" in cache
    clock.advance(10)
    assert "key" not in cache
