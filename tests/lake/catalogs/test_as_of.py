"""`query(as_of=…)`: the answer at exactly that snapshot, over every kind of lake."""

from __future__ import annotations

import asyncio

import pytest

from lake.catalogs.conftest import Bench
from livelake.errors import BusyError, QueryError, SnapshotAheadError, SnapshotGoneError, UsageError
from livelake.live import LiveLake
from livelake.token import Token

COUNT = "SELECT count(*) AS n, sum(amount)::INTEGER AS total FROM orders"
PEOPLE = "SELECT count(*) AS n FROM people"


def head(lake: LiveLake) -> int:
    return lake.watcher.heads()["space"]


async def test_the_answer_is_that_of_the_snapshot_and_is_kept_through_every_commit(bench: Bench) -> None:
    async with bench.open() as lake:
        then = {"space": head(lake)}
        await bench.write("INSERT INTO orders SELECT range FROM range(20, 50)", "INSERT INTO orders VALUES (7)")
        past = await lake.query(COUNT, as_of=then)
        assert (past.status, past.rows(), past.as_of["space"]) == ("miss", [{"n": 20, "total": 190}], then["space"])
        assert (await lake.query(COUNT)).rows() == [{"n": 51, "total": 1232}]
        await bench.write("DELETE FROM orders WHERE amount < 10")
        again = await lake.query(COUNT, as_of=then)
        assert (again.status, again.rows()) == ("hit", past.rows())
        assert (await lake.query(COUNT, as_of={"space": then["space"] + 1})).rows() == [{"n": 50, "total": 1225}]


async def test_what_is_kept_for_now_answers_where_nothing_that_it_read_has_changed(bench: Bench) -> None:
    async with bench.open() as lake:
        await bench.write("INSERT INTO orders VALUES (1)")
        before = head(lake)
        await bench.write("INSERT INTO people VALUES ('Ada')")
        first = await lake.query(COUNT)
        reads = lake.engine.stats().reads
        for number in (before, head(lake)):  # people changed between them, and orders did not
            same = await lake.query(COUNT, as_of={"space": number})
            assert (same.status, same.rows(), same.as_of["space"]) == ("hit", first.rows(), number)
        assert lake.engine.stats().reads == reads
        older = await lake.query(COUNT, as_of={"space": before - 1})
        assert (older.status, older.rows()[0]["n"]) == ("miss", 20)
        await bench.write("INSERT INTO orders VALUES (2)")
        assert (await lake.query(PEOPLE, as_of={"space": before})).rows() == [{"n": 0}]


async def test_views_are_read_as_they_were(bench: Bench) -> None:
    async with bench.open() as lake:
        await bench.write("CREATE VIEW few AS SELECT count(*) AS n FROM orders", "CREATE VIEW same AS FROM few")
        then = {"space": head(lake)}
        await bench.write("INSERT INTO orders VALUES (7)", "CREATE OR REPLACE VIEW few AS SELECT -1 AS n")
        assert (await lake.query("FROM same", as_of=then)).rows() == [{"n": 20}]
        assert (await lake.query("FROM space.main.few AS f", as_of=then)).rows() == [{"n": 20}]
        assert (await lake.query("FROM same")).rows() == [{"n": -1}]


async def test_a_table_has_the_columns_that_it_had(bench: Bench) -> None:
    async with bench.open() as lake:
        then = {"space": head(lake)}
        await bench.write("ALTER TABLE orders RENAME COLUMN amount TO price", "CREATE TABLE later AS SELECT 1 AS a")
        assert (await lake.query(COUNT, as_of=then)).rows() == [{"n": 20, "total": 190}]
        with pytest.raises(QueryError, match="later does not exist at version"):
            await lake.query("FROM later", as_of=then)


async def test_parameters_names_and_own_versions_stay_as_they_are_written(bench: Bench) -> None:
    async with bench.open() as lake:
        first = head(lake)
        await bench.write("INSERT INTO orders SELECT range FROM range(20, 40)")
        then = {"space": head(lake)}
        await bench.write("INSERT INTO orders SELECT range FROM range(40, 60)")
        text = (
            "WITH o AS (SELECT amount FROM orders) /* é */ SELECT (SELECT max(amount) FROM orders), "
            f'(SELECT count(*) FROM "orders" AS x(b) AT (VERSION => {first})) AS before, count(*) AS n, y.a AS a '
            "FROM space . main -- here\n . orders y(a), o WHERE y.a = o.amount AND y.a = $least GROUP BY ALL"
        )
        past = await lake.query(text, {"least": 25}, as_of=then)
        assert [column.name for column in past.columns] == [
            c.name for c in (await lake.query(text, {"least": 25})).columns
        ]
        assert list(past.rows()[0].values()) == [39, 20, 1, 25]
        assert (await lake.query(text, {"least": 45}, as_of=then)).rows() == []


async def test_macros_are_read_where_that_is_sure_and_refused_where_it_is_not(bench: Bench) -> None:
    async with bench.open() as lake:
        await bench.write(
            "CREATE MACRO twice(a) AS 2 * a", "CREATE MACRO held() AS TABLE SELECT count(*) AS n FROM orders"
        )
        then = {"space": head(lake)}
        assert (await lake.query("FROM held()", as_of=then)).rows() == [{"n": 20}]
        await bench.write("INSERT INTO orders VALUES (7)")
        assert (await lake.query("FROM held()", as_of=then)).status == "hit"
        assert (await lake.query("SELECT twice(count(*)) AS n FROM orders", as_of=then)).rows() == [{"n": 40}]
        with pytest.raises(QueryError, match="read by a macro"):
            await lake.query("SELECT n FROM held()", as_of=then)
        await bench.write("CREATE OR REPLACE MACRO twice(a) AS 3 * a")
        with pytest.raises(QueryError, match="macros of space"):
            await lake.query("SELECT twice(max(amount)) AS n FROM orders", as_of=then)
        assert (await lake.query(COUNT, as_of=then)).rows()[0]["n"] == 20


@pytest.mark.parametrize("text", ["DESCRIBE orders", "FROM space.snapshots()", "FROM query('FROM orders')"])
async def test_what_has_no_past_is_refused(bench: Bench, text: str) -> None:
    async with bench.open() as lake:
        then = {"space": head(lake)}
        await bench.write("INSERT INTO orders VALUES (7)")
        with pytest.raises(QueryError):
            await lake.query(text, as_of=then)


async def test_a_snapshot_that_was_expired_is_gone_and_one_that_is_to_come_is_ahead(bench: Bench) -> None:
    async with bench.open() as lake:
        gone = head(lake)
        await bench.write("INSERT INTO orders VALUES (7)", "INSERT INTO people VALUES ('Ada')")
        kept = await lake.query(PEOPLE, as_of={"space": gone + 1})
        await bench.maintain(f"SELECT count(*) FROM ducklake_expire_snapshots('space', versions => [{gone}])")
        with pytest.raises(
            SnapshotGoneError, match=f"snapshot {gone} of space has been expired; the oldest"
        ) as raised:
            await lake.query(COUNT, as_of={"space": gone})
        assert raised.value.oldest <= gone + 1
        assert (await lake.query(PEOPLE, as_of={"space": gone + 1})).rows() == kept.rows()
        newest = head(lake)
        with pytest.raises(SnapshotAheadError, match=f"ahead of its newest, {newest}; .*not_before") as ahead:
            await lake.query(COUNT, as_of={"space": newest + 5})
        assert ahead.value.head == newest
        result = await lake.query(COUNT, not_before=Token({"space": gone}))  # what is newer has seen it
        assert result.rows()[0]["n"] == 21
        with pytest.raises(
            BusyError, match=rf"asks for space {newest + 1}, and the newest commit here is space {newest}"
        ):
            await lake.query(COUNT, not_before=Token({"space": newest + 1}), timeout=0.2)


async def test_not_before_waits_for_the_snapshot_that_as_of_asks_for(bench: Bench) -> None:
    async with bench.open() as lake:
        coming = head(lake) + 1
        asking = asyncio.create_task(
            lake.query(COUNT, as_of={"space": coming}, not_before=Token({"space": coming}), timeout=60)
        )
        await asyncio.sleep(0)
        await bench.write("INSERT INTO orders VALUES (7)", "INSERT INTO orders VALUES (8)")
        assert (await asking).rows()[0]["n"] == 21


async def test_what_is_no_snapshot_is_told(bench: Bench) -> None:
    async with bench.open(attach={"plain": ":memory:"}) as lake:
        await lake.execute("CREATE TABLE plain.main.t AS SELECT 1 AS a")
        with pytest.raises(UsageError, match="'other', which is not attached here; attached: plain, space"):
            await lake.query(COUNT, as_of={"other": 1})
        for number in (-1, True, 1.0, "1"):
            with pytest.raises(UsageError, match="the number of a snapshot"):
                await lake.query(COUNT, as_of={"space": number})  # type: ignore[dict-item]
        now = lake.watcher.heads()["plain"]
        assert (await lake.query("FROM plain.main.t", as_of={"plain": now})).rows() == [{"a": 1}]
        with pytest.raises(UsageError, match="keeps no past states"):
            await lake.query("FROM plain.main.t", as_of={"plain": now - 1})
        both = await lake.query("FROM plain.main.t, (FROM orders LIMIT 0)", as_of={"space": head(lake)})
        assert both.rows() == []
