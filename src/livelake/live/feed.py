"""Topics and feeds: the successive states of one watched query, for any number of watchers.

A `Topic` holds the newest state and a number that grows with each. A `Feed` remembers which number its watcher
has seen. There is no queue anywhere: however slow a watcher is, one state waits for it, the newest (I5, I8).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from livelake.errors import BusyError, ClosedError
from livelake.lake import Result


@dataclass(frozen=True, slots=True)
class State:
    """Where a watched query stands: its newest good result, and the error that came after it, if one did."""

    number: int = 0
    result: Result | None = None
    error: Exception | None = None


def overtaken_since() -> Exception:
    """What a lazy query's state says once its data has changed."""
    return BusyError("the data has changed since; reload the page for the new result")


class Topic:
    """One watched query. Lives on one event loop."""

    def __init__(self) -> None:
        self.state = State()
        self.closed = False
        self._listeners: dict[Callable[[], None], None] = {}

    def publish(self, result: Result) -> None:
        """A new result. An equal one replaces the old silently: nobody is woken for what they have seen."""
        before = self.state
        same = before.result is not None and before.error is None and before.result.etag == result.etag
        self._set(State(before.number + (not same), result), wake=not same)

    def fail(self, error: Exception) -> None:
        """The query failed. The last good result stays, with the error beside it."""
        before = self.state
        same = before.error is not None and str(before.error) == str(error)
        self._set(State(before.number + (not same), before.result, error), wake=not same)

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake()`` after each change; returns what ends that."""
        self._listeners[wake] = None
        return lambda: self._listeners.pop(wake, None)

    def close(self) -> None:
        """Wake everyone for the last time."""
        self.closed = True
        self._wake()

    def _set(self, state: State, *, wake: bool) -> None:
        self.state = state
        if wake:
            self._wake()

    def _wake(self) -> None:
        for wake in list(self._listeners):
            wake()


class Feed:
    """The successive results of a query for one watcher: the present one first, then each that differs.

    An async iterator, for one task; made by `LiveLake.live`. It ends when it is closed. If the query fails
    before it ever answered, the error is raised; later failures yield the last good result with status ``stale``
    and its ``error`` said, until the query answers again. Cancelling the iteration loses nothing.
    """

    def __init__(self, topic: Topic, leave: Callable[[], None]) -> None:
        self._topic = topic
        self._leave: Callable[[], None] | None = leave
        self._seen = 0
        self._news = asyncio.Event()
        self._news.set()
        self._unlisten = topic.listen(self._news.set)
        self._loop = asyncio.get_running_loop()

    def __del__(self) -> None:
        # `async for` does not close an iterator that is broken out of. Nothing refers to the feed from
        # elsewhere (the topic knows its event only), so the watch ends when the last reference is gone.
        if self._leave is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            self._unlisten()
            leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result:
        while True:
            if self._leave is None:
                raise StopAsyncIteration
            await self._news.wait()
            self._news.clear()
            state = self._topic.state
            if state.number > self._seen:
                self._seen = state.number
                if state.error is None:
                    assert state.result is not None
                    return state.result
                if state.result is None:
                    await self.aclose()
                    raise state.error
                return Result(state.result.answer, "stale", state.result.age, str(state.error))
            if self._topic.closed:
                await self.aclose()
                raise ClosedError("the lake was closed while it was watched")

    async def aclose(self) -> None:
        """Stop watching. Closing twice is fine."""
        self._end()
        self._news.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()
