"""What SQL reads, on a SQLite and on a DuckDB-file catalog."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from livelake.engine import FileRef, Reads, Session, TableRef, literal, reads

SETUP = """
CREATE TABLE t AS SELECT i::INT AS id, DATE '2024-01-01' + i::INT AS day, 'x' AS s FROM range(100) r(i)
CREATE SCHEMA mart
CREATE TABLE mart.t (id INT, "user" VARCHAR)
INSERT INTO mart.t VALUES (1, 'a')
CREATE TABLE u (k INT)
CREATE VIEW v AS SELECT * FROM t WHERE id > 5
CREATE VIEW vv AS SELECT v.id FROM v JOIN mart.t USING (id)
CREATE VIEW today_view AS SELECT * FROM t WHERE day <= current_date
CREATE VIEW since_view AS SELECT * FROM t WHERE day <= now() - INTERVAL 1 HOUR
CREATE VIEW calendar AS FROM generate_series(current_date - 7, current_date, INTERVAL 1 DAY)
CREATE VIEW draw AS SELECT random() AS r
CREATE VIEW sampled AS FROM t USING SAMPLE 3 ROWS
CREATE VIEW past AS FROM t AT (VERSION => 2)
CREATE VIEW spine AS FROM range(epoch(now())::BIGINT)
CREATE MACRO top(x) AS (SELECT max(id) + x FROM t)
CREATE MACRO above(x) AS TABLE SELECT * FROM t WHERE id > x
"""

# Query | tables that it reads, as schema.table
TABLES = """
FROM t | main.t
SELECT * FROM main.t | main.t
FROM mart.t | mart.t
FROM T | main.t
FROM "t" | main.t
SELECT "current_user".id FROM t AS "current_user" | main.t
FROM v | main.t
FROM vv | main.t mart.t
SELECT top(1) | main.t
FROM above(3) | main.t
SELECT top(1), * FROM mart.t | main.t mart.t
WITH t AS (SELECT 1 AS id) FROM t |
WITH t AS (FROM mart.t) FROM t | mart.t
WITH x AS (FROM t) FROM x JOIN mart.t USING (id) | main.t mart.t
WITH x AS MATERIALIZED (FROM t) FROM x a, x b | main.t
WITH x AS (FROM t) SELECT 1 |
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < (SELECT max(id) FROM t)) FROM r | main.t
SELECT id FROM t UNION ALL SELECT id FROM mart.t | main.t mart.t
SELECT id FROM t EXCEPT SELECT id FROM mart.t | main.t mart.t
SELECT id FROM t INTERSECT SELECT id FROM mart.t | main.t mart.t
FROM t JOIN mart.t USING (id) | main.t mart.t
FROM t NATURAL JOIN mart.t | main.t mart.t
FROM t SEMI JOIN mart.t USING (id) | main.t mart.t
FROM t ANTI JOIN mart.t USING (id) | main.t mart.t
FROM t ASOF JOIN mart.t m ON t.id >= m.id | main.t mart.t
FROM t POSITIONAL JOIN mart.t | main.t mart.t
FROM t LEFT JOIN mart.t m ON t.id = m.id AND m.id > 3 | main.t mart.t
FROM t, LATERAL (SELECT id + 1) | main.t
FROM t, unnest([id]) | main.t
FROM t, generate_series(1, id) | main.t
FROM t WHERE id IN (SELECT id FROM mart.t) AND EXISTS (FROM u) | main.t mart.t main.u
FROM t WHERE id > ANY (SELECT id FROM mart.t) | main.t mart.t
FROM t WHERE EXISTS (FROM mart.t m WHERE m.id = t.id) | main.t mart.t
SELECT (SELECT max(id) FROM mart.t) | mart.t
FROM t LIMIT (SELECT count(*) FROM mart.t) | main.t mart.t
SELECT count(*) FROM t | main.t
SELECT max(id) FROM t | main.t
SELECT count(*) FROM u | main.u
FROM u | main.u
SELECT count(*) FROM t WHERE day = '2030-01-01' | main.t
SELECT 1 FROM t WHERE false | main.t
FROM t WHERE 1 = 0 | main.t
SELECT id, row_number() OVER (ORDER BY id), sum(id) OVER () FROM t QUALIFY id > 3 | main.t
SELECT s, count(*) FILTER (WHERE id > 1), list(id ORDER BY id) FROM t GROUP BY ALL HAVING count(*) > 1 | main.t
SELECT DISTINCT ON (s) * FROM t ORDER BY id | main.t
SELECT * EXCLUDE (id) FROM t | main.t
SELECT list_transform([1, 2], lambda x: x + id) FROM t | main.t
PIVOT t ON s IN ('x', 'y') USING sum(id) | main.t
UNPIVOT t ON id INTO NAME n VALUE x | main.t
SUMMARIZE t | main.t
FROM query('SELECT * FROM t') | main.t
FROM query_table('t') | main.t
FROM histogram('t', 'id') | main.t
FROM t WHERE id = $a | main.t
FROM t WHERE id = ? AND s = ? | main.t
FROM t WHERE $a IS NULL OR s = $a | main.t
FROM t WHERE id IN (SELECT unnest($ids)) LIMIT $n | main.t
SELECT $a, top($b) | main.t
FROM range(3) |
FROM range($n) |
VALUES (1), (2) |
FROM (VALUES (1)) x(a) |
SELECT unnest([1, 2]) |
SELECT "user" FROM mart.t | mart.t
SELECT user FROM mart.t | mart.t
SELECT nullif(id, 1), error('x') FROM t WHERE false | main.t
SELECT date_trunc('day', day), age(day, DATE '2024-01-01') FROM t | main.t
SELECT strftime(day, '%Y'), day + INTERVAL 1 DAY FROM t | main.t
"""


def prepare(lake: Any) -> None:
    for statement in SETUP.strip().splitlines():
        lake.session.execute(statement)


def test_the_tables_of_every_query_are_found_with_their_snapshot_and_nothing_else(lake: Any) -> None:
    prepare(lake)
    head = lake.head()
    for line in TABLES.strip().splitlines():
        sql, _, names = line.rpartition("|")
        found = lake.reads(sql)
        expected = {TableRef(lake.name, *name.split("."), head) for name in names.split()}
        assert replace(found, given=frozenset()) == Reads(tables=frozenset(expected)), sql
        assert found.cacheable
        assert found.why_not is None


# Query | kind of obstacle | what it names
OBSTACLES = """
SELECT random() | volatile | random
SELECT uuid(), id FROM t | volatile | uuid
SELECT list_transform([1, 2], lambda x: x + random()) | volatile | random
FROM draw | volatile | random
FROM t USING SAMPLE 10 | volatile | SAMPLE
FROM t TABLESAMPLE 10% | volatile | SAMPLE
FROM (FROM t USING SAMPLE 3 ROWS) | volatile | SAMPLE
FROM sampled | volatile | SAMPLE
SELECT current_query() | volatile | current_query
SELECT txid_current() | volatile | txid_current
SELECT stats(id) FROM t LIMIT 1 | volatile | stats
SELECT now() | time | now
SELECT current_timestamp | time | current_timestamp
SELECT localtimestamp | time | localtimestamp
SELECT localtime | time | localtime
SELECT current_time | time | current_time
SELECT age(day) FROM t | time | age
SELECT strftime(now(), '%Y') | time | now
SELECT ago(INTERVAL 1 DAY) | time | ago
FROM since_view | time | now
FROM t AT (TIMESTAMP => now()) | time | now
FROM t AT (TIMESTAMP => current_timestamp) | time | current_timestamp
SELECT getvariable('x') | session | getvariable
SELECT current_setting('TimeZone') | session | current_setting
SELECT current_user | session | current_user
SELECT current_schema() | session | current_schema
SELECT current_database(), id FROM t | session | current_database
SELECT version() | session | version
SELECT nextval('plain_sequence') | changes | nextval
SELECT setseed(0.5) | changes | setseed
FROM checkpoint() | changes | checkpoint
FROM ducklake_expire_snapshots('LAKE', versions => [1]) | changes | ducklake_expire_snapshots
FROM ducklake_merge_adjacent_files('LAKE') | changes | ducklake_merge_adjacent_files
DESCRIBE t | unknown | CHUNK_GET
FROM (DESCRIBE t) | unknown | CHUNK_GET
SHOW TABLES | unknown | duckdb_tables
FROM duckdb_tables() | unknown | duckdb_tables
FROM information_schema.tables | unknown | duckdb_views
FROM sqlite_master | unknown | duckdb_indexes
FROM duckdb_settings() | unknown | duckdb_settings
FROM LAKE.snapshots() | unknown | ducklake_snapshots
FROM LAKE.options() | unknown | ducklake_options
FROM pg_timezone_names() | unknown | pg_timezone_names
FROM past | unknown | a past state of LAKE.main.t inside a view or macro
FROM spine | unknown | range inside a view or macro
FROM repeat(now(), 2) | time | now
SELECT unnest([now()]) | time | now
FROM t LIMIT (epoch(now())::INT) | time | now
FROM nosuch | planned | Table with name nosuch does not exist
SELEC 1 | planned | syntax error
FROM query_table($t) | planned | write their values into the SQL
"""


def test_whatever_stands_against_keeping_an_answer_is_named(lake: Any) -> None:
    prepare(lake)
    lake.session.execute("CREATE SEQUENCE IF NOT EXISTS memory.plain_sequence")
    for line in OBSTACLES.strip().splitlines():
        sql, kind, names = line.replace("LAKE", lake.name).rsplit(" | ", 2)
        sql = sql.replace("plain_sequence", "memory.plain_sequence")
        found = lake.reads(sql)
        assert kind in found.obstacles, (sql, found)
        assert names in found.obstacles[kind], (sql, found)
        assert not found.cacheable
        assert names in (found.why_not or "")


def test_time_alone_is_an_obstacle_that_a_caller_may_accept(lake: Any) -> None:
    prepare(lake)
    assert lake.reads("FROM since_view").obstacles.keys() == {"time"}
    assert lake.reads("SELECT now(), random()").obstacles.keys() == {"time", "volatile"}


def test_a_query_of_the_lake_s_own_state_depends_on_the_whole_catalog(lake: Any) -> None:
    prepare(lake)
    for sql in (
        f"FROM {lake.name}.current_snapshot()",
        f"FROM ducklake_current_snapshot('{lake.name}')",
        f"FROM ducklake_table_info('{lake.name}')",
    ):
        found = lake.reads(sql)
        assert found == Reads(catalogs=frozenset({lake.name}))
        assert found.cacheable


def test_a_pinned_scan_is_told_from_one_of_the_present(lake: Any) -> None:
    prepare(lake)
    head, name = lake.head(), lake.name

    def scans(sql: str) -> set[tuple[int | None, bool]]:
        found = lake.reads(sql)
        assert found.cacheable, found
        assert {(ref.catalog, ref.schema, ref.table) for ref in found.tables} == {(name, "main", "t")}
        return {(ref.snapshot, ref.pinned) for ref in found.tables}

    assert scans("FROM t AT (VERSION => 2)") == {(2, True)}
    assert scans("FROM t AT (TIMESTAMP => '2100-01-01'::TIMESTAMP)") == {(head, False)}
    assert scans("SELECT id FROM (FROM t AT (VERSION => 2)) JOIN t b USING (id)") == {(2, True), (head, False)}
    # Asked for by number at what happens to be the present: the plan cannot tell it from one of the present.
    assert scans(f"FROM t AT (VERSION => {head})") == {(head, False)}
    assert scans(f"FROM t AT (VERSION => {head}) JOIN t b USING (id)") == {(head, False)}
    assert scans(f"FROM t AT (VERSION => {head}) JOIN v USING (id)") == {(head, False)}
    assert scans(f"WITH x AS (FROM t AT (VERSION => {head})) FROM v") == {(head, False)}
    assert scans(f"WITH x AS (FROM t AT (VERSION => {head})) SELECT top(1)") == {(head, False)}
    both = lake.reads(f"SELECT id FROM (FROM mart.t AT (VERSION => {head})) JOIN main.t USING (id)")
    assert {(ref.schema, ref.pinned) for ref in both.tables} == {("main", False), ("mart", False)}
    assert scans(f"FROM {name}.table_changes('t', 1, 2)") == {(2, True)}
    assert scans(f"FROM ducklake_table_insertions('{name}', 'main', 't', 1, 2)") == {(2, True)}


def test_without_heads_no_plain_scan_is_pinned(lake: Any) -> None:
    prepare(lake)
    sql = "FROM t AT (VERSION => 2)"
    found = reads(lake.session.plan(sql), lake.session.parse(sql))
    assert found.tables == {TableRef(lake.name, "main", "t", 2, pinned=False)}


def test_several_catalogs_and_a_plain_table_are_told_apart(lake: Any, tmp_path: Path) -> None:
    prepare(lake)
    session = lake.session
    session.execute(f"ATTACH {literal(str(tmp_path / 'plain.db'))} AS plain")
    try:
        session.execute("CREATE TABLE plain.p (a INT)")
        found = lake.reads("SELECT count(*) FROM t, plain.p")
        assert found.tables == {
            TableRef(lake.name, "main", "t", lake.head()),
            TableRef("plain", "main", "p", None),
        }
        assert found.cacheable
    finally:
        session.execute("DETACH plain")


def test_two_lakes_in_one_query_have_their_own_heads(shared_engine: Any, tmp_path: Path) -> None:
    with shared_engine.cursor() as session:
        for name, prefix in (("one", "ducklake:sqlite:"), ("two", "ducklake:")):
            folder = tmp_path / name
            folder.mkdir()
            session.execute(
                f"ATTACH {literal(prefix + str(folder / 'meta'))} AS {name} (DATA_PATH {literal(str(folder) + '/')})"
            )
            session.execute(f"CREATE TABLE {name}.t AS SELECT 1 AS a")
        session.execute("INSERT INTO two.t VALUES (2)")
        sql = "SELECT * FROM one.t JOIN two.t USING (a)"
        found = reads(session.plan(sql), session.parse(sql), heads={"one": 1, "two": 2})
        assert found.tables == {TableRef("one", "main", "t", 1), TableRef("two", "main", "t", 2)}
        session.execute("DETACH one")
        session.execute("DETACH two")


def test_a_table_of_a_foreign_database_is_unknown_and_not_nothing(lake: Any, tmp_path: Path) -> None:
    session = lake.session
    session.execute(f"ATTACH {literal(str(tmp_path / 'other.sqlite'))} AS other (TYPE sqlite)")
    try:
        session.execute("CREATE TABLE other.t (a INT)")
        assert lake.reads("FROM other.t").unknown == {"sqlite_scan"}
        assert lake.reads(f"FROM sqlite_scan({literal(str(tmp_path / 'other.sqlite'))}, 't')").unknown
    finally:
        session.execute("DETACH other")


def test_a_temporary_table_belongs_to_the_session(session: Session) -> None:
    session.execute("CREATE TEMP TABLE t (a INT)")
    found = reads(session.plan("FROM t"), session.parse("FROM t"))
    assert found.tables == frozenset()
    assert found.obstacles == {"session": "it depends on the connection: temporary table t"}


def test_files_are_named_as_written(session: Session, tmp_path: Path) -> None:
    parquet, csv, pattern = (str(tmp_path / name) for name in ("a.parquet", "a.csv", "*.parquet"))
    session.execute(f"COPY (SELECT 1 AS a) TO {literal(parquet)}")
    session.execute(f"COPY (SELECT 1 AS a) TO {literal(csv)}")

    def files(sql: str) -> tuple[set[FileRef], Reads]:
        found = reads(session.plan(sql), session.parse(sql))
        assert not found.cacheable
        return set(found.files), found

    assert files(f"FROM read_parquet({literal(pattern)})")[0] == {FileRef("read_parquet", pattern)}
    assert files(f"FROM read_parquet([{literal(parquet)}, {literal(pattern)}])")[0] == {
        FileRef("read_parquet", parquet),
        FileRef("read_parquet", pattern),
    }
    assert files(f"FROM {literal(parquet)}")[0] == {FileRef("file", parquet)}
    found, whole = files(f"FROM {literal(parquet)} JOIN range(3) r(a) USING (a)")
    assert found == {FileRef("file", parquet)}
    assert whole.obstacles.keys() == {"files"}
    # DuckDB cannot serialise the plan of its CSV and JSON readers.
    found, whole = files(f"FROM read_csv({literal(csv)}, header => true)")
    assert found == {FileRef("read_csv", csv)}
    assert not whole.planned
    assert files(f"FROM glob({literal(pattern)})")[0] == {FileRef("glob", pattern)}


def test_a_file_inside_a_view_is_unknown_because_its_pattern_is_hidden(session: Session, tmp_path: Path) -> None:
    parquet = str(tmp_path / "a.parquet")
    session.execute(f"COPY (SELECT 1 AS a) TO {literal(parquet)}")
    session.execute(f"CREATE VIEW v AS FROM read_parquet({literal(str(tmp_path / '*.parquet'))})")
    found = reads(session.plan("FROM v"), session.parse("FROM v"))
    assert found.files == {FileRef("read_parquet", parquet)}
    assert found.unknown == {"read_parquet inside a view or macro"}


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("INSERT INTO t SELECT * FROM u", "INSERT"),
        ("UPDATE t SET a = 1", "UPDATE"),
        ("DELETE FROM t WHERE a = $a", "DELETE"),
        ("MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE", "MERGE_INTO"),
        ("CREATE TABLE t2 AS FROM u", "CREATE_TABLE"),
    ],
)
def test_the_target_of_a_write_is_known(session: Session, sql: str, kind: str) -> None:
    session.execute("CREATE TABLE t (a INT)")
    session.execute("CREATE TABLE u (a INT)")
    found = reads(session.plan(sql), session.parse(sql))
    target = "t2" if kind == "CREATE_TABLE" else "t"
    assert found.targets == {TableRef("memory", "main", target)}
    assert found.changes == {kind}
    assert not found.cacheable


def test_deciding_what_is_read_runs_nothing(session: Session) -> None:
    session.execute("CREATE SEQUENCE s")
    session.plan("SELECT nextval('s')")
    assert session.fetchone("SELECT nextval('s')") == (1,)


def test_the_functions_that_parameters_go_into_are_named(session: Any) -> None:
    session.execute("CREATE TABLE t AS SELECT 1 AS a")
    for sql, given in (
        ("FROM t WHERE a = $x", set()),
        ("FROM query_table($x)", {"query_table"}),
        ("SELECT abs(a + $x) FROM t", {"abs", "+"}),
        ("FROM t AT (VERSION => $x)", {"AT"}),
    ):
        assert reads(session.plan(sql), session.parse(sql)).given >= given, sql


@pytest.mark.parametrize("column", ["filename", "file_row_number", "rowid", "snapshot_id"])
def test_what_shows_how_rows_are_stored_is_not_kept(lake: Any, column: str) -> None:
    prepare(lake)
    assert "stored" in str(lake.reads(f"SELECT {column} FROM t").why_not)
    assert lake.reads("SELECT count(*) FROM t").cacheable
