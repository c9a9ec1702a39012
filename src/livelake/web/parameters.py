"""Typed parameters of queries: from the text of a URL to a value that DuckDB binds, strictly. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal, TypeAlias

from livelake.errors import ParameterError
from livelake.web.words import listed

Value: TypeAlias = int | float | str | bool | date | datetime
"""What a parameter becomes; DuckDB binds each as it is."""

ParameterType: TypeAlias = Literal["integer", "number", "string", "boolean", "date", "timestamp", "choice"]

LONGEST_TEXT = 1_000
"""Characters of a string parameter that states no ``max``: it becomes part of a cache key."""
INT64 = (-(2**63), 2**63 - 1)


FORMS: dict[str, tuple[re.Pattern[str], str]] = {
    "integer": (re.compile(r"[+-]?[0-9]{1,40}"), "a whole number, such as 42"),
    "number": (re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"), "a number, such as 2.5"),
    "boolean": (re.compile(r"true|false"), "true or false"),
    "date": (re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"), "a date, such as 2024-01-15"),
    "timestamp": (
        re.compile(
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
            r"(Z|[+-][0-9]{2}:[0-9]{2})?"
        ),
        "a moment, such as 2024-01-15T12:30:00Z",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One typed parameter of a query; without a default it must be given.

    ``min`` and ``max`` are inclusive. For a string they bound its length. An integer is bounded by 64 bits
    unless they say less. A timestamp without an offset is a wall-clock time in the session's zone.
    """

    name: str
    type: ParameterType
    default: Value | None = None
    min: Value | None = None
    max: Value | None = None
    choices: tuple[str | int, ...] = ()
    title: str = ""

    @property
    def required(self) -> bool:
        return self.default is None

    def parse(self, text: str) -> Value:
        """The value that ``text`` spells, strictly: no blanks, no guessing. Raises `ParameterError`."""
        if self.type == "choice":
            for choice in self.choices:
                if text == str(choice):
                    return choice
            raise self._refuse(text, f"it must be {wanted(self)}")
        if self.type == "string":
            value: Value = text
        else:
            form, what = FORMS[self.type]
            if form.fullmatch(text) is None:
                raise self._refuse(text, f"it must be {what}")
            try:
                value = READERS[self.type](text)
            except ValueError as error:  # the form is right, and there is no such day or hour
                raise self._refuse(text, f"it must be {what} ({error})") from error
        if reason := self.out_of_bounds(value):
            raise self._refuse(text, reason)
        return value

    def out_of_bounds(self, value: Value) -> str | None:
        """Why a value of the right type is not allowed, or None."""
        measured = measure(value)
        if isinstance(measured, float) and not math.isfinite(measured):
            return "it must be finite"
        what = "it must have {} {} characters" if self.type == "string" else "it must be {} {}"
        if self.min is not None and measured < measure(self.min):
            return what.format("at least", shown(self.min))
        if self.max is not None and measured > measure(self.max):
            return what.format("at most", shown(self.max))
        return None

    def _refuse(self, text: str, reason: str) -> ParameterError:
        asked = text if len(text) <= 60 else text[:60] + "…"
        return ParameterError(f"parameter {self.name!r}: {asked!r} was given; {reason}")


def in_utc(moment: datetime) -> datetime:
    try:
        return moment if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the year is out of range") from error


def measure(value: Value) -> Any:
    """What bounds compare: a string by its length, a moment in UTC (one without a zone as if it were)."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return len(value) if isinstance(value, str) else value


READERS: dict[str, Callable[[str], Value]] = {
    "integer": int,
    "number": float,
    "boolean": lambda text: text == "true",
    "date": date.fromisoformat,
    "timestamp": lambda text: in_utc(datetime.fromisoformat(text)),
}


def wanted(parameter: Parameter) -> str:
    if parameter.type == "choice":
        return f"one of {listed(map(str, parameter.choices))}"
    return FORMS[parameter.type][1]


def shown(value: Value) -> str:
    return value.isoformat() if isinstance(value, date) else repr(value) if isinstance(value, str) else str(value)
