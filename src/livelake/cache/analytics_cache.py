"""`AnalyticsCache`: answers that are dropped when what they depend on changes.

Contract. All methods may be called from any thread; coroutines from any number of event loops at once. A
change that `apply` has acknowledged is seen by every read that begins afterwards (I1): entries that depend on
it are stale, and flights that it overlapped are *fenced*: they still answer those who waited, and are kept for
nobody else. What a computation depends on is registered before it starts (I2). At most one computation runs
per key and state of the data (I3). A failed computation is raised to those who waited and never kept (I6).

How it holds together. `_entries` and `_flights` are the truth, one lock guards them and the index, and the
store (moka) only decides what is worth its bytes. A hit takes no lock: it finds the slot in the store and
looks at `fresh_until`, which a change sets to -inf before `apply` returns. Everything else goes through the
lock, and never calls moka, user code or an event loop while it holds it; such work is queued as a *chore*.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import inspect
import itertools
import math
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, Self, TypeVar, cast

from livelake.cache.dependencies import Dependencies, key_exprs
from livelake.cache.flight import Flight, Run, Waiter, deliver
from livelake.cache.read import CacheStats, Explanation, Read
from livelake.cache.slot import FOREVER, NEVER, Change, Slot
from livelake.cache.store import Store, size_in_bytes
from livelake.clock import SYSTEM, Clock
from livelake.errors import BusyError, ClosedError, UsageError
from livelake.keys import KeyExpr

V = TypeVar("V")
AnySlot = Slot[Any]
Watcher = Callable[[], None]

# Changes remembered for one flight that has not said yet what it reads; more are folded into "anything".
_UNSEEN_LIMIT = 64
# How often a follower on another loop looks whether the loop that leads its flight is still there.
_LEADER_CHECK = 1.0
_NOTHING: frozenset[KeyExpr] = frozenset()


class AnalyticsCache:
    """See the module. Times are float seconds.

    ``max_capacity`` bounds the number of entries and ``max_bytes`` the sum of what ``size_of`` says of their
    values. ``time_to_live`` counts from the moment a computation began, ``time_to_idle`` from the last read.
    A stale entry is kept for ``keep_stale``, for readers that ask for one. When the last caller that waits for
    a flight has left, the flight is cancelled after ``grace``.
    """

    def __init__(
        self,
        max_capacity: int = 1_000,
        time_to_live: float | None = 300.0,
        time_to_idle: float | None = 60.0,
        max_bytes: int | None = None,
        *,
        keep_stale: float = 60.0,
        grace: float = 0.25,
        size_of: Callable[[Any], int] = size_in_bytes,
        clock: Clock = SYSTEM,
    ) -> None:
        for name, seconds in (("time_to_live", time_to_live), ("time_to_idle", time_to_idle)):
            if seconds is not None and seconds <= 0:
                raise UsageError(f"{name}={seconds}: must be more than 0 seconds, or None for no limit")
        self.time_to_live = FOREVER if time_to_live is None else time_to_live
        self.time_to_idle = FOREVER if time_to_idle is None else time_to_idle
        self.keep_stale = keep_stale
        self.grace = grace
        self._monotonic = clock.monotonic
        self._wall = clock.now
        self._lock = threading.Lock()
        self._index = Dependencies()
        self._entries: dict[Hashable, AnySlot] = {}
        self._flights: dict[Hashable, Flight[Any]] = {}
        self._store = Store(max_capacity, max_bytes, size_of)
        self._find = self._store.get
        self._deadlines: list[tuple[float, int, AnySlot]] = []
        self._order = itertools.count()
        self._chores: deque[tuple[Literal["put", "remove"], AnySlot]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._hits = itertools.count()  # `next` is atomic, and a hit takes no lock
        self._count: Counter[str] = Counter()

    # ---------------------------------------------------------------- reading

    def get(self, key: Hashable, default: Any = None) -> Any:
        """The fresh value under ``key``, or ``default``. Never computes, never waits."""
        slot = self._find(key)
        if slot is not None:
            now = self._monotonic()
            if (
                now < slot.fresh_until
                and now < slot.idle_until
                and (slot.valid_until is None or self._wall().timestamp() < slot.valid_until)
            ):
                slot.idle_until = now + self.time_to_idle
                next(self._hits)
                return slot.value
        slot = self._look(key)
        return default if slot is None else slot.value

    async def get_or_compute(
        self,
        key: Hashable,
        compute: Callable[[], Any],
        *,
        depends_on: str | Iterable[str] = (),
        valid_until: datetime | None = None,
        time_to_live: float | None = None,
        stale_if_error: float | None = None,
    ) -> Any:
        """The value under ``key``; where there is none, ``compute()`` once for all who ask meanwhile.

        ``compute`` may be a coroutine function, or a plain function, which then runs in a thread. An empty
        ``depends_on`` says that no change ever concerns it; ``"**"`` that every change does. What ``compute``
        raises is raised to each waiting caller and not kept, unless ``stale_if_error`` allows an answer that
        went stale at most so many seconds ago. Cancelling one caller cancels nobody else.
        """
        slot = self.peek(key)
        if slot is not None:
            return slot.value
        read = await self.fetch(
            key,
            _plain(compute),
            depends_on=key_exprs(depends_on),
            valid_until=_timestamp(valid_until),
            time_to_live=time_to_live,
            stale_if_error=stale_if_error,
        )
        return read.value

    def peek(self, key: Hashable) -> AnySlot | None:
        """The slot of a fresh entry, counted as a hit; None where it takes a `fetch` to know. No lock, no wait."""
        slot = self._find(key)
        if slot is not None:
            now = self._monotonic()
            if (
                now < slot.fresh_until
                and now < slot.idle_until
                and (slot.valid_until is None or self._wall().timestamp() < slot.valid_until)
            ):
                slot.idle_until = now + self.time_to_idle
                next(self._hits)
                return slot
        return None

    async def fetch(
        self,
        key: Hashable,
        run: Run[V],
        *,
        depends_on: frozenset[KeyExpr] = _NOTHING,
        valid_until: float | None = None,
        time_to_live: float | None = None,
        fresh: bool = False,
        stale_if_error: float | None = None,
        pins: bool = False,
        watcher: Watcher | None = None,
    ) -> Read[V]:
        """`get_or_compute` for those who build on the cache.

        ``run(flight)`` computes; with ``pins`` it promises to call `Flight.pin` when it begins to read, and
        until then changes that carry a version do not fence it. ``fresh`` refuses entries and any flight that
        already reads: what it returns was read after the call. ``watcher`` is attached to the slot that
        answers, before it can change: it is called once, in whichever thread hears of it, when that slot is
        no longer true. Detach it with `unwatch`.
        """
        loop = asyncio.get_running_loop()
        joined = False
        while True:
            with self._lock:
                if self._closed:
                    raise ClosedError("this cache is closed")
                self._tidy()
                entry = None if fresh else self._fresh_entry(key)
                if entry is not None:
                    if watcher is not None:
                        entry.watchers.append(watcher)
                    next(self._hits)
                else:
                    flight = self._flights.get(key)
                    joined = flight is not None and not (fresh and flight.begun and flight.reading)
                    if flight is None or not joined:
                        flight = self._lead(key, loop, depends_on, flight)
                        flight.reading = not pins
                        flight.slot.valid_until = valid_until
                    self._count["joins" if joined else "misses"] += 1
                    waiter: Waiter = loop.create_future()
                    flight.waiters[waiter] = loop
                    if watcher is not None:
                        flight.slot.watchers.append(watcher)
            self._do_chores()
            if entry is not None:
                return Read(entry, "hit")
            assert flight is not None
            if not joined:
                lasts = self.time_to_live if time_to_live is None else time_to_live
                flight.task = loop.create_task(self._fly(flight, run, lasts))
                self._tasks.add(flight.task)
                flight.task.add_done_callback(self._tasks.discard)
            try:
                await self._wait(flight, waiter, loop)
            except asyncio.CancelledError:
                self._leave(flight, waiter, watcher)
                raise
            if flight.lost:
                continue
            if flight.error is not None:
                return self._last_good(key, flight.error, stale_if_error)
            if not flight.keep:
                self._count["bypasses"] += 1
                return Read(flight.slot, "bypass")
            return Read(flight.slot, "joined" if joined else "miss")

    # ---------------------------------------------------------------- changing

    def insert(
        self,
        key: Hashable,
        value: Any,
        *,
        depends_on: str | Iterable[str] = (),
        valid_until: datetime | None = None,
        time_to_live: float | None = None,
    ) -> None:
        """Keep ``value``. It replaces what is there, and a flight for ``key`` is fenced: its answer is older.

        A value that was computed before a change and inserted after it is the caller's error;
        `get_or_compute` cannot make it.
        """
        slot: AnySlot = Slot(key, key_exprs(depends_on))
        slot.value = value
        slot.landed = True
        slot.landed_at = self._monotonic()
        slot.computed_at = self._wall().timestamp()
        slot.valid_until = _timestamp(valid_until)
        fits = self._store.weigh(slot)
        woken: list[Watcher] = []
        with self._lock:
            self._check_open()
            self._tidy()
            flight = self._flights.get(key)
            if flight is not None:
                self._make_stale(flight.slot, "replaced by insert", woken)
            self._index.register(slot)
            self._keep(slot, self.time_to_live if time_to_live is None else time_to_live, woken)
            if fits:
                self._chores.append(("put", slot))
            else:
                self._forget(slot)
        self._do_chores()
        _call(woken)

    def apply(self, key: str, *, source: str | None = None, version: int = 0) -> int:
        """Something under ``key`` has changed: make stale what depends on it; returns how many entries.

        With ``source`` and ``version`` (a commit in a numbered log), answers that were read from that source
        at that version or later have seen the change and stay.
        """
        return self.apply_all((Change(KeyExpr(key), source, version),))

    def apply_all(self, changes: Iterable[Change]) -> int:
        """`apply` for several changes as one step: no read falls between them."""
        woken: list[Watcher] = []
        count = 0
        with self._lock:
            for change in changes:
                for slot in self._index.match(change.key):
                    flight = slot.flight
                    if slot.has_seen(change) or (flight is not None and not flight.begun):
                        continue
                    if flight is not None and change.source is not None and not flight.reading:
                        self._remember(slot, change)
                        continue
                    count += slot.landed
                    self._make_stale(slot, change, woken)
            self._count["invalidations"] += count
        _call(woken)
        return count

    def invalidate(self, key: Hashable) -> bool:
        """Drop the entry under ``key`` and fence its flight; True if there was either."""
        woken: list[Watcher] = []
        with self._lock:
            hit = self._drop(key, "invalidated", woken)
        self._do_chores()
        _call(woken)
        return hit

    def invalidate_where(self, predicate: Callable[[Hashable], object]) -> int:
        """`invalidate` every key for which ``predicate(key)`` is true; effective when it returns.

        Flights count too. What begins to compute after the call began has seen what the caller has seen.
        """
        with self._lock:
            keys = list(dict.fromkeys((*self._entries, *self._flights)))
        chosen = [key for key in keys if predicate(key)]  # user code: outside the lock
        woken: list[Watcher] = []
        with self._lock:
            count = sum(self._drop(key, "invalidated by predicate", woken) for key in chosen)
        self._do_chores()
        _call(woken)
        return count

    def clear(self) -> int:
        """`invalidate` everything."""
        return self.invalidate_where(lambda _key: True)

    def unwatch(self, slot: Slot[Any], watcher: Watcher) -> None:
        """Detach a watcher that `fetch` attached; not being attached any more is fine."""
        with self._lock:
            with contextlib.suppress(ValueError):
                slot.watchers.remove(watcher)
            if (
                slot.landed
                and not slot.watchers
                and (slot.evicted or self._entries.get(slot.key) is not slot)
            ):
                self._forget(slot)

    # ---------------------------------------------------------------- looking

    def explain(self, key: Hashable) -> Explanation:
        """The entry or flight under ``key``, as it stands now. Changes nothing."""
        with self._lock:
            flight, slot = self._flights.get(key), self._entries.get(key)
            if slot is None and flight is None:
                return Explanation(state="absent")
            if slot is None:
                assert flight is not None
                return Explanation(state="flying", depends_on=tuple(sorted(flight.slot.depends_on)))
            now = self._monotonic()
            return Explanation(
                state="stale" if slot.is_stale else "expired" if self._expired(slot, now) else "fresh",
                depends_on=tuple(sorted(slot.depends_on)),
                pinned=slot.pinned,
                dropped_by=None if slot.dropped_by is None else str(slot.dropped_by),
                age=now - slot.landed_at,
                cost=slot.cost,
            )

    def stats(self) -> CacheStats:
        """Numbers since the cache was made."""
        with self._lock:
            fresh = sum(not slot.is_stale for slot in self._entries.values())
            hits = self._hits.__reduce__()[1][0]
            return CacheStats(hits=hits, entries=fresh, flights=len(self._flights), **self._count)

    def settle(self) -> None:
        """Carry out every pending eviction and expiry now (they are otherwise done as work comes by)."""
        self._store.settle()
        with self._lock:
            self._tidy()
        self._do_chores()

    def __len__(self) -> int:
        """How many fresh entries there are."""
        return self.stats().entries

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return self._fresh_entry(key) is not None

    def __repr__(self) -> str:
        stats = self.stats()
        return f"<AnalyticsCache entries={stats.entries} flights={stats.flights} hits={stats.hits}>"

    # ---------------------------------------------------------------- closing

    async def close(self) -> None:
        """Cancel every flight and wait for those of this loop to end. Closing twice is fine."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._closed = True
            tasks = list(self._tasks)
        mine = []
        for task in tasks:
            if task.get_loop() is loop:
                task.cancel()
                mine.append(task)
            else:
                with contextlib.suppress(RuntimeError):
                    task.get_loop().call_soon_threadsafe(task.cancel)
        await asyncio.gather(*mine, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    # ---------------------------------------------------------------- flights

    def _lead(
        self,
        key: Hashable,
        loop: asyncio.AbstractEventLoop,
        depends_on: frozenset[KeyExpr],
        superseded: Flight[Any] | None,
    ) -> Flight[Any]:
        """Enter a new flight (lock held). A superseded one is not fenced: it may not be kept, no more."""
        slot: AnySlot = Slot(key, depends_on)
        slot.flight = flight = Flight(self, slot, loop)
        flight.after = superseded
        self._index.register(slot)  # before anything is read (I2)
        self._flights[key] = flight
        return flight

    async def _fly(self, flight: Flight[V], run: Run[V], lasts: float) -> None:
        """The supervised task of one flight: every way out lands it."""
        slot = flight.slot
        try:
            if flight.after is not None:
                await self._wait_out(flight.after)
                flight.after = None
            with self._lock:
                flight.begun = True
            begun = self._monotonic()
            slot.computed_at = self._wall().timestamp()
            slot.value = await run(flight)
            slot.cost = self._monotonic() - begun
            fits = self._store.weigh(slot)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self._end(flight, lost=True)
                raise
            message = f"the computation of {slot.key!r} was cancelled from inside"
            self._end(flight, error=_caused(BusyError(message), error))
        except Exception as error:
            self._end(flight, error=error)
        except BaseException:
            self._end(flight, lost=True)
            raise
        else:
            self._land(flight, begun + lasts, fits)

    def _land(self, flight: Flight[Any], fresh_until: float, fits: bool) -> None:
        """An answer is there: keep it unless a change overtook it, then tell everyone who waits."""
        slot = flight.slot
        woken: list[Watcher] = []
        with self._lock:
            slot.landed_at = self._monotonic()
            if slot.unseen and not slot.is_stale:  # it never said what it read: nothing vouches for it
                self._make_stale(slot, slot.unseen[0], woken)
            current = self._flights.get(slot.key) is flight
            if current:
                del self._flights[slot.key]
            slot.landed = True
            slot.flight = None
            flight.done = True
            self._count["computed"] += 1
            kept = current and flight.keep and fits and not slot.is_stale and not self._closed
            if kept:
                self._keep(slot, fresh_until - slot.landed_at, woken)
                self._chores.append(("put", slot))
            elif not slot.watchers:
                self._index.discard(slot)
            waiters = flight.take_waiters()
        self._do_chores()
        deliver(waiters)
        _call(woken)

    def _end(self, flight: Flight[Any], *, error: BaseException | None = None, lost: bool = False) -> None:
        """A flight that brings no answer: an error for those who waited, or lost, and they lead again."""
        with self._lock:
            slot = flight.slot
            if self._flights.get(slot.key) is flight:
                del self._flights[slot.key]
            self._index.discard(slot)
            slot.flight = None
            slot.watchers.clear()  # whoever watches is told by the error
            flight.error, flight.lost, flight.done = error, lost, True
            self._count["errors"] += error is not None
            waiters = flight.take_waiters()
        deliver(waiters)

    async def _wait(self, flight: Flight[Any], waiter: Waiter, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the outcome, also when the loop that leads the flight goes away."""
        if flight.loop is loop:
            await waiter
            return
        while not (await asyncio.wait((waiter,), timeout=_LEADER_CHECK))[0]:
            if flight.loop.is_closed():  # nobody will ever land it
                self._end(flight, lost=True)

    async def _wait_out(self, flight: Flight[Any]) -> None:
        """Wait until ``flight`` has ended, however it ends, without counting as one who wants its answer."""
        if flight.task is None or flight.loop is not asyncio.get_running_loop():
            return
        await asyncio.wait((flight.task,))

    def _leave(self, flight: Flight[Any], waiter: Waiter, watcher: Watcher | None) -> None:
        """A caller was cancelled: it leaves alone, and nobody else notices."""
        if watcher is not None:
            self.unwatch(flight.slot, watcher)
        with self._lock:
            flight.waiters.pop(waiter, None)
            deserted = not flight.waiters and not flight.done
        if deserted:
            with contextlib.suppress(RuntimeError):  # its loop has closed: nothing is running any more
                flight.loop.call_soon_threadsafe(flight.loop.call_later, self.grace, self._abandon, flight)

    def _abandon(self, flight: Flight[Any]) -> None:
        """Cancel a flight that nobody has come back for. Runs on the loop that leads it."""
        with self._lock:
            if flight.waiters or flight.done:
                return
            if self._flights.get(flight.slot.key) is flight:
                del self._flights[flight.slot.key]  # a new caller begins anew instead of joining the dying
            self._count["abandoned"] += 1
        assert flight.task is not None
        flight.task.cancel()

    def _pin(
        self,
        flight: Flight[Any],
        versions: Mapping[str, int],
        depends_on: Iterable[KeyExpr] | None,
        valid_until: float | None,
        keep: bool,
    ) -> bool:
        slot = flight.slot
        woken: list[Watcher] = []
        with self._lock:
            slot.pinned = dict(versions)
            if depends_on is not None:
                self._index.move(slot, frozenset(depends_on))
            if valid_until is not None:
                slot.valid_until = valid_until
            flight.keep = keep
            flight.reading = True
            for change in slot.unseen:
                if not slot.has_seen(change) and any(d.intersects(change.key) for d in slot.depends_on):
                    self._make_stale(slot, change, woken)
                    break
            slot.unseen.clear()
            overtaken = slot.is_stale
        _call(woken)
        return not overtaken

    def _last_good(self, key: Hashable, error: BaseException, stale_if_error: float | None) -> Read[Any]:
        if stale_if_error is not None:
            with self._lock:
                slot = self._entries.get(key)
                if slot is not None and self._monotonic() - slot.landed_at <= stale_if_error:
                    self._count["stale_served"] += 1
                    return Read(slot, "stale")
        raise error

    # ---------------------------------------------------------------- the state (lock held)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("this cache is closed")

    def _look(self, key: Hashable) -> AnySlot | None:
        """The slow half of a look-up: what the store has lost or not yet been given may still be an entry."""
        with self._lock:
            self._tidy()
            slot = self._fresh_entry(key)
            if slot is None:
                self._count["misses"] += 1
            else:
                next(self._hits)
        self._do_chores()
        return slot

    def _fresh_entry(self, key: Hashable) -> AnySlot | None:
        slot = self._entries.get(key)
        if slot is None:
            return None
        now = self._monotonic()
        if slot.is_stale or self._expired(slot, now):
            return None
        slot.idle_until = now + self.time_to_idle
        return slot

    def _expired(self, slot: AnySlot, now: float) -> bool:
        return (
            now >= slot.fresh_until
            or now >= slot.idle_until
            or (slot.valid_until is not None and self._wall().timestamp() >= slot.valid_until)
        )

    def _keep(self, slot: AnySlot, lasts: float, woken: list[Watcher]) -> None:
        """Make a landed slot the entry of its key."""
        before = self._entries.get(slot.key)
        if before is not None:
            self._make_stale(before, "replaced", woken)
        now = self._monotonic()
        slot.fresh_until = now + lasts
        slot.idle_until = now + self.time_to_idle
        self._entries[slot.key] = slot
        until = min(slot.fresh_until, slot.idle_until)
        if slot.valid_until is not None:
            until = min(until, now + max(0.0, slot.valid_until - self._wall().timestamp()))
        self._sweep_at(until, slot)

    def _remember(self, slot: AnySlot, change: Change) -> None:
        """Note a change for a flight that has not pinned yet; beyond a bound, per source and for any key."""
        slot.unseen.append(change)
        if len(slot.unseen) > _UNSEEN_LIMIT:
            newest: dict[str | None, int] = {}
            for seen in slot.unseen:
                newest[seen.source] = max(seen.version, newest.get(seen.source, 0))
            slot.unseen = [Change(KeyExpr("**"), source, version) for source, version in newest.items()]

    def _make_stale(self, slot: AnySlot, cause: Change | str, woken: list[Watcher]) -> None:
        """Fence a flight or make an entry stale. From here on no read that begins is answered by it."""
        if not slot.is_stale:
            slot.fresh_until = NEVER
            slot.dropped_by = cause
        self._index.discard(slot)
        flight = slot.flight
        if flight is not None:
            if self._flights.get(slot.key) is flight:
                del self._flights[slot.key]
            self._count["fences"] += 1
        elif self._entries.get(slot.key) is slot:
            slot.idle_until = self._monotonic() + self.keep_stale
            self._sweep_at(slot.idle_until, slot)
        woken.extend(slot.watchers)
        slot.watchers.clear()

    def _drop(self, key: Hashable, cause: str, woken: list[Watcher]) -> bool:
        """Take the entry away altogether, and fence the flight."""
        flight, slot = self._flights.get(key), self._entries.get(key)
        if flight is not None and flight.begun:
            self._make_stale(flight.slot, cause, woken)
        if slot is not None:
            self._make_stale(slot, cause, woken)
            self._forget(slot)
            self._chores.append(("remove", slot))
        return flight is not None or slot is not None

    def _forget(self, slot: AnySlot) -> None:
        self._index.discard(slot)
        if self._entries.get(slot.key) is slot:
            del self._entries[slot.key]

    def _sweep_at(self, when: float, slot: AnySlot) -> None:
        if when < math.inf:
            heapq.heappush(self._deadlines, (when, next(self._order), slot))
            if len(self._deadlines) > 4 * len(self._entries) + 64:
                alive = [item for item in self._deadlines if self._entries.get(item[2].key) is item[2]]
                self._deadlines = list({id(item[2]): item for item in sorted(alive, reverse=True)}.values())
                heapq.heapify(self._deadlines)

    def _tidy(self) -> None:
        """Carry out what the store and the clock have decided meanwhile."""
        evictions = self._store.evictions
        while evictions:
            key, slot, cause = evictions.popleft()
            if self._entries.get(key) is not slot:
                continue
            if cause == "size":
                slot.evicted = True
                self._count["evictions"] += 1
                if not slot.watchers:  # a watched entry stays registered: its watcher must hear of a change
                    self._forget(slot)
            elif not slot.is_stale:
                self._chores.append(("put", slot))  # an older slot overtook it on the way into the store
        if self._deadlines and self._deadlines[0][0] <= (now := self._monotonic()):
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, slot = heapq.heappop(self._deadlines)
            if self._entries.get(slot.key) is not slot or slot.watchers:
                continue
            if now >= slot.idle_until if slot.is_stale else self._expired(slot, now):
                self._count["expirations"] += not slot.is_stale
                self._forget(slot)
                self._chores.append(("remove", slot))
            else:  # it was read meanwhile, or the wall clock was set back
                until = slot.idle_until if slot.is_stale else min(slot.fresh_until, slot.idle_until)
                self._sweep_at(max(now + 1.0, until), slot)

    # ---------------------------------------------------------------- outside the lock

    def _do_chores(self) -> None:
        """Tell the store what has been decided. No lock is held: moka may call our listener from here."""
        chores = self._chores
        while chores:
            try:
                what, slot = chores.popleft()
            except IndexError:  # another thread took the last one
                return
            if what == "remove":
                if self._find(slot.key) is slot:
                    self._store.remove(slot.key)
            elif self._entries.get(slot.key) is slot:
                self._store.put(slot)


def _plain(compute: Callable[[], Any]) -> Run[Any]:
    """A user's ``compute`` as a run: coroutine functions on the loop, others in a thread."""

    async def run(_flight: Flight[Any]) -> Any:
        if inspect.iscoroutinefunction(compute):
            return await compute()
        value = await asyncio.to_thread(compute)
        return await cast("Awaitable[Any]", value) if inspect.isawaitable(value) else value

    return run


def _timestamp(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise UsageError(f"valid_until={moment!r} has no time zone; give an aware datetime")
    return moment.timestamp()


def _caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def _call(watchers: Iterable[Watcher]) -> None:
    for watcher in watchers:
        watcher()
