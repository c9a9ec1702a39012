"""Python values as SQL literals of the type that DuckDB gives to a parameter of that value.

For planning only: what runs is always bound. A plan with literals in place of parameters names the same tables,
which a plan with NULLs in their place does not: DuckDB folds ``NULL + (SELECT count(*) FROM t)`` at once, and ``t``
is gone from the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from livelake.engine.quote import literal


def value_literal(value: Any) -> str | None:
    """The literal, or None for a value of a kind that has none."""
    if isinstance(value, list | tuple):
        return _joined("[", [value_literal(item) for item in value], "]")
    if isinstance(value, Mapping):
        pairs = [(literal(str(key)), value_literal(item)) for key, item in value.items()]
        return _joined("{", [item and f"{key}: {item}" for key, item in pairs], "}")
    return next((form(value) for kind, form in _FORMS if isinstance(value, kind)), None)


# The first kind that fits: a bool is an int, a datetime a date.
_FORMS: tuple[tuple[type, Callable[[Any], str | None]], ...] = (
    (type(None), lambda _: "NULL"),
    (bool, lambda v: "TRUE" if v else "FALSE"),
    (int, str),
    (float, lambda v: f"{literal(repr(v))}::DOUBLE"),
    (Decimal, lambda v: f"{v:f}" if v.is_finite() else None),
    (str, lambda v: None if "\0" in v else literal(v)),
    (bytes, lambda v: "'" + "".join(f"\\x{byte:02X}" for byte in v) + "'::BLOB"),
    # Not the value's own `isoformat`: an infinite date is bound as the day that it is to Python.
    (datetime, lambda v: f"{literal(datetime.isoformat(v, ' '))}::{'TIMESTAMPTZ' if v.tzinfo else 'TIMESTAMP'}"),
    (date, lambda v: f"{literal(date.isoformat(v))}::DATE"),
    (time, lambda v: f"{literal(v.isoformat())}::TIME"),
    (timedelta, lambda v: f"to_days({v.days}) + to_microseconds({v.seconds * 10**6 + v.microseconds})"),
    (UUID, lambda v: f"{literal(str(v))}::UUID"),
)


def _joined(opening: str, parts: list[str | None], closing: str) -> str | None:
    known = [part for part in parts if part is not None]
    return opening + ", ".join(known) + closing if len(known) == len(parts) else None
