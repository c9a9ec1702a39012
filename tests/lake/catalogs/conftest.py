"""One lake of each kind that there is: who writes it differs, what is promised of it does not."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import livelake
from livelake.live import LiveLake
from servers import FileServer, Postgres, s3

KINDS = ("ducklake", "sqlite", "postgres", "s3", "http", "s3-remote")
SHARED = ("sqlite", "postgres", "s3")  # what several processes write


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(scope="session")
def moto() -> Iterator[tuple[str, Any]]:
    with s3() as found:
        yield found


@pytest.fixture
def bucket(moto: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A boto3 client; livelake's keys are in the environment."""
    endpoint, client = moto
    given = {
        "ACCESS_KEY_ID": "key",
        "SECRET_ACCESS_KEY": "hush-hush",
        "REGION": "us-east-1",
        "ENDPOINT_URL": endpoint,
    }
    for name, value in given.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return client


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FileServer]:
    root = tmp_path / "served"
    root.mkdir()
    server = FileServer(root)
    yield server
    server.stop()


class Bench:
    """A lake under test, and a way to write it that is its kind's own."""

    lake: LiveLake

    def __init__(self, uri: str, publisher: Publisher | None = None) -> None:
        self.uri = uri
        self.publisher = publisher

    async def write(self, *statements: str) -> None:
        """On return the lake under test must know."""
        if self.publisher is None:
            for sql in statements:
                await self.lake.execute(sql)
            return
        await self.publisher.write(*statements)
        await asyncio.to_thread(self.lake.watcher.scouts["space"].look)

    async def maintain(self, *statements: str) -> None:
        if self.publisher is None:
            await self.lake.administer(list(statements))
        else:
            async with self.publisher.opened() as lake:
                await lake.administer(list(statements))
            scout = self.lake.watcher.scouts["space"]
            scout._confirm_at = 0.0  # equally long within a second: what tells them apart is the second look, now
            await asyncio.to_thread(scout.look)

    @asynccontextmanager
    async def open(self, **settings: Any) -> AsyncIterator[LiveLake]:
        async with livelake.open(self.uri, as_name="space", poll_interval=0.05, **settings) as self.lake:
            yield self.lake


class Publisher:
    """Writes a lake somewhere, and puts its catalog where it is served."""

    def __init__(self, folder: Path, data_path: str, publish: Callable[[Path], None]) -> None:
        folder.mkdir(exist_ok=True)
        self.catalog = folder / "space.ducklake"
        self.uri = f"ducklake:{self.catalog}?data_path={data_path}"
        self._publish = publish

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[LiveLake]:
        async with livelake.open(self.uri, as_name="space") as lake:
            yield lake
        self._publish(self.catalog)

    async def write(self, *statements: str) -> None:
        async with self.opened() as lake:
            for sql in statements:
                await lake.execute(sql)


def served(files: FileServer, tmp_path: Path) -> Bench:
    """A catalog and its data, side by side on an HTTP server."""

    def publish(catalog: Path) -> None:
        shutil.copy(catalog, files.root / "next")
        os.replace(files.root / "next", files.root / "space.ducklake")

    publisher = Publisher(tmp_path / "work", str(files.root / "space.ducklake.files"), publish)
    return Bench(f"ducklake:{files.url}/space.ducklake", publisher)


@pytest.fixture
def remote(files: FileServer, tmp_path: Path) -> Bench:
    return served(files, tmp_path)


@pytest.fixture(params=KINDS)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """Not opened yet; two tables in it."""
    kind, prefix = request.param, tmp_path.name
    if kind == "ducklake":
        made = Bench(f"ducklake:{tmp_path}/space.ducklake")
    elif kind == "sqlite":
        made = Bench(f"ducklake:sqlite:{tmp_path}/space.sqlite")
    elif kind == "postgres":
        postgres: Postgres = request.getfixturevalue("postgres")
        made = Bench(postgres.uri(postgres.database(), tmp_path / "data"))
    elif kind == "s3":
        request.getfixturevalue("bucket")
        made = Bench(f"ducklake:sqlite:{tmp_path}/space.sqlite?data_path=s3://lakes/{prefix}/")
    elif kind == "http":
        made = served(request.getfixturevalue("files"), tmp_path)
    else:
        client = request.getfixturevalue("bucket")
        key = f"{prefix}/space.ducklake"

        def publish(catalog: Path) -> None:
            client.upload_file(str(catalog), "lakes", key)

        made = Bench(f"ducklake:s3://lakes/{key}", Publisher(tmp_path / "work", f"s3://lakes/{key}.files", publish))
    begin = ["CREATE TABLE orders AS SELECT range AS amount FROM range(20)", "CREATE TABLE people (name VARCHAR)"]
    if made.publisher is not None:
        await made.publisher.write(*begin)
    else:
        async with made.open() as lake:
            for sql in begin:
                await lake.execute(sql)
    return made
