"""Arrow arrays as Python values: what DuckDB's own client would return, column by column.

Pure. Driven by DuckDB's type where Arrow alone is not enough. Integers of any width are int, DECIMAL is Decimal,
UUID is uuid.UUID, DATE, TIME, TIMESTAMP are naive and TIMESTAMP WITH TIME ZONE is aware in UTC, INTERVAL is
timedelta with a month of 30 days, BLOB is bytes, BIT and ENUM are str, LIST is list, ARRAY is tuple, STRUCT is
dict (tuple if unnamed), MAP is dict (``{"key": […], "value": […]}`` if a key cannot be hashed), UNION is the
member's value. Infinite dates are Python's first and last, and say ``infinity`` as a text; other dates outside the
years 1 to 9999 raise QueryError, because Python has no word for them. Nanoseconds are cut to microseconds; TIME
24:00:00 is a str.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from itertools import pairwise
from typing import Any, Final, TypeVar

from livelake.engine.logical import LogicalType
from livelake.errors import InternalError, QueryError

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1)
_EPOCH_UTC: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = _EPOCH.toordinal()
_EXACT: Final = Context(prec=64)
_DAY_US: Final = 86_400_000_000
_FOREVER: Final = 2**63 - 1
_UNSCALED: Final = {"HUGEINT": "<Qq", "UHUGEINT": "<QQ"}
_PER_SECOND: Final = {"TIMESTAMP_S": 1, "TIMESTAMP_MS": 1_000, "TIMESTAMP_NS": 1_000_000_000}


class InfiniteDate(date):
    """Python's first or last day where DuckDB has an infinity: equal to it, and told apart by its text and type."""

    def isoformat(self) -> str:
        return _infinity(self)


class InfiniteTimestamp(datetime):
    """The same of moments."""

    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        return _infinity(self)


def _infinity(value: date) -> str:
    return "infinity" if value.year > 1 else "-infinity"


_FIRST_DAY: Final = InfiniteDate(1, 1, 1)
_LAST_DAY: Final = InfiniteDate(9999, 12, 31)
_FIRST: Final = InfiniteTimestamp(1, 1, 1)
_LAST: Final = InfiniteTimestamp(9999, 12, 31, 23, 59, 59, 999_999)


def column(view: Any, logical: LogicalType) -> list[Any]:
    """The values of a nanoarrow ``CArrayView``; ``logical`` is DuckDB's type of the column."""
    reader = _BY_TYPE.get(logical.name) or _BY_STORAGE.get(view.storage_type)
    if reader is None:
        raise InternalError(f"livelake cannot read the Arrow type {view.storage_type} of a {logical.name}")
    values = reader(view, logical)
    if view.null_count and view.n_buffers and view.buffer_type(0) == "validity":
        valid = _bits(view.buffer(0), view.offset, view.length)
        return [value if ok else None for value, ok in zip(values, valid, strict=True)]
    return values


def _bits(buffer: Any, offset: int, length: int) -> Sequence[int]:
    return bytes(buffer.unpack_bits())[offset : offset + length]


def _numbers(view: Any, _: LogicalType) -> list[Any]:
    return memoryview(view.buffer(1))[view.offset : view.offset + view.length].tolist()


def _booleans(view: Any, _: LogicalType) -> list[Any]:
    return [bit == 1 for bit in _bits(view.buffer(1), view.offset, view.length)]


def _nulls(view: Any, _: LogicalType) -> list[Any]:
    return [None] * int(view.length)


def _wide(view: Any, layout: str) -> Iterable[tuple[Any, ...]]:
    data = memoryview(view.buffer(1)).cast("B")
    return struct.iter_unpack(layout, data[16 * view.offset : 16 * (view.offset + view.length)])


def _decimals(view: Any, logical: LogicalType) -> list[Any]:
    unscaled = [(high << 64) | low for low, high in _wide(view, _UNSCALED.get(logical.name, "<Qq"))]
    if logical.name != "DECIMAL":
        return unscaled
    scale = -int(logical.arguments[1])
    return [Decimal(value).scaleb(scale, _EXACT) for value in unscaled]


def _intervals(view: Any, _: LogicalType) -> list[Any]:
    return [_interval(*parts) for parts in _wide(view, "<iiq")]


def _interval(months: int, days: int, nanoseconds: int) -> timedelta:
    return _or_refuse(lambda: timedelta(days=30 * months + days, microseconds=nanoseconds // 1000))


def _dates(view: Any, _: LogicalType) -> list[Any]:
    return [_date(days) for days in _numbers_where_valid(view)]


def _date(days: int) -> date:
    if abs(days) == 2**31 - 1:
        return _LAST_DAY if days > 0 else _FIRST_DAY
    return _or_refuse(lambda: date.fromordinal(_EPOCH_DAY + days))


def _timestamps(view: Any, logical: LogicalType) -> list[Any]:
    per_second = _PER_SECOND.get(logical.name, 1_000_000)
    epoch, zone = (_EPOCH_UTC, UTC) if logical.name == "TIMESTAMP WITH TIME ZONE" else (_EPOCH, None)
    return [_timestamp(ticks, per_second, epoch, zone) for ticks in _numbers_where_valid(view)]


def _timestamp(ticks: int, per_second: int, epoch: datetime, zone: Any) -> datetime:
    if abs(ticks) == _FOREVER:
        return (_LAST if ticks > 0 else _FIRST).replace(tzinfo=zone)
    # Nanoseconds are cut towards zero, as DuckDB does.
    microseconds = abs(ticks) * 1_000_000 // per_second
    since = microseconds if ticks >= 0 else -microseconds
    return _or_refuse(lambda: epoch + timedelta(microseconds=since))


def _times(view: Any, logical: LogicalType) -> list[Any]:
    per_us = 1000 if logical.name == "TIME_NS" else 1
    return [_time(ticks // per_us) for ticks in _numbers_where_valid(view)]


def _time(microseconds: int) -> time | str:
    if microseconds == _DAY_US:
        return "24:00:00"
    return (_EPOCH + timedelta(microseconds=microseconds)).time()


def _numbers_where_valid(view: Any) -> list[int]:
    """The ticks, with 0 where the value is NULL: what lies there is not defined and need not be a date."""
    ticks = _numbers(view, LogicalType("BIGINT"))
    if not view.null_count:
        return ticks
    valid = _bits(view.buffer(0), view.offset, view.length)
    return [tick if ok else 0 for tick, ok in zip(ticks, valid, strict=True)]


def _or_refuse(make: Callable[[], T]) -> T:
    try:
        return make()
    except (OverflowError, ValueError) as error:
        raise QueryError(
            "the result holds a date, timestamp or interval beyond Python's (years 1 to 9999); "
            "CAST it to VARCHAR, or read the Arrow data itself"
        ) from error


def _offsets(view: Any) -> list[int]:
    return memoryview(view.buffer(1))[view.offset : view.offset + view.length + 1].tolist() or [0]


def _strings(view: Any, logical: LogicalType) -> list[Any]:
    offsets, data = _offsets(view), bytes(view.buffer(2))
    spans = pairwise(offsets)
    if data.isascii():
        text = data.decode("ascii")
        values: list[Any] = [text[start:end] for start, end in spans]
    else:
        values = [data[start:end].decode() for start, end in spans]
    convert = _FROM_TEXT.get(logical.name)
    return values if convert is None else [convert(value) if value else value for value in values]


def _timetz(text: str) -> time | str:
    return text if text.startswith("24:") else time.fromisoformat(text)


def _binaries(view: Any, _: LogicalType) -> list[Any]:
    offsets, data = _offsets(view), bytes(view.buffer(2))
    return [data[start:end] for start, end in pairwise(offsets)]


def _lists(view: Any, logical: LogicalType) -> list[Any]:
    offsets = _offsets(view)
    items = column(view.child(0), logical.children[0][1])
    return [items[start:end] for start, end in pairwise(offsets)]


def _arrays(view: Any, logical: LogicalType) -> list[Any]:
    size = int(logical.arguments[0])
    items = column(view.child(0), logical.children[0][1])
    first = view.offset
    return [tuple(items[size * row : size * (row + 1)]) for row in range(first, first + view.length)]


def _structs(view: Any, logical: LogicalType) -> list[Any]:
    names = [name for name, _ in logical.children]
    columns = [
        column(view.child(index), child)[view.offset : view.offset + view.length]
        for index, (_, child) in enumerate(logical.children)
    ]
    rows = zip(*columns, strict=True)
    if not any(names):
        return list(rows)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _maps(view: Any, logical: LogicalType) -> list[Any]:
    offsets = _offsets(view)
    entries = view.child(0)
    keys = column(entries.child(0), logical.children[0][1])
    values = column(entries.child(1), logical.children[1][1])
    return [_map(keys[start:end], values[start:end]) for start, end in pairwise(offsets)]


def _map(keys: list[Any], values: list[Any]) -> dict[Any, Any]:
    try:
        return dict(zip(keys, values, strict=True))
    except TypeError:  # a list or dict as key
        return {"key": keys, "value": values}


def _unions(view: Any, logical: LogicalType) -> list[Any]:
    members = [column(view.child(index), child) for index, (_, child) in enumerate(logical.children)]
    tags = memoryview(view.buffer(0))[view.offset : view.offset + view.length].tolist()
    return [members[tag][view.offset + row] for row, tag in enumerate(tags)]


_FROM_TEXT: Final[dict[str, Callable[[str], Any]]] = {
    "UUID": uuid.UUID,
    "BIGNUM": int,
    "TIME WITH TIME ZONE": _timetz,
}
_Reader = Callable[[Any, LogicalType], list[Any]]
_BY_TYPE: Final[dict[str, _Reader]] = {
    "DATE": _dates,
    **dict.fromkeys(("TIME", "TIME_NS"), _times),
    **dict.fromkeys(("TIMESTAMP", *_PER_SECOND, "TIMESTAMP WITH TIME ZONE"), _timestamps),
}
_BY_STORAGE: Final[dict[str, _Reader]] = {
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"), _numbers),
    **dict.fromkeys(("float", "double", "half_float"), _numbers),
    **dict.fromkeys(("string", "large_string"), _strings),
    **dict.fromkeys(("binary", "large_binary"), _binaries),
    **dict.fromkeys(("list", "large_list"), _lists),
    "bool": _booleans,
    "na": _nulls,
    "decimal128": _decimals,
    "interval_month_day_nano": _intervals,
    "fixed_size_list": _arrays,
    "struct": _structs,
    "map": _maps,
    "sparse_union": _unions,
}
