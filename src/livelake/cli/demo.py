"""``demo``: this machine's own telemetry in a DuckLake, live in the browser. Nothing to set up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

import click

import livelake
from livelake.cli import samples
from livelake.cli.access import allowed_hosts
from livelake.cli.ending import run, stoppable
from livelake.cli.telemetry import Sampler
from livelake.errors import LivelakeError, SourceError
from livelake.live import LiveLake

log = logging.getLogger("livelake.demo")

_PERIOD = 1.0


@click.command(short_help="Show this machine, live in the browser.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="Another if it is taken."
)
@click.option("--insecure", is_flag=True, help="Allow other machines to watch this one.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Keep the lake here.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def demo(host: str, port: int, insecure: bool, folder: Path | None, no_browser: bool) -> None:
    """Show this machine's own telemetry live: a DuckLake, one commit a second, a dashboard that moves by itself."""
    from livelake import web  # the web part is imported by those who serve

    hosts = allowed_hosts(host, insecure)
    listener = _listen(host, port)
    with stoppable(), listener, _home(folder) as home, as_file(files("livelake") / "examples" / "machine") as found:
        dashboards = web.dashboards(found)
        uri = f"ducklake:sqlite:{home / 'machine.sqlite'}"

        async def main() -> None:
            async with livelake.open(uri, as_name=samples.CATALOG) as lake:
                await web.check(lake, dashboards)
                sampler = Sampler()
                await _begin(lake, sampler)
                url = f"{web.url_of(listener)}d/{dashboards[0].name}"
                async with asyncio.TaskGroup() as tasks:
                    sampling = tasks.create_task(_sample(lake, sampler))
                    app = web.App(lake, dashboards, hosts=hosts)
                    await web.serve(app, listener, lambda: _announce(url, uri, folder, no_browser))
                    sampling.cancel()

        run(main())


def _listen(host: str, port: int) -> socket.socket:
    from livelake import web

    try:
        return web.listen(host, port)
    except SourceError:  # taken: any other will do
        return web.listen(host, 0)


@contextlib.contextmanager
def _home(folder: Path | None) -> Iterator[Path]:
    """Where the lake lies: the folder that was given, or a private one that goes when the demo ends."""
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SourceError(f"--dir {folder} cannot be made: {error.strerror}; name another") from error
        yield folder.absolute()
        return
    try:
        kept = tempfile.TemporaryDirectory(
            prefix="livelake-demo-", ignore_cleanup_errors=True
        )  # mode 0700, exclusive
    except OSError as error:
        raise SourceError(f"no folder for the lake: {error.strerror}; name one with --dir") from error
    with kept as home:
        yield Path(home)


async def _begin(lake: LiveLake, sampler: Sampler) -> None:
    """The tables, and two samples: the first has no rates yet."""
    async with lake.transaction() as transaction:
        for sql in samples.SCHEMA:
            await transaction.execute(sql)
    await lake.administer(samples.options(os.cpu_count() or 1))
    await asyncio.to_thread(sampler.sample)
    await asyncio.sleep(0.2)
    await _commit(lake, sampler)


async def _commit(lake: LiveLake, sampler: Sampler) -> int:
    """One sample, one commit; returns its number."""
    sample = await asyncio.to_thread(sampler.sample)
    async with lake.transaction() as transaction:
        for sql, parameters in samples.commit(sample):
            await transaction.execute(sql, parameters)
    return sample.system.number


async def _sample(lake: LiveLake, sampler: Sampler) -> None:
    """A sample each second on the second that it began, until cancelled. A failed one is told and left out."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due = max(due + _PERIOD, loop.time())
        await asyncio.sleep(due - loop.time())
        try:
            number = await _commit(lake, sampler)
            if number % samples.UPKEEP_EVERY == 0:
                await lake.maintain(samples.upkeep())
        except LivelakeError as error:
            log.warning("a sample was left out: %s", error)


def _announce(url: str, uri: str, folder: Path | None, no_browser: bool) -> None:
    click.echo(f"livelake demo: this machine, live, on {url}")
    click.echo(f"  the lake: {uri}{'' if folder else ' (goes when the demo ends)'}")
    click.echo(f"  try:      livelake watch {shlex.quote(uri)} 'SELECT arg_max(number, time) AS samples FROM system'")
    click.echo("  Ctrl-C ends it")
    if not no_browser:
        threading.Thread(target=_browse, args=(url,), daemon=True).start()


def _browse(url: str) -> None:
    with contextlib.suppress(Exception):  # a machine without a browser has the address on its terminal
        webbrowser.open(url)
