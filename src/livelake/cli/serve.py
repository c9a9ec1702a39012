"""``serve``: a folder of SQL files becomes live dashboards and an HTTP API."""

from __future__ import annotations

import asyncio
import ipaddress
from pathlib import Path

import click

import livelake
from livelake.errors import UsageError


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--insecure", is_flag=True, help="Allow other machines to read everything: there is no log-in yet.")
@click.option("--poll-interval", default=0.25, show_default=True, help="Seconds between looks at the commit logs.")
def serve(folder: Path, host: str, port: int, insecure: bool, poll_interval: float) -> None:
    """Serve a folder of .sql files as live dashboards and an HTTP API, until Ctrl-C.

    DIR is one dashboard (a folder of .sql files and a livelake.toml that attaches the lake), or holds several.
    """
    from livelake import web  # the web part is imported by those who serve

    if not insecure and not _is_loopback(host):
        raise UsageError(f"--host {host} would let other machines read everything; add --insecure if that is meant")
    found = web.dashboards(folder)
    attach = {name: uri for dashboard in found for name, uri in dashboard.attach.items()}
    first, *_ = attach or {"memory": ":memory:"}
    listener = web.listen(host, port)

    async def run() -> None:
        uri = attach.pop(first, ":memory:")
        opening = livelake.open(uri, as_name=first, attach=attach, create=False, poll_interval=poll_interval)
        async with opening as lake:
            await web.check(lake, found)
            app = web.App(lake, found)

            def ready() -> None:
                count = sum(len(dashboard.queries) for dashboard in found)
                click.echo(f"livelake serves {count} queries on {web.url_of(listener)} (Ctrl-C ends it)")

            await web.serve(app, listener, ready)

    with listener:
        asyncio.run(run())


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
