"""SQL of strangers: what it may be, decided before anything is bound. The attacks themselves are in tests/lake."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livelake.engine import Engine, Realm, Session, TableRef, guard, reads, refuse
from livelake.engine.untrusted import ALLOWED, DENIED, MOST_CHARACTERS
from livelake.errors import QueryError, RefusedError

MAY = """
SELECT 1
FROM orders
SELECT region, sum(amount) FROM orders WHERE amount > 3 GROUP BY ALL HAVING count(*) > 1 ORDER BY 2 LIMIT 5
SELECT * FROM memory.main.orders
SELECT * FROM memory.orders
SELECT * FROM main.orders
SELECT * FROM mart.people
WITH x AS (FROM orders) SELECT * FROM x JOIN mart.people ON true
WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) FROM n
SELECT * FROM range(5), unnest([1, 2]), generate_series(1, 3)
SELECT * FROM json_each('{"a": 1}')
PIVOT orders ON region IN ('north', 'south') USING sum(amount)
UNPIVOT orders ON amount INTO NAME n VALUE v
SELECT list_transform([1, 2], lambda x: x + 1), rank() OVER (ORDER BY amount) FROM orders
SELECT upper(region) || '; DROP TABLE orders', random(), uuid(), now(), date_trunc('day', now()) FROM orders
SELECT $region, amount FROM orders WHERE region = $region
FROM query('SELECT * FROM orders')
FROM query_table('orders')
FROM query_table(['orders', 'main.orders'])
FROM query_table('memory.main.orders')
SELECT (SELECT max(amount) FROM orders), EXISTS (FROM orders)
(SELECT 1) UNION ALL (SELECT 2) INTERSECT (SELECT 3)
SELECT 'ä☃😀' AS "ünï☃"
SELECT regexp_extract(region, '/etc/(.*)') FROM orders
"""
MAY_NOT = """
FROM read_csv('/etc/passwd')
FROM read_text('/proc/self/environ')
FROM read_blob('/dev/zero')
FROM read_json('x.json')
FROM read_parquet(['a.parquet', 'b.parquet'])
FROM parquet_metadata('x.parquet')
FROM glob('/etc/*')
FROM sniff_csv('/etc/passwd')
FROM 'x.csv'
FROM "/etc/passwd"
FROM '../x.parquet'
FROM '\\\\host\\share\\x.csv'
FROM 's3://bucket/x.parquet'
FROM 'http://169.254.169.254/latest/meta-data'
FROM 'https://example.org/x.csv?v=1'
FROM data.csv
FROM main."x.csv"
FROM memory.main."x.json.gz"
FROM '*.parquet'
FROM 'x.duckdb'
FROM sqlite_scan('/any/file', 't')
FROM postgres_scan('host=127.0.0.1', 'public', 't')
FROM sqlite_query('db', 'SELECT 1')
FROM ducklake_snapshots('memory')
FROM memory.snapshots()
FROM memory.table_changes('orders', 1, 2)
FROM ducklake_scan('x')
FROM duckdb_settings()
FROM duckdb_databases
FROM duckdb_secrets()
FROM duckdb_databases()
FROM duckdb_logs()
FROM duckdb_variables()
FROM duckdb_tables()
FROM information_schema.tables
FROM memory.information_schema.tables
FROM pg_catalog.pg_class
FROM pg_class
FROM sqlite_master
FROM system.main.duckdb_views
FROM temp.main.x
FROM __ducklake_metadata_sales.ducklake_snapshot
FROM nosuch.main.orders
SHOW TABLES
SHOW ALL TABLES
SHOW DATABASES
DESCRIBE orders
SUMMARIZE orders
FROM (DESCRIBE SELECT 1)
PRAGMA table_info('orders')
PRAGMA database_list
SELECT getenv('HOME')
SELECT current_setting('temp_directory')
SELECT getvariable('secret')
SELECT current_database(), current_schemas(true)
SELECT version()
SELECT nextval('s')
SELECT write_log('x')
SELECT sleep_ms(100000)
SELECT setseed(0.5)
SELECT json_serialize_plan('FROM read_csv(''/etc/passwd'')')
SELECT nosuch_macro(1)
FROM query('FROM read_text(''/etc/passwd'')')
FROM query('SELECT 1; DROP TABLE orders')
FROM query('FROM query(''FROM duckdb_settings()'')')
FROM query($q)
FROM query('SELECT ' || '1')
FROM query_table($t)
FROM query_table('x.csv')
FROM query_table('duckdb_databases')
FROM query_table('orders; DROP TABLE orders')
FROM query_table(['orders', $t])
FROM which_secret('s3://x', 's3')
FROM pragma_version()
FROM test_all_types()
SELECT (SELECT content FROM read_text('/etc/passwd'))
WITH x AS (FROM read_text('/etc/passwd')) SELECT 1
SELECT 1 WHERE EXISTS (FROM duckdb_secrets())
SELECT * FROM orders ORDER BY (SELECT content FROM read_text('/etc/passwd'))
SELECT * FROM orders LIMIT (SELECT count(*) FROM duckdb_settings())
SELECT list_transform([1], lambda x: (SELECT count(*) FROM glob('/*')))
"""
NO_SELECT = """
SELECT 1; SELECT 2
BEGIN
SET VARIABLE x = 1
CREATE TEMP TABLE x AS SELECT 1
CREATE MACRO f() AS 1
CREATE SECRET s (TYPE s3)
USE memory
PREPARE p AS SELECT 1
ATTACH ':memory:' AS q
INSTALL x
LOAD 'x'
COPY orders TO 'x.csv'
COPY orders FROM 'x.csv'
EXPORT DATABASE 'x'
CHECKPOINT
EXPLAIN ANALYZE SELECT 1
CALL duckdb_settings()
INSERT INTO orders VALUES ('x', 1)
DROP TABLE orders
PIVOT orders ON region USING sum(amount)
"""


def corpus(text: str) -> list[str]:
    return text.strip().splitlines()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(workers=1) as engine:
        for extension in ("ducklake", "sqlite", "postgres"):
            engine.load_extension(extension)  # whose table functions open files and connections
        with engine.cursor() as session:
            session.execute("CREATE TABLE orders (region VARCHAR, amount INTEGER)")
            session.execute("CREATE SCHEMA mart")
            session.execute("CREATE TABLE mart.people (name VARCHAR)")
        yield engine


@pytest.fixture(scope="module")
def session(engine: Engine) -> Iterator[Session]:
    with engine.cursor() as session:
        yield session


@pytest.fixture(scope="module")
def realm(engine: Engine) -> Realm:
    return Realm(frozenset({"memory"}), engine.builtins, engine.internal_views)


@pytest.mark.parametrize("sql", corpus(MAY))
def test_a_stranger_may_ask(session: Session, realm: Realm, sql: str) -> None:
    guard(session, sql, realm)
    values = {"region": "north"} if "$region" in sql else None
    refuse(reads(session.plan(sql, values), session.parse(sql)), realm)


@pytest.mark.parametrize("sql", corpus(MAY_NOT))
def test_a_stranger_may_not_ask(session: Session, realm: Realm, sql: str) -> None:
    with pytest.raises(QueryError):
        guard(session, sql, realm)


@pytest.mark.parametrize("sql", corpus(NO_SELECT))
def test_a_stranger_may_run_nothing_but_one_select(session: Session, realm: Realm, sql: str) -> None:
    with pytest.raises(QueryError):
        guard(session, sql, realm)


def test_the_corpus_of_refusals_is_not_refused_for_being_no_sql(session: Session) -> None:
    """A negative control: each of them is one SELECT to DuckDB's parser, so another rule must have caught it."""
    for sql in corpus(MAY_NOT):
        found = session.statements(sql)
        assert [statement.type.name for statement in found] == ["SELECT"], sql


def test_guarding_opens_no_file(session: Session, realm: Realm, tmp_path: Path) -> None:
    """Binding would: a FIFO that nobody writes stops whoever opens it for ever."""
    fifo = tmp_path / "x.csv"
    os.mkfifo(fifo)
    for sql in (f"FROM '{fifo}'", f"FROM read_csv('{fifo}')", f"FROM query('FROM read_text(''{fifo}'')')"):
        with pytest.raises(RefusedError):
            guard(session, sql, realm)


def test_what_views_and_macros_hide_is_refused_by_the_plan(session: Session, realm: Realm, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    hidden = {
        "CREATE OR REPLACE VIEW files AS FROM read_csv('{}/x.csv')": "FROM files",
        "CREATE OR REPLACE VIEW server AS FROM duckdb_settings()": "FROM server",
        "CREATE OR REPLACE VIEW me AS SELECT current_setting('threads') AS t": "FROM me",
        "CREATE OR REPLACE MACRO lower(x) AS (SELECT content FROM read_text('{}/x.csv'))": "SELECT lower('X')",
        "CREATE OR REPLACE TABLE elsewhere.main.t AS SELECT 1 AS a": None,
        "CREATE OR REPLACE VIEW far AS FROM elsewhere.main.t": "FROM far",
    }
    session.execute("ATTACH ':memory:' AS elsewhere")
    for definition, sql in hidden.items():
        session.execute(definition.format(tmp_path))
        if sql is None:
            continue
        guard(session, sql, realm)  # as it is written there is nothing in it
        with pytest.raises(RefusedError, match="may not be asked here"):
            refuse(reads(session.plan(sql), session.parse(sql)), realm)
    session.execute("DROP MACRO lower")
    session.execute("DETACH elsewhere")


def test_what_cannot_be_planned_is_refused(realm: Realm) -> None:
    found = reads('{"error": true, "error_message": "no"}', '{"error": false, "statements": []}')
    with pytest.raises(RefusedError, match="cannot be planned"):
        refuse(found, realm)
    with pytest.raises(RefusedError, match="it reads the catalog other"):
        plan = {"type": "LOGICAL_GET", "name": "seq_scan", "function_data": {"catalog": "other", "schema": "main"}}
        plan["function_data"]["table"] = "t"  # type: ignore[index]
        refuse(reads(json.dumps({"plans": [plan]}), "{}"), realm)
    assert TableRef("other", "main", "t").catalog not in realm.catalogs


def test_a_text_without_an_end_is_refused_before_it_is_parsed(session: Session, realm: Realm) -> None:
    with pytest.raises(RefusedError, match="characters"):
        guard(session, "SELECT " + "1+" * MOST_CHARACTERS + "1", realm)
    with pytest.raises(QueryError):
        guard(session, "SELECT " + "(" * 40_000 + "1" + ")" * 40_000, realm)


def test_the_lists_do_not_contradict_each_other(session: Session) -> None:
    assert not ALLOWED & DENIED
    known = {name for (name,) in session.fetchall("SELECT DISTINCT lower(function_name) FROM duckdb_functions()")}
    assert known >= ALLOWED


def test_every_function_of_a_telling_name_is_refused(session: Session, realm: Realm) -> None:
    rows = session.fetchall(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type IN ('table', 'table_macro')"
    )
    for name in sorted({str(name) for (name,) in rows} - ALLOWED - {"query", "query_table"}):
        with pytest.raises(QueryError, match=r"table function|only queries run here"):
            guard(session, f"FROM {name}('x')", realm)


@settings(max_examples=200, deadline=None)
@given(name=st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_no_name_of_a_table_opens_a_file(session: Session, realm: Realm, name: str) -> None:
    """Whatever stands in quotes: refused, or DuckDB itself says that there is no such table."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    sql = 'FROM "' + name.replace('"', '""') + '"'
    try:
        guard(session, sql, realm)
    except QueryError:
        return
    with pytest.raises(QueryError, match="Table with name"):
        session.read(sql)
