"""Caps: enforced while rows come out of DuckDB, and inside what its memory limit covers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from livelake.engine import Caps, Engine, Limits, Session
from livelake.engine.limits import MOST_BYTES, Forgetful
from livelake.errors import QueryError, TooLargeError, UsageError

WAYS: list[tuple[Any, bool]] = [(None, False), ({"n": 50_000}, False), (None, True), ({"n": 50_000}, True)]


@pytest.mark.parametrize(("params", "guarded"), WAYS)
def test_a_cap_says_what_it_is_and_how_to_raise_it(session: Session, params: Any, guarded: bool) -> None:
    sql = f"FROM range({'$n' if params else 50_000})"
    with pytest.raises(TooLargeError, match=r"more than 49,999 rows.*max_rows"):
        session.read(sql, params, Caps(max_rows=49_999, guarded=guarded))
    with pytest.raises(TooLargeError, match=r"larger than 100,000 bytes.*max_result_bytes"):
        session.read(sql, params, Caps(max_result_bytes=100_000, guarded=guarded))
    assert session.read(sql, params, Caps(50_000, 1_000_000, guarded)).num_rows == 50_000


@pytest.mark.parametrize(("params", "guarded"), WAYS)
def test_the_same_rows_in_the_same_order_whichever_way_they_come(
    session: Session, params: Any, guarded: bool
) -> None:
    sql = f"SELECT i, 's' || i AS s, i AS \"I\" FROM range({'$n' if params else 50_000}) t(i) ORDER BY hash(i)"
    plain = session.read("SELECT i, 's' || i AS s, i AS \"I\" FROM range(50000) t(i) ORDER BY hash(i)")
    data = session.read(sql, params, Caps(guarded=guarded))
    assert data.columns == plain.columns
    assert data.tuples() == plain.tuples()


def test_an_answer_that_no_table_can_hold_still_comes_and_inside_a_transaction_it_asks_for_another(
    session: Session,
) -> None:
    sql = "SELECT row($a, 2) AS r"
    with session.transaction(), pytest.raises(QueryError, match="name its fields"):
        session.read(sql, {"a": 1})
    with session.transaction():
        assert len(session.read(sql, {"a": 1})) == 1  # known by now
    assert len(session.read("SELECT row($a, 3) AS r", {"a": 1})) == 1
    with pytest.raises(QueryError, match="name its fields"):
        session.read(sql, {"a": 1}, Caps(guarded=True))


def test_nothing_is_left_on_the_cursor(session: Session) -> None:
    for params, guarded in WAYS:
        session.read(f"FROM range({'$n' if params else 50_000})", params, Caps(guarded=guarded))
        with pytest.raises(TooLargeError):
            session.read(f"FROM range({'$n' if params else 50_000})", params, Caps(1, guarded=guarded))
    assert session.fetchall("SELECT table_name FROM duckdb_tables()") == []
    assert session.fetchall("SELECT view_name FROM duckdb_views() WHERE NOT internal") == []


def test_caps_of_one_query_stand_in_place_of_the_lake_s() -> None:
    limits = Limits(max_rows=10)
    assert limits.caps() == Caps(10, MOST_BYTES)
    assert limits.caps(20, 5, guarded=True) == Caps(20, 5, guarded=True)


@pytest.mark.parametrize("name", ["max_rows", "max_result_bytes", "deadline", "grace"])
@pytest.mark.parametrize("value", [-1, "10", float("nan"), True])
def test_what_can_be_no_limit_is_refused(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"{name}={value!r}: give "):
        Limits(**{name: value})


def test_zero_is_a_limit_where_it_says_something() -> None:
    limits = Limits(max_rows=0, max_result_bytes=0, grace=0)
    assert limits.caps() == Caps(0, 0)
    with pytest.raises(UsageError, match="deadline=0: give seconds, more than 0"):
        Limits(deadline=0)


def test_an_empty_answer_is_within_a_cap_of_nothing(session: Session) -> None:
    for guarded in (False, True):
        assert session.read("SELECT 1 AS a WHERE false", None, Caps(max_rows=0, guarded=guarded)).num_rows == 0
        with pytest.raises(TooLargeError, match="more than 0 rows"):
            session.read("SELECT 1 AS a", None, Caps(max_rows=0, guarded=guarded))


@pytest.mark.parametrize("workers", [0, -1, 1.5])
def test_an_engine_without_workers_is_refused(workers: Any) -> None:
    with pytest.raises(UsageError, match=f"workers={workers}: give a whole number from 1"):
        Engine(workers=workers)


def test_a_forgetful_set_is_bounded() -> None:
    seen = Forgetful(3)
    for number in range(10):
        seen.add(str(number))
        assert str(number) in seen
        assert len(seen) <= 3


def test_spilling_is_bounded_too(tmp_path: Path) -> None:
    with Engine(memory_limit="60MB", threads=1, max_spill="30MB") as engine, engine.cursor() as session:
        with pytest.raises(QueryError, match="out of memory"):
            session.execute("CREATE TEMP TABLE t AS SELECT i, hash(i)::VARCHAR AS h FROM range(8000000) r(i)")
        assert session.fetchone("SELECT 1") == (1,)


MEMORY = """
import resource, sys
from livelake.engine import Caps, Engine
from livelake.errors import LivelakeError
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
with Engine(memory_limit="100MB", max_spill="100MB", threads=1) as engine, engine.cursor() as session:
    session.read("SELECT 1")
    before = peak()
    try:
        session.read("SELECT repeat('x', 100) || i AS s FROM range($n) t(i)", {"n": 10_000_000}, CAPS)
    except LivelakeError as error:
        print(type(error).__name__, peak() - before)
"""


@pytest.mark.parametrize("caps", ["Caps(max_result_bytes=10_000_000)", "Caps(guarded=True)"])
def test_a_huge_answer_to_a_query_with_parameters_is_stopped_within_the_memory_limit(caps: str) -> None:
    """DuckDB's own way takes 1.2 GB for it: its client keeps a result outside of the limit."""
    code = MEMORY.replace("CAPS", caps)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=110, check=True)
    name, grown = done.stdout.split()
    assert name in ("QueryError", "TooLargeError")
    assert int(grown) < 500, f"{grown} MB"
