"""What SQL of somebody who is not trusted may be. Default-deny, and decided twice.

*Before* DuckDB binds it, by its syntax tree (`guard`): binding alone opens files and connections. Tables by plain
names of the catalogs that are attached for it, DuckDB's own scalar functions but for those in `DENIED`, the table
functions in `ALLOWED`; text that becomes SQL (``query('…')``) by the same rules, and no text that is not written out.

*After* binding, by its plan (`refuse`): what views and macros hide. Whoever made them may read files through them;
strangers may not, not even so.

Neither bounds time and memory: `Caps`, a deadline and ``memory_limit`` do, as far as DuckDB can.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from livelake.engine import functions
from livelake.engine.functions import names
from livelake.engine.reading import Reads
from livelake.engine.session import Session
from livelake.engine.statement import gate, nodes
from livelake.errors import RefusedError

MOST_CHARACTERS: Final = 100_000
"""No text of a person is longer, and a parser's time grows with it."""

ALLOWED: Final = names("generate_series json_each json_tree range repeat repeat_row unnest")
"""Table functions whose rows follow from their arguments, and which somebody wants."""

DENIED: Final = (
    functions.SESSION
    | functions.CHANGING
    | (functions.VOLATILE - names("gen_random_uuid random uuid uuidv4 uuidv7"))
    | names("getenv json_deserialize_sql json_serialize_plan json_serialize_sql which_secret")
)
"""Scalar functions that tell of the server, wait, leave a trace, or bind SQL that is only a text to us."""

# What DuckDB takes for a file where no table is of that name; it puts the parts of a qualified name together first,
# so that `data.csv` is one, too.
_FILE_NAME: Final = re.compile(
    r"[*?/\\:\[\]{}%$~]|\.(avro|csv|db|ddb|duckdb|json|jsonl|ndjson|parquet|sqlite3?|tsv|txt|xlsx)\b", re.IGNORECASE
)
_PLAIN_NAME: Final = re.compile(r"\w+(\.\w+){0,2}")
_BY_TEXT: Final = frozenset({"query", "query_table"})


@dataclass(frozen=True, slots=True)
class Realm:
    """What strangers may name. ``catalogs``: the attached databases; ``builtins`` and ``internal_views`` are the
    engine's (`Engine.builtins`, `Engine.internal_views`)."""

    catalogs: frozenset[str]
    builtins: frozenset[str]
    internal_views: frozenset[str]


def guard(session: Session, sql: str, realm: Realm) -> None:
    """Raise `RefusedError` unless ``sql`` is a SELECT that keeps to ``realm`` as written; QueryError for no SELECT.

    Binds nothing: no file is opened. About 0.4 ms.
    """
    if len(sql) > MOST_CHARACTERS:
        raise RefusedError(f"the query has {len(sql):,} characters, and {MOST_CHARACTERS:,} are allowed; shorten it")
    gate(session, sql, reads_only=True)
    tree = json.loads(session.parse(sql))
    if tree.get("error"):
        raise RefusedError(f"only plain SELECTs may be asked here: {tree.get('error_message')}")
    for node in nodes(tree):
        if node.get("type") == "SHOW_REF":
            raise RefusedError("SHOW, DESCRIBE and SUMMARIZE may not be asked here; name the columns that you want")
        if node.get("type") == "BASE_TABLE":
            _check_table(session, node, realm)
        if node.get("type") == "TABLE_FUNCTION":
            _check_table_function(session, node["function"], realm)
        elif "function_name" in node:
            _check_scalar(node, realm)


def refuse(found: Reads, realm: Realm) -> None:
    """Raise `RefusedError` if the plan shows what `guard` cannot see: files, other catalogs, the server itself."""
    strangers = {table.catalog for table in found.tables} - realm.catalogs
    reasons = [
        *(f"it reads the catalog {name}" for name in sorted(strangers)),
        *(says for kind, says in found.obstacles.items() if kind not in ("volatile", "time")),
        *(f"it asks the catalog {name} itself" for name in sorted(found.catalogs)),
    ]
    if reasons:
        raise RefusedError(f"this query may not be asked here: {'; '.join(reasons)}")


def _check_table(session: Session, node: dict[str, Any], realm: Realm) -> None:
    parts = [part for part in (node["catalog_name"], node["schema_name"], node["table_name"]) if part]
    name = ".".join(parts)
    if _FILE_NAME.search(name):
        raise RefusedError(f"{name!r} may be a file, and files may not be read here; name a table")
    if len(parts) == 1:
        if name.lower() in realm.internal_views:
            raise RefusedError(f"{name} tells of the server, and may not be read here; name a table of the lake")
    elif parts[0].lower() not in {catalog.lower() for catalog in realm.catalogs} and (
        len(parts) == 3 or not _is_schema(session, parts[0], realm)
    ):
        raise RefusedError(f"there is nothing called {parts[0]} here; there is {', '.join(sorted(realm.catalogs))}")
    if len(parts) > 1 and parts[-2].lower() in ("information_schema", "pg_catalog"):
        raise RefusedError(f"{name} tells of the server, and may not be read here; name a table of the lake")


def _is_schema(session: Session, name: str, realm: Realm) -> bool:
    rows = session.fetchall(
        "SELECT database_name FROM system.main.duckdb_schemas() WHERE lower(schema_name) = lower(?)",
        [name],
    )
    return any(row[0] in realm.catalogs for row in rows)


def _check_table_function(session: Session, call: dict[str, Any], realm: Realm) -> None:
    name = call["function_name"].lower()
    if name in _BY_TEXT:
        texts = list(_constants(call, name))
        for text in texts:
            if name == "query_table" and not _PLAIN_NAME.fullmatch(text):
                raise RefusedError(f"query_table({text!r}): only plain names of tables may stand there")
            guard(session, text if name == "query" else f"FROM {text}", realm)
    elif name not in ALLOWED:
        raise RefusedError(
            f"the table function {name} may not be called here; there are {', '.join(sorted(ALLOWED))}"
        )


def _check_scalar(call: dict[str, Any], realm: Realm) -> None:
    name = call["function_name"].lower()
    if name in _BY_TEXT or name in ALLOWED:
        return  # the call inside a table function's node, which was looked at as such
    if name in DENIED:
        raise RefusedError(f"{name} may not be called here: it tells of the server or changes it")
    if name not in realm.builtins:
        raise RefusedError(f"{name} is none of DuckDB's own functions, and macros may not be called here")


def _constants(call: dict[str, Any], name: str) -> Iterator[str]:
    """The texts that stand in the first argument, written out; anything else is refused."""
    first = (call.get("children") or [{}])[0]
    for item in first["children"] if first.get("function_name") == "list_value" else [first]:
        value = (item.get("value") or {}) if item.get("class") == "CONSTANT" else {}
        if not isinstance(value.get("value"), str):
            raise RefusedError(f"{name} may be called here only with its text written out")
        yield value["value"]
