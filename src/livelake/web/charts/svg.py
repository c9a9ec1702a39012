"""The parts that every drawing shares: the responsive SVG, its axes, its legend and its notes.

A drawing is as wide and as high as its panel, and its text keeps its size: places are percentages of an SVG
without a viewBox, margins are CSS padding (class ``y4`` leaves room for labels of four characters), and only
the paths lie in a nested viewBox of `WIDTH` × `HEIGHT` that is stretched to fit, with strokes that are not.
Colours are CSS classes ``c0`` … ``c15`` that set ``color``; shapes are drawn in ``currentColor``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo

from livelake.web.charts import ticks, values
from livelake.web.charts.formats import Format
from livelake.web.charts.ticks import Axis
from livelake.web.html import EMPTY, Element, Markup, h, join

WIDTH, HEIGHT = 2000, 1000
MOST_SERIES = 16
NARROW, WIDE = 4, 10  # characters of an axis label that CSS leaves room for

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
    labels = [written.tick(tick, axis.step) for tick in axis.places]
    width = min(max([NARROW, *map(len, labels)]), WIDE)
    parts = []
    for tick, label in zip(axis.places, labels, strict=True):
        y = percent(1 - axis.at(tick))
        kind = "rule zero" if tick == 0 else "rule"
        parts.append(h("line", {"class": kind, "x1": "0", "x2": "100%", "y1": y, "y2": y}))
        shown = label if len(label) <= WIDE else label[: WIDE - 1] + "…"
        parts.append(h("text", {"class": "tick", "x": "0", "dx": -8, "y": y, "dy": 4, "text-anchor": "end"}, shown))
    return f"y{width}", _RULE(*parts)


def x_axis(labels: Sequence[tuple[float, str]]) -> Markup:
    """Labels under the drawing at their share of its width; CSS drops every other one where it is narrow."""
    parts = []
    for index, (share, label) in enumerate(labels):
        anchor = "start" if share < 0.03 else "end" if share > 0.97 else "middle"
        kind = "tick alt" if index % 2 else "tick"
        place: dict[str, str | int] = {"class": kind, "x": percent(share), "y": "100%", "dy": 18}
        parts.append(h("text", {**place, "text-anchor": anchor}, label))
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
    kind: values.Kind, low: float, high: float, names: Sequence[str], zone: tzinfo
) -> tuple[Axis, list[tuple[float, str]], Callable[[float], str]]:
    """The axis along x, its labels, and how a place on it is written in a tooltip."""
    if kind == "time":
        axis = ticks.moments(low, high, zone)
        shown = [(axis.at(at), ticks.moment_label(at, axis.step, zone)) for at in axis.places]
        return axis, shown, lambda at: _moment_text(at, zone)
    if kind == "number":
        axis = ticks.within(low, high)
        plain = Format()
        return axis, [(axis.at(at), plain.tick(at, axis.step)) for at in axis.places], plain
    axis = Axis(low, high, 1, ()) if high > low else Axis(low - 1, high + 1, 1, ())
    every = max(1, -(-len(names) // 6))
    shown = [(axis.at(i), shortened(names[i], 16)) for i in range(0, len(names), every)]
    return axis, shown, lambda at: names[int(at)]


def shortened(label: str, longest: int) -> str:
    """`label` in at most `longest` characters."""
    return label if len(label) <= longest else label[: max(1, longest - 1)].rstrip() + "…"


def _moment_text(seconds: float, zone: tzinfo) -> str:
    then = ticks.at_zone(round(seconds), zone)
    return values.clock_text(then) if then is not None else "—"
