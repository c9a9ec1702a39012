"""Catalogs: what a URI means. Asks at most whether a file is there; `attachment` attaches them.

    ducklake:sales.ducklake                  a DuckLake whose catalog is a DuckDB file (one process at a time)
    ducklake:sqlite:sales.sqlite             … a SQLite file (several processes on one machine)
    ducklake:postgres:dbname=sales …         … a PostgreSQL database (several machines)
    ducklake:https://example.org/space.db    … a file on a server, also s3:// and hf://; read-only
    embedded:package/space.db                … a file inside a Python package; read-only
    sales.duckdb                             a plain DuckDB file (./a:b.duckdb where a name begins like a scheme)
    :memory:                                 an empty database in this process

A lake's URI may end in ``?data_path=…``: where its data lie, if that is not beside the catalog or as the catalog
says; a new PostgreSQL lake needs it. Paths become absolute here, once: DuckLake would resolve a relative data path
against whatever the working directory happens to be.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from livelake.engine import identifier
from livelake.errors import UsageError
from livelake.lake.credentials import printable, without_password

_REMOTE = ("http", "https", "s3", "hf")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_DATA_PATH = re.compile(r"[?&]data_path=(?P<path>[^?]*)$")


class Log(Enum):
    """Where a catalog's commits can be read."""

    DUCKDB = "duckdb"  # a DuckLake catalog in a file that no other process writes
    SQLITE = "sqlite"
    POSTGRES = "postgres"
    NONE = "none"  # not a lake: our own writes are counted instead


class Origin(Enum):
    """Where the catalog itself lies, and with that who may change it."""

    LOCAL = "local"  # a file or server that is read and written in place
    REMOTE = "remote"  # a file on a server: replaced there, read here
    PACKAGE = "package"  # a file inside a Python package: it stands still


@dataclass(frozen=True, slots=True)
class Catalog:
    """One database to attach. ``path`` is the catalog's file, None where there is none.

    ``uri`` can be shown: it holds no password. ``target`` is what is really opened, and is in no `repr`.
    """

    name: str
    uri: str
    log: Log
    path: Path | None = None
    origin: Origin = Origin.LOCAL
    data_path: str | None = None
    target: str = field(default="", repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def is_lake(self) -> bool:
        """Whether it has a commit log."""
        return self.log is not Log.NONE

    @property
    def is_frozen(self) -> bool:
        """Whether nobody can write it through this process: it is replaced as a whole, or never changes."""
        return self.origin is not Origin.LOCAL

    @property
    def keeper(self) -> str:
        """The name under which a SQLite catalog is attached a second time, to be kept open and polled."""
        return f"__livelake_keeper_{self.name}"


def parse(uri: str, name: str | None = None) -> Catalog:
    """What ``uri`` names; ``name`` overrides the file's stem. Raises `UsageError` for what is not understood."""
    scheme, _, rest = uri.partition(":")
    if uri == ":memory:":
        return Catalog(name or "memory", uri, Log.NONE)
    if scheme not in ("ducklake", "embedded"):
        if re.match(r"[a-z][a-z0-9+.-]+://", uri):
            shown = printable(uri)
            raise UsageError(
                f"{shown!r} is not a database that can be attached; write ducklake:{shown} for a DuckLake"
            )
        if not uri.strip():
            raise UsageError("an empty text names no database; write for example sales.duckdb or :memory:")
        path = _path(uri, uri)
        return Catalog(_name(name, path.stem, uri), uri, Log.NONE, path)
    data_path = None
    if found := _DATA_PATH.search(rest):
        rest, data_path = rest[: found.start()], _folder(found["path"])
    if scheme == "embedded":
        return _embedded(rest, name, uri, data_path)
    backend, _, target = rest.partition(":")
    if not rest or (backend in ("sqlite", "duckdb") and not target):
        raise UsageError(f"{uri!r} names no catalog; write for example ducklake:sqlite:sales.sqlite")
    if backend == "postgres":
        dsn, password = without_password(target)
        stem = _database(dsn)
        shown = f"ducklake:postgres:{printable(dsn)}"
        return Catalog(
            _name(name, stem, shown), shown, Log.POSTGRES, data_path=data_path, target=dsn, password=password
        )
    if backend not in ("sqlite", "duckdb"):
        target = rest
    if target.partition("://")[0] in _REMOTE and "://" in target:
        return _remote(target, name, data_path)
    log = Log.SQLITE if backend == "sqlite" else Log.DUCKDB
    path = _path(target, uri)
    return Catalog(_name(name, path.stem, uri), uri, log, path, data_path=data_path)


def _path(text: str, uri: str) -> Path:
    """The file that ``text`` names. One that begins like a scheme is a file only where there is such a file: a
    mistake would otherwise open an empty database of its name. A single letter is a drive."""
    path = Path(text).expanduser().absolute()
    if (found := _SCHEME.match(text)) and not os.path.exists(path):
        scheme, rest = found[1], text[found.end() :]
        raise UsageError(
            f"{printable(uri)!r}: there is no file {printable(text)!r}, and {scheme}: begins no address that can be "
            f"attached here; {printable(_meant(scheme.lower(), rest))}, or ./{printable(text)} for a new file"
        )
    return path


def _meant(scheme: str, rest: str) -> str:
    """What to write in place of an address with a scheme that is not understood."""
    if scheme in ("sqlite", "postgres", "postgresql"):
        return f"write ducklake:{scheme.removesuffix('ql')}:{rest} for a DuckLake whose catalog that is"
    if scheme in ("file", "duckdb"):
        return f"write {rest} for a DuckDB file, ducklake:{rest} for a DuckLake"
    if scheme in ("ducklake", "embedded"):
        return f"write {scheme}:{rest}"
    return "write a DuckDB file, or ducklake: before a catalog in a DuckDB file, sqlite: or postgres:"


def _remote(url: str, name: str | None, data_path: str | None) -> Catalog:
    parts = urlsplit(url)
    shown = f"ducklake:{printable(url)}"
    if parts.username or parts.password:
        raise UsageError(
            f"{shown!r} has a password in its address; leave it out, and give DuckDB a secret "
            "(CREATE PERSISTENT SECRET …) or the environment its keys"
        )
    path = PurePosixPath(parts.path)
    if not parts.netloc or not path.name:
        raise UsageError(f"{shown!r} names no file; write for example ducklake:https://example.org/lakes/space.db")
    return Catalog(
        _name(name, path.stem, shown), shown, Log.DUCKDB, origin=Origin.REMOTE, data_path=data_path, target=url
    )


def _embedded(rest: str, name: str | None, uri: str, data_path: str | None) -> Catalog:
    package, _, resource = rest.partition("/")
    parts = PurePosixPath(resource).parts
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", package) or not parts or ".." in parts or parts[0] == "/":
        raise UsageError(
            f"{uri!r} names no file inside a package; write embedded:package/folder/space.db, "
            'or use livelake.catalogs.embedded("package", "folder/space.db")'
        )
    stem = PurePosixPath(resource).stem
    return Catalog(
        _name(name, stem, uri),
        uri,
        Log.DUCKDB,
        origin=Origin.PACKAGE,
        data_path=data_path,
        target=f"{package}/{resource}",
    )


def _database(dsn: str) -> str:
    """The name of the database that a connection string names, as a name for the catalog."""
    if "://" in dsn.split(" ", 1)[0]:
        return urlsplit(dsn).path.strip("/") or "lake"
    found = re.search(r"(?:^|\s)dbname\s*=\s*'?([^\s']+)", dsn)
    return found.group(1) if found else "lake"


def _folder(path: str) -> str:
    """A data path, absolute, with its separator at the end."""
    if "://" not in path:
        path = str(Path(path).expanduser().absolute())
    return path.rstrip("/") + "/"


def _name(given: str | None, stem: str, uri: str) -> str:
    name = given or stem
    if not name or name in ("system", "temp"):
        raise UsageError(f"{uri!r} would be attached as {name!r}, which cannot be; give it a name (as_name=…)")
    return name


def metadata_of(name: str, generation: int) -> str:
    """The quoted name under which DuckLake attaches a catalog's own tables, anew for each generation of it."""
    return identifier(f"__ducklake_metadata_{name}" + (f"_{generation}" if generation else ""))


def beside(stored: str, base: str) -> str:
    """The data path of a catalog that was moved: a local path means the folder of that name beside the catalog."""
    if "://" in stored:
        return stored
    relative = stored.replace("\\", "/").rstrip("/")
    is_absolute = relative.startswith("/") or re.match(r"[A-Za-z]:/", relative) is not None
    if is_absolute:
        here = base + relative.rsplit("/", 1)[-1]
        if "://" not in base and not os.path.isdir(here) and os.path.isdir(relative):
            here = relative
    else:
        here = base + relative.removeprefix("./")
    return here.rstrip("/") + "/"


def with_setting(dsn: str, key: str, value: str) -> str:
    """A PostgreSQL connection string, either form, with one more setting."""
    if "://" in dsn.split(" ", 1)[0]:
        return f"{dsn}{'&' if '?' in dsn else '?'}{key}={value}"
    return f"{dsn} {key}={value}"
