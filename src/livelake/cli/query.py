"""``query``, ``watch`` and ``why``: one query at the terminal."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from typing import Literal

import click

import livelake
from livelake.cli.ending import run, stoppable
from livelake.cli.terminal import clean, csv_text, json_text, shorten, table_text
from livelake.errors import ParameterError
from livelake.lake import Result

Format = Literal["table", "json", "csv", "arrow"]

_uri = click.argument("uri")
_sql = click.argument("sql")
_param = click.option(
    "-p",
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="A value for $NAME; JSON, else text. Repeatable.",
)


def bind(params: tuple[str, ...]) -> dict[str, object]:
    """``NAME=VALUE`` pairs as parameters. A value that is JSON is that value, any other is text."""
    values: dict[str, object] = {}
    for text in params:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ParameterError(f"--param {text!r} is not NAME=VALUE")
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    return values


@click.command(short_help="Run one SELECT and print its rows.")
@_uri
@_sql
@_param
@click.option(
    "--format", "-f", type=click.Choice(["table", "json", "csv", "arrow"]), default="table", show_default=True
)
def query(uri: str, sql: str, params: tuple[str, ...], format: Format) -> None:  # noqa: A002
    """Run one SELECT on a DuckLake or DuckDB database and print its rows.

    URI is ducklake:sqlite:sales.sqlite, ducklake:sales.ducklake, sales.duckdb or :memory:.
    """
    values = bind(params)

    async def ask() -> Result:
        async with livelake.open(uri, read_only=uri != ":memory:", create=False) as lake:
            return await lake.query(sql, values)

    result = asyncio.run(ask())
    match format:
        case "table":
            click.echo(table_text(result, width=_terminal()[0]))
        case "json":
            click.echo(json_text(result))
        case "csv":
            click.echo(csv_text(result), nl=False)
        case "arrow":
            sys.stdout.buffer.write(result.ipc)


@click.command(short_help="Show a result again after every change.")
@_uri
@_sql
@_param
@click.option("--count", "-n", type=click.IntRange(min=1), help="End after so many results.")
def watch(uri: str, sql: str, params: tuple[str, ...], count: int | None) -> None:
    """Show a query's result live: again after every commit that matters to it. Ctrl-C ends it."""
    values = bind(params)

    async def main() -> None:
        left = count
        async with livelake.open(uri, read_only=uri != ":memory:", create=False) as lake:
            async for result in lake.live(sql, values):
                _show(result)
                left = None if left is None else left - 1
                if left == 0:
                    return

    with stoppable():
        run(main())


def _show(result: Result) -> None:
    """On a terminal in place of the last one; into a pipe below it."""
    as_of = ", ".join(f"{name} {version}" for name, version in result.as_of.items())
    line = f"as of {as_of or 'now'}, {result.computed_at.astimezone():%H:%M:%S}"
    if result.error is not None:
        line = f"stale ({clean(' '.join(result.error.split()))}), {line}"
    width, height = _terminal()
    if width is None:
        click.echo(f"{table_text(result)}\n{line}")
        return
    text = f"{table_text(result, width=width, most_rows=height - 5)}\n{shorten(line, width)}"
    # Home, each line with what is left of its old self cleared, then all below: nothing flickers.
    click.echo("\x1b[H" + "".join(f"{each}\x1b[K\n" for each in text.split("\n")) + "\x1b[J", nl=False, color=True)


def _terminal() -> tuple[int | None, int]:
    """Columns and rows of the terminal; no columns if the output goes elsewhere and nothing need be shortened."""
    if not sys.stdout.isatty():
        return None, 0
    size = shutil.get_terminal_size()
    return size.columns, max(10, size.lines)


@click.command(short_help="Say what a query reads, and why it is kept.")
@_uri
@_sql
@_param
@click.option("--ttl", type=click.FloatRange(0, min_open=True), help="Seconds for which files and now() may be kept.")
@click.option("--depends-on", multiple=True, metavar="KEYEXPR", help="Events that it depends on. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def why(
    uri: str, sql: str, params: tuple[str, ...], ttl: float | None, depends_on: tuple[str, ...], as_json: bool
) -> None:
    """Say what a query reads, at which versions, and what the latest commits meant for its answer."""
    values = bind(params)

    async def explain() -> str:
        async with livelake.open(uri, read_only=uri != ":memory:", create=False) as lake:
            await lake.query(sql, values, ttl=ttl, depends_on=depends_on)
            explained = await lake.why(sql, values, ttl=ttl, depends_on=depends_on)
            return json.dumps(explained.as_dict(), indent=2, default=str) if as_json else str(explained)

    click.echo(asyncio.run(explain()))
