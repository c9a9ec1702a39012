"""Rows as an HTML table: numbers to the right with their points in line, NULL dim, the rest counted aloud."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from livelake.web.charts import svg, values
from livelake.web.charts.data import Column, Table
from livelake.web.charts.formats import Format
from livelake.web.charts.spec import ChartSpec
from livelake.web.html import Attribute, Element, Markup, h, join

MOST_ROWS = 200

# 2024 is a year and 32557 a process: nobody counts with them, so their digits stay together.
_NAMES_A_THING = re.compile(r"(^|_)(p?id|year|port|code|zip)$", re.IGNORECASE)

_CELL = Element("td", {})
_NUMBER = Element("td", {"class": "num"})
_NULL = Element("td", {"class": "null"})
_NULL_NUMBER = Element("td", {"class": "num null"})
_ROW = Element("tr", {})


def draw(spec: ChartSpec, table: Table, total: int) -> Markup:
    """The first `MOST_ROWS` rows; the columns under `x`, `y` and `color` alone when the spec names any."""
    named = [name for name in (spec.x, spec.y, spec.color) if name is not None]
    columns = [table[name] for name in (named or table.types)]
    cells = [_cells(column, spec) for column in columns]
    body = [_ROW(*row) for row in zip(*cells, strict=True)]
    head = [h("th", {"scope": "col", "class": "num" if _is_number(one) else None}, one.name) for one in columns]
    whole = h("table", {}, h("thead", {}, _ROW(*head)), h("tbody", {}, *body))
    # A region that scrolls must be reachable by keyboard, and named.
    region: dict[str, Attribute] = {
        "class": "scroll",
        "tabindex": 0,
        "role": "region",
        "aria-label": spec.title or "Table",
    }
    shown = min(len(table.rows), MOST_ROWS)
    notes = [f"{shown:,} of {total:,} rows"] if total > shown else []
    return join([h("div", region, whole), svg.notes(notes)])


def _is_number(column: Column) -> bool:
    return column.kind == "number"


def _cells(column: Column, spec: ChartSpec) -> list[Markup]:
    shown: list[Any] = column.values[:MOST_ROWS]
    cell, null = (_NUMBER, _NULL_NUMBER) if _is_number(column) else (_CELL, _NULL)
    write = _writer(column, spec, shown)
    return [null("—") if value is None else cell(write(value)) for value in shown]


def _writer(column: Column, spec: ChartSpec, shown: list[Any]) -> Callable[[object], str]:
    name = spec.format_of(column.name)
    if not _is_number(column) or (name is None and _NAMES_A_THING.search(column.name)):
        return values.text
    if name is None and all(isinstance(value, timedelta) for value in shown if value is not None):
        name = "duration"
    return Format(name, spec.unit if column.name == spec.y else None).aligned(shown, exact=True)
