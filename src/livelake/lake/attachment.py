"""`Attachment`: one catalog as it is attached to an engine, and attached again when it has to be.

A catalog is attached again when its file on a server was replaced, and when DuckLake holds on to something that
another process has dropped. DuckDB swaps the database under its name in one step: a transaction that has begun
goes on with the old one, the next begins with the new one. Each time the catalog's own tables get another name.

Any thread may call; a lock guards the swap.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from urllib.parse import urlsplit

from livelake.engine import Engine, Session, identifier, literal
from livelake.errors import BusyError, LivelakeError, LockedError, QueryError, SourceError
from livelake.lake.catalog import Catalog, Log, Origin, beside, metadata_of, with_setting
from livelake.lake.credentials import PasswordFile, from_environment, printable
from livelake.lake.forgotten import change_schema
from livelake.lake.localfile import LocalFile
from livelake.lake.packages import content_version, locate
from livelake.lake.remote import Copy, EngineSource, HttpSource, Source, WithLogin, bring

PROBE_SECONDS = 5.0
"""How long a server may take to say whether a file has changed."""

# A read that began just before a swap looks for the old catalog's tables just after it.
_SWAPPED = re.compile(r'Catalog "__ducklake_metadata_.*" does not exist')
_KEPT_COPIES = 2
# Seconds that reads are held back for, when one of them has found what DuckLake remembers to be wrong.
_PATIENCE = 1.0

# What DuckDB misses where it finds SQLite's header. We do not look for that ourselves: closing a file takes away the
# locks that the process has on it, those of another lake among them.
_SQLITE = "sqlite_scanner.duckdb_extension"


def is_swapped(error: BaseException) -> bool:
    """Whether a catalog was attached again under a transaction that was just beginning; the next one is right."""
    return any(_SWAPPED.search(str(each)) for each in (error, error.__cause__))


class Attachment:
    """Made for one engine; `attach` once, `close` at the end."""

    def __init__(self, engine: Engine, catalog: Catalog, *, read_only: bool = False, create: bool = True) -> None:
        self.catalog = catalog
        self.generation = 0
        self.renewals = 0
        """How often what DuckLake remembers of it was made anew."""
        self.version: str | None = None
        """Of an embedded catalog: what its content is; see `packages.content_version`."""
        self.copied: Copy | None = None
        """Of a remote catalog: what is attached."""
        self._engine = engine
        self._read_only = read_only or catalog.is_frozen
        self._may_make = create and not self._read_only
        self._lock = threading.RLock()
        self._target = ""
        self._options: list[str] = []
        self._password: PasswordFile | None = None
        self._private: Path | None = None
        self._copies: list[Path] = []
        self._sessions: list[Session] = []
        self._source: Source | None = None
        self._urls: list[str] = []  # for which the engine was given secrets
        self._file = LocalFile(catalog)

    @property
    def metadata(self) -> str:
        """The quoted name of the catalog's own tables, as attached now."""
        return metadata_of(self.catalog.name, self.generation)

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be written through it."""
        return self._read_only

    @property
    def identity(self) -> str:
        """What is attached, as far as it tells apart answers to one question. Shows no secret."""
        catalog = self.catalog
        where = catalog.path if catalog.origin is Origin.LOCAL and catalog.path else catalog.uri
        return f"{catalog.name}={where}" + (f"@{self.version}" if self.version else "")

    def settled(self, generation: int) -> bool:
        """Whether ``generation`` is still the present one, once any swap under way has ended."""
        with self._lock:
            return self.generation == generation

    # ---------------------------------------------------------------- attaching

    def attach(self, session: Session) -> None:
        """Attach under the catalog's name. Raises `SourceError` when it is not there or not what it should be."""
        catalog = self.catalog
        if catalog.origin is Origin.REMOTE:
            path = self._next_copy()
            self.copied = bring(self.source, path, PROBE_SECONDS)
            self._attach_frozen(session, path, catalog.target.rsplit("/", 1)[0] + "/")
        elif catalog.origin is Origin.PACKAGE:
            path = locate(catalog.target, lambda: self._folder() / "package")
            self._attach_frozen(session, path, f"{path.parent}{os.sep}")
        elif catalog.log is Log.NONE:
            self._file.is_new(may_make=self._may_make)
            self._attach_plain(session)
        else:
            self._attach_lake(session, is_new=self._file.is_new(may_make=self._may_make))
        self._file.attached()

    def restore(self, session: Session) -> None:
        """Attach to a new instance what was attached to the old one. Raises what `attach` does."""
        with self._lock:
            for url in self._urls:
                from_environment(session, url)
            if self.catalog.log is Log.NONE:
                self._file.is_new(may_make=self._may_make)
                self._attach_plain(session)
            else:
                self._file.check_there()
                try:
                    # An empty file is no lake, and none is made of it: what was there is missed, not begun anew.
                    session.execute(self._statement(self.generation, "CREATE_IF_NOT_EXISTS false"))
                except (QueryError, SourceError) as error:
                    raise self._refused(error) from None
                self._attach_keeper(session)
            self._file.attached()

    def folders(self, session: Session) -> list[str]:
        """The folders and prefixes that reading this catalog takes: its data, its own file, and copies to come."""
        catalog = self.catalog
        found = [] if catalog.path is None else [f"{catalog.path.parent}{os.sep}"]
        if catalog.origin is not Origin.LOCAL:
            found.append(f"{self._folder()}{os.sep}")
        if catalog.is_lake:
            rows = session.fetchall(
                f"SELECT value FROM {self.metadata}.ducklake_metadata WHERE key = 'data_path'"
                f" UNION ALL SELECT data_path FROM {identifier(catalog.name)}.settings()"
            )
            found += [str(row[0]) for row in rows if row[0]]
        return found

    def check_file(self) -> None:
        """Raise `LostError` if a local catalog's file is gone, or is another one: then all is to be opened anew."""
        error = self._file.check_same()
        if error is not None:
            self._engine.broke(error)
            raise error

    def is_meant(self, error: LivelakeError) -> bool:
        """Whether ``error`` names this catalog's own tables, of whichever generation."""
        own = rf'"__ducklake_metadata_{re.escape(self.catalog.name)}(_\d+)?"'
        return re.search(own, f"{error} {error.__cause__}") is not None

    def renew(self, session: Session, renewals: int, table: int) -> None:
        """Have DuckLake forget what it remembers of a table, by its id, unless that was done since ``renewals``.

        No write may be under way.
        """
        if self.catalog.log in (Log.SQLITE, Log.POSTGRES):
            with contextlib.suppress(BusyError), self._engine.interlude.alone(_PATIENCE), self._lock:
                if self.renewals == renewals:
                    self._swap(session)
        with self._lock:  # a file of DuckDB's that is attached again would be in use
            if self.renewals == renewals and self.catalog.is_lake and not self._read_only:
                self.renewals += change_schema(session, self.catalog.name, self.metadata, table)

    def replace(self, path: Path, copied: Copy, patience: float) -> None:
        """Attach a newer copy of a remote catalog in place of the present one.

        Raises `BusyError` if queries run on for ``patience`` seconds, during which no other begins.
        """
        # The cursor first: to get one may mean to open everything anew, which wants the lock.
        with self._engine.cursor() as session, self._engine.interlude.alone(patience), self._lock:
            before = self._target, self._options
            try:
                self._prepare_frozen(session, path, self.catalog.target.rsplit("/", 1)[0] + "/")
                self._swap(session)
            except LivelakeError as error:
                self._target, self._options = before
                path.unlink(missing_ok=True)
                raise self._refused(error) from None
            self.copied = copied
            self._copies.append(path)
            for old in self._copies[:-_KEPT_COPIES]:  # the last but one may still be read
                old.unlink(missing_ok=True)
            del self._copies[:-_KEPT_COPIES]

    def bring(self) -> tuple[Path, Copy]:
        """A new copy of a remote catalog; `replace` takes it, or the caller removes it."""
        path = self._next_copy()
        return path, bring(self.source, path, PROBE_SECONDS)

    @property
    def source(self) -> Source:
        """Where a remote catalog comes from."""
        if self._source is None:
            url = self.catalog.target
            trusted = self._through_engine
            self._source = trusted() if urlsplit(url).scheme == "s3" else WithLogin(HttpSource(url), trusted)
        return self._source

    def interrupt(self) -> None:
        """Stop what runs on behalf of `source`."""
        for session in self._sessions:
            session.interrupt()

    def close(self) -> None:
        """Forget passwords, remove private copies. Closing twice is fine; nothing may be attached by then."""
        if self._password is not None:
            self._password.close()
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)

    # ---------------------------------------------------------------- inside

    def _attach_plain(self, session: Session) -> None:
        catalog = self.catalog
        if catalog.path is None:
            if catalog.name != "memory":  # DuckDB's own first database is called memory
                session.execute(f"ATTACH ':memory:' AS {identifier(catalog.name)}")
            return
        options = " (READ_ONLY)" if self._read_only else ""
        try:
            session.execute(f"ATTACH {literal(str(catalog.path))} AS {identifier(catalog.name)}{options}")
        except (QueryError, SourceError) as error:
            if _SQLITE not in str(error):
                raise
            raise self._refused(error) from None

    def _attach_lake(self, session: Session, *, is_new: bool) -> None:
        catalog = self.catalog
        self._engine.load_extension("ducklake")
        self._options = ["READ_ONLY"] if self._read_only else []
        self._target = str(catalog.path)
        if catalog.log is Log.SQLITE:
            self._engine.load_extension("sqlite_scanner")
            self._options += ["META_JOURNAL_MODE 'WAL'", "META_BUSY_TIMEOUT 5000"]
            self._target = f"sqlite:{catalog.path}"
        elif catalog.log is Log.POSTGRES:
            self._engine.load_extension("postgres_scanner")
            self._target = f"postgres:{self._dsn()}"
        if catalog.data_path:
            self._read_through_network(session, catalog.data_path)
            self._options += [f"DATA_PATH {literal(catalog.data_path)}", "OVERRIDE_DATA_PATH true"]
        elif is_new:
            self._options.append(f"DATA_PATH {literal(f'{catalog.path}.files{os.sep}')}")
        try:
            session.execute(self._statement(0))
            stored = session.fetchall(f"SELECT value FROM {self.metadata}.ducklake_metadata WHERE key = 'data_path'")
        except (QueryError, SourceError) as error:
            raise self._refused(error) from None
        data_path = str(stored[0][0]) if stored else ""
        if is_new and not catalog.data_path:
            self._options.pop()  # it is stored now; what is attached later under this path may have another
        if not catalog.data_path and "://" in data_path:
            self._read_through_network(session, data_path)
        elif not catalog.data_path and catalog.path is not None and data_path and not os.path.isabs(data_path):
            # Stored relative: DuckLake would look below the working directory, and count(*) would hide the fault.
            beside = catalog.path.parent / data_path
            absolute = beside if beside.is_dir() else Path(data_path).absolute()
            session.execute(f"DETACH {identifier(catalog.name)}")
            self._options += [f"DATA_PATH {literal(f'{absolute}{os.sep}')}", "OVERRIDE_DATA_PATH true"]
            session.execute(self._statement(0))
        self._attach_keeper(session)

    def _attach_keeper(self, session: Session) -> None:
        catalog = self.catalog
        if catalog.log is Log.SQLITE and catalog.origin is Origin.LOCAL:
            session.execute(
                f"ATTACH {literal(str(catalog.path))} AS {identifier(catalog.keeper)} (TYPE sqlite, READ_ONLY)"
            )

    def _attach_frozen(self, session: Session, path: Path, base: str) -> None:
        self._engine.load_extension("ducklake")
        try:
            data_path = self._prepare_frozen(session, path, base)
            session.execute(self._statement(0))
            head = session.fetchone(f"SELECT max(snapshot_id) FROM {self.metadata}.ducklake_snapshot")
        except LivelakeError as error:
            raise self._refused(error) from None
        self._copies = [path] if self.catalog.origin is Origin.REMOTE else []
        if self.catalog.origin is Origin.PACKAGE:
            data = None if "://" in data_path else Path(data_path)
            self.version = content_version(path, data, int(head[0]) if head else -1)

    def _prepare_frozen(self, session: Session, path: Path, base: str) -> str:
        """Set what `_statement` attaches, read-only; where its data lie."""
        kind, prefix = "", ""
        with path.open("rb") as file:
            header = file.read(20)
        if header.startswith(b"SQLite format 3\0"):
            if header[18:20] == b"\x02\x02" and self.catalog.origin is Origin.PACKAGE:
                raise SourceError(
                    "it is a SQLite file in WAL mode, which cannot be read where nothing may be written; "
                    "run PRAGMA journal_mode = DELETE before it is packed"
                )
            self._engine.load_extension("sqlite_scanner")
            kind, prefix = "TYPE sqlite, ", "sqlite:"
        peek = identifier(f"__livelake_peek_{self.catalog.name}")
        session.execute(f"ATTACH {literal(str(path))} AS {peek} ({kind}READ_ONLY)")
        try:
            stored = session.fetchone(f"SELECT value FROM {peek}.main.ducklake_metadata WHERE key = 'data_path'")
        finally:
            session.execute(f"DETACH {peek}")
        data_path = self.catalog.data_path or beside(str(stored[0]) if stored else "", base)
        self._read_through_network(session, data_path)
        self._target = f"{prefix}{path}"
        self._options = ["READ_ONLY", f"DATA_PATH {literal(data_path)}", "OVERRIDE_DATA_PATH true"]
        return data_path

    def _swap(self, session: Session) -> None:
        # From a session that uses the database, replacing it frees what that session's transaction still holds:
        # DuckDB 1.5.5 crashes (2 of 2 runs; never in 600 swaps under two readers from a session that does not).
        session.execute("USE memory")
        session.execute(self._statement(self.generation + 1))
        self.generation += 1
        self.renewals += 1

    def _statement(self, generation: int, *more: str) -> str:
        """The ATTACH of this catalog; past the first generation in place of what is attached."""
        options, target, verb = [*self._options, *more], self._target, "ATTACH"
        if generation:
            verb = "ATTACH OR REPLACE"  # which does nothing for a target that is spelled the same
            options.append(f"METADATA_CATALOG {metadata_of(self.catalog.name, generation)}")
            if self.catalog.log is Log.POSTGRES:
                target = with_setting(target, "application_name", f"livelake_{generation}")
            elif generation % 2:
                folder, slash, name = target.rpartition(os.sep)
                target = f"{folder}{slash}.{os.sep}{name}"
        listed = f" ({', '.join(options)})" if options else ""
        return f"{verb} {literal('ducklake:' + target)} AS {identifier(self.catalog.name)}{listed}"

    def _dsn(self) -> str:
        if self.catalog.password is None:
            return self.catalog.target
        if self._password is None:
            self._password = PasswordFile(self.catalog.password)
        return with_setting(self.catalog.target, "passfile", self._password.path)

    def _read_through_network(self, session: Session, url: str) -> None:
        if "://" in url:
            if url not in self._urls:
                self._urls.append(url)
            self._engine.load_extension("httpfs")
            from_environment(session, url)

    def _through_engine(self) -> Source:
        session = self._engine.cursor()
        self._sessions.append(session)
        self._read_through_network(session, self.catalog.target)
        return EngineSource(session, self.catalog.target)

    def _folder(self) -> Path:
        if self._private is None:
            self._private = Path(tempfile.mkdtemp(prefix="livelake-"))  # mode 0700
            weakref.finalize(self, shutil.rmtree, self._private, ignore_errors=True)
        return self._private

    def _next_copy(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._folder())) / "catalog"

    def _refused(self, error: LivelakeError) -> LivelakeError:
        """Without the statement and its chain of errors: they may repeat what `printable` takes out."""
        if isinstance(error, LockedError):
            return error
        catalog = self.catalog
        if _SQLITE in str(error) and catalog.path is not None and catalog.log is not Log.SQLITE:
            return SourceError(
                f"{catalog.uri}: {catalog.path} is a SQLite database, and not one of DuckDB; if it is the catalog of"
                f" a DuckLake, write ducklake:sqlite:{catalog.path}"
            )
        return SourceError(f"{self.catalog.uri} cannot be attached as a DuckLake: {printable(str(error))}")


def close_all(attachments: list[Attachment]) -> None:
    """Close each, whatever happens to the others."""
    with contextlib.ExitStack() as stack:
        for each in attachments:
            stack.callback(each.close)
