"""What one serving process does: open the bus, the lake and the web application, and serve until cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import livelake
from livelake import web
from livelake.cache import AnalyticsCache
from livelake.cli.bus import BusSettings
from livelake.lake.schedule import keep_up
from livelake.web.admission import MAX_VIEWERS
from livelake.web.caller import Hosts
from livelake.web.sessions import SessionSettings
from livelake.web.tokens import Tokens

log = logging.getLogger("livelake.serve")

_DESCRIPTORS = 240  # beside those of viewers


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What to serve, and to whom. Can be sent to a process that was spawned, which is all that it is sent to.

    It holds no token, only digests, and the secret that sessions are signed with.
    """

    folder: Path
    hosts: Hosts | None
    poll_interval: float
    tokens: Tokens
    sessions: SessionSettings
    compress: bool = True
    max_viewers: int = MAX_VIEWERS
    max_viewers_per_address: int | None = None
    bus: BusSettings | None = None
    """None: events stay in the process."""
    reload: bool = False
    """Whether the folder is followed when its files change."""
    keeps_up: bool = True
    """Whether this process does the upkeep that the folders ask for; of several workers one does."""


def attached(found: tuple[web.Dashboard, ...]) -> dict[str, str]:
    """The catalogs of all folders, the default one first; an empty one where there is none."""
    return {name: uri for dashboard in found for name, uri in dashboard.attach.items()} or {"memory": ":memory:"}


async def serving(
    settings: Serving, found: tuple[web.Dashboard, ...], listener: socket.socket, ready: Callable[[], None]
) -> None:
    """Serve ``found`` until cancelled; ``ready()`` when connections are accepted. All is closed on every way out."""
    others = attached(found)
    first = next(iter(others))
    uri = others.pop(first)
    async with AsyncExitStack() as stack:
        bus = None if settings.bus is None else await stack.enter_async_context(settings.bus.bus())
        lake = await stack.enter_async_context(
            livelake.open(
                uri,
                as_name=first,
                attach=others,
                create=False,
                bus=bus,
                poll_interval=settings.poll_interval,
                cache=_cache(found),
            )
        )
        await web.check(lake, found)
        schedules = [each.maintain for each in found if each.maintain is not None and settings.keeps_up]
        tidying = asyncio.create_task(keep_up(lake, schedules))
        stack.push_async_callback(_ended, tidying)
        app = web.App(
            lake,
            found,
            hosts=settings.hosts,
            tokens=settings.tokens,
            sessions=settings.sessions,
            compress=settings.compress,
            max_viewers=room_for(settings.max_viewers),
            max_viewers_per_address=settings.max_viewers_per_address,
        )
        if settings.reload:
            await stack.enter_async_context(web.reloader(app, settings.folder))
        await web.serve(app, listener, ready)


def room_for(viewers: int) -> int:
    """How many of so many viewers this process can hold: each is a descriptor. Takes as many as it may have.

    What is left for the lake, its files and whoever asks for pages is `_DESCRIPTORS`.
    """
    try:
        import resource
    except ImportError:  # Windows counts otherwise
        return viewers
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = viewers + _DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return viewers
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS may refuse what it calls its limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    if soft < wanted:
        log.warning("%d viewers at most: this process may open %d files (ulimit -n)", soft - _DESCRIPTORS, soft)
    return min(viewers, max(soft - _DESCRIPTORS, 1))


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))


def _cache(found: tuple[web.Dashboard, ...]) -> AnalyticsCache | None:
    """The cache that the folders ask for, None for the lake's own. Of several, the first that asks is heard."""
    asked = next((each.cache for each in found if each.cache != type(each.cache)()), None)
    if asked is None:
        return None
    return AnalyticsCache(
        asked.max_capacity or 1_000, asked.time_to_live, asked.time_to_idle, asked.max_bytes or 256 << 20
    )
