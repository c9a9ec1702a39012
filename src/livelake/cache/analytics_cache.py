"""`AnalyticsCache`: answers that are dropped when what they depend on changes.

Contract. All methods may be called from any thread; coroutines from any number of event loops at once. A change
that `apply` has acknowledged is seen by every read that begins afterwards (I1): entries that depend on it are
stale, and flights that it overlapped are *fenced*: they still answer those who waited, and are kept for nobody
else. What a computation depends on is registered before it starts (I2). At most one computation runs per key and
state of the data (I3). A failed computation is raised to those who waited and never kept (I6).

How it holds together: `Registry` is the state behind one lock, `Flight` a computation and its waiters, and this
module what users call. A hit takes no lock: it finds the slot in the store and looks at ``fresh_until``, which a
change sets to -inf before `apply` returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Hashable, Iterable
from datetime import datetime
from typing import Any, Self, TypeVar

from livelake.cache.dependencies import key_exprs
from livelake.cache.flight import Flight, Run, Waiter, call
from livelake.cache.read import CacheStats, Explanation, Read
from livelake.cache.registry import Registry, Watcher
from livelake.cache.slot import Change, Slot
from livelake.cache.store import Store, size_in_bytes
from livelake.clock import SYSTEM, Clock
from livelake.errors import UsageError
from livelake.keys import KeyExpr

V = TypeVar("V")
AnySlot = Slot[Any]

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
        self._registry = Registry(
            Store(max_capacity, max_bytes, size_of),
            clock,
            time_to_live=time_to_live,
            time_to_idle=time_to_idle,
            keep_stale=keep_stale,
        )
        self._grace = grace
        self._tasks: set[asyncio.Task[None]] = set()
        # A hit touches nothing but these.
        self._find = self._registry.store.get
        self._monotonic = clock.monotonic
        self._wall = clock.now
        self._idle = self._registry.time_to_idle
        self._hits = self._registry.hits

    # ---------------------------------------------------------------- reading

    def get(self, key: Hashable, default: Any = None) -> Any:
        """The fresh value under ``key``, or ``default``. Never computes, never waits."""
        slot = self.peek(key) or self._look(key)
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
                slot.idle_until = now + self._idle
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
        while True:
            slot, flight, waiter, joined = self._enter(key, depends_on, valid_until, fresh, pins, watcher)
            if flight is None or waiter is None:
                return Read(slot, "hit")
            if not joined:
                lasts = self._registry.time_to_live if time_to_live is None else time_to_live
                task = flight.launch(run, lasts)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            try:
                await flight.wait(waiter)
            except asyncio.CancelledError:
                if watcher is not None:
                    self.unwatch(slot, watcher)
                flight.leave(waiter)
                raise
            if flight.lost:
                continue
            if flight.error is not None:
                return self._last_good(key, flight.error, stale_if_error)
            if not flight.keep:
                self._registry.count["bypasses"] += 1
                return Read(slot, "bypass")
            return Read(slot, "joined" if joined else "miss")

    def _enter(
        self,
        key: Hashable,
        depends_on: frozenset[KeyExpr],
        valid_until: float | None,
        fresh: bool,
        pins: bool,
        watcher: Watcher | None,
    ) -> tuple[AnySlot, Flight[Any] | None, Waiter | None, bool]:
        """Decide how a read is answered: a fresh entry, or a flight that it joins (True) or is to launch."""
        registry = self._registry
        with registry.lock:
            registry.check_open()
            registry.tidy()
            slot = None if fresh else registry.fresh_entry(key)
            flight: Flight[Any] | None = None
            waiter: Waiter | None = None
            joined = False
            if slot is not None:
                next(self._hits)
            else:
                flight = registry.flights.get(key)
                joined = flight is not None and not (fresh and flight.is_too_old_for_fresh)
                if flight is None or not joined:
                    flight = Flight.enter(registry, key, depends_on, grace=self._grace, pins=pins)
                    flight.slot.valid_until = valid_until
                slot = flight.slot
                waiter = flight.join()
                registry.count["joins" if joined else "misses"] += 1
            if watcher is not None:
                slot.watchers.append(watcher)
        registry.do_chores()
        return slot, flight, waiter, joined

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
        registry = self._registry
        fits = registry.store.weigh(slot)
        woken: list[Watcher] = []
        with registry.lock:
            registry.check_open()
            registry.tidy()
            flight = registry.flights.get(key)
            if flight is not None:
                registry.make_stale(flight.slot, "replaced by insert", woken)
            if fits:
                registry.index.register(slot)
                lasts = registry.time_to_live if time_to_live is None else time_to_live
                registry.keep(slot, slot.landed_at + lasts, woken)
            else:
                registry.drop(key, "replaced by what does not fit", woken)
        registry.do_chores()
        call(woken)

    def apply(self, key: str, *, source: str | None = None, version: int = 0) -> int:
        """Something under ``key`` has changed: make stale what depends on it; returns how many entries.

        With ``source`` and ``version`` (a commit in a numbered log), answers that were read from that source
        at that version or later have seen the change and stay.
        """
        return self.apply_all((Change(KeyExpr(key), source, version),))

    def apply_all(self, changes: Iterable[Change]) -> int:
        """`apply` for several changes as one step: no read falls between them."""
        registry = self._registry
        woken: list[Watcher] = []
        count = 0
        with registry.lock:
            for change in changes:
                for slot in registry.index.match(change.key):
                    count += registry.concern(slot, change, woken)
            registry.count["invalidations"] += count
        call(woken)
        return count

    def invalidate(self, key: Hashable) -> bool:
        """Drop the entry under ``key`` and fence its flight; True if there was either."""
        return self._drop((key,), "invalidated") > 0

    def invalidate_where(self, predicate: Callable[[Hashable], object]) -> int:
        """`invalidate` every key for which ``predicate(key)`` is true; effective when it returns.

        Flights count too. What begins to compute after the call began has seen what the caller has seen.
        """
        registry = self._registry
        with registry.lock:
            keys = list(dict.fromkeys((*registry.entries, *registry.flights)))
        chosen = [key for key in keys if predicate(key)]  # user code: outside the lock
        return self._drop(chosen, "invalidated by predicate")

    def clear(self) -> int:
        """`invalidate` everything."""
        return self.invalidate_where(lambda _key: True)

    def unwatch(self, slot: Slot[Any], watcher: Watcher) -> None:
        """Detach a watcher that `fetch` attached; not being attached any more is fine."""
        registry = self._registry
        with registry.lock:
            with contextlib.suppress(ValueError):
                slot.watchers.remove(watcher)
            if slot.landed and not slot.watchers and (slot.evicted or registry.entries.get(slot.key) is not slot):
                registry.forget(slot)

    def _drop(self, keys: Iterable[Hashable], cause: str) -> int:
        registry = self._registry
        woken: list[Watcher] = []
        with registry.lock:
            count = sum(registry.drop(key, cause, woken) for key in keys)
        registry.do_chores()
        call(woken)
        return count

    # ---------------------------------------------------------------- looking

    def explain(self, key: Hashable) -> Explanation:
        """The entry or flight under ``key``, as it stands now. Changes nothing."""
        registry = self._registry
        with registry.lock:
            flight, slot = registry.flights.get(key), registry.entries.get(key)
            if slot is None and flight is None:
                return Explanation(state="absent")
            if slot is None:
                assert flight is not None
                return Explanation(state="flying", depends_on=tuple(sorted(flight.slot.depends_on)))
            now = registry.monotonic()
            return Explanation(
                state="stale" if slot.is_stale else "expired" if registry.expired(slot, now) else "fresh",
                depends_on=tuple(sorted(slot.depends_on)),
                pinned=slot.pinned,
                dropped_by=None if slot.dropped_by is None else str(slot.dropped_by),
                age=now - slot.landed_at,
                cost=slot.cost,
            )

    def stats(self) -> CacheStats:
        """Numbers since the cache was made."""
        registry = self._registry
        with registry.lock:
            fresh = sum(not slot.is_stale for slot in registry.entries.values())
            hits = int(registry.hits.__reduce__()[1][0])
            return CacheStats(hits=hits, entries=fresh, flights=len(registry.flights), **registry.count)

    def settle(self) -> None:
        """Carry out every pending eviction and expiry now (they are otherwise done as work comes by)."""
        self._registry.store.settle()
        with self._registry.lock:
            self._registry.tidy()
        self._registry.do_chores()

    def __len__(self) -> int:
        """How many fresh entries there are."""
        return self.stats().entries

    def __contains__(self, key: Hashable) -> bool:
        with self._registry.lock:
            return self._registry.fresh_entry(key) is not None

    def __repr__(self) -> str:
        stats = self.stats()
        return f"<AnalyticsCache entries={stats.entries} flights={stats.flights} hits={stats.hits}>"

    # ---------------------------------------------------------------- closing

    async def close(self) -> None:
        """Cancel every flight and wait for those of this loop to end. Closing twice is fine."""
        loop = asyncio.get_running_loop()
        with self._registry.lock:
            self._registry.closed = True
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

    def _last_good(self, key: Hashable, error: BaseException, stale_if_error: float | None) -> Read[Any]:
        registry = self._registry
        if stale_if_error is not None:
            with registry.lock:
                slot = registry.entries.get(key)
                if slot is not None and registry.monotonic() - slot.landed_at <= stale_if_error:
                    registry.count["stale_served"] += 1
                    return Read(slot, "stale")
        raise error

    def _look(self, key: Hashable) -> AnySlot | None:
        """The slow half of a look-up: what the store has lost or not yet been given may still be an entry."""
        registry = self._registry
        with registry.lock:
            registry.tidy()
            slot = registry.fresh_entry(key)
            if slot is None:
                registry.count["misses"] += 1
            else:
                next(self._hits)
        registry.do_chores()
        return slot


def _plain(compute: Callable[[], Any]) -> Run[Any]:
    """A user's ``compute`` as a run: coroutine functions on the loop, others in a thread."""

    async def run(_flight: Flight[Any]) -> Any:
        if inspect.iscoroutinefunction(compute):
            return await compute()
        value = await asyncio.to_thread(compute)
        return await value if inspect.isawaitable(value) else value

    return run


def _timestamp(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise UsageError(f"valid_until={moment!r} has no time zone; give an aware datetime")
    return moment.timestamp()
