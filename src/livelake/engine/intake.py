"""Rows as Arrow: Python values laid out in columns, for the DuckDB types that they are meant for.

Pure. What Arrow has a word for travels as it is; what it has none for, or what is mixed in one column, travels as
text that DuckDB reads back exactly (a Decimal, a UUID, an int beyond 64 bits, ``[1, 2.5]`` for a DECIMAL). Whether
a value fits its column is DuckDB's own rule, the one of an assignment: ``'5'`` is an INTEGER, ``'x'`` is none.
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import Any, Final
from uuid import UUID

import nanoarrow

from livelake.engine.arrow import packed
from livelake.engine.logical import LogicalType

_EPOCH: Final = datetime(1970, 1, 1)
_EPOCH_UTC: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = _EPOCH.toordinal()
_MICROSECOND: Final = timedelta(microseconds=1)
_MOST_BITS: Final = 14_000  # of an int that Python writes as text
_MOST: Final = int(sys.float_info.max)

# The first kind that fits: a bool is an int, a datetime a date.
_KINDS: Final[tuple[tuple[type, str], ...]] = (
    (type(None), "null"),
    (bool, "bool"),
    (int, "int"),
    (float, "float"),
    (Decimal, "decimal"),
    (str, "text"),
    (bytes, "bytes"),
    (bytearray, "bytes"),
    (memoryview, "bytes"),
    (datetime, "datetime"),
    (date, "date"),
    (time, "time"),
    (timedelta, "interval"),
    (UUID, "uuid"),
    (Mapping, "mapping"),
    (list, "list"),
    (tuple, "list"),
)
# Kinds that are, as Arrow, already the DuckDB type: nothing can go wrong when they are cast.
_EXACT: Final = {
    "int": frozenset({"BIGINT", "HUGEINT", "DOUBLE", "VARCHAR"}),  # and those of `_RANGES`
    "float": frozenset({"DOUBLE", "VARCHAR"}),
    "text": frozenset({"VARCHAR"}),
    "bytes": frozenset({"BLOB"}),
    "bool": frozenset({"BOOLEAN", "VARCHAR"}),
    "date": frozenset({"DATE", "VARCHAR"}),
    "datetime": frozenset({"TIMESTAMP", "VARCHAR"}),
    "moment": frozenset({"TIMESTAMP WITH TIME ZONE"}),
    "interval": frozenset({"INTERVAL", "VARCHAR"}),
}


_RANGES: Final = {
    "TINYINT": (-(2**7), 2**7 - 1),
    "SMALLINT": (-(2**15), 2**15 - 1),
    "INTEGER": (-(2**31), 2**31 - 1),
    "UTINYINT": (0, 2**8 - 1),
    "USMALLINT": (0, 2**16 - 1),
    "UINTEGER": (0, 2**32 - 1),
}


class MisfitError(ValueError):
    """A value that no column can take, or not this one. ``row`` counts from 0 within what was given."""

    def __init__(self, row: int, why: str) -> None:
        super().__init__(why)
        self.row = row


@dataclass(frozen=True, slots=True)
class Laid:
    """One column: the Arrow array, and whether it is certain that DuckDB can cast each value to the column's type."""

    array: Any
    is_sure: bool


def lay(values: Sequence[Any], target: LogicalType) -> Laid:
    """One column of values for the type ``target``. Raises `MisfitError`."""
    kinds = {_kind(kind) for kind in set(map(type, values))} - {"null"}
    if "other" in kinds:
        return lay([_plain(row, value) for row, value in enumerate(values)], target)
    if kinds == {"datetime"}:
        aware = {value.tzinfo is not None for value in values if value is not None}
        kinds = {"moment" if is_aware else "datetime" for is_aware in aware}
    nested = _NESTED.get(target.name)
    if nested is not None and not kinds <= {"text"}:
        return Laid(nested(values, target), is_sure=False)
    if kinds & {"mapping", "list"}:
        if target.name != "JSON":
            row = next(row for row, value in enumerate(values) if _kind(type(value)) in ("mapping", "list"))
            raise MisfitError(row, f"{_shown(values[row])} is nested, and the column is {target.name}")
        written = [None if value is None else _as_json(row, value) for row, value in enumerate(values)]
        return Laid(_texts(written), is_sure=False)
    if target.name in ("DOUBLE", "FLOAT") and kinds & {"int", "decimal"}:
        _check_that_it_is_finite(values, target)
    if len(kinds) > 1:
        return Laid(_mixed(values, kinds, target), is_sure=False)
    kind = kinds.pop() if kinds else "null"
    return Laid(_LEAVES[kind](values), _is_sure(values, kind, target.name))


def _check_that_it_is_finite(values: Sequence[Any], target: LogicalType) -> None:
    """DuckDB would read a number that is too large as infinity."""
    for row, value in enumerate(values):
        if isinstance(value, int) and abs(value) < 2**1023:
            continue
        if isinstance(value, Decimal) and not value.is_finite():
            continue
        if isinstance(value, int | Decimal) and not -_MOST <= value <= _MOST:
            raise MisfitError(row, f"{_shown(value)} is too large for a {target.name}")


def _is_sure(values: Sequence[Any], kind: str, name: str) -> bool:
    if kind == "int":
        least, most = _RANGES.get(name, (-(2**63), 2**63 - 1))
        if name not in _RANGES and name not in _EXACT[kind]:
            return False
        return all(value is None or least <= value <= most for value in values)
    return kind == "null" or name in _EXACT.get(kind, ())


def table(names: Sequence[str], columns: Iterable[Any], length: int) -> Any:
    """Columns under their names, as one object with ``__arrow_c_stream__`` that can be read again and again."""
    arrays = list(columns)
    schema = nanoarrow.struct({name: each.schema for name, each in zip(names, arrays, strict=True)})
    return nanoarrow.Array(_array(schema, length, [None], children=arrays))


def stream(data: Any) -> tuple[Any, list[str]]:
    """What exports an Arrow stream or array, as a capsule to be read once, and the names of its columns."""
    opened = nanoarrow.c_array_stream(data)
    names = [child.name for child in opened.get_schema().children]
    return opened.__arrow_c_stream__(), names


def _kind(kind: type) -> str:
    return next((name for each, name in _KINDS if issubclass(kind, each)), "other")


def _plain(row: int, value: Any) -> Any:
    """A scalar of numpy's as Python's; anything else that is not known is refused."""
    if _kind(type(value)) != "other":
        return value
    item = getattr(value, "item", None)
    found = item() if callable(item) and getattr(value, "ndim", 0) == 0 else value
    if _kind(type(found)) == "other":
        raise MisfitError(
            row,
            f"{_shown(value)} cannot be inserted; give a number, text, bool, date, time, timedelta, Decimal, UUID, "
            "bytes, list, dict or None",
        )
    return found


def _shown(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        written = f"a number of {value.bit_length():,} bits"  # Python refuses to write it
    else:
        written = repr(value)
    return f"{written if len(written) <= 60 else written[:59] + '…'} ({type(value).__name__})"


# ---------------------------------------------------------------- leaves


def _array(schema: Any, length: int, buffers: Sequence[Any], children: Sequence[Any] = (), nulls: int = 0) -> Any:
    return nanoarrow.c_array_from_buffers(
        schema, length, buffers, null_count=nulls, children=children, validation_level="none"
    )


def _validity(values: Sequence[Any]) -> tuple[bytes | None, int]:
    """(the bitmap of what is not None, or None if all are; how many are None)."""
    nulls = sum(value is None for value in values)
    return (packed(bytes(value is not None for value in values)) if nulls else None), nulls


def _fixed(schema: Any, code: str, convert: Callable[[Any], int | float]) -> Callable[[Sequence[Any]], Any]:
    def build(values: Sequence[Any]) -> Any:
        valid, nulls = _validity(values)
        numbers = [0 if value is None else convert(value) for value in values] if nulls else map(convert, values)
        return _array(schema, len(values), [valid, array(code, numbers)], nulls=nulls)

    return build


def _booleans(values: Sequence[Any]) -> Any:
    valid, nulls = _validity(values)
    bits = packed(bytes(map(bool, values)))
    return _array(nanoarrow.bool_(), len(values), [valid, bits], nulls=nulls)


def _integers(values: Sequence[Any]) -> Any:
    try:
        return _fixed(nanoarrow.int64(), "q", int)(values)
    except OverflowError:  # HUGEINT and beyond
        for row, value in enumerate(values):
            if value is not None and value.bit_length() > _MOST_BITS:
                raise MisfitError(row, f"{_shown(value)} is larger than any number of DuckDB's") from None
        return _texts([None if value is None else str(int(value)) for value in values])


def _texts(values: Sequence[str | None]) -> Any:
    try:
        return _binary(nanoarrow.large_string(), [None if value is None else value.encode() for value in values])
    except UnicodeEncodeError:
        for row, value in enumerate(values):
            if value is not None and any("\ud800" <= sign <= "\udfff" for sign in value):
                raise MisfitError(row, f"{_shown(value)} holds a lone surrogate, which UTF-8 cannot") from None
        raise


def _blobs(values: Sequence[Any]) -> Any:
    return _binary(nanoarrow.large_binary(), [None if value is None else bytes(value) for value in values])


def _binary(schema: Any, values: Sequence[bytes | None]) -> Any:
    valid, nulls = _validity(values)
    present = [value or b"" for value in values]
    offsets = array("q", accumulate(map(len, present), initial=0))
    return _array(schema, len(values), [valid, offsets, b"".join(present)], nulls=nulls)


def _intervals(values: Sequence[timedelta | None]) -> Any:
    valid, nulls = _validity(values)
    packing = struct.Struct("<iiq").pack
    parts = [
        bytes(16) if each is None else packing(0, each.days, (each.seconds * 10**6 + each.microseconds) * 1000)
        for each in values
    ]
    return _array(nanoarrow.interval_month_day_nano(), len(values), [valid, b"".join(parts)], nulls=nulls)


def _times(values: Sequence[time | None]) -> Any:
    if any(value is not None and value.tzinfo is not None for value in values):
        return _texts([None if value is None else value.isoformat() for value in values])
    return _fixed(nanoarrow.time64("us"), "q", _of_day)(values)


def _of_day(value: time) -> int:
    return ((value.hour * 60 + value.minute) * 60 + value.second) * 10**6 + value.microsecond


_LEAVES: Final[Mapping[str, Callable[[Sequence[Any]], Any]]] = {
    "null": lambda values: _array(nanoarrow.null(), len(values), [], nulls=len(values)),
    "bool": _booleans,
    "int": _integers,
    "float": _fixed(nanoarrow.float64(), "d", float),
    "decimal": lambda values: _texts([None if value is None else _as_text(value) for value in values]),
    "text": lambda values: _texts([None if value is None else str.__str__(value) for value in values]),
    "bytes": _blobs,
    "datetime": _fixed(nanoarrow.timestamp("us"), "q", lambda value: (value - _EPOCH) // _MICROSECOND),
    "moment": _fixed(nanoarrow.timestamp("us", "UTC"), "q", lambda value: (value - _EPOCH_UTC) // _MICROSECOND),
    "date": _fixed(nanoarrow.date32(), "i", lambda value: value.toordinal() - _EPOCH_DAY),
    "time": _times,
    "interval": _intervals,
    "uuid": lambda values: _texts([None if value is None else str(value) for value in values]),
}


# ---------------------------------------------------------------- mixtures and nested values


def _mixed(values: Sequence[Any], kinds: set[str], target: LogicalType) -> Any:
    """Several kinds in one column: each as the text that DuckDB casts to the column's type."""
    if "bool" in kinds and target.name not in ("VARCHAR", "BOOLEAN"):
        values = [int(value) if isinstance(value, bool) else value for value in values]
    return _texts([None if value is None else _as_text(value) for value in values])


def _as_text(value: Any) -> str:
    """The text that DuckDB reads as the same value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes | bytearray | memoryview):
        return "".join(f"\\x{byte:02X}" for byte in bytes(value))
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.days} days {value.seconds * 10**6 + value.microseconds} microseconds"
    if isinstance(value, float):
        return repr(float(value))
    return str(int(value)) if isinstance(value, int) else str(value)


def _as_json(row: int, value: Any) -> str:
    if isinstance(value, str):
        return value  # as in SQL: text that is JSON
    try:
        return json.dumps(value, default=_as_text)
    except (TypeError, ValueError) as error:
        raise MisfitError(row, f"{_shown(value)} is not JSON: {error}") from None


def _lists(values: Sequence[Any], target: LogicalType) -> Any:
    kept = _of_kind(values, "list", target)
    valid, nulls = _validity(kept)
    offsets = array("q", accumulate((len(value or ()) for value in kept), initial=0))
    with _within(offsets):
        items = lay([item for value in kept for item in value or ()], target.children[0][1]).array
    return _array(nanoarrow.large_list(items.schema), len(kept), [valid, offsets], [items], nulls)


def _maps(values: Sequence[Any], target: LogicalType) -> Any:
    (_, key), (_, item) = target.children
    for row, value in enumerate(values):
        if isinstance(value, Mapping) and None in value:  # Arrow ends the process for one
            raise MisfitError(row, f"{_shown(value)} has None for a key, and a map has none such")
    kept = [None if value is None else list(value.items()) for value in _of_kind(values, "mapping", target)]
    valid, nulls = _validity(kept)
    pairs = [pair for value in kept for pair in value or ()]
    offsets = array("i", accumulate((len(value or ()) for value in kept), initial=0))
    with _within(offsets):
        keys, items = lay([k for k, _ in pairs], key).array, lay([v for _, v in pairs], item).array
    entry = nanoarrow.struct({"key": keys.schema, "value": items.schema})
    entries = _array(entry, len(pairs), [None], [keys, items])
    return _array(nanoarrow.map_(keys.schema, items.schema), len(kept), [valid, offsets], [entries], nulls)


def _structs(values: Sequence[Any], target: LogicalType) -> Any:
    kept = _of_kind(values, "mapping", target)
    names = [name for name, _ in target.children]
    for row, value in enumerate(kept):
        if value is not None and not value.keys() <= set(names):
            unknown = sorted(map(str, value.keys() - set(names)))
            raise MisfitError(row, f"{_shown(value)} has {', '.join(unknown)}, and the struct has {', '.join(names)}")
    valid, nulls = _validity(kept)
    fields = [lay([None if v is None else v.get(name) for v in kept], kind).array for name, kind in target.children]
    schema = nanoarrow.struct({name: each.schema for name, each in zip(names, fields, strict=True)})
    return _array(schema, len(kept), [valid], fields, nulls)


@contextmanager
def _within(offsets: Sequence[int]) -> Iterator[None]:
    """A misfit inside of a list is told by the row of the list."""
    try:
        yield
    except MisfitError as error:
        raise MisfitError(bisect_right(offsets, error.row) - 1, str(error)) from None


def _of_kind(values: Sequence[Any], kind: str, target: LogicalType) -> Sequence[Any]:
    wrong = {each for each in set(map(type, values)) if _kind(each) not in (kind, "null")}
    if wrong:
        row = next(row for row, value in enumerate(values) if type(value) in wrong)
        raise MisfitError(row, f"{_shown(values[row])} is not a {target.name}")
    return values


_NESTED: Final[Mapping[str, Callable[[Sequence[Any], LogicalType], Any]]] = {
    "LIST": _lists,
    "ARRAY": _lists,
    "MAP": _maps,
    "STRUCT": _structs,
}
