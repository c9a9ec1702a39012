"""What a URL asks of a dashboard: values for its parameters, and how its tables are sorted and paged. Pure.

A page has one control a name, whichever queries declare it: `Field`. What was given is kept beside what is wrong
with it, so that a page can show both; `Asked.bound` is for those who want values or an error. Two names a table
are the page's own: ``{panel}.sort`` is a column, with ``-`` before it for falling order, ``{panel}.page`` a number
from 1. No parameter can have such a name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from livelake.errors import ConfigError, ParameterError
from livelake.web.charts import TableView
from livelake.web.folder import Dashboard, Query
from livelake.web.parameters import Parameter, Value, measure, spelled
from livelake.web.words import listed

IGNORED = frozenset(["last_event_id", "datastar"])
"""What a stream's client adds to its URL."""
_LONGEST_COLUMN = 200
_LARGEST_PAGE = 10**6


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter of a page: what its queries declare of it together, and what the URL gives for it."""

    parameter: Parameter
    """With the narrowest bounds of all who declare it, and their default if they agree on one."""
    required: bool
    given: str | None = None
    problem: str | None = None

    @property
    def default(self) -> str:
        """As a URL spells it; empty without one."""
        return "" if self.parameter.default is None else spelled(self.parameter.default)

    @property
    def shown(self) -> str:
        return self.default if self.given is None else self.given


@dataclass(frozen=True, slots=True)
class Asked:
    """A URL, read. `values` are those of the queries for which nothing is wrong or missing."""

    fields: tuple[Field, ...]
    values: Mapping[str, Mapping[str, Value]]
    views: Mapping[str, TableView]
    given: tuple[tuple[str, str], ...]
    """The pairs that mean something, in order: together they are a link to this very page."""
    wrong: str | None
    """The first thing that cannot be done as asked, whole, for whoever shows one line."""
    strays: tuple[str, ...] = ()
    """What is wrong and belongs to no field."""

    @property
    def is_waiting(self) -> bool:
        """Whether all is well but for values that nobody has given yet."""
        return self.wrong is not None and not self.strays and not any(field.problem for field in self.fields)

    @property
    def query_string(self) -> str:
        return urlencode(self.given)

    def bound(self) -> Mapping[str, Mapping[str, Value]]:
        """Values for every query. Raises `ParameterError`."""
        if self.wrong is not None:
            raise ParameterError(self.wrong)
        return self.values


def read(
    dashboard: Dashboard,
    pairs: Iterable[tuple[str, str]],
    claims: Mapping[str, str] | None = None,
    *,
    ignored: Collection[str] = IGNORED,
) -> Asked:
    """`pairs` as they stand in the URL, and what is said of who asks (None where nobody is asked).

    For a dashboard that was checked when it was loaded it raises nothing but `ForbiddenError`.
    """
    shared = shared_parameters(dashboard)
    first: dict[str, str] = {}
    twice: set[str] = set()
    views = {name: TableView(name) for name, query in dashboard.queries.items() if _is_table(query)}
    kept, strays = [], []
    for name, text in pairs:
        panel, _, what = name.rpartition(".")
        if name in shared:
            if text == "" and not shared[name].parameter.is_text:
                continue  # what a form sends for a field that was left empty
            twice |= {name} if name in first else set()
            first.setdefault(name, text)
        elif panel in views and what in ("sort", "page"):
            views[panel] = _view(views[panel], what, text)
        elif name not in ignored:
            takes = f"it takes {listed(sorted(shared))}" if shared else "it takes none"
            strays.append(f"dashboard {dashboard.name!r} has no parameter {name!r}; {takes}")
        if name not in ignored:
            kept.append((name, text))
    fields = [_filled(dashboard, field, first.get(name), name in twice) for name, field in shared.items()]
    values, wrong = _values(dashboard, first, claims, {field.parameter.name for field in fields if field.problem})
    problems = [f"parameter {each.parameter.name!r}: {each.problem}" for each in fields if each.problem]
    return Asked(
        fields=tuple(fields),
        values=values,
        views=views,
        given=tuple(kept),
        wrong=next(iter([*strays, *problems, *wrong]), None),
        strays=tuple(strays),
    )


def shared_parameters(dashboard: Dashboard) -> dict[str, Field]:
    """The parameters of all queries by name. Raises `ConfigError` where one name cannot be one control."""
    found: dict[str, Field] = {}
    for query in dashboard.queries.values():
        for name, parameter in query.open_params.items():
            known = found.get(name)
            found[name] = Field(parameter, parameter.required) if known is None else _joined(known, parameter, query)
    return found


def spelled_out(values: Mapping[str, Value]) -> str:
    """Bound values as a query string."""
    return urlencode([(name, spelled(value)) for name, value in values.items()])


def _joined(field: Field, other: Parameter, query: Query) -> Field:
    """One control for two declarations: the narrower of each bound, the first of everything else."""
    one = field.parameter
    if one.type != other.type and not (one.is_text and other.is_text):
        raise ConfigError(
            f"params.{one.name} is {other.type} here and {one.type} in another query of this dashboard; "
            "a page has one control for a name: use the same type, or another name",
            file=query.file,
            line=1,
        )
    choices = tuple(choice for choice in one.choices if choice in other.choices)
    if one.choices and other.choices and not choices:
        raise ConfigError(
            f"params.{one.name} has no choice in common with its namesake in another query of this dashboard",
            file=query.file,
            line=1,
        )
    lows = [bound for bound in (one.min, other.min) if bound is not None]
    highs = [bound for bound in (one.max, other.max) if bound is not None]
    joined = replace(
        one,
        type=one.type if one.type == other.type else "string",
        min=max(lows, key=measure, default=None),
        max=min(highs, key=measure, default=None),
        step=one.step or other.step,
        choices=choices or one.choices or other.choices,
        source=one.source or other.source,
        default=one.default if one.default == other.default else None,
    )
    return Field(joined, field.required or other.required)


def _filled(dashboard: Dashboard, field: Field, text: str | None, is_twice: bool) -> Field:
    """The field with what was given for it, and the first complaint of a query that takes it."""
    if text is None:
        return field
    name = field.parameter.name
    problem = "it was given twice; say it once" if is_twice else None
    takers = [query.params[name] for query in dashboard.queries.values() if name in query.open_params]
    for taker in takers:
        if problem is None:
            try:
                taker.parse(text)
            except ParameterError as error:
                problem = str(error).removeprefix(f"parameter {name!r}: ")
    return replace(field, given=text, problem=problem)


def _values(
    dashboard: Dashboard, given: Mapping[str, str], claims: Mapping[str, str] | None, bad: set[str]
) -> tuple[dict[str, Mapping[str, Value]], list[str]]:
    """Values of each query that has all of its own, and what the others lack."""
    values: dict[str, Mapping[str, Value]] = {}
    lacking = []
    for query in dashboard.queries.values():
        own = query.open_params
        if bad & set(own):
            continue
        try:
            values[query.name] = query.bind([(name, text) for name, text in given.items() if name in own], claims)
        except ParameterError as error:
            lacking.append(str(error))
    return values, lacking


def _is_table(query: Query) -> bool:
    return bool((query.chart or {}).get("mark", "table") == "table")


def _view(view: TableView, what: str, text: str) -> TableView:
    """What cannot be meant is the beginning: a link to a page that is gone still shows the table."""
    if what == "page":
        is_number = text.isascii() and text.isdigit() and len(text) < 10
        return replace(view, page=min(max(1, int(text)), _LARGEST_PAGE) if is_number else 1)
    return replace(view, sort=text if len(text) <= _LONGEST_COLUMN else "")


def waits_for(query: Query, asked: Asked) -> str:
    """The titles of the fields that a query has no value from."""
    own = [field for field in asked.fields if field.parameter.name in query.open_params and _is_lacking(field, query)]
    return listed(field.parameter.title for field in own)


def _is_lacking(field: Field, query: Query) -> bool:
    return field.problem is not None or (field.given is None and query.params[field.parameter.name].required)
