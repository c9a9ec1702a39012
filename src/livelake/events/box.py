"""A queue between threads that is bounded twice, in items and in bytes, and says no instead of waiting."""

from __future__ import annotations

import queue
import threading
from typing import Generic, TypeVar

__all__ = ["Box"]

T = TypeVar("T")


class Box(Generic[T]):
    """First in, first out. Any threads put; one thread takes. Nothing ever blocks a putter.

    An item that alone is larger than ``most_bytes`` still goes into an empty box, so that nothing is stuck.
    """

    __slots__ = ("_bytes", "_items", "_lock", "most_bytes", "most_items")

    def __init__(self, most_items: int, most_bytes: int) -> None:
        self.most_items = most_items
        self.most_bytes = most_bytes
        self._items: queue.SimpleQueue[tuple[T, int] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the count of bytes: += is not atomic
        self._bytes = 0

    def __len__(self) -> int:
        return self._items.qsize()

    def has_room(self, size: int = 0) -> bool:
        """Whether an item of ``size`` bytes would be taken now."""
        held = self._items.qsize()
        return held < self.most_items and (held == 0 or self._bytes + size <= self.most_bytes)

    def put(self, item: T, size: int = 0, *, force: bool = False) -> bool:
        """Add it, or say False if there is no room; ``force`` is for the few that must come through."""
        with self._lock:
            if not force and not self.has_room(size):
                return False
            self._bytes += size
        self._items.put((item, size))
        return True

    def take(self, timeout: float) -> T | None:
        """The oldest item, waiting at most ``timeout`` seconds for one; None if there is none, or after `nudge`."""
        try:
            found = self._items.get_nowait() if timeout <= 0 else self._items.get(timeout=timeout)
        except queue.Empty:
            return None
        if found is None:
            return None
        item, size = found
        with self._lock:
            self._bytes -= size
        return item

    def nudge(self) -> None:
        """Wake the taker with nothing."""
        self._items.put(None)
