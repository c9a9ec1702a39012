"""The server: a listening socket and uvicorn behind it. The one door to uvicorn. Signals are the caller's.

A connection of this server lends its transport to the stream that it carries (`livelake.web.outlet.Wire`), so that
an update is one write of bytes that all viewers share. Streams never end by themselves, and a server that waits for
its connections would never stop: ours ends them first.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.http.flow_control import FlowControl

from livelake.errors import SourceError, UsageError
from livelake.web.app import App
from livelake.web.outlet import HIGH_WATER
from livelake.web.stream import WIRE

# Bytes of a viewer's unsent output beyond which the kernel takes no more. Without it Linux lets a send buffer
# grow to 4 MB: a stalled viewer would first read hundreds of old states.
_NOTSENT_LOWAT = 16_384
# Milliseconds after which the kernel gives up a peer that acknowledges nothing, or takes nothing. Without it, a peer
# that vanished without a word is kept for a quarter of an hour, signs of life or not.
_USER_TIMEOUT_MS = 60_000


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that holds no backlog for slow viewers, and gives dead ones up. Port 0 takes a free one.

    What is accepted from it inherits both, under any server that takes a socket: ``uvicorn.Server.serve(sockets=…)``.

    Raises `SourceError` if the address cannot be had, `UsageError` for one that makes no sense.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, OverflowError) as error:
        raise UsageError(f"{host}:{port} is not an address to listen on: {error}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOTSENT_LOWAT)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
        listener.bind(address)
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        raise SourceError(f"cannot listen on {host}:{port}: {error}; choose another with --port") from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Where a browser on this machine finds it."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class _Wire:
    """A connection that writes what it is given as it is. The `Wire` of `livelake.web.outlet`."""

    __slots__ = ("_flow", "_transport")

    def __init__(self, transport: asyncio.Transport, flow: FlowControl) -> None:
        self._transport = transport
        self._flow = flow

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    @property
    def is_full(self) -> bool:
        return self._flow.write_paused

    async def drain(self) -> None:
        await self._flow.drain()

    def abort(self) -> None:
        self._transport.abort()


class _Protocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # uvicorn chose it when it was imported
    """uvicorn's own protocol, whose connection can be borrowed through the scope of its requests."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER)
        app = cast("ASGIApp", self.app)  # type: ignore[has-type]
        wire = _Wire(transport, self.flow)

        def lent(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            scope[WIRE] = wire
            return app(scope, receive, send)

        self.app = lent


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: App, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none: uvicorn would die of a SIGTERM before its caller could close the lake."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._app.close()
        await super().shutdown(sockets=sockets)


async def serve(app: App, listener: socket.socket, ready: Callable[[], None] = lambda: None) -> None:
    """Serve until cancelled. ``ready()`` is called when connections are accepted."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",  # what fails is told by `App`; the rest is what any stranger can provoke
        access_log=False,
        lifespan="off",
        http=_Protocol,
        server_header=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=30,
    )
    server = _Server(config, app, ready)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await asyncio.wait((serving,))
        raise
