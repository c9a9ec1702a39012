"""`LiveLake`: a lake whose queries can be watched; what `livelake.open` returns.

However many watch a query, one task refreshes it. When the last one leaves, the watch lingers for a moment, so
that a page reload finds it still warm.
"""

from __future__ import annotations

import asyncio
import math
import weakref
from collections.abc import Coroutine, Generator, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, TypedDict, Unpack

from livelake.cache import AnalyticsCache, Loaded, Read, Refresher, Slot, Watched
from livelake.cache.refresh import Touch
from livelake.clock import SYSTEM, Clock
from livelake.engine import Limits
from livelake.errors import ClosedError, LivelakeError, UsageError
from livelake.events import Bus, LocalBus
from livelake.invalidation import CacheInvalidator
from livelake.lake import Answer, Joint, Lake, Parameters, Query, Result
from livelake.live.feed import Feed, Topic, overtaken_since
from livelake.live.page import Page
from livelake.live.updates import FIRST, Updates, ended
from livelake.token import Token, check_token

# Seconds for which a read that demands a point waits for it, unless it says how long.
_PATIENCE = 5.0

# Seconds for which a query stays watched after its last watcher has left.
_LINGER = 5.0


class _Watch:
    """One watched query: its topic, the task that refreshes it, and how many look at it."""

    def __init__(self, question: Query) -> None:
        self.question = question
        self.topic = Topic()
        self.watched: Watched[Result] | None = None
        self.watchers = 0
        self.leaving: asyncio.TimerHandle | None = None
        self.slot: Slot[Answer] | None = None  # what its newest result was taken from
        self.reason = FIRST


class Asked(TypedDict, total=False):
    """What else `Lake.query` takes."""

    as_of: Mapping[str, int] | None
    depends_on: str | Iterable[str]
    ttl: float | None
    fresh: bool
    stale_while_revalidate: float | None
    stale_if_error: float | None
    untrusted: bool | None
    max_rows: int | None
    max_result_bytes: int | None


class LiveLake(Lake):
    """A `Lake` with `live`, on a bus. Live queries belong to the event loop that opened the lake."""

    bus: Bus
    updates: Updates
    """Every change of an answer that is watched, and why: for those who push by other means."""
    refresh_every: float = 1.0
    """Seconds between the refreshes of a watched query that no change announces (files, ``now()``)."""
    look_every: float = 30.0
    """Longest sleep of a watched query whose answer time ends: the wall clock may be set, a laptop may be shut."""

    def _go_live(self, bus: Bus | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._owns_bus = bus is None
        self.bus = LocalBus() if bus is None else bus
        self._invalidator = CacheInvalidator(self.cache, self.bus)
        self._invalidator.start()
        self.refresher = Refresher()
        self._pages: weakref.WeakSet[Page] = weakref.WeakSet()
        self.updates = Updates(self.watch, self.unwatch)
        self._watches: dict[Topic, _Watch] = {}
        self._shared: dict[tuple[Any, ...], _Watch] = {}  # by question; lazy ones are each asker's own

    def query(
        self,
        sql: str,
        parameters: Parameters = None,
        *,
        not_before: Token | None = None,
        timeout: float | None = None,
        **asked: Unpack[Asked],
    ) -> Coroutine[Any, Any, Result]:
        """`Lake.query`, where ``not_before`` may also be the token of a publication, here or on another node.

        Waits until the bus has applied here what the token speaks of, then reads. ``timeout`` is for all of it;
        without one the bus has 5 s. `BusyError` says what was not heard by then.
        """
        if not_before is None:  # the path of a hit: no frame of ours, and nothing handed on that was not given
            if timeout is None and not asked:
                return Lake.query(self, sql, parameters)
            return Lake.query(self, sql, parameters, timeout=timeout, **asked)
        return self._query_after(not_before, timeout, sql, parameters, asked)

    async def _query_after(
        self, token: Token, timeout: float | None, sql: str, parameters: Parameters, asked: Asked
    ) -> Result:
        if self._closed:
            raise ClosedError("this lake is closed")
        check_token(token)
        if token.positions:
            began = self._clock.monotonic()
            await self.bus.reached(token, timeout=_PATIENCE if timeout is None else timeout)
            if timeout is not None:
                timeout = max(0.0, timeout - (self._clock.monotonic() - began))
        return await super().query(sql, parameters, not_before=token, timeout=timeout, **asked)

    def live(
        self,
        sql: str,
        parameters: Parameters = None,
        *,
        depends_on: str | Iterable[str] = (),
        ttl: float | None = None,
    ) -> Feed:
        """The query's result now, and again after every change that matters to it.

            async for result in lake.live("SELECT count(*) AS orders FROM orders"):
                print(result.rows())

        Raises `UsageError` on another event loop than the lake's, `ParameterError` at once, and `QueryError`
        from the first iteration.
        """
        question = self.ask(sql, parameters, depends_on=depends_on, ttl=ttl)
        topic = self.watch(question)
        return Feed(topic, lambda: self.unwatch(topic))

    def watch(self, question: Query, *, eager: bool = True) -> Topic:
        """The topic of a query, refreshed until as many calls of `unwatch` have followed.

        A lazy one is computed once: when its data has changed, its state says that it is stale.
        """
        if self._closed:
            raise ClosedError("this lake is closed")
        if asyncio.get_running_loop() is not self._loop:
            raise UsageError("live queries belong to the event loop that opened the lake; open it on this one")
        watch = self._shared.get(question.key) if eager else None
        if watch is None:
            watch = _Watch(question)
            topic = watch.topic
            self._watches[topic] = watch
            self.updates.begin(question)
            topic.listen(partial(self._announce, watch))
            if eager:
                self._shared[question.key] = watch

            async def load(touch: Touch, watch: _Watch = watch) -> Loaded[Result]:
                return await self._load(watch, question, touch, self.look_every if eager else math.inf)

            overtaken = None if eager else overtaken_since
            watch.watched = self.refresher.watch(
                load,
                topic.publish,
                topic.fail,
                overtaken=overtaken,
                release=lambda touch: self.cache.unwatch(None, touch),
            )
        if watch.leaving is not None:
            watch.leaving.cancel()
            watch.leaving = None
        watch.watchers += 1
        return watch.topic

    def unwatch(self, topic: Topic) -> None:
        """One watcher of the topic less."""
        watch = self._watches.get(topic)
        if watch is None:
            return
        watch.watchers -= 1
        if watch.watchers == 0:
            watch.leaving = self._loop.call_later(_LINGER, self._forsake, watch)

    def _forsake(self, watch: _Watch) -> None:
        if watch.watchers == 0 and self._watches.pop(watch.topic, None) is not None:
            self._shared = {key: each for key, each in self._shared.items() if each is not watch}
            self.updates.forget(watch.question)
            assert watch.watched is not None
            assert watch.watched.task is not None
            watch.watched.task.cancel()  # the refresher owns it, and awaits it when it closes

    def _announce(self, watch: _Watch) -> None:
        state = watch.topic.state
        if not watch.topic.closed:
            self.updates.announce(watch.question, state, watch.reason if state.error is None else ended(watch.slot))

    async def _load(self, watch: _Watch, question: Query, touch: Touch, at_most: float) -> Loaded[Result]:
        read = await self.fetch(question, watcher=touch)
        if read.slot is not watch.slot:
            watch.reason, watch.slot = ended(watch.slot), read.slot
        again_in = self._again_in(read, at_most)
        return Loaded(self._result(read), again_in, lambda: self.cache.unwatch(read.slot, touch))

    def _again_in(self, read: Read[Answer], at_most: float) -> float | None:
        """Seconds after which time alone makes an answer untrue."""
        answer: Answer = read.slot.value
        if answer.footprint.why_not is not None:
            return self.refresh_every
        if read.slot.valid_until is None:
            return None
        return min(at_most, max(0.0, read.slot.valid_until - self._clock.now().timestamp()))

    # ---------------------------------------------------------------- pages

    def page(self, questions: Sequence[Query], *, eager: Sequence[bool] = ()) -> Page:
        """Several queries watched together: each `Frame` of them is of one snapshot (I7). To be closed.

        ``eager``: for each whether it is read again after a change, or computed once (all are, unless it says so).
        Raises `UsageError` on another event loop than the lake's.
        """
        if self._closed:
            raise ClosedError("this lake is closed")
        if asyncio.get_running_loop() is not self._loop:
            raise UsageError("pages belong to the event loop that opened the lake; open it on this one")
        page = Page(_Reading(self), questions, eager or [True] * len(questions), self._clock)
        self._pages.add(page)
        for question in questions:
            self.updates.begin(question)
        page.listen(partial(self._announce_page, page, questions))
        return page

    def _announce_page(self, page: Page, questions: Sequence[Query]) -> None:
        for question, state, reason in zip(questions, page.frame.panels, page.reasons, strict=True):
            if page.closed:
                self.updates.forget(question)
            elif state.number == page.frame.number:
                self.updates.announce(question, state, reason)

    async def close(self) -> None:
        """End every feed, then close the lake. Closing twice is fine."""
        if self._closed:
            return
        for watch in self._watches.values():
            if watch.leaving is not None:
                watch.leaving.cancel()
            watch.topic.close()
        self.updates.close()
        self._watches.clear()
        self._shared.clear()
        for page in list(self._pages):
            await page.close()
        await self.refresher.close()
        self._invalidator.stop()
        if self._owns_bus:
            await self.bus.close()
        await super().close()


class _Reading:
    """How a page reads its lake."""

    def __init__(self, lake: LiveLake) -> None:
        self._lake = lake

    def joint(self) -> Joint:
        return self._lake.joint()

    async def read_for(self, question: Query, touch: Touch, joint: Joint, *, fresh: bool) -> Read[Answer]:
        return await self._lake.fetch(question, watcher=touch, joint=joint, fresh=fresh)

    async def caught_up(self, at: Mapping[str, int]) -> bool:
        watcher = self._lake.watcher
        if _reached(watcher.heads(), at):
            return True
        try:
            await asyncio.to_thread(watcher.look)
        except LivelakeError:  # the watcher says so
            return False
        return _reached(watcher.heads(), at)

    def again_in(self, read: Read[Answer]) -> float | None:
        return self._lake._again_in(read, self._lake.look_every)

    def release(self, read: Read[Answer] | None, touch: Touch) -> None:
        self._lake.cache.unwatch(None if read is None else read.slot, touch)

    def result_of(self, read: Read[Answer]) -> Result:
        return self._lake._result(read)


def _reached(heads: Mapping[str, int], at: Mapping[str, int]) -> bool:
    return all(heads.get(name, version) >= version for name, version in at.items())


class Opening:
    """What `open` returns: ``async with`` it, or ``await`` it and close the lake yourself."""

    def __init__(self, uri: str, bus: Bus | None, settings: dict[str, Any]) -> None:
        self._uri = uri
        self._bus = bus
        self._settings = settings
        self._lake: LiveLake | None = None

    async def _open(self) -> LiveLake:
        lake = await LiveLake.attach(self._uri, **self._settings)
        lake._go_live(self._bus)
        return lake

    def __await__(self) -> Generator[Any, None, LiveLake]:
        return self._open().__await__()

    async def __aenter__(self) -> LiveLake:
        self._lake = await self._open()
        return self._lake

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._lake is not None
        await self._lake.close()


def open(
    uri: str,
    *,
    as_name: str | None = None,
    attach: Mapping[str, str] | None = None,
    bus: Bus | None = None,
    cache: AnalyticsCache | None = None,
    read_only: bool = False,
    create: bool = True,
    poll_interval: float = 0.25,
    remote_poll: float | None = None,
    workers: int = 4,
    clock: Clock = SYSTEM,
    limits: Limits | None = None,
    untrusted: bool = False,
    settings: Mapping[str, str] | None = None,
) -> Opening:
    """Open a lake: ``async with livelake.open("ducklake:sqlite:sales.sqlite") as lake: …``.

    ``uri`` is attached under its file's stem (``as_name`` overrides) and is the default catalog; ``attach`` adds
    others under their names. ``bus`` brings events of other processes (open it first, close it last), ``cache``
    replaces the built-in one.
    With ``create``, a database that is not there is made. ``poll_interval``: seconds between looks at the
    commit logs; ``remote_poll``: between questions to a server whether its catalog has changed (8 of those unless
    told otherwise). ``workers``: how many queries run at once. ``limits``: what an answer and a query may cost, see
    `Limits`. ``untrusted``: the SQL of every query is a stranger's, and may read the tables of this lake and nothing
    else. ``settings``: DuckDB's own (``{"TimeZone": "Europe/Berlin"}``); they are locked once the lake is open.
    """
    given = {
        "as_name": as_name,
        "others": attach,
        "cache": cache,
        "read_only": read_only,
        "create": create,
        "poll_interval": poll_interval,
        "remote_poll": remote_poll,
        "workers": workers,
        "clock": clock,
        "limits": limits or Limits(),
        "untrusted": untrusted,
        "settings": settings,
    }
    return Opening(uri, bus, given)
