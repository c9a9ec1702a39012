"""PostgreSQL catalogs: passwords stay where they are, and a server may go and come back."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

import livelake
from livelake import catalogs
from livelake.errors import SourceError, UsageError
from livelake.lake.credentials import PasswordFile, printable, without_password
from servers import Postgres

COUNT = "SELECT count(*) AS n FROM t"


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


def spellings(postgres: Postgres, database: str) -> list[str]:
    pairs = postgres.password.replace("\\", "\\\\")
    return [
        f"dbname={database} host={postgres.host} user=keeper password='{pairs}'",
        f"postgresql://keeper:{quote(postgres.password, safe='')}@/{database}?host={postgres.host}",
    ]


async def test_a_password_opens_the_lake_and_is_shown_nowhere(
    postgres: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    database = postgres.database()
    for dsn in spellings(postgres, database):
        uri = catalogs.ducklake(f"postgres:{dsn}", data_path=str(tmp_path / "data"))
        async with livelake.open(uri, poll_interval=0.05) as lake:
            assert lake.default == database
            await lake.execute("CREATE TABLE IF NOT EXISTS t AS SELECT 1 AS i")
            seen = [repr(lake), repr(lake.catalogs), repr(lake.ask(COUNT)), str(await lake.why(COUNT))]
            seen.append(str((await lake.query("FROM duckdb_databases()")).rows()))
            seen.append(str(catalogs.keys(lake, await lake.query(COUNT), COUNT)))
            assert (await lake.query(COUNT)).rows() == [{"n": 1}]
    for wrong in (
        f"dbname=none host={postgres.host} user=keeper password=hunter2",
        "postgres://u:hunter2@127.0.0.1:1/x",
    ):
        with pytest.raises(SourceError) as caught:
            async with livelake.open(f"ducklake:postgres:{wrong}"):
                pass
        seen.append("".join(traceback.format_exception(caught.value)))
    for wrong in (
        "postgres://u:hunter2@h/db",
        "https://u:hunter2@h/space.db",
        "ducklake:https://u:hunter2@h/space.db",
    ):
        with pytest.raises(UsageError) as refused:
            livelake.lake.catalog.parse(wrong)
        seen.append(str(refused.value))
    seen += [caplog.text, *capfd.readouterr()]
    assert not [text for text in seen if "hunter2" in text]


@pytest.mark.parametrize(
    ("dsn", "rest", "password"),
    [
        ("dbname=a password=b user=c", "dbname=a user=c", "b"),
        ("password = 'it\\'s \\\\ me' dbname=a", "dbname=a", "it's \\ me"),
        ("dbname=a sslpassword=x", "dbname=a sslpassword=x", None),
        ("postgresql://u:p%40ss@h:1/d?x=1", "postgresql://u@h:1/d?x=1", "p@ss"),
        ("postgresql://u@h/d?x=1&password=p", "postgresql://u@h/d?x=1", "p"),
        ("dbname=a", "dbname=a", None),
    ],
)
def test_a_password_is_taken_out_of_a_connection_string(dsn: str, rest: str, password: str | None) -> None:
    assert without_password(dsn) == (rest, password)
    assert password is None or len(password) < 2 or password not in printable(dsn)


def test_a_presigned_address_is_shown_without_its_signature() -> None:
    assert printable("see https://h/a.db?X-Amz-Signature=abc now") == "see https://h/a.db?… now"


def test_two_passwords_are_refused() -> None:
    with pytest.raises(UsageError, match="PGPASSWORD"):
        PasswordFile("a", {"PGPASSWORD": "b"})
    PasswordFile("a", {"PGPASSWORD": "a"}).close()


async def test_a_server_that_restarts_is_an_error_and_then_none(own_server: Postgres, tmp_path: Path) -> None:
    """Blind while it is away: nothing is served as fresh. No reopening."""
    uri = own_server.uri(own_server.database(), tmp_path / "data")
    async with livelake.open(uri, poll_interval=0.05) as lake:
        await lake.execute("CREATE TABLE t AS SELECT 1 AS i")
        await lake.query(COUNT)
        await asyncio.to_thread(own_server.server.stop)
        with pytest.raises(SourceError, match="Unable to connect"):
            await lake.query(COUNT, fresh=True)
        with pytest.raises(SourceError):
            await lake.execute("INSERT INTO t VALUES (2)")
        async with asyncio.timeout(30):
            while not (lake.watcher.failure and lake.watcher.is_blind):
                await asyncio.sleep(0.02)
        with pytest.raises(SourceError):
            await lake.query(COUNT)
        stale = await lake.query(COUNT, stale_if_error=60.0)
        assert (stale.status, stale.rows()) == ("stale", [{"n": 1}])
        await asyncio.to_thread(own_server.server.start)
        async with asyncio.timeout(30):
            while lake.watcher.failure is not None:
                await asyncio.sleep(0.02)
        await lake.execute("INSERT INTO t VALUES (3)")
        assert (await lake.query(COUNT)).rows() == [{"n": 2}]
        assert (await lake.query(COUNT)).status == "hit"


async def test_a_new_lake_without_a_place_for_data_says_what_to_write(postgres: Postgres, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="data_path"):
        async with livelake.open(
            f"ducklake:postgres:dbname={postgres.database()} host={postgres.host} user=postgres"
        ):
            pass
