from __future__ import annotations

import json
import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from livelake.engine import Engine, Session
from livelake.engine.door import Interrupted
from livelake.errors import ClosedError, ConflictError, InternalError, ParameterError, QueryError

LONG = "SELECT count(*) FROM range(100000000000) t(i) WHERE i % 7 = 3"
DEADLINE = 30.0


class Background:
    """A call in a thread of its own, and its outcome."""

    def __init__(self, call: Any) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.value = self._call()
        except BaseException as error:
            self.error = error

    def join(self) -> None:
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


def interrupt_once_running(session: Session) -> None:
    """Interrupt as soon as a statement runs; an interrupt before that has no effect outside a turn."""
    pause = threading.Event()
    for _ in range(int(DEADLINE / 0.001)):
        if "running" in repr(session):
            session.interrupt()
            return
        pause.wait(0.001)
    raise AssertionError("nothing ran")


# -- parameters


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT $a + $b", {"a": 1, "b": 2}),
        ("SELECT $A + $b", {"a": 1, "B": 2}),
        ("SELECT ? + ?", [1, 2]),
        ("SELECT ? + ?", (1, 2)),
        ("SELECT $1 + $2", [1, 2]),
        ("SELECT 3", {}),
        ("SELECT 3", []),
        ("SELECT 3", None),
    ],
)
def test_parameters_go_by_name_or_by_position(session: Session, sql: str, params: Any) -> None:
    assert session.fetchone(sql, params) == (3,)
    assert session.read(sql, params).tuples() == [(3,)]


@pytest.mark.parametrize(
    ("sql", "params", "said"),
    [
        ("SELECT $a + $b", {"a": 1}, "takes $a, $b; missing: $b"),
        ("SELECT $a", None, "takes $a; missing: $a"),
        ("SELECT $a", {}, "missing: $a"),
        ("SELECT $a", {"a": 1, "c": 2}, "unknown: $c"),
        ("SELECT $a", {"b": 1}, "missing: $a; unknown: $b"),
        ("SELECT $a", [1], "missing: $a; unknown: $1"),
        ("SELECT ?, ?", [1], "missing: $2"),
        ("SELECT ?", [1, 2], "unknown: $2"),
        ("SELECT 1", {"a": 1}, "takes no parameters; unknown: $a"),
    ],
)
def test_missing_and_extra_parameters_are_named(session: Session, sql: str, params: Any, said: str) -> None:
    for run in (session.execute, session.fetchall, session.fetchone, session.read):
        with pytest.raises(ParameterError) as caught:
            run(sql, params)
        assert said in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        None, True, 1, 2**63, 1.5, "x", "'; DROP TABLE t --", b"\x00", Decimal("1.50"), date(2024, 1, 1),
        datetime(2024, 1, 1, 12), datetime(2024, 1, 1, tzinfo=UTC), UUID(int=1), [1, None], {"a": 1}, float("inf"),
    ],
)  # fmt: skip
def test_a_parameter_comes_back_as_it_went(session: Session, value: Any) -> None:
    assert session.read("SELECT $v AS v", {"v": value}).tuples() == [(value,)]


# -- one statement


@pytest.mark.parametrize("sql", ["SELECT 1; SELECT 2", "SELECT 1; DROP TABLE t", "", "-- nothing", ";"])
def test_a_call_takes_exactly_one_statement(session: Session, sql: str) -> None:
    session.execute("CREATE TABLE t AS SELECT 1 AS a")
    for run in (session.execute, session.fetchall, session.read):
        with pytest.raises(QueryError, match="one statement at a time"):
            run(sql)
    assert session.fetchone("FROM t") == (1,)


def test_reading_what_has_no_rows_says_so(session: Session) -> None:
    with pytest.raises(QueryError, match="no rows to read"):
        session.read("CREATE TABLE t (a INT)")


def test_a_statement_with_rows_that_is_no_select_can_be_read(session: Session) -> None:
    session.execute("CREATE TABLE t (a INT)")
    assert session.read("INSERT INTO t VALUES (1), (2) RETURNING a").tuples() == [(1,), (2,)]
    assert session.read("INSERT INTO t VALUES ($a) RETURNING a", {"a": 3}).tuples() == [(3,)]
    assert session.fetchone("SELECT count(*) FROM t") == (3,)
    assert len(session.read("EXPLAIN SELECT 1")) == 1


def test_reading_with_parameters_leaves_no_view(session: Session) -> None:
    session.read("SELECT $a", {"a": 1})
    assert session.fetchall("SELECT view_name FROM duckdb_views() WHERE NOT internal") == []


def test_fetchone_of_nothing_is_none(session: Session) -> None:
    assert session.fetchone("SELECT 1 WHERE false") is None


# -- transactions


def test_a_transaction_commits_and_an_error_rolls_it_back(session: Session) -> None:
    session.execute("CREATE TABLE t (a INT)")
    with session.transaction():
        session.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(ZeroDivisionError), session.transaction():
        session.execute("INSERT INTO t VALUES (2)")
        raise ZeroDivisionError
    with pytest.raises(QueryError), session.transaction():
        session.execute("INSERT INTO t VALUES (3)")
        session.execute("SELECT nonsense")
    assert session.fetchall("FROM t") == [(1,)]


def test_a_read_only_transaction_refuses_writes_and_still_reads_with_parameters(session: Session) -> None:
    session.execute("CREATE TABLE t AS SELECT 1 AS a")
    with session.transaction(read_only=True):
        assert session.read("SELECT a FROM t WHERE a = $a", {"a": 1}).tuples() == [(1,)]
    with pytest.raises(QueryError), session.transaction(read_only=True):
        session.execute("INSERT INTO t VALUES (2)")
    assert session.fetchall("FROM t") == [(1,)]


def test_a_transaction_inside_a_transaction_is_refused_and_rolls_back(session: Session) -> None:
    session.execute("CREATE TABLE t (a INT)")
    with pytest.raises(QueryError), session.transaction():
        session.execute("INSERT INTO t VALUES (1)")
        with session.transaction():
            pass
    assert session.fetchall("FROM t") == []


def test_a_conflict_at_commit_leaves_a_usable_session(engine: Engine) -> None:
    with engine.cursor() as first, engine.cursor() as second:
        first.execute("CREATE TABLE t (a INT PRIMARY KEY)")
        with pytest.raises((ConflictError, QueryError)), second.transaction():
            second.execute("INSERT INTO t VALUES (1)")
            first.execute("INSERT INTO t VALUES (1)")
        with second.transaction():
            second.execute("INSERT INTO t VALUES (2)")
        assert first.fetchone("SELECT count(*) FROM t") == (2,)


def test_an_interrupted_transaction_is_rolled_back_and_the_session_goes_on(session: Session) -> None:
    session.execute("CREATE TABLE t (a INT)")

    def job() -> None:
        with session.transaction():
            session.execute("INSERT INTO t VALUES (1)")
            session.read(LONG)

    background = Background(job)
    pause = threading.Event()
    while background.error is None:
        session.interrupt()
        pause.wait(0.005)
    background.join()
    assert isinstance(background.error, Interrupted)
    assert session.fetchall("FROM t") == []
    with session.transaction():
        session.execute("INSERT INTO t VALUES (2)")
    assert session.fetchall("FROM t") == [(2,)]


def test_a_lake_transaction_reads_one_snapshot_with_and_without_parameters(lake: Any) -> None:
    session = lake.session
    session.execute("CREATE TABLE t AS SELECT range AS i FROM range(20)")
    with session.transaction():
        before = lake.head()
        assert session.read("SELECT count(*) FROM t WHERE i < $n", {"n": 10}).tuples() == [(10,)]
        assert session.read("SELECT count(*) FROM t").tuples() == [(20,)]
        session.execute("INSERT INTO t VALUES (100)")
        assert session.read("SELECT max(i) FROM t WHERE i > $n", {"n": 0}).tuples() == [(100,)]
    assert lake.head() == before + 1


# -- interrupts


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        (LONG, None),
        (LONG.replace("100000000000", "$n"), {"n": 100_000_000_000}),
        ("SELECT a.i FROM range(10000000000) a(i)", None),
    ],
)
def test_an_interrupt_ends_a_long_read_and_the_session_is_reusable(session: Session, sql: str, params: Any) -> None:
    background = Background(lambda: session.read(sql, params))
    interrupt_once_running(session)
    background.join()
    assert isinstance(background.error, Interrupted)
    assert session.read("SELECT 1 AS a").rows() == [{"a": 1}]


def test_an_interrupt_of_an_idle_session_hits_nothing(session: Session) -> None:
    for _ in range(100):
        session.interrupt()
        assert session.fetchone("SELECT sum(i) FROM range(1000) t(i)") == (499_500,)


def test_an_interrupt_in_a_turn_refuses_the_rest_of_it_and_not_the_next(session: Session) -> None:
    session.begin_turn()
    session.interrupt()
    for _ in range(2):
        with pytest.raises(Interrupted):
            session.fetchone("SELECT 1")
    with pytest.raises(Interrupted), session.transaction():
        raise AssertionError("not reached")
    session.end_turn()
    session.begin_turn()
    assert session.fetchone("SELECT 1") == (1,)
    session.end_turn()


def test_an_interrupt_between_statement_and_commit_rolls_back(session: Session) -> None:
    session.execute("CREATE TABLE t (a INT)")
    session.begin_turn()
    with pytest.raises(Interrupted), session.transaction():
        session.execute("INSERT INTO t VALUES (1)")
        session.interrupt()
    session.end_turn()
    assert session.fetchall("FROM t") == []


# -- ownership and cursors


def test_a_second_thread_on_a_busy_session_is_refused(session: Session) -> None:
    background = Background(lambda: session.read(LONG))
    pause = threading.Event()
    while "running" not in repr(session):
        pause.wait(0.001)
    with pytest.raises(InternalError, match="two threads"):
        session.fetchone("SELECT 1")
    session.interrupt()
    background.join()


def test_renewing_drops_what_was_on_the_cursor_and_keeps_the_data(session: Session) -> None:
    session.execute("CREATE TABLE kept AS SELECT 1 AS a")
    session.execute("CREATE TEMP TABLE gone (a INT)")
    session.execute("SET VARIABLE x = 1")
    session.execute("BEGIN")
    session.execute("INSERT INTO kept VALUES (2)")
    session.renew()
    assert session.fetchone("SELECT getvariable('x'), count(*) FROM kept") == (None, 1)
    with pytest.raises(QueryError):
        session.fetchone("FROM gone")


def test_a_closed_session_raises_and_closes_twice(session: Session) -> None:
    session.close()
    session.close()
    assert "closed" in repr(session)
    for call in (lambda: session.fetchone("SELECT 1"), session.renew, lambda: session.plan("SELECT 1")):
        with pytest.raises(ClosedError):
            call()


# -- plans


def test_a_plan_and_a_tree_are_json(session: Session) -> None:
    assert json.loads(session.plan("SELECT 1"))["plans"]
    assert json.loads(session.parse("SELECT 1"))["statements"]


def test_what_cannot_be_planned_or_parsed_is_told_inside_of_the_json(session: Session) -> None:
    for sql in ("SELECT nonsense", "SELEC 1", "FROM query_table($t)"):
        assert json.loads(session.plan(sql))["error"]
    for sql in ("SELEC 1", "CREATE TABLE t (a INT)"):
        assert json.loads(session.parse(sql))["error"]


def test_a_parameter_without_a_type_does_not_hide_the_plan(session: Session) -> None:
    session.execute("CREATE TABLE t AS SELECT 1 AS a")
    for sql, params in (
        ("FROM t WHERE $a IS NULL OR a = $a", {"A": 1}),
        ("FROM range($n), t", {"n": 3}),
        ("SELECT $x, * FROM t LIMIT $n", {"x": "it's", "n": 1}),
        ("SELECT len(?) + (SELECT count(*) FROM t)", [[1, 2]]),
    ):
        plan = session.plan(sql, params)
        assert not json.loads(plan)["error"]
        assert '"table":"t"' in plan.replace(" ", "")
