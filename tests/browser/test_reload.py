"""``serve --reload`` as the author sees it: the open page follows the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.site import Site

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "first.sql").write_text("SELECT 'one' AS word")
    made = Site(folder, f"ducklake:sqlite:{tmp_path}/shop.sqlite", follow=True)
    yield made
    made.stop()


def test_the_open_page_follows_its_files(tab: Any, site: Site) -> None:
    tab.goto(f"{site.url}d/shop")
    expect(tab.locator("#connection")).to_have_text("Live")
    (site.folder / "first.sql").write_text("/*---\ntitle = 'Anew'\n---*/\nSELECT 'two' AS word")
    expect(tab.locator("#panel-first")).to_contain_text("two")
    expect(tab.locator("#panel-first h2")).to_have_text("Anew")
    (site.folder / "second.sql").write_text("SELECT 'three' AS word")
    expect(tab.locator("#panel-second")).to_contain_text("three")
    (site.folder / "livelake.toml").write_text("title = 'Another name'\norder = ['second']")
    expect(tab.locator("h1")).to_have_text("Another name")
    expect(tab.locator(".panel").first).to_contain_text("three")
    expect(tab.locator("#connection")).to_have_text("Live")


def test_an_error_is_shown_on_the_open_page_until_it_is_mended(tab: Any, site: Site) -> None:
    tab.goto(f"{site.url}d/shop")
    expect(tab.locator("#connection")).to_have_text("Live")
    notice = tab.locator("#notice")
    expect(notice).to_be_empty()
    tab.evaluate("window.same = true")
    (site.folder / "first.sql").write_text("/*---\ntitle = 'One'\nchart = { mark = '<b>pie</b>' }\n---*/\nSELECT 1")
    expect(tab.get_by_role("alert")).to_be_visible()
    expect(notice).to_contain_text("what you see is what was before")
    expect(notice).to_contain_text(f"{site.folder}/first.sql:3: ")
    expect(notice).to_contain_text("<b>pie</b>")
    expect(tab.locator("#panel-first")).to_contain_text("one")
    other = tab.context.new_page()
    other.goto(f"{site.url}d/shop")  # whoever comes now is told too
    expect(other.get_by_role("alert")).to_contain_text("first.sql:3: ")
    (site.folder / "first.sql").write_text("SELECT 'one' AS word")
    expect(notice).to_be_empty()
    assert tab.evaluate("window.same") is True  # the files are what they were, and the page was never loaded again
    expect(tab.locator("#panel-first")).to_contain_text("one")
