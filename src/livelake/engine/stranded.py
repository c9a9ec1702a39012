"""Cursors that cannot be closed: those in a transaction when DuckDB gave up the whole instance.

DuckDB then refuses every statement, ROLLBACK as well, and rolls back as the connection is destroyed. A transaction
of a DuckLake rolls back with a statement of its own, which is refused too; thrown out of a destructor, that ends the
process (1.5.5; `tests/engine/test_stranded.py`). So such a cursor is left alone until the process ends.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

import duckdb


def rolled_back(cursor: duckdb.DuckDBPyConnection) -> bool:
    """Whether a transaction was rolled back."""
    try:
        cursor.execute("ROLLBACK")
    except duckdb.Error:
        return False
    return True


def put_down(cursor: duckdb.DuckDBPyConnection, *, in_transaction: bool) -> bool:
    """Close a cursor, a transaction rolled back; or leave it open for good, and return False."""
    if _is_refused(cursor) and in_transaction:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(cursor))  # never freed, not even as the interpreter goes
        return False
    cursor.close()
    return True


def _is_refused(cursor: duckdb.DuckDBPyConnection) -> bool:
    """Whether the instance lets nothing be rolled back. One database that was given up refuses only once: then the
    transaction is over."""
    try:
        for _ in range(2):
            with suppress(duckdb.FatalException):
                cursor.execute("ROLLBACK")
                return False
    except duckdb.Error:
        return False  # there is none
    return True
