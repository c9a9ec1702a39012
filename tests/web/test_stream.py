"""Streams over a real server on loopback, read with plain sockets."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from livelake import web
from livelake.live import LiveLake
from livelake.web import App
from livelake.web.folder import Dashboard

PATIENCE = 20.0


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for a condition, with a deadline that only a hang would meet."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        await asyncio.sleep(0.005)


@dataclass
class Event:
    name: str = ""
    data: str = ""
    id: str | None = None


@dataclass
class Viewer:
    """One connection; `head` is the response's status line and headers."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: str
    comments: int = 0
    events: list[Event] = field(default_factory=list)

    async def piece(self) -> str | None:
        """The next event or comment, as text; None when the stream has ended. Chunks are taken apart here."""
        while "\n\n" not in self._text:
            size = int((await self.reader.readline()).strip() or b"0", 16)
            if size == 0:
                return None
            self._text += (await self.reader.readexactly(size)).decode()
            await self.reader.readline()
        piece, self._text = self._text.split("\n\n", 1)
        return piece

    _text: str = ""

    async def next(self) -> Event | None:
        """The next event; comments are counted."""
        while (piece := await self.piece()) is not None:
            if piece.startswith(":"):
                self.comments += 1
                continue
            event = Event()
            for line in piece.split("\n"):
                name, _, value = line.partition(": ")
                if name == "event":
                    event.name = value
                elif name == "id":
                    event.id = value
                else:
                    event.data += value + "\n"
            self.events.append(event)
            return event
        return None

    async def element(self, panel: str = "") -> Event:
        """The next patch, of that panel if one is named."""
        async with asyncio.timeout(PATIENCE):
            while (event := await self.next()) is not None:
                if event.name == "datastar-patch-elements" and f'id="panel-{panel}' in event.data:
                    return event
        raise AssertionError("the stream ended")

    async def end(self) -> None:
        """Read until the server ends the stream."""
        async with asyncio.timeout(PATIENCE):
            while await self.next() is not None:
                pass

    async def close(self) -> None:
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


@dataclass
class Site:
    app: App
    port: int
    serving: asyncio.Task[None]
    viewers: list[Viewer] = field(default_factory=list)

    async def look(self, path: str = "/live/shop", last: str | None = None, **options: Any) -> Viewer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **options)
        return await self.ask(reader, writer, path, last)

    async def ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, last: str | None = None
    ) -> Viewer:
        resume = f"Last-Event-ID: {last}\r\n" if last else ""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{resume}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        viewer = Viewer(reader, writer, head)
        self.viewers.append(viewer)
        return viewer

    async def stop(self) -> None:
        self.serving.cancel()
        await asyncio.gather(self.serving, return_exceptions=True)


@asynccontextmanager
async def served(app: App) -> AsyncIterator[Site]:
    listener = web.listen("127.0.0.1", 0)
    ready = asyncio.Event()
    site = Site(app, listener.getsockname()[1], asyncio.create_task(web.serve(app, listener, ready.set)))
    await ready.wait()
    try:
        yield site
    finally:
        await asyncio.gather(*(viewer.close() for viewer in site.viewers))
        await site.stop()
        listener.close()


@pytest.fixture
async def site(app: App) -> AsyncIterator[Site]:
    async with served(app) as made:
        yield made


async def test_a_stream_begins_with_the_present_state(site: Site) -> None:
    viewer = await site.look()
    assert viewer.head.startswith("HTTP/1.1 200")
    assert "content-type: text/event-stream; charset=utf-8" in viewer.head
    assert "cache-control: no-store" in viewer.head
    assert "x-accel-buffering: no" in viewer.head
    tick = await viewer.next()
    assert tick is not None
    assert (tick.name, viewer.comments) == ("livelake-tick", 1)
    assert abs(int(tick.data) / 1000 - time.time()) < 60
    first, second = await viewer.element(), await viewer.element()
    assert {re.search(r'id="panel-(\w+)"', each.data)[1] for each in (first, second)} == {"totals", "people"}  # type: ignore[index]
    # Of what was read at one snapshot the last has the id: who is cut off before it has not seen the frame.
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9]+", second.id or "")
    assert "north" in first.data + second.data
    assert "Ada" in first.data + second.data


async def test_a_change_is_sent_to_whom_it_concerns(site: Site, lake: LiveLake) -> None:
    viewer = await site.look()
    await viewer.element("people")
    await until(lambda: all(panel.frame for channel in channels(site) for panel in channel.panels))
    await lake.execute("INSERT INTO people VALUES ('Bob')")
    await until_shown(viewer, "people", "Bob")
    assert sum("panel-totals" in event.data for event in viewer.events) <= 1
    narrow = await site.look("/live/shop?least=6")
    assert "south" not in (await narrow.element("totals")).data


async def test_a_quiet_stream_shows_that_it_lives(app: App) -> None:
    app.pulse.every = 0.02
    async with served(app) as site:
        viewer = await site.look()
        await viewer.element()
        await viewer.element()
        ids = [event.id for event in viewer.events if event.id]
        before = viewer.comments
        async with asyncio.timeout(PATIENCE):
            ticks = [await viewer.next() for _ in range(3)]
        assert [tick and tick.name for tick in ticks] == ["livelake-tick"] * 3
        assert viewer.comments == before + 3
        assert [event.id for event in viewer.events if event.id] == ids  # a tick leaves the last id as it is


async def test_who_comes_back_is_sent_only_what_changed(site: Site, lake: LiveLake) -> None:
    viewer = await site.look()
    _, last = await viewer.element(), await viewer.element()
    await viewer.close()
    await lake.execute("INSERT INTO people VALUES ('Bob')")
    await until(lambda: any(b"Bob" in panel.frame for panel in channels(site)[0].panels))
    assert channels(site)[0].broadcast.number > int((last.id or "").split("-")[1])
    for path, header in (("/live/shop", last.id), (f"/live/shop?last_event_id={last.id}", None)):
        again = await site.look(path, last=header)
        assert "Bob" in (await again.element()).data
        await lake.execute("INSERT INTO people VALUES ('Cy')")
        await until_shown(again, "people", "Cy")
        assert not [event for event in again.events if "panel-totals" in event.data]
    stranger = await site.look(last="deadbeef-1")
    await stranger.element("totals")


async def test_who_takes_gzip_is_sent_gzip_that_can_be_read_as_it_comes(app: App, lake: LiveLake) -> None:
    app.pulse.every = 0.05
    async with served(app) as site, httpx.AsyncClient(timeout=PATIENCE) as client:
        url = f"http://127.0.0.1:{site.port}/live/shop"
        async with client.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as answer:
            assert answer.headers["content-encoding"] == "gzip"
            assert answer.headers["vary"] == "accept-encoding"
            seen = ""
            added = ticks = 0
            async for text in answer.aiter_text():
                seen += text
                ticks = seen.count("livelake-tick")
                if f">Name{added}<" in seen or added == 0 < seen.count("panel-people"):
                    added += 1
                    await lake.execute(f"INSERT INTO people VALUES ('Name{added}')")
                if added > 5 and ticks > 5:
                    break
        app.compress = False
        async with client.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as answer:
            assert "content-encoding" not in answer.headers


async def test_one_viewer_too_many_is_told_to_come_back_later(site: Site) -> None:
    site.app.admission.most = 3
    site.app.admission.most_per_address = 2
    viewers = [await site.look() for _ in range(2)]
    refused = await site.look()
    assert refused.head.startswith("HTTP/1.1 503")
    assert "retry-after: 1" in refused.head
    assert site.app.channels.viewers == site.app.admission.total == 2
    await viewers[0].close()
    await until(lambda: site.app.admission.total == 1)
    assert (await site.look()).head.startswith("HTTP/1.1 200")
    site.app.admission.most = 2
    site.app.admission.most_per_address = None
    assert (await site.look()).head.startswith("HTTP/1.1 503")
    assert (await site.look("/live/nothing")).head.startswith("HTTP/1.1 404")
    assert site.app.admission.total == 2


async def test_a_peer_that_takes_nothing_is_given_up(
    app: App, lake: LiveLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        pytest.skip("this platform has no TCP_USER_TIMEOUT")
    monkeypatch.setitem(web.listen.__globals__, "_USER_TIMEOUT_MS", 300)
    async with served(app) as site:
        await big(site, lake)
        stalled = await stall(site)
        await lake.execute("UPDATE big SET number = 1")
        await until(lambda: site.app.channels.viewers == 0)
        await stalled.close()


async def test_a_viewer_who_goes_is_noticed_and_counted_off_once(
    site: Site, lake: LiveLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[object] = []
    leave = site.app.channels.leave
    monkeypatch.setattr(site.app.channels, "leave", lambda channel: (left.append(channel), leave(channel)))
    first, second = await site.look(), await site.look()
    await first.element()
    await second.element()
    assert site.app.channels.viewers == 2
    await first.close()
    await until(lambda: site.app.channels.viewers == 1)
    transport = second.writer.transport
    transport.abort()  # no farewell
    await lake.execute("INSERT INTO people VALUES ('Bob')")
    await until(lambda: site.app.channels.viewers == 0)
    assert len(left) == 2


async def test_a_page_that_was_read_leaves_no_viewer_behind(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    viewer = await site.ask(reader, writer, "/d/shop")
    assert viewer.head.startswith("HTTP/1.1 200")
    assert site.app.channels.viewers == 0


async def test_stopping_the_server_ends_the_streams(site: Site) -> None:
    viewers = [await site.look() for _ in range(3)]
    for viewer in viewers:
        await viewer.element()
    await asyncio.gather(site.stop(), *(viewer.end() for viewer in viewers))
    assert site.app.channels.viewers == 0
    with pytest.raises(ConnectionRefusedError):
        await site.look()


async def test_stopping_does_not_wait_for_a_stalled_viewer(site: Site, lake: LiveLake) -> None:
    await big(site, lake)
    stalled = await stall(site)
    for number in range(5):
        await lake.execute(f"UPDATE big SET number = {number}")
    async with asyncio.timeout(PATIENCE):
        await site.stop()
    assert site.app.channels.viewers == 0
    await stalled.close()


async def test_a_stalled_viewer_holds_nobody_up_and_has_no_backlog(site: Site, lake: LiveLake) -> None:
    await big(site, lake)
    stalled = await stall(site)
    reading = await site.look("/live/big")
    sizes = 0
    for number in range(1, 31):
        await lake.execute(f"UPDATE big SET number = {number}")
        while f">{number}<" not in (event := await reading.element()).data:
            pass
        sizes += len(event.data)
    assert sizes > 20_000_000  # far more than all buffers on the way hold
    stalled.reader._transport.resume_reading()  # type: ignore[attr-defined]
    seen = [event := await stalled.element()]
    while ">30<" not in event.data:
        seen.append(event := await stalled.element())
    assert len(seen) <= 4, "old states were kept for it"


async def test_fifty_viewers_cost_each_query_one_computation_a_commit(site: Site, lake: LiveLake) -> None:
    viewers = [await site.look() for _ in range(50)]
    for viewer in viewers:
        await viewer.element("totals")
    (channel,) = channels(site)
    await until(lambda: all(panel.frame for panel in channel.panels))
    assert channel.viewers == 50
    lasts = [asyncio.create_task(until_shown(viewer, "totals", ">120<")) for viewer in viewers]
    before = lake.engine.stats().reads
    for number in range(20):
        seen = lake.engine.stats().reads
        await lake.execute("INSERT INTO orders VALUES ('east', 6)")
        if number % 5 == 0:  # the others come as fast as they can
            await until(lambda number=number: f">{6 * number + 6}<" in channel.panels[0].frame.decode())  # type: ignore[misc]
            assert lake.engine.stats().reads - seen <= 2
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*lasts)
    assert 1 <= lake.engine.stats().reads - before <= 20
    before = lake.engine.stats().reads
    await lake.execute("CREATE TABLE unrelated (a INTEGER)")
    await lake.execute("INSERT INTO unrelated VALUES (1)")
    await lake.execute("INSERT INTO people VALUES ('Zoe')")
    async with asyncio.timeout(PATIENCE):  # it may be shown as stale before
        await asyncio.gather(*(until_shown(viewer, "people", ">Zoe<") for viewer in viewers))
    assert lake.engine.stats().reads - before == 1


def channels(site: Site) -> list[Any]:
    return list(site.app.channels._open.values())


async def until_shown(viewer: Viewer, panel: str, text: str) -> None:
    while text not in (await viewer.element(panel)).data:
        pass


async def big(site: Site, lake: LiveLake) -> None:
    """A dashboard whose one panel is about a megabyte."""
    await lake.execute("CREATE TABLE big AS SELECT 0 AS number")
    template = site.app.dashboards["shop"].queries["people"]
    wide = ", ".join(f"repeat('x', 1000) || i AS text{column}" for column in range(8))
    sql = f"SELECT number, {wide} FROM shop.main.big, range(200) r(i) ORDER BY i"
    query = type(template)(name="rows", sql=sql, title="Rows", file=template.file)
    site.app.dashboards = {"big": Dashboard(name="big", title="Big", queries={"rows": query}, path=template.file)}


async def stall(site: Site) -> Viewer:
    """A viewer with small buffers that stops reading after its first state."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", site.port))
    reader, writer = await asyncio.open_connection(sock=plain, limit=4_096)
    viewer = await site.ask(reader, writer, "/live/big")
    await viewer.element()
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    return viewer
