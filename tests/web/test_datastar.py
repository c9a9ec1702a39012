"""Datastar's events, byte for byte as datastar-py 1.0.3 wrote them when these were recorded."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livelake.web import datastar
from livelake.web.html import h

RECORDED = [
    (
        datastar.patch_elements('<div id="a">x</div>'),
        b'event: datastar-patch-elements\ndata: elements <div id="a">x</div>\n\n',
    ),
    (
        datastar.patch_elements("<p>\n one\n two</p>", selector="#log", mode="append", id="42"),
        b"event: datastar-patch-elements\nid: 42\ndata: mode append\ndata: selector #log\n"
        b"data: elements <p>\ndata: elements  one\ndata: elements  two</p>\n\n",
    ),
    (
        datastar.patch_elements("", selector="#x", mode="remove"),
        b"event: datastar-patch-elements\ndata: mode remove\ndata: selector #x\n\n",
    ),
    (
        datastar.patch_elements("<i>é–漢</i>", selector="main > .a", mode="inner"),
        b"event: datastar-patch-elements\ndata: mode inner\ndata: selector main > .a\n"
        b"data: elements <i>\xc3\xa9\xe2\x80\x93\xe6\xbc\xa2</i>\n\n",
    ),
    (
        datastar.patch_elements('<b id="b"></b>', mode="replace"),
        b'event: datastar-patch-elements\ndata: mode replace\ndata: elements <b id="b"></b>\n\n',
    ),
    (
        datastar.patch_signals({"a": 1, "b": {"c": "é\n"}}),
        b'event: datastar-patch-signals\ndata: signals {"a":1,"b":{"c":"\\u00e9\\n"}}\n\n',
    ),
    (
        datastar.patch_signals({"a": None}, only_if_missing=True, id="7"),
        b'event: datastar-patch-signals\nid: 7\ndata: onlyIfMissing true\ndata: signals {"a":null}\n\n',
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), RECORDED)
def test_the_bytes_are_those_of_datastar_py(ours: bytes, theirs: bytes) -> None:
    assert ours == theirs


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_any_text_in_an_element_arrives_whole(text: str) -> None:
    markup = h("p", {"id": "p", "title": text}, text)
    wire = datastar.patch_elements(markup).decode()
    assert "\r" not in wire  # escaped: a bare one would end a line
    lines = wire.removesuffix("\n\n").split("\n")
    assert lines[0] == "event: datastar-patch-elements"
    assert all(line.startswith("data: elements ") for line in lines[1:])
    assert "\n".join(line.removeprefix("data: elements ") for line in lines[1:]) == markup


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.booleans() | st.none()))
def test_signals_arrive_as_they_were(signals: dict[str, object]) -> None:
    wire = datastar.patch_signals(signals).decode()
    assert wire.count("\n") == 3
    assert json.loads(wire.split("data: signals ")[1]) == signals


@pytest.mark.parametrize("selector", ["#a\ndata: elements <script>", "#a\r#b"])
def test_a_selector_cannot_inject_a_line(selector: str) -> None:
    with pytest.raises(ValueError, match="selector"):
        datastar.patch_elements("<p></p>", selector=selector)


@pytest.mark.parametrize("mode", ["inner", "append", "prepend", "before", "after", "remove"])
def test_modes_without_an_own_target_need_a_selector(mode: datastar.Mode) -> None:
    with pytest.raises(ValueError, match="needs a selector"):
        datastar.patch_elements("<p></p>", mode=mode)


def test_an_unknown_mode_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="append, before"):
        datastar.patch_elements("<p></p>", mode="morph")  # type: ignore[arg-type]


def test_nan_is_no_signal() -> None:
    with pytest.raises(ValueError, match="JSON"):
        datastar.patch_signals({"a": float("nan")})


def test_the_heartbeat_is_a_comment_and_a_tick_without_an_id() -> None:
    beat = datastar.heartbeat(datetime(2026, 1, 1, 0, 0, 0, 250_000, UTC))
    assert beat == b": tick\n\nevent: livelake-tick\ndata: 1767225600250\n\n"
