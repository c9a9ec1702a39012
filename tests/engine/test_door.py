"""DuckDB's real failures, each as ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from livelake.engine import Engine, Session, literal
from livelake.engine.door import FatalError, Interrupted, translate
from livelake.errors import (
    ConflictError,
    InternalError,
    LivelakeError,
    LockedError,
    ParameterError,
    QueryError,
    SourceError,
)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT * FROM nosuch", "Table with name nosuch does not exist!"),
        ("SELECT nocol FROM (SELECT 1 AS day)", 'Candidate bindings: "day"'),
        ("SELECT 'x'::INT", "Could not convert string 'x' to INT32"),
        ("SELECT nofunction(1)", "nofunction does not exist"),
        ("SELECT error('boom') FROM range(3)", "boom"),
        ("SELECT (repeat('9', 40))::INT FROM range(5000)", "INT32"),
    ],
)
def test_bad_sql_is_a_query_error_with_duckdb_s_words_and_the_statement(
    session: Session, sql: str, said: str
) -> None:
    for run in (session.execute, session.read):
        with pytest.raises(QueryError) as caught:
            run(sql)
        message = str(caught.value)
        assert said in message
        assert f"(in: {sql})" in message
        assert "^" not in message
        assert "\n" not in message


def test_the_statement_is_shown_shortened_and_flat(session: Session) -> None:
    with pytest.raises(QueryError) as caught:
        session.execute("SELECT nocol,\n" + "1, " * 200 + "1")
    assert str(caught.value).endswith("…)")
    assert len(str(caught.value).rsplit("(in: ", maxsplit=1)[1]) <= 81


def test_a_missing_file_is_a_source_error(session: Session, tmp_path: Path) -> None:
    missing = literal(str(tmp_path / "missing" / "x"))
    for sql in (f"ATTACH {missing} AS x", f"FROM read_csv({missing})"):
        with pytest.raises(SourceError):
            session.execute(sql)


def test_a_file_that_another_process_holds_names_the_process_and_the_remedy(session: Session, tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError) as caught:
            session.execute(f"ATTACH {literal(str(file))} AS x")
        holder.communicate("")
    assert f"is held by process {holder.pid}" in str(caught.value)
    assert "SQLite or PostgreSQL" in str(caught.value)
    session.execute(f"ATTACH {literal(str(file))} AS x")


def test_running_out_of_memory_gives_advice() -> None:
    with Engine(memory_limit="30MB") as engine, engine.cursor() as session:
        session.execute("SET max_temp_directory_size = '1MB'")
        with pytest.raises(QueryError, match="raise memory_limit"):
            session.execute("CREATE TABLE t AS SELECT i, hash(i), repeat('x', 100) || i FROM range(5000000) t(i)")
        assert session.fetchone("SELECT 1") == (1,)


def test_a_lost_race_is_a_conflict_that_is_safe_to_repeat(engine: Engine) -> None:
    with engine.cursor() as first, engine.cursor() as second:
        first.execute("CREATE TABLE t AS SELECT 1 AS a")
        with first.transaction():
            first.execute("UPDATE t SET a = 2")
            with pytest.raises(ConflictError, match="safe to try again"), second.transaction():
                second.execute("UPDATE t SET a = 3")
        second.execute("UPDATE t SET a = a + 10")
        assert first.fetchone("SELECT a FROM t") == (12,)


def test_a_value_that_duckdb_has_no_type_for_is_a_parameter_error(session: Session) -> None:
    with pytest.raises(ParameterError, match="pass a number"):
        session.fetchall("SELECT $a", {"a": object()})
    with pytest.raises(LivelakeError):
        session.fetchall("SELECT $a", {"a": 10**400})


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (duckdb.InterruptException("INTERRUPT Error: Interrupted!"), Interrupted),
        (RuntimeError("ArrowArrayStream::get_next() failed (-1): INTERRUPT Error: Interrupted!"), Interrupted),
        (RuntimeError("ArrowArrayStream::get_next() failed (-1): IO Error: No such file"), SourceError),
        (RuntimeError("ArrowArrayStream::get_next() failed (-1): Conversion Error: bad"), QueryError),
        (RuntimeError("something else"), QueryError),
        (duckdb.FatalException("FATAL Error: database has been invalidated"), FatalError),
        (RuntimeError("ArrowArrayStream::get_next() failed (-1): FATAL Error: gone"), FatalError),
        (duckdb.InternalException("INTERNAL Error: oops"), InternalError),
        (duckdb.HTTPException("HTTP Error: 404"), SourceError),
        (
            duckdb.TransactionException("TransactionContext Error: Failed to commit: database is locked"),
            ConflictError,
        ),
        (duckdb.TransactionException("TransactionContext Error: no transaction is active"), QueryError),
    ],
)
def test_each_class_of_error_has_one_of_ours(error: Exception, expected: type[LivelakeError]) -> None:
    assert type(translate(error, "SELECT 1")) is expected


@pytest.mark.parametrize(
    "message",
    [
        "Failed to delete snapshots in DuckLake: database is locked",
        "Failed to delete inlined file deletions after flush: database is locked",
        "Failed to delete flushed inlined data in DuckLake from table t: … ERROR:  could not serialize access due to "
        "concurrent update",
    ],
)
def test_a_procedure_of_ducklake_that_lost_to_another_process_can_be_tried_again(message: str) -> None:
    assert type(translate(duckdb.Error(message), "SELECT 1")) is ConflictError
    assert type(translate(duckdb.Error(message.replace("Failed to", "I would")), "SELECT 1")) is QueryError
