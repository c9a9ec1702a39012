"""Rows as an HTML table: numbers to the right with their points in line, NULL dim, the rest counted aloud.

With a `TableView` the heads are buttons of the page's form ``controls``, so that they work without scripts. A
table that fits on one page also carries the order of its rows by each column (``data-order``), and a script sorts
it where it stands; a larger one is sorted and paged here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from livelake.web.charts import svg, values
from livelake.web.charts.data import Column, Table, format_of
from livelake.web.charts.spec import ChartSpec, TableView
from livelake.web.html import EMPTY, Attribute, Element, Markup, h, join

FORM = "controls"
"""The id of the form that the buttons of a table belong to."""

# Fewer rows are seen at a glance.
_WORTH_COUNTING = 10

_CELL = Element("td", {})
_NUMBER = Element("td", {"class": "num"})
_NULL = Element("td", {"class": "null"})
_NULL_NUMBER = Element("td", {"class": "num null"})
_ROW = Element("tr", {})


def draw(spec: ChartSpec, table: Table, total: int) -> Markup:
    """One page of the rows; the columns under `x`, `y` and `color` alone when the spec names any."""
    named = [name for name in (spec.x, spec.y, spec.color) if name is not None]
    columns = [table[name] for name in (named or table.types)]
    count, size = len(table.rows), spec.page_size
    pages = -(-count // size)
    page = min(spec.view.page, pages) if spec.view else 1
    key, is_falling = _sorted_by(spec.view, columns)
    order = range(count) if key is None else _order(key, is_falling)
    rows = order[(page - 1) * size : page * size]
    shown = [replace(column, values=[column.values[row] for row in rows]) for column in columns]
    cells = [_cells(column, spec) for column in shown]
    orders = shown if spec.view and pages == 1 < count else None
    head = [_head(column, spec.view, key, is_falling, orders) for column in shown]
    body = [_ROW(*row) for row in zip(*cells, strict=True)]
    whole = h("table", {}, h("thead", {}, _ROW(*head)), h("tbody", {}, *body))
    # A region that scrolls must be reachable by keyboard, and named.
    label = f"{spec.title or 'Table'}, {_counted(total)}"
    region: dict[str, Attribute] = {"class": "scroll", "tabindex": 0, "role": "region", "aria-label": label}
    return join([h("div", region, whole), _foot(spec, page, pages, len(rows), count, total)])


def _sorted_by(view: TableView | None, columns: Sequence[Column]) -> tuple[Column | None, bool]:
    """The column that the reader asks for, if there is one of that name, and whether its order falls."""
    asked = "" if view is None else view.sort
    by_name = {column.name: column for column in columns}
    if asked in by_name:
        return by_name[asked], False
    return (by_name.get(asked[1:]), True) if asked.startswith("-") else (None, False)


def _order(column: Column, is_falling: bool) -> list[int]:
    """The rows by a column, rising; falling is the same reversed. NULL comes last either way."""
    there = [row for row, value in enumerate(column.values) if value is not None]
    keys = _keys(column, there)
    rising = sorted(there, key=keys.__getitem__)
    return (rising[::-1] if is_falling else rising) + [
        row for row, value in enumerate(column.values) if value is None
    ]


def _keys(column: Column, rows: Sequence[int]) -> dict[int, Any]:
    """What the values are compared by. Whole numbers as they are: a float would confuse the large ones."""
    match column.kind:
        case "number" if all(type(column.values[row]) is int for row in rows):
            return {row: column.values[row] for row in rows}
        case "number":
            return {row: _rank(column.values[row]) for row in rows}
        case "time":
            return {row: values.moment(column.values[row]) or 0.0 for row in rows}
        case _:
            texts = {row: values.text(column.values[row]) for row in rows}
            return {row: (text.casefold(), text) for row, text in texts.items()}


def _rank(value: object) -> float:
    """A number's place; what has none (NaN, and what is too large to draw) stands above all, or below if negative."""
    drawable = values.number(value)
    if drawable is not None:
        return drawable
    return float("-inf") if values.text(value).startswith("-") else float("inf")


def _head(
    column: Column, view: TableView | None, key: Column | None, is_falling: bool, orders: Sequence[Column] | None
) -> Markup:
    """A column's name. As a button it asks for the rising order, then the falling one, then the query's own."""
    classes = "num" if column.kind == "number" else None
    if view is None:
        return h("th", {"scope": "col", "class": classes}, column.name)
    is_key = key is not None and column.name == key.name
    attributes: dict[str, Attribute] = {
        "scope": "col",
        "class": classes,
        "aria-sort": None if not is_key else "descending" if is_falling else "ascending",
        "data-order": None if orders is None else " ".join(map(str, _order(column, False))),
    }
    following = column.name if not is_key else "" if is_falling else f"-{column.name}"
    button = {"type": "submit", "form": FORM, "name": f"{view.panel}.sort", "value": following}
    return h("th", attributes, h("button", button, column.name))


def _foot(spec: ChartSpec, page: int, pages: int, shown: int, count: int, total: int) -> Markup:
    """How many rows there are, which of them are shown, and the way to the others."""
    beyond = f"the first {count:,} of " if total > count else ""
    if spec.view is None or pages == 1:
        if total > shown:
            return svg.notes([f"{shown:,} of {_counted(total)}"])
        return svg.notes([_counted(total)]) if total > _WORTH_COUNTING else EMPTY
    first = (page - 1) * spec.page_size + 1
    said = h("span", {}, f"{first:,}–{first + shown - 1:,} of {beyond}{_counted(total)}")
    ways = [
        _way(spec.view, "Previous page", "‹", max(1, page - 1), page),
        h("span", {"class": "at"}, f"{page:,} / {pages:,}"),
        _way(spec.view, "Next page", "›", min(pages, page + 1), page),
    ]
    label = f"Pages of {spec.title or 'the table'}"
    return h("nav", {"class": "pager", "aria-label": label}, said, h("span", {"class": "ways"}, *ways))


def _way(view: TableView, label: str, sign: str, to: int, page: int) -> Markup:
    # Not `disabled`, which would throw the focus of whoever has just come to the last page.
    button: dict[str, Attribute] = {
        "type": "submit",
        "form": FORM,
        "name": f"{view.panel}.page",
        "value": to,
        "aria-label": label,
        "aria-disabled": "true" if to == page else None,
    }
    return h("button", button, sign)


def _counted(rows: int) -> str:
    return f"{rows:,} row{'' if rows == 1 else 's'}"


def _cells(column: Column, spec: ChartSpec) -> list[Markup]:
    cell, null = (_NUMBER, _NULL_NUMBER) if column.kind == "number" else (_CELL, _NULL)
    write = _writer(column, spec)
    return [null("—") if value is None else cell(write(value)) for value in column.values]


def _writer(column: Column, spec: ChartSpec) -> Callable[[object], str]:
    name = spec.format_of(column.name)
    if column.kind != "number" or (name is None and column.names_things):
        return values.text
    written = format_of(spec, column, spec.unit if column.name == spec.y else None)
    return written.aligned(column.values, exact=True)
