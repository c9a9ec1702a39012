"""Footprints: what an answer depends on, from what its plan reads; and what commits mean for it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from livelake.engine import Reads
from livelake.keys import KeyExpr, encode_chunk
from livelake.keys import catalog as catalog_key
from livelake.keys import schema as schema_key
from livelake.keys import table as table_key
from livelake.lake.changes import Commit
from livelake.lake.files import FILES, Look
from livelake.lake.files import key_of as file_key
from livelake.lake.log import CountedLog, SnapshotLog

Logs = Mapping[str, SnapshotLog | CountedLog]

# What a declared ``ttl`` makes bearable: answers that grow old without any commit.
_BOUNDED_BY_TTL = frozenset({"time", "files"})
_LATEST = 8
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What an answer depends on.

    ``as_of``: the snapshot of each catalog that it was read at. ``tables``: qualified name → the snapshot
    since which that table is known to be as it is. ``files``: the name of each file or pattern of this machine → what
    it was, looked at after ``files_version`` changes of files. ``why_not``: why it may not be kept for others, None
    if it may.
    """

    as_of: Mapping[str, int] = field(default_factory=dict)
    tables: Mapping[str, int] = field(default_factory=dict)
    depends_on: frozenset[KeyExpr] = frozenset()
    valid_until: datetime | None = None
    why_not: str | None = None
    files: Mapping[str, Look] = field(default_factory=dict)
    files_version: int | None = None

    @property
    def pins(self) -> Mapping[str, int]:
        """The version of each source of changes that the answer was read at: of catalogs, and of the file system."""
        return self.as_of if self.files_version is None else {**self.as_of, FILES: self.files_version}


def footprint_of(
    found: Reads,
    pinned: Mapping[str, int],
    logs: Logs,
    now: datetime,
    depends_on: frozenset[KeyExpr],
    ttl: float | None,
    until: datetime | None = None,
    seen: tuple[int, Mapping[str, Look]] | None = None,
) -> Footprint:
    """The footprint of a query that reads ``found`` with its catalogs pinned; the rest is as declared.

    ``until``: when the first of the query's steps of time is over. ``seen``: the version and the looks of the files
    of this machine that it names.
    """
    files_version, files = (None, {}) if seen is None else seen
    obstacles = dict(found.obstacles)
    if found.all_files and all(file.path in files for file in found.files):
        del obstacles["files"]
        failures = [look.failure for look in files.values() if look.failure]
        if failures:
            obstacles["files"] = f"its files cannot be watched: {failures[0]}"
    why_not = "; ".join(obstacles.values()) or None
    if ttl is not None and (obstacles or found.files) and obstacles.keys() <= _BOUNDED_BY_TTL:
        why_not = None
        until = min(until or _NEVER, now + timedelta(seconds=ttl))
    tables: dict[str, int] = {}
    # A view or macro may lie in any catalog, and read nothing: its definition is read.
    keys = {*depends_on, *map(catalog_key, found.catalogs), *map(schema_key, pinned), *map(file_key, files)}
    # A table of that name, in any catalog, would come before the file.
    keys |= {KeyExpr(f"lake/*/*/{encode_chunk(file.path)}") for file in found.files if file.function == "file"}
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
        valid_until=until,
        why_not=why_not,
        files=files,
        files_version=files_version,
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one commit means for an answer that was there before it. ``because``: which table, or why not."""

    catalog: str
    snapshot: int
    kept: bool
    because: str

    def __str__(self) -> str:
        return f"{self.catalog} {self.snapshot}: {'kept' if self.kept else 'dropped'}: {self.because}"


def verdicts(footprint: Footprint, logs: Logs) -> tuple[Verdict, ...]:
    """The latest commits of the catalogs that were read, newest first."""
    found: list[Verdict] = []
    for name in footprint.as_of:
        log = logs.get(name)
        if isinstance(log, SnapshotLog):
            for commit, touched in list(log.recent):
                found.append(Verdict(name, commit.snapshot, *_verdict(footprint, name, commit, touched)))
        elif log is not None:
            for number, written in list(log.recent):
                found.append(Verdict(name, number, *_written(footprint, name, written)))
    return tuple(sorted(found, key=lambda each: each.snapshot, reverse=True)[:_LATEST])


def _verdict(footprint: Footprint, name: str, commit: Commit, touched: Iterable[tuple[str, str]]) -> tuple[bool, str]:
    if commit.everything:
        return False, commit.everything
    if catalog_key(name) in footprint.depends_on:
        return False, "it asks the catalog itself"
    if commit.changes_nothing:
        return True, "compaction" if commit.compacts else "nothing changed"
    return _touched(footprint, name, touched)


def _written(footprint: Footprint, name: str, written: frozenset[tuple[str, str]] | None) -> tuple[bool, str]:
    """The same for a write of ours to a plain database: what it wrote, None for a statement that names no table."""
    if written is None:
        return False, "a statement that may have changed anything"
    if catalog_key(name) in footprint.depends_on:
        return False, "it asks the catalog itself"
    return _touched(footprint, name, written)


def _touched(footprint: Footprint, name: str, touched: Iterable[tuple[str, str]]) -> tuple[bool, str]:
    read = sorted(f"{name}.{s}.{t}" for s, t in touched if table_key(name, s, t) in footprint.depends_on)
    return (False, ", ".join(read)) if read else (True, "elsewhere")
