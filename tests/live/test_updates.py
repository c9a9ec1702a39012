"""``lake.updates``: which watched answers have changed and why, for readers of any speed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

import livelake
from livelake.errors import ClosedError, QueryError
from livelake.events import Event
from livelake.lake import Query
from livelake.live import LiveLake, Reason, Subscription, Update
from livelake.testing import ManualClock

ORDERS = "SELECT count(*) AS n FROM orders"
PEOPLE = "SELECT count(*) AS n FROM people"


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


async def following(updates: Subscription) -> Update:
    return await asyncio.wait_for(anext(updates), 30)


def n(update: Update) -> int:
    assert update.result is not None
    return int(update.result.rows()[0]["n"])


async def test_an_update_says_which_query_has_changed_and_by_which_commit(lake: LiveLake) -> None:
    orders, people = lake.ask(ORDERS), lake.ask(PEOPLE)
    async with lake.updates.subscribe(orders, people) as updates:
        first = {update.query.sql: update for update in (await following(updates), await following(updates))}
        assert {n(update) for update in first.values()} == {0}
        assert {update.reason for update in first.values()} == {Reason("first")}
        token = await lake.execute("INSERT INTO orders VALUES (1)")
        update = await following(updates)
        assert (update.query, n(update), update.error) == (orders, 1, None)
        snapshot = token.versions["sales"]
        assert update.as_of["sales"] >= snapshot
        assert update.reason == Reason("commit", "lake/sales/main/orders", "sales", snapshot)
        assert str(update.reason) == f"commit {snapshot} of sales (lake/sales/main/orders)"
        assert update.number > first[ORDERS].number
        assert update.etag == (await lake.query(ORDERS)).etag != first[ORDERS].etag
        assert updates.waiting == 0  # nobody is told of people, who did not change


async def test_an_event_is_named_as_the_reason(lake: LiveLake) -> None:
    numbers = iter(range(100))
    path = Path(lake.catalogs["sales"].path or "").parent / "n.txt"
    path.write_text("0")
    query = lake.ask(
        f"SELECT content::INTEGER AS n FROM read_text('{path}')", depends_on=["events/Todo/**"], ttl=3600.0
    )
    async with lake.updates.subscribe(query) as updates:
        assert n(await following(updates)) == next(numbers)
        path.write_text("1")
        await lake.bus.publish(Event(aggregate_type="Todo", aggregate_id="42", event_type="Done", sequence=7))
        update = await following(updates)
        assert (n(update), update.reason.cause, update.reason.key) == (1, "event", "events/Todo/42/7")


async def test_the_end_of_its_time_is_named_as_the_reason(tmp_path: Path) -> None:
    clock = ManualClock(datetime(2024, 1, 15, 23, 59, 59, tzinfo=UTC))
    async with livelake.open(f"ducklake:{tmp_path}/a.ducklake", clock=clock) as lake:
        lake.look_every = 0.01
        query = lake.ask("SELECT now()::VARCHAR AS n", ttl=60.0)
        async with lake.updates.subscribe(query) as updates:
            await following(updates)
            clock.advance(61)
            assert str((await following(updates)).reason) == "its time was over"


async def test_a_file_that_was_written_is_named_as_the_reason(tmp_path: Path) -> None:
    async with livelake.open(f"ducklake:{tmp_path}/a.ducklake") as lake:
        (tmp_path / "n.txt").write_text("1")
        query = lake.ask(f"SELECT content::INTEGER AS n FROM read_text('{tmp_path}/n.txt')")
        async with lake.updates.subscribe(query) as updates:
            assert n(await following(updates)) == 1
            (tmp_path / "n.txt").write_text("22")
            update = await following(updates)
            assert (n(update), str(update.reason)) == (22, f"{tmp_path}/n.txt was written")


async def test_what_the_cache_was_told_to_drop_is_named_so(lake: LiveLake) -> None:
    query = lake.ask("SELECT now()::VARCHAR AS n", ttl=3600.0)
    async with lake.updates.subscribe(query) as updates:
        await following(updates)
        lake.cache.invalidate(query.key)
        assert str((await following(updates)).reason) == "invalidated"


async def test_i5_a_slow_reader_finds_the_newest_of_each_query_and_no_backlog(lake: LiveLake) -> None:
    slow, quick = (lake.updates.subscribe(lake.ask(ORDERS), lake.ask(PEOPLE)) for _ in range(2))
    for _ in range(2):
        await following(quick)
    for count in range(1, 11):
        await lake.execute("INSERT INTO orders VALUES (1)")
        while n(await following(quick)) != count:
            pass
    assert slow.waiting == 2
    found = {update.query.sql: n(update) for update in (await following(slow), await following(slow))}
    assert found == {ORDERS: 10, PEOPLE: 0}
    assert slow.waiting == 0
    await slow.aclose()
    await quick.aclose()


async def test_i8_the_numbers_of_one_query_only_grow(lake: LiveLake) -> None:
    async with lake.updates.subscribe(lake.ask(ORDERS)) as updates:
        seen = [await following(updates)]
        writing = asyncio.gather(*(lake.execute("INSERT INTO orders VALUES (1)") for _ in range(20)))
        while n(seen[-1]) < 20:
            seen.append(await following(updates))
        await writing
        assert [update.number for update in seen] == sorted({update.number for update in seen})
        assert [n(update) for update in seen] == sorted({n(update) for update in seen})


async def test_without_a_query_it_tells_of_all_that_others_watch(lake: LiveLake) -> None:
    feed = lake.live(ORDERS)
    await anext(feed)
    told: list[int] = []

    async def read() -> None:
        async for update in lake.updates:
            told.append(n(update))
            if len(told) == 3:
                return

    reading = asyncio.create_task(read())
    await until(lambda: told == [0])  # what is watched stands first
    for count in (1, 2):
        await lake.execute("INSERT INTO orders VALUES (1)")
        await until(lambda count=count: told[-1] == count)  # type: ignore[misc]
    await asyncio.wait_for(reading, 30)
    assert told == [0, 1, 2]
    await feed.aclose()


async def test_an_equal_answer_is_no_update(lake: LiveLake) -> None:
    async with lake.updates.subscribe(lake.ask("SELECT count(*) > 5 AS n FROM orders")) as updates:
        assert n(await following(updates)) == 0
        for _ in range(3):
            rounds = lake.refresher.rounds
            await lake.execute("INSERT INTO orders VALUES (1)")
            await until(lambda rounds=rounds: lake.refresher.rounds > rounds)  # type: ignore[misc]
        await lake.execute("INSERT INTO orders SELECT range FROM range(10)")
        assert n(await following(updates)) == 1
        assert updates.waiting == 0


async def test_i6_a_failure_is_told_with_the_last_good_answer_marked(lake: LiveLake) -> None:
    async with lake.updates.subscribe(lake.ask(ORDERS), lake.ask("SELECT n FROM nowhere")) as updates:
        first = [await following(updates), await following(updates)]
        (bad,) = [update for update in first if update.error]
        assert (bad.result, bad.etag, dict(bad.as_of)) == (None, None, {})
        assert isinstance(bad.error, QueryError)
        await lake.execute("DROP TABLE orders")
        while (update := await following(updates)).query.sql != ORDERS:
            pass
        assert isinstance(update.error, QueryError)
        assert update.result is not None
        assert (update.result.status, n(update), update.reason.cause) == ("stale", 0, "commit")
        await lake.execute("CREATE TABLE orders AS SELECT range AS id FROM range(3)")
        while (update := await following(updates)).query.sql != ORDERS or update.error is not None:
            pass
        assert (n(update), update.error) == (3, None)


async def test_closing_one_subscription_ends_it_and_no_other(lake: LiveLake) -> None:
    one, other = lake.updates.subscribe(lake.ask(ORDERS)), lake.updates.subscribe(lake.ask(ORDERS))
    await following(one)
    await following(other)
    waiting = asyncio.create_task(anext(one))
    await asyncio.sleep(0)
    await one.aclose()
    await one.aclose()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(waiting, 30)
    await lake.execute("INSERT INTO orders VALUES (1)")
    assert n(await following(other)) == 1
    await other.aclose()


async def test_closing_the_lake_ends_it_after_what_waited(tmp_path: Path) -> None:
    lake = await livelake.open(f"ducklake:{tmp_path}/a.ducklake")
    updates = lake.updates.subscribe(lake.ask("SELECT 1 AS n"))
    await until(lambda: updates.waiting)
    idle = lake.updates.subscribe(lake.ask("SELECT 1 AS n"))
    await following(idle)
    waiting = asyncio.create_task(anext(idle))
    await asyncio.sleep(0)
    await lake.close()
    assert n(await following(updates)) == 1
    for each in (anext(updates), waiting):
        with pytest.raises(ClosedError, match="closed while"):
            await asyncio.wait_for(each, 30)
    with pytest.raises(ClosedError):
        lake.updates.subscribe()


async def test_a_reader_that_was_cancelled_has_missed_nothing(lake: LiveLake) -> None:
    async with lake.updates.subscribe(lake.ask(ORDERS)) as updates:
        await following(updates)
        waiting = asyncio.create_task(anext(updates))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await lake.execute("INSERT INTO orders VALUES (1)")
        assert n(await following(updates)) == 1


async def test_what_nobody_watches_any_more_is_forgotten(lake: LiveLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that was broken out of counts as closed; what waited for others goes with its watch."""
    monkeypatch.setattr("livelake.live.service._LINGER", 0.0)
    every = lake.updates.subscribe()
    async for update in lake.updates.subscribe(lake.ask(ORDERS)):
        assert n(update) == 0
        break
    del update
    gc.collect()
    await until(lambda: not lake._watches)
    assert every.waiting == 0
    assert lake.updates._newest == {}
    await every.aclose()


async def test_i5_many_queries_wait_with_one_update_each(lake: LiveLake) -> None:
    queries: list[Query] = [lake.ask("SELECT $i + count(*) AS n FROM orders", {"i": i}) for i in range(40)]
    async with lake.updates.subscribe(*queries) as updates:
        await until(lambda: updates.waiting == 40)
        for _ in range(3):
            await lake.execute("INSERT INTO orders VALUES (1)")
        # Whatever came in between, each query waits with one answer; in the end it is the newest.
        newest: dict[int, int] = {}
        while sum(newest.values()) != sum(range(40)) + 3 * 40 or len(newest) < 40:
            assert updates.waiting <= 40
            update = await following(updates)
            newest[update.query.parameters["i"]] = n(update)  # type: ignore[call-overload,index]


async def test_a_query_of_a_page_and_of_a_feed_is_told_once(lake: LiveLake) -> None:
    """Pages refresh by themselves, a snapshot for all panels; updates tell each answer once, in order."""
    orders, people = lake.ask(ORDERS), lake.ask(PEOPLE)
    page = lake.page([orders, people])
    feed = lake.live(ORDERS)
    told: list[tuple[str, int, int]] = []
    async with lake.updates.subscribe() as updates:
        for count in range(6):
            while (orders.sql, count) not in {(sql, rows) for sql, rows, _ in told}:
                update = await following(updates)
                told.append((update.query.sql, n(update), update.number))
                assert update.reason.cause == ("first" if n(update) == 0 else "commit")
            await anext(feed)
            await lake.execute("INSERT INTO orders VALUES (1)")
        await page.close()
        await feed.aclose()
    of_orders = [(rows, number) for sql, rows, number in told if sql == ORDERS]
    assert [rows for rows, _ in of_orders] == list(range(6))
    assert [number for _, number in of_orders] == sorted(number for _, number in of_orders)
    assert [rows for sql, rows, _ in told if sql == PEOPLE] in ([0], [])  # once at most
