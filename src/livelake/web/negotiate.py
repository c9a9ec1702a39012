"""Which representation of a result a client gets (RFC 9110, 12.5). Pure.

A suffix in the path decides by itself. Else ``Accept`` does: of the forms that the client takes, the one that it
likes best; of those that it likes alike, the first in `OFFERS`. The most specific range speaks for a form;
parameters of a range other than ``q`` are not looked at. What is malformed in a header is ignored, and a header of
which nothing is left counts as absent. Time is linear in the length of the header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, TypeVar, get_args

__all__ = ["MEDIA_TYPES", "OFFERS", "Coding", "Format", "choose", "choose_coding", "choose_format", "split_suffix"]

Format = Literal["json", "csv", "arrow", "parquet"]
"""The suffixes of the forms; see `MEDIA_TYPES`."""
Coding = Literal["gzip", "identity"]

OFFERS: Final[tuple[Format, ...]] = get_args(Format)
MEDIA_TYPES: Final[Mapping[Format, str]] = {
    "json": "application/json",
    "csv": "text/csv",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}

_OfferT = TypeVar("_OfferT", bound=str)
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - of RFC 9110, 5.6.2
# An element of a list: up to a comma that is not within quotes. A quote that never closes takes all that is left.
_ELEMENT: Final = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))++', re.DOTALL)
_RANGE: Final = re.compile(rf"({_TOKEN})/({_TOKEN})")
_CODING: Final = re.compile(_TOKEN)
_WEIGHT: Final = re.compile(r";[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*(?:;|$)")
_HAS_WEIGHT: Final = re.compile(r";[ \t]*[qQ][ \t]*=")


def split_suffix(name: str) -> tuple[str, Format | None]:
    """``totals.csv`` is the query ``totals`` as CSV; without a suffix of ours, the whole name and None."""
    stem, dot, suffix = name.rpartition(".")
    for known in OFFERS:
        if dot and suffix == known:
            return stem, known
    return name, None


def choose_format(accept: str | None) -> Format | None:
    """The form for an ``Accept`` header; None if the client takes none of ours."""
    if accept is None or accept == "*/*":
        return OFFERS[0]
    return choose(accept, MEDIA_TYPES)


def choose(accept: str | None, offers: Mapping[_OfferT, str]) -> _OfferT | None:
    """The first of the best liked ``offers``, which have media types; None if none is taken."""
    ranges = list(_weighted(accept or "", _RANGE))
    if not ranges:
        return next(iter(offers))
    best, most = None, 0.0
    for offer, media_type in offers.items():
        weight = _weight_of(media_type.split("/"), ranges)
        if weight > most:
            best, most = offer, weight
    return best


def choose_coding(accept_encoding: str | None) -> Coding:
    """gzip, if the client takes it and does not like plain better. Who refuses both gets it plain."""
    if not accept_encoding:
        return "identity"
    named: dict[str, float] = {}
    for (coding,), weight in _weighted(accept_encoding, _CODING):
        coding = {"x-gzip": "gzip"}.get(coding, coding)
        named[coding] = max(weight, named.get(coding, 0.0))
    gzip = named.get("gzip", named.get("*", 0.0))
    return "gzip" if gzip > 0 and gzip >= named.get("identity", 0.0) else "identity"


def _weight_of(offered: Sequence[str], ranges: Sequence[tuple[tuple[str, ...], float]]) -> float:
    """What the most specific of the ranges that match says; of several that are alike, the highest."""
    found, how_specific = 0.0, -1
    for (kind, subtype), weight in ranges:
        if kind == offered[0] and subtype == offered[1]:
            specific = 2
        elif kind == offered[0] and subtype == "*":
            specific = 1
        elif kind == subtype == "*":
            specific = 0
        else:
            continue
        if (specific, weight) > (how_specific, found):
            found, how_specific = weight, specific
    return found


def _weighted(header: str, shape: re.Pattern[str]) -> Iterator[tuple[tuple[str, ...], float]]:
    """(the parts of ``shape`` in lower case, weight) of each element that is well formed."""
    for element in _ELEMENT.findall(header):
        head, _, _ = element.partition(";")
        matched = shape.fullmatch(head.strip(" \t"))
        if matched is None:
            continue
        weight = _WEIGHT.search(element)
        if weight is None and _HAS_WEIGHT.search(element):
            continue
        parts = matched.groups() or (matched[0],)
        yield tuple(part.lower() for part in parts), 1.0 if weight is None else float(weight[1])
