"""The way in: sessions, cookies, guesses, and where a log-in may lead."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livelake.testing import ManualClock
from livelake.web import App
from livelake.web.caller import local_path
from livelake.web.tokens import Tokens
from web.attacks.attacked import ADA, BOB, NOBODY, PUBLISHER, browser, shows

PAGE = {"Accept": "text/html,*/*;q=0.8"}
READING = (
    "/queries/count",
    "/queries/orders",
    "/live/all",
    "/d/all",
    "/",
    "/nowhere",
    "/metrics",
    "/why/count",
    "/openapi.json",
)


async def test_without_a_token_nothing_is_read_and_new_routes_are_closed(client: httpx.AsyncClient) -> None:
    for path in READING:
        for method in ("GET", "HEAD", "POST", "OPTIONS", "DELETE"):
            answer = await client.request(method, path)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == 'Bearer realm="livelake"'
            assert answer.headers["cache-control"] == "no-store"
            assert "umbrella" not in answer.text


async def test_what_shows_a_token_reads(client: httpx.AsyncClient) -> None:
    answer = await client.get("/queries/count", headers=shows(ADA))
    assert (answer.status_code, answer.json()) == (200, [{"n": 2}])
    assert (await client.get("/d/all", headers=shows(ADA))).status_code == 200
    assert (await client.head("/live/all", headers=shows(ADA))).status_code == 200


@pytest.mark.parametrize(
    "shown", [f"Bearer {ADA}x", f"Bearer {ADA[:-1]}", f"Bearer {ADA} {ADA}", "Bearer", f"Bearer {ADA.upper()}"]
)
async def test_a_token_that_is_none_is_refused_even_beside_a_session(
    log_in: Callable[[str], Any], shown: str
) -> None:
    client = await log_in(ADA)
    assert (await client.get("/queries/count")).status_code == 200
    answer = await client.get("/queries/count", headers={"Authorization": shown})
    assert (answer.status_code, 'error="invalid_token"' in answer.headers["www-authenticate"]) == (401, True)
    twice = await client.get("/queries/count", headers=[("Authorization", f"Bearer {ADA}")] * 2)
    assert twice.status_code == 401


async def test_what_a_proxy_asks_for_besides_is_not_for_us(client: httpx.AsyncClient, app: App) -> None:
    for _ in range(100):
        answer = await client.get("/queries/count", headers={"Authorization": "Basic YTpi"})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="livelake"')
    assert len(app.guard.attempts) == 0


async def test_a_token_that_publishes_does_not_read(client: httpx.AsyncClient) -> None:
    answer = await client.get("/queries/count", headers=shows(PUBLISHER))
    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    page = await client.post("/login", data={"token": PUBLISHER})
    assert (page.status_code, "set-cookie" in page.headers) == (403, False)


# ---------------------------------------------------------------- the page


async def test_a_person_is_led_to_the_log_in_and_back(client: httpx.AsyncClient) -> None:
    answer = await client.get("/d/all?x=1&y=%C3%A4", headers=PAGE)
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/login?next=%2Fd%2Fall%3Fx%3D1%26y%3D%25C3%25A4",
    )
    form = await client.get(answer.headers["location"])
    assert form.status_code == 200
    assert 'type="password"' in form.text
    back = html.unescape(re.search(r'name="next" value="([^"]*)"', form.text)[1])  # type: ignore[index]
    assert back == "/d/all?x=1&y=%C3%A4"
    entered = await client.post("/login", data={"token": f" {ADA} ", "next": back})
    assert (entered.status_code, entered.headers["location"]) == (303, back)
    page = await client.get("/d/all", headers=PAGE)
    assert "Log out" in page.text
    assert (await client.get("/login")).headers["location"] == "/"


async def test_where_reading_is_open_there_is_nothing_to_log_in_to(open_app: App) -> None:
    async with browser(open_app) as client:
        for answer in (await client.get("/login?next=/d/all"), await client.post("/login", data={"token": ADA})):
            assert (answer.status_code, "set-cookie" in answer.headers) == (303, False)
        assert "Log out" not in (await client.get("/d/all", headers=PAGE)).text


async def test_the_cookie_is_for_this_server_only_and_no_script_sees_it(client: httpx.AsyncClient, app: App) -> None:
    answer = await client.post("/login", data={"token": ADA})
    cookie = answer.headers["set-cookie"]
    name, _, rest = cookie.partition("=")
    assert name == "livelake-8000"  # cookies know no ports, and a machine has several servers
    assert {part.strip().lower() for part in rest.split(";")[1:]} == {
        "httponly",
        "samesite=strict",
        "path=/",
        "max-age=43200",
    }
    assert ADA not in cookie
    async with browser(app, "https://data.example.org") as secure:
        cookie = (await secure.post("/login", data={"token": ADA})).headers["set-cookie"]
        assert cookie.startswith("__Host-livelake=")
        assert "; Secure" in cookie
        assert (await secure.get("/queries/count")).status_code == 200


async def test_who_logs_out_is_out_though_the_cookie_was_kept(log_in: Callable[[str], Any], app: App) -> None:
    client = await log_in(ADA)
    other = await log_in(ADA)
    kept = client.cookies["livelake-8000"]
    answer = await client.post("/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert "livelake-8000" not in client.cookies
    async with browser(app) as thief:
        thief.cookies.set("livelake-8000", kept)
        assert (await thief.get("/queries/count")).status_code == 401
    assert (await other.get("/queries/count")).status_code == 200
    assert (await client.post("/logout")).status_code == 303


async def test_a_session_ends_by_itself(log_in: Callable[[str], Any], clock: ManualClock) -> None:
    client = await log_in(ADA)
    clock.advance(12 * 3600 - 1)
    assert (await client.get("/queries/count")).status_code == 200
    clock.advance(1)
    assert (await client.get("/queries/count")).status_code == 401


async def test_a_session_ends_with_its_token(
    log_in: Callable[[str], Any], token_file: Path, clock: ManualClock
) -> None:
    ada, bob = await log_in(ADA), await log_in(BOB)
    token_file.write_text(f"read {BOB} user=bob tenant=globex")
    clock.advance(1)
    assert (await ada.get("/queries/count")).status_code == 401
    assert (await bob.get("/queries/count")).status_code == 200


async def test_a_session_reads_and_does_not_publish(client: httpx.AsyncClient, app: App) -> None:
    app.guard.tokens = Tokens.of(publish=[ADA], read=[ADA])
    assert (await client.post("/login", data={"token": ADA})).status_code == 303
    event = {"aggregate_type": "Todo", "aggregate_id": "1", "event_type": "Done"}
    assert (await client.post("/events", json=event)).status_code == 401
    assert (await client.post("/events", json=event, headers=shows(ADA))).status_code == 202


STRANGE_COOKIES = [
    "livelake-8000=",
    "livelake-8000=x",
    "livelake-8000=" + "A" * 107,
    "livelake-8000=" + "A" * 60_000,
    'livelake-8000="',
    "=;=;;;",
    "livelake-8000",
    ";".join(["livelake-8000=" + "A" * 107] * 100),
    "__Host-livelake=" + "A" * 107,
    "livelake-8000=\xff\x00",
]


async def test_a_cookie_that_is_none_is_no_session(app: App) -> None:
    async with browser(app) as client:
        for cookie in STRANGE_COOKIES:
            answer = await client.get("/queries/count", headers=[(b"cookie", cookie.encode("latin-1"))])
            assert answer.status_code == 401, cookie[:40]


async def test_a_cookie_that_a_neighbour_has_set_does_not_hide_ours(log_in: Callable[[str], Any]) -> None:
    client = await log_in(ADA)
    own = client.cookies["livelake-8000"]
    client.cookies.clear()
    both = f"livelake-8000={'A' * 107}; livelake-8000={own}"
    assert (await client.get("/queries/count", headers={"Cookie": both})).status_code == 200


# ---------------------------------------------------------------- guessing


async def test_guesses_are_slowed_down_and_so_is_who_sits_beside(
    app: App, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with browser(app, client=("10.0.0.1", 1)) as guessing, browser(app, client=("10.0.0.2", 1)) as other:
        statuses = [
            (await guessing.post("/login", data={"token": f"a-guess-of-mine-{n}"})).status_code for n in range(25)
        ]
        assert statuses == [401] * 20 + [429] * 5
        slow = await guessing.post("/login", data={"token": ADA})
        assert (slow.status_code, int(slow.headers["retry-after"]), "set-cookie" in slow.headers) == (429, 3, False)
        by_header = await guessing.get("/queries/count", headers=shows(ADA))
        assert (by_header.status_code, by_header.headers["retry-after"]) == (429, "3")
        assert (await guessing.post("/events", json={}, headers=shows(PUBLISHER))).status_code == 429
        assert (await other.post("/login", data={"token": ADA})).status_code == 303
        clock.advance(3)
        assert (await guessing.post("/login", data={"token": ADA})).status_code == 303
    assert len(caplog.records) == 1
    assert "10.0.0.1" in caplog.text


async def test_who_guesses_by_header_is_slowed_down_too(app: App, caplog: pytest.LogCaptureFixture) -> None:
    async with browser(app) as client:
        statuses = {
            (await client.get("/queries/count", headers=shows(f"a-guess-of-mine-{n}"))).status_code for n in range(21)
        }
        assert statuses == {401, 429}
        statuses = {
            (await client.post("/events", headers=shows(f"a-guess-of-mine-{n}"))).status_code for n in range(5)
        }
        assert statuses == {429}
    assert len(caplog.records) == 1


async def test_who_has_a_session_is_not_slowed_by_those_who_guess_beside(
    log_in: Callable[[str], Any], client: httpx.AsyncClient
) -> None:
    inside = await log_in(ADA)
    for n in range(30):
        await client.post("/login", data={"token": f"a-guess-of-mine-{n}"})
    assert (await inside.get("/queries/count")).status_code == 200


# ---------------------------------------------------------------- what is sent


async def test_only_a_form_logs_in(client: httpx.AsyncClient) -> None:
    for kind in (
        "text/plain",
        "application/json",
        "multipart/form-data; boundary=x",
        "",
        "application/x-www-form-urlencodedx",
    ):
        answer = await client.post("/login", content=f"token={ADA}", headers={"Content-Type": kind})
        assert (answer.status_code, "set-cookie" in answer.headers) == (415, False), kind
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await client.post("/login", content=b"token=" + b"x" * 9_000, headers=form)).status_code == 413
    assert (await client.post("/login", content=b"\xff\xfe", headers=form)).status_code == 400
    assert (
        await client.post("/login", content="&".join(f"a{n}=1" for n in range(50)), headers=form)
    ).status_code == 400
    for body in ("", "token=", "token=%00", "token=%ff", f"token=x&token={ADA}", f"Token={ADA}", f"next={ADA}"):
        answer = await client.post("/login", content=body, headers=form)
        assert (answer.status_code, "set-cookie" in answer.headers) == (401, False), body


async def test_a_get_neither_logs_in_nor_out(log_in: Callable[[str], Any], client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/login?token={ADA}&next=/d/all")
    assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
    assert ADA not in answer.text
    inside = await log_in(ADA)
    answer = await inside.get("/logout")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert (await inside.get("/queries/count")).status_code == 200


async def test_a_token_in_the_address_is_not_one(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "livelake")
    for name in ("token", "access_token", "key", "authorization"):
        answer = await client.get(f"/queries/count?{name}={ADA}")
        assert (answer.status_code, ADA in answer.text) == (401, False)
    assert ADA not in caplog.text


async def test_nothing_that_is_typed_is_logged_or_shown_again(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "livelake")
    for n in range(30):
        answer = await client.post("/login", data={"token": f"mistyped-{n}-{ADA}", "next": "/"})
        assert ADA not in answer.text + str(answer.headers)
    await client.post("/login", data={"token": NOBODY})
    assert ADA not in caplog.text
    assert NOBODY not in caplog.text


# ---------------------------------------------------------------- where it leads

ELSEWHERE = [
    "//evil.example",
    "/\\evil.example",
    "\\/evil.example",
    "///evil.example",
    "https://evil.example",
    "https:evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "evil.example",
    " //evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    "/%0d%0aLocation:%20https://evil.example\r\nSet-Cookie: a=b",
    "/\x00/evil.example",
    "/．/evil.example",
    "@evil.example",
    "",
]


async def test_a_log_in_never_leads_to_another_site(client: httpx.AsyncClient) -> None:
    for back in ELSEWHERE:
        answer = await client.post("/login", data={"token": ADA, "next": back})
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), back
        assert answer.headers.get_list("set-cookie")[0].startswith("livelake-8000=")
        assert len(answer.headers.get_list("set-cookie")) == 1
        again = await client.get("/login", params={"next": back})
        assert again.headers["location"] == "/"
        client.cookies.clear()
        page = await client.get("/login", params={"next": back})
        assert 'name="next" value="/"' in page.text


@given(st.text(max_size=40), st.sampled_from(["", "/", "//", "/\\", "/d/"]))
def test_any_text_leads_to_a_path_of_ours(text: str, before: str) -> None:
    found = local_path(before + text)
    assert found.startswith("/")
    joined = httpx.URL("http://own.example/login").join(found)
    assert (joined.scheme, joined.host) == ("http", "own.example")
    assert not re.search(r"[\s\\\x00-\x1f\x7f-\uffff]|^//", found)


async def test_a_link_of_another_site_finds_who_is_logged_in(log_in: Callable[[str], Any], app: App) -> None:
    """A strict cookie does not come along with it, so the page asks once more by itself."""
    followed = PAGE | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with browser(app) as stranger:  # the same browser, without its cookie
        led = await stranger.get("/d/all?x=1", headers=followed)
        form = await stranger.get(led.headers["location"], headers=followed)
    assert form.headers["refresh"] == "0;url=/login?next=%2Fd%2Fall%3Fx%3D1"
    client = await log_in(ADA)
    own = followed | {"Sec-Fetch-Site": "same-origin"}
    again = await client.get(form.headers["refresh"].partition("url=")[2], headers=own)
    assert (again.status_code, again.headers["location"]) == (303, "/d/all?x=1")
    async with browser(app) as stranger:
        assert "refresh" not in (await stranger.get(led.headers["location"], headers=own)).headers
