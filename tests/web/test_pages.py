"""Pages and panels: semantics, states, a strict content security policy, and the static assets beside them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import livelake.web
from livelake.web.html import h
from livelake.web.pages import (
    DashboardCard,
    Link,
    PanelView,
    Site,
    dashboard_page,
    element_id,
    error_page,
    index_page,
    panel,
)

STATIC = Path(livelake.web.__file__).parent / "static"
THEN = datetime(2026, 3, 1, 13, 4, 5, 678_900, timezone(timedelta(hours=1)))
OUR_ELEMENTS = """html head meta title link script body a header i nav ul li p noscript main div h1 h2 section
    span time strong b"""
MARKDOWN = "em code pre blockquote ol hr h3 h4 table thead tbody tr th td br"
SCRIPTS = ["/static/theme.js", "/static/livelake.js", "/static/page.js"]
BODY = h("p", {}, "forty-two")


class Strict(HTMLParser):
    """Refuses what the policy would refuse, and remembers the elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert not any(name == "style" or name.startswith("on") for name in names), attrs
        assert tag not in ("style", "iframe", "img", "object", "base")
        if tag == "script":
            assert dict(attrs)["src"] in SCRIPTS
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def find(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag and wanted.items() <= attrs.items()]


def view(**more: Any) -> PanelView:
    return PanelView(**{"id": "load", "name": "load", "title": "Load", "computed_at": THEN, "body": BODY, **more})


def panel_of(**more: Any) -> ElementTree.Element:
    return ElementTree.fromstring(panel(view(**more)))


def test_a_panel_has_a_stable_id_a_heading_and_an_age() -> None:
    element = panel_of(span=2)
    assert element.get("id") == "panel-load"
    assert element.get("class") == "panel span-2"
    assert element.get("aria-labelledby") == "panel-load-title"
    time = element.find("header/time")
    assert time is not None
    assert time.get("datetime") == "2026-03-01T12:04:05.678Z"
    assert time.text == "12:04:05 UTC"
    assert element.find("header/span") is None


def test_a_stale_panel_says_so_and_keeps_its_last_good_body() -> None:
    element = panel_of(state="stale", message="IO Error")
    assert element.get("data-state") == "stale"
    assert element.findtext("header/span") == "Stale"
    assert "".join(element.find("p").itertext()) == "Showing the last good result: IO Error"  # type: ignore[union-attr]
    assert element.findtext("div/p") == "forty-two"


def test_a_panel_without_a_result_shows_its_error_in_place() -> None:
    element = panel_of(state="error", message="no such column", computed_at=None)
    assert element.findtext("header/span") == "Error"
    assert element.findtext("p") == "no such column"
    assert "forty-two" not in "".join(element.itertext())
    assert element.find("header/time") is None


def test_a_loading_panel_is_busy() -> None:
    assert panel_of(state="loading", body="").get("aria-busy") == "true"


def test_a_fresh_panel_does_not_show_a_message_that_was_left_behind() -> None:
    assert "old" not in panel(view(message="old"))


def test_a_span_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="span"):
        panel(view(span=5))


def test_element_ids_are_plain_and_distinct() -> None:
    names = ["a", "a b", "a_b", "a.b", "a/b", "ä", "a_20_b", "A", "", '"><x>', "a-b"]
    ids = [element_id(name) for name in names]
    assert len(set(ids)) == len(names)
    assert all(re.fullmatch(r"panel-[A-Za-z0-9_-]*", one) for one in ids)


def test_a_dashboard_says_where_its_changes_come_from_and_how_the_connection_is() -> None:
    nav = [Link("Space", "/d/space", is_current=True), Link("Trains", "/d/trains")]
    page = Strict(dashboard_page("Space", "Days", [view(), view(id="b")], "/live/space?limit=3&x=<", nav=nav))
    assert page.find("body")[0]["data-live"] == "/live/space?limit=3&x=<"
    assert page.find("p", role="status")[0]["data-state"] == "connecting"
    assert page.find("a", href="/d/space")[0]["aria-current"] == "page"
    assert page.find("meta", name="viewport")
    assert page.find("html", lang="en")
    assert len(page.find("section")) == 2
    assert page.find("link", rel="stylesheet") == [{"rel": "stylesheet", "href": "/static/livelake.css"}]
    assert "Space · livelake" in page.text


def test_a_still_page_has_no_connection() -> None:
    page = Strict(dashboard_page("Space", None, [], None))
    assert "data-live" not in page.find("body")[0]
    assert not page.find("p", role="status")


def test_the_index_links_every_dashboard() -> None:
    page = Strict(index_page([DashboardCard("A", "/d/a", "about", tuple("abcdefgh")), DashboardCard("B", "/d/b")]))
    assert [one["href"] for one in page.find("a") if "/d/" in (one["href"] or "")] == ["/d/a", "/d/b"]
    assert "a, b, c, d, e, f, …" in page.text
    assert "No dashboards yet" in index_page([])


def test_assets_carry_the_version_and_the_mount() -> None:
    page = error_page(404, "Gone", "x", site=Site(static_url="/lake/static", home_url="/lake/", version="a1"))
    assert 'href="/lake/static/livelake.css?v=a1"' in page
    assert 'href="/lake/"' in page


def test_hostile_text_is_only_text_in_every_position(hostile: str) -> None:
    site = Site(name=hostile)
    bad = {"id": hostile, "name": hostile, "title": hostile, "description": hostile, "message": hostile}
    views = [
        PanelView(**bad, state=state, body=h("b", {}, hostile)) for state in ("fresh", "stale", "error", "loading")
    ]  # type: ignore[arg-type]
    card = DashboardCard(hostile, "/d/x", hostile, (hostile,))
    pages = [
        dashboard_page(hostile, hostile, views, "/live?q=" + hostile, nav=[Link(hostile, "/")], site=site),
        index_page([card], site=site),
        error_page(500, hostile, hostile, site=site),
    ]
    for page in pages:
        parsed = Strict(page)
        assert [script["src"] for script in parsed.find("script")] == SCRIPTS
        assert {tag for tag, _ in parsed.elements} <= set(OUR_ELEMENTS.split()) | set(MARKDOWN.split())
        assert not [link for link in parsed.find("a") if "script" in (link["href"] or "")[:20]]


@pytest.mark.parametrize("make", [
    lambda url: dashboard_page("x", None, [], None, nav=[Link("x", url)]),
    lambda url: index_page([DashboardCard("x", url)]),
    lambda url: error_page(404, "x", "y", site=Site(home_url=url)),
])  # fmt: skip
def test_a_link_that_runs_a_script_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="not a link"):
        make("javascript:alert(1)")


# ---- static assets


def schemes() -> list[dict[str, str]]:
    css = (STATIC / "livelake.css").read_text()
    pairs = re.findall(r"--([a-z0-9-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", css)
    return [{name: light for name, light, _ in pairs}, {name: dark for name, _, dark in pairs}]


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_lines_have_the_contrast_of_wcag_aa(scheme: int) -> None:
    colors = schemes()[scheme]
    pairs = [(ink, ground) for ink in ("ink", "quiet", "accent") for ground in ("surface", "ground")]
    for ink, ground in [
        *pairs,
        ("warn", "warn-ground"),
        ("warn", "surface"),
        ("bad", "bad-ground"),
        ("bad", "ground"),
        ("good", "surface"),
    ]:
        assert contrast(colors[ink], colors[ground]) >= 4.5, (ink, ground)
    for index in range(8):
        assert contrast(colors[f"c{index}"], colors["surface"]) >= 3, index
    for ground in ("surface", "ground"):  # the edge of a control is what shows that it is one
        assert contrast(colors["edge"], colors[ground]) >= 3, ground


@pytest.mark.parametrize("name", ["theme.js", "livelake.js", "page.js"])
def test_the_scripts_are_small_and_ask_nobody_else(name: str) -> None:
    script = (STATIC / name).read_text()
    assert len(script) < 14_000
    assert not re.search(r"\beval\b|new Function|document\.write|insertAdjacentHTML|outerHTML|https?://", script)
    assert script.count("innerHTML") == (
        1 if name == "livelake.js" else 0
    )  # the server's own markup, into a template


def test_the_style_asks_nobody_else() -> None:
    assert not re.search(r"@import|https?:|@font-face", (STATIC / "livelake.css").read_text())


def test_a_panel_leads_to_the_reasons_of_its_result() -> None:
    link = panel_of(why_url="/why/load?a=%26").find("header/a")
    assert link is not None
    assert link.get("href") == "/why/load?a=%26"
    assert "Load" in (link.get("aria-label") or "")
    assert panel_of().find("header/a") is None


def test_descriptions_are_markdown_and_a_card_shows_their_words_alone() -> None:
    text = "What *all* of [us](https://example.org) see"
    assert panel_of(description=text).find("div/p/em") is not None
    assert "<em>all</em>" in dashboard_page("x", text, [], None)
    card = index_page([DashboardCard("x", "/d/x", text)])
    assert "What all of us see" in card
    assert "example.org" not in card


def test_an_age_does_not_make_equal_panels_differ() -> None:
    assert panel(view(computed_at=THEN)) == panel(view(computed_at=THEN.astimezone(UTC)))
