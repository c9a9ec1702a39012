"""The attack list's rows on SQL, against a lake as a stranger finds it: nothing read, nothing left, nothing told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import livelake
from livelake.engine import Session
from livelake.errors import (
    BusyError,
    LivelakeError,
    ParameterError,
    QueryError,
    RefusedError,
    TooLargeError,
)
from livelake.lake.planner import Planner
from livelake.live import LiveLake

SECRET = "the-secret-of-another"


@pytest.fixture(params=["ducklake", "sqlite"])
async def lake(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LiveLake]:
    (tmp_path / "secret.csv").write_text(f"a\n{SECRET}\n")
    (tmp_path / "lake").mkdir()
    uri = {"ducklake": "ducklake:{}/lake/sales.ducklake", "sqlite": "ducklake:sqlite:{}/lake/sales.sqlite"}
    async with livelake.open(uri[request.param].format(tmp_path), as_name="sales", untrusted=True) as lake:
        await lake.execute(
            "CREATE TABLE orders AS SELECT 'north' AS region, range::INTEGER AS amount FROM range(100)"
        )
        yield lake


# -- values: bound as they are, or refused; never part of the text

VALUES: list[Any] = [
    "' OR 1=1 --",
    "1; DROP TABLE orders",
    '"; DROP TABLE orders; --',
    "x" * 1_000_000,
    "😀☃\u2028\u0085",
    "${region}",
    "$region",
    float("nan"),
    2**63,
    -(2**127),
    b"\x00\xff",
    [],
    ["north"],
    {"a": "north"},
    None,
    True,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
async def test_a_value_is_a_value(lake: LiveLake, value: Any) -> None:
    found = await lake.query("SELECT count(*) AS n FROM orders WHERE region = $v::VARCHAR", {"v": value})
    assert found.rows() == [{"n": 0}]
    assert (await lake.query("SELECT count(*) AS n FROM orders")).rows() == [{"n": 100}]


@pytest.mark.parametrize("value", ["a\0b", "\ud800", object(), 2**200], ids=["NUL", "surrogate", "object", "2^200"])
async def test_a_value_that_cannot_be_bound_is_said_to_be_one(lake: LiveLake, value: Any) -> None:
    """Or it is bound, and is no region."""
    rows = [{"n": 0}]
    with contextlib.suppress(ParameterError, QueryError):
        rows = (await lake.query("SELECT count(*) AS n FROM orders WHERE region = $v::VARCHAR", {"v": value})).rows()
    assert rows == [{"n": 0}]
    assert (await lake.query("SELECT count(*) AS n FROM orders")).rows() == [{"n": 100}]


async def test_a_parameter_that_asks_for_a_huge_range_meets_the_deadline_or_the_cap(tmp_path: Path) -> None:
    limits = livelake.Limits(max_rows=1_000, deadline=2.0, memory_limit="200MB", max_spill="100MB")
    async with livelake.open(f"ducklake:{tmp_path}/x.ducklake", untrusted=True, limits=limits) as lake:
        for sql, n in (
            ("FROM range($n)", 10**9),
            # A list heeds neither limit nor interrupt while it is made: with 10**9 it would take 16 GB from whoever
            # runs this. What becomes of such a thread is tested in processes of their own (test_giving_up).
            ("SELECT unnest(range($n)) AS i", 10**7),
            ("SELECT count(*) AS n FROM range($n) a, range($n) b WHERE (a.range + b.range) % 7 = 3", 10**9),
        ):
            with pytest.raises((TooLargeError, BusyError, QueryError)):
                await lake.query(sql, {"n": n})
        assert (await lake.query("SELECT $n AS n", {"n": 1})).rows() == [{"n": 1}]


# -- files and the network

FILES = [
    "FROM read_csv('{secret}')",
    "FROM read_text('{secret}')",
    "FROM read_blob('/dev/zero')",
    "FROM '{secret}'",
    "FROM '{link}'",
    "FROM '{data}/../../../secret.csv'",
    "FROM read_csv('{data}/link.csv')",
    "FROM glob('{folder}/*')",
    "FROM read_text('/proc/self/environ')",
    "FROM sniff_csv('{secret}')",
    "FROM sqlite_scan('{folder}/other.sqlite', 't')",
    "FROM query('FROM read_text(''{secret}'')')",
    "SELECT (SELECT content FROM read_text('{secret}')) AS c",
    "SELECT json_serialize_plan('FROM read_csv(''{secret}'')')",
    "FROM 's3://bucket/x.parquet'",
    "FROM 'http://169.254.169.254/latest/meta-data.csv'",
    "FROM postgres_scan('host=127.0.0.1 port=1', 'public', 't')",
    "COPY orders TO '{folder}/out.csv'",
    "COPY (SELECT 1) TO '{data}/out.csv'",
    "ATTACH '{folder}/other.duckdb' AS other",
    "EXPORT DATABASE '{folder}/out'",
    "INSTALL httpfs",
    "LOAD '{secret}'",
]


@pytest.mark.parametrize("sql", FILES)
async def test_no_file_and_no_address_is_opened(lake: LiveLake, tmp_path: Path, sql: str) -> None:
    data = next((tmp_path / "lake").glob("*.files"))
    for link in (tmp_path / "link.csv", data / "link.csv"):
        link.symlink_to(tmp_path / "secret.csv")
    before = set(tmp_path.rglob("*"))
    with pytest.raises(QueryError) as caught:
        text = sql.format(secret=tmp_path / "secret.csv", link=tmp_path / "link.csv", data=data, folder=tmp_path)
        await lake.query(text)
    assert SECRET not in str(caught.value)
    assert set(tmp_path.rglob("*")) == before


async def test_a_file_is_never_opened_not_even_to_look_at_it(lake: LiveLake, tmp_path: Path) -> None:
    """A FIFO that nobody writes: whoever opens it for reading waits for ever."""
    fifo = tmp_path / "trap.csv"
    os.mkfifo(fifo)
    async with asyncio.timeout(60):
        for sql in (f"FROM '{fifo}'", f"FROM read_text('{fifo}')", f"FROM query('FROM ''{fifo}''')"):
            with pytest.raises(RefusedError):
                await lake.query(sql)


async def test_the_second_wall_holds_where_the_first_would_not(lake: LiveLake, tmp_path: Path) -> None:
    """DuckDB itself is sealed: SQL that went past the gate reads no file outside of the lake's own folder either."""
    for sql in (
        f"FROM read_csv('{tmp_path}/secret.csv')",
        f"FROM glob('{tmp_path}/*')",
        "FROM 'http://127.0.0.1/x.csv'",
    ):
        with pytest.raises(LivelakeError, match="disabled by configuration"), lake.engine.cursor() as session:
            session.fetchall(sql)


STRACE_FREE = """
import asyncio, socket, sys, livelake
from livelake.errors import RefusedError
async def main():
    async with livelake.open(sys.argv[1], untrusted=True) as lake:
        for sql in (
            "FROM 'http://10.0.0.1/x.csv'", "FROM 's3://bucket/x.parquet'", "FROM 'https://example.org/x.parquet'",
            "FROM postgres_scan('host=10.0.0.1', 'public', 't')", "FROM read_parquet('hf://datasets/a/b/c.parquet')",
        ):
            try:
                await lake.query(sql)
            except RefusedError:
                continue
            sys.exit(f"not refused: {sql}")
    sent = [line.split() for line in open("/proc/self/net/dev").read().splitlines()[2:]]
    print("packets", sum(int(line[10]) for line in sent))
asyncio.run(main())
"""


def test_no_packet_leaves(tmp_path: Path) -> None:
    """In a network of its own, where every packet that is sent is counted."""
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs network namespaces")
    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", STRACE_FREE, f"ducklake:{tmp_path}/x.ducklake"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.stdout.split() == ["packets", "0"], done.stderr


# -- state, introspection

STATE = [
    "BEGIN",
    "SET VARIABLE x = 1",
    "CREATE TEMP TABLE x AS SELECT 1 AS a",
    "USE temp",
    "PREPARE p AS SELECT 1",
    "SET threads = 1",
    "CREATE MACRO sales.main.region() AS 1",
    "CREATE SECRET s (TYPE s3)",
    "CREATE PERSISTENT SECRET s (TYPE s3)",
    "DROP TABLE orders",
    "INSERT INTO orders VALUES ('x', 1)",
    "SELECT 1; DROP TABLE orders",
    "PRAGMA enable_profiling",
    "FROM enable_logging()",
    "FROM sales.set_option('x', 'y')",
    "FROM ducklake_expire_snapshots('sales')",
    "CHECKPOINT",
    "VACUUM",
]


@pytest.mark.parametrize("sql", STATE)
async def test_no_trace_is_left(lake: LiveLake, sql: str) -> None:
    with pytest.raises(QueryError):
        await lake.query(sql)

    def look(session: Any) -> Any:
        return session.fetchone(
            "SELECT getvariable('x'), current_database(), current_setting('threads') > 0,"
            " (SELECT count(*) FROM duckdb_temporary_files()), (SELECT count(*) FROM duckdb_secrets()),"
            " (SELECT count(*) FROM duckdb_tables() WHERE database_name = 'temp'),"
            " (SELECT count(*) FROM duckdb_prepared_statements())"
        )

    for _ in range(lake.engine.pool.workers):
        assert await lake.engine.pool.run(look) == (None, "sales", True, 0, 0, 0, 0)
    assert (await lake.query("SELECT count(*) AS n, count(DISTINCT region) AS r FROM orders")).rows() == [
        {"n": 100, "r": 1}
    ]


TELLING = [
    "FROM duckdb_settings()",
    "FROM duckdb_secrets()",
    "FROM duckdb_databases()",
    "FROM duckdb_databases",
    "FROM duckdb_tables()",
    "FROM information_schema.tables",
    "FROM pg_catalog.pg_class",
    "FROM sqlite_master",
    "FROM __ducklake_metadata_sales.ducklake_snapshot",
    "FROM __livelake_keeper_sales.ducklake_snapshot",
    "FROM sales.snapshots()",
    "FROM ducklake_list_files('sales', 'orders')",
    "SHOW ALL TABLES",
    "SHOW DATABASES",
    "DESCRIBE orders",
    "SELECT current_setting('temp_directory')",
    "SELECT current_database()",
    "SELECT version()",
    "SELECT filename FROM orders",
]


@pytest.mark.parametrize("sql", TELLING)
async def test_nothing_is_told_of_the_server(lake: LiveLake, sql: str) -> None:
    with pytest.raises(QueryError):
        await lake.query(sql)


async def test_another_s_answer_is_not_a_stranger_s(tmp_path: Path) -> None:
    """One lake, both trusted and untrusted queries: what is kept for the one is no hit for the other."""
    (tmp_path / "x.csv").write_text("a\n1\n")
    async with livelake.open(f"ducklake:{tmp_path}/x.ducklake", poll_interval=30.0) as lake:
        sql = f"SELECT count(*) AS n FROM read_text('{tmp_path}/x.csv')"
        assert (await lake.query(sql, ttl=3600)).rows() == [{"n": 1}]
        assert (await lake.query(sql, ttl=3600)).status == "hit"
        with pytest.raises(RefusedError):
            await lake.query(sql, ttl=3600, untrusted=True)
        await lake.execute("CREATE TABLE t AS SELECT 1 AS a")
        await lake.query("SELECT a FROM t")
        assert (await lake.query("SELECT a FROM t", untrusted=True)).status == "miss"
        assert (await lake.query("SELECT a FROM t", untrusted=True)).status == "hit"
        await lake.query("SELECT a FROM t UNION ALL SELECT 2")
        with pytest.raises(TooLargeError):
            await lake.query("SELECT a FROM t UNION ALL SELECT 2", max_rows=1)
        assert len(await lake.query("SELECT a FROM t UNION ALL SELECT 2", max_rows=2)) == 2


async def test_a_lake_of_strangers_trusts_nobody(lake: LiveLake, tmp_path: Path) -> None:
    with pytest.raises(RefusedError):
        await lake.query("FROM duckdb_settings()", untrusted=False)
    with pytest.raises(RefusedError):
        async for _ in lake.live(f"FROM '{tmp_path}/secret.csv'"):
            pass


# -- what the owner's own files may do

STEERED = [
    "FROM read_csv($path)",
    "FROM read_parquet([$a, $b])",
    "FROM glob($pattern)",
    "FROM query($sql)",
    "FROM query_table($table)",
    "FROM sqlite_scan($file, 't')",
    "SELECT (SELECT content FROM read_text($p || '.txt'))",
]


@pytest.mark.parametrize("sql", STEERED)
async def test_a_dashboard_whose_viewer_would_choose_what_is_read_is_refused(sql: str) -> None:
    async with livelake.open(":memory:") as lake:
        with pytest.raises(QueryError, match="whoever fills it in chooses what is read"):
            await lake.check(sql)


async def test_a_dashboard_may_name_its_files_itself_and_take_values() -> None:
    async with livelake.open(":memory:") as lake:
        await lake.check("FROM read_csv('prices.csv') WHERE day >= $since LIMIT $limit")
        await lake.check("FROM range($n)")


@pytest.mark.parametrize(
    "settings",
    [{"lock_configuration": "false"}, {"ENABLE_EXTERNAL_ACCESS": "true"}, {"nosuch": "1"}, {'x"; DROP TABLE y': "1"}],
)
async def test_settings_are_settings(settings: dict[str, str]) -> None:
    with pytest.raises(LivelakeError):
        async with livelake.open(":memory:", settings=settings):
            pass


async def test_settings_are_locked_once_the_lake_is_open(tmp_path: Path) -> None:
    async with livelake.open(f"{tmp_path}/x.duckdb", settings={"TimeZone": "Asia/Kathmandu"}) as lake:
        assert lake.engine.time_zone == "Asia/Kathmandu"
        for sql in ("SET threads = 1", "RESET threads", "SET GLOBAL TimeZone = 'UTC'", "SET memory_limit = '1TB'"):
            with pytest.raises(QueryError, match="locked"), lake.engine.cursor() as session:
                session.execute(sql)


# -- crashing DuckDB itself


async def test_what_would_crash_the_process_is_refused_before_duckdb_sees_it(lake: LiveLake) -> None:
    """DuckDB 1.5.5 dereferences a null pointer in `json_deserialize_sql` of a tree that lacks a part (measured)."""
    tree = '{"statements": [{"node": {"type": "SELECT_NODE", "select_list": [], "from_table": null}}]}'
    with pytest.raises(RefusedError, match="json_deserialize_sql"):
        await lake.query(f"SELECT json_deserialize_sql('{tree}') AS s")
    with pytest.raises(QueryError):
        await lake.query(f"FROM json_execute_serialized_sql('{tree}')")


def test_errors_name_no_path_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    """A refusal says what is not allowed and nothing of the machine; what a client sees is the web's to say."""

    async def ask() -> list[str]:
        said = []
        async with livelake.open(":memory:", untrusted=True) as lake:
            for sql in (
                "FROM 'x.csv'",
                "FROM duckdb_secrets()",
                "FROM nosuch",
                "SELECT nosuch(1)",
                "SELECT getenv('HOME')",
            ):
                with pytest.raises(QueryError) as caught:
                    await lake.query(sql)
                said.append(str(caught.value))
        return said

    for text in asyncio.run(ask()):
        assert not re.search(r"/(root|home|tmp|usr)/|\.py\b|Traceback|0x[0-9a-f]{6}", text), text


def test_reads_run_in_transactions_that_cannot_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a write ever get past the gate, DuckDB refuses it: here one begins where the plan is made."""
    foresee = Planner.foresee

    def writes_too(self: Planner, session: Session, *more: Any) -> Any:
        session.execute("INSERT INTO t VALUES (2)")
        return foresee(self, session, *more)

    async def ask() -> None:
        async with livelake.open(f"{tmp_path}/x.duckdb") as lake:
            await lake.execute("CREATE TABLE t AS SELECT 1 AS a")
            with monkeypatch.context() as patched:
                patched.setattr(Planner, "foresee", writes_too)
                with pytest.raises(QueryError, match="read-only"):
                    await lake.query("SELECT a FROM t")
            assert (await lake.query("SELECT count(*) AS n FROM t")).rows() == [{"n": 1}]

    asyncio.run(ask())


@pytest.fixture(autouse=True)
def _nothing_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a query might store goes where it is seen, and is not there."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    yield
    assert list(home.rglob("*")) == []
