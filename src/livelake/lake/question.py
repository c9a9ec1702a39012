"""Questions: what is asked of a lake, as the cache knows it. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

from livelake.engine import check_caps
from livelake.errors import UsageError
from livelake.keys import KeyExpr
from livelake.lake.parameters import Parameters, too_deep


class Terms(NamedTuple):
    """On which terms it is asked, where they are not the lake's own: part of the key, too.

    An answer that somebody trusted may have is none for a stranger, and one under a higher cap none under a lower.
    """

    untrusted: bool = False
    max_rows: int | None = None
    max_result_bytes: int | None = None


OWN = Terms()
_LONGEST_TTL = 10.0 * 366 * 86_400


class Query(NamedTuple):
    """One thing that can be asked: the same key, the same answer."""

    key: tuple[Any, ...]
    sql: str
    parameters: Parameters
    depends_on: frozenset[KeyExpr]
    ttl: float | None
    as_of: Mapping[str, int] | None = None
    """The snapshot at which each of these catalogs is read; None or a catalog that is missing: the newest."""
    terms: Terms = OWN


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
    terms: Terms = OWN,
) -> Query:
    """With values of its own: a caller may change a dict or list later, and the key says what they were."""
    try:
        own = copy.deepcopy(parameters)
    except RecursionError:
        raise too_deep() from None
    return Query(key, sql, own, depends_on, ttl, as_of, terms)


def check_as_of(as_of: object) -> None:
    """Raise `UsageError` for what names no snapshots; whether there are such is asked later."""
    if as_of is None:
        return
    if not isinstance(as_of, Mapping) or not all(isinstance(name, str) for name in as_of):
        raise UsageError(f"as_of={as_of!r:.80}: give the snapshot of each lake by its name, such as {{'sales': 42}}")


def short(sql: str) -> str:
    """A query on one line, for messages."""
    text = " ".join(sql.split())
    return text if len(text) <= 80 else text[:79] + "…"


def terms_of(untrusted: bool, max_rows: int | None, max_result_bytes: int | None) -> Terms:
    """The terms that one query asks for. Raises `UsageError` for caps that are none."""
    check_caps(max_rows, max_result_bytes)
    return Terms(untrusted, max_rows, max_result_bytes)


def check_ttl(ttl: object) -> None:
    """Raise `UsageError` for what is no time to keep an answer."""
    if ttl is None:
        return
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0 < ttl <= _LONGEST_TTL:
        raise UsageError(f"ttl={ttl!r}: give seconds, more than 0 and at most ten years, or None")
