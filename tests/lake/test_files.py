"""Local files read by SQL are watched (RULING 12): what changes on disk is seen, and nothing else costs an answer.

The promise: a change by another process is known to the first look that begins more than a tick (20 ms) after it,
so within one poll; one of ours, by ``lake.execute``, before that returns. What begins after that is never stale.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection
from functools import cache, partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

import livelake
from lake.conftest import until
from livelake.engine import ArrowData, Session
from livelake.errors import SourceError
from livelake.lake import filelog, files
from livelake.lake.filelog import FileLog
from livelake.lake.files import Look, Stamp
from livelake.live import LiveLake

TICK = 0.021


@pytest.fixture
async def quiet(tmp_path: Path) -> AsyncIterator[LiveLake]:
    """A lake whose poll never comes: it looks when told."""
    async with livelake.open(f"ducklake:{tmp_path}/lake.ducklake", poll_interval=3600) as lake:
        await lake.execute("CREATE TABLE orders AS SELECT 1 AS id, 5 AS amount")
        yield lake


async def settle(lake: LiveLake) -> None:
    """Let the tick go by in which anything was written so far, and look."""
    written = time.monotonic() + TICK
    await until(lambda: time.monotonic() > written)
    await asyncio.to_thread(lake.watcher.files.look)


async def status(lake: LiveLake, sql: str, parameters: Any = None) -> str:
    return (await lake.query(sql, parameters)).status


def parquet(path: Path, value: int) -> None:
    """Written in place: the same inode, and for these values the same size."""
    path.write_bytes(parquet_bytes(value))


# -------------------------------------------------------------------- what is kept

READS = {
    "csv": "SELECT sum(n)::INTEGER AS s FROM read_csv('{0}/a.csv')",
    "csv by name": "SELECT sum(n)::INTEGER AS s FROM '{0}/a.csv'",
    "csv as a url": "SELECT sum(n)::INTEGER AS s FROM read_csv('file://{0}/a.csv')",
    "csv by file:": "SELECT sum(n)::INTEGER AS s FROM 'file:{0}/a.csv'",
    "csv list": "SELECT sum(n)::INTEGER AS s FROM read_csv(['{0}/a.csv', '{0}/b.csv'], header = true)",
    "csv pattern": "SELECT sum(n)::INTEGER AS s FROM read_csv('{0}/*.csv')",
    "csv with an alias": "SELECT sum(t.x)::INTEGER AS s FROM read_csv('{0}/a.csv') AS t(x)",
    "csv by its stem": "SELECT sum(a.n)::INTEGER AS s FROM '{0}/a.csv'",
    "csv beside a table": "SELECT sum(n + id)::INTEGER AS s FROM read_csv('{0}/a.csv'), orders",
    "csv in a cte": "WITH c AS (FROM '{0}/a.csv') SELECT (SELECT sum(n) FROM c)::INTEGER + count(*) - 1 AS s FROM c",
    "json": "SELECT sum(n)::INTEGER AS s FROM read_json('{0}/a.json')",
    "json by name": "SELECT sum(n)::INTEGER AS s FROM '{0}/a.json'",
    "parquet": "SELECT sum(n)::INTEGER AS s FROM read_parquet('{0}/a.parquet')",
    "parquet pattern": "SELECT sum(n)::INTEGER AS s FROM '{0}/*.parquet'",
    "text": "SELECT length(content) AS s FROM read_text('{0}/a.csv')",
    "blob": "SELECT sum(octet_length(content))::INTEGER AS s FROM read_blob('{0}/*.csv')",
    "listing": "SELECT count(*) AS s FROM glob('{0}/*.csv')",
    "metadata": "SELECT count(*) AS s FROM parquet_schema('{0}/a.parquet')",
}


def write_all(folder: Path, value: int) -> None:
    for name in "ab":
        (folder / f"{name}.csv").write_text(f"n\n{value}\n")
    (folder / "a.json").write_text(f'[{{"n": {value}}}]')
    parquet(folder / "a.parquet", value)


@pytest.mark.parametrize("how", READS)
async def test_an_answer_from_files_is_kept_until_one_of_them_changes(
    quiet: LiveLake, tmp_path: Path, how: str
) -> None:
    write_all(tmp_path, 1)
    await settle(quiet)
    sql = READS[how].format(tmp_path)
    assert await status(quiet, sql) == "miss", (await quiet.why(sql)).why_not
    await settle(quiet)
    assert await status(quiet, sql) == "hit"
    write_all(tmp_path, 23)
    (tmp_path / "c.csv").write_text("n\n100\n")
    await settle(quiet)
    again = await quiet.query(sql)
    assert again.status == "miss"
    assert again.rows() == (await quiet.query(sql, fresh=True)).rows()


@pytest.mark.parametrize("sql", ["FROM 'a.csv'", "FROM read_csv(['~/a.csv'])", "FROM read_csv('a.csv')"])
async def test_a_file_that_duckdb_finds_by_its_settings_is_watched_where_it_lies(tmp_path: Path, sql: str) -> None:
    settings = {"file_search_path": str(tmp_path), "home_directory": str(tmp_path)}
    async with livelake.open(f"ducklake:{tmp_path}/l.ducklake", settings=settings, poll_interval=3600) as lake:
        (tmp_path / "a.csv").write_text("n\n1\n")
        await settle(lake)
        assert [await status(lake, sql) for _ in range(2)] == ["miss", "hit"]
        (tmp_path / "a.csv").write_text("n\n2\n")
        await settle(lake)
        assert (await lake.query(sql)).rows() == [{"n": 2}]


async def test_a_name_that_is_a_parameter_is_watched(quiet: LiveLake, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text(f"n\n{ord(name)}\n")
    await settle(quiet)
    sql, a, b = "FROM read_csv($path)", {"path": f"{tmp_path}/a.csv"}, {"path": f"{tmp_path}/b.csv"}
    assert (await quiet.query(sql, a)).rows() == [{"n": 97}]
    assert (await quiet.query(sql, b)).rows() == [{"n": 98}]
    assert [await status(quiet, sql, each) for each in (a, b)] == ["hit", "hit"]
    (tmp_path / "b.csv").write_text("n\n1\n")
    await settle(quiet)
    assert [await status(quiet, sql, each) for each in (a, b)] == ["hit", "miss"]


async def test_the_tables_beside_a_file_are_known(quiet: LiveLake, tmp_path: Path) -> None:
    """DuckDB cannot serialise the plan of a CSV scan; what stands beside it must not be lost."""
    (tmp_path / "a.csv").write_text("id\n1\n2\n")
    sql = f"SELECT count(*) AS n FROM read_csv('{tmp_path}/a.csv') JOIN orders USING (id)"
    await quiet.query(sql)
    await settle(quiet)
    assert (await quiet.query(sql)).rows() == [{"n": 1}]
    assert (await quiet.why(sql)).tables == {"lake.main.orders": 1}
    await quiet.execute("INSERT INTO orders VALUES (2, 5)")
    assert (await quiet.query(sql)).rows() == [{"n": 2}]


async def test_why_shows_the_files_and_what_has_changed(quiet: LiveLake, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n\n1\n")
    await settle(quiet)
    sql = f"FROM read_csv('{tmp_path}/*.csv')"
    await quiet.query(sql)
    why = await quiet.why(sql)
    assert f"reads read_csv({tmp_path}/*.csv): 1 file, 4 bytes, written 20" in str(why)
    assert why.as_dict()["watched"].keys() == {f"{tmp_path}/*.csv"}
    (tmp_path / "b.csv").write_text("n\n1\n")
    await settle(quiet)
    assert f"dropped: {tmp_path}/*.csv changed" in str(await quiet.why(sql))


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("FROM read_csv('{0}/' || 'a.csv')", "otherwise than by constant names"),
        ("FROM through_a_view", "otherwise than by constant names"),
        ("SELECT * FROM '{0}/a.parquet', through_a_parquet_view", "inside a view or macro"),
        ("FROM read_text('{0}/' || lower('A.CSV'))", "it reads files"),
        ("SELECT random() FROM '{0}/a.csv'", "differs at every run"),
    ],
)
async def test_what_hides_its_files_is_not_kept_and_says_why(
    quiet: LiveLake, tmp_path: Path, sql: str, says: str
) -> None:
    write_all(tmp_path, 1)
    await quiet.execute(f"CREATE VIEW through_a_view AS FROM read_csv('{tmp_path}/a.csv')")
    await quiet.execute(f"CREATE VIEW through_a_parquet_view AS FROM read_parquet('{tmp_path}/*.parquet')")
    sql = sql.format(tmp_path)
    assert [await status(quiet, sql) for _ in range(2)] == ["bypass", "bypass"]
    assert says in str((await quiet.why(sql)).why_not)


async def test_a_table_that_is_called_like_a_file_is_a_table(quiet: LiveLake, tmp_path: Path) -> None:
    """I1: taken for a file it would not be watched; made later, it comes before the file."""
    name = f"{tmp_path}/a.csv"
    (tmp_path / "a.csv").write_text("n\n1\n")
    sql = f"SELECT n FROM '{name}'"
    await quiet.query(sql)
    await settle(quiet)
    assert (await quiet.query(sql)).rows() == [{"n": 1}]
    await quiet.execute(f'CREATE TABLE "{name}" AS SELECT 2 AS n')
    assert (await quiet.query(sql)).rows() == [{"n": 2}]
    await quiet.execute(f'INSERT INTO "{name}" VALUES (3)')
    assert (await quiet.query(sql)).rows() == [{"n": 2}, {"n": 3}]
    with_a_cte = f"WITH \"{name}\" AS (SELECT count(*) AS n FROM orders) SELECT n FROM '{name}'"
    assert (await quiet.query(with_a_cte)).rows() == [{"n": 1}]
    await quiet.execute("INSERT INTO orders VALUES (2, 5)")
    assert (await quiet.query(with_a_cte)).rows() == [{"n": 2}]


async def test_a_macro_that_is_called_like_a_reader_of_files_is_a_macro(quiet: LiveLake, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n\n1\n")
    await quiet.execute("CREATE MACRO read_csv(path) AS TABLE SELECT count(*) AS n FROM orders")
    sql = f"SELECT * FROM read_csv('{tmp_path}/a.csv')"
    before = (await quiet.query(sql)).rows()
    await quiet.execute("INSERT INTO orders VALUES (2, 5)")
    assert (await quiet.query(sql)).rows() == (await quiet.query(sql, fresh=True)).rows(), before


async def test_a_ttl_bounds_what_cannot_be_watched_and_what_can(quiet: LiveLake, tmp_path: Path) -> None:
    write_all(tmp_path, 1)
    hidden = f"SELECT content FROM read_text('{tmp_path}/' || lower('A.CSV'))"
    for sql in (f"FROM read_csv('{tmp_path}/a.csv')", f"FROM read_json('{tmp_path}/a.json')"):
        assert (await quiet.query(sql, ttl=60)).valid_until is not None
        assert (await quiet.query(sql, ttl=60)).status == "hit"
    assert (await quiet.query(hidden, ttl=60)).status in ("miss", "bypass")


# -------------------------------------------------------------------- how a file may change


def replaced(path: Path) -> None:
    """By rename, with the same size and the times of the old one."""
    old = path.stat()
    aside = path.with_suffix(".new")
    aside.write_text("n\n2\n")
    os.utime(aside, ns=(old.st_atime_ns, old.st_mtime_ns))
    aside.replace(path)


def set_back(path: Path) -> None:
    """In place, with the same size and the modification time of before."""
    old = path.stat()
    path.write_text("n\n2\n")
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))


def relinked(path: Path) -> None:
    """The link leads elsewhere now."""
    (path.parent / "other").write_text("n\n2\n")
    path.unlink()
    path.symlink_to(path.parent / "other")


CHANGES: dict[str, Callable[[Path], object]] = {
    "appended": lambda path: path.open("a").write("1\n"),
    "written in place": lambda path: path.write_text("n\n2\n"),
    "replaced by rename": replaced,
    "times set back": set_back,
    "made a link": relinked,
    "behind a link": lambda path: path.resolve().write_text("n\n2\n"),
}


@pytest.mark.parametrize("is_link", [False, True])
@pytest.mark.parametrize("change", CHANGES)
async def test_however_a_file_changes_it_is_seen(quiet: LiveLake, tmp_path: Path, change: str, is_link: bool) -> None:
    path = tmp_path / "a.csv"
    if is_link:
        (tmp_path / "target").write_text("n\n1\n")
        path.symlink_to(tmp_path / "target")
    else:
        path.write_text("n\n1\n")
    await settle(quiet)
    sql = f"SELECT sum(n)::INTEGER AS s FROM '{path}'"
    assert (await quiet.query(sql)).rows() == [{"s": 1}]
    await settle(quiet)
    assert await status(quiet, sql) == "hit"
    CHANGES[change](path)
    await settle(quiet)
    assert (await quiet.query(sql)).rows() == [{"s": 2}]


async def test_a_file_that_vanishes_is_an_error_of_that_call_and_comes_back(quiet: LiveLake, tmp_path: Path) -> None:
    """I6: the error is not kept, nor the answer from before."""
    path = tmp_path / "a.csv"
    path.write_text("n\n1\n")
    sql = f"FROM read_csv('{path}')"
    await quiet.query(sql)
    path.unlink()
    await settle(quiet)
    for gone in (sql, f"FROM '{path}'"):
        with pytest.raises(SourceError, match="No files found that match"):
            await quiet.query(gone)
    path.write_text("n\n7\n")
    assert (await quiet.query(sql)).rows() == [{"n": 7}]


async def test_a_watched_query_follows_its_files_through_errors(tmp_path: Path) -> None:
    """The poll finds the change; a query that failed for want of its file is asked again when it is there."""
    async with livelake.open(":memory:", poll_interval=0.02) as lake:
        path = tmp_path / "a.csv"
        path.write_text("n\n1\n")
        feed = lake.live(f"SELECT sum(n)::INTEGER AS s FROM read_csv('{tmp_path}/*.csv')")
        topic = lake.watch(lake.ask(f"SELECT sum(n)::INTEGER AS s FROM read_csv('{tmp_path}/*.csv')"))
        assert (await anext(feed)).rows() == [{"s": 1}]
        (tmp_path / "b.csv").write_text("n\n10\n")
        assert (await anext(feed)).rows() == [{"s": 11}]
        path.unlink()
        assert (await anext(feed)).rows() == [{"s": 10}]
        (tmp_path / "b.csv").unlink()
        await until(lambda: topic.state.error is not None)
        path.write_text("n\n5\n")
        await until(lambda: topic.state.error is None and topic.state.result.rows() == [{"s": 5}])
        lake.unwatch(topic)
        await feed.aclose()


@pytest.mark.parametrize("at_once", ["COPY (SELECT 2 AS n) TO '{0}/a.csv' (HEADER)", "COPY orders TO '{0}/b.csv'"])
async def test_our_own_copy_is_seen_at_once(quiet: LiveLake, tmp_path: Path, at_once: str) -> None:
    """Also within the tick of the read before it."""
    (tmp_path / "a.csv").write_text("n\n1\n")
    sql = f"FROM read_csv('{tmp_path}/*.csv', union_by_name = true) ORDER BY ALL"
    for _ in range(3):
        await quiet.query(sql)
        await quiet.execute(at_once.format(tmp_path))
        kept = await quiet.query(sql)
        assert kept.status == "miss"
        assert kept.rows() == (await quiet.query(sql, fresh=True)).rows()


async def test_a_file_written_under_its_read_is_read_again(
    quiet: LiveLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1: the answer that is handed out and kept is of one state of the file."""
    path = tmp_path / "a.csv"
    path.write_text("n\n1\n")
    await settle(quiet)
    read, left = Session.read, [2]

    def written_after(self: Session, *asked: Any, **terms: Any) -> ArrowData:
        found = read(self, *asked, **terms)
        if left[0]:
            left[0] -= 1
            path.write_text(f"n\n1{left[0]}\n")
        return found

    monkeypatch.setattr(Session, "read", written_after)
    sql = f"FROM read_csv('{path}')"
    assert (await quiet.query(sql)).rows() == [{"n": 10}]
    left[0] = 1000  # never still: what was read is handed out, and kept for nobody
    await quiet.query(sql, fresh=True)
    left[0] = 0
    assert (await quiet.query(sql)).rows() == (await quiet.query(sql, fresh=True)).rows()


async def test_a_change_between_the_look_and_the_read_is_not_lost(
    quiet: LiveLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I2: the look comes before the read, so that the change is newer than what the answer stands for."""
    path = tmp_path / "a.csv"
    path.write_text("n\n1\n")
    await settle(quiet)
    begin, written = FileLog.begin, []

    def then_written(self: FileLog, names: Any) -> Any:
        found = begin(self, names)
        if not written:
            written.append(path.write_text("n\n22\n"))
        return found

    monkeypatch.setattr(FileLog, "begin", then_written)
    sql = f"FROM read_csv('{path}')"
    await quiet.query(sql)
    await settle(quiet)
    assert (await quiet.query(sql)).rows() == [{"n": 22}]


async def test_files_that_nobody_looks_at_are_not_vouched_for(tmp_path: Path) -> None:
    """I4: a file system that does not answer makes the lake blind, and not stale."""
    async with livelake.open(":memory:", poll_interval=0.02) as lake:
        (tmp_path / "a.csv").write_text("n\n1\n")
        sql = f"FROM read_csv('{tmp_path}/a.csv')"
        await lake.query(sql)
        assert not lake.watcher.is_blind
        lake.watcher.files._lock.acquire()  # a stat that hangs
        try:
            await until(lambda: lake.watcher.is_blind)
        finally:
            lake.watcher.files._lock.release()
        await until(lambda: not lake.watcher.is_blind)


async def test_what_is_watched_is_bounded(quiet: LiveLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I5: the oldest make room, and their answers go with them."""
    monkeypatch.setattr("livelake.lake.filelog.MOST_NAMES", 2)
    for n in range(3):
        (tmp_path / f"{n}.csv").write_text("n\n1\n")
    await settle(quiet)
    texts = [f"FROM read_csv('{tmp_path}/{n}.csv')" for n in range(3)]
    for sql in texts:
        await quiet.query(sql)
    assert len(quiet.watcher.files.names) == 2
    assert [await status(quiet, sql) for sql in reversed(texts)] == ["hit", "hit", "miss"]
    monkeypatch.setattr(files, "MOST_FILES", 2)
    many = f"FROM read_csv('{tmp_path}/*.csv')"
    assert [await status(quiet, many) for _ in range(2)] == ["bypass", "bypass"]
    assert "3 files, of which 2 are watched at most" in str((await quiet.why(many)).why_not)


# -------------------------------------------------------------------- the comparison, by itself


def stamped(ctime_ns: int, inode: int = 1) -> Stamp:
    return Stamp(1, inode, 4, ctime_ns, ctime_ns)


def test_a_look_within_the_tick_of_a_write_counts_as_changed_once_it_is_over() -> None:
    young, old = Look({"a": stamped(5)}, settled=False), Look({"a": stamped(5)}, settled=True)
    assert young.overtaken_by(old)
    assert not young.overtaken_by(young)
    assert not old.overtaken_by(old)
    assert not old.overtaken_by(young)
    assert old.overtaken_by(Look({"a": stamped(6)}, settled=True))
    assert old.overtaken_by(Look({"a": stamped(5), "b": stamped(5)}, settled=True))
    assert old.overtaken_by(Look({"a": None}, settled=True))
    assert old.overtaken_by(Look({"a": stamped(5, inode=2)}, settled=True))


@pytest.mark.parametrize(
    ("age_ns", "whole", "settled"),
    [
        (5_000_000, False, False),
        (30_000_000, False, True),
        (-(10**9), False, False),
        (10**9, True, False),
        (3 * 10**9, True, True),
    ],
)
def test_how_old_a_stamp_must_be_depends_on_the_clock_of_the_file_system(
    monkeypatch: pytest.MonkeyPatch, age_ns: int, whole: bool, settled: bool
) -> None:
    written = 1_700_000_000 * 10**9 + (0 if whole else 1)
    monkeypatch.setattr(files, "_stamp", lambda _path: stamped(written))
    assert files.look("a.csv", lambda _: [], now_ns=lambda: written + age_ns).settled is settled


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("a.csv", True),
        ("/x/*.csv", True),
        ("file:///x/a.csv", True),
        ("https://h/a.csv", False),
        ("s3://b/a", False),
        ("hf://d", False),
    ],
)
def test_a_name_is_a_file_or_a_url(name: str, local: bool) -> None:
    assert files.is_local(name) is local


def test_what_never_says_that_it_changed_is_never_settled(tmp_path: Path) -> None:
    for name in ("/proc/self/stat", str(tmp_path), "/dev/null"):
        assert not files.look(name, lambda _: []).settled


# -------------------------------------------------------------------- against a naive oracle


class Ticks:
    """A file system whose clock stands still until it is told to go on: all that happens between is one tick."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1_700_000_000 * 10**9 + 1
        self._changed: dict[int, int] = {}
        stamp = files._stamp

        def told(path: str) -> Stamp | None:
            found = stamp(path)
            return found and found._replace(ctime_ns=self._changed.get(found.inode, self.now), mtime_ns=1)

        patch.setattr(files, "_stamp", told)
        patch.setattr(filelog, "look", partial(files.look, now_ns=lambda: self.now))

    def mark(self, path: Path) -> None:
        """What the kernel does when a file is written, linked or renamed."""
        if path.exists():
            self._changed[path.stat().st_ino] = self.now


class Files(RuleBasedStateMachine):
    """Files are written, appended to, renamed, deleted and written back between queries of three kinds.

    The oracle reads them with Python. An answer may be that of any state since the last look that began a tick
    after the last change before it, and of none before that.
    """

    names = st.sampled_from(["a.txt", "b.txt"])

    def __init__(self, folder: Path, ticks: Ticks, loop: asyncio.AbstractEventLoop, lake: LiveLake) -> None:
        super().__init__()
        self.folder, self.ticks, self.loop, self.lake = folder, ticks, loop, lake
        for path in folder.iterdir():
            path.unlink()
        self.queries: dict[str, Callable[[], Any]] = {
            f"SELECT filename, content FROM read_text('{folder}/*.txt') ORDER BY ALL": self.texts,
            f"SELECT content FROM read_text('{folder}/a.txt')": lambda: [
                (text,) for path, text in self.texts() if path.endswith("/a.txt")
            ],
            f"SELECT max(n) AS n FROM '{folder}/p.parquet'": lambda: [(self.value,)],
        }
        self.states: list[dict[str, Any]] = []
        self.value = 0
        self.write_parquet(1)
        self.look()

    def texts(self) -> list[tuple[str, str]]:
        return [(str(path), path.read_text()) for path in sorted(self.folder.glob("*.txt"))]

    def changed(self, path: Path) -> None:
        self.ticks.mark(path)
        self.states.append({sql: right() for sql, right in self.queries.items()})

    @rule(name=names, letter=st.sampled_from("xyz"))
    def write(self, name: str, letter: str) -> None:
        (self.folder / name).write_text(letter)
        self.changed(self.folder / name)

    @rule(name=names)
    def append(self, name: str) -> None:
        with (self.folder / name).open("a") as file:
            file.write("+")
        self.changed(self.folder / name)

    @rule(name=names, letter=st.sampled_from("xyz"))
    def replace(self, name: str, letter: str) -> None:
        (self.folder / "aside").write_text(letter)
        (self.folder / "aside").replace(self.folder / name)
        self.changed(self.folder / name)

    @rule(name=names, other=names)
    def rename(self, name: str, other: str) -> None:
        if (self.folder / name).exists():
            (self.folder / name).replace(self.folder / other)
            self.changed(self.folder / other)

    @rule(name=names)
    def delete(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)
        self.changed(self.folder / name)

    @rule(value=st.integers(1, 9))
    def write_parquet(self, value: int) -> None:
        (self.folder / "p.parquet").write_bytes(parquet_bytes(value))
        self.value = value
        self.changed(self.folder / "p.parquet")

    @rule()
    def a_little_later(self) -> None:
        self.ticks.now += 7_000_000

    @rule()
    def look(self) -> None:
        """The poll, a tick later."""
        self.ticks.now += 30_000_000
        self.lake.watcher.files.look()
        del self.states[:-1]

    @rule(at=st.integers(0, 2))
    def query(self, at: int) -> None:
        sql = list(self.queries)[at]
        asked = asyncio.run_coroutine_threadsafe(self.lake.query(sql), self.loop).result(60)
        found = [tuple(row.values()) for row in asked.rows()]
        allowed = [state[sql] for state in self.states]
        assert found in allowed, f"{sql}: {found!r} is none of {allowed!r}"

    @invariant()
    def few_are_watched(self) -> None:
        assert len(self.lake.watcher.files.names) <= 3


@cache
def parquet_bytes(value: int) -> bytes:
    """Of the same size for each value."""
    with tempfile.TemporaryDirectory() as folder:
        duckdb.sql(f"COPY (SELECT {value} AS n FROM range(100)) TO '{folder}/p' (FORMAT parquet)")
        return Path(folder, "p").read_bytes()


async def run_machine(tmp_path: Path, ticks: Ticks, examples: int, phases: Collection[Phase] = tuple(Phase)) -> None:
    shm = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="livelake-files-", dir=shm if shm.is_dir() else tmp_path))
    loop = asyncio.get_running_loop()
    options = settings(
        max_examples=examples,
        stateful_step_count=25,
        phases=phases,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        async with livelake.open(":memory:", poll_interval=3600) as lake:
            machine = partial(Files, folder, ticks, loop, lake)
            await asyncio.to_thread(run_state_machine_as_test, machine, settings=options)
    finally:
        shutil.rmtree(folder)


async def test_i1_no_answer_from_files_is_older_than_the_last_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searched, against a naive oracle."""
    await run_machine(tmp_path, Ticks(monkeypatch), 60)


async def test_the_search_finds_a_stamp_that_is_trusted_too_young(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""
    monkeypatch.setattr(files, "_is_settled", lambda *_: True)
    with pytest.raises(AssertionError, match="is none of"):
        await run_machine(tmp_path, Ticks(monkeypatch), 300, [Phase.generate])
