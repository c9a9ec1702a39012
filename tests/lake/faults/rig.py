"""What the fault tests share: kinds of lakes, waiting, another process that does as it is told."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import livelake
from livelake.errors import LivelakeError
from livelake.lake import Result
from livelake.live import LiveLake

KINDS = {
    "ducklake": "ducklake:{}/sales.ducklake",
    "sqlite": "ducklake:sqlite:{}/sales.sqlite",
    "duckdb": "{}/sales.duckdb",
}
FILES = {"ducklake": "sales.ducklake", "sqlite": "sales.sqlite", "duckdb": "sales.duckdb"}
TOTAL = "SELECT sum(amount)::BIGINT AS total, count(*) AS n FROM orders"
ROWS = 1_000  # more than DuckLake keeps in the catalog: they are in a Parquet file


def opened(kind: str, folder: Path, **settings: Any) -> Any:
    return livelake.open(KINDS[kind].format(folder), as_name="sales", poll_interval=0.02, **settings)


async def fill(lake: LiveLake) -> None:
    await lake.execute(f"CREATE TABLE orders AS SELECT range::INTEGER AS amount FROM range({ROWS})")


def total(result: Result) -> tuple[int, int]:
    row = result.rows()[0]
    return row["total"], row["n"]


async def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        await asyncio.sleep(0.005)


async def recovered(lake: LiveLake, sql: str = TOTAL, seconds: float = 60.0) -> Result:
    """The first answer that comes again; nobody opens the lake anew but the lake itself."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await lake.query(sql, fresh=True)
        except LivelakeError:
            assert time.monotonic() < deadline, f"it has not recovered within {seconds} s"
            await asyncio.sleep(0.02)


@contextmanager
def process(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another Python that runs ``code`` and has said "ready"; a line to its stdin, or the end, lets it go on."""
    running = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout is not None
        assert running.stdout.readline().strip() == "ready"
        yield running
    finally:
        running.kill()
        running.wait(30)
        for pipe in (running.stdin, running.stdout):
            assert pipe is not None
            pipe.close()
