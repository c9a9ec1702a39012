"""Typed parameters of queries: from the text of a URL to a value that DuckDB binds, strictly. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any, Literal, TypeAlias

from livelake.errors import ForbiddenError, ParameterError
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
    unless they say less. Numbers may be held to steps from ``min``, or from 0 where there is none. A timestamp
    without an offset is a wall-clock time in the session's zone.

    ``source`` is SQL whose rows a page offers: values in the first column, and what they are called in the
    second, if there is one. They are offered, not enforced: data moves, and a link that was shared stays right.
    One with a ``claim`` is never given: it is what is said of who asks.
    """

    name: str
    type: ParameterType
    default: Value | None = None
    min: Value | None = None
    max: Value | None = None
    step: int | float | None = None
    choices: tuple[str | int, ...] = ()
    source: str = ""
    title: str = ""
    claim: str | None = None

    @property
    def required(self) -> bool:
        return self.default is None

    @property
    def is_text(self) -> bool:
        """Whether its value is a text: strings, and what is chosen from the rows of a query."""
        return self.type == "string" or (self.type == "choice" and not self.choices)

    def parse(self, text: str) -> Value:
        """The value that ``text`` spells, strictly: no blanks, no guessing. Raises `ParameterError`."""
        if self.choices:
            for choice in self.choices:
                if text == str(choice):
                    return choice
            raise self._refuse(text, f"it must be {wanted(self)}")
        if self.is_text:
            if "\0" in text:  # DuckLake writes values into SQL of its own, and that ends there
                raise self._refuse(text, "it must not hold a NUL character")
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

    def claimed(self, claims: Mapping[str, str] | None) -> Value:
        """The value that is said of who asks; ``claims`` is None where nobody is asked. Raises `ForbiddenError`."""
        assert self.claim is not None
        if claims is None:
            raise ForbiddenError(
                f"this depends on who asks, by the claim {self.claim!r}, and nobody is asked here; start the server"
                f" with --tokens FILE and a line `read TOKEN {self.claim}=…`"
            )
        if self.claim not in claims:
            raise ForbiddenError(
                f"this depends on who asks, by the claim {self.claim!r}, and your token has none;"
                " ask for a token that has it"
            )
        try:
            return self.parse(claims[self.claim])
        except ParameterError as error:
            raise ForbiddenError(
                f"this depends on who asks, by the claim {self.claim!r}, and that of your token does not fit: {error}"
            ) from error

    def out_of_bounds(self, value: Value) -> str | None:
        """Why a value of the right type is not allowed, or None."""
        measured = measure(value)
        if isinstance(measured, float) and not math.isfinite(measured):
            return "it must be finite"
        what = "it must have {} {} characters" if self.is_text else "it must be {} {}"
        if self.min is not None and measured < measure(self.min):
            return what.format("at least", shown(self.min))
        if self.max is not None and measured > measure(self.max):
            return what.format("at most", shown(self.max))
        if self.step is not None and not self._is_on_step(measured):
            return (
                f"it must be {'' if self.low is None else f'{shown(self.low)} plus '}a multiple of {shown(self.step)}"
            )
        return None

    @property
    def low(self) -> Value | None:
        """``min``, unless it is merely the least that 64 bits hold; `high` likewise."""
        return None if self.min == INT64[0] else self.min

    @property
    def high(self) -> Value | None:
        return None if self.max == INT64[1] else self.max

    def _is_on_step(self, value: int | float) -> bool:
        # By their decimal digits, as browsers do: 0.3 is three steps of 0.1, which no two floats are.
        base = Fraction(0 if self.low is None else repr(self.low))
        return (Fraction(repr(value)) - base) % Fraction(repr(self.step)) == 0

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
    if parameter.choices:
        return f"one of {listed(map(str, parameter.choices))}"
    return "a text" if parameter.is_text else FORMS[parameter.type][1]


def shown(value: Value) -> str:
    return value.isoformat() if isinstance(value, date) else repr(value) if isinstance(value, str) else str(value)


def spelled(value: Value) -> str:
    """A value as `Parameter.parse` reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return value.isoformat() if isinstance(value, date) else str(value)
