"""Published fakes for the tests of livelake and of those who build on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from livelake.events import Bus, BusStats, Change, Event, Handler, LocalBus, Signal, Subscription
from livelake.keys import KeyExpr
from livelake.token import Token

__all__ = ["ManualClock", "RecordingBus"]


class ManualClock:
    """A clock that moves only when told. Both clocks move together in `advance`; `jump` moves the wall alone."""

    def __init__(self, now: datetime = datetime(2024, 1, 15, 12, tzinfo=UTC)) -> None:
        self._now = now
        self._monotonic = 1000.0

    def monotonic(self) -> float:
        return self._monotonic

    def now(self) -> datetime:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on both clocks."""
        self._monotonic += seconds
        self._now += timedelta(seconds=seconds)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as NTP or a person would; monotonic time stands."""
        self._now += timedelta(seconds=seconds)


class RecordingBus(Bus):
    """A bus that remembers what went in and what came out; otherwise it is the bus that it wraps (a `LocalBus`).

    ``published`` holds each `Event` and `Change` that was accepted here, as it was handed in, in the order of
    acceptance. ``delivered`` holds (expression of the subscription, signal) for each handler call, noted before
    the call. Both are plain lists, yours to read and clear. `inject` fakes what a network would do.
    """

    def __init__(self, bus: Bus | None = None) -> None:
        self.bus: Bus = LocalBus() if bus is None else bus
        self.published: list[Event | Change] = []
        self.delivered: list[tuple[KeyExpr, Signal]] = []
        self._subscribed: list[tuple[Subscription, Handler]] = []

    async def publish(self, event: Event) -> Token:
        token = await self.bus.publish(event)
        self.published.append(event)
        return token

    async def invalidate(self, expr: KeyExpr | str) -> Token:
        token = await self.bus.invalidate(expr)
        self.published.append(Change(KeyExpr(expr)))
        return token

    def publish_nowait(self, event: Event) -> Token:
        token = self.bus.publish_nowait(event)
        self.published.append(event)
        return token

    def invalidate_nowait(self, expr: KeyExpr | str) -> Token:
        token = self.bus.invalidate_nowait(expr)
        self.published.append(Change(KeyExpr(expr)))
        return token

    def subscribe(self, expr: KeyExpr | str, handler: Handler) -> Subscription:
        key = KeyExpr(expr)

        def noting(signal: Signal) -> None:
            self.delivered.append((key, signal))
            handler(signal)

        subscription = self.bus.subscribe(key, noting)
        self._subscribed.append((subscription, noting))
        return subscription

    def inject(self, signal: Signal) -> int:
        """Hand ``signal`` (a `Doubt`, a repeated `Event`) to all whom it meets, past the bus; returns how many."""
        self._subscribed = [pair for pair in self._subscribed if not pair[0].closed]
        met = [handler for subscription, handler in self._subscribed if subscription.expr.intersects(signal.key)]
        for handler in met:
            handler(signal)
        return len(met)

    def heard(self) -> Token:
        return self.bus.heard()

    async def reached(self, token: Token, *, timeout: float = 5.0) -> None:
        await self.bus.reached(token, timeout=timeout)

    def blind(self) -> frozenset[KeyExpr]:
        return self.bus.blind()

    def stats(self) -> BusStats:
        return self.bus.stats()

    async def close(self) -> None:
        await self.bus.close()
