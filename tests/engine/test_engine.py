from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import pytest

from livelake.engine import Caps, Engine, Session, literal
from livelake.engine.door import FatalError
from livelake.errors import ClosedError, InternalError, QueryError, SourceError, TooLargeError


def test_reads_are_counted_and_nothing_else_is_taken_for_one(engine: Engine) -> None:
    with engine.cursor() as session:
        session.execute("CREATE TABLE t (a INT)")
        session.execute("INSERT INTO t VALUES (1)")
        session.fetchall("FROM t")
        session.plan("FROM t")
        session.parse("FROM t")
        assert engine.stats().reads == 0
        session.read("FROM t")
        session.read("FROM t WHERE a = $a", {"a": 1})
        with pytest.raises(QueryError):
            session.read("SELECT nonsense")
    stats = engine.stats()
    assert (stats.reads, stats.writes, stats.errors, stats.interrupts) == (3, 2, 1, 0)
    assert stats.statements == 8
    with pytest.raises(AttributeError):
        stats.reads = 0  # type: ignore[misc]


def test_python_s_variables_are_invisible_to_sql(session: Session) -> None:
    secret = session.read("SELECT 1 AS a")
    assert secret.num_rows == 1
    for sql in ("FROM secret", "SELECT * FROM session"):
        with pytest.raises(QueryError, match="does not exist"):
            session.read(sql)
    for name in ("python_enable_replacements", "python_scan_all_frames"):
        assert session.fetchone(f"SELECT current_setting('{name}')") == (False,)


def test_settings_that_change_answers_change_the_fingerprint(engine: Engine) -> None:
    seen = {engine.settings_fingerprint()}
    assert seen == {engine.settings_fingerprint()}
    with engine.cursor() as session:
        for change in (
            "SET GLOBAL TimeZone = 'Asia/Kathmandu'",
            "SET GLOBAL default_null_order = 'NULLS_FIRST'",
            "SET GLOBAL default_collation = 'NOCASE'",
            "SET GLOBAL integer_division = true",
        ):
            session.execute(change)
            seen.add(engine.settings_fingerprint())
    assert len(seen) == 5
    assert engine.time_zone == "Asia/Kathmandu"


def test_sessions_see_one_database_and_are_private_otherwise(engine: Engine) -> None:
    with engine.cursor() as first, engine.cursor() as second:
        first.execute("CREATE TABLE t AS SELECT 1 AS a")
        first.execute("SET VARIABLE x = 1")
        assert second.fetchone("SELECT a, getvariable('x') FROM t") == (1, None)


def test_limits_are_passed_to_duckdb() -> None:
    with Engine(threads=1, memory_limit="100MB") as engine, engine.cursor() as session:
        assert session.fetchone("SELECT current_setting('threads')") == (1,)
        assert session.fetchone("SELECT current_setting('memory_limit')") == ("95.3 MiB",)
    with pytest.raises((QueryError, SourceError)):
        Engine(memory_limit="nonsense")


def test_spilling_leaves_nothing_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Engine(memory_limit="40MB", threads=1) as engine, engine.cursor() as session:
        session.execute("SET preserve_insertion_order = false")
        session.execute("CREATE TABLE t AS SELECT i, hash(i) AS h FROM range(6000000) r(i)")
        row = session.fetchone("SELECT current_setting('temp_directory')")
        assert row is not None
        spill = Path(row[0])
        assert spill.exists()
    assert list(tmp_path.iterdir()) == []
    assert not spill.exists()


def test_a_closed_engine_raises_and_closes_twice() -> None:
    engine = Engine()
    session = engine.cursor()
    engine.close()
    engine.close()
    assert "closed" in repr(engine)
    calls: list[Any] = [
        engine.cursor, engine.settings, lambda: engine.load_extension("ducklake"),
        lambda: engine.pool.submit(lambda session: 1), lambda: session.fetchone("SELECT 1"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ClosedError):
            call()


def test_close_ends_a_statement_of_a_session_beside_the_pool() -> None:
    engine = Engine()
    session = engine.cursor()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            session.read("SELECT count(*) FROM range(100000000000) t(i) WHERE i % 7 = 3")
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    pause = threading.Event()
    while "running" not in repr(session):
        pause.wait(0.001)
    engine.close()
    thread.join(30)
    assert len(errors) == 1


def test_a_dead_instance_says_so_to_everyone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: Any, **__: Any) -> Any:
        raise duckdb.FatalException("FATAL Error: database has been invalidated")

    monkeypatch.setattr("livelake.engine.session.answer", dies)
    with engine.cursor() as session, pytest.raises(FatalError, match="DuckDB gave up"):
        session.read("SELECT 1")
    assert "broken" in repr(engine)
    with pytest.raises(InternalError):
        engine.cursor()
    with pytest.raises(InternalError):
        engine.pool.submit(lambda session: session.fetchone("SELECT 1")).result(30)


@pytest.mark.parametrize("guarded", [False, True])
def test_an_error_that_is_kept_keeps_no_file_open(tmp_path: Path, guarded: bool) -> None:
    """Its traceback would hold the stream, that the instance, that the file: nobody could open it again."""
    errors = list[BaseException]()
    for _ in range(2):
        with Engine() as engine, engine.cursor() as session:
            session.execute(f"ATTACH {literal(str(tmp_path / 'x.duckdb'))} AS x")
            session.execute("CREATE TABLE IF NOT EXISTS x.t AS SELECT range AS i FROM range(100000)")
            for params in (None, {"n": 0}):
                sql = f"SELECT i, error(i::VARCHAR) AS e FROM x.t WHERE i > {'$n' if params else 0}"
                with pytest.raises(QueryError) as failed:
                    session.read(sql, params, Caps(guarded=guarded))
                with pytest.raises(TooLargeError) as capped:
                    session.read("FROM x.t", None, Caps(max_rows=1, guarded=guarded))
                errors += [failed.value, capped.value]
    assert len(errors) == 8


def test_settings_that_are_locked_stay_locked(engine: Engine) -> None:
    engine.lock(["SET default_null_order = 'NULLS_FIRST'"])
    with engine.cursor() as session:
        assert session.fetchone("SELECT current_setting('default_null_order')") == ("NULLS_FIRST",)
        for sql in ("SET threads = 1", "RESET default_null_order", "SET lock_configuration = false"):
            with pytest.raises(QueryError, match="locked"):
                session.execute(sql)
        session.execute("ATTACH ':memory:' AS other")
        session.execute("USE other")
        engine.load_extension("ducklake")
    fresh = Engine()
    with pytest.raises(QueryError, match="nosuch"):
        fresh.lock(["SET nosuch = 1"])
    fresh.close()


def test_an_engine_that_nobody_closed_does_not_hang_or_crash_the_interpreter() -> None:
    code = """
from livelake.engine import Engine
engine = Engine()
print(engine.pool.submit(lambda session: session.fetchone("SELECT 1")).result())
engine.pool.submit(lambda session: session.read("SELECT count(*) FROM range(100000000000) t(i) WHERE i % 7 = 3"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "(1,)", "")


def test_importing_starts_nothing() -> None:
    code = "import threading, livelake.engine; print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
