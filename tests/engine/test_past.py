"""A clause at each table and nothing else changed: the text that reads the past."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from livelake.engine import Engine, Session, travelled, untravelled
from livelake.errors import QueryError

ATTACHED = frozenset({"sales", "other", "memory"})


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder: Path = tmp_path_factory.mktemp("past")
    with Engine() as engine, engine.cursor() as cursor:
        engine.load_extension("ducklake")
        cursor.execute(f"ATTACH 'ducklake:{folder}/sales.ducklake' AS sales")
        cursor.execute("USE sales")
        cursor.execute("CREATE TABLE o AS SELECT range AS a FROM range(20)")
        cursor.execute("INSERT INTO o SELECT range FROM range(20, 50)")
        yield cursor


def past(session: Session, sql: str) -> str:
    return travelled(session, sql, {"sales": 1}, ATTACHED, "sales")


@pytest.mark.parametrize(
    ("sql", "becomes"),
    [
        ("FROM o", "FROM o AT (VERSION => 1)"),
        ("SELECT a FROM sales.o x, o", "SELECT a FROM sales.o x AT (VERSION => 1), o AT (VERSION => 1)"),
        (
            'FROM Sales . main/* o */. "o" AS "A b"(c) ;',
            'FROM Sales . main/* o */. "o" AS "A b"(c) AT (VERSION => 1) ;',
        ),
        ("FROM x: o WHERE 'é' = '' -- o", "FROM x: o AT (VERSION => 1) WHERE 'é' = '' -- o"),
        ("/* é */ FROM o TABLESAMPLE 10%", "/* é */ FROM o AT (VERSION => 1) TABLESAMPLE 10%"),
        ("FROM o AT (VERSION => 2), o", "FROM o AT (VERSION => 2), o AT (VERSION => 1)"),
        (
            "FROM other.main.t, memory.t, 'o.parquet', main.o",
            "FROM other.main.t, memory.t, 'o.parquet', main.o AT (VERSION => 1)",
        ),
        ("SELECT 1", "SELECT 1"),
        (
            "FROM o asof JOIN o AS b USING (a)",
            "FROM o AT (VERSION => 1) asof JOIN o AS b AT (VERSION => 1) USING (a)",
        ),
        ("PIVOT o ON a IN (1, 2) USING sum(a)", "PIVOT o AT (VERSION => 1) ON a IN (1, 2) USING sum(a)"),
        ("WITH c AS (FROM o) FROM c", "WITH c AS (FROM o AT (VERSION => 1)) FROM c AT (VERSION => 1)"),
    ],
)
def test_the_clause_stands_behind_name_alias_and_columns(session: Session, sql: str, becomes: str) -> None:
    assert past(session, sql) == becomes


@pytest.mark.parametrize("sql", ["DESCRIBE o", "TABLE o", "SUMMARIZE o"])
def test_what_has_no_place_for_it_is_refused(session: Session, sql: str) -> None:
    with pytest.raises(QueryError, match="cannot be read as of a past snapshot"):
        past(session, sql)


@pytest.mark.parametrize(
    ("sql", "first"),
    [
        ("SELECT count(*) FROM o", 20),
        ("SELECT count(*) FROM o AS x(b) WHERE b IN (SELECT a FROM o)", 20),
        ("WITH c AS MATERIALIZED (FROM o), d AS (FROM c) SELECT count(*) FROM c JOIN d USING (a)", 20),
        ("SELECT max(a) FROM (FROM o UNION ALL FROM o AT (VERSION => 2))", 49),
        ("SELECT count(*) FROM o x LEFT JOIN LATERAL (SELECT y.a FROM o y WHERE y.a = x.a) ON true", 20),
    ],
)
def test_it_reads_what_was_there(session: Session, sql: str, first: int) -> None:
    assert session.fetchall(past(session, sql))[0][0] == first
    assert session.fetchall(sql)[0][0] == (49 if first == 49 else 50)


def test_columns_keep_the_names_that_they_had(session: Session) -> None:
    sql = "SELECT (SELECT max(a) FROM o), count(*), a + 1, [x + 1 FOR x IN [a]] FROM o GROUP BY ALL"
    before = session.read(sql).columns
    after = session.read(past(session, sql), rename=lambda name: untravelled(name, {"sales": 1})).columns
    assert after == before
