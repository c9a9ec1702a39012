"""`AnalyticsCache`: answers that are dropped when what they depend on changes.

Contract. All methods may be called from any thread; coroutines from any number of event loops at once. A change
that `apply` has acknowledged is seen by every read that begins afterwards (I1): entries that depend on it are
stale, and flights that it overlapped are *fenced*: they still answer those who waited, and are kept for nobody
else. What a computation depends on is registered before it starts (I2). At most one computation runs per key and
state of the data (I3). A failed computation is raised to those who waited and never kept (I6).

How it holds together: `Registry` is the state behind one lock, `Flight` a computation and its waiters, and this
module what users call. A hit takes no lock: it finds the slot by its key and looks at ``fresh_until``, which a
change sets to -inf before `apply` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from datetime import datetime
from typing import Any, ParamSpec, Self, TypeVar, Unpack

from livelake.cache.callables import decorator, has_loop, plain, timestamp
from livelake.cache.dependencies import key_exprs
from livelake.cache.flight import Run, call
from livelake.cache.policy import Policy
from livelake.cache.read import CacheStats, Explanation, Read
from livelake.cache.reader import Demand, Reader
from livelake.cache.registry import Registry, Watcher
from livelake.cache.slot import Change, Slot
from livelake.cache.store import Store, size_in_bytes
from livelake.clock import SYSTEM, Clock
from livelake.errors import UsageError
from livelake.keys import KeyExpr

P = ParamSpec("P")
T = TypeVar("T")
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
        self._reader = Reader(self._registry, grace)
        # A hit touches nothing but these.
        self._find = self._registry.entries.get
        self._touched = self._registry.store.touched.append
        self._monotonic = clock.monotonic
        self._wall = clock.now
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
        **policy: Unpack[Policy],
    ) -> Any:
        """The value under ``key``; where there is none, ``compute()`` once for all who ask meanwhile.

        ``compute`` may be a coroutine function, or a plain function, which then runs in a thread. An empty
        ``depends_on`` says that no change ever concerns it; ``"**"`` that every change does. What ``compute`` raises
        is raised to each waiting caller and not kept. Cancelling one caller cancels nobody else. `Policy` lists the
        other keywords; `read` also tells how the value came about.
        """
        if not policy:
            slot = self.peek(key)
            if slot is not None:
                return slot.value
        read = await self.read(key, compute, depends_on=depends_on, valid_until=valid_until, **policy)
        return read.slot.value

    async def read(
        self,
        key: Hashable,
        compute: Callable[[], Any],
        *,
        depends_on: str | Iterable[str] = (),
        valid_until: datetime | None = None,
        **policy: Unpack[Policy],
    ) -> Read[Any]:
        """`get_or_compute`, with ``status`` (hit, miss, joined, stale, bypass) and ``age`` beside the ``value``."""
        run = plain(compute)
        demand = Demand(key, key_exprs(depends_on), timestamp(valid_until), policy)
        if policy.get("bypass"):
            return await self._reader.alone(demand, run)
        return await self._reader.fetch(demand, run)

    def get_or_compute_sync(
        self,
        key: Hashable,
        compute: Callable[[], Any],
        *,
        depends_on: str | Iterable[str] = (),
        valid_until: datetime | None = None,
        **policy: Unpack[Policy],
    ) -> Any:
        """`get_or_compute` for plain threads: ``compute`` is a plain function and runs in the thread that leads.

        Threads and event loops share flights. On a thread whose event loop is running it raises `UsageError`
        instead of standing still: await `get_or_compute` there.
        """
        slot = None if policy else self.peek(key)
        if slot is not None:
            return slot.value
        if has_loop():
            raise UsageError("get_or_compute_sync would block this thread's event loop; await get_or_compute instead")
        if policy.get("bypass"):
            self._reader.count_bypass()
            return compute()
        demand = Demand(key, key_exprs(depends_on), timestamp(valid_until), policy)
        return self._reader.fetch_here(demand, compute).slot.value

    def cached(
        self,
        *,
        depends_on: str | Iterable[str] = (),
        key: Callable[..., Hashable] | None = None,
        **policy: Unpack[Policy],
    ) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Decorate a function, plain or coroutine: its answers are kept by its arguments.

            @cache.cached(depends_on=["events/Todo/**"], time_to_live=60)
            async def open_todos(owner: str) -> int: …

        ``1``, ``1.0``, ``True`` and ``"1"`` are different arguments; how one is passed does not matter. An argument
        without a hash raises `UsageError`, unless ``key(*args, **kwargs)`` gives the key. The function has
        ``cache_key(*args, **kwargs)``.
        """
        return decorator(self, key_exprs(depends_on), key, policy)

    def peek(self, key: Hashable) -> AnySlot | None:
        """The slot of a fresh entry, counted as a hit, or None. No lock, no wait."""
        slot = self._find(key)
        if slot is not None:
            now = self._monotonic()
            if (
                now < slot.fresh_until
                and ((group := slot.group) is None or group.cause is None)
                and now - slot.read_at < slot.idle_after
                and (slot.valid_until is None or self._wall().timestamp() < slot.valid_until)
            ):
                slot.read_at = now
                self._touched(key)
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
        pins: bool = False,
        watcher: Watcher | None = None,
        **policy: Unpack[Policy],
    ) -> Read[V]:
        """`read` for those who build on the cache.

        ``run(flight)`` computes; with ``pins`` it promises to call `Flight.pin` when it begins to read, and until
        then changes that carry a version do not fence it. ``watcher`` is attached to the slot that answers, before
        it can change: it is called once, in whichever thread hears of it, when that slot is no longer true. If the
        computation fails, it is called at the next change of what that depends on. Detach it with `unwatch`.
        """
        return await self._reader.fetch(Demand(key, depends_on, valid_until, policy, pins, watcher), run)

    # ---------------------------------------------------------------- changing

    def insert(
        self,
        key: Hashable,
        value: Any,
        *,
        depends_on: str | Iterable[str] = (),
        valid_until: datetime | None = None,
        time_to_live: float | None = None,
        time_to_idle: float | None = None,
    ) -> None:
        """Keep ``value``. It replaces what is there, and a flight for ``key`` is fenced: its answer is older.

        A value that was computed before a change and inserted after it is the caller's error;
        `get_or_compute` cannot make it.
        """
        slot: AnySlot = Slot(key, key_exprs(depends_on))
        slot.value = value
        slot.landed = True
        slot.begun_at = slot.landed_at = self._monotonic()
        slot.computed_at = self._wall().timestamp()
        slot.valid_until = timestamp(valid_until)
        registry = self._registry
        fits = registry.store.weigh(slot)
        woken: list[Watcher] = []
        with registry.lock:
            registry.check_open()
            registry.tidy()
            flight = registry.flights.get(key)
            if flight is not None:
                registry.make_stale(flight.slot, "replaced by insert", woken)
            if fits and not registry.is_blind(slot):
                registry.index.register(slot)
                lasts = registry.time_to_live if time_to_live is None else time_to_live
                idle = registry.time_to_idle if time_to_idle is None else time_to_idle
                registry.keep(slot, slot.landed_at + lasts, idle, woken)
            else:
                registry.drop(key, "replaced by what does not fit", woken)
        registry.do_chores()
        call(woken)

    def apply(self, key: str, *, source: str | None = None, version: int = 0) -> int:
        """Something under ``key`` has changed: make stale what depends on it; returns how many entries.

        With ``source`` and ``version`` (a commit in a numbered log), answers that were read from that source
        at that version or later have seen the change and stay.
        """
        if source is not None:
            return self.apply_all((Change(KeyExpr(key), source, version),))
        registry = self._registry
        woken: list[Watcher] = []
        with registry.lock:
            registry.applied += 1
            count = registry.overtake(key, woken)
        if woken:
            call(woken)
        return count

    def apply_all(self, changes: Iterable[Change]) -> int:
        """`apply` for several changes as one step: no read falls between them."""
        registry = self._registry
        woken: list[Watcher] = []
        count = 0
        with registry.lock:
            registry.applied += 1
            for change in changes:
                if change.source is None:
                    count += registry.overtake(change.key, woken)
                else:
                    count += registry.overtake_before(change, woken)
        call(woken)
        return count

    def add_blindness(self, source: Callable[[], Collection[KeyExpr]]) -> Callable[[], None]:
        """Ask ``source`` under which key expressions changes may go unheard just now, whenever an answer lands.

        What depends on any of them is given to those who wait, and not kept. ``source`` is called in any thread
        with the cache's lock held: it returns at once and takes no lock. When it begins to name a scope, `apply`
        that scope after; when it ceases to, before. Returns what ends the asking.
        """
        return self._registry.blindness.add(source)

    def invalidate(self, key: Hashable) -> bool:
        """Drop the entry under ``key`` and fence its flight; True if there was either."""
        return self._drop((key,), "invalidated") > 0

    def invalidate_where(self, predicate: Callable[[Hashable], object]) -> int:
        """`invalidate` every key for which ``predicate(key)`` is true; effective when it returns.

        Flights count too. What begins to compute after the call began has seen what the caller has seen.
        """
        registry = self._registry
        with registry.lock:
            registry.applied += 1
            keys = list(dict.fromkeys((*registry.entries, *registry.flights, *registry.failures)))
        chosen = [key for key in keys if predicate(key)]  # user code: outside the lock
        return self._drop(chosen, "invalidated by predicate")

    def clear(self) -> int:
        """`invalidate` everything."""
        return self.invalidate_where(lambda _key: True)

    def unwatch(self, slot: Slot[Any] | None, watcher: Watcher) -> None:
        """Detach a watcher that `fetch` attached to ``slot``, or (None) to a computation that failed.

        Not being attached any more is fine.
        """
        self._reader.unwatch(slot, watcher)

    def _drop(self, keys: Iterable[Hashable], cause: str) -> int:
        registry = self._registry
        woken: list[Watcher] = []
        with registry.lock:
            registry.applied += 1
            count = sum(registry.drop(key, cause, woken) for key in keys)
        registry.do_chores()
        call(woken)
        return count

    # ---------------------------------------------------------------- looking

    @property
    def applied(self) -> int:
        """How many times something was applied or dropped so far; see `Flight.begun_after`."""
        return self._registry.applied

    def explain(self, key: Hashable) -> Explanation:
        """The entry or flight under ``key``, as it stands now. Changes nothing."""
        registry = self._registry
        with registry.lock:
            flight, slot = registry.flights.get(key), registry.entries.get(key)
            if slot is None:
                return Explanation.of_flight(None if flight is None else flight.slot.depends_on)
            is_fresh = registry.fresh_no_more_since(slot) is None
            return Explanation.of_entry(slot, is_fresh, registry.monotonic())

    def stats(self) -> CacheStats:
        """Numbers since the cache was made."""
        registry = self._registry
        with registry.lock:
            fresh = sum(registry.fresh_no_more_since(slot) is None for slot in registry.entries.values())
            hits = int(repr(registry.hits)[len("count(") : -1])  # the one way to look that takes nothing
            now = {"entries": fresh, "bytes": registry.bytes, "flights": len(registry.flights)}
            return CacheStats(hits=hits, invalidations=registry.invalidations, **now, **registry.count)

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
        """Whether there is a fresh entry under ``key``. Not a read of it."""
        with self._registry.lock:
            slot = self._registry.entries.get(key)
            return slot is not None and self._registry.fresh_no_more_since(slot) is None

    def __repr__(self) -> str:
        stats = self.stats()
        return f"<AnalyticsCache entries={stats.entries} flights={stats.flights} hits={stats.hits}>"

    # ---------------------------------------------------------------- closing

    async def close(self) -> None:
        """Cancel every flight and wait for those of this loop to end. Closing twice is fine."""
        with self._registry.lock:
            self._registry.closed = True
        await self._reader.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    def _look(self, key: Hashable) -> AnySlot | None:
        """The slow half of a look-up: tidies, and counts a miss if it is one."""
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
