"""The one exception family of livelake, branched by who can mend the matter.

Every message says what was asked, what is so, and what to do. Foreign errors (DuckDB, the operating system)
are mapped once, at the door of the library that raises them, with ``raise … from``.

    LivelakeError
    ├── UsageError           the caller: the call, the SQL, a parameter, a file of theirs
    │   ├── KeyExprError       a key expression that is not one
    │   ├── EventError         an event that is not one, or whose bytes cannot be read
    │   ├── QueryError         SQL that is refused, or that DuckDB cannot run
    │   ├── ParameterError     a query parameter that is missing, unknown or of the wrong type
    │   ├── ConfigError        a dashboard folder or setting; names file and line
    │   ├── ForbiddenError     what is asked for is not for whoever asks
    │   ├── NotFoundError      no query, dashboard, table or snapshot of that name
    │   │   ├── SnapshotGoneError    a snapshot that has been expired
    │   │   └── SnapshotAheadError   a snapshot that has not been committed yet
    │   └── ClosedError        used after close
    ├── SourceError          whoever runs the data: a file, catalog, lock, network
    │   ├── LockedError        another process holds the database file
    │   └── ConflictError      another transaction was first; nothing was written, trying again is safe
    ├── BusyError            nobody yet: try again later (queue full, deadline passed)
    └── InternalError        us: an invariant broke; please report it
"""

from __future__ import annotations

from pathlib import Path


class LivelakeError(Exception):
    """Root of all errors that livelake raises on purpose."""


class UsageError(LivelakeError):
    """The caller can mend it."""


class KeyExprError(UsageError, ValueError):
    """A text that is not a key expression; the message names the chunk and the rule."""


class EventError(UsageError, ValueError):
    """An event that cannot be published, or bytes that are none; the message names the field or limit."""


class QueryError(UsageError):
    """SQL that is refused by the statement gate, or that DuckDB cannot parse, bind or run."""


class ParameterError(UsageError, ValueError):
    """A query parameter that is missing, unknown, of the wrong type, or out of its bounds."""


class ConfigError(UsageError):
    """A dashboard folder or setting that cannot be used; ``file`` and ``line`` say where (line counts from 1)."""

    def __init__(self, message: str, *, file: Path | None = None, line: int | None = None) -> None:
        where = "" if file is None else f"{file}:{line}: " if line else f"{file}: "
        super().__init__(where + message)
        self.file = file
        self.line = line


class ForbiddenError(UsageError):
    """What is asked for is not for whoever asks: a claim is missing, or nobody says who asks."""


class NotFoundError(UsageError, LookupError):
    """Nothing of that name; the message lists what there is."""


class SnapshotGoneError(NotFoundError):
    """The snapshot that was asked for has been expired; ``oldest`` is what is left, ``catalog`` where."""

    def __init__(self, catalog: str, snapshot: int, oldest: int) -> None:
        super().__init__(
            f"snapshot {snapshot} of {catalog} has been expired; the oldest that can be read is {oldest}, "
            "and without as_of the newest is"
        )
        self.catalog, self.snapshot, self.oldest = catalog, snapshot, oldest


class SnapshotAheadError(NotFoundError):
    """The snapshot that was asked for has not been committed yet; ``head`` is the newest, ``catalog`` where."""

    def __init__(self, catalog: str, snapshot: int, head: int) -> None:
        super().__init__(
            f"snapshot {snapshot} of {catalog} is ahead of its newest, {head}; to wait for a write, hand its token "
            "to not_before"
        )
        self.catalog, self.snapshot, self.head = catalog, snapshot, head


class ClosedError(UsageError):
    """Used after it was closed."""


class SourceError(LivelakeError):
    """Whoever runs the data can mend it: a missing file, an unreadable catalog, a network."""


class LockedError(SourceError):
    """Another process holds the database file; the message names it and the remedy."""


class ConflictError(SourceError):
    """Another transaction changed the same data first; this one left nothing behind. Safe to try again."""


class BusyError(LivelakeError):
    """Nothing is wrong but time: the queue is full or a deadline has passed. Safe to try again."""


class InternalError(LivelakeError):
    """An invariant of livelake broke. Please report it with the message."""
