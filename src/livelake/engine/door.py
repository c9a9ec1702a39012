"""DuckDB's exceptions as ours: the one map, kept by class and, where a class says too little, by message.

Pure. Every statement of `Session` goes through `translate`; nothing above the engine sees a DuckDB exception.
A failure in the middle of an Arrow stream arrives as nanoarrow's exception around DuckDB's message; its prefix
(``INTERRUPT Error: …``) names the class that got lost.
"""

from __future__ import annotations

import re

import duckdb

from livelake.errors import (
    ConflictError,
    InternalError,
    LivelakeError,
    LockedError,
    ParameterError,
    QueryError,
    SourceError,
)

SQL_SHOWN = 80
"""Characters of the statement that an error message repeats."""

_PREFIX = re.compile(r"^(?:ArrowArrayStream::\w+\(\) failed \(-?\d+\): )?(?:([A-Za-z ]+?) Error: )?", re.DOTALL)
_HOLDER = re.compile(r'lock on file "(?P<file>[^"]*)".*?\(PID (?P<pid>\d+)\)', re.DOTALL)
_CONFLICT = re.compile(r"conflict|database is locked|could not serialize|deadlock", re.IGNORECASE)
_BY_PREFIX: dict[str, type[Exception]] = {
    "INTERRUPT": duckdb.InterruptException,
    "Out of Memory": duckdb.OutOfMemoryException,
    "FATAL": duckdb.FatalException,
    "INTERNAL": duckdb.InternalException,
    "IO": duckdb.IOException,
    "HTTP": duckdb.HTTPException,
    "TransactionContext": duckdb.TransactionException,
}


class Interrupted(LivelakeError):  # noqa: N818 - something that was asked for, like CancelledError
    """The statement was interrupted on request. Known to the engine alone: the pool says what it means."""


class FatalError(InternalError):
    """DuckDB gave up on the whole instance; the engine is broken and every later use raises this."""


def translate(error: BaseException, sql: str) -> LivelakeError:
    """The error of ours that says what ``error`` means for the statement ``sql``."""
    text = str(error)
    match = _PREFIX.match(text)
    prefix, message = (match[1], text[match.end() :]) if match else (None, text)
    kind = type(error) if isinstance(error, duckdb.Error) else _BY_PREFIX.get(prefix or "", duckdb.Error)
    said = _first_line(message)
    if issubclass(kind, duckdb.InterruptException):
        return Interrupted(f"interrupted{_in(sql)}")
    if issubclass(kind, duckdb.FatalException):
        return FatalError(f"DuckDB gave up: {said}{_in(sql)}; open the lake again, and please report this")
    if issubclass(kind, duckdb.TransactionException):
        return _transaction(said, message, sql)
    if issubclass(kind, duckdb.OutOfMemoryException):
        return QueryError(
            f"out of memory: {said}{_in(sql)}; raise memory_limit, use fewer threads, or read less at a time"
        )
    if issubclass(kind, (duckdb.IOException, duckdb.HTTPException)):
        return _source(said, message, sql)
    if message.startswith("Failed to ") and _CONFLICT.search(message):  # a procedure of DuckLake's
        return _transaction(said, message, sql)
    if "Unable to transform python value" in message:
        return ParameterError(f"{said}; pass a number, text, bytes, date, time, Decimal, UUID, list or dict")
    if issubclass(kind, duckdb.InternalException):
        return InternalError(f"DuckDB failed inside: {said}{_in(sql)}; please report the statement")
    return QueryError(said + _in(sql))


def _transaction(said: str, message: str, sql: str) -> LivelakeError:
    if _CONFLICT.search(message):
        return ConflictError(f"another transaction was first: {said}{_in(sql)}; it is safe to try again")
    if "invalidated" in message:
        return FatalError(f"DuckDB gave up: {said}{_in(sql)}; open the lake again, and please report this")
    return QueryError(said + _in(sql))


def _source(said: str, message: str, sql: str) -> SourceError:
    if "Could not set lock on file" not in message:
        return SourceError(said + _in(sql))
    holder = _HOLDER.search(message)
    what = f"{holder['file']} is held by process {holder['pid']}" if holder else said
    return LockedError(
        f"{what}: a DuckDB file serves one process at a time. Stop that process, or ask the running server "
        "by its http:// address, or keep the catalog in SQLite or PostgreSQL (ducklake:sqlite:…)"
    )


def _first_line(message: str) -> str:
    """DuckDB's first line and its suggestions, without the excerpt and the caret."""
    body = re.split(r"\n+LINE \d+:", message, maxsplit=1)[0]
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    kept = lines[:1] + [line for line in lines[1:] if re.match(r"Did you mean|Candidate|\w+\(", line)]
    return " ".join(kept) or "no message"


def _in(sql: str) -> str:
    if not sql:
        return ""
    flat = " ".join(sql.split())
    return f" (in: {flat if len(flat) <= SQL_SHOWN else flat[: SQL_SHOWN - 1] + '…'})"
