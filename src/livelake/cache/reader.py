"""The reader: decides how a read is answered, and carries that out.

    fresh entry ─────────────────────────────► hit
    entry that went stale within the bound ──► stale, and a flight in the background (stale-while-revalidate)
    an error that is kept ───────────────────► raised again
    a flight that may be joined ─────────────► joined
    otherwise ───────────────────────────────► a flight that this caller leads: miss

Who joins a flight that has heard of a change but has not pinned yet looks, when it has landed, whether it had
begun to read before that change; if so the read is made again (I1).

The decision is one step under the registry's lock; what follows happens outside it, on the caller's event loop
or, for plain threads, in the caller's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from livelake.cache.flight import Flight, Run, Waiter
from livelake.cache.policy import Policy
from livelake.cache.read import Read, Status
from livelake.cache.registry import Registry, Watcher
from livelake.cache.slot import Change, Slot
from livelake.errors import UsageError
from livelake.keys import KeyExpr

V = TypeVar("V")
AnySlot = Slot[Any]

log = logging.getLogger("livelake.cache")

# Threads for what plain threads want refreshed in the background.
_BACKGROUND_THREADS = 4


class Demand(NamedTuple):
    """One read, as it is asked for. ``pins``: the computation promises to call `Flight.pin`."""

    key: Hashable
    depends_on: frozenset[KeyExpr]
    valid_until: float | None
    policy: Policy
    pins: bool = False
    watcher: Watcher | None = None


class Answer(NamedTuple):
    """How it is answered. ``launch``: the flight is new, and whoever gets this starts it."""

    slot: AnySlot
    status: Status
    flight: Flight[Any] | None = None
    waiter: Waiter | None = None
    launch: bool = False
    heard: tuple[Change, ...] = ()
    """Changes from before this reader came that the flight, when joined, had not said whether it will have seen."""
    error: BaseException | None = None
    """Why a stale one is given, if an error is kept."""

    @property
    def missed_a_change(self) -> bool:
        """Whether the flight has turned out to have read before one of them: its answer is older than this read."""
        slot = self.slot
        return any(
            not slot.has_seen(change) and any(d.intersects(change.key) for d in slot.depends_on)
            for change in self.heard
        )


class Reader:
    """Owns the tasks and threads of all flights. All methods may be called from any thread."""

    def __init__(self, registry: Registry, grace: float) -> None:
        self._registry = registry
        self._grace = grace
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads: ThreadPoolExecutor | None = None

    async def fetch(self, demand: Demand, run: Run[V]) -> Read[V]:
        """Read on this event loop."""
        loop = asyncio.get_running_loop()
        while True:
            answer = self._decide(demand, loop)
            flight, waiter = answer.flight, answer.waiter
            if flight is not None and answer.launch:
                task = flight.launch(run)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            if flight is None or waiter is None:
                return self._read(answer.slot, answer.status, answer.error)
            try:
                await flight.wait(waiter)
            except asyncio.CancelledError:
                if demand.watcher is not None:
                    self.unwatch(answer.slot, demand.watcher)
                flight.leave(waiter)
                raise
            if not flight.lost and not answer.missed_a_change:
                return self._outcome(demand, answer, flight)

    def fetch_here(self, demand: Demand, compute: Callable[[], V]) -> Read[V]:
        """Read in this thread, which has no event loop: one that led a flight would stand still."""
        while True:
            answer = self._decide(demand, None)
            flight, waiter = answer.flight, answer.waiter
            if flight is not None and answer.launch:
                if waiter is None:
                    self._background().submit(flight.fly_here, compute)
                else:
                    flight.fly_here(compute)
            if flight is None or waiter is None:
                return self._read(answer.slot, answer.status, answer.error)
            flight.wait_here(waiter)
            if not flight.lost and not answer.missed_a_change:
                return self._outcome(demand, answer, flight)

    async def alone(self, demand: Demand, run: Run[V]) -> Read[V]:
        """Compute for one caller: nothing looked up, shared or kept."""
        self.count_bypass()
        registry = self._registry
        flight: Flight[V] = Flight(
            registry, Slot(demand.key, demand.depends_on), None, grace=0, pins=False, after=None
        )
        flight.slot.begun_at = registry.monotonic()
        flight.slot.computed_at = registry.wall().timestamp()
        flight.slot.value = await run(flight)
        return Read(flight.slot, "bypass", registry.monotonic() - flight.slot.begun_at)

    def count_bypass(self) -> None:
        """Somebody computes by himself."""
        with self._registry.lock:
            self._registry.check_open()
            self._registry.count["bypasses"] += 1

    def unwatch(self, slot: AnySlot | None, watcher: Watcher) -> None:
        """Detach a watcher, from what has failed too; not being attached any more is fine."""
        registry = self._registry
        with registry.lock:
            if slot is None:
                registry.comfort(watcher, everywhere=True)
                return
            registry.comfort(watcher, slot.key)
            with contextlib.suppress(ValueError):
                at = slot.watchers.index(watcher)
                slot.watchers = slot.watchers[:at] + slot.watchers[at + 1 :]
            if slot.landed and not slot.watchers and (slot.evicted or registry.entries.get(slot.key) is not slot):
                registry.forget(slot)

    async def close(self) -> None:
        """Cancel every flight, and wait for those of this loop and of our threads. Closing twice is fine."""
        loop = asyncio.get_running_loop()
        mine = []
        for task in list(self._tasks):
            if task.get_loop() is loop:
                task.cancel()
                mine.append(task)
            else:
                with contextlib.suppress(RuntimeError):
                    task.get_loop().call_soon_threadsafe(task.cancel)
        await asyncio.gather(*mine, return_exceptions=True)
        if self._threads is not None:
            await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    # ---------------------------------------------------------------- deciding

    def _decide(self, demand: Demand, loop: asyncio.AbstractEventLoop | None) -> Answer:
        registry, policy, key = self._registry, demand.policy, demand.key
        fresh = policy.get("fresh", False)
        with registry.lock:
            registry.check_open()
            registry.tidy()
            if demand.watcher is not None:
                registry.comfort(demand.watcher, key)
            answer = None if fresh else self._kept(demand, loop)
            if answer is None:
                flight = registry.flights.get(key)
                joined = flight is not None and not flight.is_over and not (fresh and flight.is_too_old_for_fresh)
                if flight is None or not joined:
                    flight = self._enter(demand, loop)
                registry.count["joins" if joined else "misses"] += 1
                status: Status = "joined" if joined else "miss"
                heard = tuple(flight.slot.unseen)
                answer = Answer(flight.slot, status, flight, flight.join(loop), launch=not joined, heard=heard)
            if demand.watcher is not None:
                registry.index.single_out(answer.slot)
                answer.slot.watchers += (demand.watcher,)
        registry.do_chores()
        return answer

    def _kept(self, demand: Demand, loop: asyncio.AbstractEventLoop | None) -> Answer | None:
        """What answers without waiting (lock held). Raises an error that is kept."""
        registry, key = self._registry, demand.key
        slot = registry.fresh_entry(key)
        if slot is not None:
            next(registry.hits)
            return Answer(slot, "hit")
        slot = registry.stale_entry(key, demand.policy.get("stale_while_revalidate"))
        if slot is not None and demand.watcher is None:
            registry.count["stale_served"] += 1
            if key in registry.flights or registry.monotonic() < slot.retry_at:
                registry.count["refreshes_coalesced"] += 1
                return Answer(slot, "stale")
            registry.count["refreshes"] += 1
            return Answer(slot, "stale", self._enter(demand, loop), launch=True)
        failure = registry.failure(key)
        if failure is None:
            return None
        if demand.watcher is not None:
            registry.mourn_with(demand.watcher, key)
            raise failure
        slot = registry.stale_entry(key, demand.policy.get("stale_if_error"))
        if slot is None:
            raise failure
        registry.count["stale_served"] += 1
        return Answer(slot, "stale", error=failure)

    def _enter(self, demand: Demand, loop: asyncio.AbstractEventLoop | None) -> Flight[Any]:
        policy = demand.policy
        for name in ("time_to_live", "time_to_idle", "negative_ttl"):  # before anything is entered
            seconds = policy.get(name)
            if seconds is not None and seconds <= 0:  # type: ignore[operator]
                raise UsageError(f"{name}={seconds}: must be more than 0 seconds, or None")
        flight: Flight[Any] = Flight.enter(
            self._registry, demand.key, demand.depends_on, loop, grace=self._grace, pins=demand.pins
        )
        flight.slot.valid_until = demand.valid_until
        if (lasts := policy.get("time_to_live")) is not None:
            flight.lasts = lasts
        if (idle := policy.get("time_to_idle")) is not None:
            flight.idle_after = idle
        flight.negative_ttl = policy.get("negative_ttl") or 0.0
        return flight

    # ---------------------------------------------------------------- telling

    def _outcome(self, demand: Demand, answer: Answer, flight: Flight[Any]) -> Read[Any]:
        registry = self._registry
        if flight.error is not None:
            slot: AnySlot | None = None
            if demand.watcher is None:  # a watcher hangs on no stale slot: the error is what tells it
                with registry.lock:
                    slot = registry.stale_entry(demand.key, demand.policy.get("stale_if_error"))
                    if slot is not None:
                        registry.count["stale_served"] += 1
            if slot is None:
                raise flight.error
            return self._read(slot, "stale", flight.error)
        if not flight.keep:
            with registry.lock:
                registry.count["bypasses"] += 1
            return self._read(answer.slot, "bypass")
        return self._read(answer.slot, answer.status)

    def _read(self, slot: Slot[V], status: Status, error: BaseException | None = None) -> Read[V]:
        return Read(slot, status, max(0.0, self._registry.monotonic() - slot.begun_at), error)

    def _background(self) -> ThreadPoolExecutor:
        with self._registry.lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(_BACKGROUND_THREADS, thread_name_prefix="livelake-refresh")
            return self._threads
