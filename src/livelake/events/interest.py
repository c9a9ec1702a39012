"""What of the wire is wanted here: the lanes of the local subscriptions, and no more.

``events/Todo/42/**`` wants the lane ``Todo``, for a lane is the least in which a hole can be seen; a wild type wants
all of them; what is not under ``events`` wants none. More than `MOST` lanes are all: a declaration costs a thread
here and a look at each routed message there.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

from livelake.events.frames import EVENTS
from livelake.keys import KeyExpr

__all__ = ["MOST", "Interest", "lane_wanted"]

MOST: Final = 32
ALL: Final = "**"


def lane_wanted(expr: KeyExpr) -> str | None:
    """The lane that ``expr`` needs; `ALL` for every one, None for none. Pure."""
    chunks = expr.split("/", 2)
    if chunks[0] == "events" and len(chunks) > 1 and (chunks[1][0] == "@" or "*" not in chunks[1]):
        return chunks[1]
    return ALL if expr.intersects(EVENTS) and expr != "events" else None


class Interest:
    """Keeps declarations in step with wishes. Any thread; a new lane is declared before `want` returns.

    ``declare(key)`` has messages under a key come here and returns what ends that; ``listening(lanes)`` is told,
    None for all, *before* messages of new lanes can come.
    """

    def __init__(
        self, declare: Callable[[str], Callable[[], None]], listening: Callable[[frozenset[str] | None], None]
    ) -> None:
        self._declare = declare
        self._listening = listening
        self._lock = threading.RLock()  # held while declaring: two changes must not cross. No handler runs in it
        self._wanted: Counter[str] = Counter()
        self._declared: dict[str, Callable[[], None]] = {}
        self._ended = False

    @property
    def declared(self) -> frozenset[str]:
        """The key expressions that others send us."""
        return frozenset(self._declared)

    def want(self, expr: KeyExpr) -> None:
        """One more subscription."""
        lane = lane_wanted(expr)
        if lane is not None:
            with self._lock:
                self._wanted[lane] += 1
                if self._wanted[lane] == 1:
                    self._follow()

    def unwant(self, expr: KeyExpr) -> None:
        """One less."""
        lane = lane_wanted(expr)
        if lane is not None:
            with self._lock:
                self._wanted[lane] -= 1
                if not self._wanted[lane]:
                    del self._wanted[lane]
                    self._follow()

    def end(self) -> None:
        """Declare nothing any more; what was declared ends with the session."""
        with self._lock:
            self._ended = True

    def _follow(self) -> None:
        if self._ended:
            return
        everything = ALL in self._wanted or len(self._wanted) > MOST
        keys = {EVENTS} if everything else {f"events/{lane}/**" for lane in self._wanted}
        self._listening(None if everything else frozenset(self._wanted))
        for key in keys - self._declared.keys():
            self._declared[key] = self._declare(key)
        for key in self._declared.keys() - keys:  # after: what is wanted twice for a moment comes twice
            self._declared.pop(key)()
