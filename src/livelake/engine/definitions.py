"""Definitions: what views and macros do that their plan does not show.

DuckDB folds a LIMIT, an ``AT`` and some arguments of aggregates to constants while it binds, so that ``now()`` in
there leaves no trace in the plan. In the text of a query the syntax tree shows it; inside a view or macro only the
definition does. Read here as DuckDB prints it, by words: too many are suspected, never too few, but for a macro
that goes by the name of one of DuckDB's own functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Final

from livelake.engine import functions
from livelake.engine.moments import WORD_OF
from livelake.engine.session import Session

_WORD: Final = re.compile(r"\w+")
_CALL: Final = re.compile(r'(\w+)"?\s*\(')
# A LIMIT or OFFSET that is no number, and a state of the past.
_FOLDED: Final = re.compile(r"\b(?:limit|offset)\b(?!\s+\(?\d+\b)|\bat\s*\(\s*(?:timestamp|version)\b")
_VARYING: Final = functions.TIME | functions.VOLATILE | functions.SESSION
_BARE: Final = functions.TIME_WORDS | functions.SESSION_WORDS


class Definition:
    """A view or macro, as DuckDB prints it, or the text of a query."""

    def __init__(self, name: str, sql: str) -> None:
        self.name = frozenset(_WORD.findall(name.lower()))
        self._sql = sql.lower()

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(_WORD.findall(self._sql))

    @cached_property
    def calls(self) -> frozenset[str]:
        return frozenset(_CALL.findall(self._sql))

    @cached_property
    def varying(self) -> frozenset[str]:
        """The functions in it whose value is not always the same."""
        return frozenset(WORD_OF.get(name, name) for name in self.calls & _VARYING) | (self.words & _BARE)

    @cached_property
    def folds(self) -> bool:
        return _FOLDED.search(self._sql) is not None


class Definitions:
    """The views and macros of all catalogs as they are now, looked up when first needed. Any thread, any session."""

    def __init__(self, builtins: frozenset[str]) -> None:
        self._builtins = builtins
        self._views: tuple[Definition, ...] | None = None
        self._macros: tuple[Definition, ...] | None = None

    def hidden(self, session: Session, sql: str, elsewhere: frozenset[str], shown: frozenset[str]) -> frozenset[str]:
        """What ``sql`` may depend on, through views and macros, without its plan saying so.

        ``elsewhere``: what the text names and the plan does not; ``shown``: what the plan calls.
        """
        if elsewhere <= self._builtins:
            return frozenset()
        text = Definition("", sql)
        reached = list(self._reached(session, text))
        varying = frozenset[str]().union(*(each.varying for each in reached))
        seen = frozenset(WORD_OF.get(name, name) for name in shown)
        found = {f"{name} inside a view or macro" for name in varying - seen}
        if varying and any(each.folds for each in (text, *reached)):
            found.add("a LIMIT or AT inside a view or macro")
        return frozenset(found)

    def _reached(self, session: Session, text: Definition) -> Iterator[Definition]:
        """The definitions that the text leads to, and those that these lead to."""
        pending, seen = [text], set[Definition]()
        while pending:
            source = pending.pop()
            known = self.views(session)
            if source.calls - self._builtins:
                known += self.macros(session)
            for each in known:
                if each not in seen and each.name <= source.words:
                    seen.add(each)
                    pending.append(each)
                    yield each

    def views(self, session: Session) -> tuple[Definition, ...]:
        """Every view (2 ms)."""
        if self._views is None:
            self._views = _look_up(
                session, "SELECT view_name, sql FROM system.main.duckdb_views() WHERE NOT internal"
            )
        return self._views

    def macros(self, session: Session) -> tuple[Definition, ...]:
        """Every macro (20 ms: DuckDB lists all of its own functions to find them)."""
        if self._macros is None:
            self._macros = _look_up(
                session,
                "SELECT function_name, macro_definition FROM system.main.duckdb_functions() WHERE NOT internal",
            )
        return self._macros


def _look_up(session: Session, sql: str) -> tuple[Definition, ...]:
    return tuple(Definition(str(name), str(text or "")) for name, text in session.fetchall(sql))
