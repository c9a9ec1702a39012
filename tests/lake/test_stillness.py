"""Whether a SQLite database was written, told by its files."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from livelake.lake import stillness

WRITES = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for line in sys.stdin:
    db.execute(line)
    print("done", flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.sqlite"


@pytest.fixture
def reader(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that holds the database open, as the watcher does."""
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("PRAGMA journal_mode = wal")
    reader.execute("CREATE TABLE t (n)")
    yield reader
    reader.close()


def test_each_commit_of_another_process_is_seen_and_a_read_is_not(path: Path, reader: sqlite3.Connection) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITES, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        for n in range(40):
            before = stillness.look(path)
            assert before is not None
            assert reader.execute("SELECT count(*) FROM t").fetchone() == (n,)
            assert stillness.is_still(path, before)
            writer.stdin.write("INSERT INTO t VALUES (1)\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == "done\n"
            assert not stillness.is_still(path, before)
            if n % 5 == 0:
                reader.execute("PRAGMA wal_checkpoint(RESTART)")
        writer.stdin.close()


def test_a_commit_that_was_written_long_before_it_was_seen_is_seen(path: Path, reader: sqlite3.Connection) -> None:
    """A slow disk: the log is on its way for as long as it likes, and only then do readers see what it says."""
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("INSERT INTO t VALUES (1)")
    writer.execute("BEGIN")
    writer.execute("INSERT INTO t VALUES (2)")
    before = stillness.look(path)
    assert before is not None
    writer.execute("COMMIT")
    long_ago = time.time() - 3_600
    for name in (path, Path(f"{path}-wal")):
        os.utime(name, ns=(before[2], before[2]) if name == path else (int(long_ago * 1e9),) * 2)
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (2,)
    assert not stillness.is_still(path, before)
    writer.close()


def test_a_look_takes_away_none_of_the_locks_that_this_process_has(path: Path, reader: sqlite3.Connection) -> None:
    """Closing a descriptor would: who opens the database next believes to be the first, and empties the index."""
    for _ in range(3):
        assert stillness.look(path) is not None
    takes_what_the_first_one_takes = f"""
import fcntl, sys
try:
    fcntl.lockf(open({f"{path}-shm"!r}, "r+b"), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 128)
except OSError:
    sys.exit(7)
"""
    assert subprocess.run([sys.executable, "-c", takes_what_the_first_one_takes], timeout=60).returncode == 7


def test_a_log_that_was_deleted_and_begun_anew_is_another_and_its_index_is_let_go(path: Path) -> None:
    before, known = None, len(stillness._INDEXES._open)  # of other tests, whose databases are still there
    for n in range(5):
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute(f"CREATE TABLE t{n} (n)")
        assert not stillness.is_still(path, before)
        before = stillness.look(path)
        assert before is not None
        connection.close()
        assert stillness.look(path) is None
    assert len(stillness._INDEXES._open) <= known + 1


def test_what_does_not_tell_is_not_still(path: Path, tmp_path: Path) -> None:
    assert stillness.look(path) is None  # it is not there
    plain = sqlite3.connect(path, isolation_level=None)
    plain.execute("CREATE TABLE t (n)")
    assert stillness.look(path) is None  # there is no log to have an index
    index = Path(f"{path}-shm")
    for head in (b"", b"\x01" * 95, b"\x01" * 48 + b"\x02" * 48, b"\x00" * 96):  # short, in mid-commit, not begun
        index.write_bytes(head)
        assert stillness.look(path) is None
        assert not stillness.is_still(path, None)
    plain.close()


def test_another_file_under_the_name_is_seen(path: Path, reader: sqlite3.Connection, tmp_path: Path) -> None:
    before = stillness.look(path)
    assert before is not None
    assert stillness.is_still(path, before)
    other = tmp_path / "b"
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(before[2], before[2]))
    os.replace(other, path)
    assert not stillness.is_still(path, before)
    path.unlink()
    assert not stillness.is_still(path, before)
