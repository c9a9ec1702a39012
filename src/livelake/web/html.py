"""HTML and SVG that are escaped by construction.

`h` builds an element: strings among its children and attributes are escaped, names of elements and attributes
come from a list, and what cannot be made safe by escaping (event handlers, styles, frames, inline scripts,
``javascript:`` links) has no spelling. Only `h`, `raw`, `join` and an `Element` make `Markup`; every string
operation on it gives a plain string, which would be escaped again. So a mistake shows as ``&lt;``, never as
an element.

The output is well-formed XML too, save for bare attributes (``True``). Characters that XML forbids become
U+FFFD; a carriage return becomes ``&#13;`` and survives server-sent events. Pure and safe from any thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import LiteralString

Attribute = str | int | bool | None
Child = str | int | None

_VOID = frozenset(["br", "col", "hr", "img", "input", "link", "meta"])
_HTML = """a abbr article b blockquote body button caption code datalist dd details div dl dt em fieldset
    figcaption figure footer form h1 h2 h3 h4 head header html i label legend li main nav noscript ol option output
    p pre script section select small span strong summary table tbody td tfoot th thead time title tr ul"""
_SVG = "svg g path rect circle line polyline polygon text tspan desc"
_TAGS = _VOID | frozenset(f"{_HTML} {_SVG}".split())

_URLS = frozenset(["href", "src", "action"])
_HTML_NAMES = """id class lang title role tabindex rel type name value content charset media for form list
    method placeholder min max minlength maxlength step inputmode required disabled checked selected readonly
    autocomplete colspan rowspan scope datetime open hidden dir width height alt download defer"""
_SVG_NAMES = """viewBox preserveAspectRatio x y x1 x2 y1 y2 cx cy r rx ry d points fill stroke stroke-width
    vector-effect text-anchor dx dy transform opacity focusable"""
# By name, because any other data-* attribute is code to Datastar's client.
_DATA_NAMES = "data-age data-default data-live data-order data-state"
_NAMES = _URLS | frozenset(f"{_HTML_NAMES} {_SVG_NAMES} {_DATA_NAMES}".split())
_ARIA = re.compile(r"aria-[a-z]+")

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "\r": "&#13;"}
_SPECIAL = re.compile("[&<>\"'\r\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_IGNORED_IN_URLS = re.compile(r"^[\0- ]+|[\t\r\n]")
_SAFE_SCHEMES = frozenset({"http", "https", "mailto"})


class Markup(str):
    """Text that is markup already. Made by this module only; a test reads the source and holds that."""

    __slots__ = ()


EMPTY = Markup()


def escape(text: str) -> Markup:
    """`text` for any place: content, or an attribute in quotes. Markup is returned as it is."""
    if isinstance(text, Markup):
        return text
    return Markup(_SPECIAL.sub(_escaped, text))


def raw(constant: LiteralString) -> Markup:
    """A constant of ours as markup. Never call it with anything that came from outside."""
    return Markup(constant)


def join(children: Iterable[Child], separator: str = "") -> Markup:
    """Children beside each other, escaped as in `h`."""
    return Markup(escape(separator).join([_content(child) for child in children]))


def h(tag: str, attributes: Mapping[str, Attribute], *children: Child) -> Markup:
    """An element. None and False drop an attribute or child, True leaves the attribute bare.

    Raises `ValueError` for a name that is not on the list, for a link that is not http, https, mailto or
    relative, and for content in a void element or a script.
    """
    return Element(tag, attributes)(*children)


class Element:
    """An element whose tag and attributes are checked and written once, then filled many times."""

    __slots__ = ("_end", "_start", "_takes_children")

    def __init__(self, tag: str, attributes: Mapping[str, Attribute]) -> None:
        if tag not in _TAGS:
            raise ValueError(f"<{tag}> is not an element that livelake writes")
        written = "".join([_attribute(name, value) for name, value in attributes.items()])
        self._takes_children = tag not in _VOID and tag != "script"
        self._start = f"<{tag}{written}/>" if tag in _VOID else f"<{tag}{written}>"
        self._end = "" if tag in _VOID else f"</{tag}>"

    def __call__(self, *children: Child) -> Markup:
        if children and not self._takes_children:
            raise ValueError(f"{self._start} takes no content")
        return Markup(self._start + "".join([_content(child) for child in children]) + self._end)


def is_safe_url(url: str) -> bool:
    """Whether a link to `url` cannot run a script: relative, or http, https or mailto."""
    # Browsers drop leading blanks and controls, and tabs and line ends anywhere, before they read the scheme.
    scheme = _SCHEME.match(_IGNORED_IN_URLS.sub("", url))
    return scheme is None or scheme[1].lower() in _SAFE_SCHEMES


def _escaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0], "\ufffd")


def _content(child: Child) -> str:
    if isinstance(child, str):
        return child if isinstance(child, Markup) else _SPECIAL.sub(_escaped, child)
    return "" if child is None or child is False else str(int(child))


def _attribute(name: str, value: Attribute) -> str:
    if name not in _NAMES and not _ARIA.fullmatch(name):
        raise ValueError(f"{name!r} is not an attribute that livelake writes")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    text = str(value)
    if name in _URLS and not is_safe_url(text):
        raise ValueError(f"{name}={text!r} is not a link to http, https, mailto or a relative path")
    # str() of Markup is its text: an attribute is escaped whatever it holds.
    return f' {name}="{_SPECIAL.sub(_escaped, text)}"'
