"""Upkeep: what keeps a DuckLake small and quick, and changes no answer.

    clean     files that no snapshot needs any more are removed
    flush     rows that lie in the catalog itself become Parquet files
    rewrite   files that are mostly deleted are written anew
    merge     small files that follow one another become one
    expire    old snapshots go, and with them the right to read them; the next round cleans up after it

Each step is a commit of its own (or none): cancelled or killed between or within them, the lake is whole, and the
next round goes on. Writers wait for a step in this process, and may run beside it in others; a step that loses a
conflict is tried again, and then left to the next round: writers come first.

Files are merged and rewritten only where nobody else writes: in a DuckDB-file catalog, whose owner this is, or when
told so (``alone``). DuckLake 1.0 overlooks that a small delete of another process (an inlined one) has hit a file
that is being merged: the rows were back afterwards in 9 of 23 runs over PostgreSQL; in none of 10 without merging.
And a file with an inlined delete that is rewritten, and flushed later, is wrong in the past (what was deleted from it
earlier is back ``AT`` the snapshots before): so each of the two steps begins with a flush, with no writer in between.

The promise to readers: the newest snapshot, and any that is younger than ``grace``, is never expired, and a file is
removed only when it has been out of use for so long. A read, an ``as_of`` and a token are good for that time at
least. (A token needs no snapshot: newer data satisfies it.)

Never CHECKPOINT on a lake: it may invalidate the whole DuckDB instance. Snapshots are expired by number, and files of
a SQLite catalog removed all or none, because DuckLake compares its times as texts of two forms: every moment of the
same day is "older".
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal, Protocol, get_args

from livelake.clock import Clock
from livelake.engine import Engine, literal
from livelake.errors import ConflictError, LivelakeError, QueryError, UsageError
from livelake.lake.attachment import Attachment
from livelake.lake.catalog import Log
from livelake.lake.forgotten import table_of

Step = Literal["clean", "flush", "rewrite", "merge", "expire"]
STEPS: Final[tuple[Step, ...]] = get_args(Step)
GRACE: Final = timedelta(minutes=10)
_ALONE: Final = frozenset({"rewrite", "merge"})
_RETRIES: Final = 8
_WAS_LATE: Final = re.compile("Current transaction is aborted|Failed to commit DuckLake transaction|retry count")
_AT_ONCE: Final = 1_000  # snapshots that one statement expires


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """What one round does. Snapshots are expired when they are older than ``expire_after`` (None: never) and not
    among the newest ``keep``."""

    steps: frozenset[Step] = frozenset(STEPS)
    expire_after: timedelta | None = timedelta(days=7)
    keep: int = 1
    grace: timedelta = GRACE
    alone: bool = False
    """No other process writes meanwhile: files of a SQLite or PostgreSQL lake may be merged and rewritten, too."""
    dry_run: bool = False
    """Tell what would be done, and do nothing."""

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise UsageError(f"keep={self.keep}: the newest snapshot always stays; keep at least 1")
        if self.grace < timedelta(0) or (self.expire_after or self.grace) < timedelta(0):
            raise UsageError("expire_after and grace are spans of time, from 0")

    @property
    def oldest(self) -> timedelta | None:
        """The age past which snapshots go."""
        return None if self.expire_after is None else max(self.expire_after, self.grace)


@dataclass(frozen=True, slots=True)
class Done:
    """One step on one catalog. ``count``: files, snapshots or rows, as ``what`` says."""

    catalog: str
    step: Step
    count: int
    what: str

    def __str__(self) -> str:
        return f"{self.catalog}: {self.what}"


class Runs(Protocol):
    """What runs one statement and returns its rows: a `Session`."""

    def fetchall(self, sql: str) -> list[tuple[Any, ...]]: ...


Work = Callable[[Runs], Done | None]


async def maintain(
    engine: Engine,
    attachments: Mapping[str, Attachment],
    options: Upkeep,
    clock: Clock,
    names: Iterable[str] | None,
    told: Callable[[Done], object] | None,
    look: Callable[[], None],
) -> tuple[Done, ...]:
    """One round over ``names``, on the writer's lane, step by step; see `Lake.maintain`.

    ``look`` reads the commit logs: what has been read may expire, and nothing that is kept is lost by it.
    """
    every: list[Done] = []
    for name, attachment in _chosen(attachments, names).items():
        for step in STEPS:
            log = attachment.catalog.log
            if step not in options.steps or (step in _ALONE and not (options.alone or log is Log.DUCKDB)):
                continue
            is_text = log is Log.SQLITE
            if step == "expire":
                with contextlib.suppress(LivelakeError):
                    await asyncio.to_thread(look)
            for work in pieces(step, name, attachment.metadata, options, clock.now(), times_are_text=is_text):
                try:
                    done = await _retried(engine, attachment, work)
                except ConflictError:
                    done = Done(name, step, 0, f"{step} gave way to other writers; the next round goes on with it")
                if done is None:
                    continue
                every.append(done)
                if told is not None:
                    told(done)
    return tuple(every)


def _chosen(attachments: Mapping[str, Attachment], names: Iterable[str] | None) -> dict[str, Attachment]:
    """The lakes that can be maintained here; all that can if none are named. Raises `UsageError` for one that
    cannot."""
    if names is None:
        return {name: each for name, each in attachments.items() if _why_not(each) is None}
    chosen: dict[str, Attachment] = {}
    for name in names:
        if name not in attachments:
            raise UsageError(f"{name!r} is not attached here; attached: {', '.join(sorted(attachments))}")
        why_not = _why_not(attachments[name])
        if why_not is not None:
            raise UsageError(why_not)
        chosen[name] = attachments[name]
    return chosen


def _why_not(attachment: Attachment) -> str | None:
    catalog = attachment.catalog
    if not catalog.is_lake:
        return f"{catalog.uri} is a DuckDB database, not a DuckLake, and tidies itself; there is nothing to maintain"
    if catalog.is_frozen:
        return f"{catalog.uri} can only be read from here; maintain it where it is written"
    if attachment.is_read_only:
        return f"{catalog.uri} was opened read-only; open it without read_only"
    return None


async def _retried(engine: Engine, attachment: Attachment, work: Work) -> Done | None:
    for attempt in range(_RETRIES):
        renewals = attachment.renewals
        try:
            return await engine.writer.run(work)
        except (ConflictError, QueryError) as error:
            table = table_of(error)
            if table is not None and attempt == 0:
                await engine.writer.run(partial(attachment.renew, renewals=renewals, table=table))
                continue
            if not _lost(error):
                raise
            if attempt + 1 == _RETRIES:
                raise ConflictError(str(error)) from error
            await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311
    raise AssertionError("unreachable")


def _lost(error: LivelakeError) -> bool:
    """Whether another transaction was first. DuckLake's procedures may go on in a transaction that a conflict has
    ended, and then tell only that."""
    return isinstance(error, ConflictError) or _WAS_LATE.search(f"{error} {error.__cause__}") is not None


def pieces(
    step: Step, name: str, metadata: str, options: Upkeep, now: datetime, *, times_are_text: bool
) -> Iterator[Work]:
    """What a step consists of: parts to be run one after the other, each whole in itself.

    ``metadata`` is the quoted name of the catalog's own tables.
    """
    if step == "clean":
        before = now - options.grace
        yield lambda session: clean(session, name, metadata, before, options.dry_run, all_or_none=times_are_text)
    elif step == "expire":
        if options.oldest is None:
            return
        oldest, done = now - options.oldest, _AT_ONCE

        def some(session: Runs) -> Done | None:
            nonlocal done
            found = expire(session, name, metadata, oldest, options.keep, options.dry_run)
            done = 0 if found is None or options.dry_run else found.count
            return found

        while done == _AT_ONCE:
            yield some
    else:
        yield lambda session: compact(session, name, step, dry_run=options.dry_run)


_COMPACT: Final[dict[str, tuple[str, str, str]]] = {
    # function, how many there were, words
    "flush": ("ducklake_flush_inlined_data", "sum(rows_flushed)", "rows flushed into files"),
    "rewrite": ("ducklake_rewrite_data_files", "sum(files_processed)", "files rewritten without what was deleted"),
    "merge": ("ducklake_merge_adjacent_files", "sum(files_processed)", "small files merged"),
}


def compact(session: Runs, name: str, step: Step, *, dry_run: bool) -> Done | None:
    """Flush, rewrite or merge. A new snapshot with the same rows, or none."""
    if dry_run:
        return Done(name, step, 0, f"would {step}; DuckLake cannot tell how much beforehand")
    number = 0
    for each in ("flush", step) if step in _ALONE else (step,):
        function, count, words = _COMPACT[each]
        found = session.fetchall(f"SELECT coalesce({count}, 0)::BIGINT FROM {function}({literal(name)})")
        number = int(found[0][0])
    return Done(name, step, number, f"{number:,} {words}") if number else None


def expire(session: Runs, name: str, metadata: str, before: datetime, keep: int, dry_run: bool) -> Done | None:
    """Expire the oldest snapshots that are from before ``before``, up to a thousand, and not the newest ``keep``."""
    rows = session.fetchall(
        f"SELECT snapshot_id, epoch_us(CAST(snapshot_time AS TIMESTAMPTZ)) < {_micros(before)} "
        f"FROM {metadata}.ducklake_snapshot ORDER BY snapshot_id"
    )
    old: list[int] = []
    for number, is_old in rows[:-keep]:
        if not is_old or (len(old) == _AT_ONCE and not dry_run):
            break  # what a younger one stands on stays: no holes in the log
        old.append(int(number))
    if not old:
        return None
    if dry_run:
        return Done(name, "expire", len(old), f"would expire {len(old):,} snapshots, up to {old[-1]}")
    session.fetchall(f"SELECT count(*) FROM ducklake_expire_snapshots({literal(name)}, versions => {old})")
    return Done(name, "expire", len(old), f"{len(old):,} snapshots expired, up to {old[-1]}")


def clean(
    session: Runs, name: str, metadata: str, before: datetime, dry_run: bool, *, all_or_none: bool
) -> Done | None:
    """Remove the files that fell out of use before ``before``; ``all_or_none``: none as long as some did since."""
    late = f"count(*) FILTER (epoch_us(CAST(schedule_start AS TIMESTAMPTZ)) >= {_micros(before)})"
    table = f"{metadata}.ducklake_files_scheduled_for_deletion"
    files, young = session.fetchall(f"SELECT count(*), {late} FROM {table}")[0]
    count = 0 if young and all_or_none else files - young
    if not count:
        waiting = f"{files:,} files wait to be removed, because a read may still need {young:,} of them"
        return Done(name, "clean", 0, waiting) if files else None
    if dry_run:
        return Done(name, "clean", count, f"would remove {count:,} files")
    which = f"older_than => make_timestamptz({_micros(before)})" if young else "cleanup_all => true"
    session.fetchall(f"SELECT count(*) FROM ducklake_cleanup_old_files({literal(name)}, {which})")
    return Done(name, "clean", count, f"{count:,} files removed")


def _micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
