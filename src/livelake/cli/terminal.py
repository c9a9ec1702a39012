"""Results as text: a table for people, JSON and CSV for programs. Pure, but for `begin_output`."""

from __future__ import annotations

import csv
import io
import logging
import sys
import unicodedata
from decimal import Decimal
from typing import Any

from livelake.lake import Result

_WIDEST = 60  # columns of a terminal that one cell may take
_MOST_ROWS = 1_000
_NARROWEST = 8  # columns that a cell keeps, however many stand beside it
_GAP = "  "
_NUMBERS = (int, float, Decimal)


def begin_output() -> None:
    """Set up what a process of ours writes: the log on standard error, and no character that would end it."""
    logging.basicConfig(level=logging.WARNING, format="livelake: %(message)s", stream=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an ASCII terminal, a name that is no text


def table_text(result: Result, *, width: int | None = None, most_rows: int = _MOST_ROWS) -> str:
    """Aligned columns: numbers to the right, control characters made visible, what does not fit shortened.

    ``width``: columns of the terminal; None shortens no line.
    """
    names = [column.name for column in result.columns]
    rows = result.rows()
    shown = [[row[name] for name in names] for row in rows[:most_rows]]
    cells = [[_cell(value) for value in row] for row in shown]
    right = [
        any(isinstance(row[i], _NUMBERS) and not isinstance(row[i], bool) for row in shown) for i in range(len(names))
    ]
    titles = [shorten(clean(name), _WIDEST) for name in names]
    widths = [max([_width(titles[i]), *(_width(row[i]) for row in cells)]) for i in range(len(names))]
    if width is not None:
        widths = _fit(widths, width - len(_GAP) * (len(widths) - 1))
    lines = [_line(titles, widths, right), _line(["─" * width for width in widths], widths, right)]
    lines += [_line(row, widths, right) for row in cells]
    if width is not None:
        lines = [shorten(line, width) for line in lines]
    count = f"{len(rows):,} row{'' if len(rows) == 1 else 's'}"
    if len(rows) > most_rows:
        count = f"{most_rows:,} of {count}"
    return "\n".join([*lines, f"({count})"])


def json_text(result: Result) -> str:
    """The JSON that HTTP gives, one row a line."""
    from livelake.web.formats import encode  # the web part is imported by those who need it

    rows = [encode([row]).decode()[1:-1] for row in result.rows()]
    return "[\n  " + ",\n  ".join(rows) + "\n]" if rows else "[]"


def csv_text(result: Result) -> str:
    """RFC 4180, with a header line. NULL is an empty field; lists and structs are JSON, bytes hexadecimal."""
    text = io.StringIO()
    writer = csv.writer(text)
    names = [column.name for column in result.columns]
    writer.writerow(names)
    writer.writerows([[_field(row[name]) for name in names] for row in result.rows()])
    return text.getvalue()


def clean(text: str) -> str:
    """A terminal obeys control characters; here they are shown instead."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, width: int) -> str:
    """`text` in at most ``width`` columns of a terminal."""
    if _width(text) <= width:
        return text
    kept = text[: width - 1]
    while _width(kept) > width - 1:
        kept = kept[:-1]
    return kept + "…"


def _field(value: Any) -> Any:
    match value:
        case bool():
            return "true" if value else "false"
        case bytes():
            return value.hex()
        case dict() | list() | tuple():
            from livelake.web.formats import encode

            return encode(value).decode()
        case _:
            return value


def _cell(value: Any) -> str:
    match value:
        case None:
            return "∅"
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.6g}" if value != value or abs(value) < 1e15 else repr(value)
        case bytes():
            return shorten(value.hex(), _WIDEST)
        case _:
            return shorten(clean(str(value)), _WIDEST)


def _width(text: str) -> int:
    return sum(_columns(c) for c in text)


def _columns(c: str) -> int:
    if unicodedata.category(c) in ("Mn", "Me"):  # drawn over the character before
        return 0
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1


def _fit(widths: list[int], room: int) -> list[int]:
    """The widest columns made narrower, all alike, until they have ``room`` or are `_NARROWEST`."""
    limit = max(widths, default=0)
    while limit > _NARROWEST and sum(min(width, limit) for width in widths) > room:
        limit -= 1
    return [min(width, limit) for width in widths]


def _line(cells: list[str], widths: list[int], right: list[bool]) -> str:
    padded = []
    for text, width, to_right in zip(cells, widths, right, strict=True):
        cell = shorten(text, width)
        space = " " * (width - _width(cell))
        padded.append(space + cell if to_right else cell + space)
    return _GAP.join(padded).rstrip()
