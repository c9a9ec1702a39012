"""Faults for the oracle to find, put into livelake for the time of a block."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

from livelake.lake.log import NO_NEWS, SnapshotLog
from livelake.lake.planner import Planner


@contextlib.contextmanager
def planted(bug: str | None) -> Iterator[None]:
    """With one of the faults that the oracle must find."""
    undo: list[Callable[[], None]] = []

    def put(owner: Any, name: str, value: Any) -> None:
        before = getattr(owner, name)
        setattr(owner, name, value)
        undo.append(lambda: setattr(owner, name, before))

    if bug == "an invalidation is dropped":
        look, dice = SnapshotLog.look, random.Random(1)

        def forgetful(self: SnapshotLog) -> Any:
            news = look(self)
            return NO_NEWS if dice.random() < 0.1 else news

        put(SnapshotLog, "look", forgetful)
    elif bug == "the snapshot is not the one that is read":
        snapshots = Planner._snapshots

        def ahead(self: Planner, session: Any, names: Any, counted: Any) -> dict[str, int]:
            return {name: version + 1 for name, version in snapshots(self, session, names, counted).items()}

        put(Planner, "_snapshots", ahead)
    elif bug == "a compaction under a read is not looked for":
        put(SnapshotLog, "moved_since", lambda *_: False)
    else:
        assert bug is None, bug
    try:
        yield
    finally:
        for each in undo:
            each()
