"""Catalogs on a server: replaced there, seen here; what nobody can vouch for is not served as fresh."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import livelake
from lake.catalogs.conftest import Bench, Publisher
from livelake.engine import Session
from livelake.errors import BusyError, QueryError, SourceError, UsageError
from livelake.lake.catalog import Origin, parse
from livelake.lake.remote import HttpSource, Validator, bring, web_address
from livelake.lake.scout import Scout
from servers import FileServer

COUNT = "SELECT count(*) AS n FROM orders"
BEGIN = ("CREATE TABLE orders AS SELECT range AS id FROM range(20)", "CREATE TABLE people AS SELECT 1 AS id")


def scout(bench: Bench) -> Scout:
    return bench.lake.watcher.scouts["space"]


async def test_a_replaced_file_is_seen_by_itself(remote: Bench) -> None:
    await remote.publisher.write(*BEGIN)
    async with remote.open() as lake:
        assert (await lake.query(COUNT)).rows() == [{"n": 20}]
        await lake.query("FROM people")
        await remote.publisher.write("INSERT INTO orders VALUES (1)")
        async with asyncio.timeout(30):
            while (await lake.query(COUNT)).rows() != [{"n": 21}]:
                await asyncio.sleep(0.02)
        assert (await lake.query("FROM people")).status == "hit"


async def test_a_lake_that_is_sealed_for_strangers_still_follows_its_server(remote: Bench) -> None:
    """Copies to come are attached past the lock: their folder is known before it is set."""
    await remote.publisher.write(*BEGIN)
    async with remote.open(untrusted=True) as lake:
        assert (await lake.query(COUNT)).rows() == [{"n": 20}]
        for n in range(3):
            await remote.write("INSERT INTO orders SELECT range FROM range(20)")
            assert (await lake.query("SELECT sum(id) * 0 + count(*) AS n FROM orders")).rows() == [{"n": 40 + 20 * n}]
        with pytest.raises(QueryError, match="disabled by configuration"), lake.engine.cursor() as session:
            session.fetchall("FROM glob('/etc/*')")


async def test_what_runs_goes_on_with_the_old_file(remote: Bench) -> None:
    """I7: one transaction, one state; what begins after the swap reads the new one.

    The swap waits: under a transaction that looks at all databases afterwards it would end the instance.
    """
    await remote.publisher.write(*BEGIN)
    async with remote.open() as lake:
        with lake.engine.cursor() as reader, reader.transaction():
            assert reader.fetchone("SELECT id FROM space.current_snapshot()") == (2,)
            with pytest.raises(BusyError, match="queries have been running"):
                await remote.write("INSERT INTO orders SELECT range FROM range(11)")
            assert reader.fetchone(COUNT) == (20,)
            assert reader.fetchone("SELECT count(*) FROM system.main.duckdb_tables() WHERE database_name = 'space'")
            assert reader.fetchone("SELECT count(*) FROM people") == (1,)
        scout(remote).look()
        assert (await lake.query(COUNT)).rows() == [{"n": 31}]


async def test_readers_beside_many_swaps_see_whole_states(remote: Bench) -> None:
    await remote.publisher.write(*BEGIN)
    async with remote.open() as lake:
        done = asyncio.Event()

        async def read() -> int:
            last = 0
            while not done.is_set():
                n = (await lake.query(COUNT, fresh=True)).rows()[0]["n"]
                assert n >= last
                last = n
            return last

        readers = [asyncio.create_task(read()) for _ in range(3)]
        for _ in range(10):
            await remote.write("INSERT INTO orders SELECT range FROM range(11)")
        done.set()
        assert max(await asyncio.gather(*readers)) <= 130
        assert (await lake.query(COUNT)).rows() == [{"n": 130}]


async def test_another_history_drops_everything(remote: Bench, tmp_path: Path) -> None:
    await remote.publisher.write(*BEGIN)
    async with remote.open() as lake:
        await lake.query(COUNT)
        shutil.rmtree(tmp_path / "work")
        (tmp_path / "work").mkdir()
        await remote.write("CREATE TABLE orders AS SELECT 'x' AS other", "CREATE VIEW people AS SELECT 7 AS id")
        assert (await lake.query("FROM orders")).rows() == [{"other": "x"}]
        assert (await lake.query("FROM people")).rows() == [{"id": 7}]


async def test_a_change_within_the_same_second_is_confirmed(remote: Bench, files: FileServer) -> None:
    """Last-Modified counts seconds, and the two files are equally long: a second copy tells them apart."""
    files.validators = {"modified"}
    await remote.publisher.write(*BEGIN)
    served = files.root / "space.ducklake"
    await remote.publisher.write("INSERT INTO people VALUES (2)")

    def age() -> None:
        os.truncate(served, 1 << 24)
        os.utime(served, (1e9, 1e9))

    age()
    async with remote.open() as lake:
        looked = scout(remote)
        assert (await lake.query("FROM people")).rows() == [{"id": 1}, {"id": 2}]
        async with remote.publisher.opened() as writer:
            await writer.execute("INSERT INTO people VALUES (3)")
        age()
        async with asyncio.timeout(30):
            while len((await lake.query("FROM people")).rows()) != 3:
                await asyncio.sleep(0.05)
        assert looked.failure is None


async def test_how_often_a_server_is_asked_is_remote_poll(remote: Bench, files: FileServer) -> None:
    """Apart from how often the commit logs are looked at, which here is hardly ever."""
    await remote.publisher.write(*BEGIN)
    async with livelake.open(remote.uri, as_name="space", poll_interval=600.0, remote_poll=0.02) as lake:
        assert (await lake.query(COUNT)).rows() == [{"n": 20}]
        await remote.publisher.write("INSERT INTO orders VALUES (1)")
        async with asyncio.timeout(30):
            while (await lake.query(COUNT)).rows() != [{"n": 21}]:
                await asyncio.sleep(0.01)


async def test_a_server_without_validators_is_not_cached_without_a_ttl(remote: Bench, files: FileServer) -> None:
    files.validators = set()
    await remote.publisher.write(*BEGIN)
    async with remote.open() as lake:
        await lake.query(COUNT)
        assert (await lake.query(COUNT)).status != "hit"
        assert "neither ETag nor Last-Modified" in ((await lake.why(COUNT)).why_not or "")
        assert (await lake.query("SELECT 1 AS n")).rows() == [{"n": 1}]
        await lake.query(COUNT, ttl=60)
        kept = await lake.query(COUNT, ttl=60)
        assert kept.status == "hit"
        assert kept.valid_until is not None
        await remote.publisher.write("INSERT INTO orders VALUES (1)")
        async with asyncio.timeout(30):
            while (await lake.query(COUNT)).rows() != [{"n": 21}]:
                await asyncio.sleep(0.05)


async def test_a_server_that_knows_no_head_has_no_validators(files: FileServer) -> None:
    (files.root / "a").write_bytes(b"content")
    files.head_status = 405
    source = HttpSource(f"{files.url}/a")
    assert source.probe(5.0) == Validator()
    assert not source.probe(5.0).is_known
    assert bring(source, files.root / "copy", 5.0).sha256
    assert (files.root / "copy").read_bytes() == b"content"


async def test_a_server_that_is_down_makes_its_lake_an_error_and_no_other(remote: Bench, files: FileServer) -> None:
    await remote.publisher.write(*BEGIN)
    async with livelake.open(":memory:", attach={"space": remote.uri}, poll_interval=0.05) as lake:
        await lake.execute("CREATE TABLE t AS SELECT 1 AS i")
        query = "SELECT count(*) AS n FROM space.orders"
        await lake.query(query)
        await lake.query("FROM t")
        files.stop()
        async with asyncio.timeout(30):
            while lake.cache.explain(lake.ask(query).key).state == "fresh":
                await asyncio.sleep(0.02)
        with pytest.raises(SourceError, match=r"has not been heard of for .* s.*cannot be reached"):
            await lake.query(query)
        stale = await lake.query(query, stale_if_error=60.0)
        assert (stale.status, stale.rows()) == ("stale", [{"n": 20}])
        assert (await lake.query("FROM t")).status == "hit"
        await remote.publisher.write("INSERT INTO orders VALUES (1)")
        files.start()
        async with asyncio.timeout(30):
            while lake.watcher.scouts["space"].failure is not None:
                await asyncio.sleep(0.02)
        assert (await lake.query(query)).rows() == [{"n": 21}]


async def test_a_file_that_is_no_lake_leaves_the_old_one(remote: Bench, files: FileServer) -> None:
    await remote.publisher.write(*BEGIN)
    async with remote.open() as lake:
        (files.root / "space.ducklake").write_bytes(b"half an upload")
        with pytest.raises(SourceError, match="cannot be attached"):
            await asyncio.to_thread(scout(remote).look)
        assert (await lake.query(COUNT)).rows() == [{"n": 20}]
        await remote.write("INSERT INTO orders VALUES (1)")
        assert (await lake.query(COUNT)).rows() == [{"n": 21}]


@pytest.mark.parametrize("path", ["none.db", ""])
async def test_a_missing_file_or_server_says_so(files: FileServer, path: str) -> None:
    if not path:
        files.stop()
    with pytest.raises(SourceError, match="404" if path else "cannot be reached"):
        async with livelake.open(f"ducklake:{files.url}/{path or 'space.db'}"):
            pass


async def test_nobody_writes_a_remote_lake_and_its_copy_is_private_and_goes(remote: Bench) -> None:
    await remote.publisher.write(*BEGIN)
    async with remote.open() as lake:
        private = lake.attached.by_name["space"]._private
        assert private is not None
        assert private.stat().st_mode & 0o777 == 0o700
        with pytest.raises(livelake.LivelakeError, match="read-only"):
            await lake.execute("INSERT INTO orders VALUES (1)")
    assert not private.exists()


async def test_a_sqlite_catalog_may_lie_on_a_server(files: FileServer, tmp_path: Path) -> None:
    async with livelake.open(f"ducklake:sqlite:{tmp_path}/space.sqlite?data_path={files.root}/d") as lake:
        await lake.execute(BEGIN[0])
    assert not (tmp_path / "space.sqlite-wal").exists()  # all of it is in the file
    shutil.copy(tmp_path / "space.sqlite", files.root / "space.db")
    async with livelake.open(f"ducklake:{files.url}/space.db") as lake:
        assert (await lake.query(COUNT)).rows() == [{"n": 20}]


async def test_a_server_that_wants_a_login_is_asked_by_duckdb(
    remote: Bench, files: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB's own secret manager: a persistent secret, made by anybody's DuckDB."""
    await remote.publisher.write(*BEGIN)
    files.token = "hush-hush"
    with pytest.raises(SourceError) as caught:
        async with remote.open():
            pass
    assert "hush" not in str(caught.value)
    monkeypatch.setenv("HOME", str(tmp_path))
    code = (
        "import sys; from livelake.engine import Engine; e = Engine(); e.load_extension('httpfs')\n"
        "with e.cursor() as s: s.execute(\"CREATE PERSISTENT SECRET h (TYPE http, BEARER_TOKEN 'hush-hush')\")"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    async with remote.open() as lake:
        assert (await lake.query(COUNT)).rows() == [{"n": 20}]
        await remote.write("INSERT INTO orders VALUES (1)")
        assert (await lake.query(COUNT)).rows() == [{"n": 21}]


async def test_keys_of_the_environment_are_shown_nowhere(
    bucket: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("DEBUG", logger="livelake")
    uri = f"ducklake:sqlite:{tmp_path}/space.sqlite?data_path=s3://lakes/{tmp_path.name}/"
    async with livelake.open(uri) as lake:
        await lake.execute(BEGIN[0])
        seen = [repr(lake), str((await lake.query("FROM duckdb_secrets()")).rows()), str(await lake.why(COUNT))]
        assert (await lake.query(COUNT)).rows() == [{"n": 20}]
    execute = Session.execute

    def refuse(self: Session, sql: str, params: Any = None) -> None:
        execute(self, sql.replace("TYPE s3", "TYPE s4"), params)

    monkeypatch.setattr(Session, "execute", refuse)
    with pytest.raises(SourceError, match="KEY_ID") as caught:
        async with livelake.open(uri):
            pass
    seen += [str(caught.value), caplog.text]
    assert not [text for text in seen if "hush-hush" in text]


async def test_s3_needs_a_second_look_only_where_time_is_coarse(bucket: Any, tmp_path: Path) -> None:
    key = f"{tmp_path.name}/space.ducklake"
    publisher = Publisher(
        tmp_path / "w", f"s3://lakes/{key}.files", lambda catalog: bucket.upload_file(str(catalog), "lakes", key)
    )
    await publisher.write(*BEGIN)
    async with livelake.open(f"ducklake:s3://lakes/{key}", poll_interval=0.05) as lake:
        assert (await lake.query("FROM people")).rows() == [{"id": 1}]
        await publisher.write("INSERT INTO people VALUES (2)")
        async with asyncio.timeout(30):
            while len((await lake.query("FROM people")).rows()) != 2:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("hf://datasets/o/n/lakes/space.db", "https://huggingface.co/datasets/o/n/resolve/main/lakes/space.db"),
        ("hf://datasets/o/n@v1.0/a b.db", "https://huggingface.co/datasets/o/n/resolve/v1.0/a%20b.db"),
        ("hf://datasets/o/n@~parquet/x.db", "https://huggingface.co/datasets/o/n/resolve/refs%2Fparquet/x.db"),
        ("hf://spaces/o/n/x.db", "https://huggingface.co/spaces/o/n/resolve/main/x.db"),
        ("https://h/x.db", "https://h/x.db"),
    ],
)
def test_hub_addresses_are_resolved(url: str, address: str) -> None:
    """hf:// is proven by its addresses alone: the Hub cannot be reached from here."""
    assert web_address(url) == address
    catalog = parse(f"ducklake:{url}")
    assert catalog.origin is Origin.REMOTE
    assert catalog.uri == f"ducklake:{url}"


def test_a_hub_address_without_a_file_says_what_to_write() -> None:
    with pytest.raises(SourceError, match="hf://datasets/owner/name"):
        web_address("hf://datasets/owner")
    with pytest.raises(UsageError, match="names no file"):
        parse("ducklake:https://example.org/")
