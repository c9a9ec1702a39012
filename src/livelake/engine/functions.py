"""What livelake knows of DuckDB's functions by name, where DuckDB's own flags say too little.

Data only. `random()` is flagged volatile and `now()` is not; `current_setting`, one-argument `age` and `version`
are flagged constant and are not; table functions carry no flag at all. A test compares these sets with
``duckdb_functions()``, so that an upgrade of DuckDB that adds a function shows.
"""

from __future__ import annotations

from typing import Final


def names(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


VOLATILE: Final = names(
    "current_connection_id current_query current_query_id current_transaction_id currval gen_random_uuid "
    "json_execute_serialized_sql json_serialize_plan "
    "nextval pg_sleep random setseed sleep_ms stats txid_current uuid uuidv4 uuidv7 write_log"
)
"""Another answer each time. ``error`` is flagged volatile too, and left out: it stands in every scalar subquery."""

TIME: Final = names(
    "ago current_date current_localtime current_localtimestamp current_time current_timestamp get_current_time "
    "get_current_timestamp localtime localtimestamp now pg_conf_load_time pg_postmaster_start_time today "
    "transaction_timestamp"
)
"""Another answer later. One-argument ``age`` belongs here and is found by its number of arguments."""

TIME_WORDS: Final = names("current_date current_time current_timestamp localtime localtimestamp")
"""Those of `TIME` that SQL writes without parentheses."""

SESSION: Final = names(
    "current_catalog current_database current_role current_schema current_schemas current_setting current_user "
    "getvariable in_search_path session_user user version"
)
"""Another answer on another connection, or under another DuckDB."""

SESSION_WORDS: Final = frozenset({"current_catalog", "current_role", "current_user", "session_user"})
"""Those of `SESSION` that SQL writes without parentheses. ``user`` is left out: it is a usual column name, and
DuckDB's only user is ``duckdb``."""

HARMLESS: Final = names(
    "duckdb_keywords generate_series icu_calendar_names json_each json_tree pragma_platform pragma_version range "
    "repeat repeat_row summary test_all_types test_vector_types unnest"
)
"""Table functions whose rows follow from their arguments."""

FILES: Final = names(
    "delta_scan glob iceberg_scan parquet_bloom_probe parquet_file_metadata parquet_full_metadata "
    "parquet_kv_metadata parquet_metadata parquet_scan parquet_schema read_blob read_csv read_csv_auto "
    "read_duckdb read_json read_json_auto read_json_objects read_json_objects_auto read_ndjson read_ndjson_auto "
    "read_ndjson_objects read_parquet read_text sniff_csv"
)
"""Table functions that read files named by their first argument."""

WATCHABLE: Final = FILES - names("delta_scan iceberg_scan read_duckdb")
"""Those that read nothing but the files of that name or pattern."""

CATALOG: Final = frozenset({"ducklake_current_snapshot", "ducklake_list_files", "ducklake_table_info"})
"""Table functions whose rows change with every commit of the DuckLake catalog named by their first argument, and
only then (``ducklake_snapshots`` also changes when snapshots expire, which is no commit)."""

HISTORY: Final = frozenset({"table_changes", "table_deletions", "table_insertions"})
"""DuckLake's change feed, with or without the prefix ``ducklake_``; its plan scans a table between two snapshots."""

_LAKE_WRITERS: Final = names(
    "add_data_files cleanup_old_files commit delete_orphaned_files expire_snapshots flush_inlined_data "
    "merge_adjacent_files rewrite_data_files set_commit_message set_option"
)

CHANGING: Final = (
    names(
        "checkpoint disable_logging disable_profiling enable_logging enable_profiling force_checkpoint "
        "json_execute_serialized_sql load_aws_credentials mysql_execute mysql_query nextval postgres_attach "
        "postgres_execute postgres_query setseed sqlite_attach sqlite_query truncate_duckdb_logs write_log"
    )
    | _LAKE_WRITERS
    | {f"ducklake_{name}" for name in _LAKE_WRITERS}
)
"""Functions that change data or state though a SELECT may call them, and those that run SQL we cannot see."""

OPERATORS: Final = names(
    "AGGREGATE_AND_GROUP_BY ANY_JOIN ASOF_JOIN COMPARISON_JOIN CROSS_PRODUCT CTE_REF DELIM_GET DELIM_JOIN "
    "DEPENDENT_JOIN DISTINCT DUMMY_SCAN EXCEPT EXPRESSION_GET FILTER GET INTERSECT JOIN LIMIT MATERIALIZED_CTE "
    "ORDER_BY PIVOT POSITIONAL_JOIN PROJECTION RECURSIVE_CTE SAMPLE TOP_N UNION UNNEST WINDOW"
)
"""Plan nodes that we understand. Of the others CHUNK_GET (DESCRIBE) and EMPTY_RESULT (a maintenance function with
nothing to do) hide what they come from."""

WRITERS: Final = frozenset({"CREATE_TABLE", "DELETE", "INSERT", "MERGE_INTO", "UPDATE"})
"""Plan nodes that change the table that they name."""
