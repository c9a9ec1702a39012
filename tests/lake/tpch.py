"""TPC-H: what the standard says each query reads, and a small lake of its data.

`TABLES` is written from the FROM clauses of the standard's text (TPC-H, revision 3, clause 2.4), the subqueries'
and the view's (query 15) included; the parameters and texts are those of DuckDB's extension.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from livelake.engine import Engine
from livelake.live import LiveLake

TABLES: Final = {
    1: "lineitem",
    2: "part supplier partsupp nation region",
    3: "customer orders lineitem",
    4: "orders lineitem",
    5: "customer orders lineitem supplier nation region",
    6: "lineitem",
    7: "supplier lineitem orders customer nation",
    8: "part supplier lineitem orders customer nation region",
    9: "part supplier lineitem partsupp orders nation",
    10: "customer orders lineitem nation",
    11: "partsupp supplier nation",
    12: "orders lineitem",
    13: "customer orders",
    14: "lineitem part",
    15: "lineitem supplier",
    16: "partsupp part supplier",
    17: "lineitem part",
    18: "customer orders lineitem",
    19: "lineitem part",
    20: "supplier nation partsupp part lineitem",
    21: "supplier lineitem orders nation",
    22: "customer orders",
}

EVERY: Final = frozenset(" ".join(TABLES.values()).split())


def tables(query: int) -> frozenset[str]:
    """The tables that a query reads, by the standard."""
    return frozenset(TABLES[query].split())


@cache
def queries() -> dict[int, str]:
    """The 22 texts."""
    with Engine(workers=1) as engine, engine.cursor() as session:
        engine.load_extension("tpch")
        return {int(number): str(text) for number, text in session.fetchall("FROM tpch_queries()")}


async def load(lake: LiveLake, scale: float) -> None:
    """The eight tables, in the lake's default schema."""
    lake.engine.load_extension("tpch")
    with lake.engine.cursor() as session:
        session.execute("USE memory")
        session.execute(f"CALL dbgen(sf = {scale})")
    for table in sorted(EVERY):
        await lake.execute(f"CREATE TABLE {table} AS FROM memory.main.{table}")
