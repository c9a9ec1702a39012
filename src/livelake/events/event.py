"""What a bus carries: an event, a change that is told, a doubt that is confessed.

Every signal has a ``key``: the set of keys that it is about. A cache that does nothing but drop what meets
``signal.key`` is right; the types only add why.
"""

from __future__ import annotations

import copy
import math
from datetime import datetime
from typing import Any, Final

import msgspec

from livelake import keys
from livelake.errors import EventError, KeyExprError
from livelake.keys import KeyExpr

__all__ = ["MAX_DEPTH", "MAX_SEQUENCE", "Change", "Doubt", "Event", "Signal"]

MAX_DEPTH: Final = 64
"""Deepest nesting of lists and dicts in a payload."""
MAX_SEQUENCE: Final = 2**63 - 1
_MAX_PARTS: Final = 1_000_000


class Event(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Something happened to one aggregate; published after its data was committed.

    ``aggregate_id`` is any text, also empty; ``aggregate_type`` and ``event_type`` are any text but the
    empty. ``sequence`` counts the events of one aggregate; where it is None the bus assigns it, so a
    delivered event always has one. ``payload`` is a JSON value (None, bool, int of 64 bits, finite float,
    str, list, dict with str keys), at most `MAX_DEPTH` deep; it is shared with every handler in this
    process: do not change it. ``time`` is aware. ``origin`` says who published, for people and logs;
    nothing is decided by it.

    Anything else raises `EventError`, here and not at the far end.
    """

    aggregate_type: str
    aggregate_id: str
    event_type: str
    sequence: int | None = None
    payload: Any = None
    time: datetime | None = None
    origin: str | None = None

    def __post_init__(self) -> None:
        _check_text("aggregate_type", self.aggregate_type)
        _check_text("aggregate_id", self.aggregate_id, empty=True)
        _check_text("event_type", self.event_type)
        if self.origin is not None:
            _check_text("origin", self.origin)
        if self.sequence is not None:
            _check_sequence(self.sequence)
        if self.time is not None:
            _check_time(self.time)
        if self.payload is not None:
            _check_payload(self.payload)
        try:  # the longest key that it can get
            keys.event(self.aggregate_type, self.aggregate_id, MAX_SEQUENCE)
        except KeyExprError as error:
            raise EventError(f"aggregate_type and aggregate_id make too long a key: {error}") from error

    @property
    def key(self) -> KeyExpr:
        """``events/{aggregate_type}/{aggregate_id}/{sequence}``; `EventError` while it has no sequence."""
        known: KeyExpr | None = self.__dict__.get("key")
        if known is not None:
            return known
        if self.sequence is None:
            raise EventError(
                f"this {self.aggregate_type} event has no sequence yet, and so no key; the bus assigns it on"
                " publish, or pass sequence=. The key of all events of its aggregate is keys.instance(…)."
            )
        key: KeyExpr = keys.event(self.aggregate_type, self.aggregate_id, self.sequence)
        self.__dict__["key"] = key
        return key

    def numbered(self, sequence: int) -> Event:
        """This event with that sequence."""
        _check_sequence(sequence)
        numbered: Event = copy.copy(self)  # the rest has been checked, and a payload may be large
        numbered.__dict__.pop("key", None)
        msgspec.structs.force_setattr(numbered, "sequence", sequence)
        return numbered


class Change(msgspec.Struct, frozen=True):
    """Someone says that anything under ``scope`` may have changed: an order to forget, with no event to show.

    ``source`` is the lane that it came from, None if it is not known or does not matter.
    """

    scope: KeyExpr
    source: str | None = None

    @property
    def key(self) -> KeyExpr:
        """The scope."""
        return self.scope


class Doubt(msgspec.Struct, frozen=True):
    """The bus cannot vouch: anything under ``scope`` may have been lost, or mangled, until this moment.

    ``reason`` is for people and logs. ``source`` is the lane in doubt; None means that any may be.
    """

    scope: KeyExpr
    reason: str
    source: str | None = None

    @property
    def key(self) -> KeyExpr:
        """The scope."""
        return self.scope


Signal = Event | Change | Doubt
"""What a handler is called with."""


def _check_text(field: str, value: object, *, empty: bool = False) -> None:
    if not isinstance(value, str):
        raise EventError(f"{field} is text, and this is {type(value).__name__}; write it as a str.")
    if not value and not empty:
        raise EventError(f"{field} is empty; name it.")


def _check_sequence(sequence: object) -> None:
    if type(sequence) is not int or not 0 <= sequence <= MAX_SEQUENCE:
        raise EventError(f"sequence is a whole number from 0, or None, and this is {sequence!r:.40}.")


def _check_time(time: object) -> None:
    if not isinstance(time, datetime):
        raise EventError(f"time is a datetime, and this is {type(time).__name__}.")
    if time.utcoffset() is None:
        raise EventError(f"time {time} has no time zone; use datetime.now(UTC), or time.replace(tzinfo=…).")


def _check_payload(payload: object) -> None:
    """Whether it is JSON that comes out as it went in. A loop, not a recursion: depth is what it guards."""
    todo: list[tuple[object, int]] = [(payload, 0)]
    for parts, (value, depth) in enumerate(_growing(todo)):
        kind = type(value)
        if kind is dict or kind is list:
            if depth == MAX_DEPTH:
                raise EventError(f"payload is nested more than {MAX_DEPTH} deep, or contains itself; flatten it.")
            _unfold(value, depth + 1, todo)
        elif kind not in _SCALARS:
            raise EventError(
                f"payload holds {kind.__module__}.{kind.__qualname__}, which JSON cannot give back; convert it"
                " to None, bool, int, float, str, list or dict."
            )
        else:
            _check_scalar(value)
        if parts + len(todo) > _MAX_PARTS:
            raise EventError(f"payload has more than {_MAX_PARTS:,} parts; publish where to find it instead.")


_SCALARS: Final = frozenset({type(None), bool, int, float, str})


def _growing(todo: list[tuple[object, int]]) -> Any:
    while todo:
        yield todo.pop()


def _unfold(value: Any, depth: int, todo: list[tuple[object, int]]) -> None:
    if type(value) is list:
        todo += [(part, depth) for part in value]
        return
    for name, part in value.items():
        if type(name) is not str:
            raise EventError(f"payload has the key {name!r:.40}; keys of JSON objects are str.")
        _check_scalar(name)
        todo.append((part, depth))


def _check_scalar(value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise EventError(f"payload holds {value}, which JSON cannot write; use None or text.")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise EventError("payload holds an integer of more than 64 bits; write it as text.")
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise EventError("payload holds a lone surrogate, which UTF-8 cannot carry.") from error
