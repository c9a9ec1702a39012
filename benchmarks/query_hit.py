"""What does an awaited `lake.query` hit cost, parameters and all, against the store below it?

The result is not decoded: a hit hands out a view of shared Arrow bytes. Parameters are given as a mapping that is
made once; the key is made anew each time, as it must be.
"""

from __future__ import annotations

import asyncio
import tempfile
from datetime import date
from decimal import Decimal
from itertools import repeat
from typing import Any

import livelake
from benchmarks.harness import COLUMNS, Contender, Report, Settings, Timing, compare
from benchmarks.hit import MOKA, _moka

ONE = "lake.query, one parameter (int)"
FIVE = "lake.query, five (int, str, date, float, Decimal)"
NONE = "lake.query, none"

QUERIES: dict[str, tuple[str, dict[str, Any] | None]] = {
    NONE: ("SELECT count(*) AS n FROM orders", None),
    ONE: ("SELECT count(*) AS n FROM orders WHERE id = $id", {"id": 7}),
    FIVE: (
        "SELECT count(*) AS n FROM orders "
        "WHERE id = $id AND region = $region AND day >= $day AND weight < $weight AND amount <= $amount",
        {"id": 7, "region": "north", "day": date(2024, 1, 15), "weight": 0.5, "amount": Decimal("12.50")},
    ),
}


def run(settings: Settings) -> Report:
    timing = asyncio.run(_measure(settings))
    return Report(
        question=f"What does an awaited lake.query hit cost? (ratios to {MOKA})",
        columns=COLUMNS,
        rows=timing.rows(MOKA),
        bars=[timing.bar(ONE, MOKA, 12.0), timing.bar(FIVE, MOKA, 20.0)],
        raw=timing.raw(),
    )


async def _measure(settings: Settings) -> Timing:
    with tempfile.TemporaryDirectory() as folder:
        async with livelake.open(f"ducklake:{folder}/sales.ducklake") as lake:
            await lake.execute(
                "CREATE TABLE orders (id INTEGER, region VARCHAR, day DATE, weight DOUBLE, amount DECIMAL(9, 2))"
            )
            await lake.execute("INSERT INTO orders VALUES (7, 'north', DATE '2024-02-01', 0.25, 10)")
            contenders: dict[str, Contender] = {MOKA: _moka()}
            for name, (sql, parameters) in QUERIES.items():
                assert (await lake.query(sql, parameters)).rows() == [{"n": 1}]
                assert (await lake.query(sql, parameters)).status == "hit"
                contenders[name] = _reader(lake, sql, parameters)
            return await compare(contenders, settings)


def _reader(lake: livelake.LiveLake, sql: str, parameters: Any) -> Contender:
    async def loop(n: int) -> None:
        query = lake.query
        for _ in repeat(None, n):
            await query(sql, parameters)

    return loop
