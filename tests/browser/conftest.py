"""Headless Chromium, and pages whose faults fail the test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

PATIENCE_MS = 20_000
NOT_ANSWERED = ("Failed to load resource", "Failed to fetch", "Datastar failed to reach")
OURS = ("http://127.0.0.1:", "data:", "about:")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")  # not longer: while playwright lives, no test can run an event loop of its own
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    sync_api.expect.set_options(timeout=PATIENCE_MS)
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A page whose script errors, dialogs and refused resources fail the test, as does any request that leaves us.

    What a server refused, or was not there to answer, is in the console too, and is not an error where a test has it
    refused or started anew: see `calm`.
    """
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on(
        "console",
        lambda line: (
            wrong.append(line.text)
            if line.type == "error" and not any(each in line.text for each in NOT_ANSWERED)
            else None
        ),
    )
    page.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith(OURS) else None)
    yield page
    assert wrong == []
    context.close()


@pytest.fixture
def calm(tab: Any) -> Iterator[Any]:
    """A `tab` whose console stays empty."""
    said: list[str] = []
    tab.on("console", lambda line: said.append(line.text))
    yield tab
    assert said == []
