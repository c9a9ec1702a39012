"""Watched queries on real lakes: each change once, the last one always, only the newest waits."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import livelake
from livelake.errors import ClosedError, QueryError, UsageError
from livelake.events import Event
from livelake.live import Feed, LiveLake

COUNT = "SELECT count(*) AS n FROM orders"


@pytest.fixture
async def lake(tmp_path: Path) -> AsyncIterator[LiveLake]:
    async with livelake.open(f"ducklake:{tmp_path}/sales.ducklake") as opened:
        await opened.execute("CREATE TABLE orders (id INTEGER)")
        await opened.execute("CREATE TABLE people (name VARCHAR)")
        yield opened


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def next_n(feed: Feed) -> int:
    return int((await asyncio.wait_for(anext(feed), 30)).rows()[0]["n"])


async def test_the_present_first_and_then_each_change(lake: LiveLake) -> None:
    feed = lake.live(COUNT)
    assert await next_n(feed) == 0
    for n in range(1, 4):
        await lake.execute("INSERT INTO orders VALUES (1)")
        assert await next_n(feed) == n


async def test_what_does_not_matter_moves_nobody(lake: LiveLake) -> None:
    feed = lake.live(COUNT)
    await next_n(feed)
    rounds = lake.refresher.rounds
    await lake.execute("INSERT INTO people VALUES ('Ada')")
    await lake.execute("INSERT INTO orders VALUES (1)")
    assert await next_n(feed) == 1
    assert lake.refresher.rounds == rounds + 1


async def test_equal_results_are_not_pushed(lake: LiveLake) -> None:
    feed = lake.live("SELECT count(*) > 5 AS n FROM orders")
    assert await next_n(feed) == 0
    for _ in range(3):
        await lake.execute("INSERT INTO orders VALUES (1)")
    await lake.execute("INSERT INTO orders SELECT range FROM range(10)")
    assert await next_n(feed) == 1


async def test_a_slow_watcher_is_given_the_newest_only(lake: LiveLake) -> None:
    """I5."""
    feed, quick = lake.live(COUNT), lake.live(COUNT)
    assert await next_n(feed) == await next_n(quick) == 0
    for n in range(1, 11):
        await lake.execute("INSERT INTO orders VALUES (1)")
        while await next_n(quick) != n:
            pass
    assert await next_n(feed) == 10


async def test_any_number_of_watchers_share_one_refresh(lake: LiveLake) -> None:
    """I3: measured by the engine's own counter."""
    feeds = [lake.live(COUNT) for _ in range(50)]
    await asyncio.gather(*map(next_n, feeds))
    reads = lake.engine.stats().reads
    for n in range(1, 6):
        await lake.execute("INSERT INTO orders VALUES (1)")
        assert set(await asyncio.gather(*map(next_n, feeds))) == {n}
    assert lake.engine.stats().reads <= reads + 5


async def test_a_burst_of_commits_ends_on_the_last(lake: LiveLake) -> None:
    feed = lake.live(COUNT)
    await next_n(feed)
    await asyncio.gather(*(lake.execute("INSERT INTO orders VALUES (1)") for _ in range(30)))
    while await next_n(feed) != 30:
        pass
    assert lake.refresher.rounds <= 31


async def test_an_event_moves_what_declares_it(lake: LiveLake) -> None:
    values = iter(range(100))
    feed = lake.live("SELECT random() AS n", depends_on=["events/Todo/**"])
    lake.refresh_every = 3600.0
    await anext(feed)
    await lake.bus.publish(Event(aggregate_type="Todo", aggregate_id=str(next(values)), event_type="Done"))
    await asyncio.wait_for(anext(feed), 30)


async def test_what_no_change_announces_is_refreshed_by_the_clock(lake: LiveLake, tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("n\n1\n")
    lake.refresh_every = 0.01
    feed = lake.live(f"SELECT n FROM read_csv('{tmp_path}/n.csv')")
    assert await next_n(feed) == 1
    (tmp_path / "n.csv").write_text("n\n2\n")
    assert await next_n(feed) == 2


async def test_bad_sql_is_raised_to_the_watcher(lake: LiveLake) -> None:
    with pytest.raises(QueryError, match="nowhere"):
        await anext(lake.live("SELECT * FROM nowhere"))


async def test_a_query_that_fails_later_shows_the_last_good_result_and_recovers(lake: LiveLake) -> None:
    """I6."""
    feed = lake.live(COUNT)
    assert await next_n(feed) == 0
    await lake.execute("DROP TABLE orders")
    stale = await asyncio.wait_for(anext(feed), 30)
    assert stale.status == "stale"
    assert "orders" in str(stale.error)
    assert stale.rows() == [{"n": 0}]
    await lake.execute("CREATE TABLE orders AS SELECT 1 AS id")
    recovered = await asyncio.wait_for(anext(feed), 30)
    assert (recovered.status == "stale", recovered.rows()) == (False, [{"n": 1}])


async def test_a_watched_result_survives_eviction(tmp_path: Path) -> None:
    """A feed owns its newest result, and hears of changes, whatever the store has dropped."""
    cache = livelake.AnalyticsCache(5, time_to_live=None, time_to_idle=None)
    async with livelake.open(f"{tmp_path}/x.duckdb", cache=cache) as lake:
        await lake.execute("CREATE TABLE orders (id INTEGER)")
        feed = lake.live(COUNT)
        assert await next_n(feed) == 0
        for n in range(100):
            await lake.query(f"SELECT {n} AS n")
        cache.settle()
        await lake.execute("INSERT INTO orders VALUES (1)")
        assert await next_n(feed) == 1


async def test_a_feed_that_is_dropped_stops_the_watch(lake: LiveLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livelake.live.service._LINGER", 0.0)

    async def look_once() -> None:
        async for _ in lake.live(COUNT):
            return

    await look_once()
    gc.collect()
    await until(lambda: not lake._watches)
    await until(lambda: not lake.refresher._tasks)
    assert [slot.watchers for slot in lake.cache._registry.entries.values() if slot.watchers] == []


async def test_closing_the_lake_ends_its_feeds(tmp_path: Path) -> None:
    lake = await livelake.open(":memory:")
    feed = lake.live("SELECT 1 AS n")
    assert await next_n(feed) == 1
    waiting = asyncio.create_task(anext(feed))
    await asyncio.sleep(0)
    await lake.close()
    with pytest.raises(ClosedError):
        await waiting
    with pytest.raises(ClosedError):
        lake.live("SELECT 1")


async def test_live_belongs_to_the_loop_of_the_lake(lake: LiveLake) -> None:
    async def elsewhere() -> None:
        lake.live(COUNT)

    with pytest.raises(UsageError, match="event loop"):
        await asyncio.to_thread(lambda: asyncio.run(elsewhere()))


async def test_a_commit_of_another_process_moves_the_feed(tmp_path: Path) -> None:
    """I4: nobody tells us; the next poll sees it."""
    uri = f"ducklake:sqlite:{tmp_path}/sales.sqlite"
    async with livelake.open(uri, poll_interval=0.05) as lake:
        await lake.execute("CREATE TABLE orders (id INTEGER)")
        feed = lake.live(COUNT)
        assert await next_n(feed) == 0
        code = (
            "import asyncio, livelake\n"
            "async def main():\n"
            f"  async with livelake.open({uri!r}) as lake:\n"
            "    await lake.execute('INSERT INTO orders VALUES (1)')\n"
            "asyncio.run(main())"
        )
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], check=True, timeout=60)
        assert await next_n(feed) == 1


async def test_while_the_log_cannot_be_read_nothing_is_served_as_fresh(lake: LiveLake) -> None:
    """I4: blind means computed anew, by joined flights."""
    await lake.query(COUNT)
    assert (await lake.query(COUNT)).status == "hit"
    lake.watcher._stop.set()
    await asyncio.to_thread(lake.watcher._thread.join)  # type: ignore[union-attr]
    lake.watcher.blind_at = float("-inf")
    assert lake.watcher.is_blind
    reads = lake.engine.stats().reads
    results = await asyncio.gather(*(lake.query(COUNT) for _ in range(20)))
    assert {result.status for result in results} <= {"miss", "joined"}
    assert 0 < lake.engine.stats().reads - reads <= 3


async def test_a_lazy_query_is_computed_once_and_says_when_it_is_overtaken(
    lake: LiveLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livelake.live.service._LINGER", 0.0)
    question = lake.ask(COUNT)
    topic = lake.watch(question, eager=False)
    await until(lambda: topic.state.result)
    rounds = lake.refresher.rounds
    await lake.execute("INSERT INTO orders VALUES (1)")
    await until(lambda: topic.state.error)
    assert "has changed" in str(topic.state.error)
    assert topic.state.result is not None
    assert topic.state.result.rows() == [{"n": 0}]
    assert lake.refresher.rounds == rounds
    lake.unwatch(topic)
    await until(lambda: not lake._watches)


async def test_a_watched_query_of_a_table_that_is_missing_comes_with_the_table(
    lake: LiveLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed refresh is tried again at the change that may mend it, not only after its pause."""
    monkeypatch.setattr("livelake.cache.refresh._FIRST_PAUSE", 3_600.0)
    monkeypatch.setattr("livelake.cache.refresh._LONGEST_PAUSE", 3_600.0)
    topic = lake.watch(lake.ask("SELECT count(*) AS n FROM late"))
    async with asyncio.timeout(20):
        while topic.state is None or topic.state.error is None:
            await asyncio.sleep(0.005)
        await lake.execute("CREATE TABLE late AS SELECT 1 AS x")
        while topic.state.error is not None:
            await asyncio.sleep(0.005)
    assert topic.state.result.rows() == [{"n": 1}]
    lake.unwatch(topic)
