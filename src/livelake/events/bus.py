"""The role of a bus, with every promise that it makes.

`tests/contracts/test_bus.py` holds each implementation to them.

A bus is a hint: it may lose what it carries, but it may not lose it silently. Whoever subscribed either
gets a signal or gets a `Doubt` whose scope covers it, within the bound that the bus states.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from livelake.events.event import Event, Signal
from livelake.keys import KeyExpr
from livelake.token import Token

__all__ = ["Bus", "BusStats", "Handler", "Subscription"]

Handler = Callable[[Signal], None]
"""Called with each signal; see `Bus.subscribe` for what it may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusStats:
    """What a bus has done since it was made; whole numbers that only grow, but for ``subscriptions``."""

    published: int
    """Events and changes accepted by ``publish`` and ``invalidate`` here."""
    delivered: int
    """Handler calls that returned."""
    failed: int
    """Handler calls that raised."""
    doubts: int
    """Doubts handed to handlers, or tried to be."""
    subscriptions: int
    """Subscriptions open now."""
    closed: bool


class Subscription(Protocol):
    """A standing wish to hear of what meets ``expr``. A context manager; closing twice is fine. Any thread."""

    @property
    @abstractmethod
    def expr(self) -> KeyExpr:
        """What it listens to."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether it was closed, by itself or with its bus."""

    @abstractmethod
    def close(self) -> None:
        """End it: what is published once this has returned does not reach the handler any more.

        A call that is under way in another thread may still end, or just begin, after it.
        Allowed inside a handler, its own too.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Bus(Protocol):
    """Carries signals from publishers to handlers. Any thread and any event loop may call.

    **Delivery.** At least once to each open subscription whose expression intersects the signal's key, or else a
    `Doubt` to it that covers the key. A wild key reaches every subscription that it meets.

    **Order.** Signals of one publisher about one aggregate reach each handler in the order of their publication,
    also when a handler publishes. Of different publishers nothing is promised here; implementations may.

    **Re-entrance.** Inside a handler, ``subscribe``, ``Subscription.close`` and the ``_nowait`` methods are
    allowed. What is published there comes after the signal that is being handled: it returns at once, and is
    handled before the outermost ``publish`` returns.

    **Closing.** Each subscription that is still open gets one last `Doubt` over its whole expression, for it will
    hear nothing any more; then it is closed. After that ``publish``, ``invalidate`` and ``subscribe`` raise
    `ClosedError`; the rest still answers. Closing twice is fine. ``async with bus`` closes at the end.

    A publisher must hold no lock that a handler may want: handlers run before ``publish`` returns.
    """

    @abstractmethod
    async def publish(self, event: Event) -> Token:
        """Tell that something happened, after its data was committed.

        Returns when every subscription *here* has handled it, and it is handed over to the wire if there is
        one. A handler that fails does not fail the publisher. Once begun it is not cancelled half way.

        An event without ``sequence`` gets one: per aggregate they grow with each publication on this bus.
        One that has a sequence keeps it, and later ones grow past it.

        The token's ``positions`` name the point that was reached; see `heard`.
        """

    @abstractmethod
    async def invalidate(self, expr: KeyExpr | str) -> Token:
        """Tell that anything under ``expr``, wild or not, may have changed: a `Change` to all whom it meets.

        Otherwise as `publish`. Raises `KeyExprError` for a text that is no key expression.
        """

    @abstractmethod
    def publish_nowait(self, event: Event) -> Token:
        """`publish` for handlers and for threads without an event loop: everything but waiting for the wire.

        Raises `BusyError`, before anything has happened, where handing over would have to wait.
        """

    @abstractmethod
    def invalidate_nowait(self, expr: KeyExpr | str) -> Token:
        """`invalidate` in the manner of `publish_nowait`."""

    @abstractmethod
    def subscribe(self, expr: KeyExpr | str, handler: Handler) -> Subscription:
        """Have ``handler`` called with each signal that meets ``expr``. In effect when it returns.

        The handler is called in the thread that heard of the signal (a publisher's, or one of the bus),
        maybe inside ``publish``. So it is O(1), never blocks, and is written for any thread: mark, count,
        wake up; no query, no wait, no lock that is held for long. The same handler may be subscribed many
        times.

        If it raises, that is logged and counted, it is called with a `Doubt` that covers the signal, and
        nobody else is disturbed. If it raises on the doubt too, the doubt is owed, widened to ``expr``, and
        tried again before its next signal.
        """

    @abstractmethod
    def heard(self) -> Token:
        """How far the subscriptions here have come: ``positions`` only.

        A publication is handled here if its lanes are covered: ``Token(positions=token.positions) <=
        heard()``.
        """

    @abstractmethod
    async def reached(self, token: Token, *, timeout: float = 5.0) -> None:
        """Wait until what ``token`` speaks of was handled here, on whichever node it was published.

        Only its positions count. A source that is over (it said goodbye, or was given up and all that it could
        have said was doubted) counts as reached. Raises `BusyError` after ``timeout`` seconds, and `ClosedError`
        if the bus is closed meanwhile. Cancellable; any loop.
        """

    @abstractmethod
    def blind(self) -> frozenset[KeyExpr]:
        """What the bus cannot vouch for at this moment: a change in there may be on its way and unheard.

        What depends on it is not to be kept. Cheap; any thread. A scope comes in before the `Doubt` about it is
        handed over, and goes after the doubt that ends it was taken.
        """

    @abstractmethod
    def stats(self) -> BusStats:
        """Counters; cheap, and read without stopping anybody."""

    @abstractmethod
    async def close(self) -> None:
        """End it, as said above. Not inside a handler."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
