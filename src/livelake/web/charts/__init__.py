"""Charts drawn on the server, once for all viewers: HTML and SVG from rows, in Vega-Lite's words.

`render` is pure and total: whatever the values, it returns well-formed markup that holds them as text only.
What cannot be drawn (NULL, NaN, an infinity) is a gap; what is left out is counted aloud. Colours are CSS
classes, so that a page follows its reader's light or dark. A chart of some hundred points takes about a
millisecond. Results of more than `MOST_ROWS` rows are drawn from the first of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from livelake.web.charts import bars, figure, lines, svg, table
from livelake.web.charts.data import MissingColumnError, Table
from livelake.web.charts.spec import ChartSpec, Mark, TableView
from livelake.web.html import Markup, h, join

__all__ = ["MOST_ROWS", "ChartSpec", "Mark", "TableView", "render"]

MOST_ROWS = 20_000


def render(
    spec: ChartSpec,
    columns: Sequence[tuple[str, str]],
    rows: Sequence[Mapping[str, Any]],
    *,
    total_rows: int | None = None,
) -> Markup:
    """The chart as markup. `columns` are names and DuckDB types; `total_rows` is what `rows` was cut from.

    A column that the spec names and the query lacks is said in the chart's place; nothing is raised.
    """
    total = max(len(rows), total_rows or 0)
    if not rows or not columns:
        return h("p", {"class": "empty"}, "No rows")
    try:
        drawn = _draw(spec, Table(columns, rows[:MOST_ROWS]), total)
    except MissingColumnError as error:
        return h("p", {"class": "empty"}, f"Cannot draw this: {error}")
    cut = min(len(rows), MOST_ROWS)
    if spec.mark == "table" or total <= cut:
        return drawn
    return join([drawn, svg.notes([f"drawn from {cut:,} of {total:,} rows"])])


def _draw(spec: ChartSpec, data: Table, total: int) -> Markup:
    match spec.mark:
        case "value":
            return figure.draw(spec, data)
        case "table":
            return table.draw(spec, data, total)
        case "bar":
            return bars.draw(spec, data)
        case "line" | "area" | "point":
            return lines.draw(spec, data)
        case "sparkline":
            return lines.draw_sparkline(spec, data)
        case _:
            assert_never(spec.mark)
