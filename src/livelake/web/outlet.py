"""How bytes leave for one viewer: through a server's ``send``, or straight into the transport of a server of ours.

An outlet's ``write`` hands bytes over and returns None if they were taken at once, which is nearly always; else what
has to be awaited before anything else is written. So an update costs no task and no turn of the event loop.

For ASGI it takes the first step of ``send`` by hand. A ``send`` that has nothing to wait for ends in that step. One
that waits (the viewer's buffers are full) is finished by a task, which takes over what the first step waited for.
Servers whose ``send`` is no coroutine (granian) always get a task. So does a ``send`` that yields without waiting for
anything: middleware on anyio does, and binds what it does to the task that began it; the first write is made in the
viewer's own task and shows it.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, Protocol

from starlette.types import Send

# Bytes of a viewer's output that the process itself may hold back before the viewer counts as busy.
HIGH_WATER = 16_384


class Outlet(Protocol):
    async def open(self, body: bytes) -> None:
        """The first write, in the viewer's own task."""

    def write(self, body: bytes) -> Awaitable[None] | None:
        """See the module. Raises `OSError` if the peer has gone, where the server says so."""

    def abort(self) -> None:
        """Break the connection off, if that is ours to do."""


class Wire(Protocol):
    """A connection of our own server, which `livelake.web.serve` lends to a stream in its scope."""

    def write(self, data: bytes) -> None: ...

    @property
    def is_full(self) -> bool:
        """Whether more than `HIGH_WATER` bytes wait."""

    async def drain(self) -> None:
        """Wait until it is not."""

    def abort(self) -> None: ...


class WireOutlet:
    """Bytes that are framed for HTTP already, as one write of one shared object."""

    __slots__ = ("_wire",)

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def open(self, body: bytes) -> None:
        if (rest := self.write(body)) is not None:
            await rest

    def write(self, body: bytes) -> Awaitable[None] | None:
        wire = self._wire
        wire.write(body)
        return wire.drain() if wire.is_full else None

    def abort(self) -> None:
        self._wire.abort()


class AsgiOutlet:
    """Messages to any ASGI server."""

    __slots__ = ("_by_hand", "_send")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._by_hand = False
        _shorten(send)

    async def open(self, body: bytes) -> None:
        sending = self._send({"type": "http.response.body", "body": body, "more_body": True})
        if not inspect.iscoroutine(sending):
            await sending
            return
        seen = _Continued(sending)
        await seen
        self._by_hand = not seen.stepped_aside

    def write(self, body: bytes) -> Awaitable[None] | None:
        sending = self._send({"type": "http.response.body", "body": body, "more_body": True})
        if not self._by_hand:
            return sending
        assert inspect.iscoroutine(sending)
        try:
            return _Continued(sending, sending.send(None))
        except StopIteration:
            return None

    def abort(self) -> None:
        """The server breaks it off itself, when the app returns without having ended its response."""


class _Continued:
    """Awaits a coroutine that may have been begun by hand, and what it ``waited`` for then."""

    __slots__ = ("_coroutine", "_waited", "stepped_aside")

    def __init__(self, coroutine: Coroutine[Any, Any, None], *waited: Any) -> None:
        self._coroutine = coroutine
        self._waited = waited
        self.stepped_aside = False
        """Whether it yielded without waiting for a future."""

    def __await__(self) -> Generator[Any, Any, None]:
        coroutine = self._coroutine
        try:
            waited = self._waited[0] if self._waited else coroutine.send(None)
            while True:
                self.stepped_aside |= waited is None
                try:
                    answer = yield waited
                except BaseException as error:  # cancelled, as a rule: that is the coroutine's to hear
                    waited = coroutine.throw(error)
                else:
                    waited = coroutine.send(answer)
        except StopIteration:
            return


def _shorten(send: Send) -> None:
    """Have the server hold back little, where its ``send`` leads to a transport (uvicorn's 64 kB are four states)."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    limit = getattr(transport, "set_write_buffer_limits", None)
    if limit is not None:
        limit(high=HIGH_WATER)
