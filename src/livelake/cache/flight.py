"""A flight: one computation under way, and everyone who waits for it.

    entered ──fly──► begun ──pin──► reading ──► landed      an answer: kept, unless a change overtook it
                       │                │
                       └────────────────┴──► ended          an error, for those who waited
                                        └──► lost           its loop went away, or nobody waited: lead again

Until it has begun, a flight will see every change, so none concerns it. Between begin and pin, a change that
carries a version is remembered and compared with what is pinned; an event fences at once.

Waiters may sit on any event loop. Each waits on a future of its own, so that one who is cancelled leaves alone.
The outcome is read from the flight; the futures only say "now". All fields change under the registry's lock;
delivery happens outside it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from livelake.cache.registry import Registry, Watcher
from livelake.cache.slot import Slot
from livelake.errors import BusyError
from livelake.keys import KeyExpr

V = TypeVar("V")

log = logging.getLogger("livelake.cache")

# One who waits: on an event loop, or in a thread of its own.
Waiter = asyncio.Future[None] | concurrent.futures.Future[None]
Waiters = list[tuple[Waiter, asyncio.AbstractEventLoop | None]]

# How often a follower on another loop looks whether the loop that leads its flight is still there.
_LEADER_CHECK = 1.0


class Flight(Generic[V]):
    """What a computation is given, and what its waiters share."""

    __slots__ = (
        "_after",
        "_grace",
        "_loop",
        "_registry",
        "begun",
        "begun_after",
        "done",
        "error",
        "idle_after",
        "keep",
        "lasts",
        "lost",
        "negative_ttl",
        "reading",
        "slot",
        "task",
        "waiters",
        "wide",
    )

    def __init__(
        self,
        registry: Registry,
        slot: Slot[V],
        loop: asyncio.AbstractEventLoop | None,
        *,
        grace: float,
        pins: bool,
        after: Flight[V] | None,
    ) -> None:
        self._registry = registry
        self._grace = grace
        self._loop = loop  # None: a thread leads it
        self._after = after
        self.lasts = registry.time_to_live
        self.idle_after = registry.time_to_idle
        self.negative_ttl = 0.0
        self.slot = slot
        self.begun_after = 0
        """How much had been applied to the cache when it began, which it is not told of: it reads nothing older."""
        self.wide = slot.depends_on  # what it may read, as long as it has not said
        self.task: asyncio.Task[None] | None = None
        self.waiters: dict[Waiter, asyncio.AbstractEventLoop | None] = {}
        self.begun = False
        self.reading = not pins
        self.keep = True
        self.done = False
        self.lost = False
        self.error: BaseException | None = None

    # ---------------------------------------------------------------- for the computation

    def pin(
        self,
        versions: Mapping[str, int],
        depends_on: Iterable[KeyExpr] | None = None,
        *,
        valid_until: float | None = None,
        keep: bool = True,
    ) -> bool:
        """Say what the computation has begun to read; returns False if a change has already overtaken it.

        ``versions`` maps each source to the version that is read; ``depends_on`` narrows the provisional
        dependencies to the real ones; ``valid_until`` (wall clock, seconds since the epoch) bounds the answer in
        time; ``keep=False`` shares the answer with those who wait and keeps it for nobody else. To be called once,
        in the transaction that reads, from any thread.
        """
        slot = self.slot
        woken: list[Watcher] = []
        with self._registry.lock:
            slot.pinned = dict(versions)
            if depends_on is not None:
                self._registry.index.move(slot, frozenset(depends_on))
            if valid_until is not None:
                slot.valid_until = valid_until
            self.keep = keep
            self.reading = True
            for change in slot.unseen:
                if not slot.has_seen(change) and any(d.intersects(change.key) for d in slot.depends_on):
                    self._registry.make_stale(slot, change, woken)
                    break
            slot.unseen = ()
            overtaken = slot.is_stale
        call(woken)
        return not overtaken

    # ---------------------------------------------------------------- for the cache

    @classmethod
    def enter(
        cls,
        registry: Registry,
        key: Hashable,
        depends_on: frozenset[KeyExpr],
        loop: asyncio.AbstractEventLoop | None,
        *,
        grace: float,
        pins: bool,
    ) -> Flight[V]:
        """Enter a new flight (lock held). One that it supersedes ends first, and is not kept."""
        slot: Slot[V] = Slot(key, depends_on)
        flight = cls(registry, slot, loop, grace=grace, pins=pins, after=registry.flights.get(key))
        slot.flight = flight
        registry.index.register(slot)  # before anything is read (I2)
        registry.flights[key] = flight
        return flight

    @property
    def is_too_old_for_fresh(self) -> bool:
        """Whether it may have read already, so that a reader who wants what is true *now* cannot join."""
        return self.begun

    @property
    def is_over(self) -> bool:
        """Whether time has made its answer untrue already: it serves those who asked before that."""
        until = self.slot.valid_until
        return until is not None and self._registry.wall().timestamp() >= until

    def join(self, loop: asyncio.AbstractEventLoop | None) -> Waiter:
        """Begin to wait, on a loop or in this thread (lock held)."""
        waiter: Waiter = concurrent.futures.Future() if loop is None else loop.create_future()
        self.waiters[waiter] = loop
        return waiter

    def launch(self, run: Run[V]) -> asyncio.Task[None]:
        """Start the computation, on the loop that entered it."""
        assert self._loop is not None
        self.task = self._loop.create_task(self._fly(run))
        self.task.add_done_callback(self._make_sure)
        return self.task

    def fly_here(self, compute: Callable[[], V]) -> None:
        """Run the computation in this thread, to its end. The outcome is read from the flight."""
        try:
            if self._after is not None:
                self._after.wait_here(self._after.watch_end(None))
                self._after = None
            self._begin()
            self.slot.value = compute()
            fits = self._measure()
        except Exception as error:
            self._end(error=error)
        except BaseException:
            self._end(lost=True)
            raise
        else:
            self._land(fits)

    async def wait(self, waiter: Waiter) -> None:
        """Wait for the outcome, also when the loop that leads the flight goes away."""
        assert isinstance(waiter, asyncio.Future)
        if self._loop is None or self._loop is asyncio.get_running_loop():
            await waiter
            return
        while not (await asyncio.wait((waiter,), timeout=_LEADER_CHECK))[0]:
            self._check_leader()

    def wait_here(self, waiter: Waiter) -> None:
        """`wait` in a thread that has no event loop."""
        assert isinstance(waiter, concurrent.futures.Future)
        while not concurrent.futures.wait((waiter,), timeout=_LEADER_CHECK).done:
            self._check_leader()

    def leave(self, waiter: Waiter) -> None:
        """A caller was cancelled: it leaves alone. The last to leave gives the others a grace to come back."""
        with self._registry.lock:
            self.waiters.pop(waiter, None)
            deserted = not self.waiters and not self.done
        if deserted and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # its loop has closed: nothing is running any more
                self._loop.call_soon_threadsafe(self._loop.call_later, self._grace, self._abandon)

    def watch_end(self, loop: asyncio.AbstractEventLoop | None) -> Waiter:
        """Wait for the end, however it comes."""
        with self._registry.lock:
            waiter = self.join(loop)
            if self.done:
                del self.waiters[waiter]
                waiter.set_result(None)
            return waiter

    # ---------------------------------------------------------------- the supervised task

    async def _fly(self, run: Run[V]) -> None:
        """Every way out lands or ends the flight."""
        slot = self.slot
        if self.task is not None:  # from its first step on it ends by itself
            self.task.remove_done_callback(self._make_sure)
        try:
            if self._after is not None:
                ended = self._after.watch_end(self._loop)
                try:
                    await self._after.wait(ended)
                finally:
                    self._after.leave(ended)
                self._after = None
            self._begin()
            slot.value = await run(self)
            fits = self._measure()
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self._end(lost=True)
                raise
            error = BusyError(f"the computation of {slot.key!r} was cancelled from inside; try again")
            error.__cause__ = cancelled
            self._end(error=error)
        except Exception as error:
            self._end(error=error)
        except BaseException:
            self._end(lost=True)
            raise
        else:
            self._land(fits)

    def _make_sure(self, _task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step never enters `_fly`."""
        if not self.done:
            self._end(lost=True)

    def _begin(self) -> None:
        """From here on a change may be one that the computation does not see."""
        registry = self._registry
        with registry.lock:
            self.begun = True
            self.begun_after = registry.applied
        self.slot.begun_at = registry.monotonic()
        self.slot.computed_at = registry.wall().timestamp()

    def _measure(self) -> bool:
        """Note what the answer cost and weighs; False if it can never be kept. Calls user code: no lock."""
        self.slot.cost = self._registry.monotonic() - self.slot.begun_at
        return self._registry.store.weigh(self.slot)

    def _land(self, fits: bool) -> None:
        """An answer is there: keep it unless a change overtook it, then tell everyone who waits."""
        slot, registry = self.slot, self._registry
        woken: list[Watcher] = []
        with registry.lock:
            slot.landed_at = registry.monotonic()
            if slot.unseen and not slot.is_stale:  # it never said what it read: nothing vouches for it
                registry.make_stale(slot, slot.unseen[0], woken)
            current = registry.flights.get(slot.key) is self
            if current:
                del registry.flights[slot.key]
            slot.landed = True
            slot.flight = None
            self.done = True
            registry.count["computed"] += 1
            registry.count["stale_fills_prevented"] += slot.is_stale
            seen = not slot.is_stale and not registry.is_blind(slot)
            if current and self.keep and fits and seen and not registry.closed:
                registry.keep(slot, slot.begun_at + self.lasts, self.idle_after, woken)
            elif not slot.watchers:
                registry.index.discard(slot)
            waiters = self._take_waiters()
        registry.do_chores()
        _deliver(waiters)
        call(woken)

    def _end(self, *, error: BaseException | None = None, lost: bool = False) -> None:
        """No answer: an error for those who waited, or lost, and they lead again."""
        slot, registry = self.slot, self._registry
        woken: Iterable[Watcher] = ()
        with registry.lock:
            if registry.flights.get(slot.key) is self:
                del registry.flights[slot.key]
            overtaken = slot.is_stale or bool(slot.unseen)  # it failed before it could say what it has seen
            slot.flight = None
            if error is not None and slot.watchers and not overtaken and not registry.closed:
                registry.mourn(slot, self.wide)
            else:
                registry.index.discard(slot)
                woken, slot.watchers = slot.watchers, ()
            if error is not None:
                registry.put_off(slot.key)
            lasting = error is not None and self.negative_ttl > 0 and not overtaken and not registry.closed
            if error is not None and lasting and not registry.is_blind(slot):
                registry.keep_failure(slot, error, self.negative_ttl)
            self.error, self.lost, self.done = error, lost, True
            registry.count["errors"] += error is not None
            waiters = self._take_waiters()
        _deliver(waiters)
        call(woken)

    def _check_leader(self) -> None:
        if self._loop is not None and self._loop.is_closed():  # nobody will ever land it
            self._end(lost=True)

    def _abandon(self) -> None:
        """Cancel it if nobody has come back. Runs on the loop that leads it."""
        with self._registry.lock:
            if self.waiters or self.done:
                return
            if self._registry.flights.get(self.slot.key) is self:
                del self._registry.flights[self.slot.key]  # a new caller begins anew, and does not join the dying
            self._registry.count["abandoned"] += 1
        assert self.task is not None
        self.task.cancel()

    def _take_waiters(self) -> Waiters:
        waiters = list(self.waiters.items())
        self.waiters.clear()
        return waiters


Run = Callable[[Flight[V]], Awaitable[V]]


def call(watchers: Iterable[Watcher]) -> None:
    """Tell the watchers of overtaken slots, in the thread that heard of the change, no lock held.

    One that raises is logged, and takes nothing from the others or from whoever told of the change.
    """
    for watcher in watchers:
        try:
            watcher()
        except Exception:
            log.exception("a watcher failed on being told of a change")


def _deliver(waiters: Waiters) -> None:
    """Wake each waiter on its own loop. A loop that has closed meanwhile has nobody left to wake."""
    try:
        here: Any = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    for waiter, loop in waiters:
        if loop is None or loop is here:
            _wake(waiter)
        else:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_wake, waiter)


def _wake(waiter: Waiter) -> None:
    if not waiter.done():
        waiter.set_result(None)
