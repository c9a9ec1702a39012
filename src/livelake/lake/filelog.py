"""`FileLog`: looks after the files that kept answers were read from, and makes stale what they overtake.

The watcher calls `look` at each poll. A flight calls `begin` before it reads, which is the look that its answer
depends on, and `is_torn` after it. A name is watched from a flight until it changes: whoever reads it again begins
again. So a change by another process is applied within one poll, and one by `Lake.execute` before that returns.

Any thread may call; a lock guards looks and what follows from them, so that changes are applied in their order.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

from livelake.cache import AnalyticsCache, Change
from livelake.clock import Clock
from livelake.engine import Engine, Session
from livelake.errors import LivelakeError
from livelake.lake.files import FILES, Look, key_of, look
from livelake.lake.log import NEVER

MOST_NAMES: Final = 2_000
MOST_WATCHED: Final = 50_000
"""Names, and files behind them, that are watched at once. Beyond it the oldest make room, and their answers go."""


class FileLog:
    """Owns a session, for patterns. ``patience``: seconds without a look after which nothing is vouched for."""

    def __init__(self, engine: Engine, cache: AnalyticsCache, *, clock: Clock, patience: float) -> None:
        self.head = 0
        """How many changes have been seen: the version that a flight pins."""
        self._engine = engine
        self._cache = cache
        self._monotonic = clock.monotonic
        self._patience = patience
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._watched: OrderedDict[str, Look] = OrderedDict()
        self._count = 0
        self._seen_at = 0.0
        self._closed = False

    @property
    def blind_at(self) -> float:
        """When (monotonic) answers from files can no longer be vouched for, unless a look comes before."""
        return self._seen_at + self._patience if self._watched else math.inf

    @property
    def names(self) -> tuple[str, ...]:
        """What is watched."""
        return tuple(self._watched)

    def begin(self, names: Iterable[str]) -> tuple[int, Mapping[str, Look]]:
        """Look at what a flight is about to read, and watch it; the version to pin, and what was seen."""
        seen: dict[str, Look] = {}
        with self._lock:
            if not self._watched:
                self._seen_at = self._monotonic()
            for name in sorted(names):
                seen[name] = found = look(name, self._list)
                known = self._watched.get(name)
                if known is not None and known.overtaken_by(found):
                    self._changed(name)
                    known = None
                if known is None:
                    self._watch(name, found)
            return self.head, seen

    def is_torn(self, seen: Mapping[str, Look]) -> bool:
        """Whether files changed since `begin` saw them, under the read that has just ended."""
        torn = False
        with self._lock:
            for name, before in seen.items():
                found = look(name, self._list)
                if not before.same_files(found):
                    torn = True
                    self._changed(name)
        return torn

    def look(self, *, after_write: bool = False) -> None:
        """Look at every file now; on return what has changed has been applied.

        ``after_write``: we have written ourselves, perhaps within the tick of a look that is not settled.
        """
        with self._lock:
            began = self._monotonic()
            for name, known in list(self._watched.items()):
                found = look(name, self._list)
                if known.overtaken_by(found) or (after_write and not known.settled):
                    self._changed(name)
            self._seen_at = began

    def close(self) -> None:
        """Closing twice is fine."""
        with self._lock:
            self._closed = True
            self._watched.clear()
            if self._session is not None:
                self._session.close()
                self._session = None

    def _watch(self, name: str, found: Look) -> None:
        self._watched[name] = found
        self._count += len(found.files)
        while len(self._watched) > MOST_NAMES or (self._count > MOST_WATCHED and len(self._watched) > 1):
            oldest = next(iter(self._watched))
            self._changed(oldest, NEVER)

    def _changed(self, name: str, version: int | None = None) -> None:
        """Forget a name, and make stale what was read under it."""
        known = self._watched.pop(name, None)
        if known is None:
            return
        self._count -= len(known.files)
        self.head += 1
        self._cache.apply_all([Change(key_of(name), FILES, self.head if version is None else version)])

    def _list(self, pattern: str) -> list[str]:
        """What DuckDB takes a pattern for, by its own rules."""
        if self._closed:
            raise OSError("the lake is closed")
        try:
            if self._session is None:
                self._session = self._engine.cursor()
            return [str(row[0]) for row in self._session.fetchall("SELECT file FROM system.main.glob(?)", [pattern])]
        except LivelakeError as error:
            raise OSError(f"{pattern} cannot be listed: {error}") from error
