"""Parameters of a statement: whether they are those that it takes, and a syntax tree with their values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from livelake.errors import ParameterError

Parameters = Mapping[str, Any] | Sequence[Any] | None
"""Named parameters as a mapping, positional ones as a list or tuple."""


def check_parameters(needed: set[str], params: Parameters) -> None:
    """Raise ParameterError unless exactly the needed parameters are given; names compare without case."""
    if params is None:
        given = {}
    elif isinstance(params, Mapping):
        given = {str(name).lower(): f"${name}" for name in params}
    else:
        given = {str(index + 1): f"${index + 1}" for index in range(len(params))}
    wanted = {name.lower(): f"${name}" for name in needed}
    missing = [wanted[name] for name in sorted(wanted.keys() - given.keys())]
    unknown = [given[name] for name in sorted(given.keys() - wanted.keys())]
    if not (missing or unknown):
        return
    takes = ", ".join(wanted[name] for name in sorted(wanted)) or "no parameters"
    faults = [f"{what}: {', '.join(names)}" for what, names in (("missing", missing), ("unknown", unknown)) if names]
    raise ParameterError(f"the query takes {takes}; {'; '.join(faults)}")


def with_values(node: Any, values: Mapping[str, Any]) -> Any:
    """The syntax tree with every parameter replaced by the expression of its name."""
    if isinstance(node, dict):
        if node.get("class") == "PARAMETER":
            given = values.get(node["identifier"].lower())
            return node if given is None else {**given, "alias": node.get("alias", "")}
        return {key: with_values(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [with_values(value, values) for value in node]
    return node
