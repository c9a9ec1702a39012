"""How long after a commit has a pixel of a page changed: a commit of the server's own, and one of another process'?

A server in a process of its own, a page of one number in headless Chromium, and a bare client of the same stream.
All tell the time of the machine's one clock: the process that committed when `execute` had returned, the bare
client when it had the bytes, the page when its DOM had changed and when the next frame but one began, which is when
the frame that shows it was drawn. Page and bare client are two viewers: where the page is served first, its part is
below nought. That pixels change at all is proved once, by screenshots. Reported, without a bar.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import multiprocessing
import queue
import random
import shutil
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.harness import Report, Settings

HERE, ELSEWHERE = "the server", "another process"
SQL = "SELECT max(id)::VARCHAR AS newest FROM sales.main.orders"
_POLL = 0.25  # seconds; livelake's default
_PATIENCE = 60.0
_WATCH = """() => {
  const now = () => performance.timeOrigin + performance.now();
  const text = () => document.querySelector("#panel-newest .big")?.textContent;
  let shown = text();
  new MutationObserver(() => {
    if (text() === shown) return;
    const changed = now(), n = shown = text();
    requestAnimationFrame(() => requestAnimationFrame(() => console.log(`pixel ${n} ${changed} ${now()}`)));
  }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""
# What the page's clock is ahead of the machine's. A turn of the millisecond is seen late or at once, never early.
_AHEAD = """() => Math.min(...Array.from({length: 50}, () => {
  const from = Date.now();
  let to;
  while ((to = Date.now()) === from);
  return performance.timeOrigin + performance.now() - to;
}))"""


@dataclass(frozen=True)
class Parts:
    """Of one commit, in milliseconds: to the bytes of its frame, from there to the DOM, from there to the pixels."""

    sent: float
    changed: float
    painted: float

    @property
    def whole(self) -> float:
        return self.sent + self.changed + self.painted


def run(settings: Settings) -> Report:
    report = Report(
        question="How long after a commit has a pixel changed in Chromium? (ms; medians, and the worst)",
        columns=("who commits", "commit → sent", "→ DOM changed", "→ painted", "in all", "worst"),
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        report.rows.append(("nobody", "Chromium is not installed (apt-get install chromium)", *[""] * 4))
    elif importlib.util.find_spec("playwright") is None:
        report.rows.append(("nobody", "playwright is not installed (pip install playwright)", *[""] * 4))
    else:
        _report(report, settings, chromium)
    return report


def _report(report: Report, settings: Settings, chromium: str) -> None:
    count = 3 if settings.quick else 4 * settings.rounds
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(Process(_serve, folder))
        other = stack.enter_context(Process(_write, folder))
        viewer = stack.enter_context(Viewer(server.ready))
        page = stack.enter_context(_page(chromium, f"http://127.0.0.1:{server.ready}/d/bench"))
        bench = Bench(viewer, page)
        bench.prove(server)
        bench.round(other)  # the first of each finds nothing warm
        found: dict[str, list[Parts]] = {HERE: [], ELSEWHERE: []}
        for _ in range(count):
            found[HERE].append(bench.round(server))
            time.sleep(random.uniform(0, _POLL))  # a commit comes at any moment between two looks at the log
            found[ELSEWHERE].append(bench.round(other))
        ahead = bench.ahead, page.evaluate(_AHEAD)
    report.rows.extend(_row(who, parts) for who, parts in found.items())
    report.raw.update({who: [astuple(each) for each in parts] for who, parts in found.items()})
    report.raw["page's clock ahead, ms, first and last"] = ahead
    report.notes += [
        f"a commit of another process is seen at the next look at the log, every {_POLL * 1e3:.0f} ms",
        "painted: the frame after the one that shows it begins, up to 17 ms later than the pixels",
        "screenshots: two without a commit between them are equal, one after a commit is not",
        f"the page's clock was {ahead[0]:+.2f} ms off at first and {ahead[1]:+.2f} at last; the first is taken out",
    ]


def _row(who: str, parts: Sequence[Parts]) -> Sequence[str]:
    columns = list(zip(*map(astuple, parts), strict=True))
    whole = [each.whole for each in parts]
    return (who, *(f"{statistics.median(each):.1f}" for each in [*columns, whole]), f"{max(whole):.1f}")


class Bench:
    """Commits number after number, and follows each to the screen."""

    def __init__(self, viewer: Viewer, page: Any) -> None:
        self._viewer = viewer
        self._page = page
        self._newest = 0
        self.ahead: float = page.evaluate(_AHEAD)

    def round(self, who: Process) -> Parts:
        self._newest += 1
        told = f"pixel {self._newest} "
        # The page tells by itself when it has painted: nothing is asked of it while it is at work.
        with self._page.expect_console_message(lambda each: each.text.startswith(told)) as message:
            committed = who.commit(self._newest)
        sent = self._viewer.saw(self._newest)
        changed, painted = (float(each) - self.ahead for each in message.value.text.split()[2:])
        return Parts((sent - committed) / 1e6, changed - sent / 1e6, painted - changed)

    def prove(self, who: Process) -> None:
        """That what is told as painted is on the screen."""
        number = self._page.locator("#panel-newest .big")
        before = number.screenshot()
        assert number.screenshot() == before
        self.round(who)
        assert number.screenshot() != before


class Viewer:
    """A bare client of the stream: when it had which number. It does not ask for gzip."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._read)
        self._seen: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self._text = b""

    def __enter__(self) -> Viewer:
        self._socket.sendall(b"GET /live/bench HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        self._thread.start()
        self.saw(0)
        return self

    def __exit__(self, *_exc: object) -> None:
        with contextlib.suppress(OSError):  # the server was first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(_PATIENCE)
        self._socket.close()

    def _read(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := self._socket.recv(65_536):
                self._seen.put((time.time_ns(), data))

    def saw(self, n: int) -> int:
        """When the number was there, in nanoseconds."""
        mark = f">{n}</p>".encode()
        while True:
            when, data = self._seen.get(timeout=_PATIENCE)
            self._text = self._text[-len(mark) :] + data  # it may have come in two
            if mark in self._text:
                return when


@contextlib.contextmanager
def _page(chromium: str, url: str) -> Iterator[Any]:
    from playwright.sync_api import expect, sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        page = browser.new_page()
        page.set_default_timeout(_PATIENCE * 1e3)
        page.goto(url)
        expect(page.locator("#connection")).to_have_attribute("data-state", "live", timeout=_PATIENCE * 1e3)
        expect(page.locator("#panel-newest .big")).to_have_text("0", timeout=_PATIENCE * 1e3)
        page.evaluate(_WATCH)
        yield page
        browser.close()


class Process:
    """One that commits what it is sent. ``ready`` is what it says when it has begun."""

    def __init__(self, target: Callable[[str, Connection], None], folder: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._orders, self._theirs = context.Pipe()
        self._process = context.Process(target=target, args=(folder, self._theirs), daemon=True)

    def __enter__(self) -> Process:
        self._process.start()
        self._theirs.close()
        self.ready = self._answer()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._orders.close()
        self._process.join(_PATIENCE)
        self._process.kill()

    def commit(self, n: int) -> int:
        """When it was committed, in nanoseconds."""
        self._orders.send(n)
        return self._answer()

    def _answer(self) -> int:
        if not self._orders.poll(_PATIENCE):
            raise RuntimeError(f"{self._process} says nothing")
        return int(self._orders.recv())


def _serve(folder: str, orders: Connection) -> None:
    import livelake
    from livelake import web

    queries = Path(folder) / "bench"
    queries.mkdir()
    (queries / "newest.sql").write_text(f'/*---\nchart = {{ mark = "value" }}\n---*/\n{SQL}')

    async def main() -> None:
        async with livelake.open(_uri(folder), as_name="sales", poll_interval=_POLL) as lake:
            await lake.execute("CREATE TABLE sales.main.orders AS SELECT 0 AS id")
            app = await web.app(lake, queries)
            with web.listen("127.0.0.1", 0) as listener:
                port = listener.getsockname()[1]
                serving = asyncio.create_task(web.serve(app, listener, lambda: orders.send(port)))
                await _obey(lake, orders)
                serving.cancel()
                await asyncio.wait((serving,))

    asyncio.run(main())


def _write(folder: str, orders: Connection) -> None:
    import livelake

    async def main() -> None:
        async with livelake.open(_uri(folder), as_name="sales") as lake:
            orders.send(0)
            await _obey(lake, orders)

    asyncio.run(main())


def _uri(folder: str) -> str:
    return f"ducklake:sqlite:{folder}/sales.sqlite"


async def _obey(lake: Any, orders: Connection) -> None:
    with contextlib.suppress(EOFError):
        while True:
            n = await asyncio.to_thread(orders.recv)
            await lake.execute(f"INSERT INTO sales.main.orders VALUES ({n})")
            orders.send(time.time_ns())
