"""Files that go away: catalogs, data, and a PostgreSQL server. What was there before may be asked for, marked so."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import livelake
from lake.faults.rig import FILES, ROWS, TOTAL, fill, opened, recovered, total, until
from livelake.errors import LivelakeError, LostError, SourceError
from servers import Postgres


@pytest.mark.parametrize("kind", ["ducklake", "sqlite"])
async def test_a_catalog_that_is_gone_is_an_error_until_it_is_back(kind: str, tmp_path: Path) -> None:
    file = tmp_path / FILES[kind]
    async with opened(kind, tmp_path) as lake:
        await fill(lake)
        await lake.query(TOTAL)
        away = tmp_path / "away"
        away.mkdir()
        with lake.watcher._lock:  # between a look at the file and its opening SQLite would make an empty one
            for part in list(tmp_path.glob(f"{FILES[kind]}*")):
                if part.is_file():
                    part.rename(away / part.name)
        with pytest.raises(LostError, match="is gone; put it back"):
            await lake.query(TOTAL, fresh=True)
        with pytest.raises(LostError, match="is gone"):
            await lake.execute("INSERT INTO orders VALUES (1)")
        await until(lambda: lake.watcher.failure)
        assert "is gone" in str(lake.watcher.failure)
        assert not file.exists()  # nobody made an empty one in its place
        assert lake.watcher.is_blind  # at once: nobody waits for news of a file that is not there
        with pytest.raises(LostError):
            await lake.query(TOTAL)  # what is kept is vouched for by nobody
        kept = await lake.query(TOTAL, stale_if_error=3600)
        assert (kept.status, total(kept)) == ("stale", (499_500, ROWS))
        assert kept.error is not None
        assert "is gone" in kept.error
        for part in away.iterdir():
            part.rename(tmp_path / part.name)
        assert total(await recovered(lake)) == (499_500, ROWS)
        await until(lambda: lake.watcher.failure is None)
        token = await lake.execute("INSERT INTO orders VALUES (1)")
        assert total(await lake.query(TOTAL, not_before=token)) == (499_501, ROWS + 1)
        assert lake.engine.stats().reopened == 0  # it was the same file: nothing had to be opened anew


@pytest.mark.parametrize("kind", ["ducklake", "sqlite", "duckdb"])
async def test_a_catalog_that_is_replaced_by_another_is_opened_anew(kind: str, tmp_path: Path) -> None:
    """A backup is put back while the lake is open: the answers are the backup's, and none of before."""
    backup = tmp_path / "backup"
    backup.mkdir()
    async with opened(kind, tmp_path) as lake:
        await fill(lake)
    for part in tmp_path.glob(f"{FILES[kind]}*"):
        if part.is_file():
            shutil.copy(part, backup / part.name)
    async with opened(kind, tmp_path) as lake:
        await lake.execute("DELETE FROM orders WHERE amount >= 10")
        assert total(await lake.query(TOTAL)) == (45, 10)
        for part in list(tmp_path.glob(f"{FILES[kind]}*")):
            if part.is_file():
                part.unlink()
        for part in backup.iterdir():
            shutil.copy(part, tmp_path / part.name)
        assert total(await recovered(lake)) == (499_500, ROWS)
        assert total(await lake.query(TOTAL)) == (499_500, ROWS)
        assert lake.engine.stats().reopened == 1
        token = await lake.execute("INSERT INTO orders VALUES (1)")
        assert total(await lake.query(TOTAL, not_before=token)) == (499_501, ROWS + 1)
    async with opened(kind, tmp_path) as lake:  # it was written to the file that is there
        assert total(await lake.query(TOTAL)) == (499_501, ROWS + 1)


async def test_watchers_see_the_lake_that_took_the_place_of_theirs(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with livelake.open(f"ducklake:sqlite:{other}/sales.sqlite") as lake:
        await lake.execute("CREATE TABLE orders AS SELECT 42 AS amount FROM range(3)")
    async with opened("sqlite", tmp_path) as lake:
        await fill(lake)
        feed = lake.live(TOTAL)
        assert total(await anext(feed)) == (499_500, ROWS)
        for part in list(tmp_path.glob("sales.sqlite*")):
            if part.is_file():
                part.unlink()
        for part in other.glob("sales.sqlite*"):
            if part.is_file():
                shutil.copy(part, tmp_path / part.name)
        async with asyncio.timeout(60):
            while True:
                try:
                    if total(await anext(feed)) == (126, 3):
                        break
                except LivelakeError:  # the call that met it; the feed goes on
                    continue


@pytest.mark.parametrize("kind", ["ducklake", "sqlite"])
async def test_a_data_file_that_is_gone_is_an_error_and_what_does_not_need_it_is_answered(
    kind: str, tmp_path: Path
) -> None:
    async with opened(kind, tmp_path) as lake:
        await fill(lake)
        await lake.execute("CREATE TABLE people AS SELECT 'Ada' AS name FROM range(50)")
        first = await lake.query(TOTAL)
        (data,) = tmp_path.rglob("orders/*.parquet")
        data.rename(tmp_path / "away.parquet")
        sql = "SELECT sum(amount)::BIGINT AS total, count(*) AS n FROM orders WHERE amount >= 0"
        with pytest.raises(SourceError, match=data.name):
            await lake.query(sql)
        with pytest.raises(SourceError):
            await lake.query(TOTAL, fresh=True)
        kept = await lake.query(TOTAL, fresh=True, stale_if_error=3600)
        assert (kept.status, total(kept)) == ("stale", total(first))
        assert (await lake.query("SELECT count(name) AS n FROM people")).rows() == [{"n": 50}]
        assert total(await lake.query(TOTAL)) == (499_500, ROWS)  # at its snapshot it is still so: the log vouches
        (tmp_path / "away.parquet").rename(data)
        assert total(await lake.query(sql)) == (499_500, ROWS)
        assert lake.engine.stats().reopened == 0


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


async def test_a_postgresql_server_that_is_restarted(postgres: Postgres, tmp_path: Path) -> None:
    uri = postgres.uri(postgres.database(), tmp_path / "data")
    async with livelake.open(uri, as_name="sales", poll_interval=0.02) as lake:
        await fill(lake)
        assert total(await lake.query(TOTAL)) == (499_500, ROWS)
        await asyncio.to_thread(postgres.stop)
        with pytest.raises(LivelakeError):
            await lake.query(TOTAL, fresh=True)
        with pytest.raises(LivelakeError):
            await lake.execute("INSERT INTO orders VALUES (1)")
        await until(lambda: lake.watcher.failure)
        await until(lambda: lake.watcher.is_blind)
        with pytest.raises(LivelakeError):
            await lake.query(TOTAL)
        kept = await lake.query(TOTAL, stale_if_error=3600)
        assert (kept.status, total(kept)) == ("stale", (499_500, ROWS))
        await asyncio.to_thread(postgres.start)
        assert total(await recovered(lake)) == (499_500, ROWS)
        await until(lambda: lake.watcher.failure is None)
        token = await lake.execute("INSERT INTO orders VALUES (1)")
        assert total(await lake.query(TOTAL, not_before=token)) == (499_501, ROWS + 1)
