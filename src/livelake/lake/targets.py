"""Targets: which tables a statement writes, from its plan. Decides what a plain database's write makes stale."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from livelake.engine import Session, TableRef, gate, reads
from livelake.errors import QueryError
from livelake.token import Token

_ROWS_ONLY = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE_INTO"})
_DEFINITIONS = frozenset({"CREATE", "DROP", "ALTER"})
_NOT_DATA = frozenset(
    {"TRANSACTION", "ATTACH", "DETACH", "SET", "VARIABLE_SET", "LOAD", "PREPARE", "EXECUTE", "PRAGMA"}
)
# What is defined in DuckDB's own database leaves no trace in the plan of who uses it.
_IN_MEMORY: Final = re.compile(
    r"\b(?:view|macro|function|type)\s+(?:if\s+(?:not\s+)?exists\s+)?\"?memory\"?\s*\.", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Targets:
    """The tables that statements have written, as far as it is known. ``anything``: it is not.

    ``files``: whether files beside the catalogs may have been written (COPY and its like).
    """

    tables: frozenset[TableRef] = frozenset()
    anything: bool = False
    files: bool = False

    def __or__(self, other: Targets) -> Targets:
        return Targets(self.tables | other.tables, self.anything or other.anything, self.files or other.files)

    def of(self, catalog: str) -> frozenset[tuple[str, str]] | None:
        """The (schema, table) written in ``catalog``; None if it may be any."""
        if self.anything:
            return None
        return frozenset((table.schema, table.table) for table in self.tables if table.catalog == catalog)


@dataclass(slots=True)
class Work:
    """What a transaction has written, told by whoever writes; and its token, once it is committed and applied."""

    targets: Targets = field(default_factory=Targets)
    token: Token = field(default_factory=Token)


def written(session: Session, sql: str, *, plan: bool) -> Targets:
    """What one statement will write, from its plan if that is asked for: where a catalog without a log is attached.

    Raises `QueryError` for several statements, for what changes the session, and for definitions that nobody watches.
    """
    kind = gate(session, sql, reads_only=False).kind
    if kind in _NOT_DATA:
        raise QueryError(f"{kind} changes the session, not data; see transaction() and open(attach=…)")
    if not plan and kind in _DEFINITIONS and _IN_MEMORY.search(sql):
        raise QueryError(
            "the database memory is DuckDB's own: nobody would be told that a definition in it has changed, and it is"
            " gone when the lake is opened again; define it in the lake, or in a DuckDB file that is attached"
        )
    if not plan or kind not in _ROWS_ONLY:
        return Targets(anything=True, files=kind not in _ROWS_ONLY | _DEFINITIONS)
    found = reads(session.plan(sql), session.parse(sql))
    return Targets(found.targets, anything=not (found.planned and found.targets))
