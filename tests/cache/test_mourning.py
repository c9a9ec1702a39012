"""Who watches what could not be computed hears of the next change all the same."""

from __future__ import annotations

import pytest

from livelake import AnalyticsCache


async def broken(_flight: object) -> object:
    raise ValueError("no such table")


async def working(_flight: object) -> str:
    return "rows"


@pytest.fixture
def cache() -> AnalyticsCache:
    return AnalyticsCache()


async def fail(cache: AnalyticsCache, told: list[int], watcher: object = None) -> object:
    mark = watcher or (lambda: told.append(1))
    with pytest.raises(ValueError, match="no such table"):
        await cache.fetch("key", broken, depends_on=frozenset(cache_keys("events/Todo/**")), watcher=mark)  # type: ignore[arg-type]
    return mark


def cache_keys(*texts: str) -> list[object]:
    from livelake import KeyExpr

    return [KeyExpr(text) for text in texts]


async def test_a_change_tells_who_watches_what_failed_once(cache: AnalyticsCache) -> None:
    told: list[int] = []
    await fail(cache, told)
    assert cache.apply("events/User/1/1") == 0
    assert told == []
    assert cache.apply("events/Todo/1/1") == 0  # no entry was there
    assert told == [1]
    cache.apply("events/Todo/1/2")
    assert told == [1]
    assert len(cache._registry.index) == 0


async def test_trying_again_leaves_nothing_of_the_first_failure(cache: AnalyticsCache) -> None:
    told: list[int] = []
    mark = await fail(cache, told)
    for _ in range(3):
        await fail(cache, told, mark)
    assert len(cache._registry.index) == len(cache._registry.mourned) == 1
    read = await cache.fetch("key", working, depends_on=frozenset(cache_keys("events/Todo/**")), watcher=mark)  # type: ignore[arg-type]
    assert len(cache._registry.index) == 1
    assert not cache._registry.mourned
    cache.unwatch(read.slot, mark)  # type: ignore[arg-type]
    assert not read.slot.watchers


async def test_whoever_gives_up_is_not_told(cache: AnalyticsCache) -> None:
    told: list[int] = []
    mark = await fail(cache, told)
    cache.unwatch(None, mark)  # type: ignore[arg-type]
    cache.unwatch(None, mark)  # type: ignore[arg-type]
    cache.apply("events/Todo/1/1")
    assert told == []
    assert len(cache._registry.index) == 0
