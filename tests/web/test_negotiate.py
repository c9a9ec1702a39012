"""Negotiation against an oracle that reads RFC 9110, 12.5 literally."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livelake.web.negotiate import MEDIA_TYPES, OFFERS, choose_coding, choose_format, split_suffix

Range = tuple[str, str, list[str], str | None]
"""Type, subtype, parameters, weight as written."""

MIME = [media_type.split("/") for media_type in MEDIA_TYPES.values()]
KINDS = st.sampled_from([*{kind for kind, _ in MIME}, "image", "*"])
SUBTYPES = st.sampled_from([*{subtype for _, subtype in MIME}, "png", "*"])
PARAMETERS = st.lists(st.sampled_from(["charset=utf-8", 'x="a, b;c"', 'y="\\""']), max_size=2)
WEIGHTS = st.none() | st.sampled_from(["0", "0.", "0.001", "0.3", "0.30", "0.5", "0.999", "1", "1.000"])
RANGES = st.lists(st.tuples(KINDS, SUBTYPES, PARAMETERS, WEIGHTS), max_size=6)
BLANK = st.sampled_from(["", " ", "\t", "  "])


@st.composite
def written(draw: st.DrawFn, ranges: Sequence[Range]) -> str:
    """The ranges as a header, in any case, with any blanks and empty elements."""
    elements = []
    for kind, subtype, parameters, weight in ranges:
        text = f"{kind}/{subtype}"
        text = text.upper() if draw(st.booleans()) else text
        for each in [*parameters, *([] if weight is None else [draw(st.sampled_from(["q=", "Q="])) + weight])]:
            text += f"{draw(BLANK)};{draw(BLANK)}{each}"
        elements += [f"{draw(BLANK)}{text}{draw(BLANK)}", *([""] if draw(st.booleans()) else [])]
    return ",".join(elements)


def oracle(ranges: Sequence[Range]) -> str | None:
    """Weigh each offer by the ranges of the highest precedence that match it; take the first of the heaviest."""
    if not ranges:
        return "json"

    def weigh(media_type: str) -> float:
        kind, subtype = media_type.split("/")
        for precedence in [(kind, subtype), (kind, "*"), ("*", "*")]:
            alike = [1.0 if weight is None else float(weight) for k, s, _, weight in ranges if (k, s) == precedence]
            if alike:
                return max(alike)
        return 0.0

    weights = {offer: weigh(MEDIA_TYPES[offer]) for offer in OFFERS}
    heaviest = max(weights.values())
    return next((offer for offer in OFFERS if weights[offer] == heaviest), None) if heaviest else None


@given(st.data(), RANGES)
def test_the_form_is_the_one_that_the_rfc_gives(data: st.DataObject, ranges: list[Range]) -> None:
    assert choose_format(data.draw(written(ranges))) == oracle(ranges)


@given(st.text())
def test_any_text_is_answered(text: str) -> None:
    assert choose_format(text) in (*OFFERS, None)
    assert choose_coding(text) in ("gzip", "identity")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json"),
        ("text/*", "csv"),
        ("TEXT/CSV", "csv"),
        ("application/json;q=0.4, application/vnd.apache.parquet;q=0.5", "parquet"),
        ("application/*;q=0.5, application/json;q=0", "arrow"),
        ("*/*, application/json;q=0.1", "csv"),
        ("text/html", None),
        ("*/*;q=0", None),
        ("no media range", "json"),
        ("application/json;q=2, text/csv", "csv"),
        ("application/json;q = 0.5, text/csv;q=0.1", "csv"),
        ('text/html;x="application/json, */*"', None),
        ('text/html;x=", application/json', None),
    ],
)
def test_what_a_header_means(accept: str | None, form: str | None) -> None:
    assert choose_format(accept) == form


@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        (None, "identity"),
        ("", "identity"),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("GZIP;q=0.5", "gzip"),
        ("*", "gzip"),
        ("*;q=0", "identity"),
        ("gzip;q=0", "identity"),
        ("gzip;q=0, *", "identity"),
        ("gzip;q=0.5, identity", "identity"),
        ("identity;q=0.5, gzip", "gzip"),
        ("identity", "identity"),
        ("br", "identity"),
        ("gzip2", "identity"),
        ("identity;q=0", "identity"),
    ],
)
def test_what_a_coding_means(accept_encoding: str | None, coding: str) -> None:
    assert choose_coding(accept_encoding) == coding


@pytest.mark.parametrize("piece", ['"', '\\"', '"\\', ",", ";q=", "*/*,", ' "', '";'])
def test_a_long_header_is_read_in_linear_time(piece: str) -> None:
    """Quadratic, a megabyte would take hours, and the test its timeout."""
    choose_format(piece * (1_000_000 // len(piece)))
    choose_coding(piece * (1_000_000 // len(piece)))


def test_a_suffix_of_ours_is_cut_off_and_no_other() -> None:
    for form in OFFERS:
        assert split_suffix(f"totals.{form}") == ("totals", form)
    for name in ("totals", "totals.xml", "totals.JSON", "json", "totals.csv.", ""):
        assert split_suffix(name) == (name, None)
    assert split_suffix("totals.csv.json") == ("totals.csv", "json")
