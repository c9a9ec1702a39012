"""What a header declares of a parameter, and of HTTP caches, checked. Pure."""

from __future__ import annotations

import re
from typing import Any, cast, get_args

from livelake.web.caching import PERMANENT, Freshness
from livelake.web.header import Header, kind_of
from livelake.web.parameters import INT64, LONGEST_TEXT, Parameter, ParameterType, measure, shown, wanted
from livelake.web.words import humane, listed

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")


def declared(header: Header, name: str) -> Parameter:
    at = ("params", name)
    if _IDENTIFIER.fullmatch(name) is None:
        header.fail(f"{name!r} cannot be a parameter's name: use [a-z_][a-z0-9_]*", *at)
    spec = header.table(*at)
    header.only("type", "default", "min", "max", "step", "choices", "from", "title", "claim", within=at)
    kind = header.one_of(*at, "type", allowed=get_args(ParameterType))
    if kind is None:
        header.fail(f"params.{name} needs a type: {listed(get_args(ParameterType))}", *at)
    choices = _choices(header, name, kind)
    source = _source(header, name, kind)
    if kind in ("boolean", "choice") and (bound := next((b for b in ("min", "max") if b in spec), None)):
        header.fail(f"params.{name}: a {kind} has no {bound}", *at, bound)
    claim = header.text(*at, "claim") if "claim" in spec else None
    if claim is not None and _IDENTIFIER.fullmatch(claim) is None:
        header.fail(f"params.{name}.claim is the name of a claim, such as 'user'", *at, "claim")
    if claim is not None and "default" in spec:
        header.fail(
            f"params.{name}: what is said of who asks has no default; who lacks it is refused", *at, "default"
        )
    bounds_are = "integer" if kind == "string" else kind  # a string's bounds are lengths
    is_text = kind == "string" or (source != "" and kind == "choice")
    lowest, highest = INT64 if kind == "integer" else (0, LONGEST_TEXT) if is_text else (None, None)
    parameter = Parameter(
        name=name,
        type=cast("ParameterType", kind),
        min=header.value(*at, "min", kind=bounds_are, otherwise=lowest),
        max=header.value(*at, "max", kind=bounds_are, otherwise=highest),
        step=_step(header, name, kind),
        choices=choices,
        source=source,
        title=header.text(*at, "title") or humane(name),
        default=header.value(*at, "default", kind=kind),
        claim=claim,
    )
    _check_bounds(header, parameter)
    return parameter


def freshness(header: Header) -> Freshness | None:
    """``http = { max_age = 30, stale_while_revalidate = 60, stale_if_error = 3600 }``, in whole seconds."""
    if "http" not in header.data:
        return None
    found = header.table("http")
    header.only("max_age", "stale_while_revalidate", "stale_if_error", within=("http",))
    for name, value in found.items():
        if type(value) is not int or not 0 <= value <= PERMANENT:
            what = kind_of(value) if type(value) is not int else str(value)
            header.fail(f"http.{name} must be whole seconds from 0 to {PERMANENT} (a year), not {what}", "http", name)
    if "max_age" not in found:
        header.fail("http needs max_age: for how many seconds a cache may answer without asking", "http")
    return Freshness(**found)


def _check_bounds(header: Header, parameter: Parameter) -> None:
    at = ("params", parameter.name)
    low, high, default = parameter.min, parameter.max, parameter.default
    if parameter.type == "integer" and not INT64[0] <= cast("int", low) <= cast("int", high) <= INT64[1]:
        header.fail(f"params.{parameter.name}: min {low} and max {high} must be in order and within 64 bits", *at)
    if low is not None and high is not None and not measure(low) <= measure(high):
        header.fail(f"params.{parameter.name}: min {shown(low)} is above max {shown(high)}", *at)
    if default is None:
        return
    reason: str | None
    if parameter.type == "choice" and parameter.source and not isinstance(default, str):
        reason = "it must be a text, as all that is chosen from a query"
    elif not parameter.choices:
        reason = parameter.out_of_bounds(default)
    elif any(type(default) is type(choice) and default == choice for choice in parameter.choices):
        reason = None
    else:
        reason = f"it must be {wanted(parameter)}"
    if reason:
        header.fail(f"params.{parameter.name}.default is {shown(default)}; {reason}", *at, "default")


def _choices(header: Header, name: str, kind: str) -> tuple[str | int, ...]:
    at = ("params", name)
    spec = header.table(*at)
    if (kind == "choice") != ("choices" in spec) and not (kind == "choice" and "from" in spec):
        header.fail(
            f"params.{name}: choices belong to type 'choice', which needs at least one, or from = \"SELECT …\"", *at
        )
    choices = spec.get("choices", [])
    if not _are_choices(choices) or ("choices" in spec and not choices):
        header.fail(f"params.{name}.choices must be a list of different texts, or of whole numbers", *at, "choices")
    return tuple(choices)


def _source(header: Header, name: str, kind: str) -> str:
    """The SELECT whose rows a page offers; what it does is checked by the engine, later."""
    at = ("params", name)
    source = header.text(*at, "from").strip()
    if "from" not in header.table(*at):
        return ""
    if kind == "boolean":
        header.fail(f"params.{name}: a boolean is true or false; there is nothing to choose from", *at, "from")
    if "choices" in header.table(*at):
        header.fail(f"params.{name} has choices and from; say one of them", *at, "from")
    if not source:
        header.fail(f'params.{name}.from must be a query, such as "SELECT DISTINCT region FROM orders"', *at, "from")
    return source


def _step(header: Header, name: str, kind: str) -> int | float | None:
    at = ("params", name)
    if "step" not in header.table(*at):
        return None
    if kind not in ("integer", "number"):
        header.fail(f"params.{name}: a {kind} has no step", *at, "step")
    step = cast("int | float", header.value(*at, "step", kind=kind))
    if step <= 0:
        header.fail(f"params.{name}.step must be above 0", *at, "step")
    return step


def _are_choices(choices: Any) -> bool:
    return (
        isinstance(choices, list)
        and (all(isinstance(c, str) for c in choices) or all(type(c) is int for c in choices))
        and len(set(choices)) == len(choices)
    )
