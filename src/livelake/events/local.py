"""A bus inside one process. Nothing is queued: publishing is a look-up in a tree and some calls (`delivery`)."""

from __future__ import annotations

import secrets

from livelake.errors import EventError, UsageError
from livelake.events.bus import Bus, BusStats, Handler, Subscription
from livelake.events.delivery import Delivery, LinedUp
from livelake.events.event import Change, Event
from livelake.events.sequences import Sequences
from livelake.keys import KeyExpr
from livelake.token import Token

__all__ = ["LocalBus"]


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
        self._delivery = Delivery(self._source)
        self._delivery.positions[self._source] = 0
        # Both are written in the turn.
        self._sequences = Sequences(remembered)
        self._number = 0  # of the last publication

    async def publish(self, event: Event) -> Token:
        return self.publish_nowait(event)

    async def invalidate(self, expr: KeyExpr | str) -> Token:
        return self.invalidate_nowait(expr)

    def publish_nowait(self, event: Event) -> Token:
        if not isinstance(event, Event):
            raise EventError(f"publish takes an Event, and this is {type(event).__name__}.")
        return self._delivery.publish(self._line_up, event)

    def invalidate_nowait(self, expr: KeyExpr | str) -> Token:
        return self._delivery.publish(self._line_up, Change(KeyExpr(expr), self._source))

    def subscribe(self, expr: KeyExpr | str, handler: Handler) -> Subscription:
        return self._delivery.subscribe(KeyExpr(expr), handler)

    def heard(self) -> Token:
        return Token(positions=self._delivery.positions)

    async def reached(self, token: Token, *, timeout: float = 5.0) -> None:
        await self._delivery.reached(token, timeout)

    def blind(self) -> frozenset[KeyExpr]:
        return frozenset()

    def stats(self) -> BusStats:
        delivery = self._delivery
        return BusStats(
            published=self._number,
            delivered=delivery.delivered,
            failed=delivery.failed,
            doubts=delivery.doubts,
            subscriptions=len(delivery),
            closed=delivery.closed,
        )

    async def close(self) -> None:
        self._delivery.close()

    def __repr__(self) -> str:
        state = "closed" if self._delivery.closed else f"{len(self._delivery)} subscriptions"
        return f"<LocalBus {self._source}: {state}, {self._number} published>"

    def _line_up(self, signal: Event | Change) -> LinedUp:
        """Number a signal. The caller has the turn."""
        if type(signal) is Event:
            sequence = self._sequences.next(signal)
            if signal.sequence is None:
                signal = signal.numbered(sequence)
        self._number += 1
        return signal, self._source, self._number
