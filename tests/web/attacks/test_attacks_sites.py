"""Other sites: reads across origins, forged requests, names made to lead here; and what stands against it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from livelake.web import App
from livelake.web.caller import Hosts
from web.attacks.attacked import ADA, ORIGIN, browser, shows

EVIL = "https://evil.example"


def foreign(mode: str, dest: str, site: str = "cross-site", **rest: str) -> dict[str, str]:
    """As a browser asks on behalf of a page of another site."""
    return {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest} | rest


FOREIGN = {
    "an EventSource": foreign("cors", "empty", Origin=EVIL, Accept="text/event-stream"),
    "a fetch": foreign("cors", "empty", Origin=EVIL, Accept="*/*"),
    "a fetch that hides": foreign("no-cors", "empty"),
    "a script": foreign("no-cors", "script"),
    "an image": foreign("no-cors", "image"),
    "a frame": foreign("navigate", "iframe", Accept="text/html"),
    "an object": foreign("navigate", "object", Accept="text/html"),
    "a server on another port": foreign("cors", "empty", "same-site", Origin="http://127.0.0.1:9999"),
    "an origin that is a lie": foreign("cors", "empty", Origin=ORIGIN),
    "an older browser": {"Origin": EVIL},
    "a sandboxed page": {"Origin": "null"},
}
READS = (
    "/live/all",
    "/queries/count",
    "/d/all",
    "/",
    "/healthz",
    "/login",
    "/static/livelake.js",
    "/metrics",
    "/nowhere",
)


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
async def test_a_page_of_another_site_reads_nothing_not_even_what_is_open(
    open_app: App, headers: dict[str, str]
) -> None:
    async with browser(open_app) as client:
        for path in READS:
            answer = await client.get(path, headers=headers)
            assert answer.status_code == 403, path
            assert "another site" in answer.json()["detail"]
            assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert open_app.channels.viewers == 0


async def test_a_session_does_not_help_a_page_of_another_site(log_in: Callable[[str], Any]) -> None:
    client = await log_in(ADA)
    for headers in FOREIGN.values():
        assert (await client.get("/live/all", headers=headers)).status_code == 403
        assert (await client.post("/logout", headers=headers)).status_code == 403
    assert (await client.get("/queries/count")).status_code == 200


OWN = [
    {},
    {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
    {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    {"Origin": ORIGIN},
]


async def test_our_own_pages_programs_and_people_who_follow_a_link_read(open_app: App) -> None:
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with browser(open_app) as client:
        for headers in OWN:
            assert (await client.get("/queries/count", headers=headers)).status_code == 200
        assert (await client.get("/d/all", headers=visit | {"Accept": "text/html"})).status_code == 200
        assert (await client.post("/login", headers=visit | {"Accept": "text/html"})).status_code == 403


async def test_a_preflight_is_answered_with_a_refusal(app: App, open_app: App) -> None:
    asking = {
        "Origin": EVIL,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    for each in (app, open_app):
        async with browser(each) as client:
            for path in ("/events", "/queries/count", "/live/all", "/login"):
                answer = await client.options(path, headers=asking)
                assert answer.status_code == 403
                assert not [name for name in answer.headers if name.startswith("access-control-")]


# ---------------------------------------------------------------- forged writes

FORMS = ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "application/json"]


async def test_no_form_of_another_site_changes_anything(log_in: Callable[[str], Any], app: App) -> None:
    client = await log_in(ADA)
    for kind in FORMS:
        for headers in FOREIGN.values():
            for path in ("/events", "/login", "/logout"):
                sent = headers | {"Content-Type": kind}
                answer = await client.post(path, content=f"token={ADA}", headers=sent)
                assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
    assert (await client.get("/queries/count")).status_code == 200
    assert app.lake.bus.stats().published == 0


async def test_no_other_method_and_no_override_writes(open_app: App) -> None:
    async with browser(open_app) as client:
        for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
            for path in ("/events", "/logout"):
                answer = await client.get(path, headers={name: "POST"}, params={"_method": "POST"})
                assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        for method in ("PUT", "PATCH", "DELETE", "TRACE"):
            for path in ("/queries/count", "/events", "/logout", "/d/all", "/login"):
                assert (await client.request(method, path)).status_code == 405


async def test_no_get_publishes_or_logs_out(log_in: Callable[[str], Any], app: App) -> None:
    client = await log_in(ADA)
    event = '{"aggregate_type": "Todo", "aggregate_id": "1", "event_type": "Done"}'
    for path in ("/events", "/logout", "/login", "/queries/count", "/live/all", "/healthz"):
        await client.request("HEAD", path, params={"event": event, "refresh": "1", "invalidate": "**"})
        if not path.startswith("/live"):
            await client.get(path, params={"event": event})
    assert app.lake.bus.stats().published == 0
    assert (await client.get("/queries/count")).status_code == 200


# ---------------------------------------------------------------- hosts

STRANGE_HOSTS = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "a/?x=",
    "localhost/?x=",
    "localhost@evil.example",
    "localhost#",
    "localhost:x",
    "localhost:80:80",
    "localhost:999999",
    "[::1",
    "::1",
    "[::1]x",
    "",
    " ",
    "localhost,evil.example",
    "127.0.0.1.",
    "2130706433",
    "0x7f.1",
    "lоcalhost",  # a Cyrillic o
    "x" * 5_000,
]
LOOPBACK = Hosts(frozenset({"localhost", "127.0.0.1", "[::1]"}))


async def test_a_name_that_is_not_ours_is_answered_with_nothing(open_app: App) -> None:
    open_app.guard.hosts = LOOPBACK
    async with browser(open_app) as client:
        for host in STRANGE_HOSTS:
            for path in ("/queries/count", "/live/all", "/login", "/static/livelake.js", "/healthz"):
                answer = await client.get(path, headers=[(b"host", host.encode())])
                assert answer.status_code == 421, host
                assert "evil" not in answer.text
        twice = [("Host", "localhost"), ("Host", "localhost")]
        assert (await client.get("/queries/count", headers=twice)).status_code == 421
        for host in ("localhost", "LOCALHOST:80", "127.0.0.1:8000", "[::1]:9"):
            assert (await client.get("/queries/count", headers={"Host": host})).status_code == 200


async def test_without_a_list_any_name_will_do_but_not_what_is_none(open_app: App) -> None:
    async with browser(open_app) as client:
        for host in ("a/?x=", "localhost@evil.example", "localhost#", "[::1", "", "lоcalhost"):
            assert (await client.get("/queries/count", headers=[(b"host", host.encode())])).status_code == 421
        assert (await client.get("/queries/count", headers={"Host": "data.example.org"})).status_code == 200


def test_a_server_for_other_machines_goes_by_its_addresses_and_by_names_that_it_was_told() -> None:
    hosts = Hosts(frozenset({"data.example.org"}), any_address=True)
    assert all(each in hosts for each in ("10.0.0.7", "[2001:db8::1]", "data.example.org"))
    assert not any(
        each in hosts for each in ("evil.example", "10.0.0.7.evil.example", "2130706433", "0x7f.1", "[x]", 7)
    )


FORWARDED = {
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "javascript",
    "X-Forwarded-Prefix": "//evil.example",
    "X-Original-URL": "/healthz",
    "X-Rewrite-URL": "/static/livelake.js",
    "Forwarded": "host=evil.example;proto=https",
    "X-HTTP-Host-Override": "evil.example",
    "X-Forwarded-User": "ada",
    "Livelake-Identity": "ada",
}


async def test_what_a_client_says_was_forwarded_opens_nothing_and_leads_nowhere(client: httpx.AsyncClient) -> None:
    assert (await client.get("/queries/count", headers=FORWARDED)).status_code == 401
    answer = await client.get("/d/all", headers=FORWARDED | {"Accept": "text/html"})
    assert answer.headers["location"] == "/login?next=%2Fd%2Fall"
    answer = await client.post("/login", data={"token": ADA}, headers=FORWARDED)
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize("path", ["/queries/count/", "/d/all/", "/login/", "/static/", "/events/"])
async def test_no_path_leads_away(open_app: App, path: str) -> None:
    async with browser(open_app) as client:
        answer = await client.get(path, headers={"Host": "evil.example", "Accept": "text/html"})
        assert (answer.status_code, "location" in answer.headers) == (404, False)


# ---------------------------------------------------------------- headers


async def test_every_answer_says_what_a_browser_may_make_of_it(app: App, open_app: App) -> None:
    for each, headers in ((app, {}), (app, shows(ADA)), (open_app, {})):
        async with browser(each) as client:
            for path in (
                "/",
                "/d/all",
                "/d/none",
                "/queries/count",
                "/queries/none",
                "/live/none",
                "/healthz",
                "/login",
                "/x",
            ):
                answer = await client.get(path, headers=headers)
                assert answer.headers["x-content-type-options"] == "nosniff", path
                assert answer.headers["cross-origin-resource-policy"] == "same-origin", path
                assert answer.headers["referrer-policy"] == "same-origin", path
                policy = answer.headers["content-security-policy"]
                assert "default-src 'none'" in policy
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                assert "server" not in answer.headers
                assert len(answer.headers.get_list("cache-control")) == 1, path


async def test_what_was_asked_for_by_somebody_is_kept_for_nobody_else(app: App, open_app: App) -> None:
    async with browser(app) as client:
        for path in ("/queries/count", "/d/all", "/healthz"):
            answer = await client.get(path, headers=shows(ADA))
            kept = {part.strip() for part in answer.headers["cache-control"].split(",")}
            assert kept & {"private", "no-store"}
            assert "public" not in kept
            assert {"Cookie", "Authorization"} <= {part.strip() for part in answer.headers["vary"].split(",")}
        same = await client.get("/queries/count", headers=shows(ADA) | {"If-None-Match": "*"})
        assert (same.status_code, same.headers["cache-control"]) == (304, "private, no-cache")
        assert "public" not in (await client.get("/queries/count")).headers["cache-control"]
    async with browser(open_app) as client:
        assert (await client.get("/queries/count")).headers["cache-control"] == "no-cache"
