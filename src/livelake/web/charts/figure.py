"""One number, large: with what it is compared to, its course, or its smaller companions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from livelake.web.charts import lines, values
from livelake.web.charts.data import Column, Table
from livelake.web.charts.formats import Format
from livelake.web.charts.spec import ChartSpec
from livelake.web.html import EMPTY, Markup, h, join

MOST_COMPANIONS = 5


def draw(spec: ChartSpec, table: Table) -> Markup:
    """The value of the last row under `y`, else of the first column that holds numbers, else of the first.

    Over several rows it is followed by its sparkline. In a single row, a second column that is a list of
    numbers is the sparkline, `x` names a number to compare with, and other columns are listed below.
    """
    main = _main(spec, table)
    written = Format(spec.format_of(main.name), spec.unit)
    newest = _ordered(spec, table, main)
    value = newest[-1]
    shown = written(value) if main.kind == "number" else values.text(value, longest=60)
    size = "big" if len(shown) <= 12 else "big long"
    kind = f"{size} null" if value is None else size
    parts = [h("p", {"class": kind}, shown)]
    if len(newest) > 1:
        if main.kind == "number":
            course = values.numbers(newest[-lines.MOST_POINTS :])
            parts.append(lines.sparkline(f"{spec.title or main.name}, its course", course))
    else:
        parts += _beside(spec, table, main, value, written)
    return h("div", {"class": "figure"}, *parts)


def _main(spec: ChartSpec, table: Table) -> Column:
    if spec.y:
        return table[spec.y]
    others = [name for name in table.types if name != spec.x]
    numbers = (table[name] for name in others if table[name].kind == "number")
    return next(numbers, None) or table[(others or list(table.types))[0]]


def _ordered(spec: ChartSpec, table: Table, main: Column) -> Sequence[Any]:
    if not spec.x or table[spec.x].kind == "text" or len(main.values) == 1:
        return main.values
    at = [values.moment(place) or values.number(place) or 0.0 for place in table[spec.x].values]
    return [main.values[index] for index in sorted(range(len(at)), key=at.__getitem__)]


def _beside(spec: ChartSpec, table: Table, main: Column, value: object, written: Format) -> list[Markup]:
    parts = []
    if spec.x and table[spec.x].kind == "number":
        parts.append(_comparison(spec.x, value, table[spec.x].values[0], written))
    others = [table[name] for name in table.types if name not in (main.name, spec.x)]
    for column in others:
        first = column.values[0]
        if isinstance(first, list | tuple) and first:
            course = values.numbers(first[-lines.MOST_POINTS :])
            parts.append(lines.sparkline(f"{spec.title or main.name}, its course", course))
            others.remove(column)
            break
    return [*parts, _companions(spec, others[:MOST_COMPANIONS])]


def _comparison(name: str, value: object, other: object, written: Format) -> Markup:
    now, then = values.number(value), values.number(other)
    change = EMPTY
    if now is not None and then:
        share = (now - then) / abs(then) * 100
        sign, kind = ("▲", "up") if share > 0 else ("▼", "down") if share < 0 else ("■", "same")
        change = h("b", {"class": f"change {kind}"}, f"{sign} {Format('percent')(abs(share))}")
    return h("p", {"class": "versus"}, change, f" against {name} ", h("span", {}, written(other)))


def _companions(spec: ChartSpec, columns: Sequence[Column]) -> Markup:
    pairs = []
    for column in columns:
        first = column.values[0]
        shown = (
            Format(spec.format_of(column.name))(first) if column.kind == "number" else values.text(first, longest=60)
        )
        pairs.append(h("div", {}, h("dt", {}, column.name), h("dd", {}, shown)))
    return h("dl", {"class": "companions"}, join(pairs)) if pairs else EMPTY
