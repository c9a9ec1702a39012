"""Catalogs of every kind beside each other, under names."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import livelake
from lake.catalogs.conftest import Bench
from livelake.errors import UsageError
from servers import Postgres


async def test_five_kinds_are_joined_and_each_is_watched(
    postgres: Postgres, remote: Bench, bucket: Any, tmp_path: Path
) -> None:
    assert remote.publisher is not None
    await remote.publisher.write("CREATE TABLE t AS SELECT 16 AS i")
    attach = {
        "lite": f"ducklake:sqlite:{tmp_path}/x.sqlite?data_path=s3://lakes/{tmp_path.name}/",
        "pg": postgres.uri(postgres.database(), tmp_path / "pg"),
        "plain": f"{tmp_path}/plain.duckdb",
        "space": remote.uri,
    }
    async with livelake.open(f"ducklake:{tmp_path}/home.ducklake", attach=attach, poll_interval=0.05) as lake:
        remote.lake = lake
        for number, name in enumerate(("home", "lite", "pg", "plain")):
            await lake.execute(f"CREATE TABLE {name}.t AS SELECT {1 << number} AS i FROM range(1)")
        every = "SELECT sum(i)::INTEGER AS n FROM (FROM home.t UNION ALL FROM lite.t UNION ALL FROM pg.t"
        every += " UNION ALL FROM plain.t UNION ALL FROM space.t)"
        assert (await lake.query(every)).rows() == [{"n": 31}]
        assert (await lake.query(every)).status == "hit"
        expected = 31
        for name in ("home", "lite", "pg", "plain", "space"):
            alone = f"SELECT count(*) AS n FROM {name}.t"
            await lake.query("SELECT count(*) AS n FROM home.t")
            if name == "space":
                await remote.write("INSERT INTO t VALUES (100)")
            else:
                await lake.execute(f"INSERT INTO {name}.t VALUES (100)")
            expected += 100
            assert (await lake.query(every)).rows() == [{"n": expected}]
            assert (await lake.query(alone)).rows() == [{"n": 2}]
            if name != "home":
                assert (await lake.query("SELECT count(*) AS n FROM home.t")).status == "hit"
        assert set((await lake.query(every)).as_of) == {"home", *attach}


async def test_one_name_for_two_catalogs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would both be called 'a'"):
        async with livelake.open(f"{tmp_path}/a.duckdb", attach={"a": f"ducklake:{tmp_path}/b.ducklake"}):
            pass


async def test_a_lake_whose_opening_failed_leaves_nothing_open(tmp_path: Path) -> None:
    good = f"{tmp_path}/a.duckdb"
    with pytest.raises(livelake.LivelakeError):
        async with livelake.open(good, attach={"b": f"ducklake:{tmp_path}/none/b.ducklake"}):
            pass
    async with livelake.open(good) as lake:
        await asyncio.sleep(0)
        assert (await lake.query("SELECT 1 AS n")).rows() == [{"n": 1}]
