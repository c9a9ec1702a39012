"""The parts that every drawing shares: the responsive SVG, its axes, its legend and its notes.

A drawing is as wide and as high as its panel, and its text keeps its size: places are percentages of an SVG
without a viewBox, margins are CSS padding (class ``y4`` leaves room for labels of four characters), and only
the paths lie in a nested viewBox of `WIDTH` × `HEIGHT` that is stretched to fit, with strokes that are not.
Colours are CSS classes ``c0`` … ``c15`` that set ``color``; shapes are drawn in ``currentColor``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo

from livelake.web.charts import labels as along
from livelake.web.charts import ticks, values
from livelake.web.charts.data import Column
from livelake.web.charts.formats import MOST_OF_TICK, Format
from livelake.web.charts.ticks import Axis
from livelake.web.html import EMPTY, Element, Markup, h, join

WIDTH, HEIGHT = 2000, 1000
MOST_SERIES = 16
NARROW, WIDE = 4, MOST_OF_TICK  # characters of an axis label that CSS leaves room for

_RULE = Element("g", {"class": "rules"})
_LEGEND = Element("ul", {"class": "legend"})
_NOTE = Element("p", {"class": "note"})
_TITLE = Element("title", {})


def title(text: str) -> Markup:
    """A tooltip."""
    return _TITLE(text)


def percent(share: float) -> str:
    """0.25 as ``25%``, to a hundredth; outside of the drawing it stays near."""
    return f"{min(max(share, -1.0), 2.0) * 100:.2f}".rstrip("0").rstrip(".") + "%"


def drawing(label: str, classes: str, *children: Markup, height: int | None = None) -> Markup:
    """The outer SVG, told to screen readers as one image with `label`."""
    shape = {"class": f"chart {classes}", "role": "img", "aria-label": label}
    return h("svg", {**shape, "width": "100%", "height": height or 220}, *children)


def stretched(*paths: Markup) -> Markup:
    """Paths in units of `WIDTH` × `HEIGHT`, fitted to the drawing."""
    box = f"0 0 {WIDTH} {HEIGHT}"
    return h("svg", {"class": "plot", "viewBox": box, "preserveAspectRatio": "none"}, *paths)


def y_axis(axis: Axis, written: Format) -> tuple[str, Markup]:
    """The class that makes room for the labels, and the rules across with a label each."""
    labels = written.ticks(axis.places, axis.step)
    width = min(max([NARROW, *map(len, labels)]), WIDE)
    parts = []
    for tick, label in zip(axis.places, labels, strict=True):
        y = percent(1 - axis.at(tick))
        kind = "rule zero" if tick == 0 else "rule"
        parts.append(h("line", {"class": kind, "x1": "0", "x2": "100%", "y1": y, "y2": y}))
        place: dict[str, str | int] = {"class": "tick", "x": "0", "dx": -8, "y": y, "dy": 4}
        parts.append(h("text", {**place, "text-anchor": "end"}, shortened(label, WIDE)))
    return f"y{width}", _RULE(*parts)


def x_axis(labels: Sequence[along.Label], start: int = 0) -> Markup:
    """Labels under the drawing at their share of its width; of those that do not fit, that at `start` stays."""
    parts = []
    for (share, label), kind in along.shown(labels, start):
        place: dict[str, str | int] = {"class": kind, "x": percent(share), "y": "100%", "dy": 18}
        parts.append(h("text", {**place, "text-anchor": along.anchor(share)}, label))
    return h("g", {}, *parts)


def legend(entries: Iterable[tuple[int, str, str]]) -> Markup:
    """Colour, name and newest value of each series."""
    items = []
    for index, name, value in entries:
        swatch = h("i", {"class": f"swatch c{index % MOST_SERIES}"})
        items.append(h("li", {}, swatch, h("span", {"class": "name"}, name), h("b", {}, value) if value else None))
    return _LEGEND(*items) if items else EMPTY


def notes(lines: Iterable[str]) -> Markup:
    """What the drawing leaves out, said aloud."""
    return join(_NOTE(line) for line in lines)


def x_positions(column_kind: values.Kind, column: Sequence[object]) -> tuple[list[float | None], list[str]]:
    """A number for each value along x, and for text the names in their order of appearance."""
    if column_kind == "number":
        return values.numbers(column), []
    if column_kind == "time":
        return [values.moment(value) for value in column], []
    order: dict[str, int] = {}
    names = values.texts(column, longest=60)
    places: list[float | None] = [float(order.setdefault(name, len(order))) for name in names]
    return places, list(order)


def x_scale(
    column: Column, low: float, high: float, names: Sequence[str]
) -> tuple[Axis, Markup, Callable[[float], str]]:
    """The axis along x, its labels as they are drawn, and how a place on it is written in a tooltip."""
    if column.kind == "time":
        return _time_scale(low, high, values.zone_of(column.values))
    if column.kind == "number":
        names_things = column.names_things and all(type(value) in (int, type(None)) for value in column.values)
        axis = ticks.wholes(low, high) if names_things else ticks.within(low, high)
        written = Format("d") if names_things else Format()
        labels = written.ticks(axis.places, axis.step)
        return axis, x_axis([(axis.at(at), label) for at, label in zip(axis.places, labels, strict=True)]), written
    axis = Axis(low, high, 1, ()) if high > low else Axis(low - 1, high + 1, 1, ())
    every = max(1, -(-len(names) // 6))
    shown = [(axis.at(i), shortened(names[i], 16)) for i in range(0, len(names), every)]
    return axis, x_axis(shown), lambda at: names[int(at)]


def _time_scale(low: float, high: float, zone: tzinfo) -> tuple[Axis, Markup, Callable[[float], str]]:
    axis = ticks.moments(low, high, zone)
    if axis.places == (low,):
        labels, start = [_moment_text(low, zone)], 0
    else:
        labels, start = ticks.moment_labels(axis, zone)
    placed = [(axis.at(at), label) for at, label in zip(axis.places, labels, strict=True)]
    return axis, x_axis(placed, start), lambda at: _moment_text(at, zone)


def shortened(label: str, longest: int) -> str:
    """`label` in at most `longest` characters."""
    return label if len(label) <= longest else label[: max(1, longest - 1)].rstrip() + "…"


def _moment_text(seconds: float, zone: tzinfo) -> str:
    then = ticks.at_zone(round(seconds), zone)
    return values.clock_text(then) if then is not None else "—"
