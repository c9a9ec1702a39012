"""The differential oracle: random steps on two catalogs, and every answer compared with time travel.

A *world* is one lake with two DuckLake catalogs: ``a`` in SQLite, which another process writes to as well, and ``b``
in a DuckDB file. Steps come in bursts that run at the same time: writes of all kinds, maintenance, redefinitions,
queries, cancelled queries. Of each answer that was served as fresh two things are claimed and checked:

1. it is what the tables held at its ``as_of``;
2. it is what they held at the newest commit that had been acknowledged when the query began, where that is newer.

What they held is read by time travel (``AT (VERSION => n)``) on a plain cursor; what the query makes of it is
computed here, in Python. Neither knows anything of livelake's plans, logs and caches.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import livelake
from lake.claims import Claim, Differs, Ledger
from lake.planted import planted
from lake.questions import Question, any_question
from livelake.errors import BusyError, ConflictError, LivelakeError, QueryError, SourceError
from livelake.lake import Result
from livelake.live import LiveLake
from livelake.token import Token

KEPT_SNAPSHOTS = 60
# DuckLake 1.0 plans a DELETE with a list of files and reads it with another, if a process flushes between the two. It
# takes that for an internal error, on which DuckDB gives up the instance; and ``b``, a file of DuckDB's, cannot be
# opened again in this process (`livelake.engine.stranded`). Seen in 1 of 40 worlds of 5,000 steps.
DUCKLAKE_GAVE_UP = "Could not find matching file for written delete file"
OTHER = str(Path(__file__).with_name("other_writer.py"))


class GaveUp(Exception):
    """DuckDB gave up: the world ends early, with what was checked until then."""


@dataclass
class World:
    """One lake, its writers, and what was done to it."""

    lake: LiveLake
    chance: random.Random
    folder: Path
    steps: int = 0
    checked: int = 0
    """How many of the steps were checked."""
    story: list[str] = field(default_factory=list)
    ledger: Ledger = field(init=False)
    counts: Counter[str] = field(default_factory=Counter)
    often: list[Question] = field(default_factory=list)
    other: asyncio.subprocess.Process | None = None
    alone: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.lake, self.story)

    # ---------------------------------------------------------------- steps

    def note(self, text: str) -> int:
        self.steps += 1
        self.story.append(f"{self.steps:6} {text}")
        del self.story[:-2_000]
        return self.steps

    async def ask(self, question: Question, *, after: Token | None = None) -> None:
        step = self.note(f"ask {question.sql} {question.parameters}{' after ' + repr(after) if after else ''}")
        begun = dict(self.lake.watcher.heads())
        if after is not None:
            begun = {name: max(version, after.versions.get(name, 0)) for name, version in begun.items()}
        try:
            result: Result | None = await self.lake.query(question.sql, question.parameters, not_before=after)
        except QueryError as error:
            result = None
            self.story.append(f"       {step} refused: {error}")
        if result is None:
            ended = await asyncio.to_thread(self._heads)  # it may have met a commit that nobody has been told of
            self.counts["refused"] += 1
            self.ledger.claims.append(Claim(step, question, begun, ended, {}, None, "error"))
            return
        self.counts[result.status] += 1
        if result.status != "stale":
            claim = Claim(step, question, begun, begun, dict(result.as_of), result.rows(), result.status)
            self.ledger.claims.append(claim)
            self.story.append(f"       {step} {result.status} as of {claim.as_of}, begun at {begun}: {claim.rows}")

    def _heads(self) -> dict[str, int]:
        with self.lake.engine.cursor() as session:
            return {name: session.fetchall(f"FROM {name}.current_snapshot()")[0][0] for name in "ab"}

    async def cancel(self, question: Question) -> None:
        self.note(f"cancel {question.sql}")
        task = asyncio.create_task(self.lake.query(question.sql, question.parameters))
        for _ in range(self.chance.randrange(6)):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, QueryError):
            await task
        self.counts["cancelled"] += 1

    async def write(self, catalog: str) -> None:
        table, chance = f"{catalog}.main.{self.chance.choice('tu')}", self.chance
        kind = chance.choices(["insert", "bulk", "rows", "update", "delete", "several"], [5, 1, 2, 4, 2, 1])[0]
        key, value = chance.randrange(4), chance.randrange(10)
        texts = {
            "insert": [f"INSERT INTO {table} (k, v) VALUES ({key}, {value})"],
            "bulk": [f"INSERT INTO {table} (k, v) SELECT i % 4, {value} FROM range(14) r(i)"],
            "update": [f"UPDATE {table} SET v = {value} WHERE k = {key}"],
            "delete": [f"DELETE FROM {table} WHERE k = {key} AND v >= {value}"],
            "several": [
                f"INSERT INTO {catalog}.main.t (k, v) VALUES ({key}, {value})",
                f"DELETE FROM {catalog}.main.u WHERE k = {key}",
            ],
        }
        step = self.note(f"write {texts.get(kind, [f'{table}: rows'])}")
        try:
            if kind == "rows":
                token = await self.lake.insert(table, [{"k": key, "v": value}, {"k": key + 1, "v": value}])
            elif kind == "several":
                async with self.lake.transaction() as transaction:
                    for sql in texts[kind]:
                        await transaction.execute(sql)
                assert transaction.token is not None
                token = transaction.token
            else:
                token = await self.lake.execute(texts[kind][0])
        except (QueryError, ConflictError) as error:
            self.story.append(f"       {step} refused: {error}")
            self.counts["writes refused"] += 1
        else:
            self.story.append(f"       {step} committed {token!r}")
            self.counts["writes"] += 1

    async def define(self, catalog: str, what: str, table: str, least: int) -> Token:
        """The view ``w`` or the macro ``m``. Only we do that, so that we know since which commit."""
        source = f"{catalog}.main.{table}"
        select = f"SELECT k, v FROM {source} WHERE"
        token = await self.lake.execute(
            f"CREATE OR REPLACE VIEW {catalog}.main.w AS {select} v >= {least}"
            if what == "w"
            else f"CREATE OR REPLACE MACRO {catalog}.main.m(x) AS TABLE {select} k < x + {least}"
        )
        self.ledger.defined.setdefault(f"{catalog}.{what}", []).append((token.versions[catalog], (table, least)))
        return token

    async def redefine(self, catalog: str) -> None:
        """A view, a macro or a table."""
        table, least = self.chance.choice("tu"), self.chance.randrange(4)
        source = f"{catalog}.main.{table}"
        changes = {
            "w": f"view on {table} from {least}",
            "m": f"macro on {table} from {least}",
            "column": f"ALTER TABLE {source} ADD COLUMN c INTEGER DEFAULT {least}",
            "no column": f"ALTER TABLE {source} DROP COLUMN c",
            "replace": f"CREATE OR REPLACE TABLE {source} AS SELECT i::INTEGER AS k, {least} AS v FROM range(3) r(i)",
            "rename": f"ALTER TABLE {source} RENAME TO gone",
        }
        what = self.chance.choices(list(changes), [4, 4, 3, 1, 1, 1])[0]
        step = self.note(f"redefine {changes[what]}")
        try:
            if what in ("w", "m"):
                token = await self.define(catalog, what, table, least)
            else:
                token = await self.lake.execute(changes[what])
        except (QueryError, ConflictError, SourceError) as error:
            self.story.append(f"       {step} refused: {error}")
            self.counts["redefinitions refused"] += 1
            return
        self.story.append(f"       {step} committed {token!r}")
        self.counts["redefinitions"] += 1
        if what == "rename":  # and back, or from here on most questions would be refused
            await self.ask(self.question())
            self.note(f"redefine gone to {source}")
            await again(lambda: self.lake.execute(f"ALTER TABLE {catalog}.main.gone RENAME TO {table}"))

    async def tidy(self, catalog: str) -> None:
        """As `livelake.lake.upkeep` does: what merges and rewrites begins with a flush, and where nobody else writes.

        DuckLake loses deletes otherwise, in the present (merge) or in the past (rewrite).
        """
        what = self.chance.choice(["flush_inlined_data", "merge_adjacent_files", "rewrite_data_files"])
        calls = ["flush_inlined_data"] if what == "flush_inlined_data" else ["flush_inlined_data", what]
        async with self.alone if catalog == "a" and len(calls) > 1 else contextlib.nullcontext():
            step = self.note(f"tidy {what} {catalog}")
            await self._maintain(step, *(f"SELECT count(*) FROM ducklake_{each}('{catalog}')" for each in calls))

    async def expire(self, catalog: str) -> None:
        """Nothing runs beside it, and all that was claimed has been checked."""
        floor = max(0, self.lake.watcher.heads()[catalog] - KEPT_SNAPSHOTS)
        self.ledger.floors[catalog] = max(floor, self.ledger.floors[catalog])
        step = self.note(f"expire {catalog} below {floor}")
        await self._maintain(
            step,
            f"SELECT count(*) FROM ducklake_expire_snapshots('{catalog}', versions => range(0, {floor}))",
            f"SELECT count(*) FROM ducklake_cleanup_old_files('{catalog}', cleanup_all => true)",
        )

    async def _maintain(self, step: int, *statements: str) -> None:
        try:
            await self.lake.administer(statements)
        except LivelakeError as error:
            self.story.append(f"       {step} refused: {error}")
            self.counts["maintenance refused"] += 1
        else:
            self.counts["maintenance"] += 1

    async def elsewhere(self) -> None:
        """A write by the other process; sometimes with a read that must not be older."""
        table, key, value = self.chance.choice("tu"), self.chance.randrange(4), self.chance.randrange(10)
        sql = self.chance.choices(
            [
                f"INSERT INTO a.main.{table} (k, v) VALUES ({key}, {value})",
                f"INSERT INTO a.main.{table} (k, v) SELECT i % 4, {value} FROM range(13) r(i)",
                f"UPDATE a.main.{table} SET v = {value} WHERE k = {key}",
                f"DELETE FROM a.main.{table} WHERE k = {key}",
                "CALL ducklake_flush_inlined_data('a')",
            ],
            [5, 1, 3, 2, 1],
        )[0]
        async with self.alone:
            step = self.note(f"elsewhere {sql}")
            answer = await self._tell(sql)
        self.story.append(f"       {step} {answer}")
        if answer.get("snapshot") is None:
            self.counts["elsewhere refused"] += 1
            return
        self.counts["elsewhere"] += 1
        if self.chance.random() < 0.4:
            await self.ask(any_question(self.chance), after=Token({"a": int(answer["snapshot"])}))

    async def _tell(self, sql: str) -> dict[str, Any]:
        assert self.other is not None
        assert self.other.stdin is not None
        assert self.other.stdout is not None
        self.other.stdin.write(json.dumps(sql).encode() + b"\n")
        await self.other.stdin.drain()
        return json.loads(await self.other.stdout.readline())  # type: ignore[no-any-return]

    # ---------------------------------------------------------------- bursts

    async def burst(self) -> None:
        """Some steps at the same time."""
        chance = self.chance
        steps: list[Any] = []
        roll = chance.random()
        catalog = chance.choice("ab")
        if roll < 0.60:
            steps += [self.write(catalog) for _ in range(chance.choice([1, 1, 2]))]
        elif roll < 0.70:
            steps.append(self.redefine(catalog))
        elif roll < 0.78:
            steps.append(self.tidy(catalog))
        if chance.random() < 0.18:
            steps.append(self.elsewhere())
        if chance.random() < 0.08:
            steps.append(self.cancel(any_question(chance)))
        steps += [self.ask(self.question()) for _ in range(chance.randrange(24))]
        chance.shuffle(steps)
        ended = await asyncio.gather(*steps, return_exceptions=True)
        errors = [each for each in ended if isinstance(each, BaseException)]
        if any(DUCKLAKE_GAVE_UP in f"{each} {each.__cause__}" for each in errors):
            raise GaveUp
        if errors:
            raise errors[0]

    def question(self) -> Question:
        """Often one that was asked before: what is kept is what may be wrong."""
        if not self.often or self.chance.random() < 0.02:
            self.often = [any_question(self.chance) for _ in range(6)]
        return self.chance.choice(self.often) if self.chance.random() < 0.92 else any_question(self.chance)

    async def run(self, steps: int) -> None:
        await self.prepare()
        bursts = 0
        while self.steps < steps:
            await self.burst()
            bursts += 1
            if bursts % 12 == 0:
                await self.check()
                if bursts % 120 == 0:
                    await self.expire(self.chance.choice("ab"))
        await self.check()

    async def check(self) -> None:
        await asyncio.to_thread(self.ledger.check)
        self.checked = self.steps

    async def prepare(self) -> None:
        for catalog in "ab":
            for table in "tu":
                columns = "i::INTEGER AS k, i::INTEGER AS v"
                await self.lake.execute(f"CREATE TABLE {catalog}.main.{table} AS SELECT {columns} FROM range(4) r(i)")
            for what in "wm":
                await self.define(catalog, what, "t", 1)
        path = str(self.folder / "a.sqlite")
        pipe = asyncio.subprocess.PIPE
        self.other = await asyncio.create_subprocess_exec(sys.executable, OTHER, path, stdin=pipe, stdout=pipe)
        assert self.other.stdout is not None
        await self.other.stdout.readline()


# -------------------------------------------------------------------- one world in a process of its own


def run(seed: int, steps: int, bug: str | None = None) -> tuple[int, Counter[str], str | None]:
    """(steps done, what happened, the first difference). Leaves nothing behind."""
    return asyncio.run(_run(seed, steps, bug))


async def _run(seed: int, steps: int, bug: str | None) -> tuple[int, Counter[str], str | None]:
    shm = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="livelake-oracle-", dir=shm if shm.is_dir() else None))
    uri, others = f"ducklake:sqlite:{folder}/a.sqlite", {"b": f"ducklake:{folder}/b.ducklake"}
    try:
        with planted(bug):
            async with livelake.open(uri, attach=others, poll_interval=1.0, workers=2) as lake:
                world = World(lake, random.Random(seed), folder)
                try:
                    await world.run(steps)
                except GaveUp:
                    world.counts["gave up"] += 1
                    return world.checked, world.counts, None
                except Differs as difference:
                    return world.steps, world.counts, f"seed {seed}: {difference}"
                except (LivelakeError, BusyError) as error:
                    story = "\n".join(world.story[-40:])
                    return world.steps, world.counts, f"seed {seed}: {type(error).__name__}: {error}\n{story}"
                finally:
                    world.counts["checked"] = world.ledger.checked
                    await _end(world)
                return world.steps, world.counts, None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def again(attempt: Callable[[], Awaitable[Any]]) -> None:
    """As long as another process is in the way."""
    for _ in range(20):
        with contextlib.suppress(QueryError, ConflictError, SourceError):
            await attempt()
            return


async def _end(world: World) -> None:
    if world.other is not None and world.other.stdin is not None:
        world.other.stdin.close()
        await world.other.wait()
