"""From any Python value to what can be drawn: a number, a moment, a bounded text. Nothing raises."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Literal

from livelake.engine import InfiniteTimestamp

Kind = Literal["number", "time", "text"]

LONGEST_TEXT = 500
_DRAWABLE = 1e300  # beyond it the difference of two numbers may be infinite
_NUMBER_TYPES = r"(U?(TINY|SMALL|BIG|HUGE)?INT|U?INTEGER|FLOAT|DOUBLE|REAL|DECIMAL|NUMERIC|BIGNUM|INTERVAL)\b"


def numbers(column: Sequence[object]) -> list[float | None]:
    """`number` of each value; a column of plain floats takes the short way."""
    return [value if type(value) is float and -_DRAWABLE < value < _DRAWABLE else number(value) for value in column]


def texts(column: Sequence[object], *, longest: int = LONGEST_TEXT) -> list[str]:
    """`text` of each value; a string that comes again is written once."""
    seen: dict[str, str] = {}
    return [
        (seen.get(value) or seen.setdefault(value, text(value, longest=longest)))
        if type(value) is str
        else text(value, longest=longest)
        for value in column
    ]


def number(value: object) -> float | None:
    """A finite float of modest size, seconds for a timedelta; None for what cannot be placed on an axis."""
    if isinstance(value, float):
        drawable = value
    elif isinstance(value, int | Decimal):
        try:
            drawable = float(value)
        except (OverflowError, ValueError):
            return None
    elif isinstance(value, timedelta):
        drawable = value.total_seconds()
    else:
        return None
    return drawable if -_DRAWABLE < drawable < _DRAWABLE else None


def moment(value: object) -> float | None:
    """Seconds since 1970 of a datetime or date; without a zone, UTC is meant."""
    if isinstance(value, datetime):
        try:
            return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()
        except (OverflowError, ValueError):  # the first or last day of the calendar, in a zone off UTC
            return None
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    return None


def zone_of(values: Sequence[object]) -> tzinfo:
    """The zone in which to label moments: that of the first value that has one, else UTC."""
    for value in values:
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.tzinfo
        if value is not None:
            break
    return UTC


def kind_of(type_name: str, values: Sequence[object]) -> Kind:
    """Number, time or text, by the first values that are not NULL; by the DuckDB type when there are none."""
    first = [value for value in values[:200] if value is not None][:20]
    if first:
        if all(isinstance(value, int | float | Decimal | timedelta) for value in first):
            return "text" if all(isinstance(value, bool) for value in first) else "number"
        return "time" if all(isinstance(value, date) for value in first) else "text"
    name = type_name.upper()
    if name.endswith("]"):
        return "text"
    if name.startswith(("TIMESTAMP", "DATE")):
        return "time"
    return "number" if re.match(_NUMBER_TYPES, name) else "text"


def text(value: object, *, longest: int = LONGEST_TEXT) -> str:
    """A value as people read it, cut at `longest` characters with an ellipsis. NULL is an em dash."""
    whole = _text(value, longest)
    return whole if len(whole) <= longest else whole[: longest - 1] + "…"


def _text(value: object, longest: int) -> str:
    match value:
        case None:
            return "—"
        case str():
            return value[: longest + 1]
        case bool():
            return "true" if value else "false"
        case Decimal() if not value.is_finite():  # a signalling NaN raises when it is compared
            return "NaN" if value.is_nan() else "-∞" if value.is_signed() else "∞"
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
        case float():
            return repr(value)
        case int() if value.bit_length() > 512:  # str() refuses ints of more than 4,300 digits
            digits = int(value.bit_length() * math.log10(2))
            return f"{'-' if value < 0 else ''}≈1e{digits}"
        case datetime():
            return clock_text(value)
        case date() | time():
            return value.isoformat()
        case bytes() | bytearray() | memoryview():
            shown = bytes(value[:16]).hex()
            return f"0x{shown}{'…' if len(value) > 16 else ''} ({len(value):,} bytes)"
        case Mapping() | list() | tuple() | set() | frozenset():
            return _nested(value, longest)
        case _:
            return _foreign(value, longest)


def clock_text(value: datetime) -> str:
    """``2024-01-15 10:22:33``, with the fraction where there is one; midnight is the date alone."""
    if isinstance(value, InfiniteTimestamp):
        return value.isoformat()
    day = f"{value.year:04}-{value.month:02}-{value.day:02}"
    clock = f"{value.hour:02}:{value.minute:02}:{value.second:02}"
    if value.microsecond:
        return f"{day} {clock}.{value.microsecond:06}".rstrip("0")
    return day if clock == "00:00:00" else f"{day} {clock}"


def _nested(value: Any, longest: int, depth: int = 0) -> str:
    if depth > 4 or longest <= 0:
        return "…"
    parts: list[str] = []
    room = longest
    items = value.items() if isinstance(value, Mapping) else value
    for item in items:
        if room <= 0:
            parts.append("…")
            break
        if isinstance(value, Mapping):
            part = f"{_text(item[0], 60)}: {_element(item[1], room, depth)}"
        else:
            part = _element(item, room, depth)
        room -= len(part) + 2
        parts.append(part)
    opening, closing = ("{", "}") if isinstance(value, Mapping) else ("[", "]")
    return opening + ", ".join(parts) + closing


def _element(value: object, room: int, depth: int) -> str:
    nested = isinstance(value, Mapping | list | tuple | set | frozenset)
    return _nested(value, room, depth + 1) if nested else _text(value, room)


def _foreign(value: object, longest: int) -> str:
    try:
        return str(value)[: longest + 1]
    except Exception:  # a foreign __str__ must not take the page down with it
        return f"({type(value).__name__})"
