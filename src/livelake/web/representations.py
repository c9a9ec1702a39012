"""Bodies that were written, kept by their ETag: the least recently used make room, by bytes.

An ETag names bytes (`caching.etag_of`), so nothing here is ever out of date: what changed has another name. One
event loop uses it. Whoever asks for a body that is being written waits for that; it is written in a thread.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Representations"]


class Representations:
    """At most ``most_bytes`` of bodies; one that is longer than an eighth of that is not kept."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.nbytes = 0
        self.hits = 0
        self.written = 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._writing: dict[str, asyncio.Future[bytes]] = {}

    def find(self, etag: str) -> bytes | None:
        """The body, if it is kept."""
        body = self._kept.get(etag)
        if body is not None:
            self._kept.move_to_end(etag)
            self.hits += 1
        return body

    async def get(self, etag: str, write: Callable[[], bytes]) -> bytes:
        """The body, written by ``write`` if need be; its errors are raised to all who wait, and not kept.

        Cancelling the caller cancels nobody else's wait.
        """
        body = self.find(etag)
        if body is not None:
            return body
        writing = self._writing.get(etag)
        if writing is None:
            writing = asyncio.ensure_future(asyncio.to_thread(write))
            self._writing[etag] = writing
            writing.add_done_callback(lambda done: self._keep(etag, done))
        return await asyncio.shield(writing)

    def __len__(self) -> int:
        return len(self._kept)

    def _keep(self, etag: str, done: asyncio.Future[bytes]) -> None:
        del self._writing[etag]
        if done.cancelled() or done.exception() is not None:  # looked at: whoever asked may be gone
            return
        body = done.result()
        self.written += 1
        if len(body) > self.most_bytes // 8:
            return
        self._kept[etag] = body
        self.nbytes += len(body)
        while self.nbytes > self.most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.nbytes -= len(oldest)
