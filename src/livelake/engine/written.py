"""What a SQL text says of itself: names from its syntax tree, before DuckDB binds anything. Pure: JSON in."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from livelake.engine import functions
from livelake.engine.moments import Present, present
from livelake.engine.statement import nodes

FILE_NAME: Final = re.compile(r"[*?/\\]|\.(parquet|csv|tsv|json|jsonl|ndjson)(\.(gz|zst))?$", re.IGNORECASE)
"""What a name of a table looks like that is one of a file."""

# In a syntax tree whose texts need no escape, names can be told from its JSON as it stands, several times as fast as
# by walking it. These need more than names, or an escape.
_WALKED: Final = ("\\", '"TABLE_FUNCTION"', '"PARAMETER"', '"at_clause":{')


@dataclass(frozen=True, slots=True, order=True)
class FileRef:
    """``path`` as written: a path, glob or URL. ``function`` is the table function that reads it."""

    function: str
    path: str


@dataclass
class Written:
    """What the syntax tree says."""

    has_parameters: bool
    called: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)  # column names without a qualifier
    moments: set[str] = field(default_factory=set)  # words and calls inside AT clauses
    folded: list[Any] = field(default_factory=list)  # what DuckDB may fold to a constant before it plans
    tables: set[str] = field(default_factory=set)  # names of tables, views and CTEs
    travelled: set[str] = field(default_factory=set)  # those with an AT clause
    files: set[FileRef] = field(default_factory=set)
    scanned: Counter[str] = field(default_factory=Counter)  # table functions, and how often
    given: set[str] = field(default_factory=set)  # functions and clauses that contain a parameter

    @classmethod
    def of(cls, parse_json: str) -> Written:
        """From `Session.parse`."""
        made = cls('"PARAMETER"' in parse_json)
        if not any(each in parse_json for each in _WALKED):
            made.called = _names_between('"function_name":"', '"', parse_json)
            made.tables = _names_between('"table_name":"', '"', parse_json)
            made.words = _names_between('"column_names":["', '"]', parse_json)
            is_timeless = functions.TIME.isdisjoint(made.called | made.words)
            if is_timeless and not any(map(FILE_NAME.search, made.tables)):
                return made
        walked = cls(made.has_parameters)
        for node in nodes(decoded(parse_json)):
            walked.take(node)
        return walked

    def take(self, node: dict[str, Any]) -> None:
        if "function_name" in node:
            self.called.add(node["function_name"].lower())
            if self.has_parameters and _has_parameter(node):
                self.given.add(node["function_name"].lower())
        if self.has_parameters and _has_parameter(node.get("at_clause")):
            self.given.add("AT")
        kind = node.get("type")
        if kind == "COLUMN_REF":
            if len(node["column_names"]) == 1:
                self.words.add(node["column_names"][0].lower())
        elif kind == "BASE_TABLE":
            self._table(node)
        elif kind == "TABLE_FUNCTION":
            self._table_function(node)
        elif kind == "LIMIT_MODIFIER" or kind == "LIMIT_PERCENT_MODIFIER":
            self.folded.append(node)

    def _table(self, node: dict[str, Any]) -> None:
        self.tables.add(node["table_name"].lower())
        if node.get("at_clause"):
            self.travelled.add(node["table_name"].lower())
            self.moments |= _words(node["at_clause"])
        if not node.get("schema_name") and FILE_NAME.search(node["table_name"]):
            self.files.add(FileRef("file", node["table_name"]))

    def _table_function(self, node: dict[str, Any]) -> None:
        arguments = node["function"].get("children") or []
        self.folded.append(arguments)
        name = node["function"]["function_name"].lower()
        self.scanned[name] += 1
        if name in functions.FILES:
            self.files |= {FileRef(name, path) for path in texts(arguments[:1])}

    def join(self, written: Present, shown: Present) -> Present:
        """The present as the text has it and as the plan shows it.

        A step that the plan does not show was folded, or is a macro of a function's name: nothing vouches for it.
        """
        folded = present(self.folded)
        hidden = {step.function for step in (written.steps | folded.steps) - shown.steps}
        at = self.moments & functions.TIME
        return Present(shown.steps, shown.free | written.free | folded.free | hidden | at)

    def explains(self, table: str) -> bool:
        """Whether the text itself asks for a past state of ``table``."""
        feed = {name.removeprefix("ducklake_") for name in self.called} & functions.HISTORY
        return bool(feed) or table.lower() in self.travelled


def decoded(text: str) -> dict[str, Any]:
    """Twice as fast as `json`, which is still needed for what is no JSON: DuckDB writes infinity as a number."""
    try:
        return msgspec.json.decode(text)  # type: ignore[no-any-return]
    except msgspec.DecodeError:
        return json.loads(text)  # type: ignore[no-any-return]


def _names_between(begin: str, end: str, text: str) -> set[str]:
    """The names, in lower case, in a JSON text without escapes."""
    return {rest[:at].lower() for rest in text.split(begin)[1:] if rest.startswith(end, at := rest.index('"'))}


def _words(tree: Any) -> set[str]:
    """Unqualified words and function names below ``tree``."""
    found: set[str] = set()
    for node in nodes(tree):
        if "function_name" in node:
            found.add(node["function_name"].lower())
        if node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1:
            found.add(node["column_names"][0].lower())
    return found


def _has_parameter(tree: Any) -> bool:
    return any(node.get("class") == "PARAMETER" for node in nodes(tree))


def texts(tree: Any) -> Iterable[str]:
    """The text constants below ``tree``."""
    for node in nodes(tree):
        value = node.get("value")
        if isinstance(value, str):
            yield value
