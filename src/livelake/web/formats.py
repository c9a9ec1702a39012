"""A result as bytes: JSON, CSV, Arrow, Parquet. Called in threads; equal data give equal bytes.

JSON is a list of objects. DECIMAL and HUGEINT are numbers with all their digits, dates and intervals ISO 8601, bytes
base64; what JSON has no number for (NaN, infinity) is null. An infinite date is the text ``infinity``.

CSV is RFC 4180 with a header line, in UTF-8. NULL is an empty field and an empty text is ``""``, in a single column
both are: readers skip an empty line. Lists and structs are JSON, bytes hexadecimal. Text that a spreadsheet would run
as a formula gets an apostrophe before it: what begins with ``=``, ``+``, ``@``, a tab, a line break, or a ``-`` that
begins no number. Whoever needs every text as it is takes another form.

Arrow is an IPC stream. Parquet has the same columns; it is written by DuckDB.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice
from typing import Any, Final

import msgspec

from livelake.engine import ArrowData, InfiniteDate, InfiniteTimestamp, parquet
from livelake.errors import EventError, LivelakeError
from livelake.web.negotiate import Coding, Format

__all__ = ["TooLarge", "compressed", "decode", "encode", "parts", "written"]

_JSON = msgspec.json.Encoder(decimal_format="number", enc_hook=str)
_PARTS = msgspec.json.Decoder(list[msgspec.Raw])
_ROWS: Final = 2_000  # written at a time; the size is looked at in between
_FORMULA: Final = re.compile(r"[=+@\t\r\n]|-(?!(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z)")
_QUOTED: Final = re.compile(r'[",\r\n]|\A\s|\s\Z|\A\Z')


class TooLarge(LivelakeError):  # noqa: N818 - the writer stops; who asked says what to do
    """More bytes than allowed were written."""


def written(data: ArrowData, form: Format, *, most: int) -> bytes:
    """``data`` in that form. Raises `TooLarge` beyond ``most`` bytes, and QueryError for what it has no word for."""
    match form:
        case "json":
            return _joined(_json_pieces(data), most)
        case "csv":
            return _joined(_csv_pieces(data), most)
        case "arrow":
            return _joined([data.ipc], most)
        case "parquet":
            return _joined([parquet(data)], most)


def compressed(body: bytes, coding: Coding) -> bytes:
    """The body as it travels. The time is left out of gzip's header: equal bodies are equal bytes."""
    return gzip.compress(body, 6, mtime=0) if coding == "gzip" else body


def encode(value: object) -> bytes:
    """Rows, or a value of one, as JSON."""
    return _JSON.encode(value)


def decode(body: bytes) -> Any:
    """Any JSON as Python's values."""
    return msgspec.json.decode(body)


def parts(body: bytes) -> list[bytes] | None:
    """The elements of a JSON list, each as its own JSON; None if it is no list. Raises `EventError`."""
    if not body.lstrip(b" \t\r\n").startswith(b"["):
        return None
    try:
        return [bytes(each) for each in _PARTS.decode(body)]
    except RecursionError as error:
        raise EventError("the body is nested too deep.") from error
    except (msgspec.DecodeError, UnicodeError, ValueError) as error:
        raise EventError(f"the body is no JSON: {error}.") from error


# ---------------------------------------------------------------- pieces


def _joined(pieces: Iterable[bytes], most: int) -> bytes:
    found, size = [], 0
    for piece in pieces:
        size += len(piece)
        if size > most:
            raise TooLarge(f"more than {most:,} bytes")
        found.append(piece)
    return found[0] if len(found) == 1 else b"".join(found)


def _json_pieces(data: ArrowData) -> Iterator[bytes]:
    rows = iter(data.rows())
    before = b"["
    while some := list(islice(rows, _ROWS)):
        yield before + encode(some)[1:-1]
        before = b","
    yield b"]" if before == b"," else b"[]"


def _csv_pieces(data: ArrowData) -> Iterator[bytes]:
    yield _line([column.name for column in data.columns]).encode()
    rows = iter(data.tuples())
    while some := list(islice(rows, _ROWS)):
        yield "".join(map(_line, some)).encode()


def _line(values: Sequence[object]) -> str:
    if len(values) == 1 and values[0] is None:
        return '""\r\n'  # an empty line would be skipped by its readers
    return ",".join(["" if value is None else _field(value) for value in values]) + "\r\n"


def _field(value: object) -> str:
    if isinstance(value, str):
        text = value if _FORMULA.match(value) is None else "'" + value
        return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text
    write = _WRITERS.get(type(value))
    return _field(encode(value).decode().strip('"')) if write is None else write(value)


_WRITERS: Final[Mapping[type, Callable[[Any], str]]] = {
    bool: lambda value: "true" if value else "false",
    int: str,
    float: repr,
    Decimal: lambda value: format(value, "f"),
    bytes: bytes.hex,
    date: date.isoformat,
    datetime: datetime.isoformat,
    time: time.isoformat,
    InfiniteDate: str,
    InfiniteTimestamp: str,
}
