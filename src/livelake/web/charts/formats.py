"""Numbers as people read them: three or so significant digits, thousands apart, a unit. Pure and total.

A `Decimal` is exact, and is written so, with all of its decimals; a timedelta is a duration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

from livelake.web.charts import values

MOST_OF_TICK = 18
"""Characters of a label on an axis; a unit that makes it longer is left out."""

_COMFORTABLE = 13  # characters of a label, beyond which a shorter notation is taken: 1,000,000,000 is still plain
NBSP = "\u00a0"
_BIG = 1e15
_SMALL = 1e-6
_MOST_DIGITS, _MOST_PLACES = 38, 18  # of an exact number: before the point, and after it
_SI = {-4: "p", -3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T", 5: "P", 6: "E"}
_BYTES = {0: "B", 1: "kB", 2: "MB", 3: "GB", 4: "TB", 5: "PB", 6: "EB"}


@dataclass(frozen=True, slots=True)
class Format:
    """How the numbers of one column are written; `decimals` fixes their places, for a column or an axis."""

    name: str | None = None
    unit: str | None = None
    decimals: int | None = None

    def __call__(self, value: object) -> str:
        """Any value; what is no finite number reads as `values.text` has it."""
        drawable = values.number(value)
        if drawable is None or isinstance(value, bool):
            return values.text(value)
        if self.name is None and isinstance(value, timedelta):
            return duration(drawable)
        return self._number(drawable, value)

    def aligned(self, column: Sequence[object], *, exact: bool = False) -> Format:
        """The same with one count of decimals for all of `column`; `exact` keeps more of them, for tables."""
        if self.name not in (None, "percent"):
            return self
        decimals = _common_scale(column) if exact else None
        if decimals is None:
            decimals = column_decimals(column, exact=exact and self.name is None)
        return replace(self, decimals=decimals)

    def ticks(self, places: Sequence[float], step: float) -> list[str]:
        """The labels of an axis, `step` apart: all in one notation, with no more digits than tell them apart."""
        written = [self._tick(place, step) for place in places]
        longest = max(map(len, written), default=0)
        if self.name in (None, "percent") and places:
            sizes = [abs(place) for place in places if place]
            short = [self._scientific(place, step) for place in places]
            if any(not _SMALL <= size < _BIG for size in sizes) or max(map(len, short)) < longest > _COMFORTABLE:
                written, longest = short, max(map(len, short))
        if self.unit and longest > MOST_OF_TICK:
            return replace(self, unit=None).ticks(places, step)
        return written

    def _scientific(self, value: float, step: float) -> str:
        digits = max(0, _exponent(value) - _exponent(step) + (f"{step:.1e}"[2] != "0"))
        mantissa, _, exponent = f"{value:.{min(digits, 16)}e}".partition("e")
        written = trimmed(mantissa) + (f"e{int(exponent)}" if int(exponent) else "")
        return f"{written}%" if self.name == "percent" else self._with_unit(written)

    def _tick(self, value: float, step: float) -> str:
        if value == 0 and self.name in ("bytes", "si", "duration"):
            return "0"
        if self.name in ("bytes", "si"):
            apart = _exponent(value) - _exponent(step)
            return self._with_unit(_scaled(value, self.name, min(max(apart + 2, 1), 9)))
        if self.name in (None, "percent"):
            return Format(self.name, self.unit, places(step))._number(value, value)
        return self._number(value, value)

    def _number(self, drawable: float, value: object) -> str:
        if self.name in ("bytes", "si"):
            return self._with_unit(_scaled(drawable, self.name, 3))
        if self.name == "duration":
            return duration(drawable)
        if self.name == "percent":
            return f"{self._plain(drawable, value)}%"
        if self.name is not None:
            return self._with_unit(_by_python(value, drawable, self.name))
        if self.decimals is None and isinstance(value, int):
            return self._with_unit(f"{value:,}")
        return self._with_unit(self._plain(drawable, value))

    def _plain(self, drawable: float, value: object) -> str:
        scale = _scale(value) if isinstance(value, Decimal) else None
        if scale is None:
            return plain(drawable, self.decimals)
        return _unsigned_zero(f"{value:,.{max(scale, self.decimals or 0)}f}")

    def _with_unit(self, written: str) -> str:
        if not self.unit:
            return written
        if self.name == "bytes" and self.unit in ("B/s", "bytes/s"):
            return f"{written}/s"
        return written + self.unit if self.unit[0] in "/%°" else f"{written}{NBSP}{self.unit}"


def plain(value: float, decimals: int | None = None) -> str:
    """``12,345``, ``3.14``, ``0.00512``; far from 1 as ``1.2e18``."""
    size = abs(value)
    if size >= _BIG or 0 < size < _SMALL:
        mantissa, exponent = f"{value:.3g}".split("e") if "e" in f"{value:.3g}" else (f"{value:.3g}", "")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    if decimals is not None:
        written = f"{value:,.{decimals}f}"
    elif size == 0 or size >= 1000:
        written = f"{value:,.0f}"
    else:
        written = trimmed(f"{value:.{max(0, 2 - _exponent(value))}f}")
    return _unsigned_zero(written)


def duration(seconds: float) -> str:
    """``12.5 ms``, ``3.2 s``, ``4 min 10 s``, ``2 h 5 min``, ``3 d 4 h``."""
    size = abs(seconds)
    sign = "-" if seconds < 0 else ""
    if size < 60:
        for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
            if size >= scale or (size == 0 and unit == "s"):
                return f"{sign}{plain(size / scale)}{NBSP}{unit}"
        return f"{sign}{plain(size * 1e9)}{NBSP}ns"
    for large, small, length, part in (("min", "s", 60, 1), ("h", "min", 3600, 60), ("d", "h", 86400, 3600)):
        if size < length * (60 if large == "min" else 24) or large == "d":
            whole, rest = divmod(round(size / part), length // part)
            if size >= _BIG:
                return f"{sign}{plain(size / length)}{NBSP}{large}"
            tail = f" {rest}{NBSP}{small}" if rest and whole < 1000 else ""
            return f"{sign}{whole:,}{NBSP}{large}{tail}"
    raise AssertionError("the last unit takes every size")


def places(step: float) -> int:
    """How many decimals tell multiples of `step` apart."""
    if step <= 0:
        return 0
    decimals = max(0, -_exponent(step))
    if abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:
        decimals += 1
    return min(decimals, 12)


def column_decimals(column: Sequence[object], *, exact: bool) -> int | None:
    """One count of decimals for a column of floats, so that their points stand in line; None for others."""
    # Exact numbers come here when they are too long to be written out.
    inexact = [values.number(value) for value in column if isinstance(value, float | Decimal)]
    sizes = [abs(value) for value in inexact if value is not None]
    if not sizes:
        return None
    largest = max(sizes)
    if largest >= _BIG or all(size == int(size) for size in sizes):
        return 0 if largest < _BIG else None
    if exact:
        return 2 if largest >= 1 else 4 if largest >= 0.01 else None
    return 0 if largest >= 1000 else 1 if largest >= 10 else 2 if largest >= 1 else 3 if largest >= 0.1 else None


def trimmed(written: str) -> str:
    """Without zeros after the point that say nothing."""
    return written.rstrip("0").rstrip(".") if "." in written else written


def _scale(value: Decimal) -> int | None:
    """The decimals of an exact number; None for one too long to be written out, and for what is no number."""
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or value.adjusted() >= _MOST_DIGITS or -exponent > _MOST_PLACES:
        return None
    return max(0, -exponent)


def _common_scale(column: Sequence[object]) -> int | None:
    """The most decimals of a column of exact numbers, which are those of its type; None for other columns."""
    scales = [_scale(value) if isinstance(value, Decimal) else None for value in column if value is not None]
    known = [scale for scale in scales if scale is not None]
    return max(known) if known and len(known) == len(scales) else None


def _unsigned_zero(written: str) -> str:
    return written[1:] if written.startswith("-") and not written.strip("-0.,") else written


def _exponent(value: float) -> int:
    return 0 if value == 0 else int(f"{value:e}".partition("e")[2])


def _scaled(value: float, name: str, digits: int) -> str:
    prefixes = _BYTES if name == "bytes" else _SI
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    group = min(max(int(exponent) // 3, min(prefixes)), max(prefixes))
    if value == 0:
        group = 0
    shift = int(exponent) - 3 * group
    gap = NBSP if name == "bytes" else ""
    if not -4 < shift < 9:
        return f"{trimmed(mantissa)}e{int(exponent)}{gap}{prefixes[0]}"
    written = trimmed(f"{float(mantissa) * 10.0**shift:,.{max(0, digits - 1 - shift)}f}")
    return f"{written}{gap}{prefixes[group]}"


def _by_python(value: object, drawable: float, spec: str) -> str:
    if spec.endswith("d"):
        exact = value if isinstance(value, int) else round(drawable)
        return plain(drawable) if abs(drawable) >= 1e30 else format(exact, spec)
    if abs(drawable) >= 1e30 and spec[-1:] in ("f", "%", ""):
        return plain(drawable)
    return format(value if isinstance(value, int | Decimal) else drawable, spec)
