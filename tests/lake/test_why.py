"""`lake.why`: the whole story of one answer, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import livelake
import livelake.catalogs
from livelake.live import LiveLake

TOTAL = "SELECT sum(amount) AS total FROM orders"


async def test_a_fresh_answer_says_where_it_came_from_and_what_it_cost(ducklake: LiveLake) -> None:
    result = await ducklake.query(TOTAL)
    head = ducklake.watcher.heads()["sales"]
    why = await ducklake.why(TOTAL)
    assert (why.state, why.rows, why.as_of) == ("fresh", 1, {"sales": head})
    assert why.computed_at == result.computed_at.isoformat()
    assert why.cost is not None
    assert 0 < why.cost < 60
    assert why.nbytes == result.answer.nbytes
    text = str(why)
    assert "kept: fresh" in text
    assert f"from sales {head}" in text
    assert f"reads sales.main.orders, unchanged since {head}" in text
    assert "1 row in" in text


async def test_a_table_is_not_said_to_have_changed_when_a_view_was_made(ducklake: LiveLake) -> None:
    head = ducklake.watcher.heads()["sales"]
    await ducklake.execute("CREATE VIEW elsewhere AS SELECT 1 AS one")
    await ducklake.query(TOTAL)
    text = str(await ducklake.why(TOTAL))
    assert f"reads sales.main.orders, unchanged since {head + 1}" in text
    assert "last changed" not in text


async def test_what_a_commit_meant_is_told_before_and_after_the_present_answer(ducklake: LiveLake) -> None:
    await ducklake.query(TOTAL)
    head = ducklake.watcher.heads()["sales"]
    await ducklake.execute("INSERT INTO people VALUES ('Grace')")
    await ducklake.administer(["SELECT count(*) FROM ducklake_flush_inlined_data('sales')"])
    ducklake.watcher.look()
    why = await ducklake.why(TOTAL)
    assert [(each.snapshot, each.kept, each.because) for each in why.verdicts[:2]] == [
        (head + 2, True, "compaction"),
        (head + 1, True, "elsewhere"),
    ]
    lines = str(why).splitlines()
    since, before = (
        lines.index("since then:"),
        next(n for n, each in enumerate(lines) if each.startswith("commits b")),
    )
    assert lines[since + 1 : since + 3] == [
        f"  sales {head + 2}: kept: compaction",
        f"  sales {head + 1}: kept: elsewhere",
    ]
    assert before > since
    await ducklake.execute("INSERT INTO orders VALUES ('west', 1)")
    why = await ducklake.why(TOTAL)
    assert why.state == "stale"
    assert str(why.verdicts[0]) == why.commits[0] == f"sales {head + 3}: dropped: sales.main.orders"
    assert f"dropped: by sales {head + 3}, which changed sales.main.orders; computed" in str(why)


async def test_a_definition_drops_every_answer_of_its_catalog(ducklake: LiveLake) -> None:
    await ducklake.query(TOTAL)
    await ducklake.execute("CREATE VIEW v AS SELECT 1 AS one")
    why = await ducklake.why(TOTAL)
    assert not why.verdicts[0].kept
    assert "view" in why.verdicts[0].because


async def test_a_past_version_is_kept_through_every_change_of_its_table(ducklake: LiveLake) -> None:
    head = ducklake.watcher.heads()["sales"]
    await ducklake.execute("INSERT INTO orders VALUES ('west', 1)")
    sql = f"SELECT count(*) AS n FROM orders AT (VERSION => {head})"
    await ducklake.query(sql)
    await ducklake.execute("INSERT INTO orders VALUES ('west', 1)")
    assert (await ducklake.why(sql)).verdicts[0].because == "elsewhere"


async def test_who_asks_the_catalog_itself_is_told_so(ducklake: LiveLake) -> None:
    sql = "FROM ducklake_current_snapshot('sales')"
    await ducklake.query(sql)
    await ducklake.execute("INSERT INTO orders VALUES ('west', 1)")
    assert (await ducklake.why(sql)).verdicts[0].because == "it asks the catalog itself"


async def test_time_and_functions_are_told(lake: LiveLake) -> None:
    sql = "SELECT date_trunc('hour', now()) AS h, current_date AS d FROM orders"
    await lake.query(sql)
    why = await lake.why(sql)
    assert why.functions == ("current_date (by day)", "now (by hour)")
    assert why.valid_until is not None
    assert f"valid until {why.valid_until}" in str(why)
    assert "calls now (by hour)" in str(why)
    never = await lake.why("SELECT random() AS r, now() AS n, current_user AS u")
    assert never.functions == ("current_user", "now", "random")
    assert "never kept" in str(never)


async def test_what_was_never_asked_is_explained_as_well_and_not_computed(lake: LiveLake) -> None:
    reads = lake.engine.stats().reads
    why = await lake.why(TOTAL)
    assert why.state == "absent"
    assert why.tables.keys() == {"sales.main.orders"}
    assert "no answer is kept" in str(why)
    assert lake.engine.stats().reads == reads


async def test_the_dict_is_json_and_says_what_the_text_says(ducklake: LiveLake) -> None:
    await ducklake.query(TOTAL, depends_on=["events/Todo/**"])
    why = await ducklake.why(TOTAL, depends_on=["events/Todo/**"])
    told = json.loads(json.dumps(why.as_dict()))
    assert told["tables"] == dict(why.tables)
    assert told["verdicts"][0].keys() == {"catalog", "snapshot", "kept", "because"}
    assert "events/Todo/**" in told["depends_on"]
    assert "depends on events/Todo/**" in str(why)


@pytest.mark.parametrize("kind", ["duckdb", "memory"])
async def test_a_plain_database_says_which_write_dropped_an_answer(tmp_path: Path, kind: str) -> None:
    uri = f"{tmp_path}/sales.duckdb" if kind == "duckdb" else ":memory:"
    async with livelake.open(uri, as_name="sales") as lake:
        await lake.execute("CREATE TABLE orders (amount INTEGER)")
        await lake.execute("CREATE TABLE people (name VARCHAR)")
        await lake.query(TOTAL)
        await lake.execute("INSERT INTO people VALUES ('Ada')")
        assert str((await lake.why(TOTAL)).verdicts[0]) == "sales 3: kept: elsewhere"
        await lake.execute("INSERT INTO orders VALUES (1)")
        why = await lake.why(TOTAL)
        assert [str(verdict) for verdict in why.verdicts[:3]] == [
            "sales 4: dropped: sales.main.orders",
            "sales 3: kept: elsewhere",
            "sales 2: dropped: a statement that may have changed anything",
        ]
        assert "dropped: by sales 4, which changed sales.main.orders; computed" in str(why)


async def test_the_keys_say_where_each_table_comes_from(ducklake: LiveLake) -> None:
    result = await ducklake.query(TOTAL)
    why = await ducklake.why(TOTAL)
    (key,) = livelake.catalogs.keys(ducklake, result, TOTAL)
    assert why.keys == (str(key),)
    assert f"known as {key}" in str(why)
