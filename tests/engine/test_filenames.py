"""Where a text names files, and that a text which names none is not looked at for long."""

from __future__ import annotations

from pathlib import Path

import pytest

from livelake.engine import Engine, FileRef, Session, literal, masked


@pytest.mark.parametrize(
    ("sql", "function"),
    [
        ("FROM {}", "file"),
        ('FROM "{bare}"', "file"),
        ("SELECT 'a', 'b' FROM {} WHERE a / 2 > 0.5", "file"),
        ("SELECT 'é' AS \"ü\", * FROM {}", "file"),
        ("-- don't\nFROM {}", "file"),
        ("/* it's */ FROM {} -- 'and'", "file"),
        ("SELECT $$don't$$, * FROM {}", "file"),
        ("SELECT e'\\'', * FROM {}", "file"),
        ("WITH x AS (FROM {}) FROM x", "file"),
        ("FROM read_parquet({})", "read_parquet"),
        ('FROM "read_parquet"({})', "read_parquet"),
        ("FROM Read_Parquet ( [{}] )", "read_parquet"),
    ],
)
def test_a_file_is_found_however_the_text_names_it(
    engine: Engine, session: Session, tmp_path: Path, sql: str, function: str
) -> None:
    file = str(tmp_path / "a.parquet")
    session.execute(f"COPY (SELECT 1 AS a) TO {literal(file)}")
    sql = sql.format(literal(file), bare=file)
    session.execute(sql)  # it is what DuckDB understands
    with session.transaction():
        found = masked(session, sql, None, engine.cursor)
    assert found is not None
    assert found.files == {FileRef(function, file)}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'a', 1.5 / 2 AS \"half\", 'b' FROM t",
        "SELECT t.a * 2, 'x' FROM main.t WHERE t.s = 'don''t' AND t.a > .5",
        "SELECT $$x$$, t.a / 2 FROM t WHERE s LIKE '%special%'",
    ],
)
def test_a_text_without_anything_like_a_name_of_a_file_is_not_parsed_for_it(
    engine: Engine, session: Session, sql: str
) -> None:
    session.execute("CREATE TABLE t AS SELECT 1 AS a, 'x' AS s")
    session.execute(sql)
    before = engine.stats().statements
    assert masked(session, sql, None, engine.cursor) is None
    assert engine.stats().statements == before
