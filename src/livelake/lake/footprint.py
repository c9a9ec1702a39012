"""Footprints: what an answer depends on, from what its plan reads; and what commits mean for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from livelake.engine import Reads
from livelake.keys import KeyExpr
from livelake.keys import catalog as catalog_key
from livelake.keys import schema as schema_key
from livelake.keys import table as table_key
from livelake.lake.log import CountedLog, SnapshotLog

Logs = Mapping[str, SnapshotLog | CountedLog]

# What a declared ``ttl`` makes bearable: answers that grow old without any commit.
_BOUNDED_BY_TTL = frozenset({"time", "files"})
_LATEST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What an answer depends on.

    ``as_of``: the snapshot of each catalog that it was read at. ``tables``: qualified name → the snapshot that
    last changed that table. ``why_not``: why it may not be kept for others, None if it may.
    """

    as_of: Mapping[str, int] = field(default_factory=dict)
    tables: Mapping[str, int] = field(default_factory=dict)
    depends_on: frozenset[KeyExpr] = frozenset()
    valid_until: datetime | None = None
    why_not: str | None = None


def footprint_of(
    found: Reads,
    pinned: Mapping[str, int],
    logs: Logs,
    now: datetime,
    depends_on: frozenset[KeyExpr],
    ttl: float | None,
) -> Footprint:
    """The footprint of a query that reads ``found`` with its catalogs pinned; the rest is as declared."""
    why_not = found.why_not
    valid_until = None
    if ttl is not None and found.obstacles and found.obstacles.keys() <= _BOUNDED_BY_TTL:
        why_not = None
        valid_until = now + timedelta(seconds=ttl)
    tables: dict[str, int] = {}
    # A view or macro may lie in any catalog, and read nothing: its definition is read.
    keys = {*depends_on, *map(catalog_key, found.catalogs), *map(schema_key, pinned)}
    for table in found.tables:
        log = logs.get(table.catalog)
        name = f"{table.catalog}.{table.schema}.{table.table}"
        if log is None:
            why_not = why_not or f"it reads {name}, which nobody watches"
        elif table.pinned and table.snapshot is not None:
            tables[name] = table.snapshot  # AT (VERSION => n): it cannot change
        else:
            snapshot = pinned[table.catalog]
            known = log.version_of(table.schema, table.table) if isinstance(log, SnapshotLog) else snapshot
            tables[name] = min(known, snapshot)
            keys.add(table_key(table.catalog, table.schema, table.table))
    return Footprint(
        as_of=dict(pinned),
        tables=tables,
        depends_on=frozenset(keys),
        valid_until=valid_until,
        why_not=why_not,
    )


def verdicts(footprint: Footprint, logs: Logs) -> tuple[str, ...]:
    """The latest commits of the catalogs that were read, newest first, each with what it means for the answer."""
    lines: list[tuple[int, str]] = []
    for name in footprint.as_of:
        log = logs.get(name)
        for commit, touched in list(log.recent) if isinstance(log, SnapshotLog) else ():
            read = sorted(f"{name}.{s}.{t}" for s, t in touched if f"{name}.{s}.{t}" in footprint.tables)
            if commit.changes_nothing:
                verdict = "kept: compaction"
            elif commit.everything:
                verdict = f"dropped: {commit.everything}"
            else:
                verdict = f"dropped: {', '.join(read)}" if read else "kept: elsewhere"
            lines.append((commit.snapshot, f"{name} {commit.snapshot}: {verdict}"))
    return tuple(text for _, text in sorted(lines, reverse=True)[:_LATEST])
