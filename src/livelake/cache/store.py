"""The store: which answers are worth their bytes. The one door to moka-py.

moka decides *what to keep* (TinyLFU) and nothing else: it is a bag of values, not the truth. It may drop what
was just set, and it tells so late, on whichever thread. Its listener only appends to a deque that the cache drains
under its own lock.

One thread at a time is inside moka, held by `lock`. moka calls Python while it holds locks of its own (our listener,
the weigher, a key's ``__eq__``, a value's finalizer), and Python may switch threads there: a second thread that then
waits for moka's lock with the GIL in its hands stops the process (seen within 2 s with moka-py alone: four threads,
capacity 8, a listener). Hits therefore never come here: they are noted (`touched`), and told to moka in bulk before
it next decides.
"""

from __future__ import annotations

import math
import sys
import threading
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Literal

import moka_py

from livelake.cache.slot import Slot
from livelake.errors import UsageError

Cause = Literal["explicit", "size", "expired", "replaced"]
Chore = tuple[Literal["put", "remove"], Slot[Any]]

# moka clamps a weight to 32 bits; an entry that fills the whole store weighs this much.
_WHOLE = 2**32 - 1
_TOUCHES = 1_024


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
        self.lock = threading.Lock()
        # Keys that were read, for moka's judgement of what is popular. Losing some costs nothing.
        self.touched: deque[Hashable] = deque(maxlen=_TOUCHES)

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

    def carry_out(self, chores: deque[Chore], entries: Mapping[Hashable, Slot[Any]]) -> None:
        """Do what the cache has decided, in order. ``entries`` are the truth; hold no lock of the cache's."""
        with self.lock:
            self._tell_touches()
            while chores:
                try:
                    what, slot = chores.popleft()
                except IndexError:  # cannot be while the lock is held; a chore may be added, never taken
                    break
                if what == "remove":
                    self.remove(slot)
                elif entries.get(slot.key) is slot:
                    self.put(slot)

    def settle(self) -> None:
        """Run moka's pending evictions now, so that `evictions` is complete."""
        with self.lock:
            self._tell_touches()
            self._moka.run_pending_tasks()

    def look(self, key: Hashable) -> Slot[Any] | None:
        """What is stored under ``key``. For tests and tools; it counts as a read of it."""
        with self.lock:
            return self._moka.get(key)

    def put(self, slot: Slot[Any]) -> None:
        """Store it (`lock` held)."""
        self._moka.set(slot.key, slot)

    def remove(self, slot: Slot[Any]) -> None:
        """Take it out, unless another has its key by now (`lock` held)."""
        if self._moka.get(slot.key) is slot:
            self._moka.remove(slot.key)

    def _tell_touches(self) -> None:
        touched = self.touched
        for _ in range(len(touched)):
            try:
                self._moka.get(touched.popleft())
            except IndexError:  # readers push old ones out of the full deque meanwhile
                return

    def _evicted(self, key: Hashable, slot: Slot[Any], cause: Cause) -> None:
        self.evictions.append((key, slot, cause))


def _weight(_key: Hashable, slot: Slot[Any]) -> int:
    return slot.weight
