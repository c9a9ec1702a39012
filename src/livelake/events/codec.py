"""Bytes on the wire ↔ `Event`: one JSON object with the fields of `Event`, absent where None.

    {"aggregate_type":"Todo","aggregate_id":"42","event_type":"Completed","sequence":5,
     "payload":{…},"time":"2024-01-15T12:00:00Z","origin":"api-1"}

Times are written in UTC. An aggregate whose type or id has lone surrogates, which JSON in UTF-8 cannot
carry, is written as ``"aggregate":"{type}/{id}"`` in encoded chunks instead. Unknown fields are ignored, so
that newer publishers can add some. Both directions are bounded in bytes and depth. Pure; any thread. This
is msgspec's door.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from livelake.errors import EventError, KeyExprError
from livelake.events.event import MAX_DEPTH, Event
from livelake.keys import decode_chunk, encode_chunk

__all__ = ["MAX_BYTES", "decode", "encode"]

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
