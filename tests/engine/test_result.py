"""Rows as DuckDB's own client gives them, from bytes that depend on nothing but the answer."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livelake.cache.arguments import exact
from livelake.engine import ArrowData, Caps, Column, Engine, Session
from livelake.engine.arrow import unique
from livelake.errors import QueryError

EXPRESSIONS = """
true | 1::TINYINT | 255::UTINYINT | 1::SMALLINT | 1::USMALLINT | -1::INTEGER | 1::UINTEGER | 1::BIGINT
18446744073709551615::UBIGINT | 170141183460469231731687303715884105727::HUGEINT
(-170141183460469231731687303715884105727)::HUGEINT | 340282366920938463463374607431768211455::UHUGEINT
1.5::FLOAT | 'nan'::DOUBLE | '-inf'::DOUBLE | -1.25::DECIMAL(4,2) | 1.25::DECIMAL(18,2)
-99999999999999999999999999999999999.999::DECIMAL(38,3) | 0::DECIMAL(9,0)
'x' | '' | 'äöü☃😀' | 'ab\\x00'::BLOB | ''::BLOB | '6b1a85a5-bf08-4a02-9681-4c2c0a8fc487'::UUID
DATE '2024-02-29' | DATE '0001-01-01' | 'infinity'::DATE | '-infinity'::DATE
TIME '12:34:56.789' | TIME '24:00:00' | TIMETZ '12:34:56+02' | TIMETZ '24:00:00+00' | '12:34:56.789012345'::TIME_NS
TIMESTAMP '2024-01-01 12:00:00.123456' | TIMESTAMP '1900-01-01 00:00:00.000001' | 'infinity'::TIMESTAMP
'2024-01-01 12:00:00'::TIMESTAMP_S | '2024-01-01 12:00:00.5'::TIMESTAMP_MS
'1969-12-31 23:59:59.123456789'::TIMESTAMP_NS
INTERVAL '1 month 2 days 3 seconds' | INTERVAL '-1 month' | INTERVAL '-1 microsecond'
[1, 2, NULL] | []::INTEGER[] | [[1::HUGEINT], NULL, []] | ['a', NULL, 'ü']
[1, 2]::INTEGER[2] | ['a', NULL]::VARCHAR[2]
{'a': 1, 'b c': 'x'} | {'a': NULL} | {'a': [{'b': 1.5::DECIMAL(4,1)}]} | row(1, 'x')
MAP {'a': 1::HUGEINT, 'b': NULL} | MAP {} | MAP {[1]: 2} | MAP {1: {'x': [1]}}
union_value(k := 1)::UNION(k INTEGER, s VARCHAR) | union_value(s := 'x')::UNION(k INTEGER, s VARCHAR)
'101'::BIT | NULL | '{"a": 1}'::JSON | 'POINT(1 2)'::GEOMETRY
'a'::ENUM('a', 'b') | ['a', NULL]::ENUM('a', 'b')[] | {'e': 'a'::ENUM('a')} | MAP {'x': 'a'::ENUM('a')}
['a', 'b']::ENUM('a', 'b')[2] | union_value(k := 'a'::ENUM('a'))
"""
MATRIX = [expression.strip() for line in EXPRESSIONS.strip().splitlines() for expression in line.split(" | ")]


@pytest.fixture(scope="module")
def shared(shared_engine: Engine) -> Any:
    with shared_engine.cursor() as session:
        yield session


@pytest.mark.parametrize("expression", MATRIX)
def test_a_value_of_every_type_arrives_as_duckdb_s_client_gives_it(shared: Session, expression: str) -> None:
    sql = (
        f"SELECT v FROM (SELECT 0 AS i, {expression} AS v UNION ALL SELECT 1, NULL UNION ALL SELECT 2, {expression}) "
        "ORDER BY i"
    )
    expected = repr(shared.fetchall(sql))
    for data in (shared.read(sql), shared.read(sql + " LIMIT $n", {"n": 9})):
        found = repr(data.tuples()).replace("InfiniteDate", "datetime.date")
        assert found.replace("InfiniteTimestamp", "datetime.datetime") == expected


def test_integers_summed_are_int_and_decimals_are_exact(shared: Session) -> None:
    row = shared.read("SELECT sum(i) AS s, sum(i::DECIMAL(9,2)) AS d FROM range(10) t(i)").rows()[0]
    assert row == {"s": 45, "d": Decimal("45.00")}
    assert type(row["s"]) is int


def test_the_types_that_differ_from_the_client_are_the_ones_the_module_names(shared: Session) -> None:
    assert shared.read("SELECT '12345678901234567890123456789012345678901'::BIGNUM").tuples() == [
        (12345678901234567890123456789012345678901,)
    ]
    assert shared.read("SELECT 1::VARIANT, {'v': 'x'::VARIANT}").tuples() == [("1", {"v": "x"})]


def test_a_moment_is_aware_and_in_utc_whatever_the_time_zone(session: Session) -> None:
    session.execute("SET TimeZone = 'Asia/Kathmandu'")
    data = session.read("SELECT TIMESTAMPTZ '2024-01-01 12:00:00+02' AS t, 'infinity'::TIMESTAMPTZ AS f")
    assert data.tuples() == [(datetime(2024, 1, 1, 10, tzinfo=UTC), datetime.max.replace(tzinfo=UTC))]


@pytest.mark.parametrize("kind", ["DATE", "TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"])
def test_an_infinity_is_not_taken_for_the_last_day_of_the_calendar(shared: Session, kind: str) -> None:
    ends = shared.read(f"SELECT 'infinity'::{kind}, '-infinity'::{kind}").tuples()[0]
    assert list(map(str, ends)) == [f"{end:}" for end in ends] == ["infinity", "-infinity"]
    assert [end.year for end in ends] == [9999, 1]  # and in their order with all others
    (plain,) = shared.read("SELECT DATE '9999-12-31'").tuples()[0]
    assert (type(plain), str(plain)) == (date, "9999-12-31")
    moment = "TIMESTAMP '9999-12-31 23:59:59.999999'"
    (plain,) = shared.read(f"SELECT {moment}").tuples()[0]
    assert (type(plain), str(plain)) == (datetime, "9999-12-31 23:59:59.999999")


def test_infinities_with_a_zone_and_without_are_two_arguments(shared: Session) -> None:
    naive, aware = shared.read("SELECT 'infinity'::TIMESTAMP, 'infinity'::TIMESTAMPTZ").tuples()[0]
    assert exact(naive) != exact(aware)


def test_types_of_python_are_exact(shared: Session) -> None:
    sql = "SELECT DATE '2024-01-15', TIME '01:02:03', uuid(), INTERVAL 1 DAY, 'a'::BLOB, 1.5::DECIMAL(4,1)"
    row = shared.read(sql).tuples()[0]
    assert [type(value) for value in row] == [date, time, UUID, timedelta, bytes, Decimal]


def test_a_date_beyond_python_says_what_to_do(shared: Session) -> None:
    data = shared.read("SELECT DATE '9999-12-31' + INTERVAL 2 DAY AS t, DATE '5000-01-01 (BC)' AS d")
    with pytest.raises(QueryError, match="CAST it to VARCHAR"):
        data.rows()
    assert len(data) == 1


def test_no_rows_still_have_columns(shared: Session) -> None:
    for params in (None, {"n": 0}):
        data = shared.read("SELECT 1 AS a, 'x' AS b" + (" LIMIT $n" if params else " LIMIT 0"), params)
        assert (len(data), data.rows()) == (0, [])
        assert data.columns == (Column("a", "INTEGER"), Column("b", "VARCHAR"))
        assert pa.table(data).num_columns == 2


@pytest.mark.parametrize("select", ['SELECT 1 AS a, 2 AS a, $x AS "A", 4 AS a_1', "SELECT $x, $x", "SELECT 1, 2, $x"])
def test_no_column_is_lost_to_a_repeated_name_with_or_without_parameters(shared: Session, select: str) -> None:
    with_parameters = shared.read(select, {"x": 3})
    names = [column.name for column in with_parameters.columns]
    assert len(with_parameters.rows()[0]) == len(names) == len({name.lower() for name in names})
    without = shared.read(select.replace("$x", "3"))
    if "AS" in select:
        assert [column.name for column in without.columns] == names
    assert without.tuples() == with_parameters.tuples()


@given(names=st.lists(st.sampled_from(["a", "A", "a_1", "A_1", "b", "a_1_1", "a_2"]), min_size=1, max_size=7))
def test_names_are_made_unique_as_duckdb_does(shared_engine: Engine, names: list[str]) -> None:
    with shared_engine.cursor() as session:
        sql = "SELECT " + ", ".join(f'$x AS "{name}"' for name in names)
        assert [column.name for column in session.read(sql, {"x": 1}).columns] == unique(names)


def test_order_survives_casting_a_large_result(shared: Session) -> None:
    data = shared.read(
        "SELECT if(i % 2 = 0, 'a', 'b')::ENUM('a', 'b') AS e, i FROM range(200000) t(i) ORDER BY i DESC"
    )
    assert [i for _, i in data.tuples()] == list(range(199_999, -1, -1))


NULLS = """
SELECT if(i % 3 = 0, NULL, i) AS a, if(i % 5 = 0, NULL, 's' || i) AS b, if(i % 7 = 0, NULL, [i, NULL]) AS c,
    if(i % 2 = 0, NULL, {'x': i, 'y': if(i % 3 = 0, NULL, i::DOUBLE)}) AS d, i % 3 = 0 AS f,
    if(i % 3 = 0, NULL, i::DECIMAL(30, 2)) AS g, if(i % 2 = 0, NULL, i % 5 = 0) AS h,
    if(i % 3 = 0, NULL, INTERVAL 1 DAY * i) AS iv, if(i % 3 = 0, NULL, 'a'::ENUM('a')) AS e,
    MAP {i: if(i % 3 = 0, NULL, i)} AS m, if(i % 4 = 0, NULL, [i, NULL])::INTEGER[2] AS arr,
    if(i % 3 = 0, union_value(k := i)::UNION(k BIGINT, s VARCHAR), 'x'::UNION(k BIGINT, s VARCHAR)) AS u
FROM range(3000) t(i) WHERE i % 11 > 0 ORDER BY i
"""


def test_equal_answers_are_equal_bytes_and_one_etag(shared: Session) -> None:
    expected = shared.fetchall(NULLS)
    seen: set[str] = set()
    for _ in range(25):
        data = shared.read(NULLS)
        seen.add(data.etag)
        # Other values in the memory that DuckDB gives the next result.
        shared.fetchall("SELECT hash(i)::VARCHAR, [i, i], random() FROM range(5000) t(i)")
    assert len(seen) == 1
    assert data.tuples() == expected
    assert pa.table(data).num_rows == len(expected)


def test_etags_differ_where_content_name_or_type_differ(shared: Session) -> None:
    answers = ["1 AS a", "2 AS a", "1 AS b", "1::BIGINT AS a", "'x' AS a", "'x'::ENUM('x') AS a", "NULL::INT AS a"]
    data = [shared.read(f"SELECT {answer}") for answer in answers]
    assert len({one.etag for one in data}) == len(set(data)) == len(answers)
    assert data[0] == shared.read("SELECT $x AS a", {"x": 1})
    assert data[0] != "1"


@settings(max_examples=60)
@given(
    rows=st.lists(
        st.tuples(
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
            st.none() | st.booleans(),
            st.none() | st.lists(st.none() | st.integers(0, 9), max_size=3),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_any_rows_come_back_as_they_were(shared_engine: Engine, rows: list[tuple[Any, ...]]) -> None:
    with shared_engine.cursor() as session:
        row = "(?::BIGINT, ?::VARCHAR, ?::BOOLEAN, ?::INT[])"
        values = ", ".join([row] * len(rows))
        data = session.read(f"FROM (VALUES {values}) t(a, b, c, d)", [cell for row in rows for cell in row])
        assert data.tuples() == rows
        again = session.read(f"FROM (VALUES {values}) t(a, b, c, d)", [cell for row in rows for cell in row])
        assert again.ipc == data.ipc


def test_other_libraries_read_it(shared: Session) -> None:
    data = shared.read("SELECT i, 'r' || i AS s FROM range(3) t(i)")
    assert pa.table(data).to_pylist() == data.rows()
    assert pa.ipc.open_stream(data.ipc).read_all().to_pylist() == data.rows()
    assert (data.num_rows, len(data), data.nbytes) == (3, 3, len(data.ipc))
    assert "3 rows" in repr(data)


def test_it_is_immutable(shared: Session) -> None:
    data = shared.read("SELECT 1 AS a")
    with pytest.raises(AttributeError):
        data.ipc = b""  # type: ignore[misc]
    data.rows()[0]["a"] = 2
    assert data.rows() == [{"a": 1}]
    assert hash(data) == hash(ArrowData(data.ipc, data.num_rows, data.columns))


def test_a_result_over_the_bound_is_refused() -> None:
    with Engine(caps=Caps(max_result_bytes=10_000)) as engine, engine.cursor() as session:
        assert len(session.read("SELECT 1")) == 1
        for params in (None, {"n": 100_000}):
            with pytest.raises(QueryError, match="larger than 10,000 bytes"):
                session.read(f"FROM range({'$n' if params else 100_000})", params)
        assert len(session.read("SELECT 1")) == 1


def test_pyarrow_is_not_needed() -> None:
    code = """
import sys
sys.modules["pyarrow"] = None
from livelake.engine import Engine
with Engine() as engine, engine.cursor() as session:
    print(session.read("SELECT $a AS a, 'x'::ENUM('x') AS e", {"a": 1}).rows())
    print(session.read("FROM range(2)").tuples())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[{'a': 1, 'e': 'x'}]\n[(0,), (1,)]"
