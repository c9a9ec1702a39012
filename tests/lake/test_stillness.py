"""Whether a SQLite database was written, told by its files."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest

from livelake.lake import stillness


def settle(path: Path) -> None:
    """Wait until the last write is old enough."""
    deadline = time.monotonic() + 30
    while stillness.look(path) is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)  # the clock of the kernel has no condition to wait for


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_each_commit_is_seen_and_a_read_is_not(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.sqlite"
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute(f"PRAGMA journal_mode = {mode}")
    writer.execute("CREATE TABLE t (n)")
    reader = sqlite3.connect(path, isolation_level=None)
    for n in range(20):
        settle(path)
        before = stillness.look(path)
        assert reader.execute("SELECT count(*) FROM t").fetchone() == (n,)
        assert stillness.is_still(path, before)
        writer.execute("INSERT INTO t VALUES (1)")
        assert not stillness.is_still(path, before)
        if n % 5 == 0 and mode == "wal":
            writer.execute("PRAGMA wal_checkpoint(RESTART)")
    reader.close()
    writer.close()


def test_files_that_were_just_written_tell_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    assert stillness.look(path) is None
    assert not stillness.is_still(path, None)
    os.utime(path, (time.time() + 3_600, time.time() + 3_600))  # of a clock that was set back since
    assert stillness.look(path) is None


def test_another_file_under_the_name_is_seen(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"one")
    other.write_bytes(b"two")
    settle(path)
    settle(other)
    before = stillness.look(path)
    os.replace(other, path)
    assert before is not None
    assert not stillness.is_still(path, before)
    path.unlink()
    assert not stillness.is_still(path, before)
