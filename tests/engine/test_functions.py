"""The lists of names against DuckDB's own catalog: a new function in DuckDB shows here."""

from __future__ import annotations

from livelake.engine import Engine, functions

# Flagged volatile, and not: it stands in every scalar subquery.
EXEMPT = {"error"}
# Table functions that are met under another name in a plan, and so are `unknown` there: fail closed.
UNKNOWN = {
    "arrow_scan", "arrow_scan_dumb", "pandas_scan", "python_map_function", "query", "query_table", "which_secret",
    "ducklake_scan", "seq_scan", "sqlite_scan", "ducklake_snapshots", "ducklake_options", "ducklake_settings",
    "ducklake_last_committed_snapshot", "ducklake_table_insertions", "ducklake_table_deletions", "pg_timezone_names",
}  # fmt: skip


def test_every_function_that_duckdb_flags_is_in_one_of_our_lists(shared_engine: Engine) -> None:
    known = functions.VOLATILE | functions.TIME | functions.SESSION | EXEMPT
    with shared_engine.cursor() as session:
        flagged = session.fetchall(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability NOT IN ('CONSISTENT')"
        )
    assert {name for (name,) in flagged} - known == set()


def test_every_table_function_is_classified(shared_engine: Engine) -> None:
    known = functions.HARMLESS | functions.FILES | functions.CATALOG | functions.CHANGING | UNKNOWN
    with shared_engine.cursor() as session:
        found = session.fetchall(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'table'"
        )
    names = {name for (name,) in found if not name.startswith(("duckdb_", "pragma_"))}
    assert names - known == set()


def test_the_lists_do_not_contradict_each_other() -> None:
    assert not functions.HARMLESS & (functions.FILES | functions.CATALOG | functions.CHANGING)
    assert not functions.TIME & (functions.VOLATILE | functions.SESSION)
    assert functions.SESSION_WORDS <= functions.SESSION
