"""``examples/fastapi_datastar`` as its README says to run it: over HTTP, and in Chromium with two pages open."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

FOLDER = Path(__file__).parent.parent.parent / "examples" / "fastapi_datastar"
PATIENCE = 30.0


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", "0", "--timeout-graceful-shutdown", "1"]
    environment = {**os.environ, "TODO_DATA": str(tmp_path / "data")}
    process = subprocess.Popen(command, cwd=FOLDER, env=environment, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"running on (http://\S+)", line):
            break
    else:
        raise AssertionError("".join(said))
    draining = threading.Thread(target=lambda: said.extend(process.stderr or ()))  # else a full pipe would stop it
    draining.start()
    yield found[1]
    process.terminate()
    process.wait(PATIENCE)
    draining.join(PATIENCE)
    process.stderr.close()
    assert "Traceback" not in "".join(said), "".join(said)


class Viewer:
    """One stream; the newest markup of each element that it was sent."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.seen: dict[str, str] = {}

    def until(self, ident: str, pattern: str) -> str:
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, self.seen.get(ident, "")):
            line = next(self._lines)
            for found in re.finditer(r'<(\w+) id="(todos|statistics|trouble)".*?</\1>', line):
                self.seen[found[2]] = found[0]
            assert time.monotonic() < deadline, f"{pattern} was not seen in {self.seen}"
        return self.seen[ident]


@contextmanager
def looking(url: str) -> Iterator[Viewer]:
    with httpx.Client(timeout=PATIENCE) as client, client.stream("GET", f"{url}/updates") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Viewer(answer.iter_lines())


def test_a_command_moves_the_list_by_its_commit_and_the_statistics_by_its_event(url: str) -> None:
    with looking(url) as viewer, looking(url) as other:
        viewer.until("todos", "Nothing to do")
        assert "the first answer" in viewer.until("statistics", "0 added, 0 completed")
        answer = httpx.post(f"{url}/todos", json={"title": "<b>milk</b>"}, timeout=PATIENCE)
        assert answer.text == 'event: datastar-patch-signals\ndata: signals {"title":""}\n\n'
        shown = viewer.until("todos", "milk")
        assert "&lt;b&gt;milk&lt;/b&gt;" in shown
        told = viewer.until("statistics", "1 added, 0 completed")
        todo = re.search(r'id="todo-([0-9a-f-]{36})"', shown)[1]  # type: ignore[index]
        assert f"why now: event events/Todo/{todo}/" in told
        assert httpx.post(f"{url}/todos/{todo}/complete", timeout=PATIENCE).status_code == 204
        viewer.until("todos", 'class="done"')
        assert f"why now: event events/Todo/{todo}/" in viewer.until("statistics", "1 added, 1 completed")
        other.until("todos", 'class="done"')  # everybody hears
        other.until("statistics", "1 added, 1 completed")
        assert httpx.post(f"{url}/todos/{todo}/complete", timeout=PATIENCE).status_code == 404
    assert httpx.post(f"{url}/todos", json={"title": ""}, timeout=PATIENCE).status_code == 422


@pytest.mark.browser
def test_two_pages_show_the_same_list_without_a_script_of_their_own(url: str) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    if httpx.get(f"{url}/datastar.js").status_code == 404:
        pytest.skip("starhtml, whose wheel brings Datastar's client, is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        said: list[str] = []
        one, other = (page(browser, url, said) for _ in range(2))
        expect = sync_api.expect
        one.get_by_label("What is to be done").fill("<img src=x onerror=alert(1)>")
        one.get_by_role("button", name="Add").click()
        for each in (one, other):
            expect(each.locator("#todos li")).to_contain_text("<img src=x", timeout=PATIENCE * 1000)
            expect(each.locator("#statistics")).to_contain_text("1 added, 0 completed", timeout=PATIENCE * 1000)
        expect(one.get_by_label("What is to be done")).to_have_value("", timeout=PATIENCE * 1000)
        other.get_by_label("What is to be done").fill("half a sentence")
        other.get_by_role("button", name="Done").click()
        for each in (one, other):
            expect(each.locator("#todos li.done")).to_have_count(1, timeout=PATIENCE * 1000)
            expect(each.locator("#statistics")).to_contain_text("1 added, 1 completed", timeout=PATIENCE * 1000)
        expect(other.get_by_label("What is to be done")).to_have_value("half a sentence")
        assert said == []
        browser.close()


def page(browser: Any, url: str, said: list[str]) -> Any:
    made = browser.new_page()
    made.on("console", lambda line: said.append(line.text))
    made.on("pageerror", lambda error: said.append(str(error)))
    made.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    made.on("request", lambda request: None if request.url.startswith((url, "data:")) else said.append(request.url))
    made.goto(url)
    return made
