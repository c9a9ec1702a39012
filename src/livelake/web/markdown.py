"""Descriptions in Markdown: CommonMark with tables, from markdown-it's tokens to our own elements. Pure.

markdown-it reads; what is written goes through `livelake.web.html`, so that escaping does not depend on a
renderer's settings. Raw HTML is text. A link leads to http, https, mailto or a relative place, else it is its
text alone; a picture is its description, because a page asks nobody but its own server. Headings begin below
those of the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from livelake.web.html import Attribute, Markup, h, is_safe_url, join

LONGEST = 20_000
"""Characters that are read as Markdown; a longer text is shown as it is."""

# No images, and no autolinks of raw HTML: both come out as text or as the link's words.
_READ = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable("table").disable("html_block")
_READ.disable("html_inline")

# Tokens that open an element, and the element that is written for them.
_ELEMENTS = {
    "paragraph": "p", "blockquote": "blockquote", "bullet_list": "ul", "ordered_list": "ol", "list_item": "li",
    "em": "em", "strong": "strong", "table": "table", "thead": "thead", "tbody": "tbody", "tr": "tr", "th": "th",
    "td": "td",
}  # fmt: skip
_LOWEST_HEADING = 4


@lru_cache(maxsize=512)
def render(text: str) -> Markup:
    """`text` as markup. The same text gives the same bytes; texts are few, so they are read once."""
    if len(text) > LONGEST:
        return h("p", {}, text)
    tokens = iter(_READ.parse(text))
    return join(_children(tokens))


@lru_cache(maxsize=512)
def plain(text: str) -> str:
    """The words alone, on one line: for a place where a link or a list cannot stand."""
    if len(text) > LONGEST:
        return text
    return " ".join(" ".join(_words(_READ.parse(text))).split())


def _children(tokens: Iterator[Token]) -> Iterator[Markup | str]:
    """What lies before the next closing token, which is taken too. As deep as `maxNesting` lets it be."""
    for token in tokens:
        if token.nesting < 0:
            return
        if token.nesting > 0:
            inside = list(_children(tokens))
            yield join(inside) if token.hidden else _element(token, inside)
        elif token.type == "inline":
            yield from _children(iter(token.children or ()))
        else:
            yield _leaf(token)


def _element(token: Token, inside: Sequence[Markup | str]) -> Markup:
    kind = token.type.removesuffix("_open")
    if kind == "heading":
        return h(f"h{min(int(token.tag[1:]) + 2, _LOWEST_HEADING)}", {}, *inside)
    if kind == "link":
        return _link(str(token.attrs.get("href", "")), inside)
    if kind == "table":
        region: dict[str, Attribute] = {"class": "scroll", "tabindex": 0, "role": "region", "aria-label": "Table"}
        return h("div", region, h("table", {}, *inside))
    name = _ELEMENTS.get(kind)
    if name is None:
        return join(inside)
    is_right = "right" in str(token.attrs.get("style", ""))
    return h(name, {"class": "num" if is_right else None}, *inside)


def _link(target: str, inside: Sequence[Markup | str]) -> Markup:
    attributes: dict[str, Attribute] = {"href": target, "rel": "noreferrer"}
    return h("a", attributes, *inside) if is_safe_url(target) else join(inside)


def _leaf(token: Token) -> Markup | str:
    match token.type:
        case "softbreak":
            return "\n"
        case "hardbreak":
            return h("br", {})
        case "hr":
            return h("hr", {})
        case "code_inline":
            return h("code", {}, token.content)
        case "fence" | "code_block":
            return h("pre", {"tabindex": 0}, h("code", {}, token.content))
        case _:  # text, and the description of a picture
            return _text(token)


def _words(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type == "inline":
            # Inside a line words and marks touch: **a**b is one word.
            yield "".join(_inline(token.children or ()))
        elif token.nesting == 0:
            yield token.content


def _inline(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        yield " " if token.type.endswith("break") else _text(token)


def _text(token: Token) -> str:
    return token.content if token.type != "image" else "".join(_inline(token.children or ()))
