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


async def test_a_watcher_who_meets_a_kept_error_hears_of_the_change_too(cache: AnalyticsCache) -> None:
    told: list[str] = []
    first, second = (lambda: told.append("first")), (lambda: told.append("second"))
    for watcher in (first, first, second):
        with pytest.raises(ValueError, match="no such table"):
            await cache.fetch(
                "key",
                broken,
                depends_on=frozenset(cache_keys("events/Todo/**")),  # type: ignore[arg-type]
                watcher=watcher,
                negative_ttl=50,
            )
    cache.apply("events/Todo/1/1")
    assert sorted(told) == ["first", "second"]
    assert not cache._registry.mourned
    assert len(cache._registry.index) == 0


async def test_one_watcher_may_wait_for_several_that_failed(cache: AnalyticsCache) -> None:
    told: list[int] = []
    mark = lambda: told.append(1)  # noqa: E731
    for key in ("a", "b"):
        with pytest.raises(ValueError, match="no such table"):
            await cache.fetch(
                key,
                broken,
                depends_on=frozenset(cache_keys(f"events/{key}/**")),  # type: ignore[arg-type]
                watcher=mark,
            )
    cache.apply("events/a/1/1")
    assert told == [1]
    cache.apply("events/b/1/1")
    assert told == [1, 1]
    assert not cache._registry.mourned


async def test_a_watcher_that_raises_takes_nothing_from_the_others(
    cache: AnalyticsCache, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[int] = []

    def bad() -> None:
        raise RuntimeError("a watcher")

    await cache.fetch("a", working, depends_on=frozenset(cache_keys("events/T/**")), watcher=bad)  # type: ignore[arg-type]
    await cache.fetch(
        "b",
        working,
        depends_on=frozenset(cache_keys("events/T/**")),  # type: ignore[arg-type]
        watcher=lambda: told.append(1),
    )
    assert cache.apply("events/T/1/1") == 2
    assert told == [1]
    assert "a watcher failed" in caplog.text


async def test_a_kept_error_gives_way_to_stale_if_error(cache: AnalyticsCache) -> None:
    def fail() -> None:
        raise ValueError("no such table")

    cache.insert("key", "old", depends_on="events/T/**")
    cache.apply("events/T/1/1")
    for _ in range(3):
        read = await cache.read("key", fail, depends_on="events/T/**", stale_if_error=60.0, negative_ttl=60.0)
        assert (read.status, read.value, str(read.error)) == ("stale", "old", "no such table")
    with pytest.raises(ValueError, match="no such table"):
        await cache.read("key", fail, depends_on="events/T/**", negative_ttl=60.0)


async def test_i1_entries_that_share_a_dependency_hear_of_each_commit(cache: AnalyticsCache) -> None:
    """The first commit took their group apart, and those who came after joined what no change could reach."""
    for version in range(1, 6):
        for name in "abc":

            async def run(flight: object, version: int = version) -> int:
                flight.pin({"lake": version})  # type: ignore[attr-defined]
                return version

            depends_on = frozenset(cache_keys("lake/a/b/c"))
            read = await cache.fetch(name, run, depends_on=depends_on, pins=True)  # type: ignore[arg-type]
            assert read.value == version
        assert cache.apply("lake/a/b/c", source="lake", version=version + 1) == 3


async def test_nothing_grows_with_changes_that_touch_nothing(cache: AnalyticsCache) -> None:
    async def run(flight: object) -> int:
        flight.pin({"lake": 10})  # type: ignore[attr-defined]
        return 1

    await cache.fetch("k", run, depends_on=frozenset(cache_keys("lake/a/b/c")), pins=True)  # type: ignore[arg-type]
    for _ in range(500):
        cache.apply("lake/a/b/c", source="lake", version=3)
        cache.insert("j", 1, depends_on="events/T/**")
        cache.apply("events/T/1/1")
    assert "k" in cache
    assert len(cache._registry._bygone._ends) < 100
    assert len(cache._registry.index._tree._bare) < 3
