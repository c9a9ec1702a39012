"""The stream of one viewer: the race between news, heartbeat and disconnect, in one place.

A plain ASGI endpoint. Two tasks a viewer at most: the one that sends, and one that waits in ``receive()``,
without which a server's ``send`` after a disconnect would return silently for ever. Server-sent events after
https://html.spec.whatwg.org/multipage/server-sent-events.html, in Datastar's words.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime

from starlette.types import Receive, Scope, Send

from livelake.web.channel import Channel
from livelake.web.datastar import heartbeat

HEARTBEAT = 15.0
"""Seconds. The page takes a stream for dead that says nothing for 40."""

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx would hold events back
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class Stream:
    """Sends a channel to one viewer until either goes. ``left`` is called exactly once, whatever happens."""

    def __init__(
        self,
        channel: Channel,
        last_event_id: str | None,
        now: Callable[[], datetime],
        every: float,
        left: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._seen = channel.resume(last_event_id)
        self._now = now
        self._every = every
        self._left = left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        news = asyncio.Event()
        unlisten = self._channel.listen(news.set)
        gone = asyncio.get_running_loop().create_task(_gone(receive))
        gone.add_done_callback(lambda _task: news.set())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _RAW_HEADERS})
            await self._pour(send, news, gone)
            if not gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:  # the peer went while we wrote; a server may say it this way
            pass
        finally:
            unlisten()
            self._left()
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone

    async def _pour(self, send: Send, news: asyncio.Event, gone: asyncio.Task[None]) -> None:
        channel = self._channel
        body = heartbeat(self._now())
        while True:
            news.clear()
            body += channel.since(self._seen)
            self._seen = channel.number
            if body:
                # Waits while the viewer's buffers are full. What comes meanwhile is not queued: the next round
                # takes the newest frame of each panel.
                await send({"type": "http.response.body", "body": body, "more_body": True})
            if gone.done() or channel.closed:
                return
            body = b""
            try:
                async with asyncio.timeout(self._every):
                    await news.wait()
            except TimeoutError:
                body = heartbeat(self._now())
            if gone.done():
                return


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
