"""`Blindness`: what may change unheard just now, as those say who listen (`AnalyticsCache.add_blindness`)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from livelake.keys import KeyExpr

Source = Callable[[], Collection[KeyExpr]]


class Blindness:
    """Sources are asked, and change, with ``lock`` held."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._sources: tuple[Source, ...] = ()

    def add(self, source: Source) -> Callable[[], None]:
        """Ask ``source`` too. Returns what ends that."""
        with self._lock:
            self._sources = (*self._sources, source)

        def remove() -> None:
            with self._lock:
                self._sources = tuple(each for each in self._sources if each is not source)

        return remove

    def covers(self, depends_on: Collection[KeyExpr]) -> bool:
        """Whether a change of any of these may go unheard just now."""
        return any(
            scope.intersects(expression)
            for source in self._sources
            for scope in source()
            for expression in depends_on
        )
