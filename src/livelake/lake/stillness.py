"""Whether a SQLite database was written meanwhile, as its files tell: microseconds, where asking it takes 3 ms.

In WAL mode what readers see is told by the head of the index of the log, the first 48 bytes of ``…-shm``, kept twice
(https://www.sqlite.org/walformat.html, section 2.1): a commit is seen from the moment when these change, and each one
counts up in them. So two equal looks, with reads between, prove that all of these reads saw one state. The times of
the files would not: a commit writes its log first, and may be seen much later, when the disk has it.

An index is opened once and stays open until it is deleted: closing any of a process's descriptors of a file takes
away every lock that the process has on it, SQLite's own included, and other processes would think nobody is there
(https://www.sqlite.org/howtocorrupt.html, section 2.2).
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

_HEAD: Final = 48
_IS_INIT: Final = 12  # where in it a byte says that the rest is meant

Look = tuple[int, int, int, bytes]
"""(inode, size, time of the last write) of the file, and the head of the index of its log.

The first three tell a log that was deleted and begun anew, which needs that nobody held the database meanwhile: its
last closer writes the file.
"""


class _Indexes:
    """The indexes that were looked at in this process, by device and inode."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[int, int], list[int]] = {}

    def read(self, path: str, size: int) -> bytes:
        """The first bytes of an index. Raises `OSError`."""
        found = os.stat(path)
        with self._lock:
            known = self._open.get((found.st_dev, found.st_ino))
            return os.pread(known[0] if known else self._opened(path), size, 0)

    def _opened(self, path: str) -> int:
        index = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        found = os.fstat(index)
        for key, descriptors in list(self._open.items()):
            if os.fstat(descriptors[0]).st_nlink == 0:  # it was deleted: nobody else can come to it any more
                for each in self._open.pop(key):
                    os.close(each)
        self._open.setdefault((found.st_dev, found.st_ino), []).append(index)
        return index


_INDEXES: Final = _Indexes()


def look(path: Path) -> Look | None:
    """What readers see now; None if the file does not tell: not in WAL mode, opened by nobody, in mid-commit."""
    if os.name != "posix":
        return None
    try:
        found = os.stat(path)
        head = _INDEXES.read(f"{path}-shm", 2 * _HEAD)
    except OSError:
        return None
    if len(head) < 2 * _HEAD or head[:_HEAD] != head[_HEAD:] or not head[_IS_INIT]:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, head[:_HEAD]


def is_still(path: Path, before: Look | None) -> bool:
    """Whether it is certain that nothing was committed since ``before``, as far as a reader of now could see."""
    return before is not None and look(path) == before
