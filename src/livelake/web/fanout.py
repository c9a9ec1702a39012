"""What a channel's viewers are to be shown: numbered frames, and the bytes that each viewer lacks, made once. Pure.

A `Broadcast` counts. Each change of one panel or of several at once takes a number, and so does each sign of life
(a *tick*). A viewer is one integer, the number that it has *seen*; what it lacks are the newest frames of the panels
that moved beyond it, oldest first, however many states came in between (I5, I8). Bytes are made when somebody first
asks and shared by all who have seen as much: after a change that is nearly everybody, and sending them is all that
is left to do for each.

An event's id is ``{epoch}-{number}``. Of several panels that moved at once only the last carries it, so that a
connection that is cut between them resumes before them. The epoch is made anew with each broadcast: ids of another,
or of a server that has been restarted, mean that nothing was seen.

An *edition* is the broadcast as it goes over one kind of wire: plain, compressed (`livelake.web.compress`), and
either of them cut into HTTP chunks. Everything here belongs to one event loop.
"""

from __future__ import annotations

import logging
import secrets
from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Literal, Protocol

from livelake.web.compress import Deflated

log = logging.getLogger("livelake.web")

Encoding = Literal["identity", "gzip"]

# Viewers that are served before the event loop may turn to something else: a few milliseconds.
_SLICE = 256


class Edition(Protocol):
    """A broadcast in one form. What is returned is shared: it is the same object for all in the same place."""

    def begin(self, seen: int, greeting: bytes) -> tuple[bytes, bool]:
        """The first bytes of a viewer (``greeting``, which is its own, and what it lacks), and is it in step?"""

    def piece(self, seen: int, in_step: bool) -> bytes:
        """What a viewer lacks who has seen ``seen``; nothing if it has seen all. After it, it is in step."""


class Broadcast:
    """See the module. ``later`` runs a callable soon, once the caller has had its turn; None: at once."""

    def __init__(self, later: Callable[[Callable[[], None]], object] | None = None) -> None:
        self.epoch = secrets.token_hex(4)
        self.number = 0
        self.closed = False
        self._later = later
        self._frames: dict[str, tuple[int, bytes]] = {}  # by panel, in the order of their numbers
        self._tick: tuple[int, bytes] = (0, b"")
        self._starts: list[int] = []  # numbers that still have a frame, ascending
        self._made: dict[tuple[int, bool], bytes] = {}  # by (how many of them were seen, with the tick)
        self._latest: tuple[int, bytes] = (-1, b"")  # (seen, what it lacks): the next who asks is as a rule as far
        self._editions: dict[tuple[Encoding, bool], Edition] = {}
        self._listeners: dict[Callable[[], None], None] = {}
        self._waiting: dict[Callable[[], None], None] = {}  # who has not been told of the newest number

    # ---------------------------------------------------------------- what is shown

    def show(self, frames: Mapping[str, bytes]) -> int:
        """Panels have moved, all at once: their frames, by panel, each one event without an id.

        Returns the number that shows them. Frames that are equal to what is shown are not sent again.
        """
        moved = {name: frame for name, frame in frames.items() if self._shown(name) != frame}
        if moved:
            self.number += 1
            for name, frame in moved.items():
                self._frames.pop(name, None)
                self._frames[name] = (self.number, frame)
            self._starts = sorted({number for number, _ in self._frames.values()})
            self._wake()
        return self.number

    def tick(self, sign: bytes) -> None:
        """A sign of life for everybody: events without an id. Who missed some is sent the newest."""
        self.number += 1
        self._tick = (self.number, sign)
        self._wake()

    def close(self) -> None:
        """Nothing more will come. Closing twice is fine."""
        if not self.closed:
            self.closed = True
            self._wake()

    def _shown(self, name: str) -> bytes | None:
        number_and_frame = self._frames.get(name)
        return None if number_and_frame is None else number_and_frame[1]

    # ---------------------------------------------------------------- what a viewer lacks

    def since(self, seen: int) -> bytes:
        """The events that a viewer who has seen ``seen`` lacks, oldest first."""
        latest = self._latest
        if seen != latest[0]:
            self._latest = latest = (seen, self._events(seen, self._tick[0] > seen))
        return latest[1]

    def state(self, seen: int = 0) -> bytes:
        """The same without signs of life: for one who begins, and gets a sign of its own."""
        return self._events(seen, False)

    @property
    def ticked_last(self) -> bool:
        """Whether the newest number is a sign of life."""
        return 0 < self._tick[0] == self.number

    def resume(self, last_event_id: str | None) -> int:
        """What a viewer has seen who names an event id: ours, or nothing. Anything at all may be passed."""
        epoch, _, number = (last_event_id or "").partition("-")
        if epoch == self.epoch and number.isascii() and number.isdigit() and len(number) < 19:
            return min(int(number), self.number)
        return 0

    def _events(self, seen: int, with_tick: bool) -> bytes:
        place = bisect_right(self._starts, seen)
        made = self._made.get((place, with_tick))
        if made is None:
            self._made[place, with_tick] = made = self._compose(seen, with_tick)
        return made

    def _compose(self, seen: int, with_tick: bool) -> bytes:
        lacking = {name: each for name, each in self._frames.items() if each[0] > seen}
        ends = {number: name for name, (number, _) in lacking.items()}  # the last panel of each number
        pieces = []
        for name, (number, frame) in lacking.items():
            if ends[number] == name:
                pieces.append((number, b"id: %s-%d\n" % (self.epoch.encode(), number)))
            pieces.append((number, frame))
        if with_tick:
            pieces.append(self._tick)
        return b"".join(piece for _, piece in sorted(pieces, key=lambda each: each[0]))

    def edition(self, encoding: Encoding, *, chunked: bool) -> Edition:
        """The broadcast in this form; the same object for all who ask for it."""
        made = self._editions.get((encoding, chunked))
        if made is None:
            if chunked:
                made = _Chunked(self, self.edition(encoding, chunked=False))
            else:
                made = Deflated(self) if encoding == "gzip" else _Plain(self)
            self._editions[encoding, chunked] = made
        return made

    # ---------------------------------------------------------------- who is told

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake()`` after each change, or once after several; returns what ends that."""
        self._listeners[wake] = None

        def unlisten() -> None:
            self._listeners.pop(wake, None)
            self._waiting.pop(wake, None)

        return unlisten

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def _wake(self) -> None:
        self._made.clear()
        self._latest = (-1, b"")
        is_under_way = bool(self._waiting)
        self._waiting.update(self._listeners)  # those who wait already keep their place: nobody is passed over twice
        if not is_under_way:
            self._serve()

    def _serve(self) -> None:
        while self._waiting:
            for wake in list(islice(self._waiting, _SLICE)):
                if self._waiting.pop(wake, wake) is None:  # else it has left meanwhile
                    try:
                        wake()
                    except Exception:  # one viewer's trouble must not keep the others waiting
                        log.exception("a viewer could not be told of a change")
            if self._later is not None and self._waiting:
                self._later(self._serve)
                return


class _Plain:
    """As it is: server-sent events."""

    def __init__(self, broadcast: Broadcast) -> None:
        self._broadcast = broadcast

    def begin(self, seen: int, greeting: bytes) -> tuple[bytes, bool]:
        return greeting + self._broadcast.state(seen), True

    def piece(self, seen: int, in_step: bool) -> bytes:
        return self._broadcast.since(seen)


class _Chunked:
    """Another edition, each piece as one chunk of HTTP/1.1 (RFC 9112, section 7.1)."""

    def __init__(self, broadcast: Broadcast, inner: Edition) -> None:
        self._broadcast = broadcast
        self._inner = inner
        self._number = -1
        self._made: dict[bytes, bytes] = {}

    def begin(self, seen: int, greeting: bytes) -> tuple[bytes, bool]:
        body, in_step = self._inner.begin(seen, greeting)
        return chunk(body), in_step

    def piece(self, seen: int, in_step: bool) -> bytes:
        if self._number != self._broadcast.number:
            self._number = self._broadcast.number
            self._made.clear()
        body = self._inner.piece(seen, in_step)
        made = self._made.get(body)
        if made is None:
            self._made[body] = made = chunk(body)
        return made


def chunk(body: bytes) -> bytes:
    """One chunk; nothing for nothing, because an empty chunk would end the response."""
    return b"%x\r\n%b\r\n" % (len(body), body) if body else b""
