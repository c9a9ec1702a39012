"""Other processes that are in the way: conflicts, locks that are held for long, files that one process may open."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import livelake
from lake.faults.rig import KINDS, ROWS, TOTAL, fill, opened, process, recovered, total, until
from livelake.errors import BusyError, ConflictError, LockedError, SourceError

HOLDS_SQLITE = """
import sqlite3, sys
con = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
con.execute("BEGIN IMMEDIATE")
print("ready", flush=True)
sys.stdin.readline()
con.execute("ROLLBACK")
con.close()
print("released", flush=True)
sys.stdin.readline()
"""
HOLDS_DUCKDB = """
import duckdb, sys
con = duckdb.connect(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
"""


async def test_a_sqlite_catalog_that_another_process_writes_for_long_is_read_on_and_written_later(
    tmp_path: Path,
) -> None:
    """WAL: readers go on. The writer is told what is so; when the lock is released it is its turn."""
    async with opened("sqlite", tmp_path) as lake:
        await fill(lake)
        with process(HOLDS_SQLITE, str(tmp_path / "sales.sqlite")) as holder:
            assert total(await lake.query(TOTAL, fresh=True)) == (499_500, ROWS)
            writing = asyncio.create_task(lake.execute("INSERT INTO orders VALUES (1)"))
            looks = lake.watcher.looks
            await until(lambda: lake.watcher.looks > looks + 3)  # the log is read meanwhile
            assert lake.watcher.failure is None
            assert total(await lake.query(TOTAL, fresh=True)) == (499_500, ROWS)
            assert not writing.done()
            assert holder.stdin is not None
            assert holder.stdout is not None
            holder.stdin.write("go\n")
            holder.stdin.flush()
            await writing
            assert total(await lake.query(TOTAL)) == (499_501, ROWS + 1)


async def test_a_write_that_waited_for_a_lock_in_vain_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    """The busy timeout is shortened to nothing, so that the test need not wait for it eight times."""
    async with opened("sqlite", tmp_path) as lake:
        await fill(lake)
        attachment = lake.attached.by_name["sales"]
        attachment._options = [
            o.replace("META_BUSY_TIMEOUT 5000", "META_BUSY_TIMEOUT 1") for o in attachment._options
        ]
        renewals = attachment.renewals  # attached again, with those options
        await asyncio.to_thread(
            lambda: lake.engine.writer.submit(lambda session: attachment.renew(session, renewals, 1)).result(60)
        )
        assert attachment.renewals == renewals + 1
        with process(HOLDS_SQLITE, str(tmp_path / "sales.sqlite")):
            with pytest.raises(ConflictError, match="safe to try again"):
                await lake.execute("INSERT INTO orders VALUES (1)")
            assert total(await lake.query(TOTAL, fresh=True)) == (499_500, ROWS)
        token = await lake.execute("INSERT INTO orders VALUES (1)")
        assert total(await lake.query(TOTAL, not_before=token)) == (499_501, ROWS + 1)


@pytest.mark.parametrize("kind", ["ducklake", "duckdb"])
async def test_a_file_that_another_process_holds_is_refused_with_its_process_id(kind: str, tmp_path: Path) -> None:
    file = tmp_path / ("sales.ducklake" if kind == "ducklake" else "sales.duckdb")
    async with opened(kind, tmp_path) as lake:
        await fill(lake)
    with process(HOLDS_DUCKDB, str(file)) as holder:
        for read_only in (False, True):
            with pytest.raises(LockedError, match=f"held by process {holder.pid}") as caught:
                async with opened(kind, tmp_path, read_only=read_only):
                    pass
            assert "ducklake:sqlite:" in str(caught.value)
    async with opened(kind, tmp_path) as lake:
        assert total(await lake.query(TOTAL)) == (499_500, ROWS)


async def test_writers_of_one_lake_lose_nothing_and_what_conflicts_says_so(tmp_path: Path) -> None:
    """Two lakes in two engines on one SQLite catalog, each adding: every write that was acknowledged is there."""
    uri = KINDS["sqlite"].format(tmp_path)
    async with livelake.open(uri, poll_interval=0.02) as one:
        await fill(one)
        async with livelake.open(uri, poll_interval=0.02) as other:

            async def add(lake: livelake.LiveLake, count: int) -> int:
                done = 0
                for _ in range(count):
                    try:
                        await lake.execute("INSERT INTO orders VALUES (1)")
                    except (ConflictError, BusyError):
                        continue
                    done += 1
                return done

            added = sum(await asyncio.gather(add(one, 12), add(other, 12)))
            assert added > 0
            for lake in (one, other):
                assert total(await lake.query(TOTAL, fresh=True)) == (499_500 + added, ROWS + added)


async def test_a_conflict_inside_a_transaction_leaves_nothing_of_it(tmp_path: Path) -> None:
    uri = KINDS["sqlite"].format(tmp_path)
    async with livelake.open(uri) as one, livelake.open(uri) as other:
        await fill(one)
        await other.query(TOTAL, fresh=True)
        with pytest.raises((ConflictError, SourceError)) as caught:
            async with one.transaction() as transaction:
                await transaction.execute("UPDATE orders SET amount = 0 WHERE amount = 7")
                await other.execute("DELETE FROM orders WHERE amount < 10")
        assert "in: COMMIT" in str(caught.value) or "onflict" in str(caught.value)
        assert total(await recovered(one)) == (499_500 - 45, ROWS - 10)
