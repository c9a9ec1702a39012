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

import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, cast, get_args

from livelake.errors import ConfigError, ParameterError, UsageError
from livelake.lake import Upkeep
from livelake.lake.catalog import parse
from livelake.lake.schedule import Schedule, span
from livelake.web.caching import Freshness
from livelake.web.declared import declared, freshness
from livelake.web.header import Header, is_number, kind_of
from livelake.web.parameters import Parameter, Value, wanted
from livelake.web.words import humane, listed, suggest

__all__ = [
    "CacheDefaults",
    "CheckChart",
    "Dashboard",
    "Query",
    "Refresh",
    "load",
]

Refresh: TypeAlias = Literal["eager", "lazy"]
CheckChart: TypeAlias = Callable[[Mapping[str, Any]], object]
"""Raises `UsageError`, `TypeError` or `ValueError` for a chart that cannot be drawn; returns nothing used."""

SETTINGS = "livelake.toml"
_NAME = re.compile(r"[a-z0-9_-]+")
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")
_OPEN, _CLOSE = "/*---", "---*/"
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_RESERVED = {"system", "temp"}


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
    http: Freshness | None = None
    """What HTTP caches may do without asking; None: nothing."""
    span: int = 1
    """Columns of the page's four that the panel takes."""
    height: int | None = None
    """Pixels; None lets the chart decide."""
    file: Path
    line: int = 1
    """Where ``sql`` begins in ``file``, from 1."""

    def bind(
        self, given: Mapping[str, str] | Iterable[tuple[str, str]], claims: Mapping[str, str] | None = None
    ) -> dict[str, Value]:
        """Values for every parameter: those given, else the defaults, and those that ``claims`` say of who asks.

        Raises `ParameterError`, and `ForbiddenError` for a claim that is not there. Pass pairs (Starlette:
        ``query_params.multi_items()``) where a name may come twice: a mapping has already thrown one of them away.
        """
        pairs = given.items() if isinstance(given, Mapping) else given
        values: dict[str, Value] = {}
        for name, text in pairs:
            parameter = self.params.get(name)
            if parameter is None or parameter.claim is not None:
                raise ParameterError(f"query {self.name!r} has no parameter {name!r}{self._allowed(name)}")
            if name in values:
                raise ParameterError(f"parameter {name!r} was given twice; query {self.name!r} takes it once")
            values[name] = parameter.parse(text)
        for name, parameter in self.params.items():
            if parameter.claim is not None:
                values[name] = parameter.claimed(claims)
            elif name not in values:
                if parameter.default is None:
                    raise ParameterError(
                        f"parameter {name!r} is missing; query {self.name!r} needs it: {wanted(parameter)}"
                    )
                values[name] = parameter.default
        return {name: values[name] for name in self.params}

    @property
    def open_params(self) -> dict[str, Parameter]:
        """Those that an address may give: all but what is said of who asks."""
        return {name: each for name, each in self.params.items() if each.claim is None}

    def _allowed(self, name: str) -> str:
        if not self.open_params:
            return "; it takes none"
        return f"{suggest(name, self.open_params)}; it takes {listed(self.open_params)}"


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
    maintain: Schedule | None = None
    """Upkeep of its lakes by the clock."""
    path: Path

    @property
    def revision(self) -> str:
        """Differs when anything that is shown or asked differs."""
        return hashlib.sha256(repr(self).encode("utf-8", "backslashreplace")).hexdigest()[:12]


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
    header = Header(settings, _read(settings) if os.path.lexists(settings) else "")
    header.only("title", "description", "attach", "order", "cache", "maintain")
    found = {
        query.name: query for file in _entries(folder) if _is_query(file) for query in [_query(file, check_chart)]
    }
    if not found:
        raise ConfigError(f"no query here: a dashboard needs at least one .sql file{_below(folder)}", file=folder)
    order = header.texts("order")
    for index, name in enumerate(order):
        if name not in found:
            header.fail(f"order names {name!r}, and there is no {name}.sql{suggest(name, found)}", "order")
        if name in order[:index]:
            header.fail(f"order names {name!r} twice", "order")
    attach = _attach(header, folder)
    return Dashboard(
        name=folder.name,
        title=header.text("title") or humane(folder.name),
        description=header.text("description"),
        attach=MappingProxyType(attach),
        queries=MappingProxyType({name: found[name] for name in [*order, *(n for n in found if n not in order)]}),
        cache=_cache(header),
        maintain=_maintain(header, attach),
        path=folder,
    )


def _below(folder: Path) -> str:
    """What to do where the dashboards are in the folders below."""
    below = [each.name for each in _entries(folder) if os.path.isdir(each) and any(map(_is_query, _entries(each)))]
    if not below:
        return ""
    return (
        f"; {SETTINGS} makes this folder one dashboard: for those in {listed(below)}, take it away from here and give"
        " each of them its own"
    )


def _attach(header: Header, folder: Path) -> dict[str, str]:
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
    if uri.startswith("embedded:"):  # a place inside a package, wherever that is
        return uri
    for scheme in ("ducklake:", "sqlite:", "duckdb:"):
        if uri.startswith(scheme):
            return scheme + _absolute(uri.removeprefix(scheme), folder)
    if uri.startswith((":memory:", "postgres:", "postgresql:", "mysql:", "md:")) or "://" in uri:
        return uri
    return os.path.normpath(folder / os.path.expanduser(uri))


def _cache(header: Header) -> CacheDefaults:
    cache = header.table("cache")
    header.only("max_capacity", "max_bytes", "time_to_live", "time_to_idle", within=("cache",))
    for key, value in cache.items():
        wanted = "a whole number" if key.startswith("max") else "a number of seconds"
        right = is_number(value) and (isinstance(value, int) or not key.startswith("max"))
        if not right or not 0 < value <= sys.float_info.max:
            header.fail(f"cache.{key} must be {wanted} above 0, not {kind_of(value)}", "cache", key)
    return CacheDefaults(**cache)


def _maintain(header: Header, attach: Mapping[str, str]) -> Schedule | None:
    """``[maintain] every = "1h", expire_after = "7d", keep = 1, alone = false`` for the folder's lakes."""
    if "maintain" not in header.data:
        return None
    header.only("every", "expire_after", "keep", "alone", within=("maintain",))
    every = _span(header, "every") or header.fail('maintain wants every = "1h" or the like', "maintain")
    keep = header.table("maintain").get("keep", 1)
    if type(keep) is not int or keep < 1:
        header.fail(f"maintain.keep must be a whole number from 1, not {kind_of(keep)}", "maintain", "keep")
    alone = header.table("maintain").get("alone", False)
    if not isinstance(alone, bool):
        header.fail(f"maintain.alone must be true or false, not {kind_of(alone)}", "maintain", "alone")
    lakes = {name: parse(uri, name) for name, uri in attach.items()}
    able = tuple(name for name, each in lakes.items() if each.is_lake and not each.is_frozen)
    if not able:
        header.fail("maintain has nothing to tidy: no lake that this folder attaches is written here", "maintain")
    upkeep = Upkeep(expire_after=_span(header, "expire_after") or Upkeep().expire_after, keep=keep, alone=alone)
    return Schedule(every=every, upkeep=upkeep, catalogs=able)


def _span(header: Header, key: str) -> timedelta | None:
    text = header.text("maintain", key)
    try:
        found = span(text) if text else None
    except ParameterError as error:
        header.fail(f"maintain.{key}: {error}", "maintain", key)
    if found is not None and found < timedelta(seconds=1):
        header.fail(f"maintain.{key} must be a second at least", "maintain", key)
    return found


# -- one query -----------------------------------------------------------------------------------------


def _query(file: Path, check_chart: CheckChart | None) -> Query:
    if _NAME.fullmatch(file.stem) is None:
        raise ConfigError(f"the file's name becomes a URL, {_name_rule(file.stem)}", file=file)
    head, sql, line = _split(file, _read(file))
    header = Header(file, head)
    header.only("title", "description", "chart", "params", "refresh", "depends_on", "http", "span", "height")
    if not _COMMENT.sub(" ", sql).replace(";", " ").strip():
        raise ConfigError("there is no SQL in this file", file=file, line=line)
    params = {name: declared(header, name) for name in header.table("params")}
    return Query(
        name=file.stem,
        sql=sql,
        title=header.text("title") or humane(file.stem),
        description=header.text("description"),
        chart=_chart(header, check_chart),
        params=MappingProxyType(params),
        refresh=cast("Refresh", header.one_of("refresh", allowed=get_args(Refresh)) or "eager"),
        depends_on=header.texts("depends_on"),
        http=freshness(header),
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


def _chart(header: Header, check: CheckChart | None) -> Mapping[str, Any] | None:
    if "chart" not in header.data:
        return None
    chart = MappingProxyType(header.table("chart"))
    if check is not None:
        try:
            check(chart)
        except (UsageError, TypeError, ValueError) as error:
            raise ConfigError(f"chart: {error}", file=header.file, line=header.line("chart")) from error
    return chart


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
