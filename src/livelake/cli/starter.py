"""A first dashboard for tables that somebody looked at: which panels their columns allow, as files. Pure.

For each table its rows as a number; the bars of a text column of few values; the course of a date or moment; the
newest rows. Where there is a column to add up, bars and course add it up, else they count. What a table has no column
for is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from livelake.engine import identifier

MOST_TABLES = 3
MOST_COLUMNS = 12
_FEW = range(2, 21)
"""How many different values make bars that can be read."""

_NUMBER = re.compile(r"DECIMAL|DOUBLE|FLOAT|REAL|U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?")
_EXACT = re.compile(r"DECIMAL|DOUBLE|FLOAT|REAL")
_TEXT = re.compile(r"VARCHAR|ENUM")
_TIME = re.compile(r"DATE|TIMESTAMP")
_KEY = re.compile(r"(^|_)(id|key|number|nr|code|zip|year|lat|lon|latitude|longitude)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Column:
    """``distinct``: how many values were seen, of a text. ``span``: the first and last day, of a date or moment."""

    name: str
    type: str
    distinct: int | None = None
    span: tuple[date, date] | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """One table or view, as it was found."""

    schema: str
    name: str
    rows: int
    columns: tuple[Column, ...]

    @property
    def texts(self) -> list[Column]:
        return [column for column in self.columns if _TEXT.match(column.type)]

    @property
    def times(self) -> list[Column]:
        return [column for column in self.columns if _TIME.match(column.type)]


@dataclass(frozen=True, slots=True)
class Panel:
    """One ``.sql`` file. ``sql`` is the query without its header."""

    name: str
    title: str
    sql: str
    chart: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    """Name → TOML."""
    description: str = ""
    span: int = 1

    @property
    def text(self) -> str:
        """The file."""
        lines = [f"title = {toml(self.title)}"]
        if self.description:
            lines.append(f"description = {toml(self.description)}")
        if self.chart:
            lines.append(f"chart = {{ {', '.join(f'{key} = {toml(value)}' for key, value in self.chart.items())} }}")
        lines += [f"params.{name} = {spec}" for name, spec in self.params.items()]
        if self.span > 1:
            lines.append(f"span = {self.span}")
        return "\n".join(["/*---", *lines, "---*/", self.sql, ""])


class Starter:
    """Writes names: ``keywords`` are DuckDB's words, which need quotes to be a name."""

    def __init__(self, catalog: str, keywords: Iterable[str]) -> None:
        self._catalog = catalog
        self._keywords = frozenset(word.lower() for word in keywords)
        self._taken: set[str] = set()

    def panels(self, tables: Sequence[Table]) -> list[Panel]:
        """Those of the largest tables, in the order of the page."""
        chosen = sorted(tables, key=lambda table: (-table.rows, table.schema, table.name))[:MOST_TABLES]
        return [panel for table in chosen for panel in self._of(table)]

    def _of(self, table: Table) -> list[Panel]:
        stem = self._stem(table)
        found = [self._count(table, stem)]
        bars = next((column for column in table.texts if column.distinct in _FEW), None)
        if bars is not None:
            found.append(self._bars(table, stem, bars))
        course = next((column for column in table.times if column.span), None)
        if course is not None:
            found.append(self._course(table, stem, course))
        found.append(self._rows(table, stem))
        return found

    def _count(self, table: Table, stem: str) -> Panel:
        sql = f"SELECT count(*) AS rows FROM {self.table(table)}"
        return Panel(f"{stem}_count", humane(table.name), sql, {"mark": "value", "y": "rows"})

    def _bars(self, table: Table, stem: str, by: Column) -> Panel:
        what, added = self._measure(table)
        column = self.name(by.name)
        sql = (
            f"SELECT coalesce({column}::VARCHAR, '(none)') AS {self.name(by.name)}, {what} AS total\n"
            f"FROM {self.table(table)}\nGROUP BY 1\nORDER BY total DESC, 1"
        )
        chart = {"mark": "bar", "x": "total", "y": by.name}
        return Panel(f"{stem}_by_{slug(by.name)}", f"{added} by {humane(by.name).lower()}", sql, chart)

    def _course(self, table: Table, stem: str, over: Column) -> Panel:
        assert over.span is not None
        first, last = over.span
        days = (last - first).days
        unit = "hour" if days < 3 and over.type != "DATE" else "day" if days <= 120 else "month"
        what, added = self._measure(table)
        column = self.name(over.name)
        sql = (
            f"SELECT date_trunc('{unit}', {column}) AS period, {what} AS total\n"
            f"FROM {self.table(table)}\nWHERE {column} >= $since\nGROUP BY 1\nORDER BY 1"
        )
        since = f'{{ type = "date", default = {first.isoformat()}, title = "Since" }}'
        return Panel(
            f"{stem}_over_time",
            f"{added} over time",
            sql,
            {"mark": "line", "x": "period", "y": "total"},
            {"since": since},
            f"By {unit}.",
            2,
        )

    def _rows(self, table: Table, stem: str) -> Panel:
        columns = [self.name(column.name) for column in table.columns[:MOST_COLUMNS]]
        newest = [f"{self.name(column.name)} DESC NULLS LAST" for column in table.times[:1]]
        order = ", ".join([*newest, *columns[:2]])
        sql = f"SELECT {', '.join(columns)}\nFROM {self.table(table)}\nORDER BY {order}\nLIMIT $limit"
        limit = '{ type = "integer", default = 20, min = 1, max = 1000, title = "Rows" }'
        title = f"{'Newest' if newest else 'Rows'} of {humane(table.name).lower()}"
        return Panel(f"{stem}_rows", title, sql, {}, {"limit": limit}, "", 4)

    def _measure(self, table: Table) -> tuple[str, str]:
        """What bars and lines show, as SQL and in words: the sum of a quantity, else how many rows."""
        numbers = [
            c for c in table.columns if _NUMBER.match(c.type) and "[" not in c.type and not _KEY.search(c.name)
        ]
        exact = [column for column in numbers if _EXACT.match(column.type)]
        if not numbers:
            return "count(*)", humane(table.name)
        chosen = (exact or numbers)[0]
        return f"sum({self.name(chosen.name)})", humane(chosen.name)

    # ---------------------------------------------------------------- names

    def table(self, table: Table) -> str:
        return ".".join(map(self.name, (self._catalog, table.schema, table.name)))

    def name(self, text: str) -> str:
        """``text`` as an SQL name, in quotes where it needs them."""
        plain = re.fullmatch(r"[a-z_][a-z0-9_]*", text) and text not in self._keywords
        return text if plain else identifier(text)

    def _stem(self, table: Table) -> str:
        """The beginning of a table's file names; no two tables have the same."""
        wanted = slug(table.name if table.schema == "main" else f"{table.schema}_{table.name}")
        stem, number = wanted, 1
        while stem in self._taken:
            number += 1
            stem = f"{wanted}_{number}"
        self._taken.add(stem)
        return stem


def settings(title: str, catalog: str, uri: str, panels: Sequence[Panel]) -> str:
    """``livelake.toml``."""
    order = "".join(f"  {toml(panel.name)},\n" for panel in panels)
    return f"title = {toml(title)}\nattach = {{ {catalog} = {toml(uri)} }}\norder = [\n{order}]\n"


def toml(text: str) -> str:
    """A TOML string, which also stands safely inside an SQL comment: no ``*/`` ends it early."""
    written = json.dumps(text.encode("utf-8", "replace").decode(), ensure_ascii=False)
    return re.sub(r"[\x7f*]", lambda found: f"\\u{ord(found[0]):04x}", written)


def slug(text: str) -> str:
    """``text`` as part of a file's and a URL's name."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:40].strip("_") or "table"


def humane(name: str) -> str:
    """A name as people write it."""
    words = re.sub(r"[_\s-]+", " ", name).strip() or name
    return words[:1].upper() + words[1:]
