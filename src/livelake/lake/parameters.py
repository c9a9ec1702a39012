"""Query parameters as part of a cache key: different for DuckDB means different here, and nothing else does."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from livelake.cache.arguments import exact
from livelake.errors import ParameterError

Parameters = Mapping[str, Any] | Sequence[Any] | None

# Types whose equality, within the type, is exactly "the same value to DuckDB".
_EXACT = frozenset({float, Decimal, datetime, time})
_PLAIN = frozenset({int, str, bool, bytes, date, type(None), UUID, timedelta})


def canonical(parameters: Parameters) -> Hashable:
    """A hashable form: ``1``, ``1.0``, ``True``, ``"1"`` and ``None`` all differ; the order of names does not matter.

    Raises `ParameterError` for a value that has no place in a query.
    """
    if not parameters:
        return None
    try:
        return _flat(parameters)
    except RecursionError:
        raise too_deep() from None


def too_deep() -> ParameterError:
    """What is raised for a value that cannot be followed to its end."""
    return ParameterError("a parameter is nested too deep to be understood, or holds itself; nest it less")


def _flat(parameters: Mapping[str, Any] | Sequence[Any]) -> Hashable:
    if type(parameters) is dict or isinstance(parameters, Mapping):
        flat: list[Any] = []  # a loop of plain appends: this is on the path of every hit
        for name in parameters if len(parameters) == 1 else sorted(parameters):
            value = parameters[name]
            kind = type(value)
            flat.append(name)
            flat.append(kind)
            flat.append(value if kind in _PLAIN else _canonical(value, name))
        return tuple(flat)
    if isinstance(parameters, str | bytes):
        raise ParameterError(f"parameters are a mapping or a sequence, not {parameters!r}; write [{parameters!r}]")
    return tuple((type(value), _canonical(value, str(n))) for n, value in enumerate(parameters, 1))


def _canonical(value: Any, name: str) -> Hashable:
    kind = type(value)
    if kind in _PLAIN:
        return value  # type: ignore[no-any-return]
    if kind in _EXACT:
        return exact(value)
    if isinstance(value, list | tuple):
        return tuple((type(item), _canonical(item, name)) for item in value)
    if isinstance(value, Mapping):
        return tuple((str(key), type(item), _canonical(item, name)) for key, item in value.items())
    if isinstance(value, int | str | bytes | date | float | Decimal):  # subclasses, such as enumerations
        return (kind, repr(value))
    raise ParameterError(
        f"parameter {name}: {kind.__name__} cannot be bound to a query; use a number, text, bool, date, time, "
        "Decimal, UUID, bytes, list or dict"
    )
