"""Whole pages: a real server in its own process, real commits, and Chromium looking at it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.serving import Processes, commit

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

HOSTILE = "<img src=x onerror=alert(1)>"
QUERIES = {
    "livelake.toml": 'attach = { shop = "ducklake:sqlite:../shop.sqlite" }\norder = ["orders", "names"]',
    "orders.sql": """/*---
chart = { mark = "value", y = "orders" }
---*/
SELECT count(*) AS orders FROM shop.main.orders""",
    "names.sql": f'SELECT name, name AS "{HOSTILE}" FROM shop.main.names ORDER BY name',
}
WATCH = """() => {
    window.seen = {};
    const note = () => { window.seen[document.querySelector('#panel-orders .big').textContent] ??= Date.now(); };
    const all = {subtree: true, childList: true, characterData: true};
    new MutationObserver(note).observe(document.querySelector('#panel-orders'), all);
}"""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    made.close()


@pytest.fixture
def shop(tmp_path: Path, processes: Processes) -> str:
    """A folder to serve, over a lake that other processes may write to."""
    writer = processes.writer()
    commit(writer, "CREATE TABLE orders (a INTEGER)")
    commit(writer, "CREATE TABLE names (name VARCHAR)")
    commit(writer, f"INSERT INTO names VALUES ('{HOSTILE}')")
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, text in QUERIES.items():
        (folder / name).write_text(text)
    return str(folder)


def live(tab: Any, url: str) -> None:
    tab.goto(url)
    expect(tab.locator("#connection")).to_have_text("Live")


def test_the_demo_moves_by_itself(tab: Any, processes: Processes) -> None:
    said: list[str] = []
    tab.on("console", lambda line: said.append(line.text))
    _, url = processes.serve("demo", "--no-browser", "--port", "0")
    live(tab, url)
    tab.evaluate("window.same = true")
    samples = tab.locator("#panel-totals tr", has_text="Samples").locator("td").last
    for _ in range(3):
        expect(samples).not_to_have_text(samples.inner_text())
    assert tab.evaluate("window.same") is True  # never reloaded
    assert tab.locator('.panel:not([data-state="fresh"])').count() == 0
    assert said == []


def test_another_process_moves_the_page(tab: Any, processes: Processes, shop: str) -> None:
    _, url = processes.serve("serve", shop, "--port", "0")
    writer = processes.writer()
    live(tab, url + "d/shop")
    number = tab.locator("#panel-orders .big")
    expect(number).to_have_text("0")
    tab.evaluate(WATCH)
    latencies = []
    for count in range(1, 9):
        at = commit(writer, "INSERT INTO orders VALUES (1)")
        expect(number).to_have_text(str(count))
        latencies.append(tab.evaluate(f"window.seen['{count}']") - at * 1000)
    ordered = sorted(latencies)
    print(f"commit → page: median {ordered[4]:.0f} ms, least {ordered[0]:.0f} ms, most {ordered[-1]:.0f} ms")
    assert tab.locator("#panel-names").count() == 1


def test_html_in_a_cell_and_in_a_name_is_text(tab: Any, processes: Processes, shop: str) -> None:
    _, url = processes.serve("serve", shop, "--port", "0")
    writer = processes.writer()
    live(tab, url + "d/shop")
    names = tab.locator("#panel-names")
    expect(names.locator("td").first).to_have_text(HOSTILE)
    expect(names.locator("th").last).to_have_text(HOSTILE)
    commit(writer, "INSERT INTO names VALUES ('</script><script>alert(2)</script>')")
    expect(names.locator("td").first).to_have_text("</script><script>alert(2)</script>")
    commit(writer, f'ALTER TABLE names RENAME COLUMN name TO "{HOSTILE}"')
    expect(names.locator(".message")).to_contain_text("name")
    assert tab.locator("main img, main script").count() == 0


def test_a_dropped_table_shows_as_stale_until_it_is_back(tab: Any, processes: Processes, shop: str) -> None:
    _, url = processes.serve("serve", shop, "--port", "0")
    writer = processes.writer()
    live(tab, url + "d/shop")
    panel = tab.locator("#panel-orders")
    commit(writer, "INSERT INTO orders VALUES (1)")
    expect(panel.locator(".big")).to_have_text("1")
    commit(writer, "DROP TABLE orders")
    expect(panel).to_have_attribute("data-state", "stale")
    expect(panel.locator(".message")).to_contain_text("Showing the last good result:")
    expect(panel.locator(".message")).to_contain_text("orders does not exist")
    expect(panel.locator(".big")).to_have_text("1")
    expect(tab.locator("#panel-names")).to_have_attribute("data-state", "fresh")
    commit(writer, "CREATE TABLE orders AS SELECT * FROM range(7)")
    expect(panel).to_have_attribute("data-state", "fresh")
    expect(panel.locator(".big")).to_have_text("7")
    expect(panel.locator(".message")).to_have_count(0)


def test_a_server_that_is_killed_and_started_again_is_found_again(tab: Any, processes: Processes, shop: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    serving, url = processes.serve("serve", shop, "--port", port)
    writer = processes.writer()
    live(tab, url + "d/shop")
    serving.kill()
    serving.wait()
    expect(tab.locator("#connection")).to_have_text("Reconnecting…")
    commit(writer, "INSERT INTO orders VALUES (1), (2)")  # nobody tells the page
    began = time.monotonic()
    processes.serve("serve", shop, "--port", port)
    expect(tab.locator("#connection")).to_have_text("Live")
    expect(tab.locator("#panel-orders .big")).to_have_text("2")
    print(f"live again {time.monotonic() - began:.1f} s after the restart began")
    commit(writer, "INSERT INTO orders VALUES (3)")
    expect(tab.locator("#panel-orders .big")).to_have_text("3")
