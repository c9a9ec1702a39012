"""What went stale, oldest first: kept a while for readers who ask for a stale answer, then let go of.

Not thread-safe: the registry holds its lock around every call. It holds keys and groups, no values: an entry that was
replaced meanwhile is not kept alive by the memory of its end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from livelake.cache.slot import Group, Slot

if TYPE_CHECKING:
    AnySlot = Slot[Any]

Ended = list[Hashable | Group]


class Bygone:
    """See the module. ``entries``: the cache's, by key."""

    def __init__(self, entries: dict[Hashable, AnySlot], keep: float) -> None:
        self._entries = entries
        self._keep = keep
        self._ends: deque[tuple[float, Ended]] = deque()
        self._limit = 0
        self.note = self._ends.append
        """``note((when, ended))``: these entries went stale at ``when`` (monotonic), by key or as a group."""

    def due(self, now: float) -> list[AnySlot]:
        """The entries that have been stale for long enough."""
        ends, gone = self._ends, list[Any]()
        while ends and ends[0][0] + self._keep <= now:
            when, ended = ends.popleft()
            gone += self._standing(when, ended)
        return gone

    def is_large(self, invalidations: int) -> bool:
        """Whether so many have gone stale since `shed` that most of them must have been replaced."""
        return invalidations > self._limit

    def shed(self, invalidations: int) -> None:
        """Hold nothing that was replaced meanwhile: what is remembered is bounded by the entries."""
        kept: list[tuple[float, Ended]] = []
        for when, ended in self._ends:
            left: Ended = [each for each in ended if type(each) is Group and each.slots]
            left += [slot.key for slot in self._standing(when, [each for each in ended if type(each) is not Group])]
            if left:
                kept.append((when, left))
        self._ends.clear()
        self._ends.extend(kept)
        self._limit = invalidations + 4 * len(self._entries) + 64

    def _standing(self, when: float, ended: Ended) -> list[AnySlot]:
        """The entries among those that ended at ``when`` that were not replaced since."""
        slots: list[AnySlot] = []
        for each in ended:
            if type(each) is Group:
                slots += each.slots
            elif (slot := self._entries.get(each)) is not None and slot.is_stale and slot.stale_at <= when:
                slots.append(slot)
        return slots
