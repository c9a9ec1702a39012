"""``init``: a first dashboard for a lake, by looking at its tables. Without a lake it makes a small one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import click

import livelake
from livelake.cli.starter import Column, Panel, Starter, Table, humane, settings, slug
from livelake.engine import identifier
from livelake.errors import LivelakeError, SourceError, UsageError
from livelake.lake.catalog import Catalog, Log, Origin, parse
from livelake.live import LiveLake

_LOOKED_AT = 100_000
"""Rows of a table that are looked at; a lake may hold billions."""
_MOST_TABLES = 50
_SAMPLE_FILE = "shop.sqlite"
_SAMPLE = (
    "CREATE TABLE orders (id INTEGER, day DATE, region VARCHAR, product VARCHAR, amount DECIMAL(9, 2))",
    """INSERT INTO orders SELECT
        range + 1, current_date - (range * 13 % 90)::INTEGER,
        ['north', 'south', 'east', 'west'][1 + range * range % 7 % 4], ['tea', 'coffee', 'cocoa'][1 + range * 5 % 3],
        (range * 37 % 900 + 100) / 10
    FROM range(600)""",
)


@click.command(short_help="Write a first dashboard for a lake.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--lake", "uri", metavar="URI", help="The lake or database to look at; else a small sample is made in DIR."
)
def init(folder: Path, uri: str | None) -> None:
    """Write a first dashboard: a folder of .sql files for the tables that a lake has, ready to be served and edited.

    DIR must be new or empty; nothing is ever overwritten.
    """
    folder = Path(os.path.abspath(folder))
    _check(folder)
    panels, shown, dropped = asyncio.run(_write(folder, uri))
    click.echo(f"wrote {len(panels)} panel{'' if len(panels) == 1 else 's'} over {shown} to {_short(folder)}")
    for name, error in dropped:
        click.echo(f"  left out {name}: {error}")
    click.echo(f"  now:      livelake serve {shlex.quote(_short(folder))} --reload")
    click.echo("  and then: edit its .sql files; the open page follows")


def _check(folder: Path) -> None:
    if re.fullmatch(r"[a-z0-9_-]+", folder.name) is None:
        raise UsageError(
            f"the folder's name becomes a URL, and {folder.name!r} cannot; use lower-case letters, digits, _ and -"
        )
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{_short(folder)} is there already and nothing is overwritten; name a new folder")


async def _write(folder: Path, uri: str | None) -> tuple[list[Panel], str, list[tuple[str, LivelakeError]]]:
    """Look, and write. The panels, where the lake is as the folder says it, and what was left out."""
    target = f"ducklake:sqlite:{folder / _SAMPLE_FILE}" if uri is None else uri
    catalog = parse(target)
    if catalog.uri == ":memory:":
        raise UsageError(":memory: is empty and gone with this command; name a lake, or leave --lake out")
    name = slug(catalog.name)
    name = name if name[0].isalpha() else f"lake_{name}"
    attach = f"ducklake:sqlite:{_SAMPLE_FILE}" if uri is None else _uri(catalog, uri, folder)
    with _made(folder):
        async with livelake.open(target, as_name=name, create=uri is None, read_only=uri is not None) as lake:
            if uri is None:
                async with lake.transaction() as transaction:
                    for sql in _SAMPLE:
                        await transaction.execute(sql)
            tables = await survey(lake, name)
            if not tables:
                raise UsageError(f"{catalog.uri} holds no table; make one first, or leave --lake out for a sample")
            words = await lake.query("SELECT keyword_name AS word FROM duckdb_keywords()")
            starter = Starter(name, (row["word"] for row in words.rows()))
            panels, dropped = await _that_work(lake, folder, starter.panels(tables), name, attach)
    return panels, attach, dropped


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder, empty; if the block fails, all that was put into it goes again, and what was made on the way."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        with contextlib.suppress(OSError):
            for each in folder.iterdir():
                shutil.rmtree(each) if each.is_dir() else each.unlink()
            for each in missing:
                each.rmdir()
        if isinstance(error, OSError):
            raise SourceError(f"{_short(folder)} cannot be written: {error.strerror}; name another folder") from error
        raise


def _uri(catalog: Catalog, given: str, folder: Path) -> str:
    """What ``livelake.toml`` says: paths are relative to the folder if they were given so; no password."""
    data = f"?data_path={catalog.data_path}" if catalog.data_path else ""
    if catalog.origin is Origin.LOCAL and catalog.path is not None:
        scheme = {Log.SQLITE: "ducklake:sqlite:", Log.DUCKDB: "ducklake:", Log.NONE: ""}[catalog.log]
        spelled = given.removeprefix(scheme).partition("?data_path=")[0]
        is_relative = not os.path.isabs(os.path.expanduser(spelled)) and "://" not in data
        return f"{scheme}{os.path.relpath(catalog.path, folder) if is_relative else catalog.path}{data}"
    if catalog.origin is Origin.REMOTE and catalog.uri != f"ducklake:{catalog.target}":
        raise UsageError(
            f"{catalog.uri} has a secret in its address, which would stand in a file; give it a plain one"
        )
    return f"{catalog.uri}{data}"


# -- looking -------------------------------------------------------------------------------------------


async def survey(lake: LiveLake, catalog: str) -> list[Table]:
    """The tables and views of a catalog, with what a first dashboard needs to know of them."""
    columns = await lake.query(
        """SELECT table_schema AS schema, table_name AS name, column_name AS "column", data_type AS type
        FROM information_schema.columns WHERE table_catalog = $catalog
        ORDER BY table_schema, table_name, ordinal_position""",
        {"catalog": catalog},
    )
    found: dict[tuple[str, str], list[Column]] = {}
    for row in columns.rows():
        found.setdefault((row["schema"], row["name"]), []).append(Column(row["column"], row["type"]))
    tables = [Table(schema, name, 0, tuple(columns)) for (schema, name), columns in found.items()]
    looked = [await _looked_at(lake, catalog, table) for table in tables[:_MOST_TABLES]]
    return [table for table in looked if table.columns]


async def _looked_at(lake: LiveLake, catalog: str, table: Table) -> Table:
    """The table with its rows counted, its texts' values too, and its times' first and last day."""
    target = ".".join(map(identifier, (catalog, table.schema, table.name)))
    asked = [f"count(DISTINCT {identifier(column.name)}) AS d{i}" for i, column in enumerate(table.texts)]
    for i, column in enumerate(table.times):
        day = f"{identifier(column.name)}::DATE"
        asked += [f"min({day}) FILTER (isfinite({day})) AS a{i}, max({day}) FILTER (isfinite({day})) AS b{i}"]
    try:
        (counted,) = (await lake.query(f"SELECT count(*) AS n FROM {target}")).rows()
        seen: dict[str, Any] = {}
        if asked:
            sql = f"SELECT {', '.join(asked)} FROM (FROM {target} LIMIT {_LOOKED_AT})"
            (seen,) = (await lake.query(sql)).rows()
    except LivelakeError:  # a view that is broken, a file that is gone: it stays what it is, and gets no panel
        return replace(table, columns=())
    distinct = {column.name: seen[f"d{i}"] for i, column in enumerate(table.texts)}
    spans = {column.name: _span(seen[f"a{i}"], seen[f"b{i}"]) for i, column in enumerate(table.times)}
    looked = [replace(c, distinct=distinct.get(c.name), span=spans.get(c.name)) for c in table.columns]
    return replace(table, rows=counted["n"], columns=tuple(looked))


def _span(first: Any, last: Any) -> tuple[date, date] | None:
    days = [each.date() if isinstance(each, datetime) else each for each in (first, last)]
    return (days[0], days[1]) if all(isinstance(each, date) for each in days) else None


async def _that_work(
    lake: LiveLake, made: Path, panels: list[Panel], catalog: str, attach: str
) -> tuple[list[Panel], list[tuple[str, LivelakeError]]]:
    """Write the panels, ask each, and keep those that answer: what is served is what was tried."""
    from livelake import web  # the web part is imported by those who need it

    title = humane(made.name)
    kept, dropped = list(panels), list[tuple[str, LivelakeError]]()
    for panel in panels:
        (made / f"{panel.name}.sql").write_text(panel.text, encoding="utf-8")
    (dashboard,) = web.dashboards(made)
    for panel in panels:
        query = dashboard.queries[panel.name]
        try:
            await web.check(lake, (replace(dashboard, queries={panel.name: query}),))
            (await lake.query(query.sql, query.bind([]))).rows()
        except LivelakeError as error:
            kept.remove(panel)
            dropped.append((panel.name, error))
            (made / f"{panel.name}.sql").unlink()
    if not kept:
        raise UsageError(f"no panel could be made: {dropped[0][1]}")
    (made / "livelake.toml").write_text(settings(title, catalog, attach, kept), encoding="utf-8")
    web.dashboards(made)
    return kept, dropped


def _short(folder: Path) -> str:
    """As a person would type it."""
    relative = os.path.relpath(folder)
    return relative if not relative.startswith("..") else str(folder)
