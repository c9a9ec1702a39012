"""Results as text: a table for people, JSON and CSV for programs. Pure."""

from __future__ import annotations

import csv
import io
import json
import shutil
import unicodedata
from decimal import Decimal
from typing import Any

from livelake.lake import Result

_WIDEST = 60  # columns of a terminal that one cell may take
_MOST_ROWS = 1_000
_NUMBERS = (int, float, Decimal)


def table_text(result: Result) -> str:
    """Aligned columns: numbers to the right, what does not fit shortened, control characters made visible."""
    names = [column.name for column in result.columns]
    rows = result.rows()
    shown = [[row[name] for name in names] for row in rows[:_MOST_ROWS]]
    cells = [[_cell(value) for value in row] for row in shown]
    right = [
        any(isinstance(row[i], _NUMBERS) and not isinstance(row[i], bool) for row in shown) for i in range(len(names))
    ]
    titles = [_clean(name) for name in names]
    widths = [max([_width(titles[i]), *(_width(row[i]) for row in cells)]) for i in range(len(names))]
    lines = [_line(titles, widths, right), _line(["─" * width for width in widths], widths, right)]
    lines += [_line(row, widths, right) for row in cells]
    count = f"{len(rows):,} row{'' if len(rows) == 1 else 's'}"
    if len(rows) > _MOST_ROWS:
        count = f"{_MOST_ROWS:,} of {count}"
    room = shutil.get_terminal_size((200, 24)).columns if shutil.get_terminal_size().columns else 200
    return "\n".join(_cut(line, room) for line in lines) + f"\n({count})"


def json_text(result: Result) -> str:
    """An array of objects. Decimals are numbers with all their digits; dates and the like are text."""
    return json.dumps([{k: _plain(v) for k, v in row.items()} for row in result.rows()], ensure_ascii=False, indent=2)


def csv_text(result: Result) -> str:
    """RFC 4180, with a header line. NULL is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text)
    names = [column.name for column in result.columns]
    writer.writerow(names)
    writer.writerows([["" if row[name] is None else row[name] for name in names] for row in result.rows()])
    return text.getvalue()


def _plain(value: Any) -> Any:
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case float() if value != value or value in (float("inf"), float("-inf")):
            return None
        case None | bool() | int() | float() | str():
            return value
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value.hex() if isinstance(value, bytes) else str(value)


def _cell(value: Any) -> str:
    match value:
        case None:
            return "∅"
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.6g}" if value != value or abs(value) < 1e15 else repr(value)
        case bytes():
            return value.hex()
        case _:
            return _cut(_clean(str(value)), _WIDEST)


def _clean(text: str) -> str:
    """A terminal obeys control characters; a table shows them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _width(text: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    kept = text[: width - 1]
    while _width(kept) > width - 1:
        kept = kept[:-1]
    return kept + "…"


def _line(cells: list[str], widths: list[int], right: list[bool]) -> str:
    padded = []
    for cell, width, to_right in zip(cells, widths, right, strict=True):
        space = " " * (width - _width(cell))
        padded.append(space + cell if to_right else cell + space)
    return "  ".join(padded).rstrip()
