"""Travel: a question asked as of past snapshots of its lakes.

``as_of={"sales": 42}`` reads the lake ``sales`` as it was at its snapshot 42, also inside of views. The clauses that
make DuckDB do so are put into the text by `livelake.engine.travelled`; here the plan proves that every scan of such
a lake is at its snapshot, and what cannot be proved is refused. A lake that is not named is read as it is now.

An answer at a past snapshot is never made stale by a commit. It is known under a key of its own, which tells the
histories of a lake apart: after a backup was restored, 42 may be another snapshot. Any thread may call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from livelake.engine import Engine, Reads, Session, TableRef, past_state, reads, travelled, untravelled
from livelake.errors import LivelakeError, QueryError, SnapshotAheadError, SnapshotGoneError, UsageError
from livelake.keys import catalog as catalog_key
from livelake.lake.answer import Answer
from livelake.lake.footprint import Footprint, Logs, footprint_of
from livelake.lake.log import CountedLog, SnapshotLog
from livelake.lake.planner import Planner
from livelake.lake.question import Query
from livelake.lake.watcher import Watcher

AsOf = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Trip:
    """A question ready to run: the text that reads the past, what it reads, and the newest snapshots meanwhile."""

    sql: str
    reads: Reads
    footprint: Footprint
    heads: Mapping[str, int]
    as_of: AsOf

    def rename(self, column: str) -> str:
        return untravelled(column, self.as_of)


class Travel:
    """Made for one lake, whose parts these are. ``default``: the catalog that is meant where none is named."""

    def __init__(self, engine: Engine, planner: Planner, watcher: Watcher, default: str) -> None:
        self._engine = engine
        self._planner = planner
        self._watcher = watcher
        self._logs: Logs = watcher.logs
        self._default = default

    # ---------------------------------------------------------------- before

    def key(self, as_of: AsOf) -> tuple[Any, ...]:
        """What makes these snapshots different from others in a cache key. Raises `UsageError` for what is none."""
        parts: list[tuple[str, int, int]] = []
        for name, number in sorted(as_of.items()):
            log = self._logs.get(name)
            if log is None:
                raise UsageError(f"as_of names {name!r}, which is not attached here; attached: {_listed(self._logs)}")
            if type(number) is not int or number < 0:
                raise UsageError(f"as_of wants the number of a snapshot of {name}, from 0, and this is {number!r}")
            parts.append((name, log.history if isinstance(log, SnapshotLog) else 0, number))
        return ("as of", *parts)

    async def arrive(self, as_of: AsOf | None) -> None:
        """Raise `SnapshotAheadError` for a snapshot that is still to come."""
        if as_of and self._ahead(as_of) is not None:
            await asyncio.to_thread(self._watcher.look)
            ahead = self._ahead(as_of)
            if ahead is not None:
                raise ahead

    def _ahead(self, as_of: AsOf) -> SnapshotAheadError | None:
        for name, number in as_of.items():
            log = self._logs[name]
            if isinstance(log, SnapshotLog) and number > log.head:
                return SnapshotAheadError(name, number, log.head)
        return None

    def kept(self, answer: Answer, as_of: AsOf, heads: Mapping[str, int]) -> Answer | None:
        """``answer``, which is true now, if it was the answer at ``as_of``, too; None where that is not certain.

        ``heads``: what had been seen before it was found to be true.
        """
        footprint = answer.footprint
        if footprint.files:
            return None  # they have no past
        for name, number in as_of.items():
            log, read_at = self._logs[name], footprint.as_of.get(name)
            if read_at is None or number > heads[name]:
                return None
            if isinstance(log, CountedLog):
                if number != read_at or not answer.exact:
                    return None
            elif number != read_at and not self._stood_still(log, footprint, number, read_at):
                return None
        return replace(answer, footprint=replace(footprint, as_of={**footprint.as_of, **as_of}))

    def _stood_still(self, log: SnapshotLog, footprint: Footprint, number: int, read_at: int) -> bool:
        """Whether no commit between the two snapshots could change what was read from this catalog."""
        name = log.catalog.name
        if catalog_key(name) in footprint.depends_on:
            return False
        if number >= read_at:
            return True  # nothing since: it is true now
        if number < max(log.known_since, log.defined_by):
            return False
        tables = [each.removeprefix(f"{name}.") for each in footprint.tables if each.startswith(f"{name}.")]
        split = [(each.partition(".")[0], each.partition(".")[2]) for each in tables]
        return all(log.changed_by(*table) <= number for table in split)

    # ---------------------------------------------------------------- on a worker's thread

    def foresee(self, session: Session, question: Query, counted: Mapping[str, int], now: datetime) -> Trip:
        """The text to run, and what its answer will depend on. In the transaction that then runs it.

        Raises QueryError for a text that cannot be read so, UsageError where a catalog has no such past.
        """
        assert question.as_of is not None
        self._planner.admit(session, question)
        heads = self._planner.pin(session, counted)
        past: dict[str, int] = {}
        for name, number in question.as_of.items():
            if name in counted:
                self._refuse_past(name, number, counted[name])
            elif number > heads[name]:
                raise SnapshotAheadError(name, number, heads[name])
            else:
                past[name] = number
        sql = travelled(session, question.sql, past, frozenset(self._logs), self._default)
        found = self._read(session, question, sql, past, heads)
        standing = {name: number for name, number in heads.items() if name not in past}
        footprint = footprint_of(
            _pinned(found, past, self._logs),
            standing,
            self._logs,
            now,
            question.depends_on,
            question.ttl,
            self._planner.until(session, found),
        )
        return Trip(sql, found, replace(footprint, as_of={**standing, **past}), heads, past)

    def check_there(self, session: Session, as_of: AsOf | None) -> None:
        """Raise `SnapshotGoneError` if one of these has been expired. Asked after a read, when the transaction is
        another or sees what is new: rows of a snapshot that was expired meanwhile may have been missed."""
        gone = self._gone(session, as_of)
        if gone is not None:
            raise gone

    def _gone(self, session: Session, as_of: AsOf | None) -> SnapshotGoneError | None:
        for name, number in (as_of or {}).items():
            log = self._logs[name]
            if isinstance(log, SnapshotLog):
                is_there, oldest, newest = log.span(session, number)
                if not is_there and number < newest:
                    return SnapshotGoneError(name, number, oldest)
        return None

    def blame(self, session: Session, as_of: AsOf | None, error: LivelakeError) -> LivelakeError:
        """``error`` of a read, or the better reason that there is for it."""
        try:
            return self._gone(session, as_of) or error
        except LivelakeError:
            return error

    # ---------------------------------------------------------------- inside

    def _refuse_past(self, name: str, number: int, count: int) -> None:
        if number != count:
            raise UsageError(
                f"as_of asks for state {number} of {name}, which keeps no past states: it is a DuckDB database, and "
                f"now at {count}; leave it out of as_of, or make it a DuckLake"
            )

    def _read(self, session: Session, question: Query, sql: str, past: AsOf, heads: Mapping[str, int]) -> Reads:
        """What the plan reads, every scan of a past catalog at its snapshot."""
        plan, _ = session.texts(sql, question.parameters)
        hidden = partial(self._hidden, session, question.sql, past, heads)
        found = reads(plan, session.parse(question.sql), heads={**heads, **past}, hidden=hidden)
        if not found.planned:
            raise QueryError(f"as of {_shown(past)}: {found.reason}")
        self._planner.accept(question, found)
        if found.catalogs & past.keys() or any(each.startswith("ducklake_") for each in found.unknown):
            raise QueryError(
                "as_of cannot tell what a catalog said of itself (its snapshots, files, options); leave it out"
            )
        for table in sorted(found.tables):
            number = past.get(table.catalog)
            is_now = number is not None and table.snapshot == heads[table.catalog] != number
            if is_now or past_state(table) in found.unknown:
                raise QueryError(
                    f"as_of does not reach {table.catalog}.{table.schema}.{table.table}, which is read by a macro, "
                    "by query('…'), or by a view of another catalog; name it in the text, or in a view beside it"
                )
        return found

    def _hidden(
        self,
        session: Session,
        sql: str,
        past: AsOf,
        heads: Mapping[str, int],
        names: frozenset[str],
        called: frozenset[str],
    ) -> frozenset[str]:
        """What views and macros hide. Views are read as they were then; DuckDB knows macros as they are now."""
        if names <= self._engine.builtins:
            return frozenset()
        for name, number in past.items():
            log = self._logs[name]
            if number == heads[name] or not isinstance(log, SnapshotLog):
                continue
            macros, views = log.redefined_since(session, number)
            if macros:
                raise QueryError(
                    f"as_of cannot tell what the macros of {name} were at {number}: they have been changed since, "
                    "and this query may call one; write out what they do"
                )
            if views:
                return frozenset({f"views of {name} as they were at {number}"})
        return self._planner.hidden(session, sql, heads)(names, called)


def _pinned(found: Reads, past: AsOf, logs: Logs) -> Reads:
    """``found``, with the tables of past catalogs as what no commit can change, each at the version it had."""

    def pinned(table: TableRef) -> TableRef:
        log = logs.get(table.catalog)
        if table.pinned or table.catalog not in past or not isinstance(log, SnapshotLog):
            return table
        known = min(past[table.catalog], log.version_of(table.schema, table.table))
        return replace(table, snapshot=known, pinned=True)

    return replace(found, tables=frozenset(map(pinned, found.tables)))


def _shown(as_of: AsOf) -> str:
    return ", ".join(f"{name} {number}" for name, number in as_of.items())


def _listed(logs: Logs) -> str:
    return ", ".join(sorted(logs))
