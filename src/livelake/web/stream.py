"""The stream of one viewer: news, signs of life and the end, whoever brings it, in one place.

A plain ASGI endpoint. Its one task waits in ``receive()``, which is how a server says that the viewer has gone (a
``send`` after that returns silently, for ever). News are written where they arise, in the turn of whoever brought
them (`livelake.web.outlet`). A viewer whose connection takes no more is *busy*: a task finishes what was begun and
goes on with the newest, until nothing is lacking. Server-sent events after
https://html.spec.whatwg.org/multipage/server-sent-events.html, in Datastar's words.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from livelake.web.compress import accepts_gzip
from livelake.web.datastar import anew, heartbeat
from livelake.web.fanout import Broadcast, Edition
from livelake.web.outlet import AsgiOutlet, Outlet, WireOutlet

log = logging.getLogger("livelake.web")

HEARTBEAT = 15.0
"""Seconds. The page takes a stream for dead that says nothing for 40."""

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "vary": "accept-encoding",
    "x-accel-buffering": "no",  # nginx would hold events back
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
_GZIP_HEADERS = [*_RAW_HEADERS, (b"content-encoding", b"gzip")]

WIRE = "livelake.wire"
"""The scope's key for a `livelake.web.outlet.Wire`, where our own server serves."""
STREAM = "livelake.stream"
"""The scope's key for a stream that a route has found. It begins when the router has returned: Starlette's frames
would cost each viewer 4 kB, and what they wrap around ``send`` each update some time."""

# Bytes that are written at once. More is written in parts, so that a viewer who stalls keeps no more than this,
# and the outlet's HIGH_WATER, in our memory.
_PART = 32_768


class Pulse:
    """The signs of life of all broadcasts that somebody follows: one timer, and for each broadcast shared bytes."""

    def __init__(self, now: Callable[[], datetime], every: float) -> None:
        self.now = now
        self.every = every
        self._followed: dict[Broadcast, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def sign(self) -> bytes:
        return heartbeat(self.now())

    def follow(self, broadcast: Broadcast) -> None:
        self._followed[broadcast] = self._followed.get(broadcast, 0) + 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.every, self._beat)

    def leave(self, broadcast: Broadcast) -> None:
        self._followed[broadcast] -= 1
        if not self._followed[broadcast]:
            del self._followed[broadcast]
        if not self._followed and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.every, self._beat)
        for broadcast in list(self._followed):
            broadcast.tick(self.sign())


class Stream:
    """Sends a broadcast to one viewer until either goes. ``left`` is called exactly once, whatever happens.

    ``compress``: in gzip, if the viewer's request takes that.
    """

    __slots__ = (
        "_broadcast",
        "_busy",
        "_compress",
        "_edition",
        "_in_step",
        "_is_ended",
        "_is_open",
        "_last",
        "_left",
        "_outlet",
        "_pulse",
        "_seen",
        "_task",
    )

    def __init__(
        self,
        broadcast: Broadcast,
        last_event_id: str | None,
        pulse: Pulse,
        left: Callable[[], None],
        *,
        compress: bool = True,
    ) -> None:
        self._broadcast = broadcast
        self._last = last_event_id
        self._pulse = pulse
        self._left = left
        self._compress = compress
        self._outlet: Outlet
        self._edition: Edition
        self._seen = 0
        self._in_step = False
        self._busy: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_open = False  # the first bytes are out; before that, news wait
        self._is_ended = False

    def end(self) -> None:
        """End the stream from our side; no news are sent after this.

        To be called in its event loop. Ending twice, and before it has begun, is fine.
        """
        if not self._is_ended:
            self._is_ended = True
            if self._task is not None:
                self._task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._pulse.follow(self._broadcast)
        try:
            await self._run(scope, receive, send)
        finally:
            self._pulse.leave(self._broadcast)
            self._left()

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        gzip = self._compress and accepts_gzip(Headers(scope=scope).get("accept-encoding", ""))
        wire = scope.get(WIRE) if scope["http_version"] == "1.1" else None
        self._edition = self._broadcast.edition("gzip" if gzip else "identity", chunked=wire is not None)
        self._outlet = AsgiOutlet(send) if wire is None else WireOutlet(wire)
        headers = _GZIP_HEADERS if gzip else _RAW_HEADERS
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if await self._until_gone(receive):
                return
            if self._is_open and self._busy is None:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:  # it takes nothing, not even the end
                self._outlet.abort()
        except OSError:  # the peer went while we wrote; a server may say it this way
            pass

    async def _until_gone(self, receive: Receive) -> bool:
        """Keep the viewer informed. Returns whether it has gone; else the stream is over from our side."""
        self._task = task = asyncio.current_task()
        unlisten = self._broadcast.listen(self._tell)
        try:
            if self._is_ended or self._broadcast.closed:
                return False
            await self._open()
            while (await receive())["type"] != "http.disconnect":
                pass
            return True
        except asyncio.CancelledError:
            # `uncancel` says how many wanted it besides ourselves.
            if not self._is_ended or task is None or task.uncancel():
                raise
            return False
        finally:
            self._task = None
            self._is_ended = True
            unlisten()
            if self._busy is not None:
                self._busy.cancel()
                await asyncio.wait((self._busy,))

    async def _open(self) -> None:
        """The first bytes, in the viewer's own task."""
        seen = self._broadcast.resume(self._last)
        greeting = self._pulse.sign() if seen else self._pulse.sign() + anew()
        opening, self._in_step = self._edition.begin(seen, greeting)
        self._seen = self._broadcast.number
        await self._outlet.open(opening[:_PART])
        await self._in_parts(opening[_PART:])
        self._is_open = True
        self._tell()

    def _tell(self) -> None:
        """There is news: write it, unless the viewer is busy; who finishes that goes on with the newest."""
        if self._broadcast.closed:
            self.end()
        elif self._is_open and self._busy is None and not self._is_ended:
            try:
                if not (body := self._take()):
                    return
                rest = self._outlet.write(body) if len(body) <= _PART else self._in_parts(body)
                if rest is not None:
                    self._busy = asyncio.get_running_loop().create_task(self._pour(rest))
            except OSError:
                self.end()

    def _take(self) -> bytes:
        """What the viewer lacks; it counts as seen."""
        body = self._edition.piece(self._seen, self._in_step)
        if body:
            self._seen = self._broadcast.number
            self._in_step = True
        return body

    async def _in_parts(self, body: bytes) -> None:
        for start in range(0, len(body), _PART):
            if (rest := self._outlet.write(body[start : start + _PART])) is not None:
                await rest

    async def _pour(self, rest: Awaitable[None]) -> None:
        """Finish what was begun, and go on until nothing is lacking."""
        try:
            await rest
            while not self._is_ended and (body := self._take()):
                await self._in_parts(body)
            self._busy = None
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if not isinstance(error, OSError):
                log.exception("a stream broke")
            self.end()
