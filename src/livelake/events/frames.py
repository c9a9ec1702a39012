"""What livelake puts on the wire beside the events themselves; all of it may come from anyone, and is checked.

    events/{type}/{id}/{sequence}        an event: its JSON (see `codec`) and a tag
    livelake/change/{node}               a `Change`: the expression as text, and a tag
    livelake/heartbeat/{node}            JSON {"heads": {lane: last number}, "bye": bool}, and a tag numbered 0
    livelake/source/{node}/{epoch}       a liveliness token

A *tag* is the attachment ``number (u64, big endian) | epoch (u64) | node (text)``. A *source* is one run of a
node, written ``{node}.{epoch}``, the epoch in hex; epochs of a node grow. A *lane* is an aggregate type as it stands
in keys, `CHANGES` for changes, or `REST` for the types of a source that has more than `MAX_LANES`; the highest
bit of a tag's number says that. Pure; any thread.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec

from livelake.errors import EventError, UsageError
from livelake.events.event import MAX_SEQUENCE
from livelake.keys import KeyExpr

__all__ = [
    "ANY_CHANGE",
    "ANY_HEARTBEAT",
    "ANY_SOURCE",
    "CHANGES",
    "EVENTS",
    "EVERYTHING",
    "LONGEST_TAG",
    "MAX_LANES",
    "REST",
    "Heartbeat",
    "Tagger",
    "check_node",
    "lane_of",
    "read_heartbeat",
    "read_source",
    "read_tag",
    "scope_of",
    "write_heartbeat",
]

CHANGES: Final = "@change"
REST: Final = "@rest"
MAX_LANES: Final = 1_000
"""Aggregate types of one source that are numbered apart."""

EVENTS: Final = KeyExpr("events/**")
EVERYTHING: Final = KeyExpr("**")

ANY_CHANGE: Final = "livelake/change/*"
ANY_HEARTBEAT: Final = "livelake/heartbeat/*"
ANY_SOURCE: Final = "livelake/source/*/*"

_HEAD: Final = struct.Struct(">QQ")
LONGEST_TAG: Final = _HEAD.size + 64
_NUMBER: Final = struct.Struct(">Q")
_IN_REST: Final = 1 << 63
_LONGEST_HEARTBEAT: Final = 262_144
_is_node = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch
_is_lane = re.compile(r"[A-Za-z0-9_.~%-]{1,1000}|@change|@rest").fullmatch


class Heartbeat(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a source has numbered each of its lanes, and whether it goes now."""

    heads: dict[str, int]
    bye: bool = False


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Heartbeat)


def check_node(node: str) -> str:
    """The name of a node, or `UsageError`."""
    if not _is_node(node):
        raise UsageError(
            f"node is 1 to 64 of A-Z a-z 0-9 _ -, and this is {node!r:.80}; leave it out for a random name."
        )
    return node


class Tagger:
    """Makes the tags of one source."""

    __slots__ = ("_tail", "epoch", "node", "source")

    def __init__(self, node: str, epoch: int) -> None:
        self.node, self.epoch = check_node(node), epoch
        self.source = f"{node}.{epoch:x}"
        self._tail = epoch.to_bytes(8, "big") + node.encode()

    def tag(self, number: int, *, rest: bool = False) -> bytes:
        return _NUMBER.pack(number | _IN_REST if rest else number) + self._tail


def read_tag(data: bytes) -> tuple[str, int, bool] | None:
    """(source, number, whether it is numbered in `REST`), or None if it is no tag."""
    if len(data) <= _HEAD.size:
        return None
    source = _source_of(data[_NUMBER.size :])
    if source is None:
        return None
    (number,) = _NUMBER.unpack_from(data)
    return source, number & MAX_SEQUENCE, number > MAX_SEQUENCE


@lru_cache(maxsize=4096)
def _source_of(tail: bytes) -> str | None:
    try:
        node = tail[8:].decode("ascii")
    except UnicodeError:
        return None
    return f"{node}.{int.from_bytes(tail[:8], 'big'):x}" if _is_node(node) else None


def read_source(key: str) -> str | None:
    """The source that a liveliness token is of."""
    chunks = key.split("/")
    if len(chunks) != 4 or not _is_node(chunks[2]):
        return None
    try:
        return f"{chunks[2]}.{int(chunks[3], 16):x}"
    except ValueError:
        return None


def write_heartbeat(heads: Mapping[str, int], *, bye: bool = False) -> bytes:
    return _encoder.encode(Heartbeat(dict(heads), bye))


@lru_cache(maxsize=64)  # a source that is idle says the same thing ten times a second
def read_heartbeat(data: bytes) -> Heartbeat:
    """The heartbeat that the bytes are, or `EventError`. It is shared: do not change its heads."""
    if len(data) > _LONGEST_HEARTBEAT:
        raise EventError(f"a heartbeat of {len(data):,} bytes; {_LONGEST_HEARTBEAT:,} are allowed.")
    try:
        heartbeat = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, ValueError, RecursionError) as error:
        raise EventError(f"the bytes are no heartbeat: {error}.") from error
    if len(heartbeat.heads) > MAX_LANES + 2:
        raise EventError(f"a heartbeat of {len(heartbeat.heads):,} lanes.")
    for lane, head in heartbeat.heads.items():
        if not _is_lane(lane) or not 0 <= head <= MAX_SEQUENCE:
            raise EventError(f"a heartbeat with {lane!r:.40} at {head}.")
    return heartbeat


def lane_of(key: str) -> str:
    """The lane of an event's key: its second chunk."""
    return key.split("/", 2)[1]


def scope_of(lane: str) -> KeyExpr:
    """All that a message lost from ``lane`` can have been about."""
    if lane == CHANGES:
        return EVERYTHING
    return EVENTS if lane == REST else KeyExpr(f"events/{lane}/**")
