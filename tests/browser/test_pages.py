"""What people do on a page: choose, sort, turn pages, ask why; by mouse, by keyboard, on a phone, without scripts."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from browser.serving import Processes, commit

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

PARAMETERS = """params.region.type = "choice"
params.region.from = "SELECT DISTINCT region FROM shop.main.orders ORDER BY region"
params.region.default = "east"
params.least = { type = "integer", default = 0, min = 0, max = 100, title = "Least amount" }
params.most = { type = "integer", default = 100, min = 0, max = 100 }"""
FOLDER = {
    "shop/livelake.toml": """attach = { shop = "ducklake:sqlite:../../shop.sqlite" }
title = "The shop"
description = "What *all* regions [sell](/d/shop?region=west)."
order = ["total", "few", "many"]
""",
    "shop/total.sql": f"""/*---
chart = {{ mark = "value", y = "total" }}
{PARAMETERS}
---*/
SELECT sum(amount) AS total FROM shop.main.orders WHERE region = $region AND amount BETWEEN $least AND $most""",
    "shop/few.sql": "SELECT name, size FROM shop.main.few ORDER BY id",
    "shop/many.sql": """/*---
chart = { mark = "table", page_size = 10 }
---*/
SELECT n, n % 7 AS rest FROM shop.main.many ORDER BY n""",
    "asking/day.sql": """/*---
params.since = { type = "date", min = 2024-01-01 }
---*/
SELECT $since::DATE AS since""",
    "large/lots.sql": """/*---
chart = { mark = "table", page_size = 10 }
params.below = { type = "integer", default = 35, min = 0, max = 100 }
---*/
SELECT n FROM shop.main.many WHERE n < $below ORDER BY n""",
}
TABLES = [
    "CREATE TABLE orders AS SELECT * FROM (VALUES ('east', 10), ('east', 5), ('west', 7)) t(region, amount)",
    "CREATE TABLE few (id INTEGER, name VARCHAR, size INTEGER)",
    "INSERT INTO few VALUES (1, 'b', 2), (2, 'C', 30), (3, 'a', NULL), (4, 'd', 4)",
    "CREATE TABLE many AS SELECT i AS n FROM range(35) t(i)",
]
ROWS = "#panel-few tbody td:first-child"


@dataclass
class Shop:
    """A server and somebody who writes to its lake."""

    url: str
    writer: subprocess.Popen[str]

    def commit(self, sql: str) -> None:
        commit(self.writer, sql)

    def health(self) -> Any:
        with urllib.request.urlopen(f"{self.url}healthz") as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    processes = Processes(tmp_path_factory.mktemp("shop"))
    try:
        writer = processes.writer()
        for sql in TABLES:
            commit(writer, sql)
        yield Shop(processes.serve("serve", write(processes.folder), "--port", "0")[1], writer)
    finally:
        processes.close()


def write(root: Path) -> str:
    """The dashboards, in a folder of their own."""
    for name, text in FOLDER.items():
        (root / "dashboards" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "dashboards" / name).write_text(text)
    return str(root / "dashboards")


def live(tab: Any, url: str) -> None:
    """Open it; `same` tells later whether the page was ever loaded again."""
    tab.goto(url)
    expect(tab.locator("#connection")).to_have_text("Live")
    tab.evaluate("window.same = true")


def total(tab: Any) -> Any:
    return tab.locator("#panel-total .big")


# -- parameters ----------------------------------------------------------------------------------------


def test_a_choice_moves_the_page_and_its_url_without_a_reload(calm: Any, shop: Shop) -> None:
    live(calm, shop.url + "d/shop")
    expect(total(calm)).to_have_text("15")
    calm.select_option("#control-region", "west")
    expect(total(calm)).to_have_text("7")
    expect(calm).to_have_url(shop.url + "d/shop?region=west")
    expect(calm.locator("#connection")).to_have_text("Live")
    calm.fill("#control-least", "8")
    calm.press("#control-least", "Enter")
    expect(total(calm)).to_have_text("—")
    expect(calm).to_have_url(shop.url + "d/shop?region=west&least=8")
    calm.go_back()
    expect(total(calm)).to_have_text("7")
    expect(calm.locator("#control-least")).to_have_value("0")
    calm.go_back()
    expect(total(calm)).to_have_text("15")
    expect(calm.locator("#control-region")).to_have_value("east")
    expect(calm).to_have_url(shop.url + "d/shop")
    calm.go_forward()
    expect(total(calm)).to_have_text("7")
    assert calm.evaluate("window.same") is True
    calm.locator(".reset").click()
    expect(total(calm)).to_have_text("15")
    expect(calm.locator(".reset")).to_be_hidden()
    assert calm.evaluate("window.same") is True


def test_a_link_that_was_shared_shows_the_same_and_goes_on_moving(calm: Any, shop: Shop) -> None:
    live(calm, shop.url + "d/shop?region=west&least=7")
    expect(calm.locator("#control-region")).to_have_value("west")
    expect(calm.locator("#control-least")).to_have_value("7")
    expect(total(calm)).to_have_text("7")
    shop.commit("INSERT INTO orders VALUES ('west', 50)")
    expect(total(calm)).to_have_text("57")
    calm.select_option("#control-region", "east")
    expect(total(calm)).to_have_text("10")
    shop.commit("INSERT INTO orders VALUES ('east', 90)")  # the stream is that of the new choice
    expect(total(calm)).to_have_text("100")
    shop.commit("DELETE FROM orders WHERE amount IN (50, 90)")
    expect(total(calm)).to_have_text("10")


def test_a_page_has_one_stream_whatever_was_chosen_on_it(calm: Any, shop: Shop) -> None:
    streams: list[str] = []
    ended: list[str] = []
    calm.on("request", lambda asked: streams.append(asked.url) if "/live/" in asked.url else None)
    calm.on("requestfailed", lambda asked: ended.append(asked.url) if "/live/" in asked.url else None)
    live(calm, shop.url + "d/shop")
    for region, shown in (("west", "7"), ("east", "15"), ("west", "7")):
        calm.select_option("#control-region", region)
        expect(total(calm)).to_have_text(shown)
        expect(calm.locator("#connection")).to_have_text("Live")
    assert len(streams) == 4
    assert sorted(ended) == sorted(streams[:-1])


def test_a_value_that_cannot_be_is_told_at_its_control_and_nothing_is_lost(tab: Any, shop: Shop) -> None:
    live(tab, shop.url + "d/shop?region=west")
    tab.fill("#control-least", "999")
    tab.press("#control-least", "Enter")
    note = tab.locator("#control-least-said")
    expect(note).to_be_visible()
    expect(note).to_contain_text("100")
    expect(tab.locator("#control-least")).to_have_attribute("aria-invalid", "true")
    expect(tab.locator("#control-least")).to_have_value("999")
    expect(tab).to_have_url(shop.url + "d/shop?region=west")
    expect(total(tab)).to_have_text("7")
    tab.fill("#control-most", "-1")
    tab.press("#control-most", "Enter")
    expect(tab.locator("#control-most-said")).to_be_visible()
    tab.fill("#control-least", "6")
    tab.press("#control-least", "Enter")
    expect(note).to_be_hidden()  # though the other is still wrong, and nothing was asked of the server
    expect(tab).to_have_url(shop.url + "d/shop?region=west")
    tab.fill("#control-most", "99")
    tab.press("#control-most", "Enter")
    expect(tab).to_have_url(shop.url + "d/shop?region=west&least=6&most=99")
    expect(tab.locator("#control-most-said")).to_be_hidden()
    expect(tab.locator("#control-least")).not_to_have_attribute("aria-invalid", "true")


def test_enter_in_a_control_sorts_no_table(calm: Any, shop: Shop) -> None:
    live(calm, shop.url + "d/shop")
    for least, shown in (("6", "10"), ("5", "15"), ("6", "10")):
        calm.fill("#control-least", least)
        calm.press("#control-least", "Enter")
        expect(total(calm)).to_have_text(shown)
        calm.press("#control-least", "Enter")  # nothing is new, and nothing is pressed either
        expect(calm.locator("#panel-few th[aria-sort]")).to_have_count(0)
        expect(calm.locator(ROWS)).to_have_text(["b", "C", "a", "d"])
        expect(calm).to_have_url(shop.url + f"d/shop?least={least}")
    assert calm.evaluate("window.same") is True


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_enter_in_a_control_keeps_the_order_that_the_server_gives_a_large_table(
    browser: Any, shop: Shop, scripts: bool
) -> None:
    context = browser.new_context(java_script_enabled=scripts)
    try:
        page = context.new_page()
        page.goto(shop.url + "d/large?below=30&lots.sort=-n")
        expect(page.locator("#panel-lots td").first).to_have_text("29")
        page.fill("#control-below", "20")
        page.press("#control-below", "Enter")
        expect(page.locator("#panel-lots td").first).to_have_text("19")
        expect(page).to_have_url(shop.url + "d/large?below=20&lots.sort=-n")
    finally:
        context.close()


def test_a_link_with_a_bad_value_can_be_mended_on_the_page(tab: Any, shop: Shop) -> None:
    tab.goto(shop.url + "d/shop?region=west&least=many")
    expect(tab.locator("#control-least")).to_have_value("many")
    expect(tab.locator("#control-least-said")).to_have_text("'many' was given; it must be a whole number, such as 42")
    expect(tab.locator("#panel-total .empty")).to_have_text("Waits for: Least amount")
    expect(tab.locator("#connection")).to_have_count(0)
    tab.fill("#control-least", "1")
    tab.press("#control-least", "Enter")
    expect(total(tab)).to_have_text("7")
    expect(tab.locator("#connection")).to_have_text("Live")
    expect(tab.locator("#control-least")).to_have_attribute("type", "number")


def test_a_page_that_lacks_a_value_asks_for_it(calm: Any, shop: Shop) -> None:
    calm.goto(shop.url + "d/asking")
    expect(calm.locator(".empty")).to_have_text("Waits for: Since")
    calm.fill("#control-since", "2024-02-29")
    expect(calm.locator("#panel-day td")).to_have_text("2024-02-29")
    expect(calm.locator("#connection")).to_have_text("Live")
    expect(calm).to_have_url(shop.url + "d/asking?since=2024-02-29")


def test_a_choice_made_while_the_server_is_away_is_shown_when_it_is_back(tab: Any, tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    try:
        writer = processes.writer()
        for sql in TABLES:
            commit(writer, sql)
        folder = write(tmp_path)
        serving, url = processes.serve("serve", folder, "--port", "0")
        live(tab, url + "d/shop")
        serving.kill()
        serving.wait()
        tab.select_option("#control-region", "west")
        expect(tab.locator("#connection")).to_have_text("Reconnecting…")
        expect(total(tab)).to_have_text("15")
        port = url.rstrip("/").rpartition(":")[2]
        processes.serve("serve", folder, "--port", port)
        expect(total(tab)).to_have_text("7")
        expect(tab.locator("#connection")).to_have_text("Live")
        assert tab.evaluate("window.same") is True
    finally:
        processes.close()


def test_without_scripts_forms_and_links_do_it_all(browser: Any, shop: Shop) -> None:
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(shop.url + "d/shop")
        page.select_option("#control-region", "west")
        page.get_by_role("button", name="Show").click()
        expect(total(page)).to_have_text("7")
        expect(page.locator("#control-region")).to_have_value("west")
        page.locator("#panel-many").get_by_role("button", name="Next page").click()
        expect(page.locator("#panel-many td").first).to_have_text("10")
        page.locator("#panel-few").get_by_role("button", name="name").click()
        expect(page.locator(ROWS)).to_have_text(["a", "b", "C", "d"])
        expect(page.locator("#panel-many td").first).to_have_text("10")  # what was chosen before is kept
        expect(total(page)).to_have_text("7")
        page.locator("#panel-few .why").click()
        expect(page.locator("body")).to_contain_text("reads shop.main.few")
    finally:
        context.close()


# -- tables --------------------------------------------------------------------------------------------


def test_a_small_table_sorts_where_it_stands_and_stays_sorted_as_it_moves(calm: Any, shop: Shop) -> None:
    asked: list[str] = []
    live(calm, shop.url + "d/shop")
    calm.on("request", lambda request: asked.append(request.url))
    head = calm.locator("#panel-few th").last
    expect(calm.locator(ROWS)).to_have_text(["b", "C", "a", "d"])
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    expect(calm.locator(ROWS)).to_have_text(["b", "d", "C", "a"])
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(calm.locator(ROWS)).to_have_text(["C", "d", "b", "a"])  # NULL stays last
    shop.commit("INSERT INTO few VALUES (5, 'e', 100)")
    expect(calm.locator(ROWS)).to_have_text(["e", "C", "d", "b", "a"])
    expect(head.get_by_role("button")).to_be_focused()
    head.get_by_role("button").click()
    expect(calm.locator(ROWS)).to_have_text(["b", "C", "a", "d", "e"])
    expect(calm.locator("#panel-few th[aria-sort]")).to_have_count(0)
    shop.commit("DELETE FROM few WHERE id = 5")
    expect(calm.locator(ROWS)).to_have_text(["b", "C", "a", "d"])
    assert not [url for url in asked if "/d/" in url]


def test_a_large_table_is_sorted_and_paged_by_the_server_and_keeps_page_and_focus(calm: Any, shop: Shop) -> None:
    live(calm, shop.url + "d/shop?region=west")
    panel = calm.locator("#panel-many")
    first = panel.locator("td").first
    onward = panel.get_by_role("button", name="Next page")
    onward.focus()
    onward.press("Enter")
    expect(first).to_have_text("10")
    expect(panel.locator(".pager")).to_contain_text("11–20 of 35 rows")
    expect(calm).to_have_url(shop.url + "d/shop?region=west&many.page=2")
    expect(onward).to_be_focused()
    shop.commit("INSERT INTO many VALUES (-1)")
    expect(first).to_have_text("9")
    expect(panel.locator(".pager")).to_contain_text("11–20 of 36 rows")
    expect(onward).to_be_focused()
    panel.get_by_role("button", name="rest").click()  # another order begins at its first page
    expect(first).to_have_text("-1")
    expect(calm).to_have_url(shop.url + "d/shop?region=west&many.sort=rest")
    panel.get_by_role("button", name="rest").click()
    expect(panel.locator("th").last).to_have_attribute("aria-sort", "descending")
    for _ in range(3):
        at = panel.locator(".at").inner_text()
        onward.click()
        expect(panel.locator(".at")).not_to_have_text(at)
    expect(onward).to_have_attribute("aria-disabled", "true")
    onward.press("Enter")
    expect(calm).to_have_url(shop.url + "d/shop?region=west&many.sort=-rest&many.page=4")
    assert calm.evaluate("window.same") is True
    shop.commit("DELETE FROM many WHERE n = -1")
    expect(panel.locator(".pager")).to_contain_text("31–35 of 35 rows")


# -- reasons, keyboard, colours, sizes -----------------------------------------------------------------


def test_the_reasons_of_a_panel_are_one_click_away_and_escape_closes_them(calm: Any, shop: Shop) -> None:
    live(calm, shop.url + "d/shop")
    why = calm.get_by_role("link", name="Why does Few show this?")
    why.click()
    dialog = calm.get_by_role("dialog", name="Few")
    expect(dialog).to_contain_text("kept: fresh")
    expect(dialog).to_contain_text("reads shop.main.few")
    expect(dialog.locator("details")).to_have_count(1)
    calm.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(why).to_be_focused()
    why.press("Enter")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)


def test_everything_can_be_done_by_keyboard(calm: Any, shop: Shop) -> None:
    live(calm, shop.url + "d/shop")

    def tab_to(*selectors: str) -> None:
        """Each in its turn; what lies between is passed over, but is seen to have the focus."""
        for selector in selectors:
            for _ in range(40):
                calm.keyboard.press("Tab")
                focused = calm.locator(":focus")
                expect(focused).to_be_visible()
                outline = focused.evaluate("(it) => getComputedStyle(it).outlineStyle")
                assert outline != "none"
                if calm.locator(selector).evaluate("(it) => it === document.activeElement"):
                    break
            else:
                raise AssertionError(f"{selector} cannot be reached")

    tab_to(".skip")
    calm.keyboard.press("Enter")
    expect(calm.locator("main")).to_be_focused()
    tab_to("#control-region")
    calm.keyboard.press("w")
    expect(total(calm)).to_have_text("7")
    expect(calm.locator("#control-region")).to_be_focused()
    tab_to("#panel-few .why", "#panel-few th:first-child button")
    calm.keyboard.press("Enter")
    expect(calm.locator(ROWS)).to_have_text(["a", "b", "C", "d"])
    tab_to("#panel-many .pager button:last-child")
    calm.keyboard.press("Space")
    expect(calm.locator("#panel-many td").first).to_have_text("10")


def background(tab: Any) -> str:
    return str(tab.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_colours_follow_the_system_until_the_reader_chooses(calm: Any, shop: Shop) -> None:
    live(calm, shop.url + "d/shop")
    light = background(calm)
    calm.emulate_media(color_scheme="dark")
    dark = background(calm)
    assert light != dark
    button = calm.locator(".theme")
    expect(button).to_have_attribute("aria-label", "Colours: as the system has them")
    button.click()
    expect(button).to_have_attribute("aria-label", "Colours: light")
    assert background(calm) == light
    calm.reload()
    assert background(calm) == light
    expect(calm.locator("html")).to_have_attribute("data-theme", "light")
    button.click()
    calm.emulate_media(color_scheme="light")
    assert background(calm) == dark
    button.click()
    assert background(calm) == light
    expect(calm.locator("html")).not_to_have_attribute("data-theme", "dark")


PATHS = ["", "d/shop", "d/shop?least=many&colour=red", "d/asking", "d/none", "d/shop?many.page=2"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_a_phone_shows_every_page_without_scrolling_sideways(
    browser: Any, shop: Shop, path: str, scripts: bool
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, java_script_enabled=scripts)
    try:
        page = context.new_page()
        page.goto(shop.url + path)
        for selector in ("h1", "main", ".bar", "#controls:not(.bare)"):
            for box in [each.bounding_box() for each in page.locator(selector).all()]:
                assert box["x"] >= 0, selector
                assert box["x"] + box["width"] <= 390, selector
        page.mouse.wheel(500, 0)
        assert page.locator("h1").bounding_box()["x"] >= 0
        for control in page.locator("#controls :is(input:not([type=hidden]), select)").all():
            assert control.bounding_box()["height"] >= 24  # WCAG 2.5.8
    finally:
        context.close()


def test_the_reasons_fit_on_a_phone(calm: Any, shop: Shop) -> None:
    calm.set_viewport_size({"width": 390, "height": 844})
    live(calm, shop.url + "d/shop")
    calm.locator("#panel-few .why").click()
    expect(calm.get_by_role("dialog")).to_contain_text("kept: fresh")
    box = calm.get_by_role("dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert calm.evaluate("document.documentElement.scrollWidth") <= 390


def test_nothing_moves_for_those_who_asked_for_that(calm: Any, shop: Shop) -> None:
    calm.emulate_media(reduced_motion="reduce")
    live(calm, shop.url + "d/shop")
    moving = (
        "[...document.querySelectorAll('*')].filter((it) => getComputedStyle(it).animationName !== 'none').length"
    )
    assert calm.evaluate(moving) == 0
    calm.emulate_media(reduced_motion="no-preference")
    assert calm.locator(".connection").evaluate("(it) => getComputedStyle(it, '::before').animationName") == "pulse"


def test_on_paper_there_are_panels_and_no_buttons(calm: Any, shop: Shop) -> None:
    live(calm, shop.url + "d/shop")
    calm.emulate_media(media="print", color_scheme="dark")
    expect(calm.locator(".bar")).to_be_hidden()
    expect(calm.locator("#controls")).to_be_hidden()
    expect(calm.locator("#panel-few")).to_be_visible()
    calm.emulate_media(media="screen", color_scheme="light")


def test_every_element_that_acts_or_shows_has_a_name(calm: Any, shop: Shop) -> None:
    """By Chromium's own accessibility tree."""
    live(calm, shop.url + "d/shop")
    session = calm.context.new_cdp_session(calm)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    named = {"button", "link", "combobox", "spinbutton", "textbox", "image", "region", "form", "navigation"}
    seen = {}
    for node in nodes:
        role = node.get("role", {}).get("value")
        if role in named and not node.get("ignored"):
            seen[role] = seen.get(role, 0) + 1
            assert node.get("name", {}).get("value"), node
    assert {"button", "link", "combobox", "spinbutton", "region", "form"} <= set(seen)
