"""The bus of answers: which watched queries have changed, and why. For users who push by means of their own.

Apart from the event bus: an event says that something *happened*, an update that an *answer* is another one now. A
watched query is one that a feed, a page or a subscription looks at; an equal answer is no update.

A subscription holds one update a query, the newest, in the order in which they began to wait: however slow its
reader is, nothing queues up behind it (I5), and an older answer never follows a newer one (I8). Publishing waits for
nobody. All of it belongs to the event loop of the lake.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

from livelake.cache import Change, Slot
from livelake.errors import ClosedError
from livelake.keys import decode_chunk
from livelake.lake import Query, Result
from livelake.lake.files import FILES
from livelake.live.feed import State, Topic

Key: TypeAlias = tuple[Any, ...]
Cause: TypeAlias = Literal["first", "commit", "file", "event", "time", "dropped"]


@dataclass(frozen=True, slots=True)
class Reason:
    """What ended the answer before this one; of several changes at once, the one that was heard of first.

    ``first``: there was none. ``commit``: of ``catalog``, its ``snapshot``, to what ``key`` names. ``file``: the one
    at ``key``, as the query names it, was written. ``event``: it was
    published under ``key``, or one may have been missed, and then the key is a wild one. ``time``: its time was over,
    only the clock refreshes it, or somebody asked for a fresh one. ``dropped``: the cache was told to, in the words
    of ``key``.
    """

    cause: Cause
    key: str | None = None
    catalog: str | None = None
    snapshot: int | None = None

    def __str__(self) -> str:
        match self.cause:
            case "commit":
                return f"commit {self.snapshot} of {self.catalog} ({self.key})"
            case "file":
                return f"{self.key} was written"
            case "event":
                return f"event {self.key}"
            case "time":
                return "its time was over"
            case "dropped":
                return str(self.key)
            case "first":
                return "the first answer"


FIRST = Reason("first")


def ended(before: Slot[Any] | None) -> Reason:
    """Why the answer that ``before`` holds is not the present one any more. Pure."""
    if before is None:
        return FIRST
    match before.dropped_by:
        case Change(key, source, _) if source == FILES:
            return Reason("file", decode_chunk(key.rsplit("/", 1)[1]))
        case Change(key, source, version) if source is not None:
            return Reason("commit", str(key), source, version)
        case Change(key):
            return Reason("event", str(key))
        case str(words) if words != "replaced":  # that one: no change ended it, another computation came after
            return Reason("event" if "/" in words or "*" in words else "dropped", words)
        case _:
            return Reason("time")


@dataclass(frozen=True, slots=True)
class Update:
    """One watched query has another answer.

    ``number`` grows with each update of a query, as long as it is watched. A refresh that failed is told
    too: ``error`` says why, and ``result`` is the last good one, marked ``stale``; None if there never was one.
    """

    query: Query
    number: int
    result: Result | None
    reason: Reason
    error: Exception | None = None

    @property
    def etag(self) -> str | None:
        """Equal for equal content; None without a result."""
        return None if self.result is None else self.result.etag

    @property
    def as_of(self) -> Mapping[str, int]:
        """The snapshot of each catalog that was read."""
        return {} if self.result is None else self.result.as_of


class Updates:
    """See the module: ``lake.updates``. Iterating it subscribes to every query that is watched; each loop by itself.

    async for update in lake.updates:
        print(update.query.sql, update.reason, update.result.rows())
    """

    def __init__(self, watch: Callable[[Query], Topic], unwatch: Callable[[Topic], None]) -> None:
        self._watch = watch
        self._unwatch = unwatch
        self._watched: Counter[Key] = Counter()  # by how many; pages and feeds may watch one query each by itself
        self._newest: dict[Key, Update] = {}
        self._subscriptions: weakref.WeakSet[Subscription] = weakref.WeakSet()
        self._closed = False

    def subscribe(self, *queries: Query) -> Subscription:
        """The present answers of these queries, then each that differs; they are watched until it is closed.

        Without any: of all that are watched, whoever watches them. Make a query with ``lake.ask(sql, parameters)``.
        """
        if self._closed:
            raise ClosedError("this lake is closed")
        topics = [self._watch(query) for query in queries]
        unwatch = self._unwatch
        wanted = frozenset(query.key for query in queries) or None
        made = Subscription(wanted, lambda: [unwatch(topic) for topic in topics])
        for key, update in self._newest.items():
            made._put(key, update)
        self._subscriptions.add(made)
        return made

    def __aiter__(self) -> Subscription:
        return self.subscribe()

    def begin(self, query: Query) -> None:
        """One watcher more; for whoever refreshes it, as all that follow, on the lake's loop."""
        self._watched[query.key] += 1

    def announce(self, query: Query, state: State, reason: Reason) -> None:
        """This is where the query stands. Never waits. What is known already, or is older than that, is no update."""
        if query.key not in self._watched or (state.result is None and state.error is None):
            return
        result, before = state.result, self._newest.get(query.key)
        if result is not None and state.error is not None:
            result = Result(result.answer, "stale", result.age, str(state.error))
        update = Update(query, 1 if before is None else before.number + 1, result, reason, state.error)
        if before is not None and (_are_equal(before, update) or _is_older(update, before)):
            return
        self._newest[query.key] = update
        for each in list(self._subscriptions):
            each._put(query.key, update)

    def forget(self, query: Query) -> None:
        """One watcher less. Of what nobody watches, nobody is told."""
        self._watched[query.key] -= 1
        if self._watched[query.key] <= 0:
            del self._watched[query.key]
            self._newest.pop(query.key, None)
            for each in list(self._subscriptions):
                each._pending.pop(query.key, None)

    def close(self) -> None:
        """End every subscription, once what waits for it has been read."""
        self._closed = True
        self._watched.clear()
        self._newest.clear()
        for each in list(self._subscriptions):
            each._over = True
            each._news.set()


def _are_equal(one: Update, other: Update) -> bool:
    return one.etag == other.etag and str(one.error) == str(other.error)


def _is_older(one: Update, other: Update) -> bool:
    """Whether ``one`` was read at an earlier state: a page and a feed may tell of one query in any order (I8)."""
    return any(version < other.as_of.get(catalog, version) for catalog, version in one.as_of.items())


class Subscription:
    """One reader of `Updates`: an async iterator, for one task. Cancelling the iteration loses nothing.

    Ends when it is closed; raises `ClosedError` when the lake was. One that nothing refers to any more has ended too.
    """

    def __init__(self, wanted: frozenset[Key] | None, leave: Callable[[], object]) -> None:
        self._wanted = wanted
        self._leave: Callable[[], object] | None = leave
        self._pending: dict[Key, Update] = {}
        self._news = asyncio.Event()
        self._over = False
        self._loop = asyncio.get_running_loop()

    def _put(self, key: Key, update: Update) -> None:
        if self._leave is not None and not self._over and (self._wanted is None or key in self._wanted):
            self._pending[key] = update  # one that waits already keeps its turn
            self._news.set()

    @property
    def waiting(self) -> int:
        """How many updates wait to be read: at most one a query."""
        return len(self._pending)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update:
        while True:
            if self._leave is None:
                raise StopAsyncIteration
            if self._pending:
                return self._pending.pop(next(iter(self._pending)))
            if self._over:
                await self.aclose()
                raise ClosedError("the lake was closed while its updates were read")
            self._news.clear()
            await self._news.wait()

    def _end(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    async def aclose(self) -> None:
        """Read no more. Closing twice is fine."""
        self._pending.clear()
        self._end()
        self._news.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if self._leave is not None:  # broken out of: `async for` does not close what it iterates
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._leave)
