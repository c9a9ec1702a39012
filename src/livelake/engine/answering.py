"""From a statement to its whole answer, inside its caps. Whoever calls owns the cursor until it returns.

Three ways, by what DuckDB does with each:

- A query without parameters is streamed.
- With parameters DuckDB's client makes the whole result before it hands out the first row, outside of
  ``memory_limit`` (787 MB under a limit of 200 MB, measured). So such a query, and a guarded one, goes into a
  temporary table, which DuckDB keeps within the limit and spills, and is read from there in pieces. That costs the
  same for a few rows and up to half again as much for many.
- What is no SELECT and has rows all the same (INSERT … RETURNING) is small, and is taken as DuckDB hands it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import duckdb

from livelake.engine.arrow import drain
from livelake.engine.limits import Caps
from livelake.engine.result import ArrowData
from livelake.errors import QueryError

_TABLE: Final = "temp.main.livelake_answer"
_VIEW: Final = "livelake_rows"
_PIECE_ROWS: Final = 10_240
_NO_COLUMN: Final = "A table cannot be created from an unnamed struct"


class UnkeepableError(QueryError):
    """No table has a column of such a type; `answer` can do without, in another transaction."""


def answer(
    cursor: duckdb.DuckDBPyConnection,
    statement: duckdb.Statement,
    params: Mapping[str, Any] | Sequence[Any] | None,
    caps: Caps,
    rename: Callable[[str], str] | None = None,
    *,
    keep: bool = True,
) -> ArrowData:
    """Everything that the statement yields. Raises `TooLargeError`, DuckDB's and nanoarrow's errors as they come.

    Raises `UnkeepableError` where a table cannot hold the answer: the transaction is lost then. Without ``keep`` no
    table is tried.
    """
    if caps.guarded or (params and keep):
        keeping = _keeping(cursor, statement)
        if keeping is not None:
            return _through_table(cursor, keeping, params, caps, rename)
    relation = cursor.sql(statement, params=params or None)
    if relation is None:
        raise QueryError(f"a {statement.type.name} statement has no rows to read; execute it instead")
    if not params:
        return drain([relation], caps, rename)
    # A materialised relation is printed as text before it runs (370 ms for 100,000 rows); through a view it is not.
    try:
        return drain([relation.query(_VIEW, f"FROM {_VIEW}")], caps, rename)
    finally:
        with suppress(duckdb.Error):  # in an aborted transaction; the cursor is replaced then
            cursor.execute(f"DROP VIEW IF EXISTS temp.{_VIEW}")


def _keeping(cursor: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> duckdb.Statement | None:
    """The statement that keeps the answer in a temporary table; None for what cannot be kept (SHOW, RETURNING)."""
    if statement.type.name != "SELECT":
        return None
    try:
        found = cursor.extract_statements(f"CREATE OR REPLACE TEMP TABLE {_TABLE} AS {statement.query}")
    except duckdb.Error:
        return None
    return found[0] if len(found) == 1 else None


def _through_table(
    cursor: duckdb.DuckDBPyConnection,
    keeping: duckdb.Statement,
    params: Mapping[str, Any] | Sequence[Any] | None,
    caps: Caps,
    rename: Callable[[str], str] | None,
) -> ArrowData:
    try:
        cursor.execute(keeping, params or None)
        made = cursor.fetchone()
        rows = int(made[0]) if made else 0
        caps.check(rows)
        return drain(_pieces(cursor, rows), caps, rename)
    except duckdb.Error as error:
        if _NO_COLUMN in str(error):
            raise UnkeepableError("a column is a struct without names; name its fields: {'a': …, 'b': …}") from error
        raise
    finally:
        with suppress(duckdb.Error):  # in an aborted transaction; the cursor is replaced then
            cursor.execute(f"DROP TABLE IF EXISTS {_TABLE}")


def _pieces(cursor: duckdb.DuckDBPyConnection, rows: int) -> Iterator[duckdb.DuckDBPyRelation]:
    if rows <= _PIECE_ROWS:
        yield cursor.sql(f"FROM {_TABLE}")
        return
    for start in range(0, rows, _PIECE_ROWS):
        yield cursor.sql(f"SELECT * FROM {_TABLE} WHERE rowid >= {start} AND rowid < {start + _PIECE_ROWS}")
