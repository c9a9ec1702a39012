"""Bulk inserts: issue 5, point 9. Rows, Arrow and data frames; one commit or nothing; any value comes back."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import itertools
import json
import math
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import nanoarrow as na
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import livelake
from livelake.engine import Session
from livelake.errors import ConflictError, QueryError, UsageError
from livelake.lake.insert import BATCH_ROWS
from livelake.lake.targets import Work
from livelake.lake.transaction import Transaction
from livelake.live import LiveLake
from livelake.token import Token

COUNT = "SELECT count(*) AS n, sum(amount) AS total FROM orders"


async def counted(lake: LiveLake) -> tuple[int, int]:
    row = (await lake.query(COUNT)).rows()[0]
    return row["n"], row["total"]


# -------------------------------------------------------------------- what may be given

FORMS: dict[str, Any] = {
    "dicts": lambda: [{"region": "west", "amount": 1}, {"amount": 2, "region": "west"}],
    "generator of dicts": lambda: ({"region": "west", "amount": n} for n in (1, 2)),
    "pyarrow table": lambda: pa.table({"amount": [1, 2], "region": ["west", "west"]}),
    "record batch": lambda: pa.record_batch({"REGION": ["west", "west"], "Amount": [1, 2]}),
    "record batch reader": lambda: pa.table({"amount": [1, 2], "region": ["w", "w"]}).to_reader(1),
    "nanoarrow array": lambda: na.Array(pa.record_batch({"region": ["west", "west"], "amount": [1, 2]})),
    "nanoarrow stream": lambda: na.ArrayStream(pa.table({"region": ["west", "west"], "amount": [1, 2]})),
    "dictionary": lambda: pa.table({"amount": [1, 2], "region": pa.array(["west", "west"]).dictionary_encode()}),
}


@pytest.mark.parametrize("form", FORMS)
async def test_whatever_holds_rows_is_inserted_as_one_commit(lake: LiveLake, form: str) -> None:
    await counted(lake)
    before = lake.watcher.heads()["sales"]
    token = await lake.insert("orders", FORMS[form]())
    assert await counted(lake) == (4, 18)
    assert token.versions == {"sales": before + 1}
    assert lake.watcher.heads()["sales"] == before + 1


async def test_sequences_are_named_by_columns(lake: LiveLake) -> None:
    await lake.insert("sales.main.orders", [("west", 1), ["west", 2]], columns=["region", "amount"])
    rows = sqlite3.connect(":memory:").execute("SELECT 3, 'west' UNION ALL SELECT 4, 'west'")
    await lake.insert("orders", rows, columns=["amount", "region"])
    assert await counted(lake) == (6, 25)


async def test_a_result_of_one_lake_is_inserted_into_another(lake: LiveLake) -> None:
    async with livelake.open(":memory:") as other:
        await other.execute("CREATE TABLE copy (amount BIGINT, region VARCHAR, since TIMESTAMP DEFAULT '2024-01-01')")
        await other.insert("copy", await lake.query("FROM orders ORDER BY amount"))
        assert (await other.query("FROM copy")).rows() == [
            {"amount": 5, "region": "south", "since": datetime(2024, 1, 1)},
            {"amount": 10, "region": "north", "since": datetime(2024, 1, 1)},
        ]


async def test_columns_that_are_not_given_take_their_default(ducklake: LiveLake) -> None:
    await ducklake.execute("CREATE TABLE d (a INTEGER, b INTEGER DEFAULT 7)")
    await ducklake.insert("d", [{"a": 1}])
    await ducklake.insert("d", pa.table({"a": [2]}))
    assert (await ducklake.query("FROM d ORDER BY a")).rows() == [{"a": 1, "b": 7}, {"a": 2, "b": 7}]


@pytest.mark.parametrize("nothing", [[], iter(()), pa.table({"amount": pa.array([], pa.int32())})])
async def test_no_rows_are_no_commit(lake: LiveLake, nothing: Any) -> None:
    await counted(lake)
    before = lake.watcher.heads()
    assert await lake.insert("orders", nothing) == Token()
    assert lake.watcher.heads() == before
    assert (await lake.query(COUNT)).status == "hit"


async def test_an_insert_touches_its_table_alone(lake: LiveLake) -> None:
    await counted(lake)
    await lake.insert("people", [{"name": "Grace"}])
    assert (await lake.query(COUNT)).status == "hit"


async def test_inserts_into_several_tables_are_one_commit(ducklake: LiveLake) -> None:
    before = ducklake.watcher.heads()["sales"]
    async with ducklake.transaction() as transaction:
        assert await transaction.insert("orders", pa.table({"amount": range(100)})) == 100
        assert await transaction.insert("orders", ({"amount": 0} for _ in range(BATCH_ROWS + 1))) == BATCH_ROWS + 1
        assert await transaction.insert("people", [{"name": "Grace"}]) == 1
    assert ducklake.watcher.heads()["sales"] == before + 1
    assert await counted(ducklake) == (2 + 100 + BATCH_ROWS + 1, 15 + 4950)


async def test_many_batches_are_one_file_of_the_lake(ducklake: LiveLake) -> None:
    rows = 3 * BATCH_ROWS + 5
    await ducklake.insert("people", ((str(n),) for n in range(rows)), columns=["name"])
    found = await ducklake.query("SELECT count(*) AS files FROM ducklake_list_files('sales', 'people')")
    assert found.rows() == [{"files": 1}]
    numbers = await ducklake.query(
        "SELECT count(DISTINCT name) AS n, max(name::INTEGER) AS m FROM people WHERE name != 'Ada'"
    )
    assert numbers.rows() == [{"n": rows, "m": rows - 1}]


async def test_an_iterator_is_read_some_rows_at_a_time_on_the_loop_of_the_caller(lake: LiveLake) -> None:
    """Not all of it before the first is taken; and a cursor of sqlite3 may be used in its own thread alone."""
    read, threads = 0, set()

    def rows() -> Iterator[tuple[int]]:
        nonlocal read
        for n in range(3 * BATCH_ROWS):
            read = n
            threads.add(threading.current_thread())
            yield (n,)

    task = asyncio.create_task(lake.insert("orders", rows(), columns=["amount"]))
    while not read:
        await asyncio.sleep(0)
    assert read < 3 * BATCH_ROWS - 1
    await task
    assert threads == {threading.current_thread()}
    assert (await counted(lake))[0] == 2 + 3 * BATCH_ROWS


# -------------------------------------------------------------------- what is refused, and how that is told

REFUSED: dict[str, tuple[Any, Any, str]] = {
    "unknown column": (
        [{"amount": 1, "colour": "red"}],
        None,
        "no column 'colour'; the columns of orders are region",
    ),
    "unknown arrow column": (pa.table({"colour": ["red"]}), None, "no column 'colour'"),
    "unknown named column": ([(1,)], ["colour"], "no column 'colour'"),
    "twice": (pa.table([[1], [2]], ["amount", "Amount"]), None, "'amount' is given twice"),
    "missing": ([{"amount": 1, "region": "x"}, {"amount": 2}], None, "row 2 lacks 'region'"),
    "more": ([{"amount": 1}, {"amount": 2, "region": "x"}], None, "row 2 has 'region'"),
    "other": ([{"amount": 1}, {"region": "x"}], None, "row 2 lacks 'amount' and has 'region'"),
    "type": (
        [{"amount": 1}, {"amount": None}, {"amount": "many"}],
        None,
        r"row 3, column amount \(INTEGER\): 'many'",
    ),
    "range": ([{"amount": 2**40}], None, r"row 1, column amount \(INTEGER\): 1099511627776"),
    "object": ([{"amount": object()}], None, "row 1, column amount .* cannot be inserted"),
    "nested": ([{"amount": [1]}], None, r"row 1, column amount .* \[1\] \(list\) is nested"),
    "surrogate": ([{"region": "ok"}, {"region": "\ud800"}], None, "row 2, column region .* surrogate"),
    "too short": ([("a", 1), ("b",)], ["region", "amount"], "row 2 has 1 values for 2 columns"),
    "text for a row": (["ab"], ["region", "amount"], "row 1 is not a sequence"),
    "mixed rows": ([{"amount": 1}, ("x",)], None, "row 2 is not a mapping"),
    "no columns": ([(1, 2)], None, "need columns="),
    "both": ([{"amount": 1}], ["amount"], "these rows are mappings"),
    "text for columns": ([(1,)], "a", "columns='a' is no list of names"),
    "numbers for columns": ([(1,)], [1], r"columns=\[1\] is no list of names"),
    "too large for any": ([{"amount": 10**5_000}], None, r"row 1, column amount .*a number of 16,610 bits \(int\)"),
    "arrow and columns": (pa.table({"amount": [1]}), ["amount"], "names of their own"),
    "one mapping": ({"amount": [1]}, None, "dict is neither rows nor Arrow"),
    "a number": (5, None, "int is neither rows nor Arrow"),
    "empty dicts": ([{}], None, "the data have no columns"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_does_not_fit_is_said_by_row_and_column_and_nothing_is_written(lake: LiveLake, case: str) -> None:
    data, columns, says = REFUSED[case]
    await counted(lake)
    with pytest.raises(UsageError, match=says):
        await lake.insert("orders", data, columns=columns)
    assert (await lake.query(COUNT)).status == "hit"
    await lake.insert("orders", [{"amount": 1, "region": "x"}])
    assert await counted(lake) == (3, 16)


async def test_arrow_of_the_wrong_type_names_its_column(lake: LiveLake) -> None:
    with pytest.raises(QueryError, match="'many' to INT32 when casting from source column amount") as refused:
        await lake.insert("orders", pa.table({"amount": ["1", "many"]}))
    assert not re.search("LINE|INSERT|intake", str(refused.value))  # our statement is nobody's business


async def test_a_table_that_is_not_there_is_said(lake: LiveLake) -> None:
    with pytest.raises(QueryError, match=r"insert into nowhere: .*nowhere does not exist") as refused:
        await lake.insert("nowhere", [{"a": 1}])
    assert not re.search("LINE|DESCRIBE", str(refused.value))


@pytest.mark.parametrize("name", ["", ".", "a..b", "a.b.c.d", '"a', 'a"b', None, 5, ["orders"]])
async def test_what_names_no_table_is_said(lake: LiveLake, name: Any) -> None:
    with pytest.raises(UsageError, match=r"names no table; write table, schema\.table or catalog\.schema\.table"):
        await lake.insert(name, [{"a": 1}])


async def test_a_name_may_be_quoted_as_in_sql(lake: LiveLake) -> None:
    await lake.execute('CREATE TABLE "a.b ""c" (n INTEGER)')
    await lake.insert('"a.b ""c"', [{"n": 1}])
    await lake.insert('main."a.b ""c"', [{"n": 2}])
    assert (await lake.query('SELECT sum(n) AS n FROM "a.b ""c"')).rows() == [{"n": 3}]


@pytest.mark.parametrize("value", [10**400, -(10**400), Decimal("1e400"), 2**1024])
async def test_a_number_too_large_for_a_double_is_refused_and_not_infinity(lake: LiveLake, value: Any) -> None:
    await lake.execute("CREATE TABLE measured (n DOUBLE)")
    with pytest.raises(UsageError, match=r"row 2, column n \(DOUBLE\): .* is too large for a DOUBLE"):
        await lake.insert("measured", [{"n": 1}, {"n": value}])
    await lake.insert("measured", [{"n": 2**1023}, {"n": Decimal("Infinity")}, {"n": None}])
    assert (await lake.query("SELECT n FROM measured")).rows() == [{"n": 2.0**1023}, {"n": math.inf}, {"n": None}]


@pytest.mark.parametrize("bad", [0, 4_999, BATCH_ROWS - 1, BATCH_ROWS, 2 * BATCH_ROWS + 1])
async def test_a_bad_row_in_the_middle_commits_nothing(ducklake: LiveLake, bad: int) -> None:
    await counted(ducklake)
    before = ducklake.watcher.heads()
    rows = [{"region": "r", "amount": n if n != bad else "bad"} for n in range(2 * BATCH_ROWS + 2)]
    with pytest.raises(UsageError, match=f"row {bad + 1:,}, column amount"):
        await ducklake.insert("orders", rows)
    assert ducklake.watcher.heads() == before
    assert await counted(ducklake) == (2, 15)


async def test_an_iterator_that_fails_commits_nothing_and_its_error_is_raised(lake: LiveLake) -> None:
    def rows() -> Iterator[dict[str, int]]:
        yield from ({"amount": n} for n in range(BATCH_ROWS + 10))
        raise ZeroDivisionError("mine")

    await counted(lake)
    with pytest.raises(ZeroDivisionError, match="mine"):
        await lake.insert("orders", rows())
    assert (await lake.query(COUNT)).status == "hit"
    await lake.insert("orders", [{"amount": 1}])


async def test_a_stream_that_fails_in_the_middle_commits_nothing(ducklake: LiveLake) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield from (pa.record_batch({"amount": list(range(5_000))}) for _ in range(5))
        raise ZeroDivisionError("mine")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("amount", pa.int64())]), batches())
    with pytest.raises(QueryError, match="mine"):
        await ducklake.insert("orders", reader)
    assert await counted(ducklake) == (2, 15)


async def test_a_caller_who_is_cancelled_leaves_nothing_behind(ducklake: LiveLake) -> None:
    forever = ({"amount": n} for n in itertools.count())
    task = asyncio.create_task(ducklake.insert("orders", forever))
    while ducklake.engine.writer.running == 0:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ducklake.insert("orders", [{"amount": 1}])
    assert await counted(ducklake) == (3, 16)


async def test_a_transaction_that_is_cancelled_while_it_begins_lets_the_writer_go(ducklake: LiveLake) -> None:
    may_begin = threading.Event()
    lane = ducklake.engine.writer

    @contextlib.contextmanager
    def committing(_session: Session) -> Iterator[Work]:
        may_begin.wait()
        yield Work()

    async def block() -> None:
        async with Transaction(lane, committing, plan=True):
            pytest.fail("the block was entered")

    for turns in range(6):  # before its thread has it, and while it begins
        may_begin.clear()
        task = asyncio.create_task(block())
        for _ in range(turns):
            await asyncio.sleep(0)
        while turns == 5 and lane.running == 0:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        may_begin.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(ducklake.insert("orders", [{"amount": 1}]), 30)
    assert await counted(ducklake) == (8, 21)


# -------------------------------------------------------------------- conflicts


async def test_a_conflict_is_tried_again_where_the_data_can_be_read_again(
    ducklake: LiveLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = 2
    fetchone = Session.fetchone

    def conflicting(self: Session, sql: str, params: Any = None) -> Any:
        nonlocal failures
        found = fetchone(self, sql, params)
        if sql.startswith("INSERT") and failures:
            failures -= 1
            raise ConflictError("another transaction was first")
        return found

    monkeypatch.setattr(Session, "fetchone", conflicting)
    await ducklake.insert("orders", [{"amount": 1}])
    assert await counted(ducklake) == (3, 16)
    failures = 2
    await ducklake.insert("orders", pa.table({"amount": [1]}))
    assert await counted(ducklake) == (4, 17)
    failures = 1
    with pytest.raises(ConflictError):
        await ducklake.insert("orders", iter([{"amount": 1}]))
    assert await counted(ducklake) == (4, 17)


# -------------------------------------------------------------------- any value comes back


class Colour(enum.StrEnum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


MICROS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59))
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
INT32 = st.integers(-(2**31), 2**31 - 1)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "BOOLEAN": st.booleans(),
    "TINYINT": st.integers(-128, 127),
    "UINTEGER": st.integers(0, 2**32 - 1),
    "INTEGER": INT32,
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "HUGEINT": st.integers(-(2**127) + 1, 2**127 - 1),
    "DOUBLE": st.floats(allow_nan=False),
    "DECIMAL(38,5)": st.decimals(-(10**30), 10**30, places=5),
    "DECIMAL(9,2)": st.decimals(-(10**6), 10**6, places=2) | st.integers(-1000, 1000),
    "VARCHAR": TEXT,
    "BLOB": st.binary(),
    "DATE": st.dates(),
    "TIME": st.times(),
    "TIMESTAMP": MICROS,
    "TIMESTAMP WITH TIME ZONE": MICROS.map(lambda value: value.replace(tzinfo=UTC)),
    "INTERVAL": st.timedeltas(timedelta(days=-1_000_000), timedelta(days=1_000_000)),
    "UUID": st.uuids(),
    "INTEGER[]": st.lists(st.none() | INT32, max_size=3),
    "VARCHAR[][]": st.lists(st.none() | st.lists(st.none() | TEXT, max_size=3), max_size=3),
    "DOUBLE[]": st.lists(st.floats(allow_nan=False) | st.integers(-1000, 1000), max_size=3),
    "STRUCT(a INTEGER, b VARCHAR)": st.fixed_dictionaries({"a": st.none() | INT32, "b": st.none() | TEXT}),
    "STRUCT(d DECIMAL(9,2), e STRUCT(f BLOB)[])": st.fixed_dictionaries(
        {
            "d": st.none() | st.decimals(-1000, 1000, places=2),
            "e": st.lists(st.fixed_dictionaries({"f": st.binary()}), max_size=2),
        }
    ),
    "MAP(VARCHAR, INTEGER)": st.dictionaries(TEXT, st.none() | INT32, max_size=3),
    "MAP(INTEGER, DATE[])": st.dictionaries(INT32, st.lists(st.dates(), max_size=2), max_size=3),
}


@pytest.mark.parametrize("where", ["memory", "ducklake"])
async def test_any_rows_of_any_types_come_back(where: str, tmp_path: Path) -> None:
    """A property: the table holds exactly the rows that were inserted, in dicts or tuples, Nones among them."""
    uri = ":memory:" if where == "memory" else f"ducklake:{tmp_path}/lake.ducklake"
    loop = asyncio.get_running_loop()
    async with livelake.open(uri, workers=1) as lake:

        @settings(
            max_examples=60 if where == "memory" else 15, deadline=None, suppress_health_check=list(HealthCheck)
        )
        @given(data=st.data())
        def check(data: st.DataObject) -> None:
            kinds = data.draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))
            row = st.tuples(*(st.none() | VALUES[kind] for kind in kinds))
            rows = data.draw(st.lists(row, min_size=1, max_size=12))
            as_dicts = data.draw(st.booleans())
            asyncio.run_coroutine_threadsafe(round_trip(kinds, rows, as_dicts), loop).result(60)

        async def round_trip(kinds: list[str], rows: list[tuple[Any, ...]], as_dicts: bool) -> None:
            names = [f"c{n}" for n in range(len(kinds))]
            columns = ", ".join(f"{name} {kind}" for name, kind in zip(names, kinds, strict=True))
            await lake.execute(f"CREATE OR REPLACE TABLE t (n INTEGER, {columns})")
            numbered = [(n, *row) for n, row in enumerate(rows)]
            if as_dicts:
                await lake.insert("t", [dict(zip(["n", *names], row, strict=True)) for row in numbered])
            else:
                await lake.insert("t", numbered, columns=["n", *names])
            found = (await lake.query("FROM t ORDER BY n")).rows()
            assert [tuple(row.values()) for row in found] == numbered

        await asyncio.to_thread(check)


@pytest.mark.parametrize(
    ("kind", "given", "back"),
    [
        ("DOUBLE", [1, 2.5, True, Decimal("0.1"), "7"], [1.0, 2.5, 1.0, 0.1, 7.0]),
        ("DECIMAL(30,3)", [2**60 + 1, Decimal("0.125"), 1.5], [Decimal(2**60 + 1), Decimal("0.125"), Decimal("1.5")]),
        ("BIGINT", [2**60 + 1, 1.0, True, "5"], [2**60 + 1, 1, 1, 5]),
        ("VARCHAR", [1, "x", True, 2.5, date(2024, 1, 1)], ["1", "x", "true", "2.5", "2024-01-01"]),
        ("VARCHAR", [Colour.RED, "a\x00b"], ["red", "a\x00b"]),
        ("INTEGER", [Size.SMALL, 2], [1, 2]),
        ("DATE", ["2024-02-29", date(2024, 1, 1)], [date(2024, 2, 29), date(2024, 1, 1)]),
        ("TIMESTAMP", [date(2024, 1, 1), datetime(2024, 1, 1, 12)], [datetime(2024, 1, 1), datetime(2024, 1, 1, 12)]),
        ("ENUM('red', 'blue')", [Colour.RED, "blue"], ["red", "blue"]),
        ("INTEGER[2]", [[1, 2], None, (3, 4)], [(1, 2), None, (3, 4)]),
        ("STRUCT(a INTEGER, b VARCHAR)", [{"a": 1}, {"b": "x"}], [{"a": 1, "b": None}, {"a": None, "b": "x"}]),
        ("JSON", [{"a": [1, None]}, '{"b": 2}'], ['{"a": [1, null]}', '{"b": 2}']),
        ("TIME WITH TIME ZONE", [time(12, tzinfo=UTC)], [time(12, tzinfo=UTC)]),
        ("UHUGEINT", [2**128 - 1, 0], [2**128 - 1, 0]),
        ("BLOB", [bytearray(b"\x00"), memoryview(b"\xff")], [b"\x00", b"\xff"]),
        ("DOUBLE", [math.inf, -0.0], [math.inf, -0.0]),
        ("UUID", [str(UUID(int=5)), UUID(int=6)], [UUID(int=5), UUID(int=6)]),
    ],
)
async def test_values_are_assigned_as_sql_assigns_them(memory_table: Any, kind: str, given: Any, back: Any) -> None:
    assert await memory_table(kind, given) == back


@pytest.fixture
async def memory_table() -> AsyncIterator[Any]:
    async with livelake.open(":memory:", workers=1) as lake:

        async def through(kind: str, values: list[Any]) -> list[Any]:
            await lake.execute(f"CREATE OR REPLACE TABLE t (n INTEGER, v {kind})")
            await lake.insert("t", list(enumerate(values)), columns=["n", "v"])
            return [row["v"] for row in (await lake.query("FROM t ORDER BY n")).rows()]

        yield through


async def test_a_misfit_inside_of_a_list_is_told_by_its_row(memory_table: Any) -> None:
    with pytest.raises(UsageError, match=r"row 3, column v \(INTEGER\[\]\): .*object"):
        await memory_table("INTEGER[]", [[1, 2], [], [3, object()]])
    with pytest.raises(UsageError, match=r"row 2, column v .* has z, and the struct has a"):
        await memory_table("STRUCT(a INTEGER)[]", [[{"a": 1}], [{"a": 1}, {"z": 1}]])


# -------------------------------------------------------------------- without pyarrow


def test_rows_and_arrow_are_inserted_without_pyarrow(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["pyarrow"] = sys.modules["pandas"] = sys.modules["numpy"] = None
import asyncio, json, nanoarrow, livelake

async def main():
    async with livelake.open(sys.argv[1]) as lake:
        await lake.execute("CREATE TABLE t (a INTEGER, b VARCHAR)")
        await lake.insert("t", ({"a": n, "b": str(n)} for n in range(25_000)))
        await lake.insert("t", await lake.query("FROM t"))
        children = [nanoarrow.c_array([1, 2], nanoarrow.int32()), nanoarrow.c_array(["x", "y"], nanoarrow.string())]
        schema = nanoarrow.struct({"a": nanoarrow.int32(), "b": nanoarrow.string()})
        array = nanoarrow.c_array_from_buffers(schema, 2, [None], children=children)
        await lake.insert("t", nanoarrow.Array(array))
        print(json.dumps((await lake.query("SELECT count(*) AS n, sum(a)::BIGINT AS s FROM t")).rows()))

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, f"ducklake:sqlite:{tmp_path}/l.sqlite"],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert json.loads(done.stdout) == [{"n": 50_002, "s": 2 * sum(range(25_000)) + 3}]
