"""Waiting for a write: until the commits that a token stands for have been applied here. On an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from livelake.clock import Clock
from livelake.errors import BusyError, QueryError, SourceError
from livelake.lake.log import SnapshotLog
from livelake.lake.watcher import Watcher
from livelake.token import Token

PATIENCE: Final = 10.0
"""Seconds for which a read that demands a write waits for it, unless it says how long."""


async def catch_up(watcher: Watcher, token: Token, clock: Clock, timeout: float | None) -> float | None:
    """Return when every catalog is at the token's version or past it; looks at the logs meanwhile.

    Returns what is left of ``timeout``. The snapshot itself may have been expired since: what is newer has seen it.
    Raises `BusyError` after ``timeout`` seconds, `SourceError` at once for a write that was there and is not any
    more, `QueryError` for a catalog that is not attached.
    """
    if not _behind(watcher, token):
        return timeout
    patience = PATIENCE if timeout is None else timeout
    began = clock.monotonic()
    try:
        async with asyncio.timeout(patience) as limit:
            while True:
                await asyncio.to_thread(watcher.look)
                if not _behind(watcher, token):
                    return None if timeout is None else max(0.0, timeout - (clock.monotonic() - began))
                await asyncio.sleep(watcher.interval)
    except TimeoutError:
        if not limit.expired():
            raise
        behind, heads = _behind(watcher, token), watcher.heads()
        raise BusyError(
            f"no answer that is as new as `not_before` within {patience:g} s: it asks for {_numbers(behind)}, "
            f"and the newest commit here is {_numbers({name: heads[name] for name in behind})}; allow more time"
        ) from None


def _behind(watcher: Watcher, token: Token) -> dict[str, int]:
    """What the token asks for and has not been seen."""
    heads = watcher.heads()
    unknown = token.versions.keys() - heads.keys()
    if unknown:
        raise QueryError(f"not_before names {sorted(unknown)}, which is not attached here")
    behind = {name: version for name, version in token.versions.items() if heads[name] < version}
    for name, version in behind.items():
        log = watcher.logs[name]
        if isinstance(log, SnapshotLog) and log.head < version <= log.lost_head:
            raise SourceError(
                f"{name} went back from {log.lost_head} to {log.head} (was a backup restored?), so the write at "
                f"{version} is lost; write it again, or read without its token"
            )
    return behind


def _numbers(versions: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
