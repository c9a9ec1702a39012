"""Frames against a small parser that follows the HTML standard's event stream interpretation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livelake.web import sse

ANY_TEXT = st.text(st.characters(exclude_categories=()) | st.sampled_from("\r\n\x85\u2028\u2029\x0b\x0c\0\ufeff :"))
ONE_LINE = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=("Cs",)))


@dataclass
class Parsed:
    event: str
    data: str
    last_id: str


@dataclass
class Parser:
    """Naive and literal: decode, split on CRLF, LF or CR, then field by field."""

    last_id: str = ""
    retry: int | None = None
    events: list[Parsed] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)

    def feed(self, stream: bytes) -> Parser:
        text = stream.decode("utf-8", errors="replace").removeprefix("\ufeff")
        data = event = ""
        lines = re.split(r"\r\n|\n|\r", text)
        assert lines.pop() == "", "a frame is complete"
        for line in lines:
            if line == "":
                if data:
                    self.events.append(Parsed(event or "message", data.removesuffix("\n"), self.last_id))
                data = event = ""
                continue
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "":
                self.comments.append(value)
            elif name == "event":
                event = value
            elif name == "data":
                data += value + "\n"
            elif name == "id" and "\0" not in value:
                self.last_id = value
            elif name == "retry" and value.isascii() and value.isdigit():
                self.retry = int(value)
        return self


def carried(text: str) -> str:
    """What the format can carry: line ends become one, what is no character becomes U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


@given(data=ANY_TEXT, event=ONE_LINE, ident=ONE_LINE, retry=st.none() | st.integers(0, 10**9))
def test_what_a_client_parses_is_what_was_sent(data: str, event: str, ident: str, retry: int | None) -> None:
    parser = Parser().feed(sse.frame(event=event, data=data, id=ident, retry_ms=retry))
    assert parser.events == [Parsed(event or "message", carried(data), ident)]
    assert parser.retry == retry


@given(st.lists(ANY_TEXT, min_size=1))
def test_several_strings_are_joined_by_line_ends(lines: list[str]) -> None:
    assert Parser().feed(sse.frame(data=iter(lines))).events[0].data == "\n".join(map(carried, lines))


@given(st.lists(ANY_TEXT | st.tuples(ANY_TEXT, ONE_LINE)))
def test_a_stream_of_frames_and_comments_parses_into_exactly_its_frames(parts: list[str | tuple[str, str]]) -> None:
    stream = b"".join(sse.comment(p) if isinstance(p, str) else sse.frame(data=p[0], id=p[1]) for p in parts)
    sent = [(carried(p[0]), p[1]) for p in parts if not isinstance(p, str)]
    assert [(event.data, event.last_id) for event in Parser().feed(stream).events] == sent


@given(ANY_TEXT)
def test_a_comment_dispatches_nothing_whatever_it_says(text: str) -> None:
    parser = Parser().feed(sse.comment(text))
    assert parser.events == []
    assert "\n".join(parser.comments) == carried(text)


@pytest.mark.parametrize("field_name", ["event", "id"])
@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\r\ndata: injected", "\n", "a\0"])
def test_a_line_end_or_nul_in_event_or_id_is_refused(field_name: str, bad: str) -> None:
    with pytest.raises(ValueError, match=field_name):
        sse.frame(data="x", **{field_name: bad})


def test_a_negative_retry_is_refused() -> None:
    with pytest.raises(ValueError, match="retry_ms"):
        sse.frame(data="x", retry_ms=-1)


def test_no_data_sets_retry_and_dispatches_nothing() -> None:
    assert sse.frame(data=(), retry_ms=1000) == b"retry: 1000\n\n"


def test_empty_data_is_still_an_event() -> None:
    assert Parser().feed(sse.frame(event="x", data="")).events == [Parsed("x", "", "")]


def test_the_bytes_use_line_feeds_alone_in_a_fixed_order() -> None:
    framed = sse.frame(event="e", data="a\r\nb", id="1", retry_ms=5)
    assert framed == b"event: e\nid: 1\nretry: 5\ndata: a\ndata: b\n\n"


def test_a_line_of_ten_megabytes_survives() -> None:
    data = "x" * 10_000_000
    assert Parser().feed(sse.frame(data=data)).events[0].data == data
