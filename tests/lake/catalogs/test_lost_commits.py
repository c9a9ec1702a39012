"""A commit whose answer is lost on its way is resolved by reading the log (RULING 11), on a real PostgreSQL."""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import livelake
from livelake.errors import SourceError
from livelake.live import LiveLake
from servers import Postgres

COUNT = "SELECT count(*) AS n, sum(i)::INTEGER AS s FROM t"


class Wire:
    """A proxy before a server's socket, which cuts the connection at the next COMMIT of a lake's transaction.

    ``cut`` says where: "before" the server hears of it, "after" it has answered, or None.
    """

    def __init__(self, server: Postgres) -> None:
        self.cut: str | None = None
        self.cuts = 0
        self.is_down = False
        self.folder = Path(tempfile.mkdtemp(prefix="livelake-wire-", dir="/tmp"))
        self._server = next(Path(server.host).glob(".s.PGSQL.*[0-9]"))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / self._server.name))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # else its thread waits on
        self._listener.close()
        shutil.rmtree(self.folder)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.is_down:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._server))
            Link(self, client, server).start()


class Link:
    """One connection through the wire."""

    def __init__(self, wire: Wire, client: socket.socket, server: socket.socket) -> None:
        self.wire, self.client, self.server = wire, client, server
        self.has_written = False
        self.loses_answer = False

    def start(self) -> None:
        for pump in (self._forth, self._back):
            threading.Thread(target=pump, daemon=True).start()

    def _forth(self) -> None:
        while data := self._receive(self.client):
            self.has_written |= re.search(rb"INSERT INTO [^;]*ducklake_snapshot_changes", data) is not None
            if self.has_written and re.search(rb"\bCOMMIT\b", data):
                self.has_written = False
                if self.wire.cut is not None:
                    cut, self.wire.cut = self.wire.cut, None
                    self.wire.cuts += 1
                    if cut == "before":
                        break
                    self.loses_answer = True
            self.server.sendall(data)
        self._end()

    def _back(self) -> None:
        while data := self._receive(self.server):
            if self.loses_answer:
                break
            self.client.sendall(data)
        self._end()

    def _receive(self, end: socket.socket) -> bytes:
        try:
            return end.recv(1 << 20)
        except OSError:
            return b""

    def _end(self) -> None:
        for end in (self.client, self.server):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


@pytest.fixture
async def wired(postgres: Postgres, tmp_path: Path) -> AsyncIterator[tuple[LiveLake, Wire]]:
    wire = Wire(postgres)
    uri = f"ducklake:postgres:dbname={postgres.database()} host={wire.folder} user=postgres?data_path={tmp_path}/data"
    async with livelake.open(uri, as_name="lake") as lake:
        await lake.execute("CREATE TABLE t (i INTEGER)")
        await lake.query(COUNT)
        yield lake, wire
    wire.close()


async def write(lake: LiveLake, how: str) -> livelake.Token | None:
    if how == "execute":
        return await lake.execute("INSERT INTO t VALUES (7)")
    if how == "insert":
        return await lake.insert("t", [{"i": 7}])
    async with lake.transaction() as transaction:
        await transaction.execute("INSERT INTO t VALUES (3)")
        await transaction.execute("UPDATE t SET i = 7")
    return transaction.token


@pytest.mark.parametrize("how", ["execute", "insert", "transaction"])
async def test_a_commit_whose_answer_is_lost_is_found_in_the_log(wired: tuple[LiveLake, Wire], how: str) -> None:
    """Written once, and told so: with the token of that commit."""
    lake, wire = wired
    before = lake.watcher.heads()["lake"]
    wire.cut = "after"
    token = await write(lake, how)
    assert wire.cuts == 1, "the connection was not cut: the test proves nothing"
    assert token is not None
    assert token.versions == {"lake": before + 1}
    assert (await lake.query(COUNT, not_before=token)).rows() == [{"n": 1, "s": 7}]


@pytest.mark.parametrize("how", ["execute", "insert", "transaction"])
async def test_a_commit_that_never_arrived_is_told_to_have_written_nothing(
    wired: tuple[LiveLake, Wire], how: str
) -> None:
    lake, wire = wired
    wire.cut = "before"
    with pytest.raises(SourceError, match="nothing was written"):
        await write(lake, how)
    assert wire.cuts == 1
    assert (await lake.query(COUNT, fresh=True)).rows() == [{"n": 0, "s": None}]
    await write(lake, how)
    assert (await lake.query(COUNT)).rows() == [{"n": 1, "s": 7}]


async def test_what_a_user_says_of_a_commit_is_kept(wired: tuple[LiveLake, Wire]) -> None:
    lake, _ = wired
    async with lake.transaction() as transaction:
        await transaction.execute("CALL lake.set_commit_message('Ada', 'why', extra_info => 'mine')")
        await transaction.execute("INSERT INTO t VALUES (1)")
    found = await lake.query(
        "SELECT author, commit_message, commit_extra_info FROM lake.snapshots() ORDER BY snapshot_id DESC LIMIT 1"
    )
    assert found.rows() == [{"author": "Ada", "commit_message": "why", "commit_extra_info": "mine"}]
