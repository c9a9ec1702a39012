"""Charts as the XML that a browser reads, with nothing in it that we do not write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

from livelake.web.charts import ChartSpec, render
from livelake.web.html import Markup

OUR_ELEMENTS = "div p ul li i b span dl dt dd table thead tbody tr th td svg g line rect circle path text title"
OUR_ATTRIBUTES = """class role aria-label width height viewBox preserveAspectRatio x x1 x2 y y1 y2 cx cy r rx d dx dy
    text-anchor tabindex scope"""
ELEMENTS, ATTRIBUTES = set(OUR_ELEMENTS.split()), set(OUR_ATTRIBUTES.split())
T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def parsed(markup: Markup) -> ElementTree.Element:
    """As XML, with nothing in it that we do not write."""
    root = ElementTree.fromstring(f"<root>{markup}</root>")
    for element in root.iter():
        assert element.tag in ELEMENTS | {"root"}, element.tag
        assert set(element.attrib) <= ATTRIBUTES, element.attrib
        for name in ("x", "y", "cx", "cy", "width", "height", "d", "x1", "y1"):
            assert not re.search("nan|inf", element.get(name, "")), element.attrib
    return root


def drawn(spec: Mapping[str, Any], rows: list[dict[str, Any]], **more: Any) -> ElementTree.Element:
    return parsed(
        render(ChartSpec.parse(spec), [(name, "") for name in rows[0]] if rows else [("a", "")], rows, **more)
    )


def words(root: ElementTree.Element) -> str:
    return " ".join(text.replace("\u00a0", " ") for text in root.itertext())


def times(count: int, **columns: Any) -> list[dict[str, Any]]:
    return [{"at": T0 + timedelta(seconds=i), **{k: make(i) for k, make in columns.items()}} for i in range(count)]
