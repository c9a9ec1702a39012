"""What does it cost to find out what a new SQL text reads? The 22 queries of TPC-H, on a DuckLake.

*new* is all that livelake does for a text that it has not seen, before it runs: check that it is one SELECT, plan it
unoptimised, parse it, derive the footprint, pin the snapshot. *known* does the same for a text that it remembers;
what is left is the pin. The difference is the cost of a footprint. The tables are empty: nothing here runs a query.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time

import livelake
from benchmarks.harness import Bar, Report, Settings, collected, duration
from livelake.engine import Session
from livelake.lake.question import Query


def run(settings: Settings) -> Report:
    new, known = asyncio.run(_measure(settings))
    cost = {n: [a - b for a, b in zip(new[n], known[n], strict=True)] for n in new}
    medians = {number: statistics.median(each) for number, each in cost.items()}
    rows = [
        (f"Q{n}", *(duration(statistics.median(each[n])) for each in (new, known)), duration(medians[n]))
        for n in sorted(new)
    ]
    overall = statistics.median(medians.values())
    rows.append(("median", *(duration(_median(each)) for each in (new, known)), duration(overall)))
    return Report(
        question="What does the footprint of a new query text cost? (TPC-H, 22 queries, one at a time)",
        columns=("query", "new text", "known text", "footprint"),
        rows=list(rows),
        bars=[Bar("footprint of a new text, median of 22, in ms", overall / 1e6, 2.0)],
        raw={"new_ns": new, "known_ns": known},
    )


def _median(times: dict[int, list[float]]) -> float:
    return statistics.median(statistics.median(each) for each in times.values())


async def _measure(settings: Settings) -> tuple[dict[int, list[float]], dict[int, list[float]]]:
    """Nanoseconds by query, one number a round."""
    with tempfile.TemporaryDirectory() as folder:
        async with livelake.open(f"ducklake:{folder}/tpch.ducklake") as lake:
            lake.engine.load_extension("tpch")
            with lake.engine.cursor() as session:
                session.execute("USE memory")
                session.execute("CALL dbgen(sf = 0)")
                names = session.fetchall("SELECT table_name FROM duckdb_tables() WHERE database_name = 'memory'")
                texts = {
                    int(n): str(sql) for n, sql in session.fetchall("SELECT query_nr, query FROM tpch_queries()")
                }
            for (name,) in names:
                await lake.execute(f"CREATE TABLE {name} AS FROM memory.main.{name}")
            questions = {number: lake.ask(sql) for number, sql in texts.items()}
            with lake.engine.cursor() as session:
                return _rounds(lake, session, questions, 2 if settings.quick else 4 * settings.rounds)


def _rounds(
    lake: livelake.LiveLake, session: Session, questions: dict[int, Query], rounds: int
) -> tuple[dict[int, list[float]], dict[int, list[float]]]:
    new: dict[int, list[float]] = {number: [] for number in questions}
    known: dict[int, list[float]] = {number: [] for number in questions}
    for _ in range(rounds):
        for number, question in questions.items():
            lake._planner.forget()
            for times in (new, known):
                with collected():
                    times[number].append(_once(lake, session, question))
    return new, known


def _once(lake: livelake.LiveLake, session: Session, question: Query) -> float:
    with session.transaction():
        began = time.perf_counter_ns()
        lake._computing.foresee(session, question, {})
        return time.perf_counter_ns() - began
