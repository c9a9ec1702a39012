"""All 22 queries of TPC-H on a DuckLake: what they read, what they answer, what an append makes stale."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import livelake
from lake import tpch
from livelake.live import LiveLake

SCALE = 0.01


@pytest.fixture(params=["ducklake:{}/tpch.ducklake", "ducklake:sqlite:{}/tpch.sqlite"], ids=["duckdb", "sqlite"])
async def lake(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LiveLake]:
    async with livelake.open(request.param.format(tmp_path)) as opened:
        await tpch.load(opened, SCALE)
        yield opened


def same(one: object, other: object) -> bool:
    """Equal, but for what the order of addition does to DOUBLE averages."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return one == other


async def test_every_footprint_is_what_the_standard_names(lake: LiveLake) -> None:
    for number, sql in tpch.queries().items():
        result = await lake.query(sql)
        tables = {f"tpch.main.{name}" for name in tpch.tables(number)}
        assert result.answer.footprint.tables.keys() == tables, number
        assert result.answer.footprint.why_not is None
        assert (await lake.why(sql)).tables.keys() == tables


async def test_every_answer_is_bare_duckdb_s(lake: LiveLake) -> None:
    """The same data in plain tables of the same instance, read without livelake's cache; hits too."""
    with lake.engine.cursor() as bare:
        bare.execute("USE memory")
        for number, sql in tpch.queries().items():
            expected = bare.fetchall(sql)
            for status in ("miss", "hit"):
                result = await lake.query(sql)
                assert result.status == status
                found = [tuple(row.values()) for row in result.rows()]
                assert len(found) == len(expected), number
                for row, right in zip(found, expected, strict=True):
                    assert all(map(same, row, right)), (number, row, right)


async def test_an_append_makes_exactly_its_readers_stale(lake: LiveLake) -> None:
    for sql in tpch.queries().values():
        await lake.query(sql)
    for table in ["lineitem", *sorted(tpch.EVERY - {"lineitem"})]:
        await lake.execute(f"INSERT INTO {table} SELECT * FROM {table} LIMIT 1")
        readers = {number for number in tpch.queries() if table in tpch.tables(number)}
        stale = {n for n, sql in tpch.queries().items() if (await lake.why(sql)).state == "stale"}
        assert stale == readers, table
        for number, sql in tpch.queries().items():
            assert (await lake.query(sql)).status == ("miss" if number in stale else "hit"), (table, number)


def test_five_queries_do_not_read_lineitem() -> None:
    """Said once in numbers, so that the list and the plan cannot be wrong together."""
    assert {number for number in tpch.TABLES if "lineitem" not in tpch.tables(number)} == {2, 11, 13, 16, 22}
