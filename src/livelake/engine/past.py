"""A SELECT as of past states of DuckLake catalogs: ``AT (VERSION => n)`` behind the tables that its text names.

The clause is put into the text, which otherwise stays as it was written; printing a changed syntax tree instead would
give columns other names and other shapes. That the clauses are where they belong is proved: the new text must parse
to the tree of the old one but for them. DuckDB hands a clause on to everything inside a view, and ignores it on a
CTE. What reads tables by other ways (macros, ``query('…')``) is not reached: whoever runs the text compares the
snapshots in its plan with those that were asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from livelake.engine.session import Session
from livelake.engine.statement import nodes
from livelake.errors import QueryError

_GAP: Final = re.compile(r"(?:\s|--[^\n]*|/\*(?:[^*]|\*(?!/))*\*/)*")
_NAME: Final = re.compile(r'"(?:[^"]|"")*"|[^\W\d][\w$]*')
_CLAUSE: Final = " AT (VERSION => {})"


def travelled(session: Session, sql: str, versions: Mapping[str, int], attached: frozenset[str], default: str) -> str:
    """``sql`` with the tables of each catalog in ``versions`` read as of that snapshot, unless the text itself
    names another.

    ``attached``: the names of all catalogs, of which ``default`` is meant where a text names none. Raises QueryError
    for what has no place for such a clause (DESCRIBE, PIVOT …).
    """
    before = json.loads(session.parse(sql))
    if before.get("error"):
        raise QueryError(f"it cannot be read as of a past snapshot: {before.get('error_message')}; ask with a SELECT")
    tables = _tables(before)
    numbers = {name.lower(): number for name, number in versions.items()}
    known = frozenset(name.lower() for name in attached)
    raw = sql.encode()
    starts = [len(raw[: node["query_location"]].decode()) for node in tables]
    asked = [
        None if sql[start : start + 1] == "'" else _version(node, numbers, known, default.lower())  # '…' is a file
        for node, start in zip(tables, starts, strict=True)
    ]
    every = zip(tables, starts, asked, strict=True)
    places = [(_end(sql, start, node), number) for node, start, number in every if number is not None]
    text = sql
    for place, number in sorted(places, reverse=True):
        text = f"{text[:place]}{_CLAUSE.format(number)}{text[place:]}"
    after = json.loads(session.parse(text))
    if after.get("error") or not _proved(before, after, asked):
        raise QueryError(
            "it cannot be read as of a past snapshot, because AT (VERSION => …) has no place in it; "
            f"write its tables as FROM name in a plain SELECT: {sql[:80]!r}"
        )
    return text


def untravelled(name: str, versions: Mapping[str, int]) -> str:
    """The name of a column of the new text as it was in the old one: DuckDB names a subquery by its text."""
    for number in versions.values():
        name = name.replace(_CLAUSE.format(number), "")
    return name


def _tables(tree: Any) -> list[dict[str, Any]]:
    return [node for node in nodes(tree) if node.get("type") == "BASE_TABLE"]


def _version(node: dict[str, Any], versions: Mapping[str, int], attached: frozenset[str], default: str) -> int | None:
    """At which snapshot a table is to be read; None where its catalog has none, or its text says."""
    catalog, schema = node["catalog_name"].lower(), node["schema_name"].lower()
    if not catalog:  # a.b is table b in catalog a, or in a schema a
        catalog = schema if schema in attached else default
    return None if node["at_clause"] else versions.get(catalog)


def _end(sql: str, start: int, node: dict[str, Any]) -> int:
    """Where the reference that begins at ``start`` ends: behind name, alias and names of columns."""
    end = _name_end(sql, start)
    while (dot := _past_gap(sql, end)) < len(sql) and sql[dot] == ".":
        end = _name_end(sql, _past_gap(sql, dot + 1))
    if not node["alias"]:
        return end
    word = _NAME.match(sql, _past_gap(sql, end))
    if word is not None and word[0].lower() == "as":
        end = _name_end(sql, _past_gap(sql, word.end()))
    elif word is not None and _plain(word[0]).lower() == node["alias"].lower():
        end = word.end()
    opening = _past_gap(sql, end)
    if node["column_name_alias"] and sql[opening : opening + 1] == "(":
        end = opening + 1
        while (here := _past_gap(sql, end)) < len(sql) and sql[here] != ")":
            end = here + 1 if sql[here] == "," else _name_end(sql, here)
        end = here + 1
    return end


def _past_gap(sql: str, start: int) -> int:
    found = _GAP.match(sql, start)
    return start if found is None else found.end()


def _name_end(sql: str, start: int) -> int:
    """Past the name at ``start``, or past one character of what is none: the proof will tell."""
    found = _NAME.match(sql, start)
    return min(start + 1, len(sql)) if found is None else found.end()


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _proved(before: Any, after: Any, asked: list[int | None]) -> bool:
    """Whether ``after`` is ``before`` with a clause at each table that was asked for, and nothing else."""
    tables = _tables(after)
    if len(tables) != len(asked):
        return False
    for node, number in zip(tables, asked, strict=True):
        if number is None:
            continue
        clause = node["at_clause"]
        if not clause or clause["unit"] != "VERSION" or clause["expr"].get("value", {}).get("value") != number:
            return False
        node["at_clause"] = None
    return bool(_placeless(before) == _placeless(after))


def _placeless(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _placeless(value) for key, value in tree.items() if key != "query_location"}
    return [_placeless(each) for each in tree] if isinstance(tree, list) else tree
