"""The page client in headless Chromium, against a stream that the test writes by hand."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import livelake.web
from livelake.web import datastar
from livelake.web.asked import read
from livelake.web.charts import ChartSpec, TableView, render
from livelake.web.controls import Offer, Offers, controls
from livelake.web.folder import Dashboard, Query
from livelake.web.html import Markup, h, join
from livelake.web.pages import PanelView, dashboard_page, panel
from livelake.web.parameters import Parameter

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

STATIC = Path(livelake.web.__file__).parent / "static"
POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:"
FILES = ("theme.js", "livelake.js", "page.js", "livelake.css", "icon.svg")
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", "": "text/html; charset=utf-8"}
PATIENCE_MS = 20_000
HOSTILE = [
    "<img src=x onerror=window.pwned=1>",
    '"><svg/onload=window.pwned=1>',
    "'><script>window.pwned=1</script>",
    "</script><script>window.pwned=1</script>",
    "</title></style></textarea><b onmouseover=window.pwned=1>x",
    '<a href="javascript:window.pwned=1">x</a>',
    '" data-on-click="window.pwned=1" data-x="',
    "{{7*7}}<iframe srcdoc='<script>parent.pwned=1</script>'>",
    "a\r\n\r\ndata: b\u2028<details open ontoggle=alert(1)>",
]


@dataclass
class Site:
    """A page and one stream at a time; `status` other than 200 refuses streams."""

    page: str = ""
    status: int = 200
    policy: str = POLICY
    reasons: str = ""
    opened: queue.Queue[str] = field(default_factory=queue.Queue)
    closed: queue.Queue[str] = field(default_factory=queue.Queue)
    chunks: queue.Queue[bytes | None] = field(default_factory=queue.Queue)
    url: str = ""

    def send(self, *frames: bytes) -> None:
        self.chunks.put(b"".join(frames))

    def cut(self) -> None:
        self.chunks.put(None)

    def last_event_id(self) -> list[str]:
        """Of the next stream that is opened; waits for it."""
        return parse_qs(urlsplit(self.opened.get(timeout=PATIENCE_MS / 1000)).query).get("last_event_id", [])


def handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/live"):
                return self.stream()
            if self.path.startswith("/why/"):
                return self.answer(200, "text/plain; charset=utf-8", site.reasons.encode())
            name = urlsplit(self.path).path.removeprefix("/static/")
            body = (STATIC / name).read_bytes() if name in FILES else site.page.encode()
            return self.answer(200, KINDS[Path(name).suffix], body)

        def do_HEAD(self) -> None:
            self.answer(site.status, "text/event-stream", None)

        def stream(self) -> None:
            if site.status != 200:
                site.opened.put(self.path)
                return self.answer(site.status, "text/plain", b"busy")
            self.answer(200, "text/event-stream", None)
            self.wfile.write(datastar.heartbeat(datetime.now(UTC)))
            site.opened.put(self.path)
            while (chunk := site.chunks.get()) is not None:
                try:
                    self.wfile.write(chunk)
                    self.wfile.flush()
                except OSError:
                    break
            site.closed.put(self.path)
            return None

        def answer(self, status: int, kind: str, body: bytes | None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if site.policy:
                self.send_header("Content-Security-Policy", site.policy)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args: object) -> None:
            """Quiet."""

    return Handler


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site(page=dashboard_page("Test", None, [view("a", "first"), view("b", "other")], "/live/test?limit=3"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(site))
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield site
    for _ in range(8):
        site.cut()
    server.shutdown()
    thread.join()
    server.server_close()


def view(name: str, text: str | Markup, **more: Any) -> PanelView:
    now = datetime.now(UTC)
    return PanelView(
        **{"id": name, "name": name, "title": name, "computed_at": now, "body": h("p", {}, text), **more}
    )


def patch(name: str, text: str | Markup, ident: str | None = None, **more: Any) -> bytes:
    return datastar.patch_elements(panel(view(name, text, **more)), id=ident)


def live(tab: Any, site: Site) -> None:
    tab.goto(site.url)
    expect(tab.locator("#connection")).to_have_text("Live")
    assert site.last_event_id() == []


def test_patches_apply_in_every_mode(tab: Any, site: Site) -> None:
    live(tab, site)
    site.send(patch("a", "second"), datastar.patch_elements("<p>in</p>", selector="#panel-b .body", mode="inner"))
    expect(tab.locator("#panel-a .body")).to_have_text("second")
    expect(tab.locator("#panel-b .body")).to_have_text("in")
    for mode in ("append", "prepend", "before", "after"):
        site.send(datastar.patch_elements(f"<i class='{mode}'>{mode}</i>", selector="#panel-b .body", mode=mode))
    expect(tab.locator("#panel-b .body")).to_have_text("prependinappend")
    expect(tab.locator("#panel-b > .before + .body + .after")).to_have_count(1)
    site.send(datastar.patch_elements("", selector="#panel-b .after", mode="remove"))
    expect(tab.locator(".after")).to_have_count(0)
    site.send(datastar.patch_elements('<section id="panel-b">new</section>', mode="replace"))
    expect(tab.locator("#panel-b")).to_have_text("new")
    site.send(patch("a", "x"), datastar.patch_elements(join([panel(view("a", "both")), panel(view("b", "at once"))])))
    expect(tab.locator("#panel-b .body")).to_have_text("at once")
    expect(tab.locator("#panel-a .body")).to_have_text("both")


def test_signals_are_kept_for_whoever_asks(tab: Any, site: Site) -> None:
    live(tab, site)
    site.send(datastar.patch_signals({"a": 1}), datastar.patch_signals({"a": 2, "b": "é\n"}, only_if_missing=True))
    # Events come in order. (wait_for_function polls with eval, which the page's policy rightly refuses.)
    site.send(patch("a", "after the signals"))
    expect(tab.locator("#panel-a .body")).to_have_text("after the signals")
    assert tab.evaluate("({...window.livelake.signals})") == {"a": 1, "b": "é\n"}


def test_nodes_that_did_not_change_stay_the_same_objects(tab: Any, site: Site) -> None:
    live(tab, site)
    tab.evaluate("window.kept = [document.querySelector('#panel-a'), document.querySelector('#panel-a h2')]")
    tab.evaluate("""() => { window.changes = 0; new MutationObserver((all) => {
        window.changes += all.filter((one) => !one.target.closest('time')).length;
    }).observe(document.querySelector('#panel-b'), {subtree: true, childList: true, attributes: true}); }""")
    site.send(patch("b", "other", computed_at=None), patch("b", "other", computed_at=None), patch("a", "after"))
    expect(tab.locator("#panel-a .body")).to_have_text("after")
    assert tab.evaluate(
        "kept[0] === document.querySelector('#panel-a') && kept[1] === document.querySelector('#panel-a h2')"
    )
    assert tab.evaluate("changes") == 1  # the age went once; the second, equal patch touched nothing


def test_focus_scroll_and_what_was_typed_survive_an_update(tab: Any, site: Site) -> None:
    def table(first: int) -> Markup:
        return render(ChartSpec(title="t"), [("n", "INTEGER")], [{"n": first + i} for i in range(150)])

    site.page = site.page.replace("<main", '<input id="note"/><main')
    live(tab, site)
    site.send(patch("a", "x", body=table(0)))
    region = tab.locator("#panel-a .scroll")
    region.focus()
    region.evaluate("(it) => { it.scrollTop = 300; }")
    site.send(patch("a", "x", body=table(1000)))
    expect(tab.locator("#panel-a td").first).to_have_text("1,000")
    assert region.evaluate("(it) => it === document.activeElement && it.scrollTop") == 300
    tab.locator("#note").fill("typed")
    site.send(patch("a", "x", body=table(2000)))
    expect(tab.locator("#panel-a td").first).to_have_text("2,000")
    expect(tab.locator("#note")).to_be_focused()
    expect(tab.locator("#note")).to_have_value("typed")


@pytest.mark.parametrize("policy", [POLICY, ""], ids=["strict", "no-policy"])
def test_hostile_text_shows_as_text_and_runs_nothing(tab: Any, site: Site, policy: str) -> None:
    site.policy = policy
    rows = [{"name": text, "n": i + 1, text: text} for i, text in enumerate(HOSTILE)]
    columns = [(name, "") for name in ("name", "n", *HOSTILE)]
    marks = [
        ChartSpec(mark=mark, x="name", y="n", color="name", title=HOSTILE[0]) for mark in ("line", "bar", "point")
    ]
    tables = [ChartSpec(title=HOSTILE[1], view=TableView(HOSTILE[2]), page_size=size) for size in (5, 200)]
    specs = [*tables, ChartSpec("bar", x="n", y="name"), ChartSpec("value", y="name"), *marks]
    bodies = [render(spec, columns, rows) for spec in specs]
    views = [
        PanelView(str(i), text, text, text, state="stale", message=text, body=join(bodies), why_url="/why/" + text)
        for i, text in enumerate(HOSTILE)
    ]
    form = hostile_form()
    site.page = dashboard_page(HOSTILE[4], HOSTILE[2], views, "/live?x=" + HOSTILE[1], controls=form)
    site.reasons = HOSTILE[0]
    live(tab, site)
    site.send(*[datastar.patch_elements(panel(one)) for one in views], patch("0", "done", title=HOSTILE[0]))
    expect(tab.locator("#panel-0 .body")).to_have_text("done")
    expect(tab.locator("#panel-0 h2")).to_have_text(HOSTILE[0])
    expect(tab.locator("#panel-3 .about")).to_have_text(HOSTILE[3])
    expect(tab.locator("#panel-3 tbody td").first).to_have_text(HOSTILE[0])
    expect(tab.locator("h1")).to_have_text(HOSTILE[4])
    expect(tab.locator("#control-a")).to_have_value(HOSTILE[0])
    assert tab.locator("#control-b").evaluate("(it) => it.selectedOptions[0].text") == HOSTILE[1]
    expect(tab.locator("#controls > .problem")).to_contain_text(ascii(HOSTILE[5])[1:-1])
    tab.locator("#panel-3 th[data-order] button").first.click()  # sorted by the script: still text
    expect(tab.locator("#panel-3 th[aria-sort]")).to_have_count(1)
    tab.locator("#panel-1 .why").click()
    expect(tab.locator("dialog pre")).to_have_text(HOSTILE[0])
    expect(tab.locator("dialog h2")).to_have_text(HOSTILE[1])
    assert tab.evaluate("window.pwned") is None
    foreign = "img, iframe, [onload], [onerror], main a[href^=j], main svg[onload], main script"
    assert tab.evaluate(f"document.querySelectorAll({foreign!r}).length") == 0
    assert tab.evaluate("document.scripts.length") == 3


def hostile_form() -> Markup:
    """Every kind of control, with hostile titles, values, choices and reasons."""
    kinds: list[dict[str, Any]] = [
        {"name": "a", "type": "string", "default": HOSTILE[0]},
        {"name": "b", "type": "choice", "choices": tuple(HOSTILE), "default": HOSTILE[1]},
        {"name": "c", "type": "choice", "source": "…"},
        {"name": "d", "type": "choice", "source": "…"},
        {"name": "e", "type": "integer"},
    ]
    made = {kind["name"]: Parameter(title=HOSTILE[3], **kind) for kind in kinds}
    query = Query(name="q", sql="", title="q", params=made, file=Path("q.sql"))
    dashboard = Dashboard(name=HOSTILE[6], title="x", queries={"q": query}, path=Path())
    few, many = [Offer(text, text) for text in HOSTILE], [Offer(f"{i}{HOSTILE[0]}", HOSTILE[1]) for i in range(150)]
    asked = read(dashboard, [("e", HOSTILE[4]), ("c", HOSTILE[7]), (HOSTILE[5], "x")])
    return controls(asked, {"c": Offers(tuple(few), HOSTILE[2]), "d": Offers(tuple(many))})


def test_a_cut_stream_comes_back_and_resumes_after_the_last_event(tab: Any, site: Site) -> None:
    live(tab, site)
    site.send(patch("a", "second", ident="s-42"))
    expect(tab.locator("#panel-a .body")).to_have_text("second")
    site.cut()
    assert site.last_event_id() == ["s-42"]
    site.send(patch("a", "third"))
    expect(tab.locator("#panel-a .body")).to_have_text("third")
    expect(tab.locator("#connection")).to_have_text("Live")


def test_i7_after_a_stream_that_resumes_nothing_no_panel_counts_as_fresh_until_it_has_come(
    tab: Any, site: Site
) -> None:
    """The server was started anew: what the page shows is of before, and what comes first is not beside it as one."""
    live(tab, site)
    site.send(datastar.anew(), patch("a", "first"), patch("b", "other"))
    expect(tab.locator("[data-awaited]")).to_have_count(0)
    expect(tab.locator("#connection")).to_have_text("Live")
    site.cut()
    site.last_event_id()
    site.send(datastar.anew())
    expect(tab.locator("#connection")).to_have_text("Catching up…")
    expect(tab.locator(".panel[data-awaited]")).to_have_count(2)
    site.send(patch("a", "of now"))
    expect(tab.locator("#panel-a .body")).to_have_text("of now")
    expect(tab.locator(".panel[data-awaited]")).to_have_attribute("id", "panel-b")
    expect(tab.locator("#panel-b .body")).to_have_css("opacity", "0.5")
    expect(tab.locator("#connection")).to_have_text("Catching up…")
    site.send(patch("b", "other"))  # the same, and now of now
    expect(tab.locator("#connection")).to_have_text("Live")
    expect(tab.locator("#panel-b .body")).to_have_css("opacity", "1")


def test_a_lost_connection_shows_and_the_page_comes_back_after_503(tab: Any, site: Site) -> None:
    live(tab, site)
    site.status = 503
    site.cut()
    expect(tab.locator("#connection")).to_have_text("Reconnecting…")
    expect(tab.locator("body")).to_have_attribute("data-state", "lost")
    for _ in range(3):  # EventSource alone would have given up after the first
        site.last_event_id()
    site.status = 200
    expect(tab.locator("#connection")).to_have_text("Live")
    site.send(patch("a", "back"))
    expect(tab.locator("#panel-a .body")).to_have_text("back")


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_a_stream_that_is_refused_for_good_is_not_asked_for_again(tab: Any, site: Site, status: int) -> None:
    live(tab, site)
    site.status = status
    site.cut()
    expect(tab.locator("#connection")).to_have_text("No longer live. Reload")
    expect(tab.locator("#connection a")).to_have_attribute("href", site.url)
    while not site.opened.empty():
        site.opened.get()
    tab.clock.install()
    tab.clock.fast_forward(120_000)
    assert site.opened.empty()
    site.status = 200
    tab.locator("#connection a").click()
    expect(tab.locator("#connection")).to_have_text("Live")


def test_a_panel_that_fails_is_told_once_to_screen_readers(tab: Any, site: Site) -> None:
    live(tab, site)
    status = tab.locator("p.unseen[role=status]")
    expect(status).to_be_empty()
    site.send(patch("a", "x", state="stale", message="the table is gone"))
    expect(status).to_have_text("a: Showing the last good result: the table is gone")
    site.send(patch("b", "y"))
    expect(tab.locator("#panel-b .body")).to_have_text("y")
    expect(status).to_have_text("a: Showing the last good result: the table is gone")


def test_a_silent_connection_is_replaced(tab: Any, site: Site) -> None:
    tab.clock.install()
    live(tab, site)
    tab.clock.fast_forward(39_000)
    assert site.opened.empty()
    tab.clock.fast_forward(3_000)
    tab.clock.fast_forward(1_000)
    site.last_event_id()
    expect(tab.locator("#connection")).to_have_text("Live")


def test_a_hidden_tab_gives_its_connection_back_and_resumes_when_shown(tab: Any, site: Site) -> None:
    hide = "(on) => { Object.defineProperty(document, 'hidden', {value: on, configurable: true});"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    tab.clock.install()
    live(tab, site)
    tab.evaluate(hide, True)
    tab.clock.fast_forward(4_000)
    expect(tab.locator("#connection")).to_have_text("Live")
    tab.clock.fast_forward(2_000)
    expect(tab.locator("#connection")).to_have_text("Paused")
    tab.evaluate(hide, False)
    site.last_event_id()
    expect(tab.locator("#connection")).to_have_text("Live")


def test_ages_count_by_the_servers_clock(tab: Any, site: Site) -> None:
    ahead = datetime.now(UTC) + timedelta(days=2)
    live(tab, site)
    site.send(datastar.heartbeat(ahead), patch("a", "x", computed_at=ahead - timedelta(minutes=5)))
    expect(tab.locator("#panel-a time")).to_have_text("5 min ago")
    site.send(patch("a", "x", computed_at=ahead - timedelta(hours=30)))
    expect(tab.locator("#panel-a time")).to_have_text("1 d ago")
    site.send(patch("a", "x", computed_at=ahead + timedelta(hours=1)))
    expect(tab.locator("#panel-a time")).to_have_text("now")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_its_window(tab: Any, site: Site, width: int, scheme: str) -> None:
    rows = [{"name": f"a rather long name {i}" * 3, "n": 10.0**i, "wide": "x" * 400} for i in range(9)]
    columns = [("name", ""), ("n", ""), ("wide", "")]
    specs = [
        ChartSpec(),
        ChartSpec("bar", x="n", y="name"),
        ChartSpec("bar", x="name", y="n"),
        ChartSpec("value", y="wide"),
    ]
    views = [view(str(i), "", body=render(spec, columns, rows), title="w" * 200) for i, spec in enumerate(specs)]
    site.page = dashboard_page("Wide" * 60, "x" * 300, views, "/live")
    tab.set_viewport_size({"width": width, "height": 800})
    tab.emulate_media(color_scheme=scheme)
    live(tab, site)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
