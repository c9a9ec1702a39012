"""What an answer depends on: issue 5, point 2, one promise a test, on real lakes.

What single texts read is tested in ``tests/engine/test_reading.py``; here it is what a lake makes of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import livelake
from livelake.errors import QueryError
from livelake.live import LiveLake


async def prepare(lake: LiveLake) -> None:
    await lake.execute("CREATE VIEW v AS SELECT region, amount FROM orders")
    await lake.execute("CREATE VIEW vv AS SELECT region FROM v WHERE amount > 0")
    await lake.execute("CREATE MACRO least(n) AS TABLE SELECT * FROM v WHERE amount >= n")
    await lake.execute("CREATE MACRO newest() AS (SELECT max(amount) FROM orders)")


THROUGH = [
    "SELECT count(*) AS n FROM v",
    "SELECT count(*) AS n FROM vv",
    "SELECT count(*) AS n FROM least(0)",
    "SELECT newest() AS n",
    "WITH o AS (FROM orders) SELECT count(*) AS n FROM o",
    "SELECT (SELECT count(*) FROM orders) AS n",
    "SELECT count(*) AS n FROM people WHERE EXISTS (FROM orders)",
    "SELECT count(*) AS n FROM people, orders",
    "SELECT count(*) AS n FROM query('FROM orders')",
    "SELECT count(*) AS n FROM query_table('orders')",
    "SELECT count(*) AS n FROM sales.main.orders",
]


async def test_whatever_leads_to_a_table_its_change_is_seen_and_others_are_not(lake: LiveLake) -> None:
    await prepare(lake)
    await lake.execute("CREATE TABLE elsewhere (a INTEGER)")
    for sql in THROUGH:
        await lake.query(sql)
        assert "sales.main.orders" in (await lake.why(sql)).tables
    await lake.execute("INSERT INTO elsewhere VALUES (1)")
    assert {(await lake.query(sql)).status for sql in THROUGH} == {"hit"}
    await lake.execute("INSERT INTO orders VALUES ('west', 100)")
    for sql in THROUGH:
        result = await lake.query(sql)
        assert result.status == "miss", sql
        assert result.rows() == (await lake.query(sql, fresh=True)).rows()


@pytest.mark.parametrize(
    "change",
    [
        "CREATE OR REPLACE VIEW v AS SELECT 'x' AS region, 1 AS amount",
        "CREATE OR REPLACE VIEW v AS SELECT name AS region, 2 AS amount FROM people",
        "CREATE OR REPLACE TABLE orders AS SELECT 'x' AS region, 3 AS amount",
        "ALTER TABLE orders ADD COLUMN note VARCHAR",
        "ALTER TABLE orders RENAME TO gone",
        "DROP VIEW v",
        "DROP TABLE orders",
    ],
)
async def test_a_new_definition_makes_its_readers_stale(lake: LiveLake, change: str) -> None:
    """At each step of the way: what is asked for after it is what DuckDB answers then, an error included."""
    await prepare(lake)
    readers = ("SELECT count(*) AS n FROM v", "SELECT count(*) AS n FROM least(0)")
    for sql in readers:
        await lake.query(sql)
    await lake.execute(change)
    for sql in readers:
        assert lake.cache.explain(lake.ask(sql).key).state == "stale"
        try:
            expected = (await lake.query(sql, fresh=True)).rows()
        except QueryError:
            with pytest.raises(QueryError):
                await lake.query(sql)
        else:
            assert (await lake.query(sql)).rows() == expected


async def test_a_new_macro_makes_its_readers_stale(lake: LiveLake) -> None:
    await lake.execute("CREATE MACRO twice(x) AS 2 * x")
    assert (await lake.query("SELECT twice(2) AS n")).rows() == [{"n": 4}]
    await lake.execute("CREATE OR REPLACE MACRO twice(x) AS 20 * x")
    assert (await lake.query("SELECT twice(2) AS n")).rows() == [{"n": 40}]


async def test_another_table_under_an_old_name_is_another_table(lake: LiveLake) -> None:
    sql = "SELECT * FROM orders ORDER BY ALL"
    await lake.query(sql)
    await lake.execute("ALTER TABLE orders RENAME TO old")
    await lake.execute("CREATE TABLE orders AS SELECT 'new' AS region, 1 AS amount")
    assert (await lake.query(sql)).rows() == [{"region": "new", "amount": 1}]
    await lake.execute("INSERT INTO old VALUES ('far', 1)")
    assert (await lake.query(sql)).rows() == [{"region": "new", "amount": 1}]


async def test_each_catalog_of_a_join_counts(tmp_path: Path) -> None:
    others = {"stock": f"ducklake:sqlite:{tmp_path}/stock.sqlite", "plain": f"{tmp_path}/plain.duckdb"}
    async with livelake.open(f"ducklake:{tmp_path}/sales.ducklake", attach=others) as lake:
        for name in ("sales", "stock", "plain"):
            await lake.execute(f"CREATE TABLE {name}.main.items AS SELECT 1 AS id")
            await lake.execute(f"CREATE TABLE {name}.main.unread AS SELECT 1 AS id")
        sql = "SELECT count(*) AS n FROM sales.main.items, stock.main.items AS b, plain.main.items AS c"
        await lake.query(sql)
        assert (await lake.why(sql)).tables.keys() == {f"{name}.main.items" for name in ("sales", "stock", "plain")}
        for n, name in enumerate(("sales", "stock", "plain"), 1):
            await lake.execute(f"INSERT INTO {name}.main.unread VALUES (2)")
            assert (await lake.query(sql)).status == "hit"
            await lake.execute(f"INSERT INTO {name}.main.items VALUES (2)")
            assert (await lake.query(sql)).rows() == [{"n": 2**n}]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT random() AS x", "differs at every run: random"),
        ("SELECT gen_random_uuid() AS x", "differs at every run: gen_random_uuid"),
        ("SELECT * FROM orders USING SAMPLE 1", "differs at every run: SAMPLE"),
        ("SELECT current_user AS x", "depends on the connection: current_user"),
        ("SELECT current_setting('TimeZone') AS x", "depends on the connection: current_setting"),
        ("SELECT getvariable('x') AS x", "depends on the connection: getvariable"),
        ("SELECT now() AS x", "depends on the moment: now"),
        ("SELECT * FROM duckdb_settings()", "cannot tell what it reads: duckdb_settings"),
        ("DESCRIBE orders", "cannot tell what it reads"),
        ("FROM past_or_present", "inside a view or macro"),
        ("FROM some_orders", "now inside a view or macro"),
        ("SELECT count(*) AS n FROM some_of_them", "now inside a view or macro"),
        ("FROM orders LIMIT how_many()", "now inside a view or macro"),
        ("FROM a_few(2)", "now inside a view or macro"),
        ("FROM of_this_day", "a LIMIT or AT inside a view or macro"),
        ("FROM query('FROM some_orders')", "now inside a view or macro"),
        ("FROM query_table('some_orders')", "now inside a view or macro"),
    ],
)
async def test_what_cannot_be_vouched_for_is_not_kept_and_says_why(lake: LiveLake, sql: str, says: str) -> None:
    await lake.execute("CREATE MACRO how_many() AS epoch(now())::INTEGER")
    await lake.execute("CREATE MACRO a_few(n) AS TABLE FROM orders LIMIT how_many() % n")
    await lake.execute("CREATE VIEW some_orders AS FROM orders LIMIT (epoch(now())::INTEGER % 3)")
    await lake.execute('CREATE VIEW "some of them" AS FROM some_orders')
    await lake.execute('CREATE VIEW some_of_them AS FROM "some of them"')
    await lake.execute("CREATE VIEW of_this_day AS SELECT current_date AS d FROM orders LIMIT day(current_date)")
    await lake.execute("CREATE VIEW past_or_present AS FROM range((epoch(now()) / 1e9)::BIGINT)")
    assert [(await lake.query(sql)).status for _ in range(2)] == ["bypass", "bypass"]
    why = await lake.why(sql)
    assert says in str(why.why_not)
    assert says in str(why)


async def test_views_that_hide_nothing_are_kept(lake: LiveLake) -> None:
    await lake.execute("CREATE MACRO recent(n) AS TABLE FROM orders WHERE amount > 0 LIMIT n")
    await lake.execute("CREATE VIEW stamped AS SELECT 1 AS version, 2 AS now, region AS user FROM orders LIMIT 10")
    await lake.execute(
        "CREATE VIEW of_today AS SELECT count(*) AS n FROM orders WHERE current_date > DATE '2024-01-01'"
    )
    for sql in ("FROM recent(3)", "FROM stamped", "FROM of_today", "WITH x AS (FROM stamped) FROM x"):
        await lake.query(sql)
        assert (await lake.query(sql)).status == "hit", (await lake.why(sql)).why_not


async def test_files_are_named_and_kept_only_for_a_declared_time(lake: LiveLake, tmp_path: Path) -> None:
    with lake.engine.cursor() as session:
        session.execute(f"COPY (SELECT 1 AS a) TO '{tmp_path}/a.parquet'")
    sql = f"SELECT count(*) AS n FROM '{tmp_path}/*.parquet'"
    assert f"file({tmp_path}/*.parquet)" in (await lake.why(sql)).files
    assert (await lake.query(sql, ttl=60)).valid_until is not None
    assert (await lake.query(sql, ttl=60)).status == "hit"


async def test_a_url_is_named_even_where_it_cannot_be_read(lake: LiveLake) -> None:
    why = await lake.why("FROM read_parquet('https://127.0.0.1:1/a.parquet')")
    assert why.files == ("read_parquet(https://127.0.0.1:1/a.parquet)",)
    assert why.why_not
    assert "cannot be planned" in why.why_not


async def test_a_known_text_is_not_planned_again(ducklake: LiveLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 ms: a counter instead of a clock. Each definition that changes makes it new."""
    planned = []
    texts = livelake.engine.Session.texts

    def counted(self: livelake.engine.Session, sql: str, params: Any = None, **more: str) -> tuple[Any, ...]:
        planned.append(sql)
        return texts(self, sql, params, **more)

    monkeypatch.setattr(livelake.engine.Session, "texts", counted)
    for amount in range(3):
        await ducklake.execute(f"INSERT INTO orders VALUES ('west', {amount})")
        await ducklake.query("SELECT count(*) AS n FROM orders")
        await ducklake.query("SELECT count(*) AS n FROM orders WHERE amount > $least", {"least": amount})
    assert len(planned) == 2
    await ducklake.execute("ALTER TABLE orders ADD COLUMN note VARCHAR")
    await ducklake.query("SELECT count(*) AS n FROM orders")
    assert len(planned) == 3
