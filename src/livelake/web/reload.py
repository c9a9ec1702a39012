"""Dashboards that follow their files: what is edited is served, and the open page moves with it. For authors.

The folder is looked at every ``every`` seconds: names, sizes, times and inodes, nothing is read. What has changed is
loaded once it has held still for one look, so that a file which is still being written is not read by half. Files
that are wrong change nothing: what was served before goes on, the log says what is wrong and where, and so does every
open page, until it is mended.

Catalogs are attached when the server starts, and its cache is made then: a change of ``attach`` is refused with the
advice to start again, one of ``[cache]`` waits for that. One process follows its files; several would do so at
different moments, and a page would find another one each time that it asks.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Self, TypeAlias

from livelake.errors import ConfigError, LivelakeError
from livelake.web.app import App
from livelake.web.folder import SETTINGS, Dashboard

log = logging.getLogger("livelake.web")

EVERY = 0.3
"""Seconds between two looks. A folder of a hundred files costs less than a millisecond."""

Signature: TypeAlias = frozenset[tuple[str, int, int, int]]
Load: TypeAlias = Callable[[], Awaitable[tuple[Dashboard, ...]]]


def signature(folder: Path) -> Signature:
    """What tells one state of the folder, and of the folders in it, from another. Blocking; reads no file."""
    found: set[tuple[str, int, int, int]] = set()
    pending = [(folder, 0)]
    while pending:
        here, depth = pending.pop()
        try:
            entries = list(os.scandir(here))
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if entry.is_dir():
                    if depth == 0:
                        pending.append((Path(entry.path), 1))
                elif entry.name.lower().endswith((".sql", ".toml")):
                    stat = entry.stat()
                    found.add((entry.path, stat.st_mtime_ns, stat.st_size, stat.st_ino))
            except OSError:  # it went between the list and the look
                continue
    return frozenset(found)


class Reloader:
    """See the module. ``load`` reads the folder anew and raises `LivelakeError` for what is wrong in it.

    Within ``async with`` it looks by itself, on the event loop of the lake.
    """

    def __init__(self, app: App, folder: Path, load: Load) -> None:
        self._app = app
        self._folder = folder
        self._load = load
        self._attached = _attached(tuple(app.dashboards.values()))
        self._loaded: Signature | None = None
        self._before: Signature | None = None
        app.follows_files = True

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._run())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("the files could not be followed; the next look is another try")
            await asyncio.sleep(EVERY)

    async def look(self) -> bool:
        """One look; True if it has read the files: they are not what was read, and have held still since the last.

        The second look always reads: they may have changed since the server read them.
        """
        now = await asyncio.to_thread(signature, self._folder)
        held_still, self._before = now == self._before, now
        if now == self._loaded or not held_still:
            return False
        self._loaded = now
        await self._reload()
        return True

    async def _reload(self) -> None:
        try:
            found = await self._load()
            for name, uri in _attached(found).items():
                if self._attached.get(name) != uri:
                    at = next(each.path for each in found if each.attach.get(name) == uri)
                    told = f"catalog {name!r} is attached when the server starts; start it again"
                    raise ConfigError(told, file=at / SETTINGS)
        except LivelakeError as error:
            log.error("not served, what was before goes on: %s", error)
            self._app.channels.announce(f"Not served, what you see is what was before. {error}")
            return
        self._app.channels.announce(None)
        before = tuple(self._app.dashboards.values())
        await self._app.replace(found)
        if changed := [each.name for each in found if each not in before]:
            log.info("served anew: %s", ", ".join(changed))


def _attached(found: tuple[Dashboard, ...]) -> Mapping[str, str]:
    return {name: uri for dashboard in found for name, uri in dashboard.attach.items()}
