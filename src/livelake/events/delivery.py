"""Handing signals to the handlers of one process: what every bus has inside, whatever else it is made of.

**How order is kept.** One *turn* per bus: whoever has a signal waits for the turn, calls the handlers in its own
thread, and gives the turn on. So all handlers see all signals in one total order, and never two at once. What a
handler publishes cannot wait for the turn that its own thread has: it is lined up at once, and delivered after the
current signal, before the turn is given on. A lock per aggregate would let more threads through, and deadlock when
handlers of two aggregates publish to each other.

**Two locks.** ``turn`` is held while handlers run; ``_lock`` guards the subscriptions, is held for microseconds
and never while foreign code runs, so that subscribing never waits for a handler. Order: turn before lock.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from livelake.errors import BusyError, ClosedError, UsageError
from livelake.events.bell import Bell
from livelake.events.bus import Handler, Subscription
from livelake.events.event import Doubt, Signal
from livelake.keys import KeyExpr, KeyTree
from livelake.token import Token

__all__ = ["Delivery", "LinedUp"]

W = TypeVar("W")
S = TypeVar("S", bound=Signal)

LinedUp = tuple[Signal, str, int]
"""A signal, the lane that it came in ("" for none), and its number there."""

_log: Final = logging.getLogger("livelake.events")


class Delivery:
    """The subscriptions of one bus and the turn to call them; its promises are those of `Bus`. Any thread.

    ``on_end`` is called with each subscription that has ended, once, outside the locks (maybe inside the turn).
    """

    def __init__(self, name: str, on_end: Callable[[Subscription], None] | None = None) -> None:
        self.name = name
        self._on_end = on_end
        self.turn = threading.RLock()
        self.bell = Bell()  # rung when a position was reached, and at the end
        self._lock = threading.Lock()
        self._tree: KeyTree[_Subscription] = KeyTree()
        self._subscriptions: dict[int, _Subscription] = {}  # by number, in the order that they were made
        self._made = 0
        self.closed = False
        # All below is written only by the thread that has the turn.
        self._delivering = False
        self._waiting: deque[LinedUp] = deque()
        self.positions: dict[str, int] = {}
        """Lane → number of the last that was delivered from it."""
        self.delivered = self.failed = self.doubts = 0

    def __len__(self) -> int:
        return len(self._subscriptions)

    def subscribe(self, expr: KeyExpr, handler: Handler) -> Subscription:
        """See `Bus.subscribe`."""
        with self._lock:
            self.check_open("subscribe to")
            self._made += 1
            subscription = _Subscription(self, self._made, expr, handler)
            self._subscriptions[subscription.number] = subscription
            self._tree.add(expr, subscription)
        return subscription

    def publish(self, line_up: Callable[[W], LinedUp], what: W) -> Token:
        """Deliver what ``line_up(what)`` makes, and all that handlers add to it; the token of that one.

        ``line_up`` is called in the turn, so that the order of its numbers is the order of delivery; when it
        raises, nothing has happened.
        """
        with self.turn:
            self.check_open("publish on")
            lined_up = line_up(what)
            token = Token(positions={lined_up[1]: lined_up[2]})
            self._waiting.append(lined_up)
            self._deliver_all()
        return token

    def deliver(self, signal: Signal, lane: str = "", number: int = 0) -> None:
        """Deliver what came from afar. Nothing happens once the bus is closed."""
        with self.turn:
            if self.closed:
                return
            self._waiting.append((signal, lane, number))
            self._deliver_all()

    def reach(self, positions: Iterable[tuple[str, int]]) -> None:
        """Note that these need no delivery any more; then ring."""
        with self.turn:
            self.positions.update(positions)
        self.bell.ring()

    def forget(self, lanes: Iterable[str]) -> None:
        """Forget these lanes."""
        with self.turn:
            for lane in lanes:
                self.positions.pop(lane, None)
        self.bell.ring()

    async def reached(
        self, token: Token, timeout: float, is_over: Callable[[str], bool] = lambda lane: False
    ) -> None:
        """See `Bus.reached`; ``is_over(lane)`` tells of lanes that will not move any more, and need not."""
        wanted = token.positions

        def covered() -> bool:
            missing = [lane for lane, number in wanted.items() if self.positions.get(lane, -1) < number]
            if all(is_over(lane) for lane in missing):
                return True
            self.check_open("wait on")
            return False

        if not await self.bell.wait(covered, timeout):
            missing = {lane: number for lane, number in wanted.items() if self.positions.get(lane, -1) < number}
            shown = ", ".join(f"{lane} at {number}" for lane, number in list(missing.items())[:3])
            raise BusyError(
                f"this node did not hear of {shown} within {timeout:g} s: the publisher is not heard here, or is"
                " slow; try again, or read without `not_before` and take what there is."
            )

    def close(self) -> None:
        """Wait for the turn; say the last doubts; refuse from then on. `UsageError` inside a handler."""
        with self.turn:  # what is being delivered is delivered
            self.check_outside("closed")
            with self._lock:
                self.closed = True
                left = list(self._subscriptions.values())
            self._delivering = True
            try:
                _finish_all([(one.end, Doubt(one.expr, "the bus was closed")) for one in left])
            finally:
                self._delivering = False
        self.bell.ring()

    def check_outside(self, what: str) -> None:
        """`UsageError` if the caller is a handler. The caller has the turn."""
        if self._delivering:
            raise UsageError(f"a bus is not {what} by one of its handlers; do it where it was opened.")

    def check_open(self, what: str) -> None:
        if self.closed:
            raise ClosedError(f"cannot {what} this bus: it is closed. Do it inside `async with bus`.")

    def _deliver_all(self) -> None:
        """Deliver what is lined up, in order, with what handlers add to it. The caller has the turn."""
        if self._delivering:  # a handler of this thread publishes, and the loop below is its caller
            return
        self._delivering = True
        fatal: BaseException | None = None
        try:
            while self._waiting:
                signal, lane, number = self._waiting[0]  # it goes when it was delivered: Ctrl-C may come at any line
                with self._lock:
                    met = self._tree.match(signal.key)
                try:
                    if len(met) == 1:
                        met.pop().handle(signal)
                    else:
                        _finish_all([(one.handle, signal) for one in sorted(met)])
                except BaseException as error:
                    fatal = fatal or error
                self._waiting.popleft()
                if lane and number > self.positions.get(lane, -1):  # a repetition does not set it back
                    self.positions[lane] = number
                    self.bell.ring()
        finally:
            self._delivering = False
        if fatal is not None:
            raise fatal

    def _end(self, subscription: _Subscription) -> None:
        with self._lock:
            gone = self._subscriptions.pop(subscription.number, None)
            if gone is not None:
                self._tree.discard(subscription.expr, subscription)
        if gone is not None and self._on_end is not None:
            self._on_end(subscription)


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


class _Subscription(Subscription):
    """One handler. Sorts by age, so that handlers are called in the order of their subscription."""

    __slots__ = ("_closed", "_delivery", "_expr", "_handler", "_owed", "number")

    def __init__(self, delivery: Delivery, number: int, expr: KeyExpr, handler: Handler) -> None:
        self._delivery = delivery
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
        self._delivery._end(self)

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
        if type(signal) is Doubt:
            self.doubt(self._cut(signal))
            return
        failure = self._call(signal)
        if failure is not None:
            self.doubt(Doubt(signal.key, f"a handler raised {type(failure).__qualname__}", self._delivery.name))
            if not isinstance(failure, Exception):
                raise failure  # Ctrl-C and the like: after the doubt, and the bus lets the others finish

    def doubt(self, doubt: Doubt) -> None:
        """Hand over a doubt, or owe it."""
        if self._closed:
            return
        self._owed = None
        self._delivery.doubts += 1
        failure = self._call(doubt)
        if failure is not None:
            self._owed = Doubt(self._expr, doubt.reason, doubt.source)
            if not isinstance(failure, Exception):
                raise failure

    def _cut(self, doubt: Doubt) -> Doubt:
        """The doubt as far as it is this subscription's business: one about everything must not reach further."""
        if self._expr.includes(doubt.scope):
            return doubt
        return Doubt(self._expr, doubt.reason, doubt.source)

    def _call(self, signal: Signal) -> BaseException | None:
        if self._closed:
            return None
        try:
            self._handler(signal)
        except BaseException as failure:
            self._delivery.failed += 1
            _log.exception("a handler of %r failed on %s %s", self._expr, type(signal).__name__, signal.key)
            return failure
        self._delivery.delivered += 1
        return None

    def __lt__(self, other: _Subscription) -> bool:
        return self.number < other.number

    def __repr__(self) -> str:
        return f"<subscription to {self._expr}{', closed' if self._closed else ''}>"
