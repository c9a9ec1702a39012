"""Queries, writes and what a commit makes stale, on real databases of every kind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import livelake
from livelake.cache import AnalyticsCache
from livelake.engine import ArrowData, Session
from livelake.errors import (
    BusyError,
    ClosedError,
    KeyExprError,
    LockedError,
    ParameterError,
    QueryError,
    SourceError,
    UsageError,
)
from livelake.events import Event
from livelake.live import LiveLake
from livelake.testing import ManualClock
from livelake.token import Token

TOTAL = "SELECT sum(amount) AS total FROM orders"


async def total(lake: LiveLake) -> tuple[int, str]:
    result = await lake.query(TOTAL)
    return result.rows()[0]["total"], result.status


# -------------------------------------------------------------------- what is kept, and what is not


async def test_an_unchanged_query_is_computed_once(lake: LiveLake) -> None:
    assert await total(lake) == (15, "miss")
    reads = lake.engine.stats().reads
    assert await total(lake) == (15, "hit")
    assert lake.engine.stats().reads == reads


async def test_a_write_is_seen_by_the_next_read(lake: LiveLake) -> None:
    await total(lake)
    await lake.execute("INSERT INTO orders VALUES ('west', 1)")
    assert await total(lake) == (16, "miss")


async def test_a_commit_elsewhere_keeps_the_answer(lake: LiveLake) -> None:
    await total(lake)
    await lake.execute("INSERT INTO people VALUES ('Grace')")
    assert await total(lake) == (15, "hit")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE orders SET amount = amount + 1 WHERE region = 'north'",
        "DELETE FROM orders WHERE region = 'south'",
        "INSERT INTO orders SELECT 'many', 0 FROM range(100)",
        "ALTER TABLE orders ADD COLUMN note VARCHAR",
        "ALTER TABLE orders RENAME TO old_orders",
        "DROP TABLE orders",
        "CREATE OR REPLACE TABLE orders AS SELECT 'x' AS region, 1 AS amount",
    ],
)
async def test_every_kind_of_change_makes_its_readers_stale(lake: LiveLake, change: str) -> None:
    await lake.query("SELECT * FROM orders")
    await lake.execute(change)
    state = await asyncio.to_thread(lambda: lake.cache.explain(lake.ask("SELECT * FROM orders").key).state)
    assert state == "stale"


async def test_readers_through_views_macros_and_ctes_are_known(lake: LiveLake) -> None:
    await lake.execute("CREATE VIEW v AS SELECT * FROM orders")
    await lake.execute("CREATE MACRO m(least) AS TABLE SELECT * FROM v WHERE amount >= least")
    for sql in (
        "SELECT count(*) AS n FROM v",
        "SELECT count(*) AS n FROM m(0)",
        "WITH o AS (FROM v) SELECT count(*) AS n FROM o",
    ):
        assert (await lake.query(sql)).rows() == [{"n": 2}]
    await lake.execute("INSERT INTO people VALUES ('Grace')")
    assert (await lake.query("SELECT count(*) AS n FROM m(0)")).status == "hit"
    await lake.execute("INSERT INTO orders VALUES ('west', 1)")
    for sql in (
        "SELECT count(*) AS n FROM v",
        "SELECT count(*) AS n FROM m(0)",
        "WITH o AS (FROM v) SELECT count(*) AS n FROM o",
    ):
        assert (await lake.query(sql)).rows() == [{"n": 3}]


@pytest.mark.parametrize(
    "value", [[1, 2], None, "text", 1.5, Decimal("1.50"), date(2024, 1, 1), True, {"a": 1}, b"x"]
)
async def test_a_parameter_without_a_type_hides_no_table(lake: LiveLake, value: object) -> None:
    """I1: planned with NULL in its place, DuckDB folds ``NULL + (SELECT …)`` and the table is gone from the plan."""
    sql = "SELECT length($x::VARCHAR) + (SELECT count(*) FROM orders) AS n, $x IS NULL AS missing"
    before = (await lake.query(sql, {"x": value})).rows()
    await lake.execute("INSERT INTO orders VALUES ('west', 1)")
    after = (await lake.query(sql, {"x": value})).rows()
    assert after[0]["n"] == (before[0]["n"] + 1 if value is not None else None)


async def test_a_plan_made_for_null_is_not_used_for_other_values(lake: LiveLake) -> None:
    sql = "SELECT len($x::INTEGER[]) + (SELECT count(*) FROM orders) AS n"
    assert (await lake.query(sql, {"x": None})).rows() == [{"n": None}]
    assert (await lake.query(sql, {"x": [1]})).rows() == [{"n": 3}]
    await lake.execute("INSERT INTO orders VALUES ('west', 1)")
    assert (await lake.query(sql, {"x": [1]})).rows() == [{"n": 4}]


async def test_a_parameter_that_names_the_table_is_planned_for_each_value(lake: LiveLake) -> None:
    """I1: a plan remembered by its text would watch the table of the first value."""
    await lake.execute("CREATE MACRO rows_of(t) AS (SELECT count(*) FROM query_table(t))")
    for sql in ("SELECT count(*) AS n FROM query_table($t)", "SELECT rows_of($t) AS n"):
        await lake.query(sql, {"t": "people"})
        before = (await lake.query(sql, {"t": "orders"})).rows()[0]["n"]
        await lake.execute("INSERT INTO orders VALUES ('west', 1)")
        assert (await lake.query(sql, {"t": "orders"})).rows() == [{"n": before + 1}]


async def test_redefining_a_view_makes_its_readers_stale(lake: LiveLake) -> None:
    await lake.execute("CREATE VIEW v AS SELECT 1 AS x")
    assert (await lake.query("SELECT x FROM v")).rows() == [{"x": 1}]
    await lake.execute("CREATE OR REPLACE VIEW v AS SELECT 2 AS x")
    assert (await lake.query("SELECT x FROM v")).rows() == [{"x": 2}]


async def test_compaction_makes_nothing_stale(ducklake: LiveLake) -> None:
    for n in range(4):
        await ducklake.execute(f"INSERT INTO orders SELECT 'r', {n} FROM range(20)")
    await ducklake.execute("DELETE FROM orders WHERE region = 'north'")
    before, _ = await total(ducklake)
    head = ducklake.watcher.heads()["sales"]
    await ducklake.administer(
        [
            "SELECT count(*) FROM ducklake_flush_inlined_data('sales')",
            "SELECT count(*) FROM ducklake_merge_adjacent_files('sales')",
            "SELECT count(*) FROM ducklake_rewrite_data_files('sales')",
        ]
    )
    await asyncio.to_thread(ducklake.watcher.look)
    assert ducklake.watcher.heads()["sales"] > head, "there was nothing to compact: the test proves nothing"
    assert await total(ducklake) == (before, "hit")


async def test_a_flush_under_a_read_loses_no_rows(ducklake: LiveLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """I1: on SQLite a transaction that is pinned before a flush, and reads after it, misses the rows that moved."""
    await ducklake.administer(["SELECT count(*) FROM ducklake_flush_inlined_data('sales')"])
    for n in range(30):
        await ducklake.execute(f"INSERT INTO orders VALUES ('r', {n})")
    right, _ = await total(ducklake)
    read, flushed = Session.read, []

    def read_after_a_flush(self: Session, sql: str, *more: object) -> ArrowData:
        if not flushed:
            flushed.append(True)
            with ducklake.engine.cursor() as other:
                other.execute("INSERT INTO orders SELECT 'more', 0 FROM range(40)")
                other.execute("SELECT count(*) FROM ducklake_flush_inlined_data('sales')")
        return read(self, sql, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "read", read_after_a_flush)
    rows = (await ducklake.query("SELECT sum(amount) AS t, count(region) AS n FROM orders", fresh=True)).rows()
    assert rows[0]["t"] == right
    assert rows[0]["n"] in (32, 72)


async def test_i1_what_is_read_beside_a_commit_that_replaces_a_file_of_deletes_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckLake may find neither the old file nor the new one, and rows are back that were deleted long before.

    Seen in 8 of 203 reads beside such commits, with DuckLake alone; here only that the second look is taken.
    """
    async with livelake.open(f"ducklake:sqlite:{tmp_path}/sales.sqlite", poll_interval=600) as lake:
        await lake.execute("CREATE TABLE orders AS SELECT range AS n FROM range(200)")
        await lake.execute("DELETE FROM orders WHERE n < 50")
        read, deleted = Session.read, []

        def read_after_a_delete(self: Session, sql: str, *more: object) -> ArrowData:
            if not deleted:
                deleted.append(True)
                with lake.engine.cursor() as other:
                    other.execute("DELETE FROM orders WHERE n >= 150")
            return read(self, sql, *more)  # type: ignore[arg-type]

        monkeypatch.setattr(Session, "read", read_after_a_delete)
        result = await lake.query("SELECT count(n) AS n FROM orders")
        assert result.rows() == [{"n": 100}]
        assert lake.engine.stats().reads == 2  # the first was thrown away


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT DISTINCT filename FROM orders ORDER BY ALL",
        "SELECT file_row_number FROM orders",
        "FROM ducklake_list_files('sales', 'orders')",
        "FROM ducklake_current_snapshot('sales')",
        "SELECT json_serialize_plan('SELECT * FROM orders')",
    ],
)
async def test_what_shows_how_a_lake_is_stored_moves_with_a_compaction(ducklake: LiveLake, sql: str) -> None:
    for n in range(3):
        await ducklake.execute(f"INSERT INTO orders SELECT 'r', {n} FROM range(20)")
    await ducklake.query(sql)
    await ducklake.administer(["SELECT count(*) FROM ducklake_merge_adjacent_files('sales')"])
    await asyncio.to_thread(ducklake.watcher.look)
    assert (await ducklake.query(sql)).rows() == (await ducklake.query(sql, fresh=True)).rows()


@pytest.mark.parametrize(
    ("definition", "new"),
    [
        ("VIEW stock.main.inner_one AS SELECT 1 AS x", "VIEW stock.main.inner_one AS SELECT 2 AS x"),
        (
            "VIEW stock.main.inner_one AS SELECT a AS x FROM sales.main.t",
            "VIEW stock.main.inner_one AS SELECT b AS x FROM sales.main.u",
        ),
    ],
)
async def test_a_view_that_leads_into_another_catalog_is_followed(tmp_path: Path, definition: str, new: str) -> None:
    """I1: the text of the query names neither the catalog nor the view that changes."""
    uri = f"ducklake:{tmp_path}/sales.ducklake"
    async with livelake.open(uri, attach={"stock": f"{tmp_path}/stock.duckdb"}) as lake:
        await lake.execute("CREATE TABLE t AS SELECT 1 AS a")
        await lake.execute("CREATE TABLE u AS SELECT 10 AS b")
        await lake.execute(f"CREATE {definition}")
        await lake.execute("CREATE VIEW w AS SELECT x FROM stock.main.inner_one")
        await lake.query("FROM w")
        await lake.execute(f"CREATE OR REPLACE {new}")
        assert (await lake.query("FROM w")).rows() == (await lake.query("FROM w", fresh=True)).rows()
        await lake.execute("INSERT INTO u VALUES (11)")
        assert (await lake.query("FROM w")).rows() == (await lake.query("FROM w", fresh=True)).rows()


async def test_a_version_that_the_plan_does_not_ask_for_pins_nothing(ducklake: LiveLake) -> None:
    head = ducklake.watcher.heads()["sales"]
    sql = f"WITH orders AS (FROM sales.main.orders) SELECT count(*) AS n FROM orders AT (VERSION => {head})"
    await ducklake.query(sql)
    await ducklake.execute("INSERT INTO orders VALUES ('west', 1)")
    assert (await ducklake.query(sql)).rows() == (await ducklake.query(sql, fresh=True)).rows()


async def test_a_filter_outside_the_statistics_still_depends_on_its_table(ducklake: LiveLake) -> None:
    """Optimised plans lose such tables; the unoptimised one does not."""
    sql = "SELECT count(*) AS n FROM orders WHERE amount = 999"
    assert (await ducklake.query(sql)).rows() == [{"n": 0}]
    await ducklake.execute("INSERT INTO orders VALUES ('far', 999)")
    assert (await ducklake.query(sql)).rows() == [{"n": 1}]


@pytest.mark.parametrize(
    "sql", ["SELECT random() AS x", "SELECT now() AS x", "SELECT uuid() AS x", "SELECT * FROM orders USING SAMPLE 1"]
)
async def test_what_no_commit_can_vouch_for_is_not_kept(lake: LiveLake, sql: str) -> None:
    assert (await lake.query(sql)).status == "bypass"
    assert (await lake.query(sql)).status == "bypass"
    assert (await lake.why(sql)).why_not


async def test_a_declared_ttl_bounds_what_time_makes_untrue(tmp_path: Path) -> None:
    clock = ManualClock()
    async with livelake.open(":memory:", clock=clock) as lake:
        first = await lake.query("SELECT now() AS x", ttl=30)
        assert first.valid_until is not None
        assert (await lake.query("SELECT now() AS x", ttl=30)).status == "hit"
        clock.advance(30)
        assert (await lake.query("SELECT now() AS x", ttl=30)).status == "miss"


async def test_a_past_version_never_goes_stale(ducklake: LiveLake) -> None:
    head = ducklake.watcher.heads()["sales"]
    await ducklake.execute("INSERT INTO orders VALUES ('west', 1)")
    sql = f"SELECT count(*) AS n FROM orders AT (VERSION => {head})"
    assert (await ducklake.query(sql)).rows() == [{"n": 2}]
    await ducklake.execute("INSERT INTO orders VALUES ('west', 1)")
    result = await ducklake.query(sql)
    assert (result.rows(), result.status) == ([{"n": 2}], "hit")


async def test_depends_on_joins_events_to_a_query(lake: LiveLake) -> None:
    sql = "SELECT 1 AS one"
    await lake.query(sql, depends_on=["events/Todo/**"])
    assert (await lake.query(sql, depends_on=["events/Todo/**"])).status == "hit"
    await lake.bus.publish(Event(aggregate_type="Todo", aggregate_id="1", event_type="Done"))
    assert (await lake.query(sql, depends_on=["events/Todo/**"])).status == "miss"


# -------------------------------------------------------------------- flights and the engine


async def test_a_crowd_computes_once(lake: LiveLake) -> None:
    """I3: a hundred callers, one read of the engine."""
    reads = lake.engine.stats().reads
    results = await asyncio.gather(*(lake.query(TOTAL) for _ in range(100)))
    assert lake.engine.stats().reads == reads + 1
    assert {result.status for result in results} == {"miss", "joined"}
    assert {result.etag for result in results} == {results[0].etag}


async def test_when_nobody_waits_the_query_is_interrupted(lake: LiveLake) -> None:
    """I3: the last one out turns off the light."""
    endless = "SELECT count(*) FROM range(100000000000) t(i) WHERE i % 7 = 3"
    callers = [asyncio.create_task(lake.query(endless)) for _ in range(3)]
    while not lake.engine.stats().running:
        await asyncio.sleep(0)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    async with asyncio.timeout(30):
        while lake.engine.stats().running:
            await asyncio.sleep(0.01)
    assert await total(lake) == (15, "miss")


async def test_an_answer_states_the_snapshot_that_it_was_read_at(ducklake: LiveLake) -> None:
    """F13: label and data belong together, under a writer that never stops."""
    done = False

    async def write() -> None:
        while not done:
            await ducklake.execute("INSERT INTO people VALUES ('x')")

    writer = asyncio.create_task(write())
    try:
        for _ in range(25):
            result = await ducklake.query("SELECT count(*) AS n FROM people", fresh=True)
            version = result.as_of["sales"]
            past = await ducklake.query(f"SELECT count(*) AS n FROM people AT (VERSION => {version})")
            assert past.rows() == result.rows()
    finally:
        done = True
        await writer


# -------------------------------------------------------------------- parameters and results


async def test_parameters_of_different_types_are_different_questions(lake: LiveLake) -> None:
    sql = "SELECT typeof($x) AS t"
    values = [1, 1.0, True, "1", None, Decimal("1"), Decimal("1.0"), date(2024, 1, 1), [1], 0.0, -0.0]
    seen = [(await lake.query(sql, {"x": value})).status for value in values]
    assert seen == ["miss"] * len(values)
    assert [(await lake.query(sql, {"x": value})).status for value in values] == ["hit"] * len(values)


async def test_parameters_that_change_later_change_nothing(lake: LiveLake) -> None:
    parameters = {"x": [1, 2]}
    feed = lake.live("SELECT len($x::INTEGER[]) + (SELECT count(*) FROM orders) AS n", parameters)
    assert (await anext(feed)).rows() == [{"n": 4}]
    parameters["x"].append(3)
    await lake.execute("INSERT INTO orders VALUES ('west', 1)")
    assert (await anext(feed)).rows() == [{"n": 5}]


async def test_the_order_of_named_parameters_does_not_matter(lake: LiveLake) -> None:
    await lake.query("SELECT $a AS a, $b AS b", {"a": 1, "b": 2})
    assert (await lake.query("SELECT $a AS a, $b AS b", {"b": 2, "a": 1})).status == "hit"


async def test_a_result_is_arrow(lake: LiveLake) -> None:
    result = await lake.query("SELECT region, amount FROM orders ORDER BY ALL")
    assert pa.table(result).to_pylist() == result.rows()
    assert pa.ipc.open_stream(result.ipc).read_all().num_rows == len(result) == 2


@pytest.mark.parametrize(
    ("sql", "parameters", "error", "says"),
    [
        ("SELECT 1; SELECT 2", None, QueryError, "2 statements"),
        ("", None, QueryError, "no statement"),
        ("INSERT INTO orders VALUES ('x', 1)", None, QueryError, "INSERT"),
        ("SELECT * FROM nowhere", None, QueryError, "nowhere"),
        ("SELEC 1", None, QueryError, "syntax"),
        ("SELECT $x", None, ParameterError, r"\$x"),
        ("SELECT 1", {"x": 1}, ParameterError, r"\$x"),
        ("SELECT $x", {"x": object()}, ParameterError, "object"),
    ],
)
async def test_bad_questions_say_what_is_wrong(
    lake: LiveLake, sql: str, parameters: dict[str, object] | None, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        await lake.query(sql, parameters)


async def test_an_error_is_not_kept(lake: LiveLake) -> None:
    """I6."""
    with pytest.raises(QueryError):
        await lake.query("SELECT * FROM later")
    await lake.execute("CREATE TABLE later AS SELECT 1 AS x")
    assert (await lake.query("SELECT * FROM later")).rows() == [{"x": 1}]


async def test_the_last_good_answer_is_served_only_where_asked_for_and_says_so(lake: LiveLake) -> None:
    """I6."""
    await lake.query("SELECT * FROM people")
    await lake.execute("DROP TABLE people")
    with pytest.raises(QueryError):
        await lake.query("SELECT * FROM people")
    result = await lake.query("SELECT * FROM people", stale_if_error=60)
    assert (result.status, result.rows()) == ("stale", [{"name": "Ada"}])


async def test_a_key_expression_that_is_none_is_refused(lake: LiveLake) -> None:
    with pytest.raises(KeyExprError):
        await lake.query("SELECT 1", depends_on=["events//x"])


# -------------------------------------------------------------------- writing


async def test_a_transaction_is_one_commit(ducklake: LiveLake) -> None:
    before = ducklake.watcher.heads()["sales"]
    async with ducklake.transaction() as transaction:
        await transaction.execute("INSERT INTO orders VALUES ('a', 1)")
        await transaction.execute("INSERT INTO people VALUES ('b')")
    assert ducklake.watcher.heads()["sales"] == before + 1
    assert transaction.token == Token(versions={"sales": before + 1})


async def test_a_transaction_that_fails_leaves_nothing(lake: LiveLake) -> None:
    with pytest.raises(QueryError):
        async with lake.transaction() as transaction:
            await transaction.execute("INSERT INTO orders VALUES ('a', 1)")
            await transaction.execute("INSERT INTO nowhere VALUES (1)")
    with pytest.raises(ZeroDivisionError):
        async with lake.transaction() as transaction:
            await transaction.execute("INSERT INTO orders VALUES ('a', 1)")
            raise ZeroDivisionError
    assert (await total(lake))[0] == 15
    await lake.execute("INSERT INTO orders VALUES ('a', 1)")
    assert (await total(lake))[0] == 16


async def test_an_error_that_is_caught_inside_the_block_commits_nothing(lake: LiveLake) -> None:
    """All of it or none: DuckDB alone would commit what went before the error."""
    with pytest.raises(QueryError, match="nothing was committed"):
        async with lake.transaction() as transaction:
            await transaction.execute("INSERT INTO orders VALUES ('a', 1)")
            with pytest.raises(QueryError):
                await transaction.execute("INSERT INTO nowhere VALUES (1)")
            with pytest.raises(QueryError, match="nothing is committed"):
                await transaction.execute("INSERT INTO orders VALUES ('b', 1)")
    assert (await total(lake))[0] == 15


async def test_a_transaction_cannot_be_used_after_it_ended(lake: LiveLake) -> None:
    async with lake.transaction() as transaction:
        pass
    with pytest.raises(ClosedError):
        await transaction.execute("SELECT 1")


@pytest.mark.parametrize(
    "sql", ["BEGIN", "ATTACH ':memory:' AS other", "SET threads = 1", "USE memory", "SELECT 1; SELECT 2"]
)
async def test_execute_refuses_what_is_no_write(lake: LiveLake, sql: str) -> None:
    with pytest.raises(QueryError):
        await lake.execute(sql)
    assert (await total(lake))[0] == 15


async def test_a_token_is_never_answered_by_what_came_before_it(lake: LiveLake) -> None:
    for n in range(5):
        token = await lake.execute("INSERT INTO orders VALUES ('x', 1)")
        result = await lake.query(TOTAL, not_before=token)
        assert result.rows() == [{"total": 16 + n}]


async def test_a_token_from_the_future_or_elsewhere_is_refused(lake: LiveLake) -> None:
    clock = ManualClock()
    lake._clock = clock
    asking = asyncio.create_task(lake.query(TOTAL, not_before=Token(versions={"sales": 10**6})))
    await asyncio.sleep(0)
    clock.advance(60)
    with pytest.raises(BusyError, match="newest commit here"):
        await asking
    with pytest.raises(UsageError, match="elsewhere"):
        await lake.query(TOTAL, not_before=Token(versions={"elsewhere": 1}))


async def test_concurrent_writers_lose_nothing(lake: LiveLake) -> None:
    await asyncio.gather(*(lake.execute("INSERT INTO people VALUES ('x')") for _ in range(40)))
    assert (await lake.query("SELECT count(*) AS n FROM people")).rows() == [{"n": 41}]


# -------------------------------------------------------------------- explaining


async def test_why_says_what_was_read_and_what_commits_meant(ducklake: LiveLake) -> None:
    await total(ducklake)
    head = ducklake.watcher.heads()["sales"]
    await ducklake.execute("INSERT INTO people VALUES ('Grace')")
    why = await ducklake.why(TOTAL)
    assert why.state == "fresh"
    assert why.tables == {"sales.main.orders": head}
    assert why.commits[0] == f"sales {head + 1}: kept: elsewhere"
    await ducklake.execute("INSERT INTO orders VALUES ('west', 1)")
    why = await ducklake.why(TOTAL)
    assert why.state == "stale"
    assert why.commits[0] == f"sales {head + 2}: dropped: sales.main.orders"
    assert f"sales {head + 2}" in (why.dropped_by or "")
    assert "sales.main.orders" in str(why)
    assert why.as_dict()["tables"] == {"sales.main.orders": head + 2}


# -------------------------------------------------------------------- opening and closing


async def test_a_missing_database_says_so(tmp_path: Path) -> None:
    for uri in (f"ducklake:{tmp_path}/no.ducklake", f"ducklake:sqlite:{tmp_path}/no.sqlite", f"{tmp_path}/no.duckdb"):
        with pytest.raises(SourceError, match=r"there is no file"):
            await livelake.open(uri, create=False)
    with pytest.raises(SourceError, match=r"there is no folder"):
        await livelake.open(f"ducklake:{tmp_path}/no/where.ducklake")


@pytest.mark.parametrize("uri", ["ducklake:", "https://example.org/x", "postgres://x/y"])
async def test_a_bad_uri_says_what_to_write(uri: str) -> None:
    with pytest.raises(UsageError, match="ducklake:"):
        await livelake.open(uri)


@pytest.mark.parametrize("uri", ["ducklake:{}/junk", "ducklake:sqlite:{}/junk", "{}/junk"])
async def test_a_file_that_is_no_database_is_an_error_of_the_source(uri: str, tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("certainly not a database\n" * 400)
    with pytest.raises(SourceError):
        await livelake.open(uri.format(tmp_path))


@pytest.mark.parametrize("uri", ["ducklake:{}/sales.ducklake", "{}/sales.duckdb"])
async def test_a_locked_file_names_the_holder_and_the_remedy(uri: str, tmp_path: Path) -> None:
    uri = uri.format(tmp_path)
    code = (
        "import asyncio, livelake\n"
        "async def main():\n"
        f"  async with livelake.open({uri!r}) as lake:\n"
        "    print('open', flush=True); input()\n"
        "asyncio.run(main())"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert (await asyncio.to_thread(holder.stdout.readline)).strip() == "open"
        with pytest.raises(LockedError, match=str(holder.pid)) as caught:
            await livelake.open(uri)
        assert "sqlite" in str(caught.value).lower()
    finally:
        await asyncio.to_thread(holder.communicate, "\n")


async def test_names_lead_to_several_catalogs(tmp_path: Path) -> None:
    async with livelake.open(
        f"ducklake:{tmp_path}/sales.ducklake", attach={"stock": f"{tmp_path}/stock.duckdb"}
    ) as lake:
        await lake.execute("CREATE TABLE orders AS SELECT 1 AS id")
        await lake.execute("CREATE TABLE stock.main.items AS SELECT 1 AS id")
        sql = "SELECT count(*) AS n FROM sales.main.orders JOIN stock.main.items USING (id)"
        result = await lake.query(sql)
        assert result.as_of.keys() == {"sales", "stock"}
        await lake.execute("INSERT INTO stock.main.items VALUES (1)")
        assert (await lake.query(sql)).rows() == [{"n": 2}]


async def test_a_closed_lake_refuses_and_closing_twice_is_fine(tmp_path: Path) -> None:
    lake = await livelake.open(f"ducklake:{tmp_path}/sales.ducklake")
    await lake.close()
    await lake.close()
    with pytest.raises(ClosedError):
        await lake.query("SELECT 1")
    with pytest.raises(ClosedError):
        await lake.execute("CREATE TABLE t (a INT)")


async def test_two_lakes_may_share_a_cache(tmp_path: Path) -> None:
    cache = AnalyticsCache(time_to_live=None, time_to_idle=None)
    async with (
        livelake.open(f"{tmp_path}/a.duckdb", cache=cache, as_name="x") as a,
        livelake.open(f"{tmp_path}/b.duckdb", cache=cache, as_name="x") as b,
    ):
        await a.execute("CREATE TABLE t AS SELECT 'a' AS who")
        await b.execute("CREATE TABLE t AS SELECT 'b' AS who")
        assert (await a.query("FROM t")).rows() == [{"who": "a"}]
        assert (await b.query("FROM t")).rows() == [{"who": "b"}]


@pytest.mark.parametrize("ttl", [float("nan"), float("inf"), -1, 0, "5", True, 1e300])
async def test_a_ttl_that_is_no_time_is_refused(lake: LiveLake, ttl: Any) -> None:
    with pytest.raises(UsageError, match="ttl="):
        await lake.query("SELECT now() AS t", ttl=ttl)


async def test_a_map_without_a_key_is_refused_with_its_row(lake: LiveLake) -> None:
    """Arrow ends the process for one."""
    await lake.execute("CREATE TABLE maps (m MAP(VARCHAR, INTEGER))")
    with pytest.raises(UsageError, match="None for a key"):
        await lake.insert("maps", [{"m": {"a": 1}}, {"m": {None: 1}}])


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE VIEW memory.main.v AS SELECT 1 AS n",
        'create or replace macro "memory" . main.m() as 1',
        "CREATE TYPE IF NOT EXISTS memory.main.mood AS ENUM ('a', 'b')",
        "DROP VIEW IF EXISTS memory.main.v",
    ],
)
async def test_nothing_is_defined_where_nobody_watches(tmp_path: Path, sql: str) -> None:
    """An answer from a view in DuckDB's own database, beside a lake, would be kept when the view is redefined."""
    async with livelake.open(f"ducklake:{tmp_path}/l.ducklake") as lake:
        with pytest.raises(QueryError, match="define it in the lake"):
            await lake.execute(sql)
        with pytest.raises(QueryError, match="define it in the lake"):
            async with lake.transaction() as transaction:
                await transaction.execute(sql)
        await lake.execute("CREATE TABLE memory AS SELECT 1 AS memory")
        await lake.execute("CREATE VIEW v AS SELECT memory.memory FROM memory")
    async with livelake.open(":memory:", attach={"l": f"ducklake:{tmp_path}/l.ducklake"}) as lake:
        await lake.execute("CREATE VIEW memory.main.v AS SELECT 1 AS n")
        assert (await lake.query("FROM memory.main.v")).rows() == [{"n": 1}]
        await lake.execute("CREATE OR REPLACE VIEW memory.main.v AS SELECT 2 AS n")
        assert (await lake.query("FROM memory.main.v")).rows() == [{"n": 2}]
