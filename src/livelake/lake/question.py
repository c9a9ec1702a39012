"""Questions: what is asked of a lake, as the cache knows it. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

from livelake.keys import KeyExpr
from livelake.lake.parameters import Parameters


class Query(NamedTuple):
    """One thing that can be asked: the same key, the same answer."""

    key: tuple[Any, ...]
    sql: str
    parameters: Parameters
    depends_on: frozenset[KeyExpr]
    ttl: float | None
    as_of: Mapping[str, int] | None = None
    """The snapshot at which each of these catalogs is read; None or a catalog that is missing: the newest."""


def has_null(parameters: Parameters) -> bool:
    """Whether a plan may hold for these parameters only: a NULL can fold a table away."""
    values = parameters.values() if isinstance(parameters, Mapping) else parameters or ()
    return any(value is None for value in values)


def question(
    key: tuple[Any, ...],
    sql: str,
    parameters: Parameters,
    depends_on: frozenset[KeyExpr],
    ttl: float | None,
    as_of: Mapping[str, int] | None = None,
) -> Query:
    """With values of its own: a caller may change a dict or list later, and the key says what they were."""
    return Query(key, sql, copy.deepcopy(parameters), depends_on, ttl, as_of)


def short(sql: str) -> str:
    """A query on one line, for messages."""
    text = " ".join(sql.split())
    return text if len(text) <= 80 else text[:79] + "…"
