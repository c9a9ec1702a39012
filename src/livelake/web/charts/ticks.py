"""Round places on an axis: multiples of 1, 2 or 5 for numbers, of calendar units for moments. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800]
_STEPS += [_HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY]
_MONTH_STEPS = (1, 3, 6)
_MOST = 12


@dataclass(frozen=True, slots=True)
class Axis:
    """A domain and its labelled places; `at` tells where a value lies, from 0 at `low` to 1 at `high`."""

    low: float
    high: float
    step: float
    places: tuple[float, ...]

    def at(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


def numbers(low: float, high: float, *, count: int = 4) -> Axis:
    """The smallest round domain around `low` … `high`, with about `count` steps. Needs |values| < 1e300."""
    if high - low <= max(abs(low), abs(high)) * 1e-12 or high - low < 1e-290:
        wide = max(abs(low), abs(high))
        pad = wide * 0.5 if wide > 1e-280 else 0.5
        low, high = (low - pad, high + pad) if wide > 1e-280 else (0.0, 1.0)
    step = _round_step((high - low) / count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(index * step for index in range(first, min(last, first + _MOST) + 1))
    return Axis(ticks[0], max(ticks[-1], high), step, ticks)


def within(low: float, high: float, *, count: int = 6) -> Axis:
    """The domain as it is, with the round numbers that lie inside it."""
    if high - low <= max(abs(low), abs(high)) * 1e-12 or high - low < 1e-290:
        return numbers(low, high, count=2)
    step = _round_step((high - low) / count)
    first = math.ceil(low / step - 1e-9)
    return Axis(low, high, step, tuple(i * step for i in range(first, first + _MOST) if i * step <= high))


def wholes(low: float, high: float) -> Axis:
    """Whole numbers alone, such as years; a single one stands in the middle."""
    if high - low < 1:
        low, high = low - 1, high + 1
    axis = within(low, high)
    return replace(axis, places=tuple(place for place in axis.places if place == round(place)))


def moments(low: float, high: float, zone: tzinfo, *, count: int = 6) -> Axis:
    """Seconds since 1970, with ticks on round clock or calendar times of `zone`, or on the only one."""
    if high - low < 1e-3:
        return Axis(low - 30, low + 30, 1, (low,))
    rough = (high - low) / count
    if rough < 0.5:
        return within(low, high, count=count)
    step = next((step for step in _STEPS if step >= rough), None)
    if step is None:
        return _calendar(low, high, zone, rough)
    offset = _offset(low, zone)
    # Days count from a Monday, so that weeks begin on one.
    origin = 4 * _DAY if step >= 7 * _DAY else 0
    first = math.ceil((low + offset - origin) / step) * step - offset + origin
    places = tuple(first + index * step for index in range(_MOST) if first + index * step <= high)
    return Axis(low, high, step, places)


def moment_label(seconds: float, step: float, zone: tzinfo) -> str:
    """What a tick says: as much of the date or clock as changes from one to the next."""
    then = at_zone(seconds, zone)
    if then is None:
        return "—"
    if step < 1:
        return f"{then:%H:%M:%S}.{then.microsecond // 1000:03}"
    if step < _DAY and (then.hour, then.minute, then.second) != (0, 0, 0):
        return f"{then:%H:%M:%S}" if step < _MINUTE else f"{then:%H:%M}"
    if step < 28 * _DAY:
        return f"{then:%b} {then.day}"
    return f"{then:%b}" if step < 365 * _DAY and then.month != 1 else f"{then.year}"


def moment_labels(axis: Axis, zone: tzinfo) -> tuple[list[str], int]:
    """The ticks' labels, and which of them tells the day or year that the others leave out: hide that last."""
    labels = [moment_label(at, axis.step, zone) for at in axis.places]
    if not labels or not 1 <= axis.step < 365 * _DAY or _DAY <= axis.step < 28 * _DAY:
        return labels, 0
    moments = [at_zone(at, zone) for at in axis.places]
    if axis.step < _DAY:
        days = [index for index, then in enumerate(moments) if then and (then.hour, then.minute) == (0, 0)]
        return labels, days[0] if days else 0
    years = [index for index, then in enumerate(moments) if then and then.month == 1]
    if not years:
        labels[0] = full_label(axis.places[0], axis.step, zone)
    return labels, years[0] if years else 0


def full_label(seconds: float, step: float, zone: tzinfo) -> str:
    """A moment as it reads without its neighbours: the month with its year, the clock with its day."""
    then = at_zone(seconds, zone)
    if then is None:
        return "—"
    if step < _DAY:
        clock = f"{then:%H:%M:%S}" if step < _MINUTE else f"{then:%H:%M}"
        return f"{then:%b} {then.day} {clock}"
    if step < 28 * _DAY:
        return f"{then:%b} {then.day}, {then.year}"
    return f"{then:%b} {then.year}" if step < 365 * _DAY else f"{then.year}"


def at_zone(seconds: float, zone: tzinfo) -> datetime | None:
    """The moment in `zone`; None outside the years that datetime knows."""
    try:
        return datetime.fromtimestamp(seconds, zone)
    except (OverflowError, ValueError, OSError):
        return None


def _round_step(rough: float) -> float:
    """The nearest of 1, 2, 5 and 10 times a power of ten; 25, 250, … too, but not 2.5: half a thing is odd."""
    power = 10.0 ** math.floor(math.log10(rough))
    factors = (1, 2, 2.5, 5, 10) if power >= 10 else (1, 2, 5, 10)
    return power * min(factors, key=lambda factor: abs(math.log(factor * (power / rough))))


def _offset(seconds: float, zone: tzinfo) -> float:
    then = at_zone(seconds, zone)
    offset = then.utcoffset() if then is not None else None
    return (offset or timedelta()).total_seconds()


def _calendar(low: float, high: float, zone: tzinfo, rough: float) -> Axis:
    months = next((m for m in _MONTH_STEPS if m * 30 * _DAY >= rough), None)
    if months is None:
        months = 12 * max(1, round(_round_step(rough / (365.25 * _DAY))))
    start = at_zone(low, zone)
    index = ((start.year * 12 + start.month - 1) // months + 1) * months if start else 12
    places: list[float] = []
    while len(places) < _MOST and 12 <= index < 12 * 9999:
        then = datetime(index // 12, index % 12 + 1, 1, tzinfo=zone).timestamp()
        if then > high:
            break
        places.append(then)
        index += months
    return Axis(low, high, months * 30.44 * _DAY, tuple(places))
