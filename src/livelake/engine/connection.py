"""`Engine`: one DuckDB instance in memory, its sessions and its pool.

Any thread may use an engine. Catalogs are attached to it by SQL; extensions are loaded from wheels; Python's
variables are invisible to SQL. It runs what it is given: deciding what may run is `statement`'s and the caller's.

When DuckDB gives up (an instance or a database of it *invalidated*), the statement that met it fails, and the next
one opens everything anew, if whoever attached the databases has said how (`recovery`): running statements end, the
old instance is closed, a new one gets the extensions, the databases and the lock of the old. Sessions and pools stay.
"""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Final
from uuid import uuid4

import duckdb

from livelake.engine import extensions
from livelake.engine.counters import Counters, EngineStats
from livelake.engine.door import translate
from livelake.engine.interlude import Interlude
from livelake.engine.interrupt import Interrupter
from livelake.engine.limits import Caps, Forgetful
from livelake.engine.pool import GivingUp, Pool
from livelake.engine.quote import identifier, literal
from livelake.engine.session import Session
from livelake.errors import ClosedError, LivelakeError, LostError

log = logging.getLogger("livelake.engine")

Prepare = Callable[[Session], None]

_CLOSE_SECONDS: Final = 30.0
_GIVEN_UP_SECONDS: Final = 1.0
_ABANDON_SECONDS: Final = 10.0
_REOPEN_SECONDS: Final = 1.0
"""Between two attempts to open databases anew."""
_HELD: Final = (
    "DuckDB gave up while transactions were open, which cannot be ended without ending the process; until then they "
    "hold their files, and no other instance may open those: restart the process (nothing that was committed is lost)"
)

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

    ``threads``, ``memory_limit`` and ``max_spill`` are DuckDB's own, for the whole instance; ``workers`` and
    ``max_waiting`` are the pool's; ``caps`` bound one answer. A query that does not heed an interrupt within
    ``grace`` seconds costs its thread; as many as there are workers may. ``persistent_secrets``: whether those that
    were stored in the user's home count.
    """

    def __init__(
        self,
        threads: int | None = None,
        memory_limit: str | None = None,
        workers: int = 4,
        max_waiting: int = 1000,
        *,
        max_spill: str | None = None,
        caps: Caps = Caps(),  # noqa: B008 - frozen
        grace: float = 2.0,
        persistent_secrets: bool = True,
    ) -> None:
        self.counters = Counters()
        self.interrupter = Interrupter()
        self.interlude = Interlude()
        self.caps = caps
        self.unkeepable: set[str] = Forgetful(1_000)
        self.generation = 0
        giving_up = GivingUp(self.interrupter, self.counters, grace, workers)
        self.pool = Pool(self._open_session, workers=workers, max_waiting=max_waiting, giving_up=giving_up)
        # Writes take turns: two writers of one lake only make each other's commits fail. A commit may well take
        # longer than any grace, so a writer is never given up.
        self.writer = Pool(self._open_session, workers=1, max_waiting=max_waiting)
        self._lock = threading.Lock()  # guards the root connection and what follows
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._loaded: set[str] = set()
        self._prepare: Prepare | None = None
        self._recover: Prepare | None = None
        self._lock_down: tuple[str, ...] | None = None
        self._reopening = threading.Lock()
        self._not_before = 0.0  # when (monotonic) to try to open anew again
        self._fatal: LivelakeError | None = None
        self._stranded = 0  # cursors of this instance that cannot be closed
        self._is_closed = False
        # DuckDB's own default is .tmp in the working directory; it makes the folder when it first spills.
        self._spill = Path(tempfile.gettempdir()) / f"livelake-{uuid4().hex}"
        self._settings = _settings(threads, memory_limit, self._spill, persistent_secrets=persistent_secrets)
        self._max_spill = max_spill
        self._root = self._connect()
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

    def recovery(self, hook: Prepare | None) -> None:
        """How to bring the databases back into a new instance: ``hook`` attaches them, on an unprepared session.

        Without one the engine stays broken once DuckDB has given up.
        """
        self._recover = hook

    def lock(self, settings: Sequence[str] = ()) -> None:
        """Run these SET statements; from then on no setting of DuckDB can be changed, in this process or by SQL.

        Attaching, loading extensions, USE, SET VARIABLE and secrets are no settings to DuckDB and go on working.
        """
        self._lock_down = tuple(settings)
        with self._lock:
            self._refuse_unusable()
            self._lock_settings(self._root)

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

    @cached_property
    def internal_views(self) -> frozenset[str]:
        """The names of DuckDB's own views that need no schema before them."""
        with self.cursor() as session:
            rows = session.fetchall(
                "SELECT DISTINCT lower(view_name) FROM duckdb_views() WHERE internal AND schema_name != "
                "'information_schema'"
            )
        return frozenset(str(row[0]) for row in rows)

    def stats(self) -> EngineStats:
        pool = self.pool
        return self.counters.snapshot(
            running=pool.running, waiting=pool.waiting, workers=pool.workers, stuck=pool.stuck
        )

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
        have_ended = [lane.close() for lane in (self.pool, self.writer)]
        # Closing DuckDB under a statement that does not heed its interrupt would crash: the process will do it.
        patience = _CLOSE_SECONDS if all(have_ended) else _GIVEN_UP_SECONDS
        closed = [session.close(patience) for session in sessions]
        if all(closed) and not self._stranded:
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

    @property
    def is_broken(self) -> bool:
        return self._fatal is not None

    def new_cursor(self) -> duckdb.DuckDBPyConnection:
        if self._fatal is not None and self._recover is not None:
            self._reopen(self._recover)
        with self._lock:
            self._refuse_unusable()
            return self._root.cursor()

    def prepare_session(self, session: Session) -> None:
        hook = self._prepare
        if hook is not None:
            hook(session)

    def broke(self, error: LivelakeError) -> None:
        """The instance is of no use any more, or a database of it: `recovery` opens it anew at the next use."""
        with self._lock:
            self._fatal = self._fatal or error

    def strand(self) -> None:
        """A cursor cannot be closed; the instance and its files stay open with it."""
        with self._lock:
            self._stranded += 1

    # -- opening anew

    def _reopen(self, recover: Prepare) -> None:
        """A new instance in place of the broken one. Blocks; whoever comes meanwhile waits, and finds it done."""
        with self._reopening:
            if self._fatal is None or self._is_closed:
                return
            if time.monotonic() < self._not_before:
                return  # it failed a moment ago, and would again
            try:
                self._abandon()
                root = self._new_instance(recover)
            except BaseException as error:
                self._not_before = time.monotonic() + _REOPEN_SECONDS
                if self._stranded and "Unique file handle conflict" in str(error):
                    error = LostError(_HELD)
                if isinstance(error, LivelakeError):
                    self._fatal = error  # what stands in the way now, for those who ask before the next attempt
                raise error from None
            with self._lock:
                self._root, self._fatal, self._stranded = root, None, 0
                self.generation += 1
        self.counters.count("reopened")

    def _new_instance(self, recover: Prepare) -> duckdb.DuckDBPyConnection:
        root = self._connect()
        try:
            for name in sorted(self._loaded):
                extensions.load(root, name)
            with Session(_Unprepared(self, root)) as session:
                session.renew()
                recover(session)
            self._lock_settings(root)
        except BaseException:
            root.close()
            raise
        return root

    def _abandon(self) -> None:
        """Let go of the instance, so that its files are free. Raises LostError if a statement does not end."""
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.interrupt(between=False)  # among them is the one for which everything is opened anew
        until = time.monotonic() + _ABANDON_SECONDS
        lost = [session.lose(max(0.0, until - time.monotonic())) for session in sessions]
        if not all(lost):
            raise LostError(f"{self._fatal}; a query that does not heed its interrupt still holds the old instance")
        if self._stranded:  # closing the root closes all of its cursors
            log.warning(
                "%s; it had %d transactions that cannot be ended in this process", self._fatal, self._stranded
            )
            return
        with self._lock, suppress(duckdb.Error):  # a second attempt finds it closed
            # A transaction of DuckLake that failed at its end stays with its catalog, holds the instance and with it
            # the files (seen 1 time in 5, beside a log that is polled): so each catalog is let go by itself.
            names = self._root.execute("SELECT database_name FROM duckdb_databases() WHERE NOT internal").fetchall()
            for name in (str(row[0]) for row in names):
                with suppress(duckdb.Error):
                    self._root.execute(f"DETACH DATABASE {identifier(name)}")
            self._root.close()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        try:
            root = duckdb.connect(":memory:", config=self._settings)
            if self._max_spill is not None:  # as a setting of `connect` it is shown and not enforced (1.5.5)
                root.execute(f"SET max_temp_directory_size = {literal(self._max_spill)}")
        except duckdb.Error as error:
            raise translate(error, "") from error
        return root

    def _lock_settings(self, root: duckdb.DuckDBPyConnection) -> None:
        if self._lock_down is not None:
            for sql in (*self._lock_down, "SET lock_configuration = true"):
                try:
                    root.execute(sql)
                except duckdb.Error as error:
                    raise translate(error, sql) from error

    def _open_session(self) -> Session:
        session = Session(self)
        with self._lock:
            self._sessions.add(session)
        return session

    def _refuse_unusable(self) -> None:
        if self._is_closed:
            raise ClosedError("the engine is closed; open another")
        if self._fatal is not None:
            raise type(self._fatal)(str(self._fatal)) from self._fatal


class _Unprepared:
    """The host of the one session that brings databases into a new instance."""

    def __init__(self, engine: Engine, root: duckdb.DuckDBPyConnection) -> None:
        self.counters = engine.counters
        self.interrupter = engine.interrupter
        self.interlude = engine.interlude
        self.caps = engine.caps
        self.unkeepable = engine.unkeepable
        self.generation = 0
        self.is_broken = False
        self._root = root

    def new_cursor(self) -> duckdb.DuckDBPyConnection:
        return self._root.cursor()

    def prepare_session(self, session: Session) -> None:
        pass

    def broke(self, error: LivelakeError) -> None:
        pass  # it is raised, and the whole attempt fails

    def strand(self) -> None:
        pass  # it begins no transaction


def _settings(
    threads: int | None, memory_limit: str | None, spill: Path, *, persistent_secrets: bool
) -> dict[str, str | bool | int | float | list[str]]:
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "allow_persistent_secrets": persistent_secrets,
        "python_enable_replacements": False,
        "python_scan_all_frames": False,
        "temp_directory": str(spill),
    }
    if threads is not None:
        config["threads"] = threads
    if memory_limit is not None:
        config["memory_limit"] = memory_limit
    return config
