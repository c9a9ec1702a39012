"""Rows that have been read, cut or written otherwise: by a DuckDB of their own, which knows nothing else.

For data, not for queries: no SQL of a user runs here, so that it needs none of the engine's limits, takes no turn
in its pool and counts as no read. Each call opens a database in memory and closes it (some milliseconds): call it
in a thread. Any thread may.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from livelake.engine.arrow import drain
from livelake.engine.door import translate
from livelake.engine.quote import literal
from livelake.engine.result import ArrowData

_ROWS = "livelake_rows"


def sliced(data: ArrowData, offset: int, limit: int) -> ArrowData:
    """The ``limit`` rows from the one after ``offset`` on: fewer at the end, none past it."""
    if offset == 0 and limit >= data.num_rows:
        return data
    with _holding(data) as database:
        cut = drain(database.sql(f"FROM {_ROWS} LIMIT {int(limit)} OFFSET {min(int(offset), data.num_rows)}"))
    return ArrowData(cut.ipc, cut.num_rows, data.columns)  # the types as the query had them


def parquet(data: ArrowData) -> bytes:
    """The rows as a Parquet file, compressed by Zstandard. Raises QueryError for a type that Parquet has not."""
    with _holding(data) as database, tempfile.TemporaryDirectory(prefix="livelake-") as folder:
        file = Path(folder) / "rows.parquet"
        database.execute(f"COPY {_ROWS} TO {literal(str(file))} (FORMAT parquet, COMPRESSION zstd)")
        return file.read_bytes()


@contextmanager
def _holding(data: ArrowData) -> Iterator[duckdb.DuckDBPyConnection]:
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,  # equal data are equal bytes
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
    }
    try:
        with duckdb.connect(":memory:", config=config) as database:
            database.register(_ROWS, data)
            yield database
    except duckdb.Error as error:
        raise translate(error, "") from error
