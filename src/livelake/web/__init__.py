"""The web: live dashboards and an HTTP API over one lake."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from livelake.errors import ConfigError, LivelakeError
from livelake.live import LiveLake
from livelake.web.app import App
from livelake.web.asked import read, shared_parameters
from livelake.web.charts import ChartSpec
from livelake.web.folder import Dashboard, Query, load
from livelake.web.identity import Identity
from livelake.web.parameters import Value
from livelake.web.reload import Reloader
from livelake.web.serve import listen, serve, url_of
from livelake.web.still import still
from livelake.web.tokens import Tokens

Values: TypeAlias = Mapping[str, Mapping[str, Value]]
"""For each query, what its parameters are."""

__all__ = [
    "App",
    "Dashboard",
    "Identity",
    "Tokens",
    "Values",
    "app",
    "bind",
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
        shared_parameters(dashboard)
        for query in dashboard.queries.values():
            await _check_offers(lake, query)
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


async def _check_offers(lake: LiveLake, query: Query) -> None:
    """What a parameter is chosen from is one SELECT, too, and takes no parameters."""
    for parameter in query.params.values():
        if not parameter.source:
            continue
        where = f"params.{parameter.name}.from"
        try:
            statement = await lake.check(parameter.source)
        except LivelakeError as error:
            raise ConfigError(f"{where}: {error}", file=query.file, line=1) from error
        if statement.parameters:
            raise ConfigError(
                f"{where} uses ${min(statement.parameters)}; it takes no parameters", file=query.file, line=1
            )


def bind(dashboard: Dashboard, given: Iterable[tuple[str, str]]) -> Values:
    """Values for each query of a dashboard, from pairs as a URL has them. Raises `ParameterError`."""
    return read(dashboard, given).bound()


def reloader(app: App, folder: Path | str) -> Reloader:
    """What makes ``app`` follow the files of ``folder``: ``async with`` it around the server, on the lake's loop."""

    async def read() -> tuple[Dashboard, ...]:
        found = await asyncio.to_thread(dashboards, folder)
        await check(app.lake, found)
        return found

    return Reloader(app, Path(folder), read)


async def app(lake: LiveLake, folder: Path | str, **options: Any) -> App:
    """The web application for a lake and a dashboard folder; ``options`` are those of `App`. Raises `ConfigError`.

    Without ``tokens`` everybody reads whom the application around it lets through, which may say in
    ``scope["livelake.identity"]`` who asks (an `Identity`).
    """
    found = dashboards(folder)
    await check(lake, found)
    return App(lake, found, **options)
