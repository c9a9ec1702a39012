"""Upkeep: tidies every kind of lake that is written here, and changes no answer."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from datetime import timedelta

import pytest

import livelake
from lake.catalogs.conftest import Bench
from livelake.errors import SnapshotGoneError, UsageError
from livelake.lake import Upkeep
from livelake.lake.upkeep import GRACE, Step
from livelake.live import LiveLake

WRITTEN = ("ducklake", "sqlite", "postgres")
COUNT = "SELECT count(*) AS n, sum(amount)::INTEGER AS total FROM orders"
NOW = Upkeep(expire_after=timedelta(0), grace=timedelta(0), alone=True)

pytestmark = pytest.mark.parametrize("bench", WRITTEN, indirect=True)


async def fill(lake: LiveLake) -> None:
    """Small files, inlined rows, and a file that is mostly deleted."""
    for start in range(20, 80, 20):
        await lake.execute(f"INSERT INTO orders SELECT range FROM range({start}, {start + 20})")
    await lake.execute("CREATE TABLE gone AS SELECT range AS a FROM range(1000)")
    await lake.execute("DELETE FROM gone WHERE a > 5")
    await lake.execute("INSERT INTO orders VALUES (7), (8)")


async def count(lake: LiveLake, table: str) -> int:
    with lake.engine.cursor() as session:
        metadata = lake.attached.by_name["space"].metadata
        return int(session.fetchall(f"SELECT count(*) FROM {metadata}.{table}")[0][0])


async def test_a_round_tidies_and_no_answer_changes(bench: Bench) -> None:
    async with bench.open() as lake:
        await fill(lake)
        before = await lake.query(COUNT)
        told: list[str] = []
        first = await lake.maintain(NOW, told=lambda done: told.append(done.step))
        assert told == [done.step for done in first] == ["flush", "rewrite", "merge", "expire"]
        assert await count(lake, "ducklake_snapshot") == 1
        second = await lake.maintain(NOW)
        assert [done.step for done in second] == ["clean"]
        assert second[0].count >= 5
        assert await count(lake, "ducklake_files_scheduled_for_deletion") == 0
        assert await lake.maintain(NOW) == ()
        kept = await lake.query(COUNT)
        assert (kept.status, kept.rows()) == ("hit", before.rows())
        assert (await lake.query(COUNT, fresh=True)).rows() == before.rows() == [{"n": 82, "total": 3175}]
        assert (await lake.query("SELECT count(a) AS n FROM gone")).rows() == [{"n": 6}]


async def test_what_is_kept_outlives_the_snapshots_that_nobody_has_looked_at(bench: Bench) -> None:
    async with livelake.open(bench.uri, as_name="space", poll_interval=600.0) as lake:
        await fill(lake)
        await lake.query(COUNT)
        await lake.maintain(NOW)
        assert await count(lake, "ducklake_snapshot") == 1
        await asyncio.to_thread(lake.watcher.look)
        assert (await lake.query(COUNT)).status == "hit"


async def test_files_are_merged_only_where_nobody_else_writes(bench: Bench) -> None:
    """DuckLake overlooks an inlined delete of another process in a file that is being merged: rows come back."""
    async with bench.open() as lake:
        await fill(lake)
        steps = {done.step for done in await lake.maintain(Upkeep())}
        owns = bench.uri.startswith("ducklake:/")
        assert steps >= ({"flush", "rewrite", "merge"} if owns else {"flush"})
        assert owns or not steps & {"rewrite", "merge"}
        alone = {done.step for done in await lake.maintain(Upkeep(alone=True))}
        assert owns or alone >= {"rewrite", "merge"}


@pytest.mark.parametrize("step", ["rewrite", "merge"])
async def test_the_past_of_a_file_with_a_young_delete_is_what_it_was(bench: Bench, step: Step) -> None:
    """A flush after a rewrite would bring back, in the past, what the rewritten file had lost before."""
    async with bench.open() as lake:
        await lake.execute("CREATE TABLE gone AS SELECT range AS a FROM range(100)")
        await lake.execute("DELETE FROM gone WHERE a < 96")
        await lake.execute("INSERT INTO gone SELECT range FROM range(1000, 1100)")
        token = await lake.execute("DELETE FROM gone WHERE a = 97")
        then = {"space": token.versions["space"]}
        for each in (step, "flush"):
            await lake.maintain(Upkeep(steps=frozenset({each}), alone=True))
            rows = (await lake.query("SELECT count(*) AS n FROM gone", as_of=then, fresh=True)).rows()
            assert rows == [{"n": 103}], f"after {each}"


async def test_nothing_that_is_within_its_grace_is_expired_or_removed(bench: Bench) -> None:
    async with bench.open() as lake:
        await fill(lake)
        then = {"space": lake.watcher.heads()["space"] - 3}
        before = await lake.query(COUNT, as_of=then)
        eager = Upkeep(expire_after=timedelta(0))  # the grace stands over what was asked for
        assert eager.oldest == GRACE
        done = await lake.maintain(eager)
        assert "expire" not in {each.step for each in done}
        waiting = await count(lake, "ducklake_files_scheduled_for_deletion")
        again = await lake.maintain(eager)
        if waiting:
            assert [(each.step, each.count) for each in again] == [("clean", 0)]
            assert "a read may still need" in str(again[0])
        assert (await lake.query(COUNT, as_of=then, fresh=True)).rows() == before.rows()


async def test_the_newest_are_kept_and_the_log_has_no_holes(bench: Bench) -> None:
    async with bench.open() as lake:
        await fill(lake)
        head = lake.watcher.heads()["space"]
        only = Upkeep(steps=frozenset({"expire"}), expire_after=timedelta(0), grace=timedelta(0), keep=3)
        (done,) = await lake.maintain(only)
        assert (done.step, str(done)) == ("expire", f"space: {done.count} snapshots expired, up to {head - 3}")
        assert (await lake.query(COUNT, as_of={"space": head - 2})).rows()[0]["n"] == 80
        with pytest.raises(SnapshotGoneError):
            await lake.query(COUNT, as_of={"space": head - 3})
        assert await lake.maintain(only) == ()


async def test_a_dry_run_tells_and_does_nothing(bench: Bench) -> None:
    async with bench.open() as lake:
        await fill(lake)
        head, snapshots = lake.watcher.heads()["space"], await count(lake, "ducklake_snapshot")
        plan = Upkeep(expire_after=timedelta(0), grace=timedelta(0), dry_run=True)
        told = [str(done) for done in await lake.maintain(plan)]
        assert f"space: would expire {snapshots - 1} snapshots, up to {head - 1}" in told
        await asyncio.to_thread(lake.watcher.look)
        assert (lake.watcher.heads()["space"], await count(lake, "ducklake_snapshot")) == (head, snapshots)


async def test_it_may_be_cancelled_at_any_moment(bench: Bench) -> None:
    async with bench.open() as lake:
        await fill(lake)
        before = await lake.query(COUNT)
        for turns in range(0, 60, 6):
            round_ = asyncio.create_task(lake.maintain(NOW))
            for _ in range(turns):
                await asyncio.sleep(0.001)
            round_.cancel()
            await asyncio.wait((round_,))
            assert (await lake.query(COUNT, fresh=True)).rows() == before.rows()
            await lake.execute("INSERT INTO people VALUES ('Ada')")
        await lake.maintain(NOW)
        assert (await lake.query(COUNT, fresh=True)).rows() == before.rows()
        assert (await lake.query("SELECT count(*) AS n FROM people")).rows() == [{"n": 10}]


async def test_what_cannot_be_maintained_says_why(bench: Bench) -> None:
    async with bench.open(attach={"plain": ":memory:"}) as lake:
        with pytest.raises(UsageError, match="tidies itself"):
            await lake.maintain(catalogs=["plain"])
        with pytest.raises(UsageError, match="'other' is not attached here; attached: plain, space"):
            await lake.maintain(catalogs=["other"])
        with pytest.raises(UsageError, match="keep at least 1"):
            Upkeep(keep=0)
    async with bench.open(read_only=True) as lake:
        with pytest.raises(UsageError, match="read-only"):
            await lake.maintain(catalogs=["space"])
        assert await lake.maintain() == ()


WRITER = """
import asyncio, sys, livelake
async def main():
    async with livelake.open(sys.argv[1], as_name="space") as lake:
        for n in range(int(sys.argv[2])):  # the sum stays what it is
            await lake.execute("INSERT INTO ledger VALUES ($a), ($b)", {"a": n + 1, "b": -n - 1})
            if n % 5 == 4:
                await lake.execute("DELETE FROM ledger WHERE amount IN ($a, $b)", {"a": n, "b": -n})
asyncio.run(main())
"""


async def write_here(lake: LiveLake, commits: int) -> None:
    for n in range(commits):
        await lake.execute("INSERT INTO ledger VALUES ($a), ($b)", {"a": n + 1, "b": -n - 1})
        if n % 5 == 4:
            await lake.execute("DELETE FROM ledger WHERE amount IN ($a, $b)", {"a": n, "b": -n})


async def test_readers_and_a_writer_in_another_process_see_nothing_of_it(bench: Bench) -> None:
    """Every answer is one that the writer's commits allow, no read and no write fails, and none is lost."""
    commits = 40
    async with bench.open() as lake:
        await lake.execute("CREATE TABLE ledger AS SELECT range AS amount FROM range(0)")
        if bench.uri.startswith("ducklake:/"):
            writing = asyncio.create_task(write_here(lake, commits))
        else:
            command = [sys.executable, "-c", WRITER, bench.uri, str(commits)]
            writing = asyncio.create_task(asyncio.to_thread(subprocess.run, command, check=True, timeout=240))
        rounds = reads = 0
        ledger = "SELECT coalesce(sum(amount), 0)::INTEGER AS total, count(*)::INTEGER % 2 AS odd FROM ledger"
        some = Upkeep(expire_after=timedelta(0), grace=timedelta(seconds=20))

        async def read() -> None:
            nonlocal reads
            while not writing.done():
                result = await lake.query(ledger, fresh=True)
                assert result.rows() == [{"total": 0, "odd": 0}]
                with contextlib.suppress(SnapshotGoneError):  # on a machine so busy that the grace is over
                    past = await lake.query(ledger, as_of=result.as_of, fresh=True)
                    assert past.rows() == result.rows()
                reads += 1

        async def tidy() -> None:
            nonlocal rounds
            while not writing.done():
                await lake.maintain(some)
                rounds += 1

        async with asyncio.TaskGroup() as tasks:
            for work in (read(), read(), tidy()):
                tasks.create_task(work)
        await writing
        assert rounds >= 2
        assert reads >= 2
        await asyncio.to_thread(lake.watcher.look)
        assert (await lake.query("SELECT count(*) AS n FROM ledger")).rows() == [
            {"n": 2 * commits - 2 * (commits // 5)}
        ]


async def test_another_process_can_maintain_what_it_can_open(bench: Bench) -> None:
    command = [sys.executable, "-m", "livelake", "maintain", bench.uri, "--expire-after", "1h"]
    async with bench.open() as lake:
        await fill(lake)
        before = await lake.query(COUNT)
        ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120)
        if bench.uri.startswith("ducklake:/"):
            assert ran.returncode == 1
            assert "Only its owner can tidy it: [maintain] in the livelake.toml" in ran.stderr
        else:
            assert ran.returncode == 0, ran.stderr
            assert "rows flushed into files" in ran.stdout
            assert "merged" not in ran.stdout  # another process writes, as far as it knows
        await asyncio.to_thread(lake.watcher.look)
        kept = await lake.query(COUNT)
        assert (kept.status, kept.rows()) == ("hit", before.rows())
        assert (await lake.query(COUNT, fresh=True)).rows() == before.rows()
