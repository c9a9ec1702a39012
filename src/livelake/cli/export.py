"""``export``: a static picture of a dashboard, as a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

import livelake
from livelake.errors import NotFoundError, ParameterError, SourceError, UsageError

if TYPE_CHECKING:
    from livelake import web

_WIDTH = 1_280


@click.command(short_help="Write a static picture of a dashboard.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--format", "-f", type=click.Choice(["html", "png"]), default="html", show_default=True)
@click.option("--dashboard", "-d", metavar="NAME", help="Which one, where DIR holds several.")
@click.option(
    "-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="As in the page's URL. Repeatable."
)
@click.option("-o", "--output", metavar="FILE", help="Where to; - is standard output. [default: NAME.html, NAME.png]")
@click.option("--chromium", metavar="PROGRAM", help="The browser that draws a PNG; else it is looked for.")
def export(
    folder: Path,
    format: Literal["html", "png"],  # noqa: A002
    dashboard: str | None,
    params: tuple[str, ...],
    output: str | None,
    chromium: str | None,
) -> None:
    """Write a static picture of a dashboard: one HTML file that holds all it needs, or a PNG.

    All panels are read at one state of the data. HTML has no script and asks for nothing; a PNG is drawn by headless
    Chromium, if the machine has it.
    """
    from livelake import web  # the web part is imported by those who need it

    camera = _camera(chromium) if format == "png" else None  # looked for before the work, not after it
    found = web.dashboards(folder)
    chosen = _chosen(found, dashboard)
    values = web.bind(chosen, map(_pair, params))
    html = asyncio.run(_picture(found, chosen, values))
    picture = html.encode() if camera is None else camera(html)
    target = output or f"{chosen.name}.{format}"
    if target == "-":
        sys.stdout.buffer.write(picture)
        return
    write(Path(target), picture)
    click.echo(f"wrote {target} ({len(picture):,} bytes)")


def _camera(program: str | None) -> Callable[[str], bytes]:
    if sys.platform == "win32":
        raise UsageError("--format png needs Unix; use --format html")
    from livelake.cli.chromium import find, screenshot

    return partial(screenshot, find(program), width=_WIDTH)


async def _picture(found: tuple[web.Dashboard, ...], chosen: web.Dashboard, values: web.Values) -> str:
    from livelake import web
    from livelake.cli.serving import attached

    others = attached((chosen,)) if chosen.attach else attached(found)
    first = next(iter(others))
    uri = others.pop(first)
    read_only = uri != ":memory:"
    async with livelake.open(uri, as_name=first, attach=others, create=False, read_only=read_only) as lake:
        await web.check(lake, (chosen,))
        return await web.still(lake, chosen, values, datetime.now(UTC))


def _chosen(found: tuple[web.Dashboard, ...], name: str | None) -> web.Dashboard:
    names = ", ".join(each.name for each in found)
    if name is None and len(found) > 1:
        raise UsageError(f"this folder holds several dashboards; name one with --dashboard: {names}")
    for each in found:
        if name in (None, each.name):
            return each
    raise NotFoundError(f"there is no dashboard {name!r}; there is {names}")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ParameterError(f"--param {text!r} is not NAME=VALUE")
    return name, value


def write(target: Path, content: bytes) -> None:
    """All of it or nothing: whoever reads ``target`` meanwhile finds the old file or the new one, whole."""
    mode = target.stat().st_mode & 0o777 if target.is_file() else 0o666 & ~_umask()
    try:
        descriptor, beside = tempfile.mkstemp(dir=target.absolute().parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(beside, mode)
            os.replace(beside, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise
    except OSError as error:
        raise SourceError(f"{target} cannot be written: {error.strerror}; name another with -o") from error


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
