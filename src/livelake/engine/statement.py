"""What may run: exactly one statement and, for readers, one that only reads.

Decided by DuckDB's own parser, not by the text. PIVOT without an IN list is refused: DuckDB runs a query of its
own and a CREATE TYPE before it to find the columns; with the list it is a plain SELECT. What hides inside views
and macros is not seen here but in the plan: refuse `Reads.changes`, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import duckdb

from livelake.engine.functions import CHANGING, FILES
from livelake.engine.session import Session
from livelake.errors import QueryError, UsageError

_WORD: Final = re.compile(r"\w+")
_TOKEN: Final = re.compile(r'"(?:[^"]|"")*"|\w+|.', re.DOTALL)
_TEMPORARY: Final = re.compile(
    r"create (or replace )?((local |global )?temp(orary)? (?!secret\b)|\w+ (if not exists )?(temp|\"temp\") \.)"
)
_OPENS: Final = re.compile(r"query|query_table|read_\w+|\w+_(attach|execute|query|scan|scan_pushdown)")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. ``kind`` is DuckDB's word (SELECT, INSERT, …); ``parameters`` are names, or "1", "2", …."""

    sql: str
    kind: str
    parameters: frozenset[str]
    is_read: bool


def check_text(sql: object) -> None:
    """Raise `UsageError` for what is no text, `QueryError` for text that has no UTF-8."""
    if not isinstance(sql, str):
        raise UsageError(f"SQL is text, and this is {type(sql).__name__}: {sql!r:.80}; write it as a str")
    if not sql.isascii():
        try:
            sql.encode()
        except UnicodeEncodeError as error:
            lone = ascii(sql[error.start])
            raise QueryError(
                f"SQL is UTF-8, and character {error.start + 1:,} of this, {lone}, is half of a pair: "
                f"{sql[:80]!a}; remove it, or decode the text anew"
            ) from None


def gate(session: Session, sql: str, *, reads_only: bool) -> Statement:
    """The one statement that ``sql`` is. Raises QueryError for none, several, and what readers may not run, and
    UsageError for what is no text.

    About 30 µs; a few hundred more where the text names one of `functions.CHANGING`. EXPLAIN, SHOW and DESCRIBE:
    the last two are SELECTs to DuckDB and pass, EXPLAIN is not.
    """
    check_text(sql)
    found = session.statements(sql)
    if any(not statement.query for statement in found):
        raise QueryError(
            "PIVOT needs its values named (PIVOT … ON column IN (…)): without them DuckDB first runs other "
            "statements to find them, and what the answer depends on cannot be known"
        )
    if len(found) != 1:
        what = f"{len(found)} statements" if found else "no statement"
        raise QueryError(f"one statement at a time; this text holds {what}: {sql[:80]!r}")
    kind = found[0].type.name
    changing = sorted(called(session.parse(sql)) & CHANGING) if _may_change(sql) and kind == "SELECT" else []
    if reads_only and kind != "SELECT":
        raise QueryError(f"only queries run here, and this is {kind}: {sql[:80]!r}")
    if reads_only and changing:
        raise QueryError(f"only queries run here, and this one calls {', '.join(changing)}: {sql[:80]!r}")
    return Statement(sql, kind, frozenset(found[0].named_parameters), kind == "SELECT" and not changing)


def steers(session: Session, sql: str) -> frozenset[str]:
    """The table functions in ``sql`` that take a parameter for what they open: a file, a connection, SQL.

    Not seen: what a macro makes of its arguments.
    """
    found = [
        node["function"]
        for node in nodes(json.loads(session.parse(sql)))
        if node.get("type") == "TABLE_FUNCTION" and any(each.get("class") == "PARAMETER" for each in nodes(node))
    ]
    opening = (str(call["function_name"]).lower() for call in found)
    return frozenset(name for name in opening if name in FILES or _OPENS.fullmatch(name))


def called(parse_json: str) -> frozenset[str]:
    """The names of all functions in a syntax tree, in lower case."""
    return frozenset(
        node["function_name"].lower() for node in nodes(json.loads(parse_json)) if "function_name" in node
    )


def nodes(tree: Any, without: frozenset[str] = frozenset()) -> Iterator[dict[str, Any]]:
    """Every object in a JSON tree, parents first, but for what lies under the keys in ``without``."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if type(node) is dict:  # JSON has no subclasses, and this loop is on the path of every new text
            yield node
            if without:
                pending += [
                    value
                    for key, value in node.items()
                    if (type(value) is dict or type(value) is list) and key not in without
                ]
            else:
                pending += [value for value in node.values() if type(value) is dict or type(value) is list]
        elif type(node) is list:
            pending += node


def makes_temporary(sql: str) -> bool:
    """Whether the statement makes something that only its own session sees: a temporary table, view, macro, …

    A temporary secret is everybody's.
    """
    if "temp" not in sql.lower():
        return False
    words = (_TOKEN.match(sql, at) for at, _ in duckdb.tokenize(sql))  # comments are none
    return _TEMPORARY.match(" ".join(word[0].lower() for word in words if word)) is not None


def _may_change(sql: str) -> bool:
    """Whether the text can name one of `CHANGING`; ``U&"…"`` can spell anything."""
    text = sql.lower()
    return "u&" in text or not CHANGING.isdisjoint(_WORD.findall(text))
