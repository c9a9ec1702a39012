"""Bytes on the wire ↔ `Event`: one JSON object with the fields of `Event`, absent where None.

    {"aggregate_type":"Todo","aggregate_id":"42","event_type":"Completed","sequence":5,
     "payload":{…},"time":"2024-01-15T12:00:00Z","origin":"api-1"}

Times are written in UTC. An aggregate whose type or id has lone surrogates, which JSON in UTF-8 cannot
carry, is written as ``"aggregate":"{type}/{id}"`` in encoded chunks instead. Unknown fields are ignored, so
that newer publishers can add some. Both directions are bounded in bytes and depth. Pure; any thread. This
is msgspec's door.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from livelake.errors import EventError, KeyExprError
from livelake.events.event import MAX_DEPTH, MAX_SEQUENCE, Event
from livelake.keys import KeyExpr, decode_chunk, encode_chunk

__all__ = ["MAX_BYTES", "decode", "decode_at", "encode"]

MAX_BYTES: Final = 1_048_576
"""Largest event on the wire."""


class _Wire(msgspec.Struct, kw_only=True, omit_defaults=True):
    aggregate_type: str | None = None
    aggregate_id: str | None = None
    aggregate: str | None = None
    event_type: str
    sequence: int | None = None
    payload: Any = None
    time: datetime | None = None
    origin: str | None = None


_DIGITS: Final = bytes(ord("0") if 48 <= byte <= 57 else ord(" ") for byte in range(256))
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(_Wire)


def encode(event: Event, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The event as bytes; `EventError` if they are too many, or if it cannot be written."""
    wire = _Wire(event_type=event.event_type, sequence=event.sequence, payload=event.payload, origin=event.origin)
    if _is_utf8(event.aggregate_type) and _is_utf8(event.aggregate_id):
        wire.aggregate_type, wire.aggregate_id = event.aggregate_type, event.aggregate_id
    else:
        wire.aggregate = f"{encode_chunk(event.aggregate_type)}/{encode_chunk(event.aggregate_id)}"
    try:
        if event.time is not None:
            wire.time = event.time.astimezone(UTC)
        data = _encoder.encode(wire)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EventError(f"the event cannot be written as JSON: {error}.") from error
    if len(data) > max_bytes:
        raise EventError(
            f"the event has {len(data):,} bytes, and {max_bytes:,} are allowed;"
            " publish where to find the data, not the data."
        )
    return data


def decode_at(data: bytes, key: str) -> Event:
    """The event that came under ``key``; `EventError` if the bytes are none, or one that belongs elsewhere.

    Faster than `decode` for what a livelake wrote: what the key and the parser prove is not asked again.
    """
    try:
        wire = _decoder.decode(data)
    except (RecursionError, msgspec.DecodeError, UnicodeError, ValueError):
        wire = None
    if wire is not None and _is_plain(wire, data, key):
        event: Event = _blank.__copy__()
        _set(event, "aggregate_type", wire.aggregate_type)
        _set(event, "aggregate_id", wire.aggregate_id)
        _set(event, "event_type", wire.event_type)
        _set(event, "sequence", wire.sequence)
        _set(event, "payload", wire.payload)
        _set(event, "origin", wire.origin)
        event.__dict__["key"] = KeyExpr(key)
        return event
    event = decode(data)
    if event.sequence is None or event.key != key:
        raise EventError(f"the bytes are an event of {event.aggregate_type!r:.40}, not the one of their key.")
    return event


_blank: Final[Any] = Event(aggregate_type="x", aggregate_id="x", event_type="x")
_set: Final = msgspec.structs.force_setattr
_is_safe_key = re.compile(r"events/[A-Za-z0-9_.~-]++/[A-Za-z0-9_.~-]++/[0-9]++").fullmatch
_LONGEST_PLAIN_KEY: Final = 1_000  # so that the longest key of its aggregate fits, too


def _is_plain(wire: _Wire, data: bytes, key: str) -> bool:
    """Whether everything that `Event` asks is so, seen at a glance; False may be wrong, True is not."""
    type_, id_, sequence = wire.aggregate_type, wire.aggregate_id, wire.sequence
    return (
        type_ is not None
        and type_ != ""
        and id_ is not None
        and wire.aggregate is None
        and wire.event_type != ""
        and wire.time is None
        and wire.origin != ""
        and sequence is not None
        and 0 <= sequence <= MAX_SEQUENCE
        and len(key) < _LONGEST_PLAIN_KEY
        and f"events/{type_}/{id_}/{sequence}" == key
        and _is_safe_key(key) is not None
        and (wire.payload is None or _is_shallow(data))
    )


def _is_shallow(data: bytes) -> bool:
    """Whether the payload cannot be too deep, nor hold a number too large: too few brackets, no long digits."""
    return data.count(b"{") + data.count(b"[") <= MAX_DEPTH and b"0" * 19 not in data.translate(_DIGITS)


def decode(data: bytes | bytearray | memoryview, *, max_bytes: int = MAX_BYTES) -> Event:
    """The event that the bytes are; `EventError` says why they are none. They may come from anyone."""
    size = data.nbytes if isinstance(data, memoryview) else len(data)
    if size > max_bytes:
        raise EventError(f"the event has {size:,} bytes, and {max_bytes:,} are allowed.")
    try:
        wire = _decoder.decode(data)
    except RecursionError as error:
        raise EventError(f"the event is nested more than {MAX_DEPTH} deep.") from error
    except (msgspec.DecodeError, UnicodeError, ValueError) as error:
        raise EventError(f"the bytes are no event: {error}.") from error
    aggregate_type, aggregate_id = _aggregate(wire)
    return Event(
        aggregate_type=aggregate_type,
        aggregate_id=aggregate_id,
        event_type=wire.event_type,
        sequence=wire.sequence,
        payload=wire.payload,
        time=wire.time,
        origin=wire.origin,
    )


def _aggregate(wire: _Wire) -> tuple[str, str]:
    if wire.aggregate is not None:
        if wire.aggregate_type is not None or wire.aggregate_id is not None:
            raise EventError("the bytes are no event: `aggregate` stands beside `aggregate_type` or `_id`.")
        try:
            first, second = wire.aggregate.split("/")
            return decode_chunk(first), decode_chunk(second)
        except (KeyExprError, ValueError) as error:
            raise EventError(f"the bytes are no event: `aggregate` is {wire.aggregate!r:.80}.") from error
    if wire.aggregate_type is None or wire.aggregate_id is None:
        raise EventError("the bytes are no event: `aggregate_type` or `aggregate_id` is missing.")
    return wire.aggregate_type, wire.aggregate_id


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
