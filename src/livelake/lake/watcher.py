"""The watcher: sees every commit of the attached catalogs, and makes stale what it touched.

One thread looks at every log each ``interval`` seconds with sessions of its own; whoever has just written looks
at once (`look`). A look and what follows from it happen under one lock, so that commits are applied in their
order. When looks fail or come late the lake is *blind*: what the watcher cannot vouch for is not served as
fresh until it sees again. A remote catalog has a `Scout`: here its looks are joined to the others. The files that
queries read are looked at in the same poll (`FileLog`), under a lock of their own.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable, Mapping

from livelake.cache import AnalyticsCache, Change
from livelake.clock import Clock
from livelake.engine import Engine
from livelake.errors import LivelakeError, LostError
from livelake.keys import KeyExpr, encode_chunk
from livelake.lake.filelog import FileLog
from livelake.lake.files import Look
from livelake.lake.log import NEVER, CountedLog, News, SnapshotLog
from livelake.lake.scout import Scout

log = logging.getLogger("livelake.lake")

# A poll older than this many intervals, and at least this many seconds, makes the lake blind.
_BLIND_INTERVALS = 4
_BLIND_AT_LEAST = 2.0


class Watcher:
    """Owns the logs of one lake. Safe to call from any thread; starts no thread before `start`."""

    def __init__(
        self,
        logs: Iterable[SnapshotLog | CountedLog],
        cache: AnalyticsCache,
        *,
        clock: Clock,
        interval: float,
        engine: Engine,
        scouts: Iterable[Scout] = (),
    ) -> None:
        self.interval = interval
        self.scouts = {scout.name: scout for scout in scouts}
        for scout in self.scouts.values():
            scout.changed, scout.lost, scout.seen = self.look, self._lose, self._see
        self.logs: dict[str, SnapshotLog | CountedLog] = {log.catalog.name: log for log in logs}
        self.failure: LivelakeError | None = None
        self.looks = 0
        self._snapshots = [log for log in self.logs.values() if isinstance(log, SnapshotLog)]
        self._cache = cache
        self._monotonic = clock.monotonic
        self._lock = threading.Lock()
        self.settled = threading.Lock()
        """Held while a commit of ours is made and applied, and by whoever must not read in between."""
        self._applied = {name: log.head for name, log in self.logs.items()}
        self._blind_after = max(_BLIND_INTERVALS * interval, _BLIND_AT_LEAST)
        self._seen_until = clock.monotonic() + self._blind_after if self._snapshots else math.inf
        self.blind_at = self._seen_until
        """When (monotonic) what is cached can no longer be vouched for, unless a look comes before."""
        self.files = FileLog(engine, cache, clock=clock, patience=self._blind_after)
        self._is_lost = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to poll. A lake without any commit log needs no thread until a query reads a file."""
        if self._snapshots:
            self._begin_polling()
        for scout in self.scouts.values():
            scout.start()

    def stop(self) -> None:
        """End the thread and wait for it. Stopping twice is fine."""
        self._stop.set()
        for scout in self.scouts.values():
            scout.stop()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        self.files.close()
        with self._lock:
            for each in self._snapshots:
                each.close()
            self._snapshots = []
            self.scouts = {}
            self.blind_at = self._seen_until = math.inf

    def _begin_polling(self) -> None:
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._poll, name="livelake-watcher", daemon=True)
                self._thread.start()

    @property
    def is_blind(self) -> bool:
        """Whether commits may have happened that nobody here has seen for longer than the promise allows."""
        return self._monotonic() >= self.blind_at

    @property
    def lag(self) -> float:
        """Seconds since the last look that succeeded began; 0 where there is no log to look at."""
        return max(0.0, self._monotonic() - (self._seen_until - self._blind_after))

    def look(self) -> None:
        """Look at every log now; on return everything committed before the call has been applied.

        Raises `SourceError` when a catalog cannot be read.
        """
        with self._lock:
            began = self._monotonic()
            for each in self._snapshots:
                self._apply(each.catalog.name, each.look())
            self._seen_until = began + self._blind_after if self._snapshots else math.inf
            self._is_lost = False
            self.blind_at = self._vouched_until()
            self.looks += 1

    def wrote(self, catalog: str, tables: Iterable[tuple[str, str]] | None) -> int:
        """We have committed to a database without a log, to these tables or, with None, to any: apply it.

        Returns the count of writes so far.
        """
        with self._lock:
            counted = self.logs[catalog]
            assert isinstance(counted, CountedLog)
            self._apply(catalog, counted.written(tables))
            return counted.head

    def watch_files(self, names: Iterable[str]) -> tuple[int, Mapping[str, Look]]:
        """`FileLog.begin`, and from now on the files are looked at in each poll."""
        found = self.files.begin(names)
        self._see()
        self._begin_polling()
        return found

    def heads(self) -> Mapping[str, int]:
        """The newest state of each catalog that has been applied."""
        return dict(self._applied)

    def _apply(self, catalog: str, news: News) -> None:
        if news.changes:
            self._cache.apply_all(Change(key, catalog, version) for key, version in news.changes)
        self._applied[catalog] = self.logs[catalog].head  # only now: whoever sees it reads what is true

    def _vouched_until(self) -> float:
        # What is merely busy may answer the next look. A file that is gone, or is another one, has no news to come.
        seen_until = self._seen_until - self._blind_after if self._is_lost else self._seen_until
        return min(seen_until, self.files.blind_at, *(scout.blind_at for scout in self.scouts.values()))

    def _see(self) -> None:
        """A remote catalog was heard of, or files were looked at."""
        with self._lock:
            self.blind_at = self._vouched_until()

    def _lose(self, scout: Scout) -> None:
        """A remote catalog is silent: drop what was read from its tables, and nothing else."""
        tables = KeyExpr(f"lake/{encode_chunk(scout.name)}/*/*")
        with self._lock:
            self._apply(scout.name, News(((tables, NEVER),)))
            self.blind_at = self._vouched_until()

    def _poll(self) -> None:
        while not self._stop.wait(self.interval):
            try:
                self.files.look()
                self._see()
                self.look()
            except LivelakeError as error:
                if self.failure is None:
                    log.warning("the commit log cannot be read; soon nothing that depends on it is fresh: %s", error)
                self._is_lost = isinstance(error, LostError)
                self._see()
                self.failure = error
            except Exception:
                log.exception("the watcher met an error that it does not know; it goes on")
            else:
                if self.failure is not None:
                    log.warning("the commit log can be read again")
                self.failure = None
