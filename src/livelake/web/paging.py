"""What a client asks of an answer beside the query's own parameters: a page of it, or its state at a snapshot. Pure.

``limit`` and ``offset`` cut rows from the one shared answer, ``as_of`` names a state (`permanent`). A query that
declares a parameter of one of these names has it for itself: ``limit`` or ``offset``, and it has no pages;
``as_of``, and it has no permanent addresses.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from livelake.errors import ParameterError

__all__ = ["AS_OF", "LIMIT", "OFFSET", "Asked", "Page", "ask", "links", "location"]

LIMIT: Final = "limit"
OFFSET: Final = "offset"
AS_OF: Final = "as_of"

_LARGEST: Final = 2**63 - 1
_WHOLE: Final = re.compile(r"[0-9]{1,19}")

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Page:
    """``limit`` rows from the one after ``offset`` on."""

    offset: int
    limit: int

    def of(self, total: int) -> int:
        """How many rows there are on it."""
        return max(0, min(self.limit, total - self.offset))


@dataclass(frozen=True, slots=True)
class Asked:
    """A query string, taken apart. ``page`` is None for all rows; ``pages`` says whether there are any."""

    own: Pairs
    """What the query itself is to bind."""
    page: Page | None
    as_of: str | None
    pages: bool
    states: bool
    """Whether ``as_of`` is ours."""


def ask(pairs: Iterable[tuple[str, str]], declared: Collection[str], most_rows: int) -> Asked:
    """Raises `ParameterError` for a page that is none, or longer than ``most_rows``."""
    pages, states = not {LIMIT, OFFSET} & set(declared), AS_OF not in declared
    ours = ({LIMIT, OFFSET} if pages else set()) | ({AS_OF} if states else set())
    own: Pairs = []
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in ours:
            own.append((name, value))
        elif name in given:
            raise ParameterError(f"{name!r} was given twice; a page is asked for once")
        else:
            given[name] = value
    page = None
    if LIMIT in given or OFFSET in given:
        limit = _whole(LIMIT, given[LIMIT], 1, most_rows) if LIMIT in given else most_rows
        offset = _whole(OFFSET, given[OFFSET], 0, _LARGEST) if OFFSET in given else 0
        page = Page(offset, limit)
    return Asked(own, page, given.get(AS_OF), pages, states)


def links(path: str, asked: Asked, total: int) -> str | None:
    """The ``Link`` header (RFC 8288) to the pages before and after; None for all rows, or the only page.

    ``path`` is how the client asked, and what it asked otherwise stays as it was.
    """
    page = asked.page
    if page is None:
        return None
    kept: Pairs = [*asked.own, *([] if asked.as_of is None else [(AS_OF, asked.as_of)])]

    def to(offset: int, relation: str) -> str:
        query = urlencode([*kept, (LIMIT, str(page.limit)), (OFFSET, str(offset))])
        return f'<{path}?{query}>; rel="{relation}"'

    found = []
    if page.offset > 0:
        found.append(to(max(0, page.offset - page.limit), "prev"))
    if page.offset + page.limit < total:
        found.append(to(page.offset + page.limit, "next"))
    return ", ".join(found) or None


def location(path: str, asked: Asked, as_of: str) -> str:
    """The address of exactly this, at that state."""
    page = () if asked.page is None else ((LIMIT, str(asked.page.limit)), (OFFSET, str(asked.page.offset)))
    return f"{path}?{urlencode([*asked.own, *page, (AS_OF, as_of)], safe=':,~')}"


def _whole(name: str, text: str, low: int, high: int) -> int:
    if _WHOLE.fullmatch(text) is None or not low <= int(text) <= high:
        bounds = f"from {low} to {high:,}" if high < _LARGEST else f"from {low}"
        raise ParameterError(f"{name!r}: {text[:60]!r} was given; it must be a whole number {bounds}")
    return int(text)
