"""Datastar's own client on our streams, and the page of ``docs/datastar.md`` as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.site import Site, datastar_js

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

HOSTILE = '<img src=x onerror=window.pwned=1>" data-on:click="window.pwned=1" data-init=\'window.pwned=1\''
SHOP = {
    "totals.sql": """/*---
title = "Totals"
params.least = { type = "integer", default = 0 }
---*/
SELECT region, sum(amount)::INTEGER AS total FROM shop.main.orders GROUP BY region HAVING sum(amount) >= $least
ORDER BY region""",
    "people.sql": "SELECT name FROM shop.main.people ORDER BY name",
}
ALWAYS = "{retry: 'always', retryMaxCount: 1000, retryInterval: 50, retryMaxWait: 200}"


def page(get: str, *ids: str) -> str:
    sections = "".join(f'<section id="panel-{each}"></section>' for each in ids)
    head = '<title>Mine</title><link rel="icon" href="/static/icon.svg">'
    head += '<script type="module" src="/datastar.js"></script>'
    return f'<!doctype html>{head}<body><main data-init="{get}">{sections}</main>'


@pytest.fixture
def site(tab: Any, tmp_path: Path) -> Iterator[Site]:
    datastar_js()
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, text in SHOP.items():
        (folder / name).write_text(text)
    made = Site(folder, f"ducklake:sqlite:{tmp_path}/shop.sqlite")
    made.execute("CREATE TABLE orders AS SELECT 'north' AS region, 10 AS amount")
    made.execute("CREATE TABLE people AS SELECT 'Ada' AS name")
    yield made
    for each in tab.context.pages:  # its client would complain of a server that ends, and come back
        each.goto("about:blank")
    made.stop()


def open_mine(tab: Any, site: Site, get: str, *ids: str) -> None:
    site.page = page(get, *ids)
    tab.goto(f"{site.url}mine")


def hide(tab: Any, hidden: bool) -> None:
    tab.evaluate(
        "(on) => { Object.defineProperty(document, 'hidden', {value: on, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


def until(condition: Any, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def test_a_dashboards_stream_drives_datastars_client(tab: Any, site: Site) -> None:
    open_mine(tab, site, "@get('/live/shop?least=3')", "totals", "people")
    expect(tab.locator("#panel-totals")).to_contain_text("north")
    expect(tab.locator("#panel-people")).to_contain_text("Ada")
    tab.evaluate("window.kept = document.querySelector('#panel-totals')")
    site.execute("INSERT INTO orders VALUES ('south', 5)")
    expect(tab.locator("#panel-totals")).to_contain_text("south")
    site.execute("INSERT INTO orders VALUES ('west', 2)")  # below what the page asked for
    site.execute("INSERT INTO people VALUES ('Bob')")
    expect(tab.locator("#panel-people")).to_contain_text("Bob")
    expect(tab.locator("#panel-totals")).not_to_contain_text("west")
    assert tab.evaluate("kept === document.querySelector('#panel-totals')")  # morphed, not replaced


def test_a_stream_of_single_queries_carries_them_and_no_other(tab: Any, site: Site) -> None:
    said: list[str] = []
    tab.on("console", lambda line: said.append(line.text))
    open_mine(tab, site, "@get('/live?query=people')", "people", "totals")
    expect(tab.locator("#panel-people")).to_contain_text("Ada")
    site.execute("INSERT INTO orders VALUES ('south', 5)")
    site.execute("INSERT INTO people VALUES ('Bob')")
    expect(tab.locator("#panel-people")).to_contain_text("Bob")
    expect(tab.locator("#panel-totals")).to_be_empty()
    assert said == []
    open_mine(tab, site, "@get('/live?query=people&amp;query=totals&amp;least=6')", "people", "totals")
    expect(tab.locator("#panel-totals")).to_contain_text("north")
    expect(tab.locator("#panel-totals")).not_to_contain_text("south")
    expect(tab.locator("#panel-people")).to_contain_text("Bob")


def test_signals_of_the_page_are_passed_over(tab: Any, site: Site) -> None:
    """Two pages with different signals share one channel: the server draws once for both."""
    site.page = page("@get('/live/shop')", "people").replace("<body>", "<body data-signals:who=\"'Ada &lt;b&gt;'\">")
    tab.goto(f"{site.url}mine")
    expect(tab.locator("#panel-people")).to_contain_text("Ada")
    other = tab.context.new_page()
    site.page = site.page.replace("Ada &lt;", "Bob &lt;")
    other.goto(f"{site.url}mine")
    expect(other.locator("#panel-people")).to_contain_text("Ada")
    queries = [query for query, _ in site.streams()]
    assert len(queries) == len(set(queries)) == 2
    assert all(query.startswith("datastar=%7B%22who%22") for query in queries)
    assert len(site.app.channels._living) == 1
    assert site.app.channels.viewers == 2


def test_by_default_datastar_does_not_come_back_after_an_orderly_end(tab: Any, site: Site) -> None:
    """What docs/datastar.md warns of. A control for the next test: if this changes, so does the advice."""
    tab.clock.install()
    open_mine(tab, site, "@get('/live/shop')", "people")
    expect(tab.locator("#panel-people")).to_contain_text("Ada")
    tab.evaluate(
        "document.addEventListener('datastar-fetch', (it) => { window.over ||= it.detail.type === 'finished'; })"
    )
    site.cut()
    until(lambda: tab.evaluate("window.over === true"))
    site.execute("INSERT INTO people VALUES ('Bob')")
    before = len(site.streams())
    hide(tab, False)  # nor does a sign of life from the page bring it back
    tab.clock.fast_forward(300_000)
    assert len(site.streams()) == before == 1
    expect(tab.locator("#panel-people")).not_to_contain_text("Bob")


def test_with_retry_always_it_comes_back_after_an_end_a_restart_and_503(tab: Any, site: Site) -> None:
    open_mine(tab, site, f"@get('/live/shop', {ALWAYS})", "people")
    expect(tab.locator("#panel-people")).to_contain_text("Ada")
    site.cut()
    site.execute("INSERT INTO people VALUES ('Bob')")
    expect(tab.locator("#panel-people")).to_contain_text("Bob")
    site.restart()
    site.execute("INSERT INTO people VALUES ('Cy')")
    expect(tab.locator("#panel-people")).to_contain_text("Cy")
    site.refuse = 3
    before = len(site.streams())
    site.cut()
    site.execute("INSERT INTO people VALUES ('Dee')")
    expect(tab.locator("#panel-people")).to_contain_text("Dee")
    assert len(site.streams()) >= before + 4


def test_a_hidden_tab_lets_go_and_resumes_after_its_last_event(tab: Any, site: Site) -> None:
    open_mine(tab, site, f"@get('/live/shop', {ALWAYS})", "people", "totals")
    expect(tab.locator("#panel-people")).to_contain_text("Ada")
    expect(tab.locator("#panel-totals")).to_contain_text("north")
    hide(tab, True)
    until(lambda: site.app.channels.viewers == 0)
    site.execute("INSERT INTO people VALUES ('Bob')")
    tab.evaluate("document.querySelector('#panel-totals').dataset.mine = 'kept'")
    hide(tab, False)
    expect(tab.locator("#panel-people")).to_contain_text("Bob")
    headers = site.streams()[-1][1]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9]+", headers["last-event-id"])
    # Totals did not change, so they were not sent again: what the page did to them is still there.
    assert tab.locator("#panel-totals").get_attribute("data-mine") == "kept"


def test_hostile_text_runs_nothing_under_a_client_that_evaluates(tab: Any, site: Site) -> None:
    open_mine(tab, site, "@get('/live/shop')", "people")
    expect(tab.locator("#panel-people")).to_contain_text("Ada")
    quoted = HOSTILE.replace("'", "''")
    site.execute(f"INSERT INTO people VALUES ('{quoted}')")
    expect(tab.locator("#panel-people")).to_contain_text("<img src=x")
    tab.locator("#panel-people").click()
    assert tab.evaluate("window.pwned") is None


def test_a_policy_has_to_allow_evaluation_and_then_it_works(browser: Any, tab: Any, site: Site) -> None:
    policy = "default-src 'self'; script-src 'self'"
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    site.page = page("@get('/live/shop')", "people").replace("<title>", f"{meta}<title>")
    with browser.new_context() as context:  # of its own: the complaint of the policy is what is wanted
        strict, said = context.new_page(), list[str]()
        strict.on("console", lambda line: said.append(line.text))
        strict.on("pageerror", lambda error: said.append(str(error)))
        strict.goto(f"{site.url}mine")
        until(lambda: strict.evaluate("1") and any("unsafe-eval" in line for line in said))
        assert site.streams() == []
    site.page = site.page.replace(policy, f"{policy} 'unsafe-eval'")
    tab.goto(f"{site.url}mine")
    expect(tab.locator("#panel-people")).to_contain_text("Ada")


# ---------------------------------------------------------------- the page of the documentation

DOCS = Path(__file__).parent.parent.parent / "docs" / "datastar.md"
BLOCKS = dict(
    re.findall(r"```(html|sql|python)\n(.*?)```", DOCS.read_text(encoding="utf-8").split("## What to")[0], re.DOTALL)
)


WRITER = """
import asyncio, livelake, sys
async def main():
    async with livelake.open("ducklake:sqlite:sales.sqlite") as lake:
        await lake.execute(sys.argv[1])
asyncio.run(main())
"""


def write(folder: Path, sql: str) -> None:
    """From another process."""
    subprocess.run([sys.executable, "-c", WRITER, sql], cwd=folder, check=True, timeout=60)


@pytest.fixture
def documented(tmp_path: Path) -> Iterator[str]:
    """What the page says, done: its files written, its script run; only the port is another."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "site").mkdir()
    (tmp_path / "shop").mkdir()
    (tmp_path / "site" / "index.html").write_text(BLOCKS["html"])
    shutil.copy(datastar_js(), tmp_path / "site" / "datastar.js")
    (tmp_path / "shop" / "totals.sql").write_text(BLOCKS["sql"])
    assert "8000" in BLOCKS["python"]
    (tmp_path / "site.py").write_text(BLOCKS["python"].replace("8000", str(port)))
    write(tmp_path, "CREATE TABLE orders AS FROM (VALUES ('north', 10), ('south', 5)) t(region, amount)")
    process = subprocess.Popen([sys.executable, "site.py"], cwd=tmp_path, env=os.environ, stderr=subprocess.PIPE)
    url = f"http://127.0.0.1:{port}/"

    def answers() -> bool:
        assert process.poll() is None, process.communicate()
        try:
            with urllib.request.urlopen(f"{url}healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    until(answers)
    yield url
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


def test_the_page_of_the_documentation_works_as_it_stands(tab: Any, documented: str, tmp_path: Path) -> None:
    said: list[str] = []
    tab.on("console", lambda line: said.append(line.text) if line.type in ("error", "warning") else None)
    tab.on("request", lambda request: said.append(request.url) if not request.url.startswith(documented) else None)
    tab.goto(f"{documented}site/")
    totals = tab.locator("#panel-totals")
    expect(totals.locator("h2")).to_have_text("Totals by region")
    expect(totals).to_contain_text("north")
    expect(totals).to_contain_text("south")
    tab.get_by_label("At least").fill("6")
    expect(totals).not_to_contain_text("south")
    expect(totals).to_contain_text("north")
    write(tmp_path, "INSERT INTO orders VALUES ('west', 7)")
    expect(totals).to_contain_text("west")
    expect(totals).not_to_contain_text("south")
    assert said == []
