"""The store: which answers are worth their bytes. The one door to moka-py.

moka decides *what to keep* (TinyLFU) and nothing else: it is a bag of values, not the truth. It may drop what
was just set, and it tells so late, on whichever thread. Its listener therefore only appends to a deque that
the cache drains under its own lock. No moka call may be made while that lock is held: the listener runs inside
moka's own locks.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Literal

import moka_py

from livelake.cache.slot import Slot
from livelake.errors import UsageError

Cause = Literal["explicit", "size", "expired", "replaced"]

# moka clamps a weight to 32 bits; an entry that fills the whole store weighs this much.
_WHOLE = 2**32 - 1


def size_in_bytes(value: Any) -> int:
    """What ``value`` weighs: its own word for it (``nbytes``), the length of bytes and text, else its object."""
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes
    if isinstance(value, bytes | bytearray | str):
        return len(value)
    return sys.getsizeof(value)


class Store:
    """At most ``max_capacity`` slots, at most ``max_bytes`` bytes: one weight, the larger of the two shares."""

    def __init__(
        self,
        max_capacity: int,
        max_bytes: int | None,
        size_of: Callable[[Any], int] = size_in_bytes,
    ) -> None:
        if max_capacity < 1 or (max_bytes is not None and max_bytes < 1):
            raise UsageError(f"max_capacity={max_capacity}, max_bytes={max_bytes}: both must be at least 1")
        self.max_capacity = max_capacity
        self.max_bytes = max_bytes
        self._size_of = size_of
        self.evictions: deque[tuple[Hashable, Slot[Any], Cause]] = deque()
        self._moka: moka_py.Moka[Hashable, Slot[Any]] = moka_py.Moka(
            max_capacity if max_bytes is None else _WHOLE,
            eviction_listener=self._evicted,
            weigher=None if max_bytes is None else _weight,
        )
        # Bound once: a hit is one call through this name.
        self.get: Callable[[Hashable], Slot[Any] | None] = self._moka.get

    def weigh(self, slot: Slot[Any]) -> bool:
        """Note the slot's size and weight; False if it never fits. Calls the user's ``size_of``: hold no lock."""
        slot.size = self._size_of(slot.value)
        if self.max_bytes is None:
            return True
        if slot.size > self.max_bytes:
            return False
        share = max(1 / self.max_capacity, slot.size / self.max_bytes)
        slot.weight = min(_WHOLE, math.ceil(share * _WHOLE))
        return True

    def put(self, slot: Slot[Any]) -> None:
        self._moka.set(slot.key, slot)

    def remove(self, key: Hashable) -> None:
        self._moka.remove(key)

    def settle(self) -> None:
        """Run moka's pending evictions now, so that `evictions` is complete."""
        self._moka.run_pending_tasks()

    def _evicted(self, key: Hashable, slot: Slot[Any], cause: Cause) -> None:
        self.evictions.append((key, slot, cause))


def _weight(_key: Hashable, slot: Slot[Any]) -> int:
    return slot.weight
