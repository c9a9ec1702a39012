"""What is promised of every lake, wherever its catalog and its data lie."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from lake.catalogs.conftest import SHARED, Bench
from livelake.errors import QueryError

COUNT = "SELECT count(*) AS n, sum(amount)::INTEGER AS total FROM orders"
PEOPLE = "SELECT count(*) AS n FROM people"


async def test_an_answer_is_computed_once(bench: Bench) -> None:
    async with bench.open() as lake:
        first = await lake.query(COUNT)
        assert first.rows() == [{"n": 20, "total": 190}]
        assert (first.status, (await lake.query(COUNT)).status) == ("miss", "hit")


async def test_what_was_written_is_read_and_what_is_elsewhere_is_kept(bench: Bench) -> None:
    async with bench.open() as lake:
        before = await lake.query(COUNT)
        await lake.query(PEOPLE)
        await bench.write("INSERT INTO orders SELECT range FROM range(20, 50)")
        after = await lake.query(COUNT)
        assert (after.status, after.rows()) == ("miss", [{"n": 50, "total": 1225}])
        assert after.as_of["space"] > before.as_of["space"]
        assert (await lake.query(PEOPLE)).status == "hit"
        await bench.write("INSERT INTO people VALUES ('Ada')")  # inlined: the rows are in the catalog
        assert (await lake.query(PEOPLE)).rows() == [{"n": 1}]
        assert (await lake.query(COUNT)).status == "hit"


async def test_compaction_makes_nothing_stale(bench: Bench) -> None:
    async with bench.open() as lake:
        await bench.write("INSERT INTO orders VALUES (100)", "INSERT INTO orders SELECT range FROM range(20)")
        await lake.query(COUNT)
        head = lake.watcher.heads()["space"]
        await bench.maintain("CALL ducklake_flush_inlined_data('space')", "CALL space.merge_adjacent_files()")
        await asyncio.to_thread(lake.watcher.look)
        assert lake.watcher.heads()["space"] > head
        kept = await lake.query(COUNT)
        assert kept.status == "hit"
        assert (await lake.query(COUNT, fresh=True)).rows() == kept.rows() == [{"n": 41, "total": 480}]


@pytest.mark.parametrize(
    ("change", "sees"),
    [
        ("ALTER TABLE orders ADD COLUMN note VARCHAR DEFAULT 'x'", ["amount", "note"]),
        ("ALTER TABLE orders RENAME COLUMN amount TO price", ["price"]),
        ("CREATE OR REPLACE TABLE orders AS SELECT 1 AS other", ["other"]),
    ],
)
async def test_a_schema_change_is_seen(bench: Bench, change: str, sees: list[str]) -> None:
    async with bench.open() as lake:
        await lake.query("FROM orders")
        await bench.write(change)
        result = await lake.query("FROM orders")
        assert result.status == "miss"
        assert [column.name for column in result.columns] == sees


async def test_a_table_that_is_dropped_or_renamed_is_gone(bench: Bench) -> None:
    async with bench.open() as lake:
        await lake.query(COUNT)
        await bench.write("ALTER TABLE orders RENAME TO sales")
        with pytest.raises(QueryError, match="orders"):
            await lake.query(COUNT)
        assert (await lake.query("SELECT count(*) AS n FROM sales")).rows() == [{"n": 20}]


async def test_a_view_that_is_redefined_is_seen(bench: Bench) -> None:
    async with bench.open() as lake:
        await bench.write("CREATE VIEW few AS SELECT 1 AS n")
        assert (await lake.query("FROM few")).rows() == [{"n": 1}]
        await bench.write("CREATE OR REPLACE VIEW few AS SELECT 2 AS n")
        assert (await lake.query("FROM few")).rows() == [{"n": 2}]


async def test_a_feed_moves_when_the_lake_does(bench: Bench) -> None:
    async with bench.open() as lake, lake.live(COUNT) as feed, asyncio.timeout(30):
        assert (await anext(feed)).rows()[0]["n"] == 20
        await bench.write("INSERT INTO orders SELECT range FROM range(12)")
        assert (await anext(feed)).rows()[0]["n"] == 32


OTHER = """
import asyncio, sys, livelake
async def main():
    async with livelake.open(sys.argv[1], as_name="space") as lake:
        for sql in sys.argv[2:]:
            await lake.execute(sql)
asyncio.run(main())
"""


async def elsewhere(bench: Bench, *statements: str) -> None:
    await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", OTHER, bench.uri, *statements], check=True, timeout=60
    )


@pytest.mark.parametrize("bench", SHARED, indirect=True)
async def test_what_another_process_commits_is_seen(bench: Bench) -> None:
    async with bench.open() as lake:
        await lake.query(COUNT)
        await lake.query(PEOPLE)
        await elsewhere(bench, "INSERT INTO orders VALUES (7)", "INSERT INTO orders SELECT range FROM range(11)")
        async with asyncio.timeout(30):
            while (await lake.query(COUNT)).rows()[0]["n"] != 32:
                await asyncio.sleep(0.01)
        assert (await lake.query(PEOPLE)).status == "hit"
        token = await lake.execute("INSERT INTO people VALUES ('Ada')")
        assert (await lake.query(PEOPLE, not_before=token)).rows() == [{"n": 1}]


@pytest.mark.parametrize("bench", SHARED, indirect=True)
async def test_a_dropped_metadata_table_heals(bench: Bench) -> None:
    """F16: DuckLake keeps asking for inlined rows that another process has flushed after a rename."""
    async with bench.open() as lake:
        await lake.execute("INSERT INTO orders VALUES (1)")
        await elsewhere(bench, "ALTER TABLE orders RENAME TO sales", "INSERT INTO sales VALUES (2)")
        query = "SELECT count(*) AS n FROM sales"
        async with asyncio.timeout(30):
            while True:
                try:
                    assert (await lake.query(query)).rows() == [{"n": 22}]
                    break
                except QueryError:
                    await asyncio.sleep(0.01)
        code = OTHER.replace("lake.execute(sql)", "lake.administer([sql])")
        flush = [sys.executable, "-c", code, bench.uri, "CALL ducklake_flush_inlined_data('space')"]
        await asyncio.to_thread(subprocess.run, flush, check=True, timeout=60)
        assert (await lake.query(query, fresh=True)).rows() == [{"n": 22}]
        token = await lake.execute("DELETE FROM sales WHERE amount = 2")
        assert token.versions["space"] == lake.watcher.heads()["space"]
        assert (await lake.query(query)).rows()[0]["n"] == 20
        assert lake.attached.by_name["space"].generation == 1
