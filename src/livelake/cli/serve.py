"""``serve``: a folder of SQL files becomes live dashboards and an HTTP API."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from livelake.cli.access import access_options, allowed_hosts, sessions, tokens
from livelake.cli.bus import DEFAULT_ENDPOINT, BusSettings, credentials, login_options
from livelake.cli.ending import run, stoppable
from livelake.errors import UsageError
from livelake.lake.catalog import Log, parse

if TYPE_CHECKING:
    import socket

    from livelake import web
    from livelake.cli.serving import Serving

log = logging.getLogger("livelake.serve")

_SECONDS = click.FloatRange(0.01, 3_600)


@click.command(short_help="Serve a folder of .sql files as live dashboards.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option(
    "--poll-interval",
    default=0.25,
    show_default=True,
    type=_SECONDS,
    help="Seconds between looks at the commit logs.",
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 256), help="Processes that serve together."
)
@click.option("--reload", is_flag=True, help="Follow the files: what is edited is served, open pages move with it.")
@click.option(
    "--max-viewers",
    default=10_000,
    show_default=True,
    type=click.IntRange(1),
    help="Live pages at once, for each worker; one more is told to come back later.",
)
@click.option(
    "--max-viewers-per-address", type=click.IntRange(1), help="The same from one address; not behind a proxy."
)
@click.option("--no-compress", is_flag=True, help="Send live pages as they are, not in gzip.")
@click.option(
    "--bus", type=click.Choice(["local", "zenoh"]), help="Who hears of events: this server, or all at a router."
)
@click.option(
    "--connect", multiple=True, metavar="ENDPOINT", help=f"A router; may be repeated. [default: {DEFAULT_ENDPOINT}]"
)
@click.option("--listen", multiple=True, metavar="ENDPOINT", help="Meet others without a router, here.")
@login_options
@access_options
def serve(
    folder: Path,
    host: str,
    port: int,
    poll_interval: float,
    workers: int,
    reload: bool,
    max_viewers: int,
    max_viewers_per_address: int | None,
    no_compress: bool,
    bus: Literal["local", "zenoh"] | None,
    connect: tuple[str, ...],
    listen: tuple[str, ...],
    token: str | None,
    publish_token: str | None,
    token_file: Path | None,
    session_hours: float,
    names: tuple[str, ...],
    insecure: bool,
    **login: Any,
) -> None:
    """Serve a folder of .sql files as live dashboards and an HTTP API, until Ctrl-C.

    DIR is one dashboard (a folder of .sql files and a livelake.toml that attaches the lake), or holds several.
    """
    from livelake import web  # the web part is imported by those who serve
    from livelake.cli.serving import Serving, serving

    known = tokens(token, publish_token, token_file)
    hosts = allowed_hosts(host, insecure, guarded=known.guards_reading, names=names)
    where = _bus(bus, connect, listen, workers, **login)
    if reload and workers > 1:
        raise UsageError(
            f"--reload follows the files in one process, and {workers} workers would do so at different moments;"
            " leave out --workers while you edit"
        )
    found = web.dashboards(folder)
    listener = web.listen(host, port)

    def ready() -> None:
        count = sum(len(dashboard.queries) for dashboard in found)
        what = f"{count} quer{'y' if count == 1 else 'ies'}"
        by = f" with {workers} workers" if workers > 1 else ""
        click.echo(f"livelake serves {what} on {web.url_of(listener)}{by} (Ctrl-C ends it)")

    with stoppable(), listener, sessions(session_hours, shared=workers > 1) as kept:
        settings = Serving(
            folder=folder,
            hosts=hosts,
            poll_interval=poll_interval,
            tokens=known,
            sessions=kept,
            compress=not no_compress,
            max_viewers=max_viewers,
            max_viewers_per_address=max_viewers_per_address,
            bus=where,
            reload=reload,
        )
        if workers == 1:
            run(serving(settings, found, listener, ready))
        else:
            run(_together(settings, found, listener, workers, ready))


def _together(
    settings: Serving,
    found: tuple[web.Dashboard, ...],
    listener: socket.socket,
    workers: int,
    ready: Callable[[], None],
) -> Coroutine[Any, Any, None]:
    """Serving by several processes. Raises `UsageError` where they could not, or would not hear of each other."""
    from livelake.cli.serving import attached
    from livelake.cli.workers import supervise, with_private_bus

    _check_shareable(attached(found), workers)
    if settings.bus is not None:
        return supervise(settings, listener, workers, ready)
    if importlib.util.find_spec("zenoh") is not None:
        return with_private_bus(settings, listener, workers, ready)
    if settings.tokens.may_publish:
        raise UsageError(
            "an event that is posted to one worker would not reach the others without Zenoh, which is not installed;"
            " run: pip install 'livelake[zenoh]', or leave out --workers or the publish token"
        )
    deaf = [query.file.name for dashboard in found for query in dashboard.queries.values() if query.depends_on]
    if deaf:
        log.warning(
            "%s depends on events, and no worker hears of any: Zenoh is not installed; the commit log is all they"
            " go by. Run: pip install 'livelake[zenoh]'",
            ", ".join(deaf),
        )
    return supervise(settings, listener, workers, ready)


def _check_shareable(attached: dict[str, str], workers: int) -> None:
    """`UsageError` for a database that one process holds alone (DuckDB's lock)."""
    if sys.platform == "win32":
        raise UsageError("--workers needs Unix; leave it out")
    for name, uri in attached.items():
        catalog = parse(uri, name)
        if catalog.path is None or catalog.is_frozen or catalog.log in (Log.SQLITE, Log.POSTGRES):
            continue
        raise UsageError(
            f"--workers {workers} is for catalogs that several processes can open, and {name} is a DuckDB file"
            f" ({catalog.uri}), which one process holds alone; use ducklake:sqlite:… or ducklake:postgres:…, or"
            " leave out --workers"
        )


def _bus(
    kind: str | None, connect: tuple[str, ...], listen: tuple[str, ...], workers: int, **login: Any
) -> BusSettings | None:
    """The bus that was asked for; an endpoint alone asks for Zenoh."""
    known = credentials(**login)
    if kind is None and (connect or listen or known is not None):
        kind = "zenoh"
    if kind == "zenoh":
        if listen and workers > 1:
            raise UsageError(
                f"--listen {listen[0]} is one place, and {workers} workers cannot all listen there;"
                " run `livelake router` there and --connect to it"
            )
        connect = connect or (() if listen else (DEFAULT_ENDPOINT,))
        return BusSettings(connect=connect, listen=listen, credentials=known)
    if connect or listen or known is not None:
        raise UsageError(
            "--bus local stays in this process, and has no use for endpoints and credentials; leave it out"
        )
    return None
