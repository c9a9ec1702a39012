"""The registry: which slots there are, and what becomes of them. The state of the cache behind one lock.

`entries` and `flights` are the truth; the index finds the slots that a change concerns; the store (moka) only
decides which entries are worth their bytes. Every method but `do_chores` is called with `lock` held, and none
calls moka, user code or an event loop: such work is queued as a *chore*, or handed back in ``woken``.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any

from livelake.cache.blindness import Blindness
from livelake.cache.bygone import Bygone, Ended
from livelake.cache.dependencies import Dependencies
from livelake.cache.slot import FOREVER, NEVER, SEVERAL, Change, Group, Slot
from livelake.cache.store import Chore, Store
from livelake.clock import Clock
from livelake.errors import ClosedError
from livelake.keys import KeyExpr

if TYPE_CHECKING:
    from livelake.cache.flight import Flight

AnySlot = Slot[Any]
Watcher = Callable[[], None]

# Changes remembered for one flight that has not said yet what it reads; more are folded into "anything".
_UNSEEN_LIMIT = 64
# Seconds between background refreshes that fail, growing by doubling.
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


class Registry:
    """See the module. Times are float seconds."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        time_to_live: float | None,
        time_to_idle: float | None,
        keep_stale: float,
    ) -> None:
        self.lock = threading.Lock()
        self.store = store
        self.entries: dict[Hashable, AnySlot] = {}
        self.flights: dict[Hashable, Flight[Any]] = {}
        self.index = Dependencies()
        self.failures: dict[Hashable, AnySlot] = {}  # errors that a policy keeps (negative_ttl), oldest first
        # What failed, by who wants to hear when trying again makes sense, and by key.
        self.mourned: dict[Watcher, dict[Hashable, AnySlot]] = {}
        self.count: Counter[str] = Counter()
        self.bytes = 0
        self.invalidations = 0
        self.applied = 0
        self.blindness = Blindness(self.lock)
        self.hits = itertools.count()  # `next` is atomic, and a hit takes no lock
        self.closed = False
        self.monotonic = clock.monotonic
        self.wall = clock.now
        self.time_to_live = FOREVER if time_to_live is None else time_to_live
        self.time_to_idle = FOREVER if time_to_idle is None else time_to_idle
        self.keep_stale = keep_stale
        self._deadlines: list[tuple[float, int, Hashable]] = []  # by key: it keeps no value alive
        self._bygone = Bygone(self.entries, keep_stale)
        self._order = itertools.count()
        self._chores: deque[Chore] = deque()

    def check_open(self) -> None:
        if self.closed:
            raise ClosedError("this cache is closed")

    # ---------------------------------------------------------------- looking

    def fresh_entry(self, key: Hashable) -> AnySlot | None:
        """The entry under ``key`` if it may be served as fresh; that is a read of it."""
        slot = self.entries.get(key)
        if slot is None or self.fresh_no_more_since(slot) is not None:
            return None
        slot.read_at = self.monotonic()
        return slot

    def stale_entry(self, key: Hashable, within: float | None) -> AnySlot | None:
        """The entry under ``key``, fresh or not, if it stopped being fresh at most ``within`` seconds ago."""
        slot = self.entries.get(key)
        if slot is None or within is None:
            return None
        since = self.fresh_no_more_since(slot)
        return slot if since is None or self.monotonic() - since <= within else None

    def failure(self, key: Hashable) -> BaseException | None:
        """The error that is kept under ``key``."""
        slot = self.failures.get(key)
        if slot is None:
            return None
        if self.monotonic() < slot.fresh_until:
            error: BaseException = slot.value
            return error
        self._forget_failure(slot)
        return None

    def fresh_no_more_since(self, slot: AnySlot) -> float | None:
        """Since when (monotonic) an entry has not been fresh; None if it is."""
        now = self.monotonic()
        if slot.is_stale:
            return slot.stale_at
        if now >= slot.fresh_until:
            return slot.fresh_until
        if now - slot.read_at >= slot.idle_after:
            return slot.read_at + slot.idle_after
        if slot.valid_until is not None and (over := self.wall().timestamp() - slot.valid_until) >= 0:
            return now - over
        return None

    def is_blind(self, slot: AnySlot) -> bool:
        """Whether a change of what ``slot`` depends on may go unheard just now."""
        return self.blindness.covers(slot.depends_on)

    # ---------------------------------------------------------------- changing

    def keep(self, slot: AnySlot, fresh_until: float, idle_after: float, woken: list[Watcher]) -> None:
        """Make a landed slot the entry of its key."""
        before = self.entries.get(slot.key)
        if before is not None:
            self.make_stale(before, "replaced", woken)
            self.forget(before)
        failed = self.failures.get(slot.key)
        if failed is not None:
            self._forget_failure(failed)
        slot.fresh_until = fresh_until
        slot.idle_after = idle_after
        slot.read_at = slot.landed_at  # the very moment: a later `read_at` means that somebody read it
        self.entries[slot.key] = slot
        if not slot.watchers:
            self.index.gather(slot)
        if self._bygone.is_large(self.invalidations):
            self._bygone.shed(self.invalidations)
        self.bytes += slot.size
        self._sweep_at(self._gone_at(slot), slot)
        self._chores.append(("put", slot))

    def keep_failure(self, slot: AnySlot, error: BaseException, seconds: float) -> None:
        """Keep an error under the key of its flight's slot, until it is old or a change comes."""
        while len(self.failures) >= self.store.max_capacity:
            self._forget_failure(next(iter(self.failures.values())))
        before = self.failures.get(slot.key)
        if before is not None:
            self._forget_failure(before)
        failed: AnySlot = Slot(slot.key, frozenset(slot.depends_on))
        failed.value = error
        failed.fresh_until = self.monotonic() + seconds
        self.failures[slot.key] = failed
        self.index.register(failed)

    def mourn(self, slot: AnySlot, depends_on: Iterable[KeyExpr]) -> None:
        """What ``slot`` was to hold could not be computed: its watchers hear of the next change all the same.

        That is any change of what it might have read: what failed does not know what it would have read.
        """
        self.index.move(slot, frozenset(depends_on))
        self.index.register(slot)
        for watcher in slot.watchers:
            self.mourned.setdefault(watcher, {})[slot.key] = slot

    def mourn_with(self, watcher: Watcher, key: Hashable) -> None:
        """``watcher`` is given the error that is kept under ``key``: it hears of the change that ends it."""
        slot = self.failures[key]
        slot.watchers += (watcher,)
        self.mourned.setdefault(watcher, {})[key] = slot

    def comfort(self, watcher: Watcher, key: Hashable = None, *, everywhere: bool = False) -> None:
        """``watcher`` waits for nothing that failed under ``key``, or anywhere, any more."""
        held = self.mourned.get(watcher)
        if held is None:
            return
        for each in list(held) if everywhere else [key]:
            slot = held.pop(each, None)
            if slot is not None:
                slot.watchers = tuple(other for other in slot.watchers if other != watcher)
                if not slot.watchers and self.failures.get(each) is not slot:
                    self.index.discard(slot)
        if not held:
            del self.mourned[watcher]

    def put_off(self, key: Hashable) -> None:
        """A computation failed: the entry, if there is one, is refreshed in the background after a pause only."""
        slot = self.entries.get(key)
        if slot is not None:
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**slot.retries)
            slot.retries = min(slot.retries + 1, 30)
            slot.retry_at = self.monotonic() + pause * random.uniform(0.75, 1.25)  # noqa: S311 - jitter

    def concern(self, slot: AnySlot, change: Change, woken: list[Watcher]) -> bool:
        """A change under something that ``slot`` depends on; True if it made an entry stale."""
        flight = slot.flight
        if slot.has_seen(change) or (flight is not None and not flight.begun):
            return False
        if flight is not None and change.source is not None and not flight.reading:
            self._remember(slot, change)
            return False
        self.make_stale(slot, change, woken)
        return slot.landed

    def overtake(self, key: str, woken: list[Watcher]) -> int:
        """An event under ``key``: `concern` for every slot that depends on it; how many entries it made stale.

        The cost of an event grows with the groups that it hits and the slots that stand by themselves. Raises
        `KeyExprError` for what is no key.
        """
        taken = self.index.take(key)
        if not taken:
            return 0
        now, count = self.monotonic(), 0
        ended: Ended = []
        for found in taken:
            if type(found) is Group:
                found.stale_at = now
                found.cause = key
                ended.append(found)
                count += len(found.slots)
            elif found.registered:  # else it came before
                if found.registered > 1:
                    self.index.take_rest(found)
                found.registered = 0
                if found.flight is None and not found.watchers and found.landed:
                    found.cause = key  # `Slot.end`, without a call; what stands in the index is not stale yet
                    found.ended_at = now
                    found.fresh_until = NEVER
                    ended.append(found.key)
                    count += 1
                else:
                    self.index.register(found)
                    count += self.concern(found, Change(KeyExpr(key)), woken)
        if ended:
            self._bygone.note((now, ended))
        self.invalidations += count
        return count

    def overtake_before(self, change: Change, woken: list[Watcher]) -> int:
        """A commit, which some have seen: `concern` for every slot that depends on it. Returns as `overtake`."""
        count = 0
        taken = self.index.take(change.key)
        for found in taken:  # it grows under way: groups are dissolved
            if type(found) is Group:
                taken += self.index.dissolve(found)
            elif found.registered:  # else it came before
                self.index.take_rest(found)
                found.registered = 0
                self.index.register(found)
                count += self.concern(found, change, woken)
        self.invalidations += count
        return count

    def make_stale(self, slot: AnySlot, cause: Change | str, woken: list[Watcher]) -> None:
        """Fence a flight or make an entry stale. From here on no read that begins is answered by it."""
        if not slot.is_stale:
            slot.end(cause, self.monotonic())
        self.index.discard(slot)
        flight = slot.flight
        if flight is not None:
            if self.flights.get(slot.key) is flight:
                del self.flights[slot.key]
            self.count["fences"] += 1
        elif self.entries.get(slot.key) is slot:
            self._sweep_at(self._gone_at(slot), slot)
        elif self.failures.get(slot.key) is slot:
            del self.failures[slot.key]
        woken.extend(slot.watchers)
        if self.mourned:
            for watcher in slot.watchers:
                self._console(watcher, slot)
        slot.watchers = ()

    def _console(self, watcher: Watcher, slot: AnySlot) -> None:
        """``watcher`` is about to hear of ``slot``, which may be one that failed."""
        held = self.mourned.get(watcher)
        if held is not None and held.get(slot.key) is slot:
            del held[slot.key]
            if not held:
                del self.mourned[watcher]

    def drop(self, key: Hashable, cause: str, woken: list[Watcher]) -> bool:
        """Take the entry away altogether, and fence the flight."""
        flight, slot = self.flights.get(key), self.entries.get(key)
        if flight is not None and flight.begun:
            self.make_stale(flight.slot, cause, woken)
        if slot is not None:
            self.make_stale(slot, cause, woken)
            self.forget(slot)
            self._chores.append(("remove", slot))
        failed = self.failures.get(key)
        if failed is not None:
            self._forget_failure(failed)
        return flight is not None or slot is not None

    def forget(self, slot: AnySlot) -> None:
        """An entry, or what was held for a watcher, is gone: nothing of ours refers to it any more.

        No change would reach it any more, so it is never fresh again, whoever may still hold it.
        """
        self.index.discard(slot)
        slot.fresh_until = NEVER
        if self.entries.get(slot.key) is slot:
            del self.entries[slot.key]
            self.bytes -= slot.size

    def _forget_failure(self, slot: AnySlot) -> None:
        if not slot.watchers:  # they still want to hear of a change
            self.index.discard(slot)
        self.failures.pop(slot.key, None)

    def _remember(self, slot: AnySlot, change: Change) -> None:
        """Note a change for a flight that has not pinned yet; beyond a bound, per source and for any key."""
        slot.unseen += (change,)
        if len(slot.unseen) > _UNSEEN_LIMIT:
            newest: dict[str | None, int] = {}
            for seen in slot.unseen:
                newest[seen.source] = max(seen.version, newest.get(seen.source, 0))
            slot.unseen = tuple(Change(SEVERAL, source, version) for source, version in newest.items())

    # ---------------------------------------------------------------- tidying

    def tidy(self) -> None:
        """Carry out what the store and the clock have decided meanwhile."""
        evictions = self.store.evictions
        while evictions:
            key, slot, cause = evictions.popleft()
            if self.entries.get(key) is not slot:
                continue
            if cause == "size":
                slot.evicted = True
                self.count["evictions"] += 1
                if not slot.watchers:  # a watched entry stays registered: its watcher must hear of a change
                    self.forget(slot)
        if self._deadlines and self._deadlines[0][0] <= (now := self.monotonic()):
            self._sweep(now)
        for slot in self._bygone.due(self.monotonic()):
            if slot.watchers:
                self._sweep_at(self.monotonic() + 1.0, slot)
            else:
                self.forget(slot)
                self._chores.append(("remove", slot))

    def _gone_at(self, slot: AnySlot) -> float:
        """When nobody may ask for an entry any more, as far as is known now."""
        if slot.is_stale:
            return slot.stale_at + self.keep_stale
        until = slot.fresh_until
        if slot.valid_until is not None:
            until = min(until, self.monotonic() + slot.valid_until - self.wall().timestamp())
        return min(until + self.keep_stale, slot.read_at + slot.idle_after)

    def _sweep_at(self, when: float, slot: AnySlot) -> None:
        """Look at ``slot`` again at ``when``, and not before."""
        slot.sweep = next(self._order)
        if when == FOREVER:
            return
        heapq.heappush(self._deadlines, (when, slot.sweep, slot.key))
        if len(self._deadlines) > 4 * len(self.entries) + 64:
            self._deadlines = [item for item in self._deadlines if self._due(item) is not None]
            heapq.heapify(self._deadlines)

    def _due(self, item: tuple[float, int, Hashable]) -> AnySlot | None:
        """The entry that an item of the heap is about, unless it was replaced, dropped or put off."""
        slot = self.entries.get(item[2])
        return slot if slot is not None and slot.sweep == item[1] else None

    def _sweep(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            slot = self._due(heapq.heappop(self._deadlines))
            if slot is None:
                continue
            when = self._gone_at(slot)
            if when <= now and not slot.watchers:
                self.count["expirations"] += not slot.is_stale
                self.forget(slot)
                self._chores.append(("remove", slot))
            else:  # it was read meanwhile, is watched, or the wall clock was set back
                self._sweep_at(max(now + 1.0, when), slot)

    def do_chores(self) -> None:
        """Tell the store what has been decided. The lock is not held."""
        if self._chores:
            self.store.carry_out(self._chores, self.entries)
