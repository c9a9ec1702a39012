"""Streams over servers of every kind, played by hand: what ``send`` may be, and how a stream may end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from livelake.web.fanout import Broadcast
from livelake.web.stream import Pulse, Stream

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCOPE = {"type": "http", "http_version": "1.1", "headers": []}


class Server:
    """The far side of one stream: what was sent, and whether it takes more."""

    def __init__(self, broadcast: Broadcast) -> None:
        self.broadcast = broadcast
        self.body = b""
        self.messages: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self.takes = asyncio.Event()
        self.takes.set()
        self.left = 0
        self.pulse = Pulse(lambda: NOW, 3_600)
        self.stream = Stream(broadcast, None, self.pulse, self._leave)
        self.task: asyncio.Task[None] | None = None

    def start(self, send: Callable[[Any], Awaitable[None]]) -> None:
        self.task = asyncio.create_task(self.stream(SCOPE, self.receive, send))

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def coroutine(self, message: Any) -> None:
        """As uvicorn does it: waits first, then writes."""
        if not self.takes.is_set():
            await self.takes.wait()
        self.take(message)

    def future(self, message: Any) -> Awaitable[None]:
        """As granian does it: no coroutine."""
        return asyncio.ensure_future(self.coroutine(message))

    async def bound_to_its_task(self, message: Any) -> None:
        """As middleware on anyio does it: a cancel scope, which must be left by the task that entered it."""
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(0)
            if not self.takes.is_set():
                await self.takes.wait()
        self.take(message)

    def take(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        self.body += message.get("body", b"")

    @property
    def is_ended(self) -> bool:
        return bool(self.messages) and self.messages[-1].get("more_body") is False

    def _leave(self) -> None:
        self.left += 1


KINDS = ["coroutine", "future", "bound_to_its_task"]


@pytest.fixture(params=KINDS)
async def server(request: pytest.FixtureRequest) -> Server:
    made = Server(Broadcast(asyncio.get_running_loop().call_soon))
    made.broadcast.show({"a": b"data: first\n\n"})
    made.start(getattr(made, request.param))
    await until(lambda: b"first" in made.body)
    return made


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


async def test_news_are_sent_and_the_newest_only_to_who_was_busy(server: Server) -> None:
    for number in range(3):
        server.broadcast.show({"a": b"data: %d.\n\n" % number})
        await until(lambda number=number: b"data: %d." % number in server.body)  # type: ignore[misc]
    server.takes.clear()
    for number in range(10, 20):
        server.broadcast.show({"a": b"data: %d.\n\n" % number})
        await asyncio.sleep(0)
    server.takes.set()
    await until(lambda: b"data: 19." in server.body)
    assert b"data: 10." in server.body  # what was begun is finished
    assert not [number for number in range(11, 19) if b"data: %d." % number in server.body]
    server.gone.set()
    await server.task  # type: ignore[misc]
    assert server.left == 1


async def test_only_a_coroutine_that_has_nothing_to_wait_for_is_written_at_once(server: Server) -> None:
    server.broadcast.show({"a": b"data: now\n\n"})
    at_once = b"data: now" in server.body
    await until(lambda: b"data: now" in server.body)
    assert at_once is (server.stream._outlet._by_hand)  # type: ignore[attr-defined]
    server.broadcast.close()
    await server.task  # type: ignore[misc]
    assert server.is_ended


async def test_it_ends_from_our_side_once_and_in_order(server: Server) -> None:
    server.stream.end()
    server.stream.end()
    await server.task  # type: ignore[misc]
    assert server.is_ended
    assert server.left == 1
    assert server.broadcast.listeners == 0
    assert server.pulse._timer is None


async def test_it_ends_though_the_viewer_takes_nothing(server: Server) -> None:
    server.takes.clear()
    server.broadcast.show({"a": b"data: stuck\n\n"})
    await asyncio.sleep(0)
    server.broadcast.close()
    await server.task  # type: ignore[misc]
    assert not server.is_ended
    assert server.left == 1
    assert server.stream._busy.done()  # type: ignore[union-attr]


async def test_a_cancelled_stream_is_cancelled_and_leaves(server: Server) -> None:
    server.task.cancel()  # type: ignore[union-attr]
    with pytest.raises(asyncio.CancelledError):
        await server.task  # type: ignore[misc]
    assert server.left == 1
    assert server.broadcast.listeners == 0


async def test_a_send_that_fails_ends_its_viewer_only() -> None:
    broadcast = Broadcast(asyncio.get_running_loop().call_soon)
    broadcast.show({"a": b"data: first\n\n"})
    good, bad = Server(broadcast), Server(broadcast)

    async def broken(message: Any) -> None:
        if b"second" in message.get("body", b""):
            raise ConnectionResetError
        bad.take(message)

    bad.start(broken)
    good.start(good.coroutine)
    await until(lambda: bad.body and good.body)
    broadcast.show({"a": b"data: second\n\n"})
    await bad.task  # type: ignore[misc]
    assert bad.left == 1
    assert b"second" in good.body
    good.gone.set()
    await good.task  # type: ignore[misc]


async def test_a_stream_that_is_ended_before_it_began_ends_at_once() -> None:
    server = Server(Broadcast())
    server.stream.end()
    server.start(server.coroutine)
    await server.task  # type: ignore[misc]
    assert server.left == 1
    closed = Server(Broadcast())
    closed.broadcast.close()
    closed.start(closed.coroutine)
    await closed.task  # type: ignore[misc]
    assert closed.left == 1


async def test_a_large_state_is_written_in_parts() -> None:
    server = Server(Broadcast(asyncio.get_running_loop().call_soon))
    text = b"data: " + b"x" * 200_000 + b"\n\n"
    server.broadcast.show({"a": text})
    server.start(server.coroutine)
    await until(lambda: text in server.body)
    server.takes.clear()
    server.broadcast.show({"a": text.replace(b"x", b"y")})
    await asyncio.sleep(0)
    server.broadcast.show({"a": text.replace(b"x", b"z")})
    server.takes.set()
    await until(lambda: text.replace(b"x", b"z") in server.body)
    assert max(len(message.get("body", b"")) for message in server.messages) <= 32_768
    server.gone.set()
    await server.task  # type: ignore[misc]


async def test_signs_of_life_stop_with_the_last_viewer() -> None:
    broadcast = Broadcast(asyncio.get_running_loop().call_soon)
    server = Server(broadcast)
    server.pulse.every = 0.001
    server.start(server.coroutine)
    await until(lambda: server.body.count(b"livelake-tick") > 3)
    server.gone.set()
    await server.task  # type: ignore[misc]
    assert server.pulse._timer is None
