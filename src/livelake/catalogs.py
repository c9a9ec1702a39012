"""Names for catalogs, and the keys of what is read from them.

    livelake.open(embedded("frozenlake", "data/space.db"))          # shipped inside a Python package
    livelake.open("app.duckdb", attach={"space": embedded("frozenlake", "data/space.db")})

Everything here is a plain URI, so it works wherever one does: in ``attach``, on the command line, in a dashboard's
``livelake.toml``. `livelake.lake.catalog` lists the others.
"""

from __future__ import annotations

from livelake.errors import UsageError
from livelake.lake import Lake, Parameters, Result
from livelake.lake.catalog import parse
from livelake.lake.parameters import canonical
from livelake.lake.provenance import EmbeddedKey, RemoteKey, SourceKey, parse_key, question_hash

__all__ = ["EmbeddedKey", "RemoteKey", "SourceKey", "ducklake", "embedded", "keys", "parse_key"]


def embedded(package: str, path: str) -> str:
    """The URI of a DuckLake catalog inside an installed package: ``embedded("frozenlake", "data/space.db")``.

    It is attached read-only where it lies, nothing is written, and its Parquet files are looked for beside it: in
    the folder that the catalog names, ``space.db.files`` if it was made by default. Its version is its content.
    """
    uri = f"embedded:{package}/{path}"
    parse(uri)
    return uri


def ducklake(catalog: str, *, data_path: str | None = None) -> str:
    """The URI of a lake whose catalog and data lie apart: ``ducklake("sqlite:sales.sqlite", data_path="s3://sales/")``.

    A new PostgreSQL lake needs a ``data_path``; any other keeps its data beside the catalog unless told otherwise.
    """
    if data_path is not None and (not data_path or "?" in data_path):
        raise UsageError(f"data_path={data_path!r} is not a folder; give a path or a URL without a query")
    uri = f"ducklake:{catalog}" + (f"?data_path={data_path}" if data_path else "")
    parse(uri)
    return uri


def keys(lake: Lake, result: Result, sql: str, parameters: Parameters = None) -> tuple[SourceKey, ...]:
    """Where an answer came from: a key for each table that it was read from.

    An embedded catalog's key holds its content version, any other the snapshot that last changed the table. Equal
    keys have equal texts, and different keys different ones, whatever names are made of.
    """
    return lake.attached.keys(
        result.answer.footprint, question_hash(sql, canonical(parameters) if parameters else None)
    )
