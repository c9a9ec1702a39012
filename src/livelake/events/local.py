"""A bus inside one process. Nothing is queued: publishing is a look-up in a tree and some calls.

**How order is kept.** One *turn* per bus: whoever publishes waits for the turn, takes a number, calls the
handlers in its own thread, and gives the turn on. So all handlers see all signals in one total order, that of
the numbers, and never two at once. What a handler publishes cannot wait for the turn that its own thread has:
it is numbered at once, lined up, and delivered after the current signal, before the turn is given on. A lock
per aggregate would let more threads through, and deadlock when handlers of two aggregates publish to each other.

**Two locks.** ``_turn`` is held while handlers run; ``_lock`` guards the subscriptions, is held for
microseconds and never while foreign code runs, so that subscribing never waits for a handler. Order: turn
before lock.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from livelake.errors import ClosedError, EventError, UsageError
from livelake.events.bus import Bus, BusStats, Handler, Subscription
from livelake.events.event import Change, Doubt, Event, Signal
from livelake.events.sequences import Sequences
from livelake.keys import KeyExpr, KeyTree
from livelake.token import Token

__all__ = ["LocalBus"]

S = TypeVar("S", bound=Signal)

_log: Final = logging.getLogger("livelake.events")


class LocalBus(Bus):
    """A `Bus` in this process; beyond the contract: one total order, and never two handlers at once.

    ``source`` names its one lane in tokens; a random name if not given. ``remembered`` bounds the memory for
    sequences: those of that many aggregates count up by one; an aggregate that was forgotten and comes back
    goes on past every sequence ever forgotten, so that sequences still grow, with a hole.
    """

    def __init__(self, *, source: str | None = None, remembered: int = 65_536) -> None:
        if remembered < 1:
            raise UsageError(f"remembered is how many aggregates to remember, at least 1, not {remembered}.")
        self._source = source or f"local-{secrets.token_hex(4)}"
        self._turn = threading.RLock()
        self._lock = threading.Lock()
        self._tree: KeyTree[_LocalSubscription] = KeyTree()
        self._subscriptions: dict[int, _LocalSubscription] = {}  # by number, in the order that they were made
        self._made = 0
        self._closed = False
        # All below is written only by the thread that has the turn.
        self._delivering = False
        self._waiting: deque[tuple[Signal, int]] = deque()
        self._sequences = Sequences(remembered)
        self._number = 0  # of the last publication
        self._reached = 0  # of the last that was delivered
        self._delivered = self._failed = self._doubts = 0

    async def publish(self, event: Event) -> Token:
        return self.publish_nowait(event)

    async def invalidate(self, expr: KeyExpr | str) -> Token:
        return self.invalidate_nowait(expr)

    def publish_nowait(self, event: Event) -> Token:
        if not isinstance(event, Event):
            raise EventError(f"publish takes an Event, and this is {type(event).__name__}.")
        return self._publish(event)

    def invalidate_nowait(self, expr: KeyExpr | str) -> Token:
        return self._publish(Change(KeyExpr(expr), self._source))

    def subscribe(self, expr: KeyExpr | str, handler: Handler) -> Subscription:
        key = KeyExpr(expr)
        with self._lock:
            self._check_open("subscribe to")
            self._made += 1
            subscription = _LocalSubscription(self, self._made, key, handler)
            self._subscriptions[subscription.number] = subscription
            self._tree.add(key, subscription)
        return subscription

    def heard(self) -> Token:
        return Token(positions={self._source: self._reached})

    def stats(self) -> BusStats:
        return BusStats(
            published=self._number,
            delivered=self._delivered,
            failed=self._failed,
            doubts=self._doubts,
            subscriptions=len(self._subscriptions),
            closed=self._closed,
        )

    async def close(self) -> None:
        with self._turn:  # what is being delivered is delivered
            if self._delivering:
                raise UsageError("a bus is not closed by one of its handlers; close it where it was opened.")
            with self._lock:
                self._closed = True
                left = list(self._subscriptions.values())
            self._delivering = True
            try:
                _finish_all([(one.end, Doubt(one.expr, "the bus was closed")) for one in left])
            finally:
                self._delivering = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._subscriptions)} subscriptions"
        return f"<LocalBus {self._source}: {state}, {self._number} published>"

    def _publish(self, signal: Event | Change) -> Token:
        with self._turn:
            token = self._line_up(signal)
            if not self._delivering:  # else a handler of this thread publishes, and the loop below is its caller
                self._delivering = True
                try:
                    self._deliver_all()
                finally:
                    self._delivering = False
        return token

    def _line_up(self, signal: Event | Change) -> Token:
        """Number a signal and put it last. The caller has the turn."""
        self._check_open("publish on")
        if type(signal) is Event:
            sequence = self._sequences.next(signal)
            if signal.sequence is None:
                signal = signal.numbered(sequence)
        token = Token(positions={self._source: self._number + 1})
        self._number += 1
        self._waiting.append((signal, self._number))
        return token

    def _deliver_all(self) -> None:
        """Deliver what is lined up, in order, with what handlers add to it. The caller has the turn."""
        fatal: BaseException | None = None
        while self._waiting:
            signal, number = self._waiting[0]  # it goes when it was delivered: Ctrl-C may come at any line
            with self._lock:
                met = self._tree.match(signal.key)
            calls = [(one.handle, signal) for one in (sorted(met) if len(met) > 1 else met)]
            try:
                _finish_all(calls)
            except BaseException as error:
                fatal = fatal or error
            self._waiting.popleft()
            self._reached = number
        if fatal is not None:
            raise fatal

    def _forget(self, subscription: _LocalSubscription) -> None:
        with self._lock:
            if self._subscriptions.pop(subscription.number, None) is not None:
                self._tree.discard(subscription.expr, subscription)

    def _check_open(self, what: str) -> None:
        if self._closed:
            raise ClosedError(f"cannot {what} this bus: it is closed. Do it inside `async with bus`.")


def _finish_all(calls: Iterable[tuple[Callable[[S], None], S]]) -> None:
    """Make each call, also when one raises; then raise the first failure. Only exits (Ctrl-C) come this far."""
    fatal: BaseException | None = None
    for call, argument in calls:
        try:
            call(argument)
        except BaseException as error:
            fatal = fatal or error
    if fatal is not None:
        raise fatal


class _LocalSubscription(Subscription):
    """One handler of a `LocalBus`. Sorts by age, so that handlers are called in the order of their subscription."""

    __slots__ = ("_bus", "_closed", "_expr", "_handler", "_owed", "number")

    def __init__(self, bus: LocalBus, number: int, expr: KeyExpr, handler: Handler) -> None:
        self._bus = bus
        self._expr = expr
        self._handler = handler
        self._closed = False
        self._owed: Doubt | None = None  # a doubt that the handler failed to take
        self.number = number

    @property
    def expr(self) -> KeyExpr:
        return self._expr

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._bus._forget(self)

    def end(self, last: Doubt) -> None:
        """Say the last word, then close. Called by the bus that closes."""
        try:
            self.doubt(last)
        finally:
            self.close()

    def handle(self, signal: Signal) -> None:
        """Call the handler, and make a doubt of its failure. Called by whoever has the turn."""
        if self._owed is not None:
            self.doubt(self._owed)
        failure = self._call(signal)
        if failure is not None:
            self.doubt(Doubt(signal.key, f"a handler raised {type(failure).__qualname__}", self._bus._source))
            if not isinstance(failure, Exception):
                raise failure  # Ctrl-C and the like: after the doubt, and the bus lets the others finish

    def doubt(self, doubt: Doubt) -> None:
        """Hand over a doubt, or owe it."""
        if self._closed:
            return
        self._owed = None
        self._bus._doubts += 1
        failure = self._call(doubt)
        if failure is not None:
            self._owed = Doubt(self._expr, doubt.reason, doubt.source)
            if not isinstance(failure, Exception):
                raise failure

    def _call(self, signal: Signal) -> BaseException | None:
        if self._closed:
            return None
        try:
            self._handler(signal)
        except BaseException as failure:
            self._bus._failed += 1
            _log.exception("a handler of %r failed on %s %s", self._expr, type(signal).__name__, signal.key)
            return failure
        self._bus._delivered += 1
        return None

    def __lt__(self, other: _LocalSubscription) -> bool:
        return self.number < other.number

    def __repr__(self) -> str:
        return f"<subscription to {self._expr}{', closed' if self._closed else ''}>"
