"""What ends a whole instance of DuckDB, and what becomes of the transactions that were open in it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from livelake.engine.interlude import Interlude
from livelake.errors import BusyError

ALL_DATABASES = "SELECT count(*) FROM system.main.duckdb_tables()"
DIES = """
import sys, duckdb
from livelake.engine import extensions
folder = sys.argv[1]
root = duckdb.connect()
extensions.load(root, "ducklake")
for name in ("old", "new"):
    root.execute(f"ATTACH '{folder}/{name}.duckdb' AS {name}")
    root.execute(f"CREATE TABLE {name}.t AS SELECT 1 AS a")
    root.execute(f"DETACH {name}")
root.execute(f"ATTACH 'ducklake:{folder}/lake.ducklake' AS lake")
root.execute("CREATE TABLE lake.t AS SELECT 1 AS a")
root.execute(f"ATTACH '{folder}/old.duckdb' AS x")
reader = root.cursor()
reader.execute("BEGIN")
reader.execute("FROM lake.t, x.t").fetchall()
root.execute(f"ATTACH OR REPLACE '{folder}/new.duckdb' AS x")
try:
    reader.execute("SELECT count(*) FROM duckdb_tables()")
except duckdb.InternalException as error:
    print("gave up", flush=True)
try:
    reader.execute("ROLLBACK")
except duckdb.FatalException:
    print("refused", flush=True)
reader.close()
print("lives", flush=True)
"""


def test_duckdb_alone_ends_the_process_there(tmp_path: Path) -> None:
    """The fault that `interlude` and `stranded` are for. When this fails, DuckDB has repaired it: take them out."""
    ended = run(DIES, str(tmp_path))
    assert ended.stdout.split("\n")[:2] == ["gave up", "refused"]
    assert "lives" not in ended.stdout
    assert ended.returncode < 0


LIVES = """
import asyncio, sys, threading
import livelake
from livelake.errors import LivelakeError

SUM = "SELECT sum(a)::INTEGER AS s FROM t"

async def main(uri, folder):
    async with livelake.open(uri, poll_interval=600.0) as lake:
        await lake.execute("CREATE TABLE t AS SELECT 1 AS a")
        await lake.query(SUM)
        engine = lake.engine
        with engine.cursor() as session:
            for name in ("old", "new"):
                session.execute(f"ATTACH '{folder}/{name}.duckdb' AS {name}")
                session.execute(f"CREATE TABLE {name}.t AS SELECT 1 AS a")
                session.execute(f"DETACH {name}")
            session.execute(f"ATTACH '{folder}/old.duckdb' AS x")
        with engine.cursor() as idle, engine.cursor() as other:
            idle.execute("BEGIN TRANSACTION")
            idle.execute("ROLLBACK")
            try:
                with engine.cursor() as session, session.transaction():
                    session.fetchall("FROM t, x.t")
                    with other.transaction():  # an innocent one
                        other.fetchall("FROM t")
                        session.execute("INSERT INTO t VALUES (7)")
                        idle.execute(f"ATTACH OR REPLACE '{folder}/new.duckdb' AS x")
                        session.fetchall("SELECT count(*) FROM duckdb_tables()")
            except LivelakeError as error:
                print("gave up", type(error).__name__, flush=True)
        for attempt in range(2):
            try:
                await lake.execute("INSERT INTO t VALUES (2)")
                answer = await lake.query(SUM, fresh=True)
                print("answer", answer.rows()[0]["s"], flush=True)
            except LivelakeError as error:
                print(type(error).__name__, error, flush=True)
    print("closed", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""
READS = """
import asyncio, sys
import livelake

async def main(uri):
    async with livelake.open(uri) as lake:
        print("answer", (await lake.query("SELECT sum(a)::INTEGER AS s FROM t")).rows()[0]["s"])

asyncio.run(main(sys.argv[1]))
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120)


def test_a_lake_in_sqlite_goes_on_when_duckdb_gave_up_under_its_transactions(tmp_path: Path) -> None:
    ended = run(LIVES, f"ducklake:sqlite:{tmp_path}/lake.sqlite", str(tmp_path))
    assert ended.stdout.splitlines() == ["gave up InternalError", "answer 3", "answer 5", "closed"], ended.stderr
    assert "2 transactions that cannot be ended" in ended.stderr
    assert ended.returncode == 0


def test_a_file_of_duckdbs_is_free_when_the_process_ends_and_that_is_said(tmp_path: Path) -> None:
    uri = f"ducklake:{tmp_path}/lake.ducklake"
    ended = run(LIVES, uri, str(tmp_path))
    first, *told, last = ended.stdout.splitlines()
    assert (first, last) == ("gave up InternalError", "closed"), ended.stderr
    assert all(each.startswith("LostError") and "restart the process" in each for each in told), told
    assert ended.returncode == 0
    assert run(READS, uri).stdout == "answer 1\n"


def test_one_who_wants_to_be_alone_waits_for_transactions_and_holds_others_back() -> None:
    interlude = Interlude()
    begun, order = threading.Event(), list[str]()

    def late() -> None:
        begun.set()
        with interlude.transaction():
            order.append("late")

    with interlude.transaction(), pytest.raises(BusyError, match="without a moment"), interlude.alone(0.01):
        order.append("never")
    thread = threading.Thread(target=late)
    with interlude.alone(0.01):
        thread.start()
        begun.wait(60)
        order.append("alone")
    thread.join(60)
    assert order == ["alone", "late"]
