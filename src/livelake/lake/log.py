"""Commit logs: what has been committed to a catalog since one looked last.

A `SnapshotLog` reads a DuckLake's own log from its metadata tables. A `CountedLog` stands in for a plain DuckDB
file, whose lock makes this process the only one that writes: it counts our own writes.

Not thread-safe: the watcher that owns a log holds a lock around every call.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

from livelake.engine import Engine, Session, identifier, literal
from livelake.errors import LivelakeError
from livelake.keys import KeyExpr
from livelake.keys import catalog as catalog_key
from livelake.keys import layout as layout_key
from livelake.keys import table as table_key
from livelake.lake import stillness
from livelake.lake.attachment import Attachment
from livelake.lake.catalog import Catalog, Log
from livelake.lake.changes import Commit, Names, decode


@dataclass(frozen=True, slots=True)
class News:
    """What one look at a log found: the keys that changed, each at its snapshot, and the commits behind them."""

    changes: tuple[tuple[KeyExpr, int], ...]
    commits: tuple[Commit, ...] = ()


NO_NEWS = News(())
NEVER = 2**62
"""The version of a change that no snapshot vouches for."""


class SnapshotLog:
    """The log of one DuckLake catalog. Made on an attached catalog; begins at its present head."""

    def __init__(self, engine: Engine, attachment: Attachment) -> None:
        self.catalog = attachment.catalog
        self._attachment = attachment
        self.history = 0
        """Counts the histories that this name has had: a backup that is restored begins another."""
        self.lost_head = -1
        """The newest snapshot of any history that is gone."""
        self.known_since = 0
        """From this snapshot on every commit is known."""
        self.head = -1
        self.schema_version = -1
        self.schema_since = 0
        """The first snapshot of this schema version that we know of."""
        self.recent: deque[tuple[Commit, frozenset[tuple[str, str]]]] = deque(maxlen=32)
        self._began = ""
        self._floor = 0
        self._versions: dict[tuple[str, str], int] = {}
        self._suspected: dict[tuple[str, str], int] = {}  # flushed before we came, and perhaps changed
        self._names = Names({})
        # SQLite deletes its WAL when the last reader closes the file, and DuckDB closes it after each
        # transaction: every reader would stall. Two sessions take turns, so that one always holds it open.
        self._turns = deque(engine.cursor() for _ in range(2 if self.catalog.log is Log.SQLITE else 0))
        self._session = engine.cursor()
        self._held = contextlib.ExitStack()
        self._read_names()
        self._read_all()

    def version_of(self, schema: str, table: str) -> int:
        """The last snapshot known to have changed a table, or a view, or something that nobody can name."""
        return max(self._floor, self._versions.get((schema, table), 0))

    def changed_by(self, schema: str, table: str) -> int:
        """The last snapshot that may have changed a table, or what its name means. True for what was committed
        since `known_since`."""
        return max(self.version_of(schema, table), self._suspected.get((schema, table), 0))

    @property
    def defined_by(self) -> int:
        """The last snapshot known to have changed a view or a macro, or something that nobody can name."""
        return self._floor

    def span(self, session: Session, snapshot: int) -> tuple[bool, int, int]:
        """Whether ``snapshot`` can be read now, the oldest that can, and the newest."""
        select = "SELECT min(snapshot_id), max(snapshot_id), max(snapshot_id = {}) FROM {{0}}ducklake_snapshot"
        low, high, there = self._metadata_or_keeper(session, select.format(int(snapshot)))[0]
        return int(there or 0) > 0, -1 if low is None else int(low), -1 if high is None else int(high)

    def redefined_since(self, session: Session, snapshot: int) -> tuple[bool, bool]:
        """Whether macros, and whether views, were made, changed or dropped after ``snapshot``."""
        after = f"begin_snapshot > {int(snapshot)} OR end_snapshot > {int(snapshot)}"
        counts = [f"(SELECT count(*) FROM {{0}}ducklake_{kind} WHERE {after})" for kind in ("macro", "view")]
        macros, views = self._metadata_or_keeper(session, f"SELECT {', '.join(counts)}")[0]
        return int(macros) > 0, int(views) > 0  # SQLite says them as text

    def look_at_file(self) -> stillness.Look | None:
        """How the catalog's file is before a transaction, for `moved_since`; None if that would tell nothing."""
        path = self.catalog.path
        return stillness.look(path) if path is not None and self.catalog.log is Log.SQLITE else None

    def moved_since(
        self, session: Session, snapshot: int, read: Container[tuple[str, str]], before: stillness.Look | None = None
    ) -> bool:
        """Whether rows of what was ``read`` were moved after ``snapshot``; asked when a read pinned to it has ended.

        ``before``: how the file was before that transaction began.

        Outside of DuckDB files the catalog's own tables are not read at one state. A transaction that is pinned
        before a flush and reads after it silently misses the rows that were moved (measured: 240 of 280). One beside
        a commit that replaces a table's file of deletes brings back what the older one had deleted (8 of 203 such
        reads, with DuckLake 1.0 alone; none of 996 beside other commits).
        """
        if self.catalog.log is Log.DUCKDB:
            return False
        if self.catalog.path is not None and stillness.is_still(self.catalog.path, before):
            return False
        commits = (decode(*row[:3]) for row in self._select(session, snapshot + 1))
        return any(commit.compacts or self._is_among(commit.deletes, read) for commit in commits)

    def _is_among(self, tables: Iterable[int], read: Container[tuple[str, str]]) -> bool:
        known = (self._names.by_id.get(each) for each in tables)
        return any(names is None or any(name in read for name in names) for names in known)

    def schema_at(self, snapshot: int) -> int | None:
        """Which schema a snapshot has, as a number; None where the log as read so far does not say.

        Schema 3 of one history is not schema 3 of another.
        """
        known = self.schema_since <= snapshot <= self.head
        return self.schema_version | self.history << 32 if known else None

    def look(self) -> News:
        """Read what is new. Raises `SourceError` if the catalog cannot be read."""
        rows = self._rows(self.head)
        if len(rows) == 1 and rows[0][0] == self.head and rows[0][3] == self._began:
            return NO_NEWS
        if rows and rows[0][0] == self.head and rows[0][3] == self._began:
            rows = rows[1:]
        elif not rows or rows[0][0] != self.head + 1:
            return self._start_over(rows)
        commits = tuple(decode(*row[:3]) for row in rows)
        if commits[-1].schema_version != self.schema_version or self._unknown(commits):
            self._read_names()
        # Each by itself, in their order: what an answer was overtaken by is the first commit that it has not seen.
        changes = tuple(change for commit in commits for change in self._note(commit).items())
        self._began = rows[-1][3]
        return News(changes, commits)

    def committed_at(self, session: Session, snapshot: int) -> str | None:
        """When ``snapshot`` was committed, as the catalog writes it; None if it is not there."""
        select = (
            f"SELECT CAST(snapshot_time AS VARCHAR) FROM {{0}}ducklake_snapshot WHERE snapshot_id = {int(snapshot)}"
        )
        rows = self._metadata_or_keeper(session, select)
        return str(rows[0][0]) if rows else None

    def close(self) -> None:
        """The last to leave a SQLite file may write, and so its WAL goes into the file, which may be copied then."""
        with contextlib.suppress(LivelakeError):
            self._held.close()
        if self._turns:
            with contextlib.suppress(LivelakeError):
                self._metadata(self._session, "SELECT count(*) FROM {0}ducklake_snapshot")
        for session in (self._session, *self._turns):
            session.close()

    def _note(self, commit: Commit) -> dict[KeyExpr, int]:
        """Take one commit into account; what it changed."""
        if commit.schema_version != self.schema_version:
            self.schema_version, self.schema_since = commit.schema_version, commit.snapshot
        self.head = commit.snapshot
        touched = None if commit.everything else self._names.of_commit(commit)
        if touched is not None and commit.doubtful:
            touched |= self._really_changed(commit)
        self.recent.append((commit, touched or frozenset()))
        if touched is None:
            self._floor = commit.snapshot
            return {catalog_key(self.catalog.name): commit.snapshot}
        for name in touched:
            self._versions[name] = commit.snapshot
        changes = {table_key(self.catalog.name, *name): commit.snapshot for name in touched}
        if commit.compacts or not touched:  # for those who ask the catalog itself: its snapshot, its files
            changes[layout_key(self.catalog.name)] = commit.snapshot
        return changes

    def _really_changed(self, commit: Commit) -> frozenset[tuple[str, str]]:
        """Of tables whose inlined deletes were flushed, those whose rows differ. The change feed is exact."""
        changed: set[tuple[str, str]] = set()
        for table_id in commit.doubtful:
            names = self._names.by_id.get(table_id, frozenset())
            for schema, table in names:
                feed = f"{identifier(self.catalog.name)}.table_changes({literal(table)}, ?, ?)"
                try:
                    rows = self._session.fetchall(f"SELECT count(*) FROM {feed}", [commit.snapshot, commit.snapshot])
                except LivelakeError:  # not the table of that name any more, or another schema: be careful
                    rows = [(1,)]
                if rows[0][0] or schema != "main":
                    changed.add((schema, table))
        return frozenset(changed)

    def _unknown(self, commits: tuple[Commit, ...]) -> bool:
        return any(commit.tables - self._names.by_id.keys() for commit in commits)

    def _start_over(self, rows: list[tuple[int, int, str | None, str]]) -> News:
        """The log does not continue where we left it: gone back, another lake, or expired past us."""
        self.history += 1
        self.lost_head = max(self.lost_head, self.head)
        self._read_names()
        self._read_all()
        reason = "the commit log does not continue where it was left"
        commit = Commit(self.head, self.schema_version, everything=reason)
        self._floor = self.head
        self.recent.append((commit, frozenset()))
        # An answer pinned at a higher number belongs to a history that is gone: no version vouches for it.
        return News(((catalog_key(self.catalog.name), NEVER),), (commit,))

    def _read_all(self) -> None:
        self._versions.clear()
        self._suspected.clear()
        self.recent.clear()
        self._floor = 0
        self.schema_version = -1
        before = -1
        rows = self._rows(0)
        for row in rows:
            commit = decode(*row[:3])
            if commit.schema_version != self.schema_version:
                self.schema_version, self.schema_since = commit.schema_version, commit.snapshot
            touched = None if commit.everything else self._names.of_commit(commit)
            self.recent.append((commit, touched or frozenset()))
            if touched is None:
                self._floor = commit.snapshot
            for name in touched or ():
                self._versions[name] = commit.snapshot
            for table_id in commit.doubtful:
                self._suspected.update(dict.fromkeys(self._names.by_id.get(table_id, ()), commit.snapshot))
            if commit.snapshot != before + 1:  # those between were expired, and what they did with them
                self.known_since = commit.snapshot
            before = commit.snapshot
        self.head, self._began = (rows[-1][0], rows[-1][3]) if rows else (-1, "")

    def _read_names(self) -> None:
        rows = self._metadata(
            self._session,
            "SELECT DISTINCT t.table_id, s.schema_name, t.table_name"
            " FROM {0}ducklake_table t JOIN {0}ducklake_schema s USING (schema_id)",
        )
        self._names = Names.of([(int(row[0]), str(row[1]), str(row[2])) for row in rows])

    def _rows(self, since: int) -> list[tuple[int, int, str | None, str]]:
        """`_select` on a session of our own, and in its turn."""
        self._session.refresh()  # which is where everything is opened anew, if DuckDB gave up
        self._attachment.check_file()
        if not self._turns:
            return self._select(self._session, since)
        next_one = self._turns[-1]
        next_one.refresh()
        with contextlib.ExitStack() as beginning:
            beginning.enter_context(next_one.transaction(lasting=True))
            rows = self._select(next_one, since)
            before, self._held = self._held, beginning.pop_all()
        with contextlib.suppress(LivelakeError):  # it read only; and everything may have been opened anew meanwhile
            before.close()
        self._turns.rotate()
        return rows

    def _select(self, session: Session, since: int) -> list[tuple[int, int, str | None, str]]:
        """(snapshot, schema version, changes, time) from ``since`` on, in order."""
        select = (
            "SELECT s.snapshot_id, s.schema_version, c.changes_made, CAST(s.snapshot_time AS VARCHAR)"
            " FROM {0}ducklake_snapshot s LEFT JOIN {0}ducklake_snapshot_changes c"
            f" ON c.snapshot_id = s.snapshot_id WHERE s.snapshot_id >= {int(since)} ORDER BY 1"
        )
        rows = self._metadata_or_keeper(session, select)
        return [(int(row[0]), int(row[1]), None if row[2] is None else str(row[2]), str(row[3])) for row in rows]

    def _metadata_or_keeper(self, session: Session, select: str) -> list[tuple[Any, ...]]:
        """Rows of the catalog's own tables, by the shortest way."""
        if self.catalog.log is Log.SQLITE:
            return session.fetchall(
                f"FROM system.main.sqlite_query({literal(self.catalog.keeper)}, {literal(select.format(''))})"
            )
        return self._metadata(session, select)

    def _metadata(self, session: Session, select: str) -> list[tuple[Any, ...]]:
        """Rows of the catalog's own tables, whose name changes when it is attached again."""
        while True:
            generation = self._attachment.generation
            try:
                return session.fetchall(select.format(self._attachment.metadata + "."))
            except LivelakeError:
                if self._attachment.settled(generation):
                    raise


class CountedLog:
    """Our own writes to a plain DuckDB database, counted."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.head = 0
        self.recent: deque[tuple[int, frozenset[tuple[str, str]] | None]] = deque(maxlen=32)
        """The latest writes: which one, and what it wrote, None for who knows what."""

    def written(self, tables: Iterable[tuple[str, str]] | None) -> News:
        """A write of ours has been committed: to these (schema, table), or None: to who knows what."""
        self.head += 1
        tables = None if tables is None else frozenset(tables)
        self.recent.append((self.head, tables))
        if tables is None:
            return News(((catalog_key(self.catalog.name), self.head),))
        return News(tuple((table_key(self.catalog.name, *table), self.head) for table in tables))
