"""Whether a SQLite database was written meanwhile, as its files tell: microseconds, where asking it takes 3 ms.

In WAL mode what readers see is told by the head of the index of the log, the first 48 bytes of ``…-shm``, kept twice
(https://www.sqlite.org/walformat.html, section 2.1): a commit is seen from the moment when these change, and each one
counts up in them. So two equal looks, with reads between, prove that all of these reads saw one state. The times of
the files would not: a commit writes its log first, and may be seen much later, when the disk has it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_HEAD: Final = 48
_IS_INIT: Final = 12  # where in it a byte says that the rest is meant

Look = tuple[int, int, int, bytes]
"""(inode, size, time of the last write) of the file, and the head of the index of its log.

The first three tell a log that was deleted and begun anew, which needs that nobody held the database meanwhile: its
last closer writes the file.
"""


def look(path: Path) -> Look | None:
    """What readers see now; None if the file does not tell: not in WAL mode, opened by nobody, in mid-commit."""
    try:
        found = os.stat(path)
        index = os.open(f"{path}-shm", os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError:
        return None
    try:
        head = os.read(index, 2 * _HEAD)
    except OSError:
        return None
    finally:
        os.close(index)
    if len(head) < 2 * _HEAD or head[:_HEAD] != head[_HEAD:] or not head[_IS_INIT]:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, head[:_HEAD]


def is_still(path: Path, before: Look | None) -> bool:
    """Whether it is certain that nothing was committed since ``before``, as far as a reader of now could see."""
    return before is not None and look(path) == before
