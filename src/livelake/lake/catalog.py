"""Catalogs: what a URI means, and how it is attached.

    ducklake:sales.ducklake              a DuckLake whose catalog is a DuckDB file (one process at a time)
    ducklake:sqlite:sales.sqlite         … a SQLite file (several processes on one machine)
    ducklake:postgres:dbname=sales …     … a PostgreSQL database (several machines)
    sales.duckdb                         a plain DuckDB file
    :memory:                             an empty database in this process

Paths become absolute here, once: DuckLake would resolve a relative data path against whatever the working
directory happens to be.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from livelake.engine import Engine, Session, identifier, literal
from livelake.errors import NotFoundError, QueryError, SourceError, UsageError


class Log(Enum):
    """Where a catalog's commits can be read."""

    DUCKDB = "duckdb"  # a DuckLake catalog in a DuckDB file
    SQLITE = "sqlite"
    POSTGRES = "postgres"
    NONE = "none"  # not a lake: our own writes are counted instead


@dataclass(frozen=True, slots=True)
class Catalog:
    """One attached database. ``path`` is the catalog's file, None where there is none."""

    name: str
    uri: str
    log: Log
    path: Path | None = None

    @property
    def is_lake(self) -> bool:
        """Whether it has a commit log."""
        return self.log is not Log.NONE

    @property
    def metadata(self) -> str:
        """The quoted name under which DuckLake attaches the catalog's own tables."""
        return identifier(f"__ducklake_metadata_{self.name}")

    @property
    def keeper(self) -> str:
        """The name under which a SQLite catalog is attached a second time, to be kept open and polled."""
        return f"__livelake_keeper_{self.name}"


def parse(uri: str, name: str | None = None) -> Catalog:
    """What ``uri`` names; ``name`` overrides the file's stem. Raises `UsageError` for what is not understood."""
    scheme, _, rest = uri.partition(":")
    if uri == ":memory:":
        return Catalog(name or "memory", uri, Log.NONE)
    if scheme != "ducklake":
        if re.match(r"[a-z][a-z0-9+.-]+://", uri):
            raise UsageError(f"{uri!r} is not a database that can be attached; write ducklake:{uri} for a DuckLake")
        path = Path(uri).expanduser().absolute()
        return Catalog(_name(name, path.stem, uri), uri, Log.NONE, path)
    if not rest:
        raise UsageError(f"{uri!r} names no catalog; write for example ducklake:sqlite:sales.sqlite")
    backend, _, target = rest.partition(":")
    if backend == "postgres":
        database = re.search(r"dbname=(\S+)", target)
        return Catalog(_name(name, database.group(1) if database else "lake", uri), uri, Log.POSTGRES)
    log = Log.SQLITE if backend == "sqlite" else Log.DUCKDB
    path = Path(target if backend in ("sqlite", "duckdb") else rest).expanduser().absolute()
    return Catalog(_name(name, path.stem, uri), uri, log, path)


def attach(engine: Engine, session: Session, catalog: Catalog, *, read_only: bool, create: bool) -> None:
    """Attach ``catalog`` under its name. Raises `SourceError` when it is not there or not what it should be."""
    path = catalog.path
    if path is not None and not path.exists():
        if read_only or not create:
            raise SourceError(f"{catalog.uri}: there is no file {path}; check the path, or create the database first")
        if not path.parent.is_dir():
            raise SourceError(f"{catalog.uri}: there is no folder {path.parent} to create {path.name} in")
    if catalog.log is Log.NONE:
        _attach_plain(session, catalog, read_only=read_only)
    else:
        _attach_lake(engine, session, catalog, read_only=read_only, is_new=path is not None and not path.exists())


def _attach_plain(session: Session, catalog: Catalog, *, read_only: bool) -> None:
    if catalog.path is None:
        if catalog.name != "memory":  # DuckDB's own first database is called memory
            session.execute(f"ATTACH ':memory:' AS {identifier(catalog.name)}")
        return
    options = " (READ_ONLY)" if read_only else ""
    session.execute(f"ATTACH {literal(str(catalog.path))} AS {identifier(catalog.name)}{options}")


def _attach_lake(engine: Engine, session: Session, catalog: Catalog, *, read_only: bool, is_new: bool) -> None:
    engine.load_extension("ducklake")
    options = ["READ_ONLY"] if read_only else []
    if catalog.log is Log.SQLITE:
        engine.load_extension("sqlite_scanner")
        options += ["META_JOURNAL_MODE 'WAL'", "META_BUSY_TIMEOUT 5000"]
    elif catalog.log is Log.POSTGRES:
        engine.load_extension("postgres_scanner")
    target = catalog.uri.removeprefix("ducklake:")
    if catalog.path is not None:
        prefix = "sqlite:" if catalog.log is Log.SQLITE else ""
        target = prefix + str(catalog.path)
    where = f"ATTACH {literal('ducklake:' + target)} AS {identifier(catalog.name)}"
    if is_new:
        options.append(f"DATA_PATH {literal(f'{catalog.path}.files{os.sep}')}")
    try:
        session.execute(f"{where} ({', '.join(options)})" if options else where)
        stored = session.fetchall(f"SELECT value FROM {catalog.metadata}.ducklake_metadata WHERE key = 'data_path'")
    except QueryError as error:
        raise SourceError(f"{catalog.uri} cannot be attached as a DuckLake: {error}") from error
    data_path = str(stored[0][0]) if stored else ""
    if catalog.path is not None and data_path and not os.path.isabs(data_path) and "://" not in data_path:
        # Stored relative: DuckLake would look below the working directory, and count(*) would hide the fault.
        beside = catalog.path.parent / data_path
        absolute = beside if beside.is_dir() else Path(data_path).absolute()
        session.execute(f"DETACH {identifier(catalog.name)}")
        options += [f"DATA_PATH {literal(f'{absolute}{os.sep}')}", "OVERRIDE_DATA_PATH true"]
        session.execute(f"{where} ({', '.join(options)})")
    if catalog.log is Log.SQLITE:
        session.execute(
            f"ATTACH {literal(str(catalog.path))} AS {identifier(catalog.keeper)} (TYPE sqlite, READ_ONLY)"
        )


def _name(given: str | None, stem: str, uri: str) -> str:
    name = given or stem
    if not name or name in ("system", "temp"):
        raise UsageError(f"{uri!r} would be attached as {name!r}, which cannot be; give it a name (as_name=…)")
    return name


def find(catalogs: dict[str, Catalog], name: str) -> Catalog:
    """The catalog called ``name``; `NotFoundError` lists those that are attached."""
    try:
        return catalogs[name]
    except KeyError:
        raise NotFoundError(f"no catalog {name!r} is attached; there is {', '.join(sorted(catalogs))}") from None
