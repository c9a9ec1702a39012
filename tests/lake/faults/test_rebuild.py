"""DuckDB gives up: the instance, or one database of it. The lake lives on, and opens everything anew by itself.

Provoked for real: ``debug_checkpoint_abort`` makes DuckDB throw its own FatalException inside a checkpoint, and a
file that may not grow makes a checkpoint fail. Either invalidates the database. A FatalException that takes the whole
instance needs a fault in DuckDB itself, so that one is injected.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

import livelake
from lake.faults.rig import FILES, ROWS, TOTAL, fill, opened, process, recovered, total, until
from lake.faults.test_locks import HOLDS_DUCKDB
from livelake.engine.door import FatalError
from livelake.errors import BusyError, InternalError, LivelakeError, LockedError, LostError, RefusedError, SourceError
from livelake.live import LiveLake

KINDS = ("ducklake", "sqlite", "duckdb")
FATAL = {"debug_checkpoint_abort": "before_header"}
CHECKPOINTED = {"ducklake": "__ducklake_metadata_sales", "sqlite": "side", "duckdb": "sales"}


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    """As on a full disk: what would make a file larger fails. For all of this process, and for a moment."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def side(kind: str, folder: Path) -> dict[str, str]:
    """A plain file beside a SQLite catalog, whose checkpoint takes the instance down."""
    return {"side": f"{folder}/side.duckdb"} if kind == "sqlite" else {}


async def die(lake: LiveLake, kind: str) -> None:
    """The instance is of no use after this."""
    if kind == "sqlite":
        await lake.execute("CREATE OR REPLACE TABLE side.main.t AS SELECT 1 AS a")
    with pytest.raises(LostError, match="DuckDB gave up a database"):
        await lake.administer([f"CHECKPOINT {CHECKPOINTED[kind]}"])


@pytest.mark.parametrize("kind", KINDS)
async def test_an_instance_that_died_is_replaced_and_nothing_acknowledged_is_lost(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path, settings=FATAL, attach=side(kind, tmp_path)) as lake:
        await fill(lake)
        token = await lake.execute("INSERT INTO orders VALUES (1)")
        assert total(await lake.query(TOTAL)) == (499_501, ROWS + 1)
        await die(lake, kind)
        answer = await recovered(lake)
        assert total(answer) == (499_501, ROWS + 1)
        assert lake.engine.stats().reopened == 1
        assert total(await lake.query(TOTAL, not_before=token)) == (499_501, ROWS + 1)
        token = await lake.execute("INSERT INTO orders VALUES (1)")
        assert total(await lake.query(TOTAL, not_before=token)) == (499_502, ROWS + 2)
        async with lake.transaction() as transaction:
            await transaction.insert("orders", [{"amount": 1}])
        assert total(await lake.query(TOTAL)) == (499_503, ROWS + 3)
        assert "open" in repr(lake.engine)


@pytest.mark.parametrize(("kind", "status"), [("ducklake", "hit"), ("duckdb", "miss")])
async def test_answers_of_a_lake_are_vouched_for_and_those_of_a_plain_file_are_dropped(
    kind: str, status: str, tmp_path: Path
) -> None:
    """What a plain file's last statement did before DuckDB gave up is in no log."""
    async with opened(kind, tmp_path, settings=FATAL) as lake:
        await fill(lake)
        await lake.query(TOTAL)
        await die(lake, kind)
        await recovered(lake, "SELECT 1 AS one")
        await until(lambda: lake.watcher.failure is None)
        assert (await lake.query(TOTAL)).status == status


async def test_watchers_go_on_after_it(tmp_path: Path) -> None:
    async with opened("ducklake", tmp_path, settings=FATAL) as lake:
        await fill(lake)
        feed = lake.live(TOTAL)
        assert total(await anext(feed)) == (499_500, ROWS)
        await die(lake, "ducklake")
        await recovered(lake)
        await until(lambda: lake.watcher.failure is None)
        await lake.execute("INSERT INTO orders VALUES (1)")
        async with asyncio.timeout(60):
            assert total(await anext(feed)) == (499_501, ROWS + 1)


async def test_many_that_ask_at_once_open_it_anew_once(tmp_path: Path) -> None:
    async with opened("duckdb", tmp_path, settings=FATAL) as lake:
        await fill(lake)
        for turn in range(3):
            await lake.query(f"SELECT {turn} AS warm")
            await die(lake, "duckdb")
            asked = (lake.query(f"SELECT sum(amount)::BIGINT + {n} AS s FROM orders", fresh=True) for n in range(20))
            found = await asyncio.gather(*asked, return_exceptions=True)
            for n, answer in enumerate(found):
                if isinstance(answer, BaseException):
                    assert isinstance(answer, LostError | InternalError), answer
                else:
                    assert answer.rows() == [{"s": 499_500 + n}]
            assert total(await recovered(lake)) == (499_500, ROWS)
            assert lake.engine.stats().reopened == turn + 1


@pytest.mark.parametrize("kind", KINDS)
async def test_whoever_asks_all_the_time_is_answered_rightly_or_told_and_the_process_lives(
    kind: str, tmp_path: Path
) -> None:
    """Queries are in all stages of their transactions when everything is opened anew: closing a cursor on a
    transaction of a database that was given up ends the process, so none may be closed that way."""
    async with opened(kind, tmp_path, settings=FATAL, attach=side(kind, tmp_path)) as lake:
        await fill(lake)
        answers: list[tuple[int, int]] = []
        is_over = False

        async def ask(number: int) -> None:
            while not is_over:
                try:
                    answers.append(total(await lake.query(f"{TOTAL} WHERE {number} = {number}", fresh=True)))
                except (LostError, InternalError, BusyError):
                    await asyncio.sleep(0.001)

        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(ask(number))
            for _ in range(3):
                known = len(answers)
                await until(lambda known=known: len(answers) > known)  # type: ignore[misc]
                with contextlib.suppress(LivelakeError):
                    await die(lake, kind)
                await recovered(lake)
            is_over = True
        assert set(answers) == {(499_500, ROWS)}
        assert lake.engine.stats().reopened >= 1


async def test_a_query_under_way_is_told_and_none_answers_half(tmp_path: Path) -> None:
    async with opened("duckdb", tmp_path, settings=FATAL) as lake:
        await fill(lake)
        long = "SELECT count(*) AS n FROM orders, range(100000000) t(i) WHERE (amount + i) % 7 = 3"
        running = asyncio.create_task(lake.query(long))
        await until(lambda: lake.engine.pool.running)
        await die(lake, "duckdb")
        assert total(await recovered(lake)) == (499_500, ROWS)
        with pytest.raises(LivelakeError):
            await running


async def test_a_fatal_exception_of_the_whole_instance_is_one_error_and_then_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened("sqlite", tmp_path) as lake:
        await fill(lake)
        await lake.query(TOTAL)

        def dies(*_: Any, **__: Any) -> Any:
            monkeypatch.undo()
            raise duckdb.FatalException(
                "FATAL Error: database has been invalidated because of a previous fatal error"
            )

        monkeypatch.setattr("livelake.engine.session.answer", dies)
        with pytest.raises(FatalError, match="opens its databases anew by itself"):
            await lake.query(TOTAL, fresh=True)
        assert total(await lake.query(TOTAL, fresh=True)) == (499_500, ROWS)
        assert lake.engine.stats().reopened == 1


async def test_what_was_only_in_memory_cannot_be_brought_back_and_is_not_begun_anew(tmp_path: Path) -> None:
    async with livelake.open(":memory:", attach={"sales": f"{tmp_path}/sales.duckdb"}, settings=FATAL) as lake:
        await lake.execute("CREATE TABLE memory.main.t AS SELECT 1 AS a")
        await lake.execute("CREATE TABLE sales.main.t AS SELECT 1 AS a")
        await die(lake, "duckdb")
        for _ in range(3):
            with pytest.raises(LostError, match="DuckDB gave up"):
                await lake.query("SELECT a FROM memory.main.t", fresh=True)
        assert lake.engine.stats().reopened == 0


async def test_the_lock_is_on_again_after_it(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    lake_folder = tmp_path / "lake"
    lake_folder.mkdir()
    async with opened("ducklake", lake_folder, settings=FATAL, untrusted=True) as lake:
        await fill(lake)
        await die(lake, "ducklake")
        await recovered(lake)
        for sql in ("SET threads = 1", f"FROM read_csv('{tmp_path}/x.csv')"):
            with (
                pytest.raises(LivelakeError, match=r"locked|disabled by configuration"),
                lake.engine.cursor() as cursor,
            ):
                cursor.fetchall(sql)
        with pytest.raises(RefusedError):
            await lake.query(f"FROM '{tmp_path}/x.csv'")


async def test_a_file_that_somebody_else_took_meanwhile_is_said_and_recovery_waits_for_it(tmp_path: Path) -> None:
    """The file is let go to be opened anew; another process is faster."""
    async with opened("duckdb", tmp_path, settings=FATAL) as lake:
        await fill(lake)
        await die(lake, "duckdb")
        lake.engine._abandon()
        with process(HOLDS_DUCKDB, str(tmp_path / FILES["duckdb"])) as holder:
            with pytest.raises(LockedError, match=f"held by process {holder.pid}"):
                await lake.query(TOTAL, fresh=True)
            with pytest.raises(LivelakeError):
                await lake.query(TOTAL, fresh=True)
        assert total(await recovered(lake)) == (499_500, ROWS)


@pytest.mark.parametrize("kind", ["duckdb", "ducklake"])
async def test_a_checkpoint_that_finds_no_room_costs_that_database_for_a_moment(kind: str, tmp_path: Path) -> None:
    """No room in the middle of a checkpoint: DuckDB gives the database up. What was acknowledged is there."""
    async with opened(kind, tmp_path) as lake:
        await fill(lake)
        acknowledged = 0
        with no_file_grows_beyond(100_000):
            with pytest.raises(LivelakeError):
                await lake.execute("INSERT INTO orders SELECT range::INTEGER FROM range(1000000)")
            for _ in range(20):
                try:
                    await lake.execute("INSERT INTO orders VALUES (0)")
                except LivelakeError:
                    break
                acknowledged += 1
            with pytest.raises((LostError, InternalError, SourceError)):
                await lake.administer([f"CHECKPOINT {CHECKPOINTED[kind]}"])
        answer = await recovered(lake)
        assert total(answer) == (499_500, ROWS + acknowledged)
        await lake.execute("INSERT INTO orders SELECT 0 FROM range(100000)")
        assert total(await lake.query(TOTAL)) == (499_500, ROWS + acknowledged + 100_000)


async def test_opening_anew_leaves_no_thread_and_no_session_behind(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path, settings=FATAL, attach=side("sqlite", tmp_path)) as lake:
        await fill(lake)
        await lake.query(TOTAL)
        threads = threading.active_count()
        for turn in range(3):
            await die(lake, "sqlite")
            await recovered(lake)
            await until(lambda: lake.watcher.failure is None)
            assert lake.engine.stats().reopened == turn + 1
        assert threading.active_count() <= threads + 4  # the pool's, which start when they are needed
