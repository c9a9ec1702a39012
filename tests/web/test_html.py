"""Markup that cannot be injected into."""

from __future__ import annotations

import ast
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

import livelake.web
from livelake.web.html import EMPTY, Element, Markup, escape, h, is_safe_url, join, raw

WEB = Path(livelake.web.__file__).parent


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_one_text_node_or_one_attribute_value(text: str) -> None:
    element = ElementTree.fromstring(h("p", {"title": text}, text))
    assert list(element) == []
    assert set(element.attrib) == {"title"}
    blanks = str.maketrans("\t\n", "  ")  # XML reads these as spaces in an attribute; HTML does not
    assert (element.text or "").translate(blanks) == element.attrib["title"]


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff")))
def test_ordinary_text_survives_exactly(text: str) -> None:
    seen: list[str] = []
    parser = HTMLParser(convert_charrefs=True)
    parser.handle_data = seen.append  # type: ignore[method-assign]
    parser.feed(h("p", {}, text))
    parser.close()
    assert "".join(seen) == text


def test_hostile_text_makes_no_element(hostile: str) -> None:
    element = ElementTree.fromstring(h("div", {"class": hostile, "data-age": hostile}, hostile, h("b", {}, hostile)))
    assert [child.tag for child in element.iter()] == ["div", "b"]
    assert set(element.attrib) == {"class", "data-age"}


def test_markup_is_kept_and_its_string_operations_are_plain_again() -> None:
    inner = h("b", {}, "x")
    assert h("p", {}, inner) == "<p><b>x</b></p>"
    assert h("p", {}, inner + "<i>") == "<p>&lt;b&gt;x&lt;/b&gt;&lt;i&gt;</p>"
    assert type(f"{inner}") is str
    assert type(inner.upper()) is str


def test_markup_in_an_attribute_is_escaped() -> None:
    assert h("p", {"title": raw('"><b>')}) == '<p title="&quot;&gt;&lt;b&gt;"></p>'


def test_none_and_false_vanish_and_true_is_bare() -> None:
    assert h("input", {"value": None, "disabled": False, "required": True}) == "<input required/>"
    assert h("p", {}, None, "a", EMPTY, 3) == "<p>a3</p>"


@pytest.mark.parametrize(
    "name",
    [
        "onclick",
        "ONLOAD",
        "style",
        "srcdoc",
        "data-on-click",
        "x y",
        "a=b",
        'a"',
        "",
        "xlink:href",
        "formaction",
        "http-equiv",
    ],
)
def test_an_attribute_that_is_not_listed_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not an attribute"):
        h("p", {name: "x"})


@pytest.mark.parametrize(
    "tag", ["iframe", "object", "style", "base", "p onclick", "P", "", "foreignObject", "animate", "use"]
)
def test_an_element_that_is_not_listed_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="not an element"):
        h(tag, {})


@pytest.mark.parametrize("url", [
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "\tjava\nscript:alert(1)",
    "\x01javascript:x", "java\tscript:x", "data:text/html,<script>", "vbscript:x", "file:///etc/passwd", "blob:x",
])  # fmt: skip
@pytest.mark.parametrize("name", ["href", "src", "action"])
def test_a_link_that_could_run_a_script_is_refused(name: str, url: str) -> None:
    assert not is_safe_url(url)
    with pytest.raises(ValueError, match="not a link"):
        h("a", {name: url})


@pytest.mark.parametrize(
    "url", ["/d/a?b=c:d", "a/b:c", "#top", "?q=javascript:x", "https://x.org/", "mailto:a@b.c", ""]
)
def test_an_ordinary_link_passes(url: str) -> None:
    assert is_safe_url(url)


def test_void_elements_and_scripts_take_no_content() -> None:
    assert h("script", {"src": "/a.js", "defer": True}) == '<script src="/a.js" defer></script>'
    for tag in ("br", "script"):
        with pytest.raises(ValueError, match="no content"):
            h(tag, {}, "x")


def test_an_element_is_written_once_and_filled_often() -> None:
    cell = Element("td", {"class": "num"})
    assert join([cell("<"), cell(escape(">"))]) == '<td class="num">&lt;</td><td class="num">&gt;</td>'


def test_markup_is_made_in_html_alone_and_raw_takes_constants() -> None:
    for path in WEB.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id == "Markup":
                    assert path.name == "html.py", f"{path}:{node.lineno} makes Markup of its own"
                if node.func.id == "raw":
                    assert isinstance(node.args[0], ast.Constant), (
                        f"{path}:{node.lineno} trusts what it did not write"
                    )


def test_join_escapes_plain_strings_and_its_separator() -> None:
    assert join(["<", h("b", {}), None], "&") == "&lt;&amp;<b></b>&amp;"
    assert isinstance(join([]), Markup)
