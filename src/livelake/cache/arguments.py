"""Arguments as parts of a cache key: what is different stays different, what is the same becomes equal.

Python calls ``1 == 1.0 == True``, ``0.0 == -0.0`` and ``Decimal("1") == Decimal("1.00")``; a function, or DuckDB, may
well answer them differently. So each value goes in with its type, in a form that is equal only for the same value.
"""

from __future__ import annotations

import inspect
import struct
from collections.abc import Callable, Hashable
from datetime import datetime, time
from decimal import Decimal
from typing import Any

from livelake.errors import UsageError

_pack = struct.Struct(">d").pack


def exact(value: Any) -> Hashable:
    """A form of one scalar that is equal, within its type, only for the very same value."""
    if isinstance(value, float):
        return _pack(value)  # NaN equals itself, 0.0 is not -0.0
    if isinstance(value, Decimal):
        return str(value)  # with all its zeros
    if isinstance(value, datetime):
        return (datetime.isoformat(value), value.fold)  # whatever else an infinite one says of itself
    if isinstance(value, time):
        return (value.isoformat(), value.fold)
    return value  # type: ignore[no-any-return]


def key_of(function: Callable[..., Any], signature: inspect.Signature, args: Any, kwargs: Any) -> tuple[Any, ...]:
    """The key of one call. How an argument was passed (position, keyword, default) does not matter.

    Raises `TypeError` for a call that does not fit the function, `UsageError` for an argument that has no hash.
    """
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    parts: list[Any] = [f"{function.__module__}.{function.__qualname__}"]
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            parts.append(tuple((key, _typed(item, key)) for key, item in sorted(value.items())))
        else:
            parts.append(_typed(value, name))
    return tuple(parts)


def _typed(value: Any, name: str) -> Hashable:
    if type(value) in (tuple, frozenset):
        parts = [_typed(item, name) for item in value]
        return (type(value), tuple(parts) if type(value) is tuple else frozenset(parts))
    try:
        hash(value)
    except TypeError:
        raise UsageError(
            f"argument {name}: a {type(value).__name__} has no hash and cannot be part of a cache key; "
            "pass a tuple or frozenset, or give key=…"
        ) from None
    return (type(value), exact(value))
