"""What does livelake add to a query that must be computed? TPC-H at scale 0.1 on a DuckLake, 22 queries.

The baseline is bare DuckDB, in the same process and on the same lake: an instance of its own, its catalog attached,
and the result of each query written as an Arrow IPC stream with nanoarrow, as livelake writes it. *known* is
``lake.query(sql, fresh=True)`` of a text that was seen before: a worker's thread, one transaction that pins the
snapshot, plan and footprint from memory, the query, the check for compactions. *new* forgets the text first, and so
plans it again. Each query takes turns: baseline, known, new; the order changes from round to round.
"""

from __future__ import annotations

import asyncio
import io
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable

import duckdb
import nanoarrow
from nanoarrow import ipc

import livelake
from benchmarks.harness import Bar, Report, Settings, collected, duration
from livelake.engine.extensions import load

Times = dict[str, dict[int, list[float]]]
_KINDS = ("bare", "known", "new")


def run(settings: Settings) -> Report:
    times = asyncio.run(_measure(settings))
    rows = []
    for n in sorted(times["bare"]):
        bare, known, new = (statistics.median(times[kind][n]) for kind in _KINDS)
        rows.append((f"Q{n}", duration(bare), duration(known), f"{known / bare:.3f}", f"{new / bare:.3f}"))
    known, new = (_ratio(times, kind) for kind in ("known", "new"))
    rows.append(("geometric mean", "", "", f"{known:.3f}", f"{new:.3f}"))
    return Report(
        question="What does a miss cost against bare DuckDB? (TPC-H sf 0.1 on a DuckLake, same Arrow output)",
        columns=("query", "bare DuckDB", "livelake, known text", "ratio", "ratio of a new text"),
        rows=rows,
        bars=[Bar("a miss of a known text / bare DuckDB, geometric mean of 22", known, 1.10)],
        raw={f"{kind}_ns": times[kind] for kind in _KINDS},
    )


def _ratio(times: Times, kind: str) -> float:
    """Geometric mean over the queries of the median of each round's ratio."""
    each = [
        statistics.median(a / b for a, b in zip(times[kind][n], bare, strict=True))
        for n, bare in times["bare"].items()
    ]
    return statistics.geometric_mean(each)


async def _measure(settings: Settings) -> Times:
    """Nanoseconds by kind and query, one number a round."""
    with tempfile.TemporaryDirectory() as folder:
        uri = f"ducklake:sqlite:{folder}/tpch.sqlite"
        async with livelake.open(uri) as lake:
            texts = await _fill(lake)
            bare = _bare(folder)
            times: Times = {kind: {n: [] for n in texts} for kind in _KINDS}
            for number in range(settings.rounds + 1):
                for n, sql in texts.items():
                    for kind, call in _turns(lake, bare, sql, number):
                        if kind == "new":
                            lake._planner.forget()
                        with collected():
                            began = time.perf_counter_ns()
                            await call()
                            spent = time.perf_counter_ns() - began
                        if number:  # the first round warms up
                            times[kind][n].append(spent)
            bare.close()
            return times


def _turns(
    lake: livelake.LiveLake, bare: duckdb.DuckDBPyConnection, sql: str, number: int
) -> list[tuple[str, Callable[[], Awaitable[object]]]]:
    async def by_duckdb() -> None:
        out = io.BytesIO()
        with ipc.StreamWriter.from_writable(out) as writer:
            writer.write_stream(nanoarrow.c_array_stream(bare.sql(sql)))

    async def by_livelake() -> None:
        await lake.query(sql, fresh=True)

    turns: list[tuple[str, Callable[[], Awaitable[object]]]] = [("bare", by_duckdb), ("known", by_livelake)]
    if number % 2:
        turns.reverse()
    return [*turns, ("new", by_livelake)]


async def _fill(lake: livelake.LiveLake) -> dict[int, str]:
    """The data, in Parquet files; the texts of the queries."""
    lake.engine.load_extension("tpch")
    with lake.engine.cursor() as session:
        session.execute("USE memory")
        session.execute("CALL dbgen(sf = 0.1)")
        names = session.fetchall("SELECT table_name FROM duckdb_tables() WHERE database_name = 'memory'")
        texts = {int(n): str(sql) for n, sql in session.fetchall("SELECT query_nr, query FROM tpch_queries()")}
    for (name,) in names:
        await lake.execute(f"CREATE TABLE {name} AS FROM memory.main.{name}")
    return texts


def _bare(folder: str) -> duckdb.DuckDBPyConnection:
    bare = duckdb.connect()
    for extension in ("sqlite_scanner", "ducklake"):
        load(bare, extension)
    bare.execute(f"ATTACH 'ducklake:sqlite:{folder}/tpch.sqlite' AS tpch")
    bare.execute("USE tpch")
    return bare
