"""``serve``: a folder of SQL files becomes live dashboards and an HTTP API."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

import click

import livelake
from livelake.cache import AnalyticsCache
from livelake.cli.ending import run, stoppable
from livelake.errors import UsageError

if TYPE_CHECKING:
    from livelake import web

_SECONDS = click.FloatRange(0.01, 3_600)


@click.command(short_help="Serve a folder of .sql files as live dashboards.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--insecure", is_flag=True, help="Allow other machines to read everything: there is no log-in yet.")
@click.option(
    "--poll-interval",
    default=0.25,
    show_default=True,
    type=_SECONDS,
    help="Seconds between looks at the commit logs.",
)
def serve(folder: Path, host: str, port: int, insecure: bool, poll_interval: float) -> None:
    """Serve a folder of .sql files as live dashboards and an HTTP API, until Ctrl-C.

    DIR is one dashboard (a folder of .sql files and a livelake.toml that attaches the lake), or holds several.
    """
    from livelake import web  # the web part is imported by those who serve

    hosts = allowed_hosts(host, insecure)
    found = web.dashboards(folder)
    attach = {name: uri for dashboard in found for name, uri in dashboard.attach.items()}
    first, *_ = attach or {"memory": ":memory:"}
    listener = web.listen(host, port)

    async def main() -> None:
        uri = attach.pop(first, ":memory:")
        opening = livelake.open(
            uri, as_name=first, attach=attach, create=False, poll_interval=poll_interval, cache=_cache(found)
        )
        async with opening as lake:
            await web.check(lake, found)
            app = web.App(lake, found, hosts=hosts)

            def ready() -> None:
                count = sum(len(dashboard.queries) for dashboard in found)
                what = f"{count} quer{'y' if count == 1 else 'ies'}"
                click.echo(f"livelake serves {what} on {web.url_of(listener)} (Ctrl-C ends it)")

            await web.serve(app, listener, ready)

    with stoppable(), listener:
        run(main())


def _cache(found: tuple[web.Dashboard, ...]) -> AnalyticsCache | None:
    """The cache that the folders ask for, None for the lake's own. Of several, the first that asks is heard."""
    asked = next((each.cache for each in found if each.cache != type(each.cache)()), None)
    if asked is None:
        return None
    return AnalyticsCache(
        asked.max_capacity or 1_000, asked.time_to_live, asked.time_to_idle, asked.max_bytes or 256 << 20
    )


def allowed_hosts(host: str, insecure: bool) -> frozenset[str] | None:
    """The host names that a server on ``host`` answers to, None for any.

    Raises `UsageError` for an address that other machines reach, unless that is meant.
    """
    if _is_loopback(host):
        return frozenset({"localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host})
    if not insecure:
        raise UsageError(f"--host {host} would let other machines read everything; add --insecure if that is meant")
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
