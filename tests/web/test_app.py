"""The web application over a real lake: pages, results, and everything that can be asked wrongly."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from livelake import __version__, web
from livelake.errors import BusyError, ClosedError, ConfigError, InternalError, QueryError, SourceError
from livelake.live import LiveLake, State
from livelake.token import Token
from livelake.web import App
from livelake.web.caching import is_known
from livelake.web.draw import draw
from livelake.web.pages import PanelView
from livelake.web.problems import status_of


@pytest.fixture
async def client(app: App) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as made:
        yield made


def refused(answer: httpx.Response, status: int) -> str:
    """The reason given by a problem, which tells nothing of our inside."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["type"], body["status"]) == ("about:blank", status)
    assert body["title"]
    assert "Traceback" not in answer.text
    assert 'File "' not in answer.text
    return str(body["detail"])


# ---------------------------------------------------------------- pages


async def test_the_index_lists_the_dashboards_and_their_panels(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert 'href="/d/shop"' in answer.text
    assert 'href="/d/misc"' in answer.text
    assert "The shop" in answer.text
    assert "Totals, People" in answer.text


async def test_a_page_comes_with_its_panels_drawn(client: httpx.AsyncClient) -> None:
    answer = await client.get("/d/shop")
    assert answer.status_code == 200
    assert "<h1>The shop</h1>" in answer.text
    assert 'data-live="/live/shop"' in answer.text
    assert answer.text.index('id="panel-totals"') < answer.text.index('id="panel-people"')
    assert "north" in answer.text
    assert "Ada" in answer.text
    assert "skeleton" not in answer.text
    assert 'aria-current="page"' in answer.text  # there are two dashboards, so there is a menu


async def test_every_page_carries_the_policy(client: httpx.AsyncClient) -> None:
    for path in ("/", "/d/shop", "/d/none", "/d/shop?x=1"):
        answer = await client.get(path)
        policy = answer.headers["content-security-policy"]
        for rule in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"):
            assert rule in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", answer.text)


async def test_a_lazy_panel_says_that_its_data_has_changed_and_a_reload_shows_the_new(
    lake: LiveLake, tmp_path: Path
) -> None:
    folder = tmp_path / "lazy"
    folder.mkdir()
    header = '/*---\nrefresh = "lazy"\n---*/\n'
    (folder / "people.sql").write_text(header + "SELECT count(*) AS people FROM shop.main.people")
    lazy = await web.app(lake, folder)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(lazy), base_url="http://localhost") as client:
        first = (await client.get("/d/lazy")).text
        assert 'data-state="fresh"' in first
        (panel,) = next(iter(lazy.channels._living)).panels
        await lake.execute("INSERT INTO people VALUES ('Somebody new')")
        async with asyncio.timeout(30):
            while panel.view.state != "stale":
                await asyncio.sleep(0.01)
        again = (await client.get("/d/lazy")).text
        assert 'data-state="fresh"' in again
        assert first != again
    await lazy.close()
    assert lazy.channels.viewers == 0


async def test_a_pages_parameters_reach_its_queries_and_its_stream(client: httpx.AsyncClient) -> None:
    answer = await client.get("/d/shop", params={"least": "6", "prefix": 'n&"'})
    assert answer.status_code == 200
    assert "south" not in answer.text
    live = re.search(r'data-live="([^"]*)"', answer.text)
    assert live is not None
    assert html.unescape(live[1]) == "/live/shop?least=6&prefix=n%26%22"


BAD_PARAMETERS = {
    "least=many": "must be a whole number",
    "least=-1": "at least 0",
    "least=1&least=2": "twice",
    "colour=red": "it takes least, prefix",
    "least=%00": "must be a whole number",
    "prefix=" + "x" * 2_000: "at most",
}


async def test_a_bad_parameter_is_a_page_that_says_why(client: httpx.AsyncClient) -> None:
    for query, reason in BAD_PARAMETERS.items():
        answer = await client.get(f"/d/shop?{query}")
        assert answer.status_code == 400
        assert "text/html" in answer.headers["content-type"]
        assert reason in html.unescape(answer.text)
        assert reason in refused(await client.get(f"/live/shop?{query}"), 400)


async def test_a_bad_value_stays_in_its_control_with_the_reason(client: httpx.AsyncClient) -> None:
    answer = await client.get("/d/shop", params={"least": "many", "prefix": "no"})
    assert answer.status_code == 400
    assert re.search(r'<input id="control-least"[^>]*aria-invalid="true"[^>]*value="many"', answer.text)
    assert re.search(r'<input id="control-prefix"[^>]*value="no"', answer.text)
    assert "Waits for: Least" in answer.text
    assert "data-live" not in answer.text


async def test_a_value_that_is_missing_is_asked_for(client: httpx.AsyncClient) -> None:
    answer = await client.get("/d/misc")
    assert answer.status_code == 200
    assert "Waits for: Since" in answer.text
    assert "'since' is missing" in refused(await client.get("/live/misc"), 400)
    answer = await client.get("/d/misc?since=2024-01-15")
    assert 'data-live="/live/misc?since=2024-01-15"' in answer.text
    assert "Waits for" not in answer.text


async def test_what_a_form_without_scripts_sends_is_the_page_that_it_means(client: httpx.AsyncClient) -> None:
    answer = await client.get("/d/shop?least=&prefix=&people.sort=-name&people.sort=name")
    assert answer.status_code == 200
    assert "south" in answer.text
    assert 'aria-sort="ascending"' in answer.text


async def test_choices_are_read_from_the_lake_and_follow_it(lake: LiveLake, tmp_path: Path) -> None:
    folder = tmp_path / "chosen"
    folder.mkdir()
    source = "SELECT DISTINCT region FROM shop.main.orders ORDER BY region"
    header = f'params.region = {{ type = "choice", from = "{source}", default = "north" }}'
    (folder / "sums.sql").write_text(
        f"/*---\n{header}\n---*/\nSELECT sum(amount) AS total FROM shop.main.orders WHERE region = $region"
    )
    app = await web.app(lake, folder)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert re.findall(r"<option[^>]*>([^<]*)", (await client.get("/d/chosen")).text) == ["north", "south"]
        await lake.execute("INSERT INTO orders VALUES ('west', 1)")
        assert re.findall(r"<option[^>]*>([^<]*)", (await client.get("/d/chosen")).text) == ["north", "south", "west"]
        await lake.execute("ALTER TABLE orders RENAME COLUMN region TO place")
        answer = await client.get("/d/chosen")
        assert answer.status_code == 200
        assert "The choices cannot be read: " in answer.text
        assert 'value="north"' in answer.text
    await app.close()


@pytest.mark.parametrize(("source", "said"), [
    ("DELETE FROM orders", "params.p.from: "), ("SELECT 1; SELECT 2", "params.p.from: "),
    ("SELECT $q", "takes no parameters"),
])  # fmt: skip
async def test_choices_come_from_one_select_without_parameters(
    lake: LiveLake, tmp_path: Path, source: str, said: str
) -> None:
    folder = tmp_path / "chosen"
    folder.mkdir()
    (folder / "a.sql").write_text(f'/*---\nparams.p = {{ type = "choice", from = "{source}" }}\n---*/\nSELECT $p')
    with pytest.raises(ConfigError, match=said):
        await web.app(lake, folder)


async def test_whoever_looks_at_a_table_in_the_same_way_shares_a_channel(app: App, client: httpx.AsyncClient) -> None:
    for query in ("", "?people.page=1", "?people.sort=name", "?people.sort=name&least=0", "?least=&prefix="):
        assert (await client.get(f"/d/shop{query}")).status_code == 200
    assert len(app.channels._living) == 2


STRANGE_NAMES = ["none", "..%2Fx", "%00", "%ff", "ü", "🦆", "shop.json", "%3Cimg%20src=x%3E", "%0d%0aX-Evil:%201"]


async def test_an_unknown_dashboard_is_404_whatever_its_name(client: httpx.AsyncClient) -> None:
    for name in [*STRANGE_NAMES, "x" * 5_000]:
        page = await client.get(f"/d/{name}", headers={"Accept": "text/html"})
        assert page.status_code == 404, name
        for answer in (page, await client.get(f"/live/{name}"), await client.get(f"/queries/{name}")):
            assert answer.status_code == 404, name
            assert "x-evil" not in answer.headers
            assert "<img" not in answer.text


async def test_a_dashboard_without_data_shows_each_failure_in_its_panel(
    app: App, client: httpx.AsyncClient, lake: LiveLake
) -> None:
    """What DuckDB says of it is for those who serve it to themselves; strangers are told that the log knows."""
    await lake.execute("DROP TABLE people")
    own = App(lake, tuple(app.dashboards.values()), hosts={"127.0.0.1"})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(own), base_url="http://127.0.0.1") as here:
        for visitor, told in ((client, "this query failed"), (here, "Table with name people does not exist")):
            answer = await visitor.get("/d/shop")
            assert answer.status_code == 200
            assert told in answer.text
            assert "north" in answer.text
        assert "people does not exist" not in (await client.get("/d/shop")).text
    await own.close()


# ---------------------------------------------------------------- results


async def test_rows_are_json(client: httpx.AsyncClient) -> None:
    answer = await client.get("/queries/totals")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == [{"region": "north", "total": 10}, {"region": "south", "total": 5}]
    assert (await client.get("/queries/totals.json")).content == answer.content
    assert (await client.get("/queries/totals?least=6")).json() == [{"region": "north", "total": 10}]


async def test_every_kind_of_value_has_its_json(client: httpx.AsyncClient) -> None:
    text = (await client.get("/queries/types.json")).text
    assert '"price":1.50' in text
    assert '"long":12345678901234567890.123' in text
    (row,) = json.loads(text)
    assert row["day"] == "2024-01-15"
    assert row["moment"] == "2024-01-15T12:00:00Z"
    assert row["nothing"] is None
    assert row["nan"] is None
    assert row["huge"] == 2**127 - 1
    assert row["text"] == 'ä"\\<'
    assert row["map"] == {"2024-01-15": [1, 2]}
    assert row["struct"] == {"a": True}
    assert row["bytes"] == "qw=="


async def test_headers_say_where_an_answer_comes_from(client: httpx.AsyncClient, lake: LiveLake) -> None:
    first = await client.get("/queries/totals")
    assert re.fullmatch(r'"[0-9a-f]{32}-json-[0-9a-f]{6}"', first.headers["etag"])  # strong
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["cache-status"] == 'livelake; fwd=miss; stored; key="totals"'
    assert Token.parse(first.headers["livelake-as-of"]) == Token(lake.watcher.heads())
    assert first.headers["livelake-computed-at"].endswith("+00:00")
    again = await client.get("/queries/totals")
    assert again.headers["cache-status"] == 'livelake; hit; key="totals"'
    assert again.headers["etag"] == first.headers["etag"]
    await client.get("/queries/clock")
    clock = await client.get("/queries/clock")
    assert clock.headers["cache-status"] == 'livelake; fwd=bypass; key="clock"'


async def test_who_has_the_answer_is_told_so_until_it_changes(client: httpx.AsyncClient, lake: LiveLake) -> None:
    first = await client.get("/queries/totals")
    etag = first.headers["etag"]

    async def ask() -> httpx.Response:
        return await client.get("/queries/totals", headers={"If-None-Match": etag})

    same = await ask()
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert "content-length" not in same.headers
    await lake.execute("INSERT INTO people VALUES ('Bob')")
    assert (await ask()).status_code == 304
    await lake.execute("INSERT INTO orders VALUES ('north', 0)")  # computed again, and the same
    assert (await ask()).status_code == 304
    await lake.execute("INSERT INTO orders VALUES ('north', 1)")
    news = await ask()
    assert news.status_code == 200
    assert news.headers["etag"] != etag
    assert news.json()[0] == {"region": "north", "total": 11}


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ('"b" ,W/"a","c"', True),
        ("*", True),
        (" * ", True),
        ('"b"', False),
        ("a", False),
        ('"a', False),
        ("", False),
        ('"', False),
        ('"b*"', False),
        (None, False),
    ],
)
def test_if_none_match_is_a_list_of_weakly_compared_tags(header: str | None, known: bool) -> None:
    assert is_known(header, '"a"') is known


def test_a_long_if_none_match_is_read_in_no_time() -> None:
    assert not is_known('"' * 1_000_001, '"a"')
    assert not is_known('W/"' * 300_000 + "x", '"a"')


BAD_REQUESTS = {
    "/queries/needs": "'since' is missing",
    "/queries/needs?since=2024-02-30": "a date, such as",
    "/queries/needs?since=2024-01-01&since=2024-01-02": "twice",
    "/queries/totals?leas=1": "no parameter 'leas'",
    "/queries/people?x=1": "it takes none",
    "/queries/totals?least=99999999999999999999": "at most",
}


async def test_a_query_that_is_asked_wrongly_says_why(client: httpx.AsyncClient) -> None:
    for path, reason in BAD_REQUESTS.items():
        assert reason in refused(await client.get(path), 400)


async def test_an_unknown_query_names_those_there_are(client: httpx.AsyncClient) -> None:
    detail = refused(await client.get("/queries/total"), 404)
    assert "totals" in detail
    assert "people" in detail


async def test_sql_that_fails_is_a_problem_and_works_again_when_mended(
    client: httpx.AsyncClient, lake: LiveLake
) -> None:
    assert (await client.get("/queries/people")).status_code == 200
    await lake.execute("ALTER TABLE people RENAME TO persons")
    assert "the query failed" in refused(await client.get("/queries/people"), 500)
    await lake.execute("ALTER TABLE persons RENAME TO people")
    assert (await client.get("/queries/people")).json() == [{"name": "Ada"}]


@pytest.mark.parametrize(
    ("error", "status"),
    [(BusyError(), 503), (ClosedError(), 503), (SourceError(), 502), (QueryError(), 500), (InternalError(), 500)],
)
def test_each_error_has_the_status_of_who_can_mend_it(error: Any, status: int) -> None:
    assert status_of(error) == status


# ---------------------------------------------------------------- methods


READ_ONLY = ["/", "/d/shop", "/queries/totals", "/healthz", "/static/livelake.js"]


async def test_head_tells_what_get_would(client: httpx.AsyncClient) -> None:
    for path in READ_ONLY:
        get, head = await client.get(path), await client.head(path)
        assert head.status_code == 200
        assert head.headers["content-type"] == get.headers["content-type"]
        assert head.headers.get("etag") == get.headers.get("etag")


async def test_head_of_a_stream_ends(client: httpx.AsyncClient, app: App) -> None:
    answer = await client.head("/live/shop")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert app.channels.viewers == 0


async def test_what_reads_cannot_be_written_to(client: httpx.AsyncClient) -> None:
    for path in [*READ_ONLY, "/live/shop"]:
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            answer = await client.request(method, path)
            refused(answer, 405)
            assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_an_error_for_a_browser_is_a_page(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nowhere", headers={"Accept": "text/html,*/*;q=0.8"})
    assert answer.status_code == 404
    assert "<h1>" in answer.text
    refused(await client.get("/nowhere"), 404)


async def test_a_fault_of_ours_is_told_to_the_log_and_not_to_the_client(
    client: httpx.AsyncClient, app: App, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.lake, "query", lambda *_, **__: 1 / 0)
    assert "ZeroDivision" not in refused(await client.get("/queries/totals"), 500)
    assert "GET /queries/totals failed" in caplog.text


# ---------------------------------------------------------------- hosts, health, files


async def test_a_server_on_loopback_answers_to_its_own_names_only(lake: LiveLake, app: App) -> None:
    app.guard.hosts = frozenset({"localhost", "[::1]"})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8000") as client:
        for host in ("localhost", "LOCALHOST:80", "[::1]:9", "[::1]"):
            assert (await client.get("/healthz", headers={"Host": host})).status_code == 200
        for host in ("evil.example", "evil.example:8000", "localhost.evil.example", "", "localhost:x", "::1"):
            refused(await client.get("/live/shop", headers={"Host": host}), 421)


async def test_health_says_what_is_vouched_for(client: httpx.AsyncClient, lake: LiveLake) -> None:
    body = (await client.get("/healthz")).json()
    assert body["status"] == "ok"
    assert body["version"] == __version__
    assert body["heads"] == dict(lake.watcher.heads())
    assert body["viewers"] == 0


async def test_a_blind_lake_is_not_healthy(
    client: httpx.AsyncClient, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = SimpleNamespace(is_blind=True, heads=dict, failure=SourceError("the disk is gone"))
    monkeypatch.setattr(app.lake, "watcher", watcher)
    answer = await client.get("/healthz")
    monkeypatch.undo()
    assert answer.status_code == 503
    assert answer.json()["status"] == "blind"
    assert "the server's log says why" in answer.json()["failure"]  # who is not on this machine learns no more


async def test_the_pages_files_are_kept_for_their_version_only(client: httpx.AsyncClient) -> None:
    kinds = {"livelake.js": "text/javascript", "livelake.css": "text/css", "icon.svg": "image/svg+xml"}
    for name, kind in kinds.items():
        plain = await client.get(f"/static/{name}")
        assert plain.headers["content-type"].startswith(kind)
        assert plain.headers["cache-control"] == "no-cache"
        assert plain.headers["x-content-type-options"] == "nosniff"
        versioned = await client.get(f"/static/{name}?v={__version__}")
        assert "immutable" in versioned.headers["cache-control"]
        assert "immutable" not in (await client.get(f"/static/{name}?v=0")).headers["cache-control"]


async def test_no_other_file_is_served(client: httpx.AsyncClient) -> None:
    for name in ("no.js", "..%2fapp.py", "..%2f..%2fetc%2fpasswd", "%2e%2e/app.py", "livelake.js%00", "", ".", "%ff"):
        refused(await client.get(f"/static/{name}"), 404)


# ---------------------------------------------------------------- the id to resume after

GARBAGE = [
    "",
    "-1",
    "x-1",
    "{epoch}-",
    "{epoch}--1",
    "{epoch}-1.5",
    "{epoch}-²",
    "{epoch}-٣",
    f"{{epoch}}-{2**64}",
    "{epoch}-" + "9" * 1_000_000,
    "0" * 1_000_000,
    "{epoch}-1\0",
    "00000000-1",
    "{epoch}-1-2",
    "{epoch} -1",
]


async def test_an_id_that_is_not_ours_means_nothing_was_seen(app: App) -> None:
    channel = app.channels.enter(app.dashboards["misc"], {name: {} for name in ("types", "clock", "needs")})
    broadcast = channel.broadcast
    broadcast.number = 3
    for garbage in GARBAGE:
        assert broadcast.resume(garbage.format(epoch=broadcast.epoch)) == 0, garbage[:20]
    assert broadcast.resume(None) == 0
    assert broadcast.resume(f"{broadcast.epoch}-2") == 2
    assert broadcast.resume(f"{broadcast.epoch}-99") == 3  # not ahead of what there is: nothing would ever come
    app.channels.leave(channel)


async def test_a_server_that_stops_begins_no_stream(client: httpx.AsyncClient, app: App) -> None:
    await app.close()
    await app.close()
    assert "about to stop" in refused(await client.get("/live/shop"), 503)


async def test_made_up_parameters_open_a_bounded_number_of_channels(
    client: httpx.AsyncClient, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livelake.web.channel._MOST", 2)
    assert [(await client.get(f"/d/shop?least={least}")).status_code for least in (1, 2, 3, 2)] == [
        200,
        200,
        503,
        200,
    ]
    assert "try again" in refused(await client.get("/live/shop?least=4"), 503)


async def test_a_failure_is_shown_over_the_newest_result_even_if_that_was_never_drawn(lake: LiveLake) -> None:
    first, second = await lake.query("SELECT 'old' AS a"), await lake.query("SELECT 'new' AS a")
    view = PanelView(id="p", name="p", title="P")
    drawn = draw(view, None, State(1, first))
    assert (drawn.state, "old" in (drawn.body or "")) == ("fresh", True)
    drawn = draw(drawn, None, State(3, second, QueryError("it went away")))
    assert (drawn.state, drawn.message, drawn.computed_at) == ("stale", "it went away", second.computed_at)
    assert "new" in (drawn.body or "")
    drawn = draw(view, None, State(1, None, ValueError("a secret")))
    assert (drawn.state, drawn.message) == ("error", "this query failed; the server's log says why")
