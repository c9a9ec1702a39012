"""Tables of inlined rows that DuckLake still asks for though a flush has dropped them, and what helps.

DuckLake remembers, for each version of a lake's schema, which tables hold a table's inlined rows. A flush drops those
of earlier schemas. What it remembers is wrong from then on

- in every other process that had read the table, until the lake is attached there again;
- in this process, if a transaction from before the flush read the table after it, until the schema changes
  (`test_forgotten` provokes it with DuckLake alone; 3 of 14 worlds of the oracle met it on a busy machine). The
  schema of the past does not change: a read of it goes on once everything was opened anew.
"""

from __future__ import annotations

import re
from typing import Final

from livelake.engine import Session, identifier, literal

_DROPPED: Final = re.compile(r"ducklake_inlined_[a-z]+_(\d+)\w*.* does not exist", re.DOTALL)
# A flush came between the plan and the scan, and the next transaction is right: SQLite's words as a scan begins, and
# DuckLake's, of whatever it met; or none, where DuckLake did not look whether it had met anything.
_TAKEN: Final = re.compile(
    r"no such table: ducklake_inlined_|Failed to read inlined data from DuckLake"
    r"|Attempting to fetch from an unsuccessful query result"
)


def was_taken(error: BaseException) -> bool:
    """Whether the inlined rows were flushed under a read that had found them, and DuckLake does not miss them."""
    return table_of(error) is None and any(_TAKEN.search(str(each)) for each in (error, error.__cause__))


def table_of(error: BaseException) -> int | None:
    """The id of the table whose inlined rows ``error`` is about, None if it is another error."""
    for each in (error, error.__cause__):  # DuckDB's whole text: its first line may only say that the query failed
        if found := _DROPPED.search(str(each)):
            return int(found[1])
    return None


def change_schema(session: Session, catalog: str, metadata: str, table: int) -> bool:
    """Give a table the comment that it has: one commit, which changes nothing but the schema's version.

    Whether there was such a table. ``metadata``: the quoted name of the catalog's own tables.
    """
    found = session.fetchone(
        f"SELECT s.schema_name, t.table_name FROM {metadata}.ducklake_table t"
        f" JOIN {metadata}.ducklake_schema s USING (schema_id) WHERE t.table_id = ? AND t.end_snapshot IS NULL",
        [table],
    )
    if found is None:
        return False
    schema, name = map(str, found)
    known = session.fetchone(
        "SELECT comment FROM duckdb_tables() WHERE (database_name, schema_name, table_name) = (?, ?, ?)",
        [catalog, schema, name],
    )
    comment = "NULL" if known is None or known[0] is None else literal(str(known[0]))
    session.execute(f"COMMENT ON TABLE {'.'.join(map(identifier, (catalog, schema, name)))} IS {comment}")
    return True
