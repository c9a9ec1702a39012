"""``maintain``: one round of upkeep of a DuckLake, told line by line."""

from __future__ import annotations

import asyncio

import click

import livelake
from livelake.errors import LockedError
from livelake.lake import Done, Upkeep
from livelake.lake.schedule import span
from livelake.lake.upkeep import STEPS


@click.command(short_help="Tidy a DuckLake: flush, merge, expire, clean up.")
@click.argument("uri")
@click.option(
    "--expire-after",
    default="7d",
    show_default=True,
    metavar="SPAN",
    help="Expire older snapshots: 90s, 15m, 1h, 7d.",
)
@click.option("--keep", default=1, show_default=True, type=click.IntRange(1), help="Never expire the newest so many.")
@click.option("--no-clean", is_flag=True, help="Leave the files that no snapshot needs.")
@click.option("--no-flush", is_flag=True, help="Leave rows in the catalog.")
@click.option("--no-rewrite", is_flag=True, help="Leave files that are mostly deleted.")
@click.option("--no-merge", is_flag=True, help="Leave small files.")
@click.option("--no-expire", is_flag=True, help="Leave old snapshots.")
@click.option("--alone", is_flag=True, help="Nobody else writes meanwhile: merge and rewrite a shared lake, too.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def maintain(uri: str, expire_after: str, keep: int, alone: bool, dry_run: bool, **without: bool) -> None:
    """Tidy a DuckLake, beside whoever reads and writes it. No answer changes.

    Rows that lie in the catalog become files, old snapshots go, and files that nobody needs are removed; nothing that
    is younger than ten minutes. With --alone small files become larger ones. Interrupted, it has done a part, and
    the next time it goes on. A catalog in a DuckDB file belongs to the process that has it open.
    """
    steps = frozenset(step for step in STEPS if not without[f"no_{step}"])
    options = Upkeep(steps=steps, expire_after=span(expire_after), keep=keep, alone=alone, dry_run=dry_run)
    if not asyncio.run(_maintain(uri, options)):
        click.echo("there was nothing to do")


async def _maintain(uri: str, options: Upkeep) -> tuple[Done, ...]:
    try:
        async with livelake.open(uri, create=False) as lake:
            return await lake.maintain(options, catalogs=[lake.default], told=lambda done: click.echo(str(done)))
    except LockedError as error:
        raise LockedError(
            f"{error}. Only its owner can tidy it: [maintain] in the livelake.toml that it serves, or lake.maintain()"
        ) from error
