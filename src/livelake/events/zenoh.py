"""`ZenohBus`: a bus over Zenoh, inside one process or among many, that loses nothing silently.

Publishing: the event is numbered, applied here, and handed to the outbox (`outbound`). Hearing: the lanes that local
subscriptions want are declared (`interest`), what comes is tracked and delivered by one thread (`inbound`), and what
is missed becomes a doubt (`lanes`). Zenoh itself is behind `zenoh_session`, which is imported when a bus is opened.

Positions in tokens are named ``{node}.{epoch}/{lane}``.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Final, Self

from livelake.errors import BusyError, ClosedError, EventError, UsageError
from livelake.events import frames
from livelake.events.bus import Bus, BusStats, Handler, Subscription
from livelake.events.codec import encode
from livelake.events.delivery import Delivery, LinedUp
from livelake.events.event import Change, Event
from livelake.events.inbound import Inbound
from livelake.events.interest import Interest
from livelake.events.lanes import Lanes
from livelake.events.outbound import Outbound, Parcel
from livelake.events.sequences import Sequences
from livelake.events.zenoh_config import Credentials, Mode, session_config
from livelake.keys import KeyExpr
from livelake.token import Token

if TYPE_CHECKING:
    from livelake.events.zenoh_session import ZenohSession

__all__ = ["Credentials", "ZenohBus", "ZenohStats"]

_REMEMBERED: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class ZenohStats(BusStats):
    """`BusStats`, and what came over the wire."""

    received: int
    """Events and changes of others that came here: what the routers let through."""
    sources: int
    """Other runs of nodes that are known now."""
    blind: bool
    """Whether something cannot be vouched for now."""
    flushes: Mapping[str, int]
    """Doubts of the wire, by reason."""
    overflows: int
    """Times that the inbox was full, and was emptied."""
    undecodable: int
    """Messages that were not livelake's, or could not be read."""
    inbox: int
    """Messages that wait to be delivered now."""
    outbox: int
    """Publications that wait for the wire now."""


class _FullError(BusyError):
    """The outbox is full."""


def _door() -> ModuleType:
    """`zenoh_session`, or `UsageError` where Zenoh is not installed."""
    try:
        from livelake.events import zenoh_session
    except ModuleNotFoundError as error:
        if error.name != "zenoh":
            raise
        raise UsageError("a ZenohBus needs Zenoh, which is not installed: pip install 'livelake[zenoh]'") from error
    return zenoh_session


class ZenohBus(Bus):
    """A `Bus` over Zenoh. Open it by ``async with``; before and after, everything raises `ClosedError`.

    Without endpoints it is *embedded*: alone with its process, nothing to set up. With ``connect`` it is a client
    of one or more routers (``livelake router``, ``zenohd``); see `session_config` for ``listen`` and ``mode``.

    ``node`` names this process in tokens and health, letters, digits, ``_`` and ``-``; random if not given. Two
    processes never share one.

    Every ``heartbeat`` seconds it says how far it has come; a source that is not heard for ``silence`` seconds is
    doubted, and blinds for ``lease + silence + 2 × heartbeat`` at most. So a loss is noticed within
    ``silence + 2 × heartbeat``. ``lease``: after how long this node is taken for dead on a link; set it on the
    routers too. ``grace``: how long a heartbeat may overtake events. All nodes use the same settings.

    ``inbox`` and ``outbox`` are bounds in messages (and 64 MiB each). A full inbox is emptied and answered with one
    doubt. A full outbox has `publish` wait and ``publish_nowait`` raise `BusyError`.

    Beyond the contract: one total order of delivery in this process, never two handlers at once. Handlers run in
    the publisher's thread, or in the bus's own. Not for a process that was forked after a bus had been opened.
    """

    def __init__(
        self,
        connect: Sequence[str] = (),
        *,
        listen: Sequence[str] = (),
        mode: Mode | None = None,
        node: str | None = None,
        credentials: Credentials | None = None,
        heartbeat: float = 0.1,
        silence: float = 0.35,
        lease: float = 1.0,
        inbox: int = 65_536,
        outbox: int = 65_536,
        timeout: float = 5.0,
        grace: float = 0.05,
    ) -> None:
        if isinstance(connect, str) or isinstance(listen, str):
            raise UsageError("connect and listen are lists of endpoints; write connect=['tcp/…'].")
        if not (0 < heartbeat < silence and 0 <= grace < silence):
            raise UsageError(
                f"0 < heartbeat < silence and 0 <= grace < silence are needed, and these are heartbeat {heartbeat},"
                f" silence {silence}, grace {grace}."
            )
        if inbox < 1 or outbox < 1:
            raise UsageError(f"inbox and outbox hold at least 1 message, not {inbox} and {outbox}.")
        self._config = session_config(connect, listen, mode, lease=lease, timeout=timeout, credentials=credentials)
        self._endpoints = [*connect, *listen]
        self._heartbeat, self._timeout, self._outbox = heartbeat, timeout, outbox
        epoch = (time.time_ns() // 1_000_000 << 20) | secrets.randbits(20)
        self._tagger = frames.Tagger(secrets.token_hex(8) if node is None else node, epoch)
        self._change_key = f"livelake/change/{self._tagger.node}"
        self._delivery = Delivery(self._tagger.source, self._subscription_ended)
        lanes = Lanes(silence=silence, grace=grace, patience=lease + silence + 2 * heartbeat)
        self._inbound = Inbound(
            self._tagger.source, lanes, self._delivery, silence=silence, most_items=inbox, needs_link=bool(connect)
        )
        self._session: ZenohSession | None = None
        self._outbound: Outbound | None = None  # None when embedded: nobody is at the other end
        self._interest: Interest | None = None
        self._opened = False
        self._process = 0  # that opened it
        # All below is written in the turn.
        self._sequences = Sequences(_REMEMBERED)
        self._numbers: dict[str, int] = {}  # lane → number of the last publication
        self._published = 0

    @property
    def node(self) -> str:
        """The name of this node."""
        return self._tagger.node

    async def open(self) -> None:
        """Connect; ``async with`` does it. `SourceError` if that fails; `UsageError` the second time."""
        if self._opened:
            raise UsageError("a ZenohBus is opened once; make another one.")
        door = _door()
        self._opened, self._process = True, os.getpid()
        shown = ", ".join(self._endpoints) or "no endpoint (embedded)"
        try:
            self._session = await door.open_session(self._config, shown, self._timeout)
            if self._endpoints:
                self._join(self._session)
        except BaseException:
            self._opened = False
            self._shut()
            raise

    async def publish(self, event: Event) -> Token:
        while True:
            try:
                return self.publish_nowait(event)
            except _FullError:
                await self._room()

    async def invalidate(self, expr: KeyExpr | str) -> Token:
        while True:
            try:
                return self.invalidate_nowait(expr)
            except _FullError:
                await self._room()

    def publish_nowait(self, event: Event) -> Token:
        if not isinstance(event, Event):
            raise EventError(f"publish takes an Event, and this is {type(event).__name__}.")
        self._check_open("publish on")
        return self._delivery.publish(self._line_up_event, event)

    def invalidate_nowait(self, expr: KeyExpr | str) -> Token:
        self._check_open("publish on")
        return self._delivery.publish(self._line_up_change, KeyExpr(expr))

    def subscribe(self, expr: KeyExpr | str, handler: Handler) -> Subscription:
        self._check_open("subscribe to")
        key = KeyExpr(expr)
        subscription = self._delivery.subscribe(key, handler)
        if self._interest is not None:
            self._interest.want(key)
        return subscription

    def heard(self) -> Token:
        return Token(positions=dict(self._delivery.positions))  # a copy: others may add lanes meanwhile

    async def reached(self, token: Token, *, timeout: float = 5.0) -> None:
        self._check_open("wait on")
        await self._delivery.reached(token, timeout, self._inbound.is_over)

    def blind(self) -> frozenset[KeyExpr]:
        return self._inbound.blind()

    def stats(self) -> ZenohStats:
        delivery, inbound = self._delivery, self._inbound
        return ZenohStats(
            published=self._published,
            delivered=delivery.delivered,
            failed=delivery.failed,
            doubts=delivery.doubts,
            subscriptions=len(delivery),
            closed=delivery.closed,
            received=inbound.received,
            sources=len(inbound.sources()),
            blind=bool(inbound.blind()),
            flushes=dict(inbound.reasons),
            overflows=inbound.overflows,
            undecodable=inbound.undecodable,
            inbox=len(inbound.box),
            outbox=0 if self._outbound is None else len(self._outbound.box),
        )

    def health(self) -> dict[str, object]:
        """What ``/healthz`` shows, as plain data; cheap enough for every few seconds."""
        return {
            "node": self._tagger.node,
            "epoch": f"{self._tagger.epoch:x}",
            "mode": self._config["mode"],
            "endpoints": list(self._endpoints),
            "open": self._opened and not self._delivery.closed,
            "connected": len(self._inbound.links),
            "listens_to": sorted(self._interest.declared) if self._interest is not None else [],
            "blind": sorted(self.blind()),
            "sources": self._inbound.sources(),
            "flushes": dict(self._inbound.reasons),
        }

    async def close(self) -> None:
        if self._opened and os.getpid() != self._process:
            return  # the session is the parent's
        with self._delivery.turn:
            self._delivery.check_outside("closed")
        closing = asyncio.ensure_future(asyncio.to_thread(self._shut))
        await asyncio.shield(closing)  # once begun it ends, also if nobody waits any more

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    def __repr__(self) -> str:
        state = "closed" if self._delivery.closed else "open" if self._opened else "not open"
        where = ", ".join(self._endpoints) or "embedded"
        return f"<ZenohBus {self._tagger.source}, {where}: {state}, {self._published} published>"

    def _join(self, session: ZenohSession) -> None:
        """Take part: hear the others first, then be heard."""
        inbound = self._inbound
        self._interest = Interest(lambda key: session.subscribe(key, inbound.on_message), inbound.listen)
        self._outbound = Outbound(
            self._tagger,
            session.put,
            heartbeat=self._heartbeat,
            most_items=self._outbox,
            at_exit=self._shut,
            numbered=lambda: dict(self._numbers),  # a copy: others may add lanes meanwhile
        )
        inbound.begin_with(session.links())
        session.watch_links(inbound.on_link)
        session.subscribe(frames.ANY_HEARTBEAT, inbound.on_heartbeat)
        session.subscribe(frames.ANY_CHANGE, inbound.on_message)
        session.watch_sources(frames.ANY_SOURCE, inbound.on_token)
        inbound.start()
        session.announce(f"livelake/source/{self._tagger.node}/{self._tagger.epoch:x}")
        self._outbound.start()

    def _shut(self) -> None:
        """End everything, in the order that leaves nobody in doubt who need not be. May block; any thread."""
        if self._interest is not None:
            self._interest.end()
        self._delivery.close()
        session, self._session = self._session, None
        if session is None:
            return
        try:
            if self._outbound is not None:
                self._outbound.stop(self._timeout)
                self._inbound.stop()
                session.retract()
        finally:
            session.close()

    def _subscription_ended(self, subscription: Subscription) -> None:
        if self._interest is not None:
            self._interest.unwant(subscription.expr)

    async def _room(self) -> None:
        outbound = self._outbound
        if outbound is not None:
            await outbound.room.wait(lambda: outbound.box.has_room() or self._delivery.closed)

    def _check_open(self, what: str) -> None:
        if not self._opened:
            raise ClosedError(f"cannot {what} this bus: it is not open. Do it inside `async with bus`.")
        if os.getpid() != self._process:
            raise UsageError(
                f"this bus was opened by process {self._process} and is used by its fork, {os.getpid()}, where"
                " nothing that is published would arrive; start workers by spawn, and open a ZenohBus in each."
            )

    def _line_up_event(self, event: Event) -> LinedUp:
        """Number an event and hand it to the wire. The caller has the turn."""
        self._check_room()
        sequence = self._sequences.next(event)
        if event.sequence is None:
            event = event.numbered(sequence)
        lane = frames.lane_of(event.key)
        if lane not in self._numbers and len(self._numbers) >= frames.MAX_LANES:
            lane = frames.REST
        return event, f"{self._tagger.source}/{lane}", self._send(event.key, encode(event), lane)

    def _line_up_change(self, expr: KeyExpr) -> LinedUp:
        """Number a change and hand it to the wire. The caller has the turn."""
        self._check_room()
        number = self._send(self._change_key, expr.encode(), frames.CHANGES)
        return Change(expr, self._tagger.source), f"{self._tagger.source}/{frames.CHANGES}", number

    def _send(self, key: str, payload: bytes, lane: str) -> int:
        number = self._numbers.get(lane, 0) + 1
        if self._outbound is not None:
            tag = self._tagger.tag(number, rest=lane == frames.REST)
            self._outbound.box.put(Parcel(key, payload, tag, lane, number), len(payload), force=True)
        self._numbers[lane] = number
        self._published += 1
        return number

    def _check_room(self) -> None:
        if self._outbound is not None and not self._outbound.box.has_room():
            raise _FullError(
                f"{len(self._outbound.box):,} publications wait for the wire already; nothing was published."
                " Try again later, or use `await publish`, which waits."
            )
