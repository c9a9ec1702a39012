"""``livelake init``: whatever the tables, what is written is served and answers without an edit."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import livelake
from livelake import web
from livelake.cli.starter import toml
from livelake.web.header import Header


def failed(done: Any) -> str:
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("livelake: ")
    return str(line)


async def answers(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What each query of a folder answers, as the server would ask it."""
    (dashboard,) = web.dashboards(folder)
    ((name, uri),) = dashboard.attach.items()
    async with livelake.open(uri, as_name=name, create=False) as lake:
        await web.check(lake, (dashboard,))
        return {
            query.name: (await lake.query(query.sql, query.bind([]))).rows() for query in dashboard.queries.values()
        }


async def fill(uri: str, *statements: str) -> None:
    async with livelake.open(uri) as lake:
        for sql in statements:
            await lake.execute(sql)


async def test_without_a_lake_it_makes_one_and_says_what_to_run(
    run: Any, start: Any, fetch: Callable[[str], bytes], tmp_path: Path
) -> None:
    done = run("init", "shop")
    assert (done.returncode, done.stderr) == (0, "")
    command = re.search(r"now: +livelake (serve shop --reload)\n", done.stdout)
    assert command, done.stdout
    serving = start(*command[1].split(), "--port", "0")
    found = re.search(r"serves 4 queries on (http://\S+)", serving.stdout.readline())
    assert found
    assert json.loads(fetch(found[1] + "queries/orders_count")) == [{"rows": 600}]
    page = fetch(found[1] + "d/shop").decode()
    assert page.count('data-state="fresh"') == 4
    serving.send_signal(signal.SIGTERM)
    assert serving.communicate(timeout=45) == ("", "")
    charts = [query.chart for query in web.dashboards(tmp_path / "shop")[0].queries.values()]
    assert [chart["mark"] for chart in charts if chart] == ["value", "bar", "line"]
    lake = f"ducklake:sqlite:{tmp_path}/shop/shop.sqlite"
    await fill(lake, "INSERT INTO orders VALUES (601, DATE '2024-01-15', 'north', 'tea', 1)")
    assert (await answers(tmp_path / "shop"))["orders_count"] == [{"rows": 601}]


@pytest.mark.parametrize(
    "uri", ["ducklake:sqlite:data/sales.sqlite", "ducklake:data/sales.ducklake", "data/s.duckdb"]
)
async def test_every_kind_of_database_is_looked_at_and_named_as_it_was_given(
    run: Any, tmp_path: Path, uri: str
) -> None:
    scheme, _, path = uri.rpartition(":")
    (tmp_path / "data").mkdir()
    absolute = f"{scheme}:{tmp_path}/{path}" if scheme else f"{tmp_path}/{path}"
    await fill(absolute, "CREATE TABLE orders AS SELECT range AS id, 'a' || range % 3 AS kind FROM range(10)")
    assert run("init", "first", "--lake", uri).returncode == 0
    assert f'"{scheme}{":" if scheme else ""}../{path}"' in (tmp_path / "first" / "livelake.toml").read_text()
    assert run("init", "second", "--lake", absolute).returncode == 0
    assert f'"{absolute}"' in (tmp_path / "second" / "livelake.toml").read_text()
    for folder in ("first", "second"):
        rows = await answers(tmp_path / folder)
        assert rows["orders_count"] == [{"rows": 10}]
        assert {row["total"] for row in rows["orders_by_kind"]} == {3, 4}
        assert len(rows["orders_rows"]) == 10


async def test_only_what_the_columns_allow_is_written(run: Any, tmp_path: Path) -> None:
    await fill(
        f"ducklake:sqlite:{tmp_path}/a.sqlite",
        "CREATE TABLE plain AS SELECT range AS n FROM range(3)",
        "CREATE TABLE many AS SELECT 'name ' || range AS name, range::DOUBLE AS weight,"
        " TIMESTAMPTZ '2024-01-15 00:00:00+00' + range * INTERVAL 1 MINUTE AS moment FROM range(500)",
    )
    assert run("init", "board", "--lake", "ducklake:sqlite:a.sqlite").returncode == 0
    (dashboard,) = web.dashboards(tmp_path / "board")
    # No bars of 500 names; the largest table first; the course by hour, since nine hours are less than a day.
    assert list(dashboard.queries) == ["many_count", "many_over_time", "many_rows", "plain_count", "plain_rows"]
    assert dashboard.queries["many_over_time"].description == "By hour."
    rows = await answers(tmp_path / "board")
    assert len(rows["many_over_time"]) == 9
    assert sum(row["total"] for row in rows["many_over_time"]) == sum(range(500))
    assert len(rows["many_rows"]) == 20
    assert rows["many_rows"][0]["weight"] == 499.0


async def test_no_name_and_no_type_spoils_the_folder(run: Any, tmp_path: Path) -> None:
    quoted = '"we""ird ---*/ DROP */ ta\nble"'
    await fill(
        f"ducklake:sqlite:{tmp_path}/My-Lake 1.sqlite",
        f"""CREATE TABLE {quoted} ("select" VARCHAR, "a*/b" DATE, "ä""\\ 'x'" DECIMAL(9, 2), "data: \x7f" BLOB,
            s STRUCT(a INTEGER, b VARCHAR[]), m MAP(VARCHAR, INTEGER), l INTEGER[], u UUID, h HUGEINT, t TIME,
            i INTERVAL, z TIMESTAMPTZ, b BOOLEAN, "AB" INTEGER)""",
        f"""INSERT INTO {quoted} SELECT ['x', 'y*/', NULL][1 + range % 3], DATE '2020-01-01' + range::INTEGER * 30,
            1.5, 'x'::BLOB, {{'a': 1, 'b': ['c']}}, MAP {{'k': 1}}, [1], uuid(), 12345678901234567890,
            TIME '12:00:00', INTERVAL 1 DAY, now(), true, 7 FROM range(30)""",
        'CREATE SCHEMA "other"',
        'CREATE TABLE "other"."Orders" ("order" INTEGER, "group" VARCHAR)',
        'CREATE TABLE "orders" (infinite DATE)',
        "INSERT INTO orders VALUES ('infinity'), ('-infinity'), (NULL)",
        "CREATE VIEW seen AS SELECT * FROM orders",
    )
    done = run("init", "board", "--lake", "ducklake:sqlite:My-Lake 1.sqlite")
    assert (done.returncode, done.stderr) == (0, "")
    assert "left out" not in done.stdout
    rows = await answers(tmp_path / "board")
    stem = "we_ird_drop_ta_ble"
    assert rows[f"{stem}_count"] == [{"rows": 30}]
    assert {(row["select"], row["total"]) for row in rows[f"{stem}_by_select"]} == {
        ("x", 15),
        ("y*/", 15),
        ("(none)", 15),
    }
    assert len(rows[f"{stem}_over_time"]) == 28  # by month; the first January holds two
    assert len(rows[f"{stem}_rows"][0]) == 12
    assert rows["orders_count"] == [{"rows": 3}]
    assert "orders_over_time" not in rows
    assert len(rows) == 4 + 2 + 2


async def test_a_panel_that_does_not_answer_is_left_out_and_told(run: Any, tmp_path: Path) -> None:
    """DuckLake stores a HUGEINT as a DOUBLE in Parquet, and cannot read the largest one back."""
    values = "SELECT 170141183460469231731687303715884105727 AS h FROM range(30)"
    await fill(f"ducklake:sqlite:{tmp_path}/a.sqlite", f"CREATE TABLE t AS {values}")
    done = run("init", "board", "--lake", "ducklake:sqlite:a.sqlite")
    assert done.returncode == 0
    assert "wrote 1 panel over" in done.stdout
    assert "left out t_rows: " in done.stdout
    assert await answers(tmp_path / "board") == {"t_count": [{"rows": 30}]}


async def test_a_broken_view_is_passed_over(run: Any, tmp_path: Path) -> None:
    await fill(
        f"{tmp_path}/a.duckdb",
        "CREATE TABLE orders AS SELECT 1 AS n",
        "CREATE TABLE going AS SELECT 1 AS n",
        "CREATE VIEW broken AS SELECT n FROM going",
        "DROP TABLE going",
    )
    assert run("init", "board", "--lake", "a.duckdb").returncode == 0
    assert set(await answers(tmp_path / "board")) == {"orders_count", "orders_rows"}


async def test_nothing_is_overwritten_and_a_failure_leaves_nothing(run: Any, tmp_path: Path) -> None:
    await fill(f"{tmp_path}/empty.duckdb")
    await fill(f"{tmp_path}/full.duckdb", "CREATE TABLE t AS SELECT 1 AS n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "new").mkdir()
    before = sorted(str(each) for each in tmp_path.rglob("*"))
    for arguments, told in {
        ("mine",): "is there already and nothing is overwritten",
        ("file",): "is there already and nothing is overwritten",
        ("My Board",): "becomes a URL",
        ("board", "--lake", "empty.duckdb"): "holds no table",
        ("new", "--lake", "empty.duckdb"): "holds no table",
        ("deep/er/board", "--lake", "empty.duckdb"): "holds no table",
        ("board", "--lake", "nowhere.duckdb"): "nowhere.duckdb",
        ("board", "--lake", ":memory:"): ":memory: is empty",
        ("board", "--lake", "http://example.org/x"): "not a database",
        ("file/board",): "cannot be written",
    }.items():
        assert told in failed(run("init", *arguments)), arguments
    assert sorted(str(each) for each in tmp_path.rglob("*")) == before
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"
    assert run("init", "new", "--lake", "full.duckdb").returncode == 0  # an empty folder is as good as none


@pytest.mark.parametrize(
    "text", ["plain", 'a "b" \\c', "---*/ */ /*", "\0\x01\x7f\n\r\t", "ä😀\u2028", "\ud800", "'''"]
)
def test_any_text_is_a_toml_string_that_ends_no_comment(text: str) -> None:
    written = toml(text)
    assert "*/" not in written
    assert Header(Path("x"), f"title = {written}").data == {"title": text.replace("\ud800", "?")}
