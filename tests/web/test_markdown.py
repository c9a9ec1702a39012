"""Descriptions: Markdown that is read, and everything else as text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livelake.web import markdown
from livelake.web.html import Markup, is_safe_url

LIST = "p em strong code pre blockquote ul ol li h3 h4 a br hr table thead tbody tr th td div"
WRITTEN = frozenset(LIST.split())


def tree(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<main>{markdown.render(text)}</main>")


@pytest.mark.parametrize(("text", "written"), [
    ("plain", "<p>plain</p>"),
    ("*a* **b** `c<d`", "<p><em>a</em> <strong>b</strong> <code>c&lt;d</code></p>"),
    ("one\n\ntwo  \nthree", "<p>one</p><p>two<br/>three</p>"),
    ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
    ("1. a\n2. b", "<ol><li>a</li><li>b</li></ol>"),
    ("# a\n### b", "<h3>a</h3><h4>b</h4>"),
    ("> a", "<blockquote><p>a</p></blockquote>"),
    ("[x](/d/other?a=1&b=2)", '<p><a href="/d/other?a=1&amp;b=2" rel="noreferrer">x</a></p>'),
    ("[x](mailto:a@b.example)", '<p><a href="mailto:a@b.example" rel="noreferrer">x</a></p>'),
    ("<https://example.org>", '<p><a href="https://example.org" rel="noreferrer">https://example.org</a></p>'),
    ("    code", '<pre tabindex="0"><code>code\n</code></pre>'),
    ("```sql\nSELECT 1 < 2\n```", '<pre tabindex="0"><code>SELECT 1 &lt; 2\n</code></pre>'),
    ("a\n\n---\n\nb", "<p>a</p><hr/><p>b</p>"),
])  # fmt: skip
def test_markdown_is_read(text: str, written: str) -> None:
    assert markdown.render(text).replace("\n</li>", "</li>") == written


def test_a_table_is_read_and_its_numbers_stand_to_the_right() -> None:
    root = tree("| a | b |\n|---|--:|\n| x | 1 |")
    assert [(cell.text, cell.get("class")) for cell in root.iter("td")] == [("x", None), ("1", "num")]


@pytest.mark.parametrize("target", [
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "&#106;avascript:alert(1)",
    "data:text/html,<script>alert(1)</script>", "vbscript:x", "file:///etc/passwd", "blob:x", "\x01javascript:x",
])  # fmt: skip
def test_a_link_that_could_run_or_read_something_is_its_words_alone(target: str) -> None:
    for text in (f"[words]({target})", f"[words](<{target}>)", f"<{target}>", f"[words]\n\n[words]: {target}"):
        targets = [link.attrib["href"] for link in tree(text).iter("a")]
        # A control character is written as %01, which no scheme may hold: the target is relative then.
        assert all(re.match(r"(\w+)?%0\d", one) and is_safe_url(one) for one in targets)


def test_a_picture_is_its_description_because_a_page_asks_nobody_else() -> None:
    assert markdown.render("![the *sea*](https://example.org/x.png)") == "<p>the sea</p>"


def test_html_is_text(hostile: str) -> None:
    for text in (hostile, f"a *b* {hostile}", f"- {hostile}", f"[{hostile}](/x)", f"`{hostile}`", f"# {hostile}"):
        elements = {element.tag for element in tree(text).iter()} - {"main"}
        assert elements <= WRITTEN, text


MARKS = st.text(st.sampled_from("*_`[]()<>!#-|\\&;:\"'/ \n\tab1"), max_size=80)


@given(MARKS | st.text(st.characters(exclude_categories=()), max_size=80))
def test_any_text_gives_well_formed_elements_from_the_list(text: str) -> None:
    found = markdown.render(text)
    assert type(found) is Markup
    for element in ElementTree.fromstring(f"<main>{found}</main>").iter():
        assert element.tag in WRITTEN | {"main"}
        assert set(element.attrib) <= {"href", "rel", "class", "tabindex", "role", "aria-label"}
        assert is_safe_url(element.attrib.get("href", ""))


@given(st.text(st.characters(categories=["L", "N", "Zs"]), max_size=60))
def test_words_survive(text: str) -> None:
    seen: list[str] = []
    parser = HTMLParser()
    parser.handle_data = seen.append  # type: ignore[method-assign]
    parser.feed(markdown.render("x " + text))
    parser.close()
    assert "".join("".join(seen).split()) == "".join(("x" + text).split())


def test_plain_is_the_words_on_one_line() -> None:
    assert markdown.plain("# A *b*c\n\n- [d](/e) `f`\n- ![g](h)\n\n<b>i</b>") == "A bc d f g <b>i</b>"


def test_depth_and_length_are_bounded() -> None:
    assert markdown.render("> " * 500 + "x")
    assert markdown.render("*a" * 5_000)
    assert markdown.render("[" * 5_000)
    long = "*x* " * (markdown.LONGEST // 4 + 1)
    assert re.fullmatch(r"<p>(\*x\* )+</p>", markdown.render(long))
