"""What a header declares of a parameter, checked. Pure."""

from __future__ import annotations

import re
from typing import Any, cast, get_args

from livelake.web.header import Header
from livelake.web.parameters import INT64, LONGEST_TEXT, Parameter, ParameterType, measure, shown, wanted
from livelake.web.words import humane, listed

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")


def declared(header: Header, name: str) -> Parameter:
    at = ("params", name)
    if _IDENTIFIER.fullmatch(name) is None:
        header.fail(f"{name!r} cannot be a parameter's name: use [a-z_][a-z0-9_]*", *at)
    spec = header.table(*at)
    header.only("type", "default", "min", "max", "choices", "title", within=at)
    kind = header.one_of(*at, "type", allowed=get_args(ParameterType))
    if kind is None:
        header.fail(f"params.{name} needs a type: {listed(get_args(ParameterType))}", *at)
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
        title=header.text(*at, "title") or humane(name),
        default=header.value(*at, "default", kind=kind),
    )
    _check_bounds(header, parameter)
    return parameter


def _check_bounds(header: Header, parameter: Parameter) -> None:
    at = ("params", parameter.name)
    low, high, default = parameter.min, parameter.max, parameter.default
    if parameter.type == "integer" and not INT64[0] <= cast("int", low) <= cast("int", high) <= INT64[1]:
        header.fail(f"params.{parameter.name}: min {low} and max {high} must be in order and within 64 bits", *at)
    if low is not None and high is not None and not measure(low) <= measure(high):
        header.fail(f"params.{parameter.name}: min {shown(low)} is above max {shown(high)}", *at)
    if default is None:
        return
    if parameter.type != "choice":
        reason = parameter.out_of_bounds(default)
    elif any(type(default) is type(choice) and default == choice for choice in parameter.choices):
        reason = None
    else:
        reason = f"it must be {wanted(parameter)}"
    if reason:
        header.fail(f"params.{parameter.name}.default is {shown(default)}; {reason}", *at, "default")


def _are_choices(choices: Any) -> bool:
    return (
        isinstance(choices, list)
        and (all(isinstance(c, str) for c in choices) or all(type(c) is int for c in choices))
        and len(set(choices)) == len(choices)
    )
