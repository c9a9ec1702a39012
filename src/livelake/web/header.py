"""TOML with places: what a header or a settings file says, and on which line it says so.

Every complaint is a `ConfigError` with file and line. Pure.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, cast

from livelake.errors import ConfigError
from livelake.web.parameters import FORMS, READERS, Value, in_utc
from livelake.web.words import listed, suggest


class Header:
    """TOML and where it stands. The text begins on line 1 of its file, behind ``/*---`` at most."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self._text = text.replace("\r\n", "\n")
        try:
            self.data: dict[str, Any] = tomllib.loads(self._text)
        except (ValueError, RecursionError) as error:  # ValueError: also integers beyond Python's limit
            said = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "too deep or too long"
            place = re.search(r"\(at line (\d+), column \d+\)$", said)
            last = self._text.rstrip("\n").count("\n") + 1
            line = int(place[1]) if place else last if said.endswith("(at end of document)") else 1
            raise ConfigError(f"not TOML: {said}", file=file, line=line) from error

    @cached_property
    def _lines(self) -> list[str]:
        return [line + "\n" for line in self._text.split("\n")]

    def line(self, *path: str) -> int:
        """The line on which the statement that gave ``path`` begins.

        `tomllib` keeps no places, but says which beginnings of a text are TOML: the first one that knows
        the path ends with its statement, and the longest one before it ends just above. Costs a parse a
        line, and is asked for only by errors.
        """
        above = 0
        for end in range(len(self._lines) + 1):
            try:
                data: Any = tomllib.loads("".join(self._lines[:end]))
            except (ValueError, RecursionError):
                continue
            for key in path:
                data = data.get(key) if isinstance(data, dict) else None
            if data is not None:
                return above + 1
            above = end
        return 1

    def fail(self, message: str, *path: str) -> NoReturn:
        raise ConfigError(message, file=self.file, line=self.line(*path))

    def only(self, *known: str, within: tuple[str, ...] = ()) -> None:
        """Refuses keys that nobody reads: a misspelt setting must not be silently ignored."""
        for key in self.table(*within):
            if key not in known:
                where = ".".join([*within, key])
                self.fail(f"unknown key {where!r}{suggest(key, known)}; known: {listed(known)}", *within, key)

    def table(self, *path: str) -> dict[str, Any]:
        found = self._get(path, {})
        if not isinstance(found, dict):
            self.fail(f"{'.'.join(path)} must be a table {{ … }}, not {kind_of(found)}", *path)
        return found

    def text(self, *path: str) -> str:
        found = self._get(path, "")
        if not isinstance(found, str):
            self.fail(f"{'.'.join(path)} must be a text in quotes, not {kind_of(found)}", *path)
        return found

    def texts(self, *path: str) -> tuple[str, ...]:
        found = self._get(path, [])
        if not isinstance(found, list) or not all(isinstance(item, str) and item for item in found):
            self.fail(f'{".".join(path)} must be a list of texts, such as ["a", "b"]', *path)
        return tuple(found)

    def whole(self, key: str, low: int, high: int) -> int | None:
        found = self._get((key,), None)
        if found is not None and (type(found) is not int or not low <= found <= high):
            self.fail(f"{key} must be a whole number from {low} to {high}", key)
        return found

    def one_of(self, *path: str, allowed: tuple[str, ...]) -> str | None:
        found = self._get(path, None)
        if found is not None and found not in allowed:
            near = suggest(found, allowed) if isinstance(found, str) else ""
            self.fail(f"{'.'.join(path)} must be one of {listed(allowed)}{near}", *path)
        return cast("str | None", found)

    def value(self, *path: str, kind: str, otherwise: Value | None = None) -> Value | None:
        """A default or bound of a parameter of that type, in the type that `Parameter.parse` returns."""
        found = self._get(path, otherwise)
        if found is None:
            return None
        if kind == "choice":
            return cast("Value", found)  # what it may be is the list's matter
        try:
            if kind in ("date", "timestamp") and isinstance(found, str) and FORMS[kind][0].fullmatch(found):
                found = READERS[kind](found)
            elif isinstance(found, datetime):
                found = in_utc(found)
        except ValueError as error:
            self.fail(f"{'.'.join(path)}: {error}", *path)
        right, plain = _CHECKS[kind]
        if not right(found):
            self.fail(f"{'.'.join(path)} must be {plain}, not {kind_of(found)}", *path)
        return float(found) if kind == "number" else cast("Value", found)

    def _get(self, path: tuple[str, ...], otherwise: Any) -> Any:
        found: Any = self.data
        for key in path:
            found = found.get(key, otherwise) if isinstance(found, dict) else otherwise
        return found


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "integer": (lambda v: type(v) is int, "a whole number"),
    "number": (lambda v: is_number(v) and abs(v) <= sys.float_info.max, "a finite number"),
    "string": (lambda v: isinstance(v, str), "a text in quotes"),
    "boolean": (lambda v: isinstance(v, bool), "true or false"),
    "date": (lambda v: type(v) is date, "a date, such as 2024-01-15"),
    "timestamp": (lambda v: isinstance(v, datetime), "a moment, such as 2024-01-15T12:30:00Z"),
}
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),
    (int, "a whole number"),
    (float, "a number"),
    (str, "a text"),
    (list, "a list"),
    (dict, "a table"),
    (datetime, "a moment"),
    (date, "a date"),
)


def kind_of(value: object) -> str:
    return next((word for kind, word in _KINDS if isinstance(value, kind)), "a time of day")
