"""Lakes of every kind, fresh for each test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import livelake
from livelake.live import LiveLake

KINDS = {
    "ducklake": "ducklake:{}/sales.ducklake",
    "sqlite": "ducklake:sqlite:{}/sales.sqlite",
    "duckdb": "{}/sales.duckdb",
    "memory": ":memory:",
}
LAKES = ("ducklake", "sqlite")


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a condition, with a deadline that only a hang would meet."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        await asyncio.sleep(0.005)


async def fill(lake: LiveLake) -> None:
    """Two small tables that know nothing of each other."""
    async with lake.transaction() as transaction:
        await transaction.execute("CREATE TABLE orders (region VARCHAR, amount INTEGER)")
        await transaction.execute("CREATE TABLE people (name VARCHAR)")
        await transaction.insert("orders", [{"region": "north", "amount": 10}, {"region": "south", "amount": 5}])
        await transaction.insert("people", [{"name": "Ada"}])


@pytest.fixture(params=KINDS)
async def lake(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LiveLake]:
    async with livelake.open(KINDS[request.param].format(tmp_path), as_name="sales") as opened:
        await fill(opened)
        yield opened


@pytest.fixture(params=LAKES)
async def ducklake(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LiveLake]:
    async with livelake.open(KINDS[request.param].format(tmp_path), as_name="sales") as opened:
        await fill(opened)
        yield opened
