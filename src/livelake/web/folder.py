"""Dashboard folders: what `livelake serve DIR` reads, decided once into frozen data.

A folder is one dashboard, or holds some. Each ``*.sql`` file is one named query; TOML in the comment that
opens it says how it is shown and what it takes::

    /*---
    title = "Most days in space"
    chart = { mark = "bar", x = "total_space_days", y = "name" }
    params.limit = { type = "integer", default = 10, min = 1, max = 100 }
    ---*/
    SELECT name, total_space_days FROM space.main.astronauts ORDER BY 2 DESC LIMIT $limit

Only `load` touches the disk, and only reads; the rest is pure and may be called from any thread. What is
wrong with a file is a `ConfigError` with its path and line, and nothing else is ever raised for one. What the
SQL does, whether it is one SELECT, and what a chart may say are decided elsewhere.

The header is cut off, not passed on: SQL comments nest, so a key expression such as ``events/**`` inside
one would open another for DuckDB.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NoReturn, TypeAlias, cast, get_args

from livelake.errors import ConfigError, ParameterError, UsageError

__all__ = [
    "CacheDefaults",
    "CheckChart",
    "Dashboard",
    "Parameter",
    "ParameterType",
    "Query",
    "Refresh",
    "Value",
    "load",
]

Value: TypeAlias = int | float | str | bool | date | datetime
"""What a parameter becomes; DuckDB binds each as it is."""

ParameterType: TypeAlias = Literal["integer", "number", "string", "boolean", "date", "timestamp", "choice"]
Refresh: TypeAlias = Literal["eager", "lazy"]
CheckChart: TypeAlias = Callable[[Mapping[str, Any]], object]
"""Raises `UsageError`, `TypeError` or `ValueError` for a chart that cannot be drawn; returns nothing used."""

SETTINGS = "livelake.toml"
LONGEST_TEXT = 1_000
"""Characters of a string parameter that states no ``max``: it becomes part of a cache key."""
INT64 = (-(2**63), 2**63 - 1)

_NAME = re.compile(r"[a-z0-9_-]+")
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")
_OPEN, _CLOSE = "/*---", "---*/"
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_RESERVED = {"system", "temp"}

_FORMS: dict[str, tuple[re.Pattern[str], str]] = {
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
            raise self._refuse(text, f"it must be {_wanted(self)}")
        if self.type == "string":
            value: Value = text
        else:
            form, wanted = _FORMS[self.type]
            if form.fullmatch(text) is None:
                raise self._refuse(text, f"it must be {wanted}")
            try:
                value = _READERS[self.type](text)
            except ValueError as error:  # the form is right, and there is no such day or hour
                raise self._refuse(text, f"it must be {wanted} ({error})") from error
        if reason := self.out_of_bounds(value):
            raise self._refuse(text, reason)
        return value

    def out_of_bounds(self, value: Value) -> str | None:
        """Why a value of the right type is not allowed, or None."""
        measured = _measure(value)
        if isinstance(measured, float) and not math.isfinite(measured):
            return "it must be finite"
        what = "it must have {} {} characters" if self.type == "string" else "it must be {} {}"
        if self.min is not None and measured < _measure(self.min):
            return what.format("at least", _shown(self.min))
        if self.max is not None and measured > _measure(self.max):
            return what.format("at most", _shown(self.max))
        return None

    def _refuse(self, text: str, reason: str) -> ParameterError:
        asked = text if len(text) <= 60 else text[:60] + "…"
        return ParameterError(f"parameter {self.name!r}: {asked!r} was given; {reason}")


@dataclass(frozen=True, kw_only=True)
class Query:
    """One ``.sql`` file: a named query and how it is shown."""

    name: str
    sql: str
    """Without the header and without blanks around it."""
    title: str
    description: str = ""
    chart: Mapping[str, Any] | None = None
    """As written; None is a table."""
    params: Mapping[str, Parameter] = field(default_factory=dict)
    refresh: Refresh = "eager"
    depends_on: tuple[str, ...] = ()
    """Key expressions, for what the commit log cannot show."""
    span: int = 1
    """Columns of the page's four that the panel takes."""
    height: int | None = None
    """Pixels; None lets the chart decide."""
    file: Path
    line: int = 1
    """Where ``sql`` begins in ``file``, from 1."""

    def bind(self, given: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, Value]:
        """Values for every parameter: those given, else the defaults. Raises `ParameterError`.

        Pass pairs (Starlette: ``query_params.multi_items()``) where a name may come twice: a mapping has
        already thrown one of them away.
        """
        pairs = given.items() if isinstance(given, Mapping) else given
        values: dict[str, Value] = {}
        for name, text in pairs:
            if name not in self.params:
                raise ParameterError(f"query {self.name!r} has no parameter {name!r}{self._allowed(name)}")
            if name in values:
                raise ParameterError(f"parameter {name!r} was given twice; query {self.name!r} takes it once")
            values[name] = self.params[name].parse(text)
        for name, parameter in self.params.items():
            if name not in values:
                if parameter.default is None:
                    raise ParameterError(
                        f"parameter {name!r} is missing; query {self.name!r} needs it: "
                        f"{'a text' if parameter.type == 'string' else _wanted(parameter)}"
                    )
                values[name] = parameter.default
        return {name: values[name] for name in self.params}

    def _allowed(self, name: str) -> str:
        if not self.params:
            return "; it takes none"
        return f"{_suggest(name, self.params)}; it takes {_listed(self.params)}"


@dataclass(frozen=True, kw_only=True)
class CacheDefaults:
    """The ``[cache]`` table; None leaves the server's own default. Times are seconds."""

    max_capacity: int | None = None
    max_bytes: int | None = None
    time_to_live: float | None = None
    time_to_idle: float | None = None


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """One folder: catalogs to attach, and queries in the order of the page."""

    name: str
    title: str
    description: str = ""
    attach: Mapping[str, str] = field(default_factory=dict)
    """Catalog name → URI; paths in them are absolute."""
    queries: Mapping[str, Query] = field(default_factory=dict)
    """By name, in page order."""
    cache: CacheDefaults = CacheDefaults()
    path: Path


def load(path: Path | str, check_chart: CheckChart | None = None) -> tuple[Dashboard, ...]:
    """The dashboards of ``path``, sorted by name. Raises `ConfigError`.

    Query names are one namespace over all dashboards, because ``/queries/{name}`` is; so are the names under
    which catalogs are attached, because one engine serves them all.
    """
    root = Path(os.path.abspath(path))
    folders = [root] if _is_dashboard(root) else [f for f in _entries(root) if os.path.isdir(f) and _is_dashboard(f)]
    if not folders:
        raise ConfigError("no dashboard here: neither this folder nor one in it holds a .sql file", file=root)
    dashboards = tuple(_dashboard(folder, check_chart) for folder in folders)
    queries: dict[str, Query] = {}
    catalogs: dict[str, tuple[str, Dashboard]] = {}
    for dashboard in dashboards:
        for query in dashboard.queries.values():
            if (other := queries.setdefault(query.name, query)) is not query:
                raise ConfigError(
                    f"there is a query {query.name!r} in {other.file} already, and /queries/{query.name} can "
                    "mean only one; rename one of the files",
                    file=query.file,
                )
        for name, uri in dashboard.attach.items():
            if (known := catalogs.setdefault(name, (uri, dashboard)))[0] != uri:
                raise ConfigError(
                    f"catalog {name!r} is {uri!r} here and {known[0]!r} in {known[1].path}; one server "
                    "attaches a name once; rename one of them",
                    file=dashboard.path / SETTINGS,
                )
    return dashboards


# -- one folder ----------------------------------------------------------------------------------------


def _dashboard(folder: Path, check_chart: CheckChart | None) -> Dashboard:
    if _NAME.fullmatch(folder.name) is None:
        raise ConfigError(f"the folder's name becomes a URL, {_name_rule(folder.name)}", file=folder)
    settings = folder / SETTINGS
    header = _Header(settings, _read(settings) if os.path.lexists(settings) else "")
    header.only("title", "description", "attach", "order", "cache")
    found = {
        query.name: query for file in _entries(folder) if _is_query(file) for query in [_query(file, check_chart)]
    }
    if not found:
        raise ConfigError("no query here: a dashboard needs at least one .sql file", file=folder)
    order = header.texts("order")
    for index, name in enumerate(order):
        if name not in found:
            header.fail(f"order names {name!r}, and there is no {name}.sql{_suggest(name, found)}", "order")
        if name in order[:index]:
            header.fail(f"order names {name!r} twice", "order")
    return Dashboard(
        name=folder.name,
        title=header.text("title") or _humane(folder.name),
        description=header.text("description"),
        attach=MappingProxyType(_attach(header, folder)),
        queries=MappingProxyType({name: found[name] for name in [*order, *(n for n in found if n not in order)]}),
        cache=_cache(header),
        path=folder,
    )


def _attach(header: _Header, folder: Path) -> dict[str, str]:
    attach: dict[str, str] = {}
    for name, uri in header.table("attach").items():
        if _IDENTIFIER.fullmatch(name) is None or name in _RESERVED:
            header.fail(f"{name!r} cannot be a catalog name: use [a-z_][a-z0-9_]*", "attach", name)
        if not isinstance(uri, str) or not uri.strip():
            header.fail(f"attach.{name} must be a URI, such as 'ducklake:sqlite:sales.sqlite'", "attach", name)
        if "\0" in uri:
            header.fail(f"attach.{name} holds a NUL character", "attach", name)
        attach[name] = _absolute(uri.strip(), folder)
    return attach


def _absolute(uri: str, folder: Path) -> str:
    """``uri`` with its file path, if it has one, made absolute against ``folder``."""
    for scheme in ("ducklake:", "sqlite:", "duckdb:"):
        if uri.startswith(scheme):
            return scheme + _absolute(uri.removeprefix(scheme), folder)
    if uri.startswith((":memory:", "postgres:", "postgresql:", "mysql:", "md:")) or "://" in uri:
        return uri
    return os.path.normpath(folder / os.path.expanduser(uri))


def _cache(header: _Header) -> CacheDefaults:
    cache = header.table("cache")
    header.only("max_capacity", "max_bytes", "time_to_live", "time_to_idle", within=("cache",))
    for key, value in cache.items():
        wanted = "a whole number" if key.startswith("max") else "a number of seconds"
        right = _is_number(value) and (isinstance(value, int) or not key.startswith("max"))
        if not right or not 0 < value <= sys.float_info.max:
            header.fail(f"cache.{key} must be {wanted} above 0, not {_kind(value)}", "cache", key)
    return CacheDefaults(**cache)


# -- one query -----------------------------------------------------------------------------------------


def _query(file: Path, check_chart: CheckChart | None) -> Query:
    if _NAME.fullmatch(file.stem) is None:
        raise ConfigError(f"the file's name becomes a URL, {_name_rule(file.stem)}", file=file)
    head, sql, line = _split(file, _read(file))
    header = _Header(file, head)
    header.only("title", "description", "chart", "params", "refresh", "depends_on", "span", "height")
    if not _COMMENT.sub(" ", sql).replace(";", " ").strip():
        raise ConfigError("there is no SQL in this file", file=file, line=line)
    params = {name: _parameter(header, name) for name in header.table("params")}
    return Query(
        name=file.stem,
        sql=sql,
        title=header.text("title") or _humane(file.stem),
        description=header.text("description"),
        chart=_chart(header, check_chart),
        params=MappingProxyType(params),
        refresh=cast("Refresh", header.one_of("refresh", allowed=get_args(Refresh)) or "eager"),
        depends_on=header.texts("depends_on"),
        span=header.whole("span", 1, 4) or 1,
        height=header.whole("height", 40, 4_000),
        file=file,
        line=line,
    )


def _split(file: Path, text: str) -> tuple[str, str, int]:
    """Header, SQL, and the line on which the SQL begins. A header opens the file, or it is a comment."""
    head, body, before = "", text, 0
    if text.startswith(_OPEN):
        head, close, body = text.removeprefix(_OPEN).partition(_CLOSE)
        if not close:
            raise ConfigError(f"the header opens with {_OPEN} and never closes with {_CLOSE}", file=file, line=1)
        before = head.count("\n")
    elif text.lstrip().startswith(_OPEN):
        line = text[: text.index(_OPEN)].count("\n") + 1
        raise ConfigError(f"the header {_OPEN} must be the first thing in the file", file=file, line=line)
    blank = body[: len(body) - len(body.lstrip())]
    return head, body.strip(), 1 + before + blank.count("\n")


def _chart(header: _Header, check: CheckChart | None) -> Mapping[str, Any] | None:
    if "chart" not in header.data:
        return None
    chart = MappingProxyType(header.table("chart"))
    if check is not None:
        try:
            check(chart)
        except (UsageError, TypeError, ValueError) as error:
            raise ConfigError(f"chart: {error}", file=header.file, line=header.line("chart")) from error
    return chart


def _parameter(header: _Header, name: str) -> Parameter:
    at = ("params", name)
    if _IDENTIFIER.fullmatch(name) is None:
        header.fail(f"{name!r} cannot be a parameter's name: use [a-z_][a-z0-9_]*", *at)
    spec = header.table(*at)
    header.only("type", "default", "min", "max", "choices", "title", within=at)
    kind = header.one_of(*at, "type", allowed=get_args(ParameterType))
    if kind is None:
        header.fail(f"params.{name} needs a type: {_listed(get_args(ParameterType))}", *at)
    choices = spec.get("choices", [])
    if (kind == "choice") != ("choices" in spec):
        header.fail(f"params.{name}: choices belong to type 'choice', which needs at least one", *at)
    if not _are_choices(choices) or (kind == "choice" and not choices):
        header.fail(f"params.{name}.choices must be a list of different texts, or of whole numbers", *at, "choices")
    if kind in ("boolean", "choice") and (bound := next((b for b in ("min", "max") if b in spec), None)):
        header.fail(f"params.{name}: a {kind} has no {bound}", *at, bound)
    bounds_are = "integer" if kind == "string" else kind  # a string's bounds are lengths
    lowest, highest = {"integer": INT64, "string": (0, LONGEST_TEXT)}.get(kind, (None, None))
    parameter = Parameter(
        name=name,
        type=cast("ParameterType", kind),
        min=header.value(*at, "min", kind=bounds_are, otherwise=lowest),
        max=header.value(*at, "max", kind=bounds_are, otherwise=highest),
        choices=tuple(choices),
        title=header.text(*at, "title") or _humane(name),
        default=header.value(*at, "default", kind=kind),
    )
    _check_bounds(header, parameter)
    return parameter


def _check_bounds(header: _Header, parameter: Parameter) -> None:
    at = ("params", parameter.name)
    low, high, default = parameter.min, parameter.max, parameter.default
    if parameter.type == "integer" and not INT64[0] <= cast("int", low) <= cast("int", high) <= INT64[1]:
        header.fail(f"params.{parameter.name}: min {low} and max {high} must be in order and within 64 bits", *at)
    if low is not None and high is not None and not _measure(low) <= _measure(high):
        header.fail(f"params.{parameter.name}: min {_shown(low)} is above max {_shown(high)}", *at)
    if default is None:
        return
    if parameter.type != "choice":
        reason = parameter.out_of_bounds(default)
    elif any(type(default) is type(choice) and default == choice for choice in parameter.choices):
        reason = None
    else:
        reason = f"it must be {_wanted(parameter)}"
    if reason:
        header.fail(f"params.{parameter.name}.default is {_shown(default)}; {reason}", *at, "default")


def _are_choices(choices: Any) -> bool:
    return (
        isinstance(choices, list)
        and (all(isinstance(c, str) for c in choices) or all(type(c) is int for c in choices))
        and len(set(choices)) == len(choices)
    )


# -- TOML with places ----------------------------------------------------------------------------------


class _Header:
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
                self.fail(f"unknown key {where!r}{_suggest(key, known)}; known: {_listed(known)}", *within, key)

    def table(self, *path: str) -> dict[str, Any]:
        found = self._get(path, {})
        if not isinstance(found, dict):
            self.fail(f"{'.'.join(path)} must be a table {{ … }}, not {_kind(found)}", *path)
        return found

    def text(self, *path: str) -> str:
        found = self._get(path, "")
        if not isinstance(found, str):
            self.fail(f"{'.'.join(path)} must be a text in quotes, not {_kind(found)}", *path)
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
            near = _suggest(found, allowed) if isinstance(found, str) else ""
            self.fail(f"{'.'.join(path)} must be one of {_listed(allowed)}{near}", *path)
        return cast("str | None", found)

    def value(self, *path: str, kind: str, otherwise: Value | None = None) -> Value | None:
        """A default or bound of a parameter of that type, in the type that `Parameter.parse` returns."""
        found = self._get(path, otherwise)
        if found is None:
            return None
        if kind == "choice":
            return cast("Value", found)  # what it may be is the list's matter
        try:
            if kind in ("date", "timestamp") and isinstance(found, str) and _FORMS[kind][0].fullmatch(found):
                found = _READERS[kind](found)
            elif isinstance(found, datetime):
                found = _in_utc(found)
        except ValueError as error:
            self.fail(f"{'.'.join(path)}: {error}", *path)
        right, plain = _CHECKS[kind]
        if not right(found):
            self.fail(f"{'.'.join(path)} must be {plain}, not {_kind(found)}", *path)
        return float(found) if kind == "number" else cast("Value", found)

    def _get(self, path: tuple[str, ...], otherwise: Any) -> Any:
        found: Any = self.data
        for key in path:
            found = found.get(key, otherwise) if isinstance(found, dict) else otherwise
        return found


# -- words and values ----------------------------------------------------------------------------------


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the year is out of range") from error


def _measure(value: Value) -> Any:
    """What bounds compare: a string by its length, a moment in UTC (one without a zone as if it were)."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return len(value) if isinstance(value, str) else value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_READERS: dict[str, Callable[[str], Value]] = {
    "integer": int,
    "number": float,
    "boolean": lambda text: text == "true",
    "date": date.fromisoformat,
    "timestamp": lambda text: _in_utc(datetime.fromisoformat(text)),
}
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "integer": (lambda v: type(v) is int, "a whole number"),
    "number": (lambda v: _is_number(v) and abs(v) <= sys.float_info.max, "a finite number"),
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


def _kind(value: object) -> str:
    return next((word for kind, word in _KINDS if isinstance(value, kind)), "a time of day")


def _wanted(parameter: Parameter) -> str:
    if parameter.type == "choice":
        return f"one of {_listed(map(str, parameter.choices))}"
    return _FORMS[parameter.type][1]


def _shown(value: Value) -> str:
    return value.isoformat() if isinstance(value, date) else repr(value) if isinstance(value, str) else str(value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _suggest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _humane(name: str) -> str:
    words = re.sub(r"[_-]+", " ", name).strip() or name
    return words[0].upper() + words[1:]


def _name_rule(name: str) -> str:
    return f"and {name!r} cannot: use lower-case letters, digits, '_' and '-'"


# -- reading -------------------------------------------------------------------------------------------


def _entries(folder: Path) -> list[Path]:
    """What the folder holds, hidden things aside, by name."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read as a folder: {error}", file=folder) from error


def _is_query(entry: Path) -> bool:
    return entry.suffix.lower() == ".sql" and not os.path.isdir(entry)


def _is_dashboard(folder: Path) -> bool:
    return any(_is_query(entry) or entry.name == SETTINGS for entry in _entries(folder))


def _read(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}", file=file) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(f"not UTF-8 (byte {error.start}); save it as UTF-8", file=file, line=line) from error
