"""A sample as rows, the tables that they go into, and the rules that keep a lake of them small. Pure.

Nothing here knows a connection, a thread or a task. Each sample is one commit: run `commit(sample)` in one
transaction. Every `UPKEEP_EVERY` commits, hand `upkeep()` to `Lake.maintain`. What that keeps bounded, with the traps
that shaped it, stands at `commit`.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from livelake.lake import Upkeep

Statement: TypeAlias = tuple[str, list[object]]
"""SQL and its positional parameters."""

CATALOG = "machine"
BUSIEST = 8
"""Processes in a sample; below `INLINED_ROWS`, so that no sample writes a file of its own."""
KEEP_MINUTES = 10
KEEP_SNAPSHOTS = 300
"""Five minutes at a commit a second: how long a poller or a reader may hold on to one."""
UPKEEP_EVERY = 60
GRACE_SECONDS = 30
"""Less than a round: what fell out of use in one is removed by the next."""
INLINED_ROWS = 10

SCHEMA: tuple[str, ...] = (
    # Rates are bytes a second; totals, and cpu_seconds, count from the sampler's start.
    f"""CREATE TABLE IF NOT EXISTS {CATALOG}.main.system (
        time TIMESTAMPTZ, number BIGINT, load1 DOUBLE, load5 DOUBLE, load15 DOUBLE,
        cpu_percent DOUBLE, cpu_seconds DOUBLE,
        mem_used BIGINT, mem_available BIGINT, mem_total BIGINT, swap_used BIGINT,
        disk_read DOUBLE, disk_write DOUBLE, disk_read_total BIGINT, disk_write_total BIGINT,
        disk_used BIGINT, disk_size BIGINT,
        net_recv DOUBLE, net_sent DOUBLE, net_recv_total BIGINT, net_sent_total BIGINT,
        processes INTEGER, uptime DOUBLE)""",
    f"CREATE TABLE IF NOT EXISTS {CATALOG}.main.cpu (time TIMESTAMPTZ, core INTEGER, percent DOUBLE)",
    f"""CREATE TABLE IF NOT EXISTS {CATALOG}.main.process (
        time TIMESTAMPTZ, pid INTEGER, name VARCHAR, cpu_percent DOUBLE, rss BIGINT)""",
)
"""Run once, in one transaction. The column is ``time``: a bare ``at`` is a keyword to DuckDB (time travel)."""
TABLES = ("system", "cpu", "process")


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRow:
    """The machine as a whole. Sizes are bytes, ``disk_read`` to ``net_sent`` bytes a second, None unknown."""

    time: datetime
    number: int
    load1: float | None
    load5: float | None
    load15: float | None
    cpu_percent: float | None
    cpu_seconds: float
    mem_used: int | None
    mem_available: int | None
    mem_total: int | None
    swap_used: int | None
    disk_read: float | None
    disk_write: float | None
    disk_read_total: int
    disk_write_total: int
    disk_used: int | None
    disk_size: int | None
    net_recv: float | None
    net_sent: float | None
    net_recv_total: int
    net_sent_total: int
    processes: int | None
    uptime: float | None


@dataclass(frozen=True, slots=True)
class CoreRow:
    """How busy one core was since the sample before, 0 to 100."""

    time: datetime
    core: int
    percent: float | None


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One of the busiest processes; 100 percent is one core. ``rss`` is bytes."""

    time: datetime
    pid: int
    name: str | None
    cpu_percent: float | None
    rss: int | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the machine; its rows share one ``time``, which never goes back."""

    system: SystemRow
    cores: tuple[CoreRow, ...]
    processes: tuple[ProcessRow, ...]


def commit(sample: Sample) -> list[Statement]:
    """All that one transaction does for a sample: `retention`, then `inserts`. One sample is one snapshot.

    What holds the lake's size, measured over an hour of commits with a SQLite catalog (0.34 MB, 51 files,
    301 snapshots, level from the eleventh minute on):

    - A sample's rows are few enough to be *inlined*: they live in the catalog, no file a second.
    - Every 60 commits `upkeep` flushes them into one Parquet file a table. Deleted inlined rows stay in the
      catalog until a flush, whatever is expired: a table that is only ever inlined grows without bound.
    - `retention` deletes *whole files*, which drops them from the snapshot. A file that is emptied by several
      deletes, or by one so small that it is inlined itself, is never dropped.
    - `upkeep` expires all but the newest 300 snapshots and removes files one round after they fell out of
      use: a statement that has begun finishes.

    An open *transaction* is another matter: over a SQLite catalog, one that read before a flush and reads
    again after it misses the rows that were flushed, without an error (a DuckDB catalog isolates it).
    Whoever runs `upkeep` holds such transactions off meanwhile.
    """
    return [*retention(sample), *inserts(sample)]


def options(cores: int) -> list[str]:
    """Once, after `SCHEMA`: how many rows an insert may have to be inlined. They stand over ATTACH's.

    At least what one sample inserts, less than what `UPKEEP_EVERY` of them flush (see `commit`).
    """
    limits = {"system": INLINED_ROWS, "cpu": max(INLINED_ROWS, cores), "process": INLINED_ROWS}
    return [
        f"CALL {CATALOG}.set_option('data_inlining_row_limit', {limit}, schema => 'main', table_name => '{table}')"
        for table, limit in limits.items()
    ]


def inserts(sample: Sample) -> list[Statement]:
    """A statement a table that has rows."""
    tables: dict[str, tuple[SystemRow | CoreRow | ProcessRow, ...]] = {
        "system": (sample.system,),
        "cpu": sample.cores,
        "process": sample.processes,
    }
    found: list[Statement] = []
    for table, rows in tables.items():
        values = [astuple(row) for row in rows]
        if values:
            row = f"({', '.join('?' * len(values[0]))})"
            sql = f"INSERT INTO {CATALOG}.main.{table} VALUES {', '.join([row] * len(values))}"
            found.append((sql, [value for row_values in values for value in row_values]))
    return found


def retention(sample: Sample) -> list[Statement]:
    """Drops files that hold nothing newer than `KEEP_MINUTES`; empty but for every `UPKEEP_EVERY`-th sample.

    For a lake only: ``filename`` is DuckLake's virtual column. Inside the sample's own transaction, because
    each delete is a change that readers of the table would otherwise be told of once more.
    """
    if sample.system.number % UPKEEP_EVERY:
        return []
    return [
        (
            f"DELETE FROM {CATALOG}.main.{table} WHERE filename IN "
            f"(SELECT filename FROM {CATALOG}.main.{table} GROUP BY filename "
            f"HAVING max(time) < ?::TIMESTAMPTZ - INTERVAL {KEEP_MINUTES} MINUTE)",
            [sample.system.time],
        )
        for table in TABLES
    ]


def upkeep() -> Upkeep:
    """One round every `UPKEEP_EVERY` commits (0.1 s); see `commit`. No merging: retention drops whole files."""
    nothing = timedelta(0)
    return Upkeep(
        steps=frozenset({"flush", "expire", "clean"}),
        expire_after=nothing,
        keep=KEEP_SNAPSHOTS + 1,
        grace=timedelta(seconds=GRACE_SECONDS),
    )
