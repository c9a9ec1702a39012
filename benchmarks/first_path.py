"""The first path of an answer: what a miss adds to DuckDB, and how soon a commit is on a page. No bars.

    miss     a known text computed anew (`fresh=True`) against a bare cursor of the same DuckDB, pinned by nothing,
             drained into the same Arrow bytes; directly, and in a thread as a server must
    feed     `lake.execute` → the watcher's next result, in one process
    foreign  a commit of another process (SQLite catalog) → the watcher's next result, at two poll intervals;
             commits fall at random within the interval, so half of it is waiting
    viewers  `lake.execute` → the last of 50 viewers, who sit in a process of their own, has read the frame

Clocks: CLOCK_MONOTONIC, which processes of one machine share. Latencies are in seconds in the raw numbers.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import livelake
from benchmarks.harness import COLUMNS, ROOT, Contender, Report, Settings, compare, duration, spread
from livelake.engine.arrow import drain

SQL = "SELECT region, sum(amount) AS total FROM orders GROUP BY region ORDER BY region"
WATCHED = "SELECT max(amount) AS newest FROM orders"
VIEWERS = 50
_CATALOGS = {"SQLite catalog": "ducklake:sqlite:{}/sales.sqlite", "DuckDB-file catalog": "ducklake:{}/sales.ducklake"}
_DEADLINE = 30.0


def run(settings: Settings) -> Report:
    report = Report(question="What does a miss add to DuckDB, and how soon is a commit on a page?", columns=COLUMNS)
    asyncio.run(_all(report, settings))
    report.notes.append("misses: ratio to the bare cursor of that catalog; latencies: 90th percentile and worst")
    return report


async def _all(report: Report, settings: Settings) -> None:
    times = 3 if settings.quick else 50
    for catalog, uri in _CATALOGS.items():
        async with _sales(uri) as (lake, _):
            await _misses(report, settings, catalog, lake)
    for catalog, uri in _CATALOGS.items():
        async with _sales(uri) as (lake, _):
            called, returned = await _feed(lake, times)
            _latencies(report, f"execute called → feed, {catalog}", called)
            _latencies(report, f"execute returned → feed, {catalog}", returned)
    for interval in (0.25, 0.05):
        async with _sales(_CATALOGS["SQLite catalog"], poll_interval=interval) as (lake, folder):
            seen = await _foreign(lake, folder, times, interval)
            _latencies(report, f"commit elsewhere → feed, poll {duration(interval * 1e9)}", seen)
    async with _sales(_CATALOGS["SQLite catalog"]) as (lake, folder):
        called, returned = await _viewers(lake, folder, times)
        _latencies(report, f"execute called → last of {VIEWERS} viewers", called)
        _latencies(report, f"execute returned → last of {VIEWERS} viewers", returned)


def _latencies(report: Report, name: str, seconds: list[float]) -> None:
    report.rows.append((name, *spread(seconds)))
    report.raw[name] = seconds


@asynccontextmanager
async def _sales(uri: str, poll_interval: float = 0.25) -> AsyncIterator[tuple[livelake.LiveLake, str]]:
    with tempfile.TemporaryDirectory() as folder:
        async with livelake.open(uri.format(folder), poll_interval=poll_interval) as lake:
            await lake.execute("CREATE TABLE orders (region VARCHAR, amount INTEGER)")
            await lake.execute("INSERT INTO orders SELECT 'region ' || i % 20, 0 FROM range(100_000) t(i)")
            yield lake, folder


# -------------------------------------------------------------------- a miss


async def _misses(report: Report, settings: Settings, catalog: str, lake: livelake.LiveLake) -> None:
    cursor = lake.engine.new_cursor()
    cursor.execute("USE sales")

    def bare() -> Any:
        return drain(cursor.sql(SQL))

    async def direct(n: int) -> None:
        for _ in repeat(None, n):
            bare()

    async def in_thread(n: int) -> None:
        for _ in repeat(None, n):
            await asyncio.to_thread(bare)

    async def ours(n: int) -> None:
        for _ in repeat(None, n):
            await lake.query(SQL, fresh=True)

    result = await lake.query(SQL, fresh=True)
    assert result.status == "miss"
    assert result.ipc == bare().ipc
    names = ("bare cursor", "bare cursor, in a thread", "livelake miss")
    contenders: dict[str, Contender] = dict(zip(names, (direct, in_thread, ours), strict=True))
    timing = await compare(contenders, settings, operations=3 if settings.quick else 20)
    report.rows += timing.rows("bare cursor", {name: f"{name}, {catalog}" for name in names})
    report.raw[f"misses, {catalog}"] = timing.raw()
    cursor.close()


# -------------------------------------------------------------------- a feed


async def _feed(lake: livelake.LiveLake, times: int) -> tuple[list[float], list[float]]:
    """Seconds from the call, and from the return, of `execute` until the watcher has the result."""
    arrivals = _Arrivals()
    called, returned = [], []
    async with _watching(lake, arrivals):
        for number in range(1, times + 1):
            began = time.monotonic()
            await lake.execute(f"INSERT INTO orders VALUES ('north', {number})")
            acknowledged = time.monotonic()
            arrived = await arrivals.of(number)
            called.append(arrived - began)
            returned.append(max(0.0, arrived - acknowledged))
            await asyncio.sleep(0.02)
    return called, returned


async def _foreign(lake: livelake.LiveLake, folder: str, times: int, interval: float) -> list[float]:
    """Seconds from the moment at which another process' commit has returned there, until the watcher here has it."""
    command = [sys.executable, "-m", "benchmarks.first_path", "commit", f"ducklake:sqlite:{folder}/sales.sqlite"]
    arrivals = _Arrivals()
    rng = random.Random(0)
    seen = []
    async with _watching(lake, arrivals), _child(command) as (ask, _):
        for number in range(1, times + 1):
            await asyncio.sleep(interval * (1 + rng.random()))
            committed = float(await ask(str(number)))
            seen.append(await arrivals.of(number) - committed)
    return seen


class _Arrivals:
    """When which number was seen first."""

    def __init__(self) -> None:
        self._at: dict[int, float] = {}
        self._news = asyncio.Event()

    def note(self, number: int) -> None:
        self._at.setdefault(number, time.monotonic())
        self._news.set()

    async def of(self, number: int) -> float:
        async with asyncio.timeout(_DEADLINE):
            while number not in self._at:
                self._news.clear()
                await self._news.wait()
        return self._at[number]


@asynccontextmanager
async def _watching(lake: livelake.LiveLake, arrivals: _Arrivals) -> AsyncIterator[None]:
    async def watch() -> None:
        async for result in lake.live(WATCHED):
            arrivals.note(result.rows()[0]["newest"])

    task = asyncio.create_task(watch())
    try:
        await arrivals.of(0)
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


# -------------------------------------------------------------------- viewers


async def _viewers(lake: livelake.LiveLake, folder: str, times: int) -> tuple[list[float], list[float]]:
    """Seconds until the last viewer has the frame with the new number, from the call and the return of `execute`."""
    from livelake import web

    dashboards = Path(folder) / "sales"
    dashboards.mkdir()
    query = "SELECT 'number' || max(amount) || 'end' AS newest FROM sales.main.orders"
    (dashboards / "newest.sql").write_text(query)
    listener = web.listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    serving = asyncio.create_task(web.serve(web.App(lake, web.dashboards(dashboards)), listener))
    called, returned = [], []
    try:
        command = [sys.executable, "-m", "benchmarks.first_path", "view", str(port), str(VIEWERS)]
        async with _child(command) as (_, line):
            await line()  # all have the first state
            for number in range(1, times + 1):
                began = time.monotonic()
                await lake.execute(f"INSERT INTO orders VALUES ('north', {number})")
                acknowledged = time.monotonic()
                last = float(await line())
                called.append(last - began)
                returned.append(max(0.0, last - acknowledged))
                await asyncio.sleep(0.05)
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
    return called, returned


# -------------------------------------------------------------------- the other processes

Ask = Callable[[str], Awaitable[str]]
Line = Callable[[], Awaitable[str]]


@asynccontextmanager
async def _child(command: list[str]) -> AsyncIterator[tuple[Ask, Line]]:
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    async def line() -> str:
        async with asyncio.timeout(_DEADLINE):
            text = (await stdout.readline()).decode().strip()
        if not text:
            raise RuntimeError(f"{command[-2]}: the other process ended")
        return text

    async def ask(text: str) -> str:
        stdin.write(f"{text}\n".encode())
        return await line()

    try:
        yield ask, line
    finally:
        stdin.close()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        await process.wait()


async def _commit(uri: str) -> None:
    """In the other process: commit each number that is asked for, and say when that had returned."""
    async with livelake.open(uri) as lake:
        while text := (await asyncio.to_thread(sys.stdin.readline)).strip():
            await lake.execute(f"INSERT INTO orders VALUES ('north', {int(text)})")
            print(time.monotonic(), flush=True)


async def _view(port: int, viewers: int) -> None:
    """In the other process: for each number, say when the last viewer had read it."""
    news: asyncio.Queue[int] = asyncio.Queue()

    async def look() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /live/sales HTTP/1.1\r\nHost: localhost\r\n\r\n")
        number, text = 0, b""
        while data := await reader.read(65_536):
            text = text[-64:] + data
            while (mark := b"number%dend" % number) in text:
                text = text[text.rindex(mark) + len(mark) :]
                news.put_nowait(number)
                number += 1

    looking = [asyncio.create_task(look()) for _ in range(viewers)]
    while not any(task.done() for task in looking):
        for _ in range(viewers):
            await news.get()
        print(time.monotonic(), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "commit":
        asyncio.run(_commit(sys.argv[2]))
    else:
        asyncio.run(_view(int(sys.argv[2]), int(sys.argv[3])))
