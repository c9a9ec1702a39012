"""DuckDB's extensions, without a network where the wheels are installed.

An extension wheel holds one signed file whose *name* is its entry point, so it is loaded where it lies: nothing
is copied, nothing is written, the signature is checked (about 65 ms an extension and instance). Where the wheel
is absent, DuckDB's own repository is asked; both failing, the error names the extra to install.
"""

from __future__ import annotations

import importlib.resources
from importlib.resources.abc import Traversable
from typing import Final

import duckdb

from livelake.engine.quote import identifier, literal
from livelake.errors import SourceError

EXTRAS: Final = {
    "ducklake": "livelake",
    "sqlite_scanner": "livelake[sqlite]",
    "postgres_scanner": "livelake[postgres]",
    "httpfs": "livelake[http]",
}
"""Extension → what to ``pip install`` for it."""

_ALIASES: Final = {"sqlite": "sqlite_scanner", "postgres": "postgres_scanner", "http": "httpfs"}


def canonical(name: str) -> str:
    """The name under which DuckDB's file for the extension goes: ``sqlite`` → ``sqlite_scanner``."""
    return _ALIASES.get(name, name)


def load(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load the extension into the connection's instance. Raises SourceError naming the extra to install."""
    name = canonical(name)
    path = _in_wheel(name)
    try:
        if path is not None:
            with importlib.resources.as_file(path) as file:
                connection.execute(f"LOAD {literal(str(file))}")
        else:
            connection.execute(f"INSTALL {identifier(name)}")
            connection.execute(f"LOAD {identifier(name)}")
    except duckdb.Error as error:
        extra = EXTRAS.get(name)
        remedy = f'pip install "{extra}"' if extra else "install it with DuckDB where there is a network"
        said = str(error).splitlines()[0]
        raise SourceError(f"DuckDB's extension {name} cannot be loaded ({said}); {remedy}") from error


def _in_wheel(name: str) -> Traversable | None:
    """The file inside the wheel of exactly this DuckDB, if that wheel is installed."""
    try:
        root = importlib.resources.files(f"duckdb_extension_{name}")
    except ModuleNotFoundError:
        return None
    path = root / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
    return path if path.is_file() else None
