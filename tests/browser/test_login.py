"""Logging in and out in a real browser, by keyboard, and what an open page does when its session ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TOKEN = "just-looking-around-here"
pytestmark = pytest.mark.browser
PREPARE = """
import asyncio, livelake

async def main():
    async with livelake.open("ducklake:sqlite:sales.sqlite") as lake:
        await lake.execute("CREATE TABLE orders (id INTEGER)")

asyncio.run(main())
"""
FOLLOW = "(to) => { const a = document.createElement('a'); a.href = to; document.body.append(a); a.click(); }"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text(f"read {TOKEN} user=ada")
    file.chmod(0o600)
    return file


@pytest.fixture
def url(tmp_path: Path, token_file: Path) -> Iterator[str]:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "livelake.toml").write_text('attach = { sales = "ducklake:sqlite:../sales.sqlite" }')
    (folder / "mine.sql").write_text(
        '/*---\ntitle = "Mine"\n'
        'params.who = { type = "string", claim = "user" }\n---*/\n'
        "SELECT 'hello ' || $who AS greeting, count(*) AS n FROM sales.main.orders"
    )

    subprocess.run([sys.executable, "-c", PREPARE], cwd=tmp_path, check=True, timeout=60)
    command = [sys.executable, "-m", "livelake", "serve", "shop", "--port", "0", "--tokens", str(token_file)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+/", process.stdout.readline())
        assert found
        yield found[0]
        process.terminate()


def test_a_person_logs_in_by_keyboard_sees_their_own_and_logs_out(url: str, tab: Any) -> None:
    from playwright.sync_api import expect

    tab.goto(f"{url}d/shop")
    expect(tab).to_have_url(re.compile(r"/login\?next="))
    tab.keyboard.press("Tab")  # to the content
    field = tab.get_by_label("Token")
    field.focus()
    tab.keyboard.type("mistyped-" + TOKEN)
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("alert")).to_contain_text("no token of this server")
    expect(tab.get_by_label("Token")).to_have_value("")
    tab.get_by_label("Token").focus()
    tab.keyboard.type(TOKEN)
    tab.keyboard.press("Enter")
    expect(tab).to_have_url(f"{url}d/shop")
    expect(tab.get_by_text("hello ada")).to_be_visible()
    expect(tab.locator("#connection")).to_have_text("Live")
    (cookie,) = tab.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert tab.evaluate("document.cookie") == ""
    shots = os.environ.get("LIVELAKE_SHOTS")
    tab.get_by_role("button", name="Log out").focus()
    if shots:
        tab.screenshot(path=f"{shots}/inside.png")
    tab.keyboard.press("Enter")
    expect(tab).to_have_url(f"{url}login")
    if shots:
        tab.screenshot(path=f"{shots}/login.png")
    tab.goto(f"{url}d/shop")
    expect(tab).to_have_url(re.compile(r"/login\?next="))


def test_an_open_page_leads_to_the_log_in_when_its_token_is_taken_away(url: str, tab: Any, token_file: Path) -> None:
    from playwright.sync_api import expect

    tab.goto(f"{url}login?next=/d/shop")
    tab.get_by_label("Token").fill(TOKEN)
    tab.get_by_role("button", name="Log in").click()
    expect(tab.locator("#connection")).to_have_text("Live")
    token_file.write_text("read another-token-for-others")
    expect(tab).to_have_url(re.compile(r"/login\?next=%2Fd%2Fshop$"))


@pytest.fixture
def visitor(browser: Any) -> Iterator[Any]:
    """A page that goes to more than one site."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


def test_a_link_from_another_site_finds_who_is_logged_in(url: str, visitor: Any) -> None:
    """The strict cookie does not come along with the link; the page asks once more by itself."""
    from playwright.sync_api import expect

    tab = visitor
    tab.goto(f"{url}login")
    tab.get_by_label("Token").fill(TOKEN)
    tab.get_by_role("button", name="Log in").click()
    expect(tab).to_have_url(url)
    elsewhere = url.replace("127.0.0.1", "localhost")  # another site, as browsers count
    tab.goto(f"{elsewhere}login")
    tab.evaluate(FOLLOW, f"{url}d/shop")
    expect(tab).to_have_url(f"{url}d/shop")
    expect(tab.get_by_text("hello ada")).to_be_visible()
