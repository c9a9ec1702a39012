"""The rig's database: the version of each aggregate, and when it was committed, in a file that processes map.

One process writes an aggregate, any number read it. Times are seconds of the monotonic clock, which the processes of
one machine share.
"""

from __future__ import annotations

import mmap
import time
from pathlib import Path
from typing import Final

PER_NODE: Final = 6
"""Aggregates of each publisher: those of the n-th begin at ``n * PER_NODE``."""
CAPACITY: Final = 65_536
"""Versions of an aggregate that there is room for."""
TYPES: Final = ("Todo", "User")


def type_of(aggregate: int) -> str:
    return TYPES[aggregate % len(TYPES)]


class Truth:
    """See the module. ``aggregates``: how many; the file is made if there is none."""

    def __init__(self, path: Path | str, aggregates: int) -> None:
        self.aggregates = aggregates
        size = aggregates * (CAPACITY + 1) * 8
        with open(path, "a+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self._cells = memoryview(self._map).cast("q")  # native: a cell is written and read in one piece

    def version(self, aggregate: int) -> int:
        return self._cells[aggregate * (CAPACITY + 1)]

    def commit(self, aggregate: int, *, wild: bool = False) -> int:
        """The next version; ``wild`` if it is going to be told by a change and not by an event of its own."""
        start = aggregate * (CAPACITY + 1)
        version = self._cells[start] + 1
        assert version <= CAPACITY, "the run is too long for this file"
        self._cells[start] = version
        self._cells[start + version] = time.monotonic_ns() & ~1 | wild  # after: no reader was told too early
        return version

    def mend(self, aggregate: int) -> None:
        """Give a time to the version whose writer was killed in the middle."""
        start = aggregate * (CAPACITY + 1)
        version = self._cells[start]
        if version and not self._cells[start + version]:
            self._cells[start + version] = time.monotonic_ns() & ~1

    def committed_at(self, aggregate: int, version: int) -> float | None:
        """When that version was committed; None if it was not."""
        if not 1 <= version <= self.version(aggregate):
            return None
        return (self._cells[aggregate * (CAPACITY + 1) + version] or time.monotonic_ns()) / 1e9

    def is_wild(self, aggregate: int, version: int) -> bool:
        return bool(self._cells[aggregate * (CAPACITY + 1) + version] & 1)
