"""What HTTP caches are told: validators, freshness, and how our own cache took part. Pure.

RFC 9110 (conditional requests), 9111 (Cache-Control), 9211 (Cache-Status), 5861 (stale-while-revalidate), 8246
(immutable). By default nothing may be used without asking again: an unchanged answer costs a 304. A query may
allow more in its header; nothing is ever allowed past the moment when time makes the answer untrue.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Final

import livelake
from livelake.cache import Status
from livelake.token import Token
from livelake.web.negotiate import Coding, Format
from livelake.web.paging import Page

__all__ = ["PERMANENT", "Freshness", "as_of_header", "cache_control", "cache_status", "etag_of", "is_known"]

PERMANENT: Final = 31_536_000
"""A year in seconds: what stands for ever."""

_ETAG: Final = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
# RFC 9211: how this cache treated the request.
_TREATED: Final[Mapping[Status, str]] = {
    "hit": "hit",
    "miss": "fwd=miss; stored",
    "joined": "fwd=miss; collapsed",
    "stale": "hit",
    "bypass": "fwd=bypass",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """What a query's header allows HTTP caches; seconds. See RFC 5861 for the latter two."""

    max_age: int
    stale_while_revalidate: int = 0
    stale_if_error: int = 0


@functools.cache
def _writers() -> str:
    """What else decides the bytes of a representation: who wrote them. A strong ETag promises equal bytes."""
    return blake2b(f"{livelake.__version__} {zlib.ZLIB_RUNTIME_VERSION}".encode(), digest_size=3).hexdigest()


def etag_of(content: str, form: Format, coding: Coding, page: Page | None) -> str:
    """A strong validator, by content, form, page and coding."""
    cut = "" if page is None else f"-{page.offset}+{page.limit}"
    packed = "" if coding == "identity" else f"-{coding}"
    return f'"{content}-{form}{cut}{packed}-{_writers()}"'


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has this representation already (RFC 9110, 13.1.2: weak comparison)."""
    if if_none_match is None:
        return False
    return if_none_match.strip(" \t") == "*" or etag in _ETAG.findall(if_none_match)


def cache_control(
    allowed: Freshness | None,
    *,
    private: bool,
    permanent: bool,
    status: Status,
    left: float | None,
    by_hand: bool = False,
) -> str:
    """``left``: seconds until time alone makes the answer untrue, None for never. ``by_hand``: of a state of the past
    without a seal, which another lake of that name would answer otherwise.

    ``private`` under authentication: a shared cache must not hand out what it did not ask for itself.
    """
    whose = "private" if private else "public"
    if permanent:
        return f"{whose}, max-age={PERMANENT}, immutable"
    if by_hand:
        return "no-store"
    most = PERMANENT if left is None else int(left)
    if allowed is None or status == "stale" or most <= 0:
        return "private, no-cache" if private else "no-cache"
    age = min(allowed.max_age, most)
    more = [f"{whose}, max-age={age}"]
    for name in ("stale_while_revalidate", "stale_if_error"):
        seconds = min(getattr(allowed, name), most - age)
        if seconds > 0:
            more.append(f"{name.replace('_', '-')}={seconds}")
    return ", ".join(more)


def cache_status(name: str, status: Status, left: float | None, age: float) -> str:
    """``Cache-Status``. ``name`` is a query's: letters, digits, ``_`` and ``-``."""
    said = f"livelake; {_TREATED[status]}"
    if status == "stale":
        said += f"; ttl=-{int(age) + 1}"
    elif left is not None and status != "bypass":
        said += f"; ttl={int(left)}"
    said += f'; key="{name}"'
    return said + "; detail=stale" if status == "stale" else said


def seconds_left(valid_until: datetime | None, now: datetime) -> float | None:
    """Until time alone makes an answer untrue."""
    return None if valid_until is None else (valid_until - now).total_seconds()


def as_of_header(versions: Mapping[str, int], positions: Mapping[str, int]) -> str:
    """``Livelake-As-Of``: a token of what the answer includes, to be demanded by ``Livelake-Not-Before``."""
    return _text(tuple(versions.items()), tuple(positions.items()))


@functools.lru_cache(1_024)
def _text(versions: tuple[tuple[str, int], ...], positions: tuple[tuple[str, int], ...]) -> str:
    return str(Token(dict(versions), dict(positions)))
