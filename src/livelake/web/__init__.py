"""The web: live dashboards and an HTTP API over one lake."""

from __future__ import annotations

import asyncio
from pathlib import Path

from livelake.errors import ConfigError, LivelakeError
from livelake.live import LiveLake
from livelake.web.app import App
from livelake.web.charts import ChartSpec
from livelake.web.folder import Dashboard, load
from livelake.web.parameters import Value
from livelake.web.reload import Reloader
from livelake.web.serve import listen, serve, url_of
from livelake.web.still import still

__all__ = [
    "App",
    "Dashboard",
    "Value",
    "app",
    "check",
    "dashboards",
    "listen",
    "reloader",
    "serve",
    "still",
    "url_of",
]


def dashboards(folder: Path | str) -> tuple[Dashboard, ...]:
    """The dashboards of a folder, or of the folders in it. Raises `ConfigError`, with file and line."""
    return load(folder, ChartSpec.parse)


async def check(lake: LiveLake, found: tuple[Dashboard, ...]) -> None:
    """Every query is exactly one SELECT, and takes the parameters that its header declares.

    Raises `ConfigError` naming the file. Whether its tables exist is not checked: they may come later.
    """
    for dashboard in found:
        for query in dashboard.queries.values():
            try:
                statement = await lake.check(query.sql)
            except LivelakeError as error:
                raise ConfigError(str(error), file=query.file, line=query.line) from error
            declared = {name.lower() for name in query.params}
            for name in sorted(statement.parameters):
                if name.lower() not in declared:
                    message = f"${name} is used, but params.{name} is not declared in the header"
                    raise ConfigError(message, file=query.file, line=query.line)
            for name in sorted(declared - {name.lower() for name in statement.parameters}):
                message = f"params.{name} is declared, but ${name} is not used in the query"
                raise ConfigError(message, file=query.file, line=1)


def reloader(app: App, folder: Path | str) -> Reloader:
    """What makes ``app`` follow the files of ``folder``: ``async with`` it around the server, on the lake's loop."""

    async def read() -> tuple[Dashboard, ...]:
        found = await asyncio.to_thread(dashboards, folder)
        await check(app.lake, found)
        return found

    return Reloader(app, Path(folder), read)


async def app(lake: LiveLake, folder: Path | str) -> App:
    """The web application for a lake and a dashboard folder. Raises `ConfigError`."""
    found = dashboards(folder)
    await check(lake, found)
    return App(lake, found)
