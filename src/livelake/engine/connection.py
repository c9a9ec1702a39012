"""`Engine`: one DuckDB instance in memory, its sessions and its pool.

Any thread may use an engine. Catalogs are attached to it by SQL; extensions are loaded from wheels; Python's
variables are invisible to SQL. It runs what it is given: deciding what may run is `statement`'s and the caller's.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Final
from uuid import uuid4

import duckdb

from livelake.engine import extensions
from livelake.engine.counters import Counters, EngineStats
from livelake.engine.door import FatalError, translate
from livelake.engine.interrupt import Interrupter
from livelake.engine.pool import Pool
from livelake.engine.session import Session
from livelake.errors import ClosedError

Prepare = Callable[[Session], None]

_ANSWER_SETTINGS: Final = (
    "TimeZone",
    "Calendar",
    "default_collation",
    "default_null_order",
    "default_order",
    "order_by_non_integer_literal",
    "integer_division",
    "ieee_floating_point_ops",
    "old_implicit_casting",
    "disable_timestamptz_casts",
    "scalar_subquery_error_on_multiple_rows",
    "preserve_insertion_order",
    "preserve_identifier_case",
    "lambda_syntax",
    "binary_as_string",
    "file_search_path",
    "arrow_lossless_conversion",
    "arrow_large_buffer_size",
)
"""Settings under which one SQL text has several answers, or one answer several encodings. SET without
GLOBAL changes some of them for one cursor alone, which the pool then replaces."""


class Engine:
    """One DuckDB in memory. Opening costs about 10 ms; threads of the pool start with the first job.

    ``threads`` and ``memory_limit`` are DuckDB's own, for the whole instance; ``workers`` and ``max_waiting`` are
    the pool's; ``max_result_bytes`` bounds one answer.
    """

    def __init__(
        self,
        threads: int | None = None,
        memory_limit: str | None = None,
        workers: int = 4,
        max_waiting: int = 1000,
        *,
        max_result_bytes: int | None = None,
    ) -> None:
        self.counters = Counters()
        self.interrupter = Interrupter()
        self.max_result_bytes = max_result_bytes
        self.generation = 0
        self.pool = Pool(self._open_session, workers=workers, max_waiting=max_waiting)
        # Writes take turns: two writers of one lake only make each other's commits fail.
        self.writer = Pool(self._open_session, workers=1, max_waiting=max_waiting)
        self._lock = threading.Lock()  # guards the root connection and what follows
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._loaded: set[str] = set()
        self._prepare: Prepare | None = None
        self._fatal: FatalError | None = None
        self._is_closed = False
        # DuckDB's own default is .tmp in the working directory; it makes the folder when it first spills.
        self._spill = Path(tempfile.gettempdir()) / f"livelake-{uuid4().hex}"
        self._root = _connect(threads, memory_limit, self._spill)
        atexit.register(self.close)  # threads must not be inside DuckDB when the interpreter goes

    def load_extension(self, name: str) -> None:
        """Load an extension once; see `extensions`. Raises SourceError naming what to install."""
        name = extensions.canonical(name)
        with self._lock:
            self._refuse_unusable()
            if name not in self._loaded:
                extensions.load(self._root, name)
                self._loaded.add(name)

    def prepare(self, hook: Prepare | None) -> None:
        """Run ``hook`` on every fresh cursor from now on: a new cursor does not inherit USE or variables."""
        with self._lock:
            self._prepare = hook
            self.generation += 1

    def cursor(self) -> Session:
        """A private session beside the pool, prepared. Close it; `close` of the engine interrupts and ends it."""
        session = self._open_session()
        try:
            session.renew()
        except BaseException:
            session.close()
            raise
        return session

    @property
    def time_zone(self) -> str:
        """DuckDB's TimeZone setting, an IANA name."""
        return self.settings()["TimeZone"]

    def settings(self) -> dict[str, str]:
        """The settings that change answers, as a fresh cursor has them (0.5 ms)."""
        values = ", ".join(f"system.main.current_setting('{name}')::VARCHAR" for name in _ANSWER_SETTINGS)
        with self.cursor() as session:
            row = session.fetchone(f"SELECT {values}") or ()
        return dict(zip(_ANSWER_SETTINGS, map(str, row), strict=True))

    def settings_fingerprint(self) -> str:
        """`settings` as one text: part of a cache key."""
        return "\n".join(f"{name}={value}" for name, value in self.settings().items())

    @cached_property
    def builtins(self) -> frozenset[str]:
        """The names of DuckDB's own functions that choose no table by a text: all but query and query_table."""
        with self.cursor() as session:
            rows = session.fetchall("SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE internal")
        return frozenset(str(row[0]) for row in rows) - {"query", "query_table"}

    def stats(self) -> EngineStats:
        pool = self.pool
        return self.counters.snapshot(running=pool.running, waiting=pool.waiting, workers=pool.workers)

    def close(self) -> None:
        """Interrupt what runs, join the threads, close DuckDB. Blocks; closing twice is fine."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            sessions = list(self._sessions)
        if was_closed:
            return
        atexit.unregister(self.close)
        for session in sessions:
            session.interrupt()
        self.pool.close()
        self.writer.close()
        for session in sessions:
            session.close()
        with self._lock:
            self._root.close()
        shutil.rmtree(self._spill, ignore_errors=True)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "broken" if self._fatal else "open"
        return f"<Engine {state}, {len(self._sessions)} sessions, {self.pool!r}>"

    # -- what sessions need; see `session.Host`

    def new_cursor(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            self._refuse_unusable()
            return self._root.cursor()

    def prepare_session(self, session: Session) -> None:
        hook = self._prepare
        if hook is not None:
            hook(session)

    def broke(self, error: FatalError) -> None:
        with self._lock:
            self._fatal = self._fatal or error

    def _open_session(self) -> Session:
        session = Session(self)
        with self._lock:
            self._sessions.add(session)
        return session

    def _refuse_unusable(self) -> None:
        if self._is_closed:
            raise ClosedError("the engine is closed; open another")
        if self._fatal is not None:
            raise FatalError(str(self._fatal)) from self._fatal


def _connect(threads: int | None, memory_limit: str | None, spill: Path) -> duckdb.DuckDBPyConnection:
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "python_enable_replacements": False,
        "python_scan_all_frames": False,
        "temp_directory": str(spill),
    }
    if threads is not None:
        config["threads"] = threads
    if memory_limit is not None:
        config["memory_limit"] = memory_limit
    try:
        return duckdb.connect(":memory:", config=config)
    except duckdb.Error as error:
        raise translate(error, "") from error
