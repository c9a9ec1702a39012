"""Another process that writes to a lake with bare DuckDB: one statement a line in, one line of JSON out.

Answers ``{"snapshot": n}`` after a commit, ``{"error": "…"}`` where DuckDB refused. Run as a script with the path of
a SQLite catalog; ends with its input.
"""

from __future__ import annotations

import importlib
import importlib.resources
import json
import sys

import duckdb


def load(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    package = importlib.resources.files(importlib.import_module(f"duckdb_extension_{name}"))
    path = package / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
    connection.execute(f"LOAD '{path}'")


def main(path: str) -> None:
    connection = duckdb.connect(config={"threads": 1})
    load(connection, "ducklake")
    load(connection, "sqlite_scanner")
    connection.execute(f"ATTACH 'ducklake:sqlite:{path}' AS a (META_JOURNAL_MODE 'WAL', META_BUSY_TIMEOUT 5000)")
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        try:
            connection.execute(json.loads(line))
            row = connection.execute("FROM a.last_committed_snapshot()").fetchone()
            answer = {"snapshot": row[0] if row else None}
        except duckdb.Error as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
