"""Lines, areas (stacked or not), points and sparklines over a time, a number or an order of names."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

from livelake.web.charts import svg, ticks, values
from livelake.web.charts.data import Channels, Column, Table, channels, format_of
from livelake.web.charts.formats import Format
from livelake.web.charts.spec import ChartSpec
from livelake.web.charts.ticks import Axis
from livelake.web.html import Attribute, Markup, h, join

MOST_POINTS = 600  # of one series; more are thinned to the lowest and highest of each stretch
MOST_DOTS = 500
MOST_BANDS = 24  # stretches that answer to the pointer with a tooltip

Point = tuple[float, float | None]


@dataclass(frozen=True, slots=True)
class Series:
    """A name and its points, ordered along x; a y of None is a gap."""

    name: str
    points: list[Point]

    @property
    def last(self) -> float | None:
        return next((y for _, y in reversed(self.points) if y is not None), None)


def draw(spec: ChartSpec, table: Table) -> Markup:
    """A line, area or point chart with axes, a legend for several series, and notes."""
    used = channels(spec, table)
    places, names = svg.x_positions(used.x.kind, used.x.values)
    series, notes = _series(used, places)
    written = format_of(spec, used.y, spec.unit)
    drawn = [place for one in series for place, y in one.points if y is not None]
    if not drawn:
        return svg.notes([f"Nothing to draw: {used.y.name} holds no numbers", *notes])
    # Dots need room to their sides; a line may touch the edge.
    aside = (max(drawn) - min(drawn)) * 0.03 if spec.mark == "point" else 0.0
    ends = min(drawn) - aside, max(drawn) + aside
    x, labels, place_text = svg.x_scale(used.x, *ends, names)
    spans = _stacked(series) if spec.stack and spec.mark == "area" else None
    heights = [y for one in series for _, y in one.points if y is not None]
    if spans:
        heights = [y for span in spans for _, below, above in span for y in (below, above)]
    y = _y_axis(spec, heights)
    room, rules = svg.y_axis(y, written)
    if spec.mark == "point":
        shapes, dropped = _dots(series, x, y, place_text, written)
        notes += dropped
    elif spans:
        shapes = svg.stretched(*[part for index, span in enumerate(spans) for part in _band(index, span, x, y)])
    else:
        shapes = svg.stretched(*_paths(series, x, y, is_area=spec.mark == "area"))
    hover = join([]) if spec.mark == "point" else _hover(series, x, place_text, written)
    picture = svg.drawing(_label(spec, used, series, written), f"axes {room}", rules, labels, shapes, hover)
    told = written.aligned([one.last for one in series])
    key = [(index, one.name, told(one.last)) for index, one in enumerate(series)] if used.color else []
    return join([svg.legend(key), picture, svg.notes(notes)])


def sparkline(label: str, numbers: Sequence[float | None]) -> Markup:
    """A small line without axes, its last value dotted."""
    drawn = [y for y in numbers if y is not None]
    if not drawn:
        return svg.notes(["Nothing to draw yet"])
    x = Axis(0, max(1, len(numbers) - 1), 1, ())
    low, high = min(drawn), max(drawn)
    pad = (high - low) * 0.08
    y = Axis(low - pad, high + pad, 1, ()) if pad > 1e-290 else Axis(low - 1, low + 1, 1, ())
    if y.high == y.low:  # so large that 1 makes no difference
        y = ticks.numbers(low, high)
    series = Series(label, [(float(index), value) for index, value in enumerate(numbers)])
    last = max(index for index, value in enumerate(numbers) if value is not None)
    end: dict[str, Attribute] = {
        "cx": svg.percent(x.at(last)),
        "cy": svg.percent(1 - y.at(numbers[last] or 0.0)),
        "r": 3,
    }
    shapes = svg.stretched(*_paths([series], x, y, is_area=True))
    return svg.drawing(label, "spark", shapes, h("circle", {"class": "end c0", **end}), height=56)


def draw_sparkline(spec: ChartSpec, table: Table) -> Markup:
    """The quantity of the rows in their order along x, else as they come."""
    y = table[spec.y] if spec.y else table.first("number", but=(spec.x,))
    numbers = values.numbers(y.values)
    if spec.x:
        places, _ = svg.x_positions(table[spec.x].kind, table[spec.x].values)
        order = sorted((place, index) for index, place in enumerate(places) if place is not None)
        numbers = [numbers[index] for _, index in order]
    written = format_of(spec, y, spec.unit)
    last = next((value for value in reversed(numbers) if value is not None), None)
    return sparkline(f"{spec.title or y.name}: {written(last)}", numbers)


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key that puts ``core 2`` before ``core 10``."""
    parts = re.split(r"([0-9]{1,18})", name, maxsplit=20)
    return [(0, int(part), "") if index % 2 else (1, 0, part) for index, part in enumerate(parts)]


def _series(used: Channels, places: Sequence[float | None]) -> tuple[list[Series], list[str]]:
    """The points by colour, each series in order of x, and what was left out."""
    heights = values.numbers(used.y.values)
    names = values.texts(used.color.values, longest=60) if used.color else [used.y.name] * len(heights)
    grouped: dict[str, list[Point]] = {name: [] for name in names}
    unplaced = 0
    for name, place, height in zip(names, places, heights, strict=True):
        if place is None:
            unplaced += 1
        else:
            grouped[name].append((place, height))
    if used.x.kind != "text":
        for points in grouped.values():
            points.sort(key=itemgetter(0))
    order = sorted((name for name, points in grouped.items() if points), key=natural)
    notes = [f"{unplaced:,} rows have no place on the axis"] if unplaced else []
    if len(order) > svg.MOST_SERIES:
        notes.append(f"{svg.MOST_SERIES} of {len(order):,} series")
    return [Series(name, grouped[name]) for name in order[: svg.MOST_SERIES]], notes


def _y_axis(spec: ChartSpec, heights: Sequence[float]) -> Axis:
    low, high = min(heights), max(heights)
    # From zero, unless that would flatten what varies little far away from it.
    if spec.mark == "area" or (low > 0 and high - low > high * 0.2) or (high < 0 and high - low > -low * 0.2):
        low, high = min(low, 0.0), max(high, 0.0)
    low = low if spec.min is None else min(low, spec.min)
    high = high if spec.max is None else max(high, spec.max)
    return ticks.numbers(low, high)


def _paths(series: Sequence[Series], x: Axis, y: Axis, *, is_area: bool) -> list[Markup]:
    base = round(svg.HEIGHT * (1 - y.at(min(max(0.0, y.low), y.high))))
    parts = []
    for index, one in enumerate(series):
        runs = _runs(_thinned(one.points), x, y)
        if is_area:
            closed = "".join([f"M{run[0][0]},{base}L{_joined(run)}L{run[-1][0]},{base}Z" for run in runs])
            parts.append(h("path", {"class": f"area c{index}", "d": closed}))
        line = "".join([f"M{_joined(run)}" for run in runs if len(run) > 1])
        if line:
            parts.append(h("path", {"class": f"line c{index}", "d": line}))
        parts += _lone(index, [run[0] for run in runs if len(run) == 1])
    return parts


def _lone(index: int, points: Sequence[tuple[int, int]]) -> list[Markup]:
    """Points without neighbours: strokes of no length, whose round caps are dots."""
    if not points:
        return []
    return [h("path", {"class": f"lone c{index}", "d": "".join([f"M{across},{down}h0" for across, down in points])})]


def _joined(run: Sequence[tuple[int, int]]) -> str:
    return "L".join([f"{across},{down}" for across, down in run])


def _runs(points: Sequence[Point], x: Axis, y: Axis) -> list[list[tuple[int, int]]]:
    """Stretches without a gap, in units of the drawing."""
    wide, high = svg.WIDTH / (x.high - x.low), svg.HEIGHT / (y.high - y.low)
    left, top = x.low, y.high
    runs: list[list[tuple[int, int]]] = [[]]
    for place, value in points:
        if value is not None:
            runs[-1].append((round((place - left) * wide), round((top - value) * high)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _thinned(points: list[Point]) -> list[Point]:
    """At most about `MOST_POINTS`: of each stretch its lowest and its highest, so that no spike is lost."""
    if len(points) <= MOST_POINTS:
        return points
    stretch = -(-2 * len(points) // MOST_POINTS)
    kept: list[Point] = []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        solid = [(value, index) for index, (_, value) in enumerate(part) if value is not None]
        ends = sorted({min(solid)[1], max(solid)[1]}) if solid else [0]
        kept.extend(part[index] for index in ends)
    return kept


def _stacked(series: Sequence[Series]) -> list[list[tuple[float, float, float]]]:
    """For each series (x, below, above) over all x of all series; where it has no value it adds nothing."""
    everywhere = sorted({place for one in series for place, _ in one.points})
    if len(everywhere) > MOST_POINTS:
        everywhere = everywhere[:: -(-len(everywhere) // MOST_POINTS)]
    total = dict.fromkeys(everywhere, 0.0)
    spans = []
    for one in series:
        here = dict(one.points)
        span = []
        for place in everywhere:
            below = total[place]
            total[place] = max(-1e300, min(1e300, below + (here.get(place) or 0.0)))
            span.append((place, below, total[place]))
        spans.append(span)
    return spans


def _band(index: int, span: Sequence[tuple[float, float, float]], x: Axis, y: Axis) -> list[Markup]:
    above = _runs([(place, top) for place, _, top in span], x, y)[0]
    below = _runs([(place, bottom) for place, bottom, _ in reversed(span)], x, y)[0]
    band = h("path", {"class": f"area solid c{index}", "d": f"M{_joined(above)}L{_joined(below)}Z"})
    return [band, *_lone(index, above if len(above) == 1 else [])]


def _dots(
    series: Sequence[Series], x: Axis, y: Axis, place_text: Callable[[float], str], written: Format
) -> tuple[Markup, list[str]]:
    parts: list[Markup] = []
    total = sum(value is not None for one in series for _, value in one.points)
    every = -(-total // MOST_DOTS)
    for index, one in enumerate(series):
        group = []
        for place, value in one.points[::every]:
            if value is not None:
                at = {"cx": svg.percent(x.at(place)), "cy": svg.percent(1 - y.at(value)), "r": "3.5"}
                told = f"{one.name}\n{place_text(place)}: {written(value)}"
                group.append(h("circle", at, svg.title(told)))
        parts.append(h("g", {"class": f"dots c{index}"}, *group))
    shown = sum(part.count("<circle") for part in parts)
    return join(parts), [f"{shown:,} of {total:,} points"] if shown < total else []


def _hover(series: Sequence[Series], x: Axis, place_text: Callable[[float], str], written: Format) -> Markup:
    """Invisible bands that light up under the pointer; their tooltip has every series at that place."""
    places = sorted({place for one in series for place, _ in one.points})
    every = -(-len(places) // MOST_BANDS)
    chosen = places[every // 2 :: every] if every else []
    edges = [x.low, *[(left + right) / 2 for left, right in pairwise(chosen)], x.high]
    found = [_nearest(one, chosen) for one in series]
    parts = []
    for index, place in enumerate(chosen):
        told = [place_text(place)]
        for one, at in zip(series, found, strict=True):
            told.append(f"{one.name}: {written(at[index])}")
        left, right = x.at(edges[index]), x.at(edges[index + 1])
        shape = {
            "x": svg.percent(left),
            "width": svg.percent(max(0.0, right - left)),
            "y": "0",
            "height": "100%",
        }
        parts.append(h("rect", shape, svg.title("\n".join(told))))
    return h("g", {"class": "hover"}, *parts)


def _nearest(one: Series, chosen: Sequence[float]) -> list[float | None]:
    places = [place for place, _ in one.points]
    if len(places) > 1 and places[0] > places[-1]:
        here: Mapping[float, float | None] = dict(one.points)
        return [here.get(place) for place in chosen]
    return [one.points[min(bisect_left(places, place), len(places) - 1)][1] for place in chosen]


def _label(spec: ChartSpec, used: Channels, series: Sequence[Series], written: Format) -> str:
    told = ", ".join(f"{one.name} {written(one.last)}" for one in series)
    subject: Column = used.y
    return f"{spec.title or subject.name}: {spec.mark} chart over {used.x.name}, newest {told}"
