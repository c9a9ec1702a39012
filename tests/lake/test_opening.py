"""What `livelake.open` is given: what makes no sense is refused before anything is opened or made."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import livelake
from livelake.errors import SourceError, UsageError
from livelake.lake.catalog import parse

NUMBERS = [
    *(("workers", value) for value in (0, -1, 1.5, "4")),
    *((name, value) for name in ("poll_interval", "remote_poll") for value in (0, -1, float("inf"), "1")),
]


@pytest.mark.parametrize(("name", "value"), NUMBERS)
async def test_a_number_that_makes_no_sense_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name}={value!r}: give "):
        await livelake.open(str(tmp_path / "p.duckdb"), **{name: value})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["max_rows", "max_result_bytes"])
async def test_a_query_s_own_cap_is_checked_too(name: str) -> None:
    async with livelake.open(":memory:") as lake:
        with pytest.raises(UsageError, match=f"{name}=-1: give a whole number from 0"):
            await lake.query("SELECT 1 WHERE false", **{name: -1})


NOT_UNDERSTOOD = {
    "sqlite:s.sqlite": "write ducklake:sqlite:s.sqlite for a DuckLake",
    "postgres:dbname=sales": "write ducklake:postgres:dbname=sales for a DuckLake",
    "postgresql:dbname=sales": "write ducklake:postgres:dbname=sales for a DuckLake",
    "file:p.duckdb": r"write p\.duckdb for a DuckDB file, ducklake:p\.duckdb for a DuckLake",
    "md:foo": "md: begins no address that can be attached here",
    "mysql:foo": "mysql: begins no address that can be attached here",
    "ducklake:sqlite:": "names no catalog",
    "ducklake:duckdb:?data_path=here": "names no catalog",
    "ducklake:mysql:foo": "mysql: begins no address that can be attached here",
    "DuckLake:sqlite:s.sqlite": "write ducklake:sqlite:s.sqlite",
}


@pytest.mark.parametrize("uri", NOT_UNDERSTOOD)
async def test_an_address_that_is_not_understood_makes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=NOT_UNDERSTOOD[uri]):
        await livelake.open(uri)
    with pytest.raises(UsageError, match=NOT_UNDERSTOOD[uri]):
        await livelake.open(":memory:", attach={"other": uri})
    assert not list(tmp_path.iterdir())


def test_what_is_not_understood_shows_no_password() -> None:
    with pytest.raises(UsageError, match="mysql: begins no address") as refused:
        parse("mysql:user=ada password=Lovelace")
    assert "Lovelace" not in str(refused.value)


async def test_a_file_whose_name_begins_like_a_scheme_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with livelake.open("./sales:2026.duckdb", as_name="sales") as lake:  # a path is always one
        await lake.execute("CREATE TABLE t AS SELECT 1 AS a")
    async with livelake.open("sales:2026.duckdb", as_name="sales") as lake:
        assert (await lake.query("FROM t")).rows() == [{"a": 1}]


def test_a_drive_is_no_scheme() -> None:
    for path in ("C:/data/x.duckdb", "c:\\data\\x.duckdb"):
        found = parse(path, "x").path
        assert found is not None
        assert found.name.endswith("x.duckdb")


@pytest.mark.parametrize("scheme", ["", "ducklake:", "ducklake:duckdb:"])
async def test_a_sqlite_file_is_told_for_what_it_is(tmp_path: Path, scheme: str) -> None:
    file = tmp_path / "s.sqlite"
    with closing(sqlite3.connect(file)) as made:
        made.execute("CREATE TABLE t (a)")
    with pytest.raises(SourceError, match=f"is a SQLite database, .* write ducklake:sqlite:{file}"):
        await livelake.open(f"{scheme}{file}")


async def test_the_catalog_of_a_lake_in_sqlite_is_opened_as_such(tmp_path: Path) -> None:
    uri = f"ducklake:sqlite:{tmp_path}/s.sqlite"
    async with livelake.open(uri) as lake:
        await lake.execute("CREATE TABLE t AS SELECT 1 AS a")
    with pytest.raises(SourceError, match=f"write {uri}"):
        await livelake.open(f"{tmp_path}/s.sqlite")
    async with livelake.open(uri) as lake:
        assert (await lake.query("FROM t")).rows() == [{"a": 1}]
