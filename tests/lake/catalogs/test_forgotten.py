"""A lake in a DuckDB file, whose inlined rows are flushed under a transaction that reads them again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import livelake
from livelake.errors import QueryError
from livelake.lake import Upkeep
from livelake.lake.forgotten import table_of, was_taken
from livelake.live import LiveLake

SUM = "SELECT sum(n)::INTEGER AS n FROM told"
FLUSH = "CALL ducklake_flush_inlined_data('sales')"


@pytest.mark.parametrize(
    ("says", "table"),
    [
        (
            'Table with name ducklake_inlined_data_12_3 does not exist!\nDid you mean "ducklake_inlined_data_12_7"?',
            12,
        ),
        ('ERROR:  relation "public.ducklake_inlined_delete_4" does not exist', 4),
        ("Table with name orders does not exist!", None),
        ("no such table: orders", None),
    ],
)
def test_what_is_gone_is_known_in_the_words_of_each_catalog(says: str, table: int | None) -> None:
    hidden = QueryError("Attempting to fetch from an unsuccessful query result")
    hidden.__cause__ = RuntimeError(f"Invalid Input Error\nError: {says}")
    assert table_of(hidden) == table_of(QueryError(says)) == table


def test_what_is_taken_under_a_scan_is_known_in_the_words_of_sqlite() -> None:
    says = 'Failed to prepare query "FROM "ducklake_inlined_data_6_5"": no such table: ducklake_inlined_data_6_5'
    hidden = QueryError("Attempting to fetch from an unsuccessful query result")
    hidden.__cause__ = RuntimeError(f"Invalid Input Error\nError: {says}")
    assert was_taken(hidden)
    assert table_of(hidden) is None  # and so nothing is attached again, under whoever reads
    assert was_taken(QueryError("Failed to read inlined data from DuckLake: Current transaction is aborted"))
    assert was_taken(QueryError("Attempting to fetch from an unsuccessful query result"))
    assert not was_taken(QueryError("no such table: orders"))
    gone = "Failed to read inlined data from DuckLake: Table with name ducklake_inlined_data_6_5 does not exist!"
    assert not was_taken(QueryError(gone))


@pytest.fixture
async def lake(tmp_path: Path) -> AsyncIterator[LiveLake]:
    """Every read of the table ``told`` fails here, and would until the process ends."""
    async with livelake.open(
        f"ducklake:{tmp_path}/sales.ducklake", attach={"b": f"ducklake:{tmp_path}/b.ducklake"}, poll_interval=600.0
    ) as opened:
        for name in ("sales.main.other", "b.main.told", "sales.main.told"):
            await opened.execute(f"CREATE TABLE {name} (n INTEGER)")
        await opened.execute("COMMENT ON TABLE sales.main.told IS 'it''s told'")
        await opened.execute("INSERT INTO sales.main.told VALUES (1)")
        await opened.execute("ALTER TABLE sales.main.told ADD COLUMN more INTEGER")
        await opened.execute("INSERT INTO sales.main.told VALUES (2, 0)")
        with opened.engine.cursor() as early, early.transaction(read_only=True):
            early.fetchall("FROM sales.current_snapshot()")
            await opened.administer([FLUSH])
            assert early.fetchall("SELECT sum(n)::INTEGER FROM sales.main.told") == [(3,)]
        with opened.engine.cursor() as late, pytest.raises(QueryError) as broken:
            late.fetchall("SELECT sum(n) FROM sales.main.told")
        assert table_of(broken.value) is not None
        yield opened


async def test_a_read_mends_it_by_one_commit_that_changes_nothing(lake: LiveLake) -> None:
    await asyncio.to_thread(lake.watcher.look)
    await lake.query("FROM other")
    before = lake.watcher.heads()
    answers = await asyncio.gather(*(lake.query(f"{SUM} WHERE n > $n", {"n": -n}) for n in range(8)))
    assert {answer.rows()[0]["n"] for answer in answers} == {3}
    await asyncio.to_thread(lake.watcher.look)
    assert lake.watcher.heads() == {**before, "sales": before["sales"] + 1}
    assert (await lake.query("FROM other")).status == "hit"
    comment = await lake.query(
        "SELECT comment FROM duckdb_tables() WHERE database_name = 'sales' AND table_name = 'told'", ttl=1
    )
    assert comment.rows() == [{"comment": "it's told"}]


async def test_a_write_mends_it(lake: LiveLake) -> None:
    await lake.execute("UPDATE told SET n = n + 1")
    assert (await lake.query(SUM)).rows() == [{"n": 5}]


async def test_upkeep_mends_it(lake: LiveLake) -> None:
    await lake.execute("INSERT INTO told VALUES (4, 0)")
    first, *_ = await lake.maintain(Upkeep(expire_after=None))
    assert str(first) == "sales: 1 rows flushed into files"
    assert (await lake.query(SUM)).rows() == [{"n": 7}]


async def test_a_read_of_the_past_mends_it_by_opening_everything_anew(tmp_path: Path) -> None:
    """No commit changes what the schema was. Who reads meanwhile is interrupted, and told to try again."""
    async with livelake.open(f"ducklake:{tmp_path}/sales.ducklake", poll_interval=600.0) as lake:
        await lake.execute("CREATE TABLE told (n INTEGER)")
        then = (await lake.execute("INSERT INTO told VALUES (1)")).versions
        with lake.engine.cursor() as early, early.transaction(read_only=True):
            early.fetchall("FROM sales.current_snapshot()")
            await lake.execute("ALTER TABLE told ADD COLUMN more INTEGER")
            await lake.execute("INSERT INTO told VALUES (2, 0)")
            await lake.administer([FLUSH])
            assert early.fetchall("SELECT sum(n)::INTEGER FROM told") == [(1,)]
        assert (await lake.query(SUM, as_of=then)).rows() == [{"n": 1}]
        assert lake.engine.stats().reopened == 1
        assert (await lake.query(SUM)).rows() == [{"n": 3}]


@pytest.mark.parametrize("busy", [False, True])
async def test_a_lake_in_sqlite_is_attached_anew_unless_something_runs(tmp_path: Path, busy: bool) -> None:
    """Another process has flushed what is remembered here. Under a transaction a commit mends it, and the next read
    of what is remembered of it is right as well."""
    uri = f"ducklake:sqlite:{tmp_path}/sales.sqlite"
    async with livelake.open(uri, poll_interval=600.0) as lake, livelake.open(uri, poll_interval=600.0) as other:
        await lake.execute("CREATE TABLE told (n INTEGER)")
        await lake.execute("INSERT INTO told VALUES (1)")
        assert (await lake.query(SUM, fresh=True)).rows() == [{"n": 1}]
        await other.execute("ALTER TABLE told ADD COLUMN more INTEGER")
        await other.execute("INSERT INTO told VALUES (2, 0)")
        assert (await lake.query(SUM, fresh=True)).rows() == [{"n": 3}]
        await other.administer([FLUSH])
        await asyncio.to_thread(lake.watcher.look)
        head, renewals = lake.watcher.heads()["sales"], lake.attached.renewals()["sales"]
        with contextlib.ExitStack() as running:
            if busy:
                session = running.enter_context(lake.engine.cursor())
                running.enter_context(session.transaction(read_only=True))
                session.fetchall("FROM sales.current_snapshot()")
            assert (await lake.query(SUM, fresh=True)).rows() == [{"n": 3}]
            if busy:  # it may go on, and look at all databases
                session.fetchall("SELECT count(*) FROM system.main.duckdb_tables()")
        await asyncio.to_thread(lake.watcher.look)
        assert lake.attached.renewals()["sales"] == renewals + 1
        assert lake.watcher.heads()["sales"] == head + busy
