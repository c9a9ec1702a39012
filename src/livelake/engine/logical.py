"""DuckDB's logical types, read from their own text.

Pure. ``STRUCT(a INTEGER, "b c" DECIMAL(9,2)[])`` becomes a tree, which `decode` walks beside the Arrow data (an
Arrow ``decimal128(38, 0)`` may be a HUGEINT) and from which `portable` finds what has no Arrow word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from livelake.engine.quote import identifier
from livelake.errors import InternalError

_TOKEN: Final = re.compile(r"""\s*("(?:[^"]|"")*"|'(?:[^']|'')*'|[^\s(),\[\]"']+|[(),\[\]])""")
_AS_TEXT: Final = frozenset({"ENUM", "BIT", "BIGNUM", "VARIANT", "TIME WITH TIME ZONE"})
_NESTED: Final = frozenset({"STRUCT", "UNION", "MAP"})


@dataclass(frozen=True, slots=True)
class LogicalType:
    """``name`` is DuckDB's word, or LIST and ARRAY; ``children`` are (field name or "", type).

    ``arguments`` are a DECIMAL's width and scale, an ENUM's quoted values, an ARRAY's size.
    """

    name: str
    children: tuple[tuple[str, LogicalType], ...] = ()
    arguments: tuple[str, ...] = ()


@lru_cache(maxsize=1024)
def parse(text: str) -> LogicalType:
    """The type that ``text`` names."""
    tokens = _TOKEN.findall(text)
    found, rest = _type(tokens, 0)
    if rest != len(tokens):
        raise InternalError(f"DuckDB named a type that livelake cannot read: {text[:200]}")
    return found


@lru_cache(maxsize=1024)
def portable(text: str) -> str | None:
    """The type to cast to before Arrow IPC, or None if it travels as it is.

    ENUM (dictionary arrays cannot be encoded), BIT, BIGNUM, VARIANT and TIME WITH TIME ZONE (whose offset Arrow
    would drop) travel as text, nested ones too.
    """
    source = parse(text)
    target = _as_text(source)
    return None if target == source else _render(target)


def _type(tokens: list[str], at: int) -> tuple[LogicalType, int]:
    words = []
    while at < len(tokens) and tokens[at] not in "(),[]":
        words.append(tokens[at])
        at += 1
    name = " ".join(words).upper()
    found = LogicalType(name)
    if at < len(tokens) and tokens[at] == "(":
        if name in _NESTED:
            found, at = _fields(name, tokens, at + 1)
        else:
            end = tokens.index(")", at)
            found = LogicalType(name, arguments=tuple(t for t in tokens[at + 1 : end] if t != ","))
            at = end + 1
    while at < len(tokens) and tokens[at] == "[":
        if tokens[at + 1] == "]":
            found, at = LogicalType("LIST", (("", found),)), at + 2
        else:
            found, at = LogicalType("ARRAY", (("", found),), (tokens[at + 1],)), at + 3
    return found, at


def _fields(name: str, tokens: list[str], at: int) -> tuple[LogicalType, int]:
    children: list[tuple[str, LogicalType]] = []
    while True:
        field = ""
        if name != "MAP" and _is_named(tokens, at):
            field, at = _unquoted(tokens[at]), at + 1
        child, at = _type(tokens, at)
        children.append((field, child))
        at += 1
        if tokens[at - 1] == ")":
            return LogicalType(name, tuple(children)), at


def _is_named(tokens: list[str], at: int) -> bool:
    """Whether a field name comes first: `row(1, 2)` has none, and ``TIME WITH TIME ZONE`` is four words."""
    return tokens[at + 1] not in "(),[]" and tokens[at + 1] != "WITH"


def _unquoted(token: str) -> str:
    return token[1:-1].replace('""', '"') if token.startswith('"') else token


def _as_text(source: LogicalType) -> LogicalType:
    if source.name in _AS_TEXT:
        return LogicalType("VARCHAR")
    children = tuple((field, _as_text(child)) for field, child in source.children)
    return LogicalType(source.name, children, source.arguments)


def _render(target: LogicalType) -> str:
    if target.name == "LIST":
        return _render(target.children[0][1]) + "[]"
    if target.name == "ARRAY":
        return f"{_render(target.children[0][1])}[{target.arguments[0]}]"
    if target.children:
        fields = [(f"{identifier(field)} " if field else "") + _render(child) for field, child in target.children]
        return f"{target.name}({', '.join(fields)})"
    return target.name + (f"({','.join(target.arguments)})" if target.arguments else "")
