"""Rows cut and written otherwise: the same rows, whatever their types."""

from __future__ import annotations

import io

import pyarrow.parquet as pq
import pytest

from livelake.engine import ArrowData, Engine, parquet, sliced

TYPES = """SELECT i, 'x' || i AS text, [i, 2] AS list, {'a': i, 'b': [i]} AS struct, i % 2 = 0 AS even,
    CASE WHEN i % 3 = 0 THEN NULL ELSE i::INTEGER END AS gaps, 1.50::DECIMAL(9, 2) + i AS price,
    170141183460469231731687303715884105727::HUGEINT AS huge, uuid() AS uuid, DATE '2024-01-01' + i::INTEGER AS day,
    TIMESTAMPTZ '2024-01-01 00:00:00+00' AS moment, TIMESTAMP_NS '2024-01-01' AS nanos, TIME '10:00' AS time,
    INTERVAL 90 MINUTE AS span, '\\xAB'::BLOB AS bytes, '101'::BIT AS bits, 'a'::ENUM('a', 'b') AS enum,
    MAP {'a': i} AS map, [1, 2, 3]::INTEGER[3] AS fixed, 'nan'::DOUBLE AS nan, NULL AS nothing,
    union_value(a := i) AS either, 123456789012345678901234567890::BIGNUM AS bignum FROM range(500) r(i)"""


@pytest.fixture(scope="module")
def data() -> ArrowData:
    with Engine(workers=1) as engine, engine.cursor() as session:
        return session.read(TYPES)


@pytest.mark.parametrize(
    ("offset", "limit"),
    [(0, 1), (7, 20), (499, 1), (490, 50), (500, 5), (10**18, 5), (0, 500), (0, 10**18), (1, 499)],
)
def test_a_slice_is_those_rows_of_every_type(data: ArrowData, offset: int, limit: int) -> None:
    cut = sliced(data, offset, limit)
    assert repr(cut.rows()) == repr(data.rows()[offset : offset + limit])  # NaN equals itself so
    assert cut.columns == data.columns
    assert len(cut) == max(0, min(limit, 500 - offset))


def test_slices_of_equal_rows_are_equal_bytes(data: ArrowData) -> None:
    assert sliced(data, 3, 50).etag == sliced(data, 3, 50).etag != sliced(data, 4, 50).etag


def test_parquet_holds_every_row_and_is_the_same_each_time(data: ArrowData) -> None:
    body = parquet(data)
    assert body == parquet(data)
    table = pq.read_table(io.BytesIO(body))
    assert table.column_names == [column.name for column in data.columns]
    assert table.column("text").to_pylist() == [row["text"] for row in data.rows()]
    assert table.column("gaps").to_pylist() == [row["gaps"] for row in data.rows()]


def test_no_rows_are_written_and_cut_too(data: ArrowData) -> None:
    empty = sliced(data, 500, 1)
    assert pq.read_table(io.BytesIO(parquet(empty))).num_rows == 0
    assert sliced(empty, 5, 5).rows() == []
