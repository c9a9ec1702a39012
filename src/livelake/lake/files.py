"""Files that SQL reads: what the file system says of them, compared. Pure but for `look`, which asks it.

A file is known by its *stamp*: device, inode, size, modification and change times in nanoseconds, links followed. A
file that is replaced by another has another inode; one that is written has another change time, which nobody can
set back. A pattern is known by what it matches and their stamps.

The kernel's clock for stamps goes in ticks. Two writes in one tick may leave one stamp, so a stamp that is as young
as that, when it is taken, does not vouch for what is read after it: the look is not *settled*, and counts as
changed as soon as a later one is. (Git's "racy" files, by the same rule.) File systems that count whole seconds have
whole seconds in their stamps, and are given two.

Not seen: what is written through a memory map and not yet to the file; on a network file system, what the client's
cache of attributes hides.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from livelake.keys import KeyExpr
from livelake.keys import table as table_key

FILES: Final = ""
"""The catalog that stands for the file system in keys and versions: no catalog can be called that."""

MOST_FILES: Final = 10_000
"""How many files one pattern may match and be watched."""

_SCHEME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_WILD: Final = re.compile(r"[*?\[]")
_TICK_NS: Final = 20_000_000  # the longest kernel tick is 10 ms
_SECOND_NS: Final = 10**9
# Their files say nothing of when they change.
_RESTLESS: Final = ("/proc/", "/sys/")

Lister = Callable[[str], Iterable[str]]
"""From a pattern to the paths that DuckDB would read; raises OSError when it cannot be told."""


class Stamp(NamedTuple):
    """What the file system says of one file."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class Look:
    """What a name or pattern stood for at one moment: path → stamp, None for one that is not there.

    Equal if the files are the same; ``settled`` and ``failure`` say how far that can be trusted.
    """

    files: Mapping[str, Stamp | None]
    settled: bool
    failure: str | None = None

    def same_files(self, other: Look) -> bool:
        return self.files == other.files and self.failure == other.failure

    def overtaken_by(self, later: Look) -> bool:
        """Whether what was read after this look may differ from what would be read after ``later``."""
        return not self.same_files(later) or (not self.settled and later.settled)

    def __str__(self) -> str:
        there = [stamp for stamp in self.files.values() if stamp is not None]
        if self.failure or not there:
            return self.failure or "not there"
        newest = datetime.fromtimestamp(max(stamp.mtime_ns for stamp in there) / _SECOND_NS, UTC)
        count = "1 file" if len(there) == 1 else f"{len(there):,} files"
        size = sum(stamp.size for stamp in there)
        return f"{count}, {size:,} bytes, written {newest.isoformat(sep=' ', timespec='milliseconds')}"


def is_local(name: str) -> bool:
    """Whether a name in SQL means files of this machine, and not a URL."""
    return name.lower().startswith("file://") or _SCHEME.match(name) is None


def key_of(name: str) -> KeyExpr:
    """Under which key an answer depends on a file or pattern, as SQL names it."""
    return table_key(FILES, "local", name)


def look(name: str, lister: Lister, *, now_ns: Callable[[], int] = time.time_ns) -> Look:
    """What a local name or pattern stands for now. Never raises for what the file system says."""
    try:
        paths = _paths(name, lister)
    except OSError as error:
        return Look({}, settled=False, failure=str(error))
    if len(paths) > MOST_FILES:
        return Look({}, settled=False, failure=f"{len(paths):,} files, of which {MOST_FILES:,} are watched at most")
    began = now_ns()
    stamps = {path: _stamp(path) for path in paths}
    return Look(stamps, all(_is_settled(path, stamp, began) for path, stamp in stamps.items()))


def _paths(name: str, lister: Lister) -> list[str]:
    """The files that DuckDB takes a name for: that one, if there is one, else by its own rules and settings
    (``file_search_path``, ``home_directory`` for ``~``, ``file:``)."""
    is_pattern = _WILD.search(name) is not None
    path = _path(name)
    if not is_pattern and os.path.exists(path):
        return [path]
    found = sorted(lister(name))
    return found if found or is_pattern else [path]


def _path(name: str) -> str:
    if not name.lower().startswith("file://"):
        return name
    name = name[len("file://") :]
    return name if name.startswith("/") else "/" + name.partition("/")[2]  # file://host/path


def _stamp(path: str) -> Stamp | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):  # a folder, a pipe: it says nothing of what it holds
        return Stamp(found.st_dev, found.st_ino, -1, 0, 0)
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _is_settled(path: str, stamp: Stamp | None, now_ns: int) -> bool:
    if stamp is None:
        return True
    if stamp.size <= 0 or path.startswith(_RESTLESS):
        return False
    newest = stamp.ctime_ns if os.name == "posix" else stamp.mtime_ns
    coarse = stamp.ctime_ns % _SECOND_NS == 0 == stamp.mtime_ns % _SECOND_NS
    return newest < now_ns - (2 * _SECOND_NS if coarse else _TICK_NS)
