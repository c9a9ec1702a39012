"""Whether a SQLite database was written meanwhile, as its files tell: microseconds, where asking it takes 3 ms.

A commit writes the file or its log, and so moves a time that the kernel keeps in steps of up to 10 ms. Two equal
looks mean that nothing was written between them if the first came well after the last write that it saw: a write
after it would have left a later time. (The time of change of a log is moved by readers, too: SQLite sets its owner.)
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

_SETTLED_NS: Final = 50_000_000

Look = tuple[tuple[int, int, int] | None, ...]
"""(inode, size, time of the last write) of the file and of its logs; None for one that is not there."""


def look(path: Path) -> Look | None:
    """How the files are; None if they were written so lately that one more write might not show."""
    found = _look(path)
    now = time.time_ns()  # the clock of the kernel, which files are dated by
    return found if all(each is None or each[2] < now - _SETTLED_NS for each in found) else None


def is_still(path: Path, before: Look | None) -> bool:
    """Whether it is certain that nothing was written since ``before``."""
    return before is not None and _look(path) == before


def _look(path: Path) -> Look:
    return tuple(_stat(f"{path}{suffix}") for suffix in ("", "-wal", "-journal"))


def _stat(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
