"""Bars: lying when the names are on `y`, else standing; parts of one bar are stacked by colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from livelake.web.charts import labels, svg, ticks, values
from livelake.web.charts.data import Channels, Table, channels, format_of
from livelake.web.charts.formats import Format
from livelake.web.charts.lines import natural
from livelake.web.charts.spec import ChartSpec
from livelake.web.charts.ticks import Axis
from livelake.web.html import EMPTY, Attribute, Markup, h, join

MOST_LYING, MOST_STANDING = 50, 200
ROW = 30  # pixels from one lying bar to the next


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a bar: the colour, the name of its series, its value, and where it begins and ends."""

    color: int
    name: str
    value: float
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar and its parts; `total` is their sum, or None when nothing of it can be drawn: `else_said` is its text."""

    name: str
    parts: list[Part]
    total: float | None
    else_said: str


def draw(spec: ChartSpec, table: Table) -> Markup:
    """A bar chart, at most `MOST_LYING` or `MOST_STANDING` bars of it."""
    used = channels(spec, table)
    names, colors = _names(used), _colors(used)
    bars = _bars(used, names, colors)
    written = format_of(spec, used.y, spec.unit).aligned([bar.total for bar in bars])
    most = MOST_LYING if used.is_horizontal else MOST_STANDING
    notes = [f"{most:,} of {len(bars):,} bars"] if len(bars) > most else []
    if len(colors) > svg.MOST_SERIES:
        notes.append(f"colours repeat after {svg.MOST_SERIES} of {len(colors):,} series")
    bars = bars[:most]
    if not used.is_horizontal:  # where no number stands beside the bar
        undrawn = [f"{bar.name}: {bar.else_said}" for bar in bars if bar.total is None and bar.else_said != "—"]
        notes += [f"Cannot be drawn: {', '.join(undrawn[:3])}{'…' if undrawn[3:] else ''}"] if undrawn else []
    label = _label(spec, used, bars, written)
    ends = [end for bar in bars for part in bar.parts for end in (part.start, part.end)] or [0.0]
    low, high = min(0.0, *ends), max(0.0, *ends)
    low = low if spec.min is None else min(low, spec.min)
    high = high if spec.max is None else max(high, spec.max)
    picture = (_lying if used.is_horizontal else _standing)(bars, low, high, label, written)
    key = [(index, name, "") for name, index in list(colors.items())[: svg.MOST_SERIES]] if used.color else []
    return join([svg.legend(key), picture, svg.notes(notes)])


def _names(used: Channels) -> list[str]:
    if used.x.kind != "time":
        return values.texts(used.x.values, longest=120)
    moments = [values.moment(value) for value in used.x.values]
    zone = values.zone_of(used.x.values)
    known = [at for at in moments if at is not None]
    step = ticks.moments(min(known), max(known), zone, count=max(2, len(known))).step if known else 1.0
    # Longer than a day, each clock time needs its day; longer than most of a year, each day or month its year.
    is_long = bool(known) and max(known) - min(known) >= (86_400 if step < 86_400 else 330 * 86_400)
    write = ticks.full_label if is_long else ticks.moment_label
    return [write(at, step, zone) if at is not None else "—" for at in moments]


def _colors(used: Channels) -> dict[str, int]:
    if used.color is None:
        return {used.y.name: 0}
    found = {values.text(value, longest=60) for value in used.color.values}
    return {name: index for index, name in enumerate(sorted(found, key=natural))}


def _bars(used: Channels, names: Sequence[str], colors: dict[str, int]) -> list[Bar]:
    """Bars in the order of the rows. Positive parts pile up from zero, negative ones hang down from it."""
    piles: dict[str, tuple[str, dict[str, float]]] = {}
    beyond: dict[str, str] = {}  # what is there and is no number of a size that can be drawn
    for index, (key, value) in enumerate(zip(used.x.values, used.y.values, strict=True)):
        # Two days of different months may share a label: bars are told apart by value, not by label.
        place = values.text(key, longest=120)
        _, pile = piles.setdefault(place, (names[index], {}))
        amount = values.number(value)
        if amount is not None:
            series = values.text(used.color.values[index], longest=60) if used.color else used.y.name
            pile[series] = max(-1e300, min(1e300, pile.get(series, 0.0) + amount))
        elif value is not None:
            beyond.setdefault(place, values.text(value, longest=24))
    return [_bar(name, pile, colors, beyond.get(place, "—")) for place, (name, pile) in piles.items()]


def _bar(name: str, pile: dict[str, float], colors: dict[str, int], else_said: str) -> Bar:
    above = below = 0.0
    parts = []
    for series, amount in sorted(pile.items(), key=lambda item: colors[item[0]]):
        start = above if amount >= 0 else below
        end = max(-1e300, min(1e300, start + amount))
        above, below = (end, below) if amount >= 0 else (above, end)
        parts.append(Part(colors[series] % svg.MOST_SERIES, series, amount, start, end))
    return Bar(name, parts, max(-1e300, min(1e300, sum(pile.values()))) if pile else None, else_said)


def _lying(bars: Sequence[Bar], low: float, high: float, label: str, written: Format) -> Markup:
    """Each bar behind its name and value, so that long names and narrow screens need no margin."""
    axis = Axis(low, high, 1, ()) if high > low else Axis(low, low + 1, 1, ())
    parts: list[Markup] = []
    for index, bar in enumerate(bars):
        top = index * ROW
        told = written(bar.total) if bar.total is not None else bar.else_said
        shapes = [_lying_part(part, axis, top) for part in bar.parts]
        middle = top + ROW // 2
        name = h("text", {"class": "name", "x": 10, "y": "50%", "dy": 5}, bar.name)
        clip = h("svg", {"class": "clip", "x": "0", "y": top, "width": "70%", "height": ROW}, name)
        number = h(
            "text",
            {"class": "number", "x": "100%", "dx": -8, "y": middle, "dy": 5, "text-anchor": "end"},
            told,
        )
        tooltip = svg.title("\n".join([f"{bar.name}: {told}", *_breakdown(bar, written)]))
        parts.append(h("g", {"class": "row"}, tooltip, *shapes, clip, number))
    zero = svg.percent(axis.at(0.0))
    line = h("line", {"class": "zero", "x1": zero, "x2": zero, "y1": "0", "y2": "100%"}) if low < 0 else EMPTY
    return svg.drawing(label, "lying", *parts, line, height=max(1, len(bars)) * ROW)


def _lying_part(part: Part, axis: Axis, top: int) -> Markup:
    left, right = sorted((axis.at(part.start), axis.at(part.end)))
    shape: dict[str, Attribute] = {
        "x": svg.percent(left),
        "y": top + 2,
        "width": svg.percent(right - left),
        "height": ROW - 4,
        "rx": 5,
    }
    return h("rect", {"class": f"bar c{part.color}", **shape})


def _standing(bars: Sequence[Bar], low: float, high: float, label: str, written: Format) -> Markup:
    axis = ticks.numbers(low, high)
    room, rules = svg.y_axis(axis, written)
    slot = 1 / max(1, len(bars))
    parts = []
    for index, bar in enumerate(bars):
        left, wide = svg.percent((index + 0.14) * slot), svg.percent(slot * 0.72)
        for part in bar.parts:
            above = max(part.start, part.end)
            tall = svg.percent(abs(axis.at(part.end) - axis.at(part.start)))
            shape: dict[str, Attribute] = {
                "x": left,
                "width": wide,
                "y": svg.percent(1 - axis.at(above)),
                "height": tall,
                "rx": 2,
            }
            told = f"{bar.name}: {written(part.value)}" if len(bar.parts) == 1 else _told(bar, part, written)
            parts.append(h("rect", {"class": f"bar c{part.color}", **shape}, svg.title(told)))
    return svg.drawing(label, f"axes standing {room}", rules, svg.x_axis(_bar_labels(bars)), *parts)


def _bar_labels(bars: Sequence[Bar]) -> list[tuple[float, str]]:
    """As many names as fit a wide panel, none of them long."""
    named = [((index + 0.5) / len(bars), svg.shortened(bar.name, 14)) for index, bar in enumerate(bars)]
    return named[:: labels.spacing(named)]


def _breakdown(bar: Bar, written: Format) -> list[str]:
    return [f"{part.name}: {written(part.value)}" for part in bar.parts[:20]] if len(bar.parts) > 1 else []


def _told(bar: Bar, part: Part, written: Format) -> str:
    return f"{bar.name}, {part.name}: {written(part.value)}"


def _label(spec: ChartSpec, used: Channels, bars: Sequence[Bar], written: Format) -> str:
    subject = spec.title or used.y.name
    counted = [(bar.total, bar.name) for bar in bars if bar.total is not None]
    if not counted:
        return f"{subject}: bar chart without values"
    most, least = max(counted), min(counted)
    told = f"{subject}: bar chart of {len(bars):,} by {used.x.name}; highest {most[1]} {written(most[0])}"
    return told if len(counted) == 1 else f"{told}, lowest {least[1]} {written(least[0])}"
