"""What a chart should show, in Vega-Lite's words: the ``chart = {…}`` of a query's header."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args

Mark = Literal["value", "table", "bar", "line", "area", "point", "sparkline"]

NAMED_FORMATS = ("bytes", "percent", "si", "duration")
# No width: `1000000000d` would fill the memory.
_PYTHON_FORMAT = re.compile(r"[+ -]?,?(\.[0-9]{1,2})?[defg%]?")

DEFAULT_PAGE_SIZE = 200
_LARGEST_PAGE_SIZE = 1_000

_TEXTS = ("x", "y", "color", "title", "unit")
_NUMBERS = ("min", "max")
_KEYS = ("mark", *_TEXTS, "format", "stack", *_NUMBERS, "page_size")


@dataclass(frozen=True, slots=True)
class TableView:
    """How one reader looks at a table: `panel` names it in URLs, `page` counts from 1.

    `sort` is a column, or one with ``-`` before it for falling order; what is neither sorts nothing.
    """

    panel: str
    sort: str = ""
    page: int = 1


@dataclass(frozen=True, slots=True)
class ChartSpec:
    """A mark and which columns feed it. Columns that are not named are guessed from their types.

    `format` is for the numbers: ``bytes`` (1 kB = 1,000 B), ``percent`` (the number is one already), ``si``,
    ``duration`` (seconds), or a Python format such as ``,.1f`` or ``.0%``. `unit` follows the number:
    ``format = "bytes", unit = "/s"`` reads ``1.2 MB/s``. `column_formats`, pairs of column and format, stands
    over `format`. `min` and `max` widen the axis so that it does not jump. `page_size` is the rows of a table
    that are shown at once; `view` is not the author's but the reader's, and without one a table has no buttons.
    """

    mark: Mark = "table"
    x: str | None = None
    y: str | None = None
    color: str | None = None
    title: str | None = None
    unit: str | None = None
    format: str | None = None
    column_formats: tuple[tuple[str, str], ...] = ()
    stack: bool = False
    min: float | None = None
    max: float | None = None
    page_size: int = DEFAULT_PAGE_SIZE
    view: TableView | None = None

    @classmethod
    def parse(cls, mapping: Mapping[str, Any]) -> ChartSpec:
        """From the header's table. Raises `ValueError` that names the wrong key and what is allowed."""
        for key in mapping:
            if key not in _KEYS:
                raise ValueError(f"chart has no key {key!r}{_meant(key)}; it takes {', '.join(_KEYS)}")
        values: dict[str, Any] = {"mark": _mark(mapping.get("mark", "table"))}
        values.update({key: _text(key, mapping[key]) for key in _TEXTS if mapping.get(key) is not None})
        values.update({key: _number(key, mapping[key]) for key in _NUMBERS if mapping.get(key) is not None})
        stack = mapping.get("stack", False)
        if not isinstance(stack, bool):
            raise ValueError(f"chart.stack is {stack!r}; it is true or false")
        values["stack"] = stack
        if "page_size" in mapping:
            values["page_size"] = _page_size(mapping["page_size"])
        spec = cls(**values, **_formats(mapping.get("format")))
        if spec.min is not None and spec.max is not None and spec.min >= spec.max:
            raise ValueError(f"chart.min is {spec.min:g} and chart.max is {spec.max:g}; min must be less")
        return spec

    def format_of(self, column: str) -> str | None:
        """The format for the numbers of `column`."""
        return dict(self.column_formats).get(column, self.format)


def _meant(key: str) -> str:
    close = get_close_matches(str(key), _KEYS, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _mark(value: object) -> Mark:
    for mark in get_args(Mark):
        if mark == value:
            found: Mark = mark
            return found
    raise ValueError(f"chart.mark is {value!r}; it is one of {', '.join(get_args(Mark))}")


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"chart.{key} is {value!r}; it is a text, such as the name of a column")
    return value


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"chart.{key} is {value!r}; it is a number")
    return float(value)


def _page_size(value: object) -> int:
    if type(value) is not int or not 1 <= value <= _LARGEST_PAGE_SIZE:
        raise ValueError(f"chart.page_size is {value!r}; it is a whole number from 1 to {_LARGEST_PAGE_SIZE}")
    return value


def _formats(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return {"column_formats": tuple((str(name), _format(one)) for name, one in value.items())}
    return {"format": _format(value)}


def _format(value: object) -> str:
    if isinstance(value, str) and (value in NAMED_FORMATS or (value and _PYTHON_FORMAT.fullmatch(value))):
        return value
    raise ValueError(
        f"chart.format is {value!r}; it is {', '.join(NAMED_FORMATS)}, a Python number format "
        "such as ',.1f', or a table of these by column"
    )
