"""One gzip stream (RFC 1952) for all viewers of a broadcast, though each began at another moment. Pure.

A decoder of deflate refers to the last 32 kB of what it has put out. Viewers *in step* have all put out the same last
bytes, the *history*; so what is new is compressed once against the history, given as a preset dictionary, and the
same *delta* continues the stream of each of them. Whoever is not in step (who begins, or skipped a number because
its connection was slow) gets a *full* piece, which refers to nothing before it. Either ends on a byte, flushed, so
that what follows may be either.

Both end with the newest events. After a full piece the history is therefore cut to what its receiver has in common
with the others, and the receiver is in step. Only who begins just after a sign of life, which was not meant for it,
ends with something else; it stays out of step for one more piece, because nothing would be left of the history.

The stream never ends: its trailer would need a checksum of what each viewer in particular was sent. A decoder sees
a stream that was cut off, as a live stream always is.

What is compressed together must not hold both a secret and words of an attacker who can see sizes (BREACH); a channel
holds the answers of one dashboard for one set of parameters. `App(compress=False)` turns it off.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livelake.web.fanout import Broadcast

_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_WINDOW = 32_768
# Bytes above which speed counts more than size: level 6 takes about 10 ms for each, and the event loop waits.
_LARGE = 200_000


class Deflated:
    """The edition of a broadcast in gzip. See the module, and `livelake.web.fanout.Edition`."""

    def __init__(self, broadcast: Broadcast) -> None:
        self._broadcast = broadcast
        self._number = -1
        self._history = b""  # what all who are in step have put out last
        self._before = b""  # the history before the newest number
        self._delta = b""
        self._full: dict[bytes, bytes] = {}  # by what is in it

    def begin(self, seen: int, greeting: bytes) -> tuple[bytes, bool]:
        self._advance()
        state = self._broadcast.state(seen)
        opening = _HEADER + stored(greeting)
        if not state:
            return opening, False
        in_step = not self._broadcast.ticked_last
        return opening + self._whole(state, joins=in_step), in_step

    def piece(self, seen: int, in_step: bool) -> bytes:
        lacking = self._broadcast.since(seen)
        if not lacking:
            return b""
        self._advance()
        if not in_step or seen != self._number - 1:
            return self._whole(lacking, joins=True)
        if not self._delta:
            self._delta = _deflate(lacking, self._before)
        return self._delta

    def _advance(self) -> None:
        """Follow the broadcast to its newest number."""
        number = self._broadcast.number
        if number == self._number:
            return
        # After numbers that nobody asked for here nobody is in step, and the first whole piece cuts the history.
        self._before = self._history
        self._history = (self._before + self._broadcast.since(number - 1))[-_WINDOW:]
        self._number = number
        self._delta = b""
        self._full.clear()

    def _whole(self, text: bytes, *, joins: bool) -> bytes:
        """``text`` by itself. ``joins``: who gets it is in step from here on."""
        if joins:
            self._history = _common_end(self._history, text)
        made = self._full.get(text)
        if made is None:
            self._full[text] = made = _deflate(text)
        return made


def accepts_gzip(header: str) -> bool:
    """Whether an ``Accept-Encoding`` (RFC 9110, section 12.5.3) prefers gzip to nothing at all.

    Absent or empty it does not ask for compression; gzip named with a quality of 0 refuses it, also beside ``*``.
    """
    quality = {"*": 0.0}
    for part in header.lower().split(","):
        coding, _, parameter = part.partition(";")
        quality[coding.strip()] = _quality(parameter)
    wanted = quality.get("gzip", quality.get("x-gzip", quality["*"]))
    return wanted > 0 and wanted >= quality.get("identity", 0.0)


def stored(text: bytes) -> bytes:
    """``text`` in deflate without compression: for a few bytes that differ between viewers. Under 64 kB."""
    return b"\0" + len(text).to_bytes(2, "little") + (len(text) ^ 0xFFFF).to_bytes(2, "little") + text


def _quality(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(max(float(value), 0.0), 1.0)
    except ValueError:
        return 0.0


def _deflate(text: bytes, dictionary: bytes = b"") -> bytes:
    """Raw deflate (RFC 1951), not ended but flushed to a byte, so that the next piece may follow."""
    level = 1 if len(text) > _LARGE else 6
    if dictionary:
        made = zlib.compressobj(level, zlib.DEFLATED, -15, 9, zdict=dictionary)
    else:
        made = zlib.compressobj(level, zlib.DEFLATED, -15, 9)
    return made.compress(text) + made.flush(zlib.Z_SYNC_FLUSH)


def _common_end(one: bytes, other: bytes) -> bytes:
    """The longest text that both end with, by halving: 15 comparisons for 32 kB."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one.endswith(other[-middle:]):
            least = middle
        else:
            most = middle - 1
    return one[len(one) - least :]
