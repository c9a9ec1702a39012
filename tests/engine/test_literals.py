"""A literal is, to DuckDB, the very value that a bound parameter would be."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from livelake.engine import InfiniteDate, InfiniteTimestamp
from livelake.engine.literals import value_literal

VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -(2**63),
    2**100,
    1.5,
    -0.0,
    float("nan"),
    float("inf"),
    Decimal("1.50"),
    Decimal("-0.001"),
    "it's",
    "ünï\n",
    "",
    b"\x00\xff'",
    date(2024, 1, 15),
    datetime(2024, 1, 15, 12, 30, 1, 5),
    datetime(2024, 1, 15, 12, tzinfo=UTC),
    InfiniteDate(9999, 12, 31),
    InfiniteTimestamp(9999, 12, 31, 23, 59, 59, 999_999),
    time(1, 2, 3),
    timedelta(days=-1, microseconds=5),
    UUID(int=7),
    [1, 2],
    [],
    [["a"], ["b"]],
    {"a": 1, "b": "x"},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_literal_is_the_value(session: Any, value: Any) -> None:
    written = value_literal(value)
    assert written is not None
    sql = f"SELECT ({written}) IS NOT DISTINCT FROM $x"
    assert session.fetchone(sql, {"x": value}) == (True,)


@pytest.mark.parametrize("value", [object(), "nul\0", Decimal("NaN"), [object()], {"a": object()}])
def test_what_has_no_literal_says_so(value: Any) -> None:
    assert value_literal(value) is None
