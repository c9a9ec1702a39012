"""How long after a commit is an entry stale: a commit of this process', and one of another's?

The entry's own watcher tells the moment at which it was made stale. A commit of ours is over when `execute` returns:
a moment before that is below nought. Another process says when its `execute` returned, by the machine's one
monotonic clock; its commit is a look at the log older than that, which is the floor: one read of the metadata.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import livelake
from benchmarks.harness import Report, Settings

SQL = "SELECT count(*) AS n FROM orders"
INTERVALS = (0.05, 0.25)
OTHER = """
import asyncio, sys, time, livelake
async def main():
    async with livelake.open(sys.argv[1]) as lake:
        print("ready", flush=True)
        for line in sys.stdin:
            await lake.execute("INSERT INTO orders VALUES (1)")
            print(time.monotonic_ns(), flush=True)
asyncio.run(main())
"""


def run(settings: Settings) -> Report:
    report = Report(
        question="How long after a commit is an entry stale? (ms; p50 and the worst)",
        columns=("who commits", "poll interval", "p50", "worst", "one read of the metadata, p50"),
        notes=["a local commit is applied before execute returns, whatever the interval: below nought is right"],
    )
    for interval in INTERVALS:
        local, other, floor = asyncio.run(_measure(settings, interval))
        for who, found in (("this process", local), ("another process", other)):
            p50, worst = statistics.median(found), max(found)
            row = (who, f"{interval * 1e3:.0f}", f"{p50:.2f}", f"{worst:.2f}", f"{statistics.median(floor):.2f}")
            report.rows.append(row)
            report.raw[f"{who}, polled every {interval:g} s"] = found
        report.raw[f"one read of the metadata, polled every {interval:g} s"] = floor
    return report


async def _measure(settings: Settings, interval: float) -> tuple[list[float], list[float], list[float]]:
    count = 3 if settings.quick else 4 * settings.rounds
    with tempfile.TemporaryDirectory() as folder:
        uri = f"ducklake:sqlite:{folder}/sales.sqlite"
        async with livelake.open(uri, poll_interval=interval) as lake:
            await lake.execute("CREATE TABLE orders (id INTEGER)")
            local = [await _stale(lake, lambda: _here(lake)) for _ in range(count)]
            with subprocess.Popen(
                [sys.executable, "-c", OTHER, uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as other:
                assert other.stdout is not None
                await asyncio.to_thread(other.stdout.readline)
                away = []
                for _ in range(count):
                    await asyncio.sleep(random.uniform(0, interval))
                    away.append(await _stale(lake, lambda: _there(other)))
                assert other.stdin is not None
                other.stdin.close()
            floor = []
            for _ in range(count):
                began = time.monotonic_ns()
                await asyncio.to_thread(lake.watcher.look)
                floor.append((time.monotonic_ns() - began) / 1e6)
    return local, away, floor


async def _stale(lake: livelake.LiveLake, commit: object) -> float:
    """Milliseconds from the end of ``commit`` to the moment at which the entry was stale."""
    told, moments = threading.Event(), []

    def hear() -> None:
        moments.append(time.monotonic_ns())
        told.set()

    read = await lake.fetch(lake.ask(SQL), watcher=hear)
    assert not read.slot.is_stale
    committed = await commit()  # type: ignore[operator]
    assert await asyncio.to_thread(told.wait, 30)
    return (moments[0] - committed) / 1e6


async def _here(lake: livelake.LiveLake) -> int:
    await lake.execute("INSERT INTO orders VALUES (1)")
    return time.monotonic_ns()


async def _there(other: subprocess.Popen[str]) -> int:
    assert other.stdin is not None
    assert other.stdout is not None
    other.stdin.write("go\n")
    other.stdin.flush()
    return int(await asyncio.to_thread(other.stdout.readline))
