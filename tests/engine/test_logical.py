from __future__ import annotations

import pytest

from livelake.engine import Engine
from livelake.engine.logical import LogicalType, parse, portable

INTEGER, VARCHAR = LogicalType("INTEGER"), LogicalType("VARCHAR")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("INTEGER", INTEGER),
        ("DECIMAL(9,2)", LogicalType("DECIMAL", arguments=("9", "2"))),
        ("TIMESTAMP WITH TIME ZONE", LogicalType("TIMESTAMP WITH TIME ZONE")),
        ("INTEGER[]", LogicalType("LIST", (("", INTEGER),))),
        ("INTEGER[2][]", LogicalType("LIST", (("", LogicalType("ARRAY", (("", INTEGER),), ("2",))),))),
        ('STRUCT(a INTEGER, "b ""c" VARCHAR)', LogicalType("STRUCT", (("a", INTEGER), ('b "c', VARCHAR)))),
        ("STRUCT(INTEGER, VARCHAR)", LogicalType("STRUCT", (("", INTEGER), ("", VARCHAR)))),
        ("MAP(VARCHAR, INTEGER)", LogicalType("MAP", (("", VARCHAR), ("", INTEGER)))),
        ("ENUM('a, (', 'it''s')", LogicalType("ENUM", arguments=("'a, ('", "'it''s'"))),
    ],
)
def test_a_type_is_read_from_its_text(text: str, expected: LogicalType) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("INTEGER", None),
        ("STRUCT(a HUGEINT, b DECIMAL(9,2)[])", None),
        ("ENUM('a')", "VARCHAR"),
        ("BIT[2]", "VARCHAR[2]"),
        ("STRUCT(a ENUM('x'), b BIT)", 'STRUCT("a" VARCHAR, "b" VARCHAR)'),
        ("MAP(VARCHAR, TIME WITH TIME ZONE[])", "MAP(VARCHAR, VARCHAR[])"),
        ("UNION(k ENUM('x'), n DECIMAL(4,1))", 'UNION("k" VARCHAR, "n" DECIMAL(4,1))'),
    ],
)  # fmt: skip
def test_what_arrow_ipc_cannot_say_is_cast_to_text(text: str, target: str | None) -> None:
    assert portable(text) == target


def test_every_type_that_duckdb_can_show_is_read(engine: Engine) -> None:
    with engine.cursor() as session:
        columns = session.fetchall("SELECT column_name, column_type FROM (DESCRIBE FROM test_all_types())")
        assert len(columns) > 50
        for _, text in columns:
            assert parse(text).name
