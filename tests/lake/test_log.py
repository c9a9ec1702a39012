"""The commit log as it is read: nothing is missed, and what cannot be known is everything (I4)."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import livelake
from livelake.engine import Session
from livelake.errors import SourceError
from livelake.live import LiveLake

COUNT = "SELECT count(*) AS n FROM orders"


async def look(lake: LiveLake) -> None:
    await asyncio.to_thread(lake.watcher.look)


async def test_expired_history_that_was_not_seen_drops_everything(ducklake: LiveLake) -> None:
    """A gap: snapshots came and were expired between two looks."""
    ducklake.watcher._stop.set()
    await ducklake.query(COUNT)
    with ducklake.engine.cursor() as other:
        for _ in range(3):
            other.execute("INSERT INTO people VALUES ('x')")
        other.execute("SELECT count(*) FROM ducklake_expire_snapshots('sales', versions => range(0, 5))")
    await look(ducklake)
    assert ducklake.cache.explain(ducklake.ask(COUNT).key).state == "stale"
    assert (await ducklake.query(COUNT)).rows() == [{"n": 2}]


async def test_expiring_what_was_seen_drops_nothing(ducklake: LiveLake) -> None:
    await ducklake.execute("INSERT INTO people VALUES ('x')")
    await ducklake.query(COUNT)
    head = ducklake.watcher.heads()["sales"]
    await ducklake.administer(
        [f"SELECT count(*) FROM ducklake_expire_snapshots('sales', versions => range(0, {head}))"]
    )
    await look(ducklake)
    assert (await ducklake.query(COUNT)).status == "hit"


async def test_a_lake_that_goes_back_in_time_drops_everything(tmp_path: Path) -> None:
    """Somebody puts a backup in place."""
    uri = f"ducklake:sqlite:{tmp_path}/sales.sqlite"
    async with livelake.open(uri) as lake:
        await lake.execute("CREATE TABLE orders AS SELECT 1 AS id")
    shutil.copy(tmp_path / "sales.sqlite", tmp_path / "backup.sqlite")
    async with livelake.open(uri, poll_interval=3600) as lake:
        await lake.execute("INSERT INTO orders VALUES (2)")
        assert (await lake.query(COUNT)).rows() == [{"n": 2}]
        log = lake.watcher.logs["sales"]
        ahead = log.head
        rows = type(log)._rows  # type: ignore[union-attr]
        log._rows = lambda since: [row for row in rows(log, 0) if since <= row[0] < ahead]  # type: ignore[method-assign,union-attr,arg-type]
        await look(lake)
        assert log.head == ahead - 1
        assert lake.cache.explain(lake.ask(COUNT).key).state == "stale"


async def test_a_number_that_means_another_commit_drops_everything(ducklake: LiveLake) -> None:
    """Same snapshot id, another time: it is not the lake that we knew."""
    await ducklake.query(COUNT)
    log = ducklake.watcher.logs["sales"]
    log._began = "1999-01-01"  # type: ignore[union-attr]
    await look(ducklake)
    assert ducklake.cache.explain(ducklake.ask(COUNT).key).state == "stale"


async def test_a_failing_look_is_said_and_recovered_from(ducklake: LiveLake, monkeypatch: pytest.MonkeyPatch) -> None:
    fetchall, failing = Session.fetchall, [True]

    def broken(self: Session, sql: str, params: object = None) -> list[tuple[object, ...]]:
        if failing and "ducklake_snapshot s" in sql:
            raise SourceError("the disk is gone")
        return fetchall(self, sql, params)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "fetchall", broken)
    async with asyncio.timeout(20):
        while ducklake.watcher.failure is None:
            await asyncio.sleep(0.01)
        assert "disk" in str(ducklake.watcher.failure)
        failing.clear()
        while ducklake.watcher.failure is not None:
            await asyncio.sleep(0.01)
    await ducklake.execute("INSERT INTO orders VALUES ('x', 1)")
    assert (await ducklake.query(COUNT)).rows() == [{"n": 3}]


async def test_the_versions_of_tables_are_known_from_the_whole_log(tmp_path: Path) -> None:
    uri = f"ducklake:{tmp_path}/sales.ducklake"
    async with livelake.open(uri) as lake:
        await lake.execute("CREATE TABLE orders AS SELECT 1 AS id")
        await lake.execute("CREATE TABLE people AS SELECT 1 AS id")
        await lake.execute("INSERT INTO orders VALUES (2)")
        await lake.execute("INSERT INTO people VALUES (2)")
    async with livelake.open(uri) as lake:
        assert (await lake.why(COUNT)).tables == {"sales.main.orders": 3}
        why = await lake.why("FROM people")
        assert why.tables == {"sales.main.people": 4}
        assert why.commits[:2] == ("sales 4: dropped: sales.main.people", "sales 3: kept: elsewhere")


WRITER = """
import asyncio, sys, livelake
async def main():
    async with livelake.open(sys.argv[1]) as lake:
        for n in range(int(sys.argv[2])):
            await lake.execute("INSERT INTO orders VALUES ('other', 1)")
asyncio.run(main())
"""


async def test_two_processes_write_and_every_commit_is_seen(tmp_path: Path) -> None:
    """I1, I4, F15: nothing is lost, and the last state is right."""
    uri = f"ducklake:sqlite:{tmp_path}/sales.sqlite"
    async with livelake.open(uri, poll_interval=0.05) as lake:
        await lake.execute("CREATE TABLE orders (region VARCHAR, amount INTEGER)")
        others = [
            asyncio.create_task(
                asyncio.to_thread(subprocess.run, [sys.executable, "-c", WRITER, uri, "15"], check=True, timeout=100)
            )
            for _ in range(2)
        ]
        last = 0
        for _ in range(15):
            token = await lake.execute("INSERT INTO orders VALUES ('here', 1)")
            n = (await lake.query(COUNT, not_before=token)).rows()[0]["n"]
            assert n > last
            last = n
        await asyncio.gather(*others)
        async with asyncio.timeout(30):
            while (await lake.query(COUNT)).rows() != [{"n": 45}]:
                await asyncio.sleep(0.02)
