"""The harness: contenders in interleaved rounds, ratios against a named baseline, every raw round on file.

A *contender* is a function of a number ``n`` that does its operation ``n`` times, in a loop of its own so that no
call is added; a coroutine function is awaited. In each round every contender runs once, in a new order; the
garbage collector runs before and is off meanwhile. The measure is nanoseconds per operation, loop included
(about 10 ns, for all alike).

A *ratio* is the median over the rounds of (contender / baseline in the same round), so that a machine that slows
down slows both. A *bar* is printed beside the ratio as met or NOT met; nothing here asserts anything.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import os
import platform
import random
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"

Contender = Callable[[int], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How long to measure. ``quick`` only shows that everything runs; its numbers mean nothing."""

    rounds: int = 15
    quick: bool = False

    @property
    def round_seconds(self) -> float:
        """What one round of one contender should take."""
        return 0.002 if self.quick else 0.05


@dataclass(frozen=True, slots=True)
class Bar:
    """A claim and what was measured. ``measured`` and ``limit`` share a unit, which ``what`` tells."""

    what: str
    measured: float
    limit: float

    @property
    def met(self) -> bool:
        return self.measured <= self.limit

    def __str__(self) -> str:
        return (
            f"{'met    ' if self.met else 'NOT met'}  {self.what}: {_short(self.measured)} (bar {_short(self.limit)})"
        )


@dataclass(slots=True)
class Report:
    """The answer to one question: tables for people, bars, and the raw numbers behind them."""

    question: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        lines = [self.question, ""]
        for row in (self.columns, ["-" * width for width in widths], *self.rows):
            cells = (
                cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            lines.append("  ".join(cells).rstrip())
        lines += ["", *map(str, self.bars)] if self.bars else []
        lines += ["", *(f"* {note}" for note in self.notes)] if self.notes else []
        return "\n".join(lines)


class Timing:
    """Rounds of several contenders. ``rounds``: name → nanoseconds per operation, one number a round."""

    def __init__(self, rounds: dict[str, list[float]], operations: dict[str, int]) -> None:
        self.rounds = rounds
        self.operations = operations

    def median(self, name: str) -> float:
        """Nanoseconds per operation."""
        return statistics.median(self.rounds[name])

    def ratio(self, name: str, baseline: str) -> float:
        return statistics.median(self.ratios(name, baseline))

    def ratios(self, name: str, baseline: str) -> list[float]:
        """One ratio a round."""
        return [a / b for a, b in zip(self.rounds[name], self.rounds[baseline], strict=True)]

    def bar(self, name: str, baseline: str, limit: float) -> Bar:
        return Bar(f"{name} / {baseline}", self.ratio(name, baseline), limit)

    def rows(self, baseline: str, names: Mapping[str, str] | None = None) -> list[Sequence[str]]:
        """Rows for `COLUMNS`, in the order of the contenders. ``names``: how to show some of them."""
        rows = []
        for name in self.rounds:
            ratios = sorted(self.ratios(name, baseline))
            rows.append(
                (
                    (names or {}).get(name, name),
                    duration(self.median(name)),
                    f"{statistics.median(ratios):.2f}",
                    f"{ratios[0]:.2f}–{ratios[-1]:.2f}",
                )
            )
        return rows

    def raw(self) -> dict[str, Any]:
        return {"ns_per_operation": self.rounds, "operations_per_round": self.operations}


COLUMNS = ("contender", "an operation", "ratio", "rounds")


async def compare(
    contenders: Mapping[str, Contender], settings: Settings, *, operations: int | None = None
) -> Timing:
    """Run them all, interleaved. ``operations`` a round is fixed, or chosen so that a round lasts long enough."""
    counts = {}
    for name, run in contenders.items():
        counts[name] = operations or await _calibrate(run, settings.round_seconds)
    rounds: dict[str, list[float]] = {name: [] for name in contenders}
    order, shuffle = list(contenders), random.Random(0).shuffle
    for _ in range(settings.rounds):
        shuffle(order)
        for name in order:
            rounds[name].append(await _timed(contenders[name], counts[name]) / counts[name])
    return Timing(rounds, counts)


async def _calibrate(run: Contender, seconds: float) -> int:
    count = 1
    while True:
        spent = await _timed(run, count) / 1e9
        if spent >= seconds or count >= 10_000_000:
            return count
        count = max(count + 1, min(count * 10, int(count * seconds / max(spent, 1e-9)) + 1))


async def _timed(run: Contender, count: int) -> float:
    """Nanoseconds for ``count`` operations. One turn of the loop before it, so that old callbacks are not counted."""
    await asyncio.sleep(0)
    with collected():
        began = time.perf_counter_ns()
        pending = run(count)
        if inspect.isawaitable(pending):
            await pending
        return time.perf_counter_ns() - began


class collected:  # noqa: N801 - reads as a verb in `with collected():`
    """No garbage from before, no collector meanwhile."""

    def __enter__(self) -> None:
        gc.collect()
        gc.disable()

    def __exit__(self, *_exc: object) -> None:
        gc.enable()


# -------------------------------------------------------------------- words


def duration(nanoseconds: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.0f} ns"


def spread(seconds: Sequence[float]) -> tuple[str, str, str]:
    """Median, 90th percentile and worst of some latencies."""
    ordered = sorted(seconds)
    tenth = ordered[min(len(ordered) - 1, int(len(ordered) * 0.9))]
    return duration(statistics.median(ordered) * 1e9), duration(tenth * 1e9), duration(ordered[-1] * 1e9)


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 or number == int(number) else f"{number:.2f}"


# -------------------------------------------------------------------- record


def record(name: str, report: Report, settings: Settings) -> Path:
    """Write command, commit, machine and every raw round."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {
        "question": report.question,
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "commit": _commit(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": asdict(settings),
        "machine": machine(),
        "versions": {each: installed(each) for each in _PACKAGES},
        "columns": list(report.columns),
        "rows": [list(row) for row in report.rows],
        "bars": [{**asdict(bar), "met": bar.met} for bar in report.bars],
        "notes": report.notes,
        "raw": report.raw,
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def installed(package: str) -> str | None:
    """The version of a distribution, None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    cpu = [line for line in _read("/proc/cpuinfo").splitlines() if line.startswith("model name")]
    return {
        "cpu": cpu[0].partition(":")[2].strip() if cpu else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load": os.getloadavg(),
    }


_PACKAGES = (
    "livelake",
    "duckdb",
    "moka-py",
    "cashews",
    "aiocache",
    "dogpile.cache",
    "async-lru",
    "cachetools-async",
    "theine",
)


def _commit() -> str:
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],  # "-dirty": the numbers are of no commit
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
