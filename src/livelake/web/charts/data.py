"""Rows as columns of Python values, and which column feeds which channel of a chart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from livelake.web.charts.formats import Format
from livelake.web.charts.spec import ChartSpec
from livelake.web.charts.values import Kind, kind_of

_NAMES_THINGS = re.compile(r"(^|_)(p?id|year|port|code|zip)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its values in the order of the rows."""

    name: str
    kind: Kind
    values: list[Any]

    @property
    def names_things(self) -> bool:
        """Whether its numbers are names: nobody counts with a year or a process, so their digits stay together."""
        return _NAMES_THINGS.search(self.name) is not None


class MissingColumnError(ValueError):
    """The chart names a column that the query does not return."""


class Table:
    """The result that is drawn. Columns are gathered when first asked for: most charts need two of them."""

    def __init__(self, columns: Sequence[tuple[str, str]], rows: Sequence[Mapping[str, Any]]) -> None:
        self.types = dict(columns)
        self.rows = rows
        self._gathered: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in self._gathered:
            if name not in self.types:
                known = ", ".join(self.types) or "none"
                raise MissingColumnError(f"the chart needs the column {name!r}; the query returns {known}")
            gathered = [row.get(name) for row in self.rows]
            self._gathered[name] = Column(name, kind_of(self.types[name], gathered), gathered)
        return self._gathered[name]

    def first(self, *kinds: Kind, but: Sequence[str | None] = ()) -> Column:
        """The first column of the first of `kinds` that has one, leaving out those named in `but`."""
        for kind in kinds:
            for name in self.types:
                if name not in but and self[name].kind == kind:
                    return self[name]
        raise MissingColumnError(f"the chart needs a column of {' or '.join(kinds)} values; the query has none")


def format_of(spec: ChartSpec, column: Column, unit: str | None = None) -> Format:
    """How the numbers of `column` are written: as the spec says, and intervals as durations."""
    name = spec.format_of(column.name)
    if name is None and all(isinstance(value, timedelta) for value in column.values if value is not None):
        name = "duration"
    return Format(name, unit)


@dataclass(frozen=True, slots=True)
class Channels:
    """The columns of a chart with two axes; `y` is the quantity, whatever its direction."""

    x: Column
    y: Column
    color: Column | None
    is_horizontal: bool = False


def channels(spec: ChartSpec, table: Table) -> Channels:
    """As the spec says, and for the rest: the first time, text or number along x, the first number as y."""
    color = table[spec.color] if spec.color else None
    x = table[spec.x] if spec.x else None
    y = table[spec.y] if spec.y else None
    if spec.mark == "bar" and x and x.kind == "number" and (y is None or y.kind != "number"):
        along = y or table.first("text", "time", but=(spec.x, spec.color))
        return Channels(along, x, color, is_horizontal=True)
    y = y or table.first("number", but=(spec.x, spec.color))
    x = x or table.first("time", "text", "number", but=(y.name, spec.color))
    return Channels(x, y, color)
