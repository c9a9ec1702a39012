"""Names and texts as SQL: the one place where either becomes part of a statement.

Pure. DuckDB quotes identifiers with ``"`` and strings with ``'``, each doubled inside; a backslash means
nothing. What DuckDB cannot hold is refused: a NUL, a lone surrogate (no UTF-8), an empty identifier.
"""

from __future__ import annotations

from livelake.errors import QueryError


def identifier(name: str) -> str:
    """``name`` as a quoted identifier: ``orders`` → ``"orders"``. Raises QueryError for what cannot be one."""
    if not name:
        raise QueryError("an empty name is not an identifier; name the catalog, table or column")
    return '"' + _checked(name).replace('"', '""') + '"'


def literal(text: str) -> str:
    """``text`` as a string literal: ``it's`` → ``'it''s'``. Raises QueryError for what DuckDB cannot hold."""
    return "'" + _checked(text).replace("'", "''") + "'"


def _checked(text: str) -> str:
    if "\x00" in text:
        raise QueryError(f"{text[:80]!r} holds a NUL character, which SQL text cannot; remove it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise QueryError(f"{text[:80]!r} holds a lone surrogate, which UTF-8 cannot; remove it") from error
    return text
