"""The files that a text reads by name, and its plan with them taken out.

DuckDB cannot serialise the plan of a CSV or JSON scan, and the plan of any scan of files shows what a pattern
matched, not the pattern. So each place where the text itself names files (by constants, or by parameters, whose
values stand in for them) is replaced by an empty subquery of the same columns. What the rest reads is in the plan
then; a scan of files that is still in it is hidden in a view or macro.

Called inside the transaction that runs the query: names are looked up as that one sees them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

import duckdb

from livelake.engine import functions
from livelake.engine.parameters import Parameters
from livelake.engine.quote import identifier, literal
from livelake.engine.session import Session
from livelake.engine.statement import nodes
from livelake.engine.written import FILE_NAME, FileRef
from livelake.errors import LivelakeError

_READERS: Final = ("read_", "glob", "sniff_csv", "parquet_")
_CALL: Final = re.compile(r"\b(?:read_\w+|glob|sniff_csv|parquet_\w+)\"?\s*\(")
_QUOTED: Final = re.compile(r"""['"$][^'"$]*[./\\*?]""")
_OPENING: Final = frozenset(b"'\"$eE")
"""What a token that is a text or a quoted name begins with; a plain name that does so holds none of the next."""
_PART_OF_NAME: Final = re.compile(rb"[./\\*?]")

Aside = Callable[[], AbstractContextManager[Session]]


@dataclass(frozen=True, slots=True)
class Masked:
    """The plan of a text without the files that it names; its syntax tree, whole; and the files."""

    plan: str
    tree: str
    files: frozenset[FileRef]


def masked(session: Session, sql: str, params: Parameters, aside: Aside) -> Masked | None:
    """None where the text names no files, or where they cannot all be taken out.

    The files are looked into for their columns on a cursor of their own, ``aside``: a file that is not there would
    abort the transaction of the session.
    """
    if not _may_name_files(sql):
        return None
    tree = session.tree(sql, params)
    found = [] if tree is None else list(_named(session, tree))
    if not found:
        return None
    with aside() as other:
        columns = [_columns(other, node) for node, _, _ in found]
    for (node, _, _), each in zip(found, columns, strict=True):
        if each is None:
            return None
        _empty(session, node, each)
    plan = session.plan_of(tree)
    if json.loads(plan).get("error"):
        return None
    files = frozenset(FileRef(function, path) for _, function, paths in found for path in paths)
    return Masked(plan, session.parse(sql), files)


def _may_name_files(sql: str) -> bool:
    """Whether a text that parses may name a file: only then is its syntax tree worth its time."""
    lower = sql.lower()
    if any(each in lower for each in _READERS) and _CALL.search(lower) is not None:
        return True
    if _QUOTED.search(sql) is None:  # what is between two quoted texts is taken for one here, not below
        return False
    raw = sql.encode()
    begins = [begin for begin, _ in duckdb.tokenize(sql)]
    spans = zip(begins, [*begins[1:], len(raw)], strict=True)
    return any(raw[begin] in _OPENING and _PART_OF_NAME.search(raw, begin, end) for begin, end in spans)


def _named(session: Session, tree: Any) -> Iterator[tuple[dict[str, Any], str, list[str]]]:
    """(the node, the function that reads, the names) of each place in the tree."""
    every = list(nodes(tree))
    tables = {
        node["table_name"]
        for node in every
        if node.get("type") == "BASE_TABLE" and not node.get("schema_name") and FILE_NAME.search(node["table_name"])
    }
    tables -= _elsewhere(session, tables, every)
    for node in every:
        if node.get("type") == "BASE_TABLE" and node["table_name"] in tables and not node.get("at_clause"):
            yield node, "file", [node["table_name"]]
        elif node.get("type") == "TABLE_FUNCTION":
            name = node["function"]["function_name"].lower()
            paths = _constants(node["function"].get("children") or [])
            if name in functions.WATCHABLE and paths:
                yield node, name, paths


def _elsewhere(session: Session, names: set[str], every: list[dict[str, Any]]) -> set[str]:
    """Those of ``names`` that are tables, views or CTEs after all."""
    if not names:
        return set()
    listed = ", ".join(literal(name.lower()) for name in names)
    rows = session.fetchall(
        f"SELECT lower(table_name) FROM system.main.duckdb_tables() WHERE lower(table_name) IN ({listed})"
        f" UNION ALL SELECT lower(view_name) FROM system.main.duckdb_views() WHERE lower(view_name) IN ({listed})"
    )
    known = {str(row[0]) for row in rows}
    known |= {str(entry["key"]).lower() for node in every for entry in (node.get("cte_map") or {}).get("map", ())}
    return {name for name in names if name.lower() in known}


def _constants(arguments: list[Any]) -> list[str]:
    """The names in the first argument: a text, or a list of texts; none if it is anything else."""
    first = arguments[0] if arguments else {}
    if first.get("class") == "FUNCTION" and first.get("function_name") == "list_value":
        first["schema"] = ""  # the parser writes main, which is the lake's own schema where we are
        items = first.get("children") or []
    else:
        items = [first]
    values = [(item.get("value") or {}).get("value") for item in items if item.get("class") == "CONSTANT"]
    texts = [value for value in values if isinstance(value, str)]
    return texts if len(texts) == len(items) else []


def _columns(session: Session, node: dict[str, Any]) -> list[tuple[str, str]] | None:
    """Names and types of what a place in the tree reads; None if it cannot be told."""
    select = json.loads(session.parse("SELECT * FROM t"))
    select["statements"][0]["node"]["from_table"] = {**node, "sample": None}
    try:
        text = session.fetchone("SELECT system.main.json_deserialize_sql(?::JSON)", [json.dumps(select)])
        rows = session.fetchall(f"DESCRIBE {text[0]}") if text else []
    except LivelakeError:
        return None
    return [(str(row[0]), str(row[1])) for row in rows] or None


def _empty(session: Session, node: dict[str, Any], columns: list[tuple[str, str]]) -> None:
    """Turn a place in the tree into a subquery of these columns."""
    values = ", ".join(f"NULL::{kind} AS {identifier(name)}" for name, kind in columns)
    select = json.loads(session.parse(f"SELECT {values}"))["statements"][0]
    alias = node.get("alias") or (
        node["function"]["function_name"] if "function" in node else PurePath(node["table_name"]).name.split(".")[0]
    )
    replacement = {
        "type": "SUBQUERY",
        "alias": alias,
        "sample": node.get("sample"),
        "query_location": node.get("query_location"),
        "subquery": {"node": select["node"], "named_param_map": []},
        "column_name_alias": node.get("column_name_alias") or [],
    }
    node.clear()
    node.update(replacement)
