"""Plans: what a SQL text reads, remembered by text for as long as the schemas stand.

A plan is made inside the transaction that then runs the query, so that it names exactly what will be read. It
is remembered with the schema version of each catalog that it touches, and not used under another.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from livelake.engine import Definitions, Reads

_REMEMBERED = 2_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What one text reads, and under which schema version of each catalog that it may name that is true."""

    reads: Reads
    schemas: Mapping[str, int | None]


class Plans:
    """Bounded memory of plans, least recently used first to go. Safe to call from any thread."""

    def __init__(self) -> None:
        self._plans: OrderedDict[tuple[str, bool], Plan] = OrderedDict()
        self._definitions: tuple[Mapping[str, int | None], Definitions] | None = None
        self._lock = threading.Lock()

    def known(self, sql: str, *, untrusted: bool = False) -> Plan | None:
        """The plan remembered for a text, as asked by somebody trusted or not: what was refused is never remembered.

        Whoever uses it compares ``schemas`` with what was pinned.
        """
        with self._lock:
            plan = self._plans.get((sql, untrusted))
            if plan is not None:
                self._plans.move_to_end((sql, untrusted))
            return plan

    def forget(self) -> None:
        """Every text is new again; the definitions stand."""
        with self._lock:
            self._plans.clear()

    def definitions(self, schemas: Mapping[str, int | None], builtins: frozenset[str]) -> Definitions:
        """The views and macros under these schema versions."""
        with self._lock:
            known = self._definitions
            if known is None or known[0] != schemas or None in schemas.values():
                self._definitions = known = (dict(schemas), Definitions(builtins))
            return known[1]

    def remember(self, sql: str, plan: Plan, *, untrusted: bool = False) -> None:
        with self._lock:
            self._plans[sql, untrusted] = plan
            if len(self._plans) > _REMEMBERED:
                self._plans.popitem(last=False)
