"""What SQL makes of the present: steps, at which its answer may change, or the moment itself.

Pure; works on the plan and on the syntax tree alike. ``current_date`` and ``date_trunc('hour', now())`` stand
still until the next midnight and the next hour: each is a `Step`. A time function that is not found inside one of
the shapes below is *free*: its answer is another at every moment.

The shapes. A *moment* is ``now()`` or one of its kin, also cast to a timestamp, shifted by whole days, or brought
``AT TIME ZONE 'X'``. A *step* is a date function, or a moment inside ``CAST(… AS DATE)``, ``date_trunc``,
``time_bucket`` or a part (``year``, ``extract``) of a constant unit. What is computed from steps changes with them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from livelake.engine.functions import TIME, TIME_WORDS, names

Node = Mapping[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """Something that stays the same until the next ``unit`` begins: second … year, or "bucket".

    ``zone`` is the time zone whose wall clock counts, "" for the session's. A bucket is ``width`` microseconds
    long, counted from 2000-01-03 00:00. ``function`` is the time function inside.
    """

    function: str
    unit: str
    zone: str = ""
    width: int = 0

    def __str__(self) -> str:
        until = f"{self.width / 1e6:g} s bucket" if self.unit == "bucket" else self.unit
        return f"{self.function} (by {until}{' in ' + self.zone if self.zone else ''})"


class Present(NamedTuple):
    """The steps and the free time functions of one tree."""

    steps: frozenset[Step]
    free: frozenset[str]


def present(tree: Any, columns: frozenset[str] = frozenset()) -> Present:
    """What ``tree`` makes of the present. ``columns`` are words that are columns, not functions."""
    steps: set[Step] = set()
    free: set[str] = set()
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            if (step := _step(node, columns)) is not None:
                steps.add(step)  # and what is below it is understood
                continue
            name = _called(node, columns)
            if name in TIME:
                free.add(name)
            pending += node.values()
    return Present(frozenset(steps), frozenset(free))


# -------------------------------------------------------------------- shapes

_DATES: Final = frozenset({"current_date", "today"})
_WITH_ZONE: Final = frozenset({"now", "current_timestamp", "transaction_timestamp"})
_WALL: Final = "localtimestamp"
_WHOLE_DAYS: Final = frozenset({"to_days", "to_weeks", "to_months", "to_quarters", "to_years"})
_MICROSECONDS: Final = {"to_seconds": 10**6, "to_minutes": 60 * 10**6, "to_hours": 3600 * 10**6} | {
    "to_days": 86400 * 10**6,
    "to_weeks": 7 * 86400 * 10**6,
}
_SUB_DAY: Final = frozenset({"second", "minute", "hour"})

# What DuckDB calls a unit → how often it changes, or a unit that changes at least as often.
_UNITS: Final = {
    alias: unit
    for unit, aliases in {
        "second": "second seconds sec secs s",
        "minute": "minute minutes min mins m",
        "hour": "hour hours hr hrs h",
        "day": "day days d dayofmonth",
        "week": "week weeks w weekofyear",
        "month": "month months mon mons",
        "quarter": "quarter quarters",
        "year": "year years yr yrs y decade decades dec decs century centuries cent c "
        "millennium millennia millenniums mil mils",
    }.items()
    for alias in aliases.split()
}
# Parts count within a larger unit; those here say how often they change.
_PARTS: Final = {
    **{alias: unit for alias, unit in _UNITS.items() if unit != "second"},
    **dict.fromkeys(("dow", "weekday", "dayofweek", "isodow", "doy", "dayofyear", "isoyear", "yearweek"), "day"),
    **dict.fromkeys(("dayname", "week", "weeks", "w", "weekofyear"), "day"),
    "monthname": "month",
    "second": "second",
}
_PART_FUNCTIONS: Final = names(
    "century day dayname dayofmonth dayofweek dayofyear decade hour isodow isoyear millennium minute month "
    "monthname quarter second week weekday weekofyear year yearweek"
)


class _Moment(NamedTuple):
    """An expression that is the present on some clock. ``shifted``: by whole days of the calendar."""

    function: str
    is_wall: bool = False
    zone: str = ""
    shifted: bool = False


def _step(node: Node, columns: frozenset[str]) -> Step | None:
    name = _called(node, columns)
    if name is None:
        child, target = node.get("child"), _cast_to(node)
        return _cut(child, "day", columns) if target == "DATE" and child else None
    if name in _DATES:
        return Step(name, "day")
    children = node.get("children") or []
    if name in _PART_FUNCTIONS and len(children) == 1:
        return _cut(children[0], _PARTS[name], columns)
    if len(children) != 2:
        return None
    if name in ("date_trunc", "datetrunc"):
        return _cut(children[1], _UNITS.get(_text(children[0])), columns)
    if name in ("date_part", "datepart"):
        return _cut(children[1], _PARTS.get(_text(children[0])), columns)
    if name == "time_bucket" and (width := _width(children[0])):
        moment = _moment(children[1], columns)
        if moment is not None and not moment.shifted:
            # Buckets of a TIMESTAMP WITH TIME ZONE are counted in UTC, whatever the session's zone.
            return Step(moment.function, "bucket", moment.zone if moment.is_wall else "UTC", width)
    return None


def _cut(node: Node, unit: str | None, columns: frozenset[str]) -> Step | None:
    """The step that a moment becomes when everything below ``unit`` is cut off."""
    moment = _moment(node, columns)
    if moment is None or unit is None:
        return None
    if moment.shifted:  # the same local day, some days away: a month's end may now fall on any day
        return None if unit in _SUB_DAY else Step(moment.function, "day", moment.zone)
    return Step(moment.function, unit, moment.zone)


def _moment(node: Node, columns: frozenset[str]) -> _Moment | None:
    name, children = _called(node, columns), node.get("children") or []
    if name in _WITH_ZONE:
        return _Moment(name)
    if name == _WALL:
        return _Moment(name, is_wall=True)
    if name in ("+", "-") and len(children) == 2 and _is_whole_days(children[1]):
        inner = _moment(children[0], columns)
        return None if inner is None else inner._replace(shifted=True)
    if name == "timezone" and len(children) == 2:
        inner, zone = _moment(children[1], columns), _text(children[0], lower=False)
        plain = inner is not None and not inner.is_wall and not inner.shifted
        return inner._replace(is_wall=True, zone=zone) if inner is not None and plain and zone else None
    if name is None and node.get("child") and (target := _cast_to(node)):
        inner = _moment(node["child"], columns)
        if inner is not None and target == "TIMESTAMP":
            return inner._replace(is_wall=True)
        if inner is not None and target == "TIMESTAMP WITH TIME ZONE" and not inner.is_wall:
            return inner  # from a wall clock there is no sure way back: some hours come twice
    return None


# -------------------------------------------------------------------- both trees read alike


# What the plan calls by another name than SQL does.
WORD_OF: Final = {
    "current_localtime": "localtime",
    "current_localtimestamp": "localtimestamp",
    "get_current_time": "current_time",
    "get_current_timestamp": "current_timestamp",
}


def _called(node: Node, columns: frozenset[str]) -> str | None:
    """The function that a node calls, in lower case; with the words that SQL writes without parentheses."""
    kind = node.get("expression_class") or node.get("class")
    if kind == "BOUND_FUNCTION" or kind == "FUNCTION":
        name = str(node.get("name") or node.get("function_name")).lower()
        return WORD_OF.get(name, name)
    if kind == "COLUMN_REF" and len(node["column_names"]) == 1:
        word = str(node["column_names"][0]).lower()
        return word if word in TIME_WORDS and word not in columns else None
    return None


def _cast_to(node: Node) -> str | None:
    kind = node.get("expression_class") or node.get("class")
    if kind not in ("BOUND_CAST", "CAST"):
        return None
    target = node.get("return_type") or node.get("cast_type") or {}
    return str(target.get("id"))


def _bare(node: Node) -> Node:
    """What stands below casts and ``trunc``."""
    while True:
        if _cast_to(node) is not None:
            node = node.get("child") or {}
        elif _called(node, frozenset()) == "trunc" and len(node.get("children") or ()) == 1:
            node = node["children"][0]
        else:
            return node


def _constant(node: Node) -> Any:
    """The value of a constant text or integer; None if it is none."""
    node = _bare(node)
    if (node.get("expression_class") or node.get("class")) not in ("BOUND_CONSTANT", "CONSTANT"):
        return None
    value: Mapping[str, Any] = node.get("value") or {}
    return value.get("value") if (value.get("type") or {}).get("id") in ("VARCHAR", "INTEGER", "BIGINT") else None


def _text(node: Node, *, lower: bool = True) -> str:
    value = _constant(node)
    return "" if not isinstance(value, str) else value.lower() if lower else value


_INTERVAL: Final = re.compile(r"\s*([+-]?\d+)\s*([a-z]+)\s*")


def _written_interval(node: Node) -> tuple[int, str] | None:
    """``INTERVAL '15 minutes'`` as (15, "minute")."""
    found = _INTERVAL.fullmatch(_text(node)) if _cast_to(node) == "INTERVAL" else None
    unit = None if found is None else _UNITS.get(found[2])
    return None if found is None or unit is None or unit not in _LENGTHS else (int(found[1]), unit)


# Without "year": `_UNITS` has decades and more under that name.
_LENGTHS: Final = {"second": 10**6, "minute": 60 * 10**6, "hour": 3600 * 10**6, "day": 86400 * 10**6} | {
    "week": 7 * 86400 * 10**6,
    "month": 0,
    "quarter": 0,
}


def _is_whole_days(node: Node) -> bool:
    if _called(node, frozenset()) in _WHOLE_DAYS:
        days = node["children"][0]  # a parameter stands for the same constant all over
        return _constant(days) is not None or _bare(days).get("class") == "PARAMETER"
    written = _written_interval(node)
    return written is not None and written[1] not in _SUB_DAY


def _width(node: Node) -> int | None:
    """The length of a constant interval in microseconds, None where it is none or has no fixed length."""
    name = _called(node, frozenset())
    if name in _MICROSECONDS:
        value = _constant(node["children"][0])
        return value * _MICROSECONDS[name] if isinstance(value, int) and value > 0 else None
    written = _written_interval(node)
    width = 0 if written is None else written[0] * _LENGTHS[written[1]]
    return width if width > 0 else None
