from __future__ import annotations

from typing import Any

import pytest

from livelake.engine import Session, gate, makes_temporary
from livelake.errors import QueryError

READS = """
SELECT 1
SELECT 1;
select * from t -- and a comment
/*--- title = "x" ---*/ SELECT a FROM t
FROM t
VALUES (1), (2)
TABLE t
WITH x AS (FROM t) FROM x
(SELECT 1) UNION ALL (SELECT 2)
SELECT '; DROP TABLE t' AS s
SELECT 'ä☃😀' AS "ünï☃"
SELECT $a, $b
SELECT ?, ?
DESCRIBE t
SHOW TABLES
SUMMARIZE t
PRAGMA table_info('t')
PIVOT t ON b IN ('x', 'y') USING sum(a)
UNPIVOT t ON a INTO NAME n VALUE v
FROM query('SELECT 1')
SELECT 'nextval' AS checkpoint
SELECT commit FROM (SELECT 1 AS commit)
"""
WRITES = """
INSERT INTO t VALUES (1, 'x')
WITH x AS (SELECT 1 AS a) INSERT INTO t SELECT a, 'x' FROM x
UPDATE t SET a = 1
DELETE FROM t
MERGE INTO t USING t s ON t.a = s.a WHEN MATCHED THEN DELETE
CREATE TABLE x AS SELECT 1
CREATE OR REPLACE TEMP MACRO f() AS 1
DROP TABLE t
ALTER TABLE t ADD COLUMN c INT
COMMENT ON TABLE t IS 'x'
COPY t TO 'x.csv'
COPY (SELECT 1) TO 'x.csv'
EXPORT DATABASE 'x'
ATTACH ':memory:' AS q
DETACH q
USE q
SET threads = 2
RESET threads
SET VARIABLE x = 1
PRAGMA enable_profiling
CALL pragma_version()
CHECKPOINT
VACUUM
LOAD x
INSTALL x
BEGIN
COMMIT
PREPARE p AS SELECT 1
EXECUTE p
EXPLAIN SELECT 1
EXPLAIN ANALYZE SELECT 1
"""
CHANGING = """
SELECT nextval('s')
SELECT NextVal('s')
SELECT "nextval"('s')
SELECT main.nextval('s')
SELECT (SELECT a + nextval('s') FROM t)
FROM t WHERE a IN (SELECT nextval('s'))
WITH x AS (SELECT setseed(0.5)) FROM x
FROM checkpoint()
FROM force_checkpoint('memory')
FROM enable_logging()
SELECT write_log('x')
FROM ducklake_expire_snapshots('lake')
FROM lake.merge_adjacent_files()
FROM lake.set_option('x', 'y')
FROM ducklake_flush_inlined_data('lake')
FROM ducklake_add_data_files('lake', 't', 'x.parquet')
FROM sqlite_query('db', 'DELETE FROM t RETURNING *')
FROM postgres_execute('db', 'DELETE FROM t')
FROM json_execute_serialized_sql('{}')
"""


def corpus(text: str) -> list[str]:
    return text.strip().splitlines()


@pytest.mark.parametrize("sql", [*corpus(READS), "-- a comment\nSELECT 1", "\n\n  SELECT 1  ;  \n-- end\n"])
def test_a_query_passes(session: Session, sql: str) -> None:
    session.execute("CREATE TABLE t (a INT, b VARCHAR)")
    statement = gate(session, sql, reads_only=True)
    assert (statement.kind, statement.is_read, statement.sql) == ("SELECT", True, sql)


@pytest.mark.parametrize("sql", corpus(WRITES))
def test_a_reader_may_run_nothing_else_and_a_writer_may(session: Session, sql: str) -> None:
    with pytest.raises(QueryError, match="only queries run here"):
        gate(session, sql, reads_only=True)
    statement = gate(session, sql, reads_only=False)
    assert not statement.is_read
    assert statement.kind != "SELECT"


@pytest.mark.parametrize("sql", corpus(CHANGING))
def test_a_select_that_changes_state_is_not_a_read(session: Session, sql: str) -> None:
    with pytest.raises(QueryError, match="this one calls"):
        gate(session, sql, reads_only=True)
    assert not gate(session, sql, reads_only=False).is_read


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT 1; SELECT 2", "holds 2 statements"),
        ("SELECT 1; DROP TABLE t", "holds 2 statements"),
        ("SELECT 1;;SELECT 2;-- end", "holds 2 statements"),
        ("", "holds no statement"),
        (" ; ", "holds no statement"),
        ("-- only a comment", "holds no statement"),
        ("SELEC 1", "syntax error"),
        ("SELECT 'open", "unterminated"),
        ("PIVOT t ON b USING sum(a)", "needs its values named"),
        ("WITH p AS (PIVOT t ON b USING sum(a)) FROM p", "needs its values named"),
        ("SELECT 1; PIVOT t ON b USING sum(a)", "needs its values named"),
    ],
)
def test_what_is_not_one_statement_says_what_it_is(session: Session, sql: str, said: str) -> None:
    for reads_only in (True, False):
        with pytest.raises(QueryError, match=said):
            gate(session, sql, reads_only=reads_only)


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT $limit, $a, $a", {"limit", "a"}),
        ("SELECT ?, ?", {"1", "2"}),
        ("SELECT '$no'", set()),
        ("INSERT INTO t VALUES ($v)", {"v"}),
    ],
)
def test_the_parameters_of_a_statement_are_known(session: Session, sql: str, names: Any) -> None:
    assert gate(session, sql, reads_only=False).parameters == names


def test_gating_runs_nothing(session: Session) -> None:
    session.execute("CREATE SEQUENCE s")
    before = session.fetchone("SELECT nextval('s')")
    gate(session, "SELECT nextval('s')", reads_only=False)
    gate(session, "DROP SEQUENCE s", reads_only=False)
    assert before == (1,)
    assert session.fetchone("SELECT nextval('s')") == (2,)


def test_a_temporary_secret_is_everybody_s() -> None:
    assert not makes_temporary("CREATE TEMPORARY SECRET s (TYPE http)")
    assert makes_temporary("CREATE TEMPORARY TABLE secret (a INT)")
