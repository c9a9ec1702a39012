"""What does an entry cost in memory, beyond its value?

100,000 entries with one dependency each (``events/Order/{i}/**``), in a fresh process, by the memory that the
process holds (RSS; this counts moka's own, which is not Python's) and by tracemalloc. All entries share one value.
Everything else counts: the key, the text of the dependency, index, slot, store. A process of its own for each
way of measuring, because tracemalloc itself takes memory.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import subprocess
import sys
from collections.abc import Callable

from benchmarks.harness import ROOT, Bar, Report, Settings

LIMIT = 1_500.0
WAYS = ("rss", "tracemalloc")
FILLS = ("insert", "get_or_compute")


def run(settings: Settings) -> Report:
    size = 10_000 if settings.quick else 100_000
    report = Report(
        question=f"What does one of {size:,} entries with one dependency cost, beyond its value?",
        columns=("filled by", "measured by", "bytes an entry"),
        notes=["counted: key, text of the dependency, slot, index, store; not counted: the value, which all share"],
    )
    for fill in FILLS:
        for way in WAYS:
            rounds = [_child(fill, way, size) for _ in range(min(settings.rounds, 5))]
            median = statistics.median(rounds)
            report.rows.append((fill, way, f"{median:,.0f}"))
            report.bars.append(Bar(f"bytes an entry, {fill}, {way}", median, LIMIT))
            report.raw[f"{fill}, {way}"] = rounds
    return report


def _child(fill: str, way: str, size: int) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", fill, way, str(size)]
    return float(json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout))


def main(fill: str, way: str, size: int) -> float:
    """In the child: bytes an entry."""
    from livelake import AnalyticsCache

    cache = AnalyticsCache(max_capacity=2 * size)
    value = object()

    async def compute() -> object:
        return value

    async def through_flights(first: int, last: int) -> None:
        for i in range(first, last):
            await cache.get_or_compute(f"orders of {i}", compute, depends_on=f"events/Order/{i}/**")

    def by_insert(first: int, last: int) -> None:
        for i in range(first, last):
            cache.insert(f"orders of {i}", value, depends_on=f"events/Order/{i}/**")

    def entries(first: int, last: int) -> None:
        if fill == "insert":
            by_insert(first, last)
        else:
            asyncio.run(through_flights(first, last))

    measure = _meter(way)
    entries(0, 100)  # what is made once
    before = measure()
    entries(100, size + 100)
    after = measure()
    assert cache.stats().entries == size + 100
    return (after - before) / size


def _meter(way: str) -> Callable[[], int]:
    if way == "tracemalloc":
        import tracemalloc

        tracemalloc.start()

        def traced() -> int:
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        return traced

    import psutil

    process = psutil.Process()

    def resident() -> int:
        gc.collect()
        return int(process.memory_info().rss)

    return resident


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
