"""``POST /events``: who may publish, what a body may be, and what a later read may demand."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from livelake import web
from livelake.errors import BusyError
from livelake.events import Event, Signal
from livelake.keys import KeyExpr
from livelake.live import LiveLake
from livelake.token import Token
from livelake.web import App
from livelake.web.events import MOST_BYTES, MOST_EVENTS
from livelake.web.tokens import Tokens

SECRET, READS = "open-sesame-open-sesame", "just-looking-around"
EVENT = {"aggregate_type": "Todo", "aggregate_id": "42", "event_type": "Done", "payload": {"by": "Ada"}}
WITH_TOKEN = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture
async def app(lake: LiveLake, folder: Path) -> AsyncIterator[App]:
    (folder / "shop" / "todo.sql").write_text(
        '/*---\ndepends_on = ["events/Todo/**"]\n---*/\nSELECT count(*) AS n FROM shop.main.orders'
    )
    found = web.dashboards(folder)
    await web.check(lake, found)
    made = App(lake, found, tokens=Tokens.of([SECRET]))
    yield made
    await made.close()


@pytest.fixture
async def client(app: App) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as made:
        yield made


@pytest.fixture
def heard(lake: LiveLake) -> Iterator[list[Signal]]:
    """What came to the bus."""
    found: list[Signal] = []
    with lake.bus.subscribe("**", found.append):
        yield found


async def post(client: httpx.AsyncClient, body: Any = EVENT, **headers: str | None) -> httpx.Response:
    """A good request, but for what is said otherwise; a header that is None is left out."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"content-type": "application/json", "authorization": f"Bearer {SECRET}"} | named
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post("/events", content=content, headers={n: v for n, v in sent.items() if v is not None})


def refused(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert SECRET not in answer.text
    assert answer.json()["status"] == status
    return str(answer.json()["detail"])


# ---------------------------------------------------------------- publishing


async def test_an_event_is_published_and_its_token_handed_out(client: httpx.AsyncClient, heard: list[Signal]) -> None:
    answer = await post(client)
    assert answer.status_code == 202
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["livelake-as-of"] == answer.json()["token"]
    assert answer.json()["published"] == 1
    (event,) = heard
    assert isinstance(event, Event)
    assert (event.key, event.event_type, event.payload) == ("events/Todo/42/1", "Done", {"by": "Ada"})
    assert Token.parse(answer.json()["token"]).positions


async def test_a_list_is_published_in_its_order_with_one_token(
    client: httpx.AsyncClient, heard: list[Signal]
) -> None:
    events = [{**EVENT, "payload": n} for n in range(5)]
    answer = await post(client, events)
    assert (answer.status_code, answer.json()["published"]) == (202, 5)
    assert [event.payload for event in heard if isinstance(event, Event)] == list(range(5))
    (number,) = Token.parse(answer.json()["token"]).positions.values()
    assert number == 5


async def test_of_a_list_all_are_published_or_none(client: httpx.AsyncClient, heard: list[Signal]) -> None:
    answer = await post(client, [EVENT, {**EVENT, "time": "0001-01-01T00:00:00+14:00"}])
    assert answer.status_code == 400
    assert "Nothing was published" in answer.text
    assert heard == []


async def test_a_publication_makes_stale_what_depends_on_it_and_nothing_else(client: httpx.AsyncClient) -> None:
    async def statuses() -> list[str]:
        told = [(await client.get(f"/queries/{name}")).headers["cache-status"] for name in ("todo", "totals")]
        return [each.removeprefix("livelake; ").partition("; key=")[0] for each in told]

    await statuses()
    assert await statuses() == ["hit"] * 2
    await post(client, {**EVENT, "aggregate_type": "User"})
    assert await statuses() == ["hit"] * 2
    await post(client)
    assert await statuses() == ["fwd=miss; stored", "hit"]


# ---------------------------------------------------------------- who


async def test_without_a_token_there_is_a_challenge(client: httpx.AsyncClient, heard: list[Signal]) -> None:
    answer = await post(client, authorization=None)
    assert "send `Authorization: Bearer TOKEN`" in refused(answer, 401)
    assert answer.headers["www-authenticate"] == 'Bearer realm="livelake"'
    assert heard == []


WRONG = [
    f"Bearer {SECRET}x",
    f"Bearer {SECRET[:-1]}",
    f"Bearer {SECRET.upper()}",
    "Bearer",
    "Bearer ",
    f"Basic {SECRET}",
    SECRET,
    f"Bearer {SECRET} {SECRET}",
    f"Bearer  {SECRET}\t",
    "Bearer " + "x" * 60_000,
]


async def test_a_wrong_token_is_a_challenge_too(client: httpx.AsyncClient, heard: list[Signal]) -> None:
    for wrong in WRONG:
        answer = await post(client, authorization=wrong)
        assert "no token of this server" in refused(answer, 401), wrong[:40]
        assert answer.headers["www-authenticate"] == 'Bearer realm="livelake", error="invalid_token"'
    strange = await client.post("/events", json=EVENT, headers=[(b"authorization", b"Bearer \xff\xfe")])
    refused(strange, 401)
    twice = [("authorization", f"Bearer {SECRET}"), ("authorization", "Bearer x")]
    refused(await client.post("/events", json=EVENT, headers=twice), 401)
    assert heard == []


async def test_the_scheme_has_no_case_and_any_number_of_spaces(client: httpx.AsyncClient) -> None:
    for right in (f"bearer {SECRET}", f"BEARER   {SECRET}", f"Bearer {SECRET} "):
        assert (await post(client, authorization=right)).status_code == 202


async def test_a_token_that_only_reads_does_not_publish(
    client: httpx.AsyncClient, app: App, heard: list[Signal]
) -> None:
    app.guard.tokens = Tokens.of([SECRET], [READS])
    answer = await post(client, authorization=f"Bearer {READS}")
    assert "may read and not publish" in refused(answer, 403)
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    assert heard == []


@pytest.mark.parametrize("tokens", [Tokens(), Tokens.of(read=[READS])], ids=["none", "readers only"])
async def test_a_token_that_is_not_set_refuses_and_does_not_open(
    client: httpx.AsyncClient, app: App, heard: list[Signal], tokens: Tokens
) -> None:
    app.guard.tokens = tokens
    for shown in (None, "Bearer ", f"Bearer {SECRET}", f"Bearer {READS}"):
        assert "no token for it was configured" in refused(await post(client, authorization=shown), 403)
    assert heard == []


async def test_a_token_in_the_address_is_not_one(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"/events?token={SECRET}&access_token={SECRET}", json=EVENT)
    refused(answer, 401)


# ---------------------------------------------------------------- from where

FOREIGN = [
    {"sec_fetch_site": "cross-site"},
    {"sec_fetch_site": "same-site"},
    {"sec_fetch_site": "cross-site", "origin": "http://127.0.0.1:8000"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "http://evil.example"},
    {"origin": "http://127.0.0.1:8001"},
    {"origin": "http://127.0.0.1"},
    {"origin": "http://127.0.0.1:8000.evil.example"},
    {"origin": "http://[::1"},
]
OWN = [
    {},
    {"sec_fetch_site": "same-origin"},
    {"sec_fetch_site": "none"},
    {"sec_fetch_site": "same-origin", "origin": "https://behind.a.proxy"},
    {"origin": "http://127.0.0.1:8000"},
    {"origin": "https://shop.example", "host": "shop.example"},
    {"origin": "https://shop.example", "host": "SHOP.example:443"},
]


async def test_a_page_of_another_site_cannot_have_its_visitor_publish(
    client: httpx.AsyncClient, heard: list[Signal]
) -> None:
    for headers in FOREIGN:
        assert "another site" in refused(await post(client, **headers), 403), headers
    assert heard == []
    for headers in OWN:
        assert (await post(client, **headers)).status_code == 202, headers


async def test_only_post_publishes(client: httpx.AsyncClient) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
        answer = await client.request(method, "/events", headers=WITH_TOKEN | {"X-HTTP-Method-Override": "POST"})
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


# ---------------------------------------------------------------- what

KINDS = {
    "application/json": 202,
    "application/json; charset=utf-8": 202,
    'Application/JSON;charset="UTF-8"': 202,
    "application/json; charset=latin-1": 415,
    "text/plain": 415,
    "application/x-www-form-urlencoded": 415,
    "application/jsonx": 415,
    "": 415,
}


async def test_only_json_is_read(client: httpx.AsyncClient) -> None:
    for kind, status in KINDS.items():
        answer = await post(client, content_type=kind)
        assert answer.status_code == status, kind
        if status == 415:
            assert answer.headers["accept-post"] == "application/json"
    assert "Content-Encoding" in refused(await post(client, content_encoding="gzip"), 415)


DEEP = b'{"aggregate_type":"T","aggregate_id":"1","event_type":"E","payload":%s}'
BODIES = {
    b"": "no event",
    b"{": "no event",
    b"nonsense": "no event",
    b"\xff\xfe": "no event",
    b'"text"': "Expected `object`",
    b"{}": "event_type",
    b'{"aggregate_type":"Todo","event_type":"Done"}': "`aggregate_id` is missing",
    b'{"aggregate_type":"","aggregate_id":"1","event_type":"E"}': "aggregate_type is empty",
    b'{"aggregate_type":"T","aggregate_id":1,"event_type":"E"}': "Expected `str",
    b'{"aggregate_type":"T","aggregate_id":"1","event_type":"E","sequence":-1}': "sequence is a whole number",
    b'{"aggregate_type":"T","aggregate_id":"%s","event_type":"E"}' % (b"x" * 60_000): "too long a key",
    DEEP % (b"[" * 65 + b"]" * 65): "more than 64 deep",
    DEEP % (b"[" * 100_000 + b"]" * 100_000): "deep",
    DEEP % (b"9" * 5_000): "",
    DEEP % b"NaN": "no event",
    b"[]": "1 to 1,000 events, and this has 0",
    b"[" * 100_000: "",
    b"[{]": "no JSON",
    b"[1]": "event 1 of 1: ",
    b"[" + b",".join([json.dumps(EVENT).encode()] * 2) + b",{}]": "event 3 of 3: ",
    b"[" + b",".join([b"{}"] * (MOST_EVENTS + 1)) + b"]": "this has 1,001",
}


async def test_a_body_that_is_no_event_says_why_and_publishes_nothing(
    client: httpx.AsyncClient, heard: list[Signal]
) -> None:
    for body, why in BODIES.items():
        assert why in refused(await post(client, body), 400), body[:80]
    assert heard == []


async def test_the_longest_body_is_published_and_a_longer_one_refused(client: httpx.AsyncClient) -> None:
    frame = len(DEEP % b'""')
    assert (await post(client, DEEP % (b'"%s"' % (b"x" * (MOST_BYTES - frame))))).status_code == 202
    answer = await post(client, DEEP % (b'"%s"' % (b"x" * (MOST_BYTES - frame + 1))))
    assert "at most 1,048,512 bytes" in refused(answer, 413)
    assert answer.headers["connection"] == "close"


async def test_a_length_that_is_announced_is_refused_before_a_byte_is_read(app: App) -> None:
    async def receive() -> Any:
        raise AssertionError("the body was asked for")

    assert await statuses_of(app, receive, content_length=str(MOST_BYTES + 1)) == [413]
    assert await statuses_of(app, receive, content_length="9" * 4_000) == [413]


async def test_a_body_of_unknown_length_is_read_no_further_than_allowed(app: App) -> None:
    pieces = 0

    async def receive() -> Any:
        nonlocal pieces
        pieces += 1
        return {"type": "http.request", "body": b" " * 65_536, "more_body": True}

    assert await statuses_of(app, receive) == [413]
    assert pieces == MOST_BYTES // 65_536 + 1


async def test_a_body_that_does_not_come_is_not_waited_for(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livelake.web.events._PATIENCE", 0.01)

    async def receive() -> Any:
        await asyncio.Event().wait()

    assert await statuses_of(app, receive) == [408]


async def test_a_sender_that_goes_away_is_no_fault_of_ours(app: App, caplog: pytest.LogCaptureFixture) -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    assert await statuses_of(app, receive) == [400]
    assert caplog.text == ""


async def statuses_of(app: App, receive: Any, **headers: str) -> list[int]:
    """What the application begins to answer with, to a request whose body comes from ``receive``."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    named = {"authorization": f"Bearer {SECRET}", "content-type": "application/json", "host": "x"} | headers
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]
    scope = {"type": "http", "method": "POST", "path": "/events", "raw_path": b"/events", "headers": raw}
    await app({**scope, "query_string": b"", "http_version": "1.1", "scheme": "http"}, receive, send)
    return [message["status"] for message in sent if message["type"] == "http.response.start"]


async def test_a_bus_that_is_full_says_so(
    client: httpx.AsyncClient, lake: LiveLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_event: Event) -> Token:
        raise BusyError("the outbox is full; try again later")

    monkeypatch.setattr(lake.bus, "publish", full)
    answer = await post(client)
    assert "outbox is full" in refused(answer, 503)
    assert answer.headers["retry-after"] == "1"


async def test_a_bus_that_takes_too_long_says_how_far_it_came(
    client: httpx.AsyncClient, lake: LiveLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Event] = []

    async def stuck(event: Event) -> Token:
        if len(taken) == 2:
            await asyncio.Event().wait()
        taken.append(event)
        return Token()

    monkeypatch.setattr("livelake.web.events._PATIENCE", 0.05)
    monkeypatch.setattr(lake.bus, "publish", stuck)
    assert "took 2 of 3 events" in refused(await post(client, [EVENT] * 3), 503)


async def test_nothing_of_a_token_is_logged(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "livelake")
    for shown in (f"Bearer {SECRET}", f"Bearer {SECRET}x", f"Bearer {READS}"):
        await post(client, authorization=shown)
        await post(client, b"nonsense", authorization=shown)
    assert SECRET not in caplog.text
    assert READS not in caplog.text


# ---------------------------------------------------------------- reading what was published


async def test_a_read_can_demand_what_was_published(client: httpx.AsyncClient, lake: LiveLake) -> None:
    token = Token.parse((await post(client)).json()["token"]) | await lake.execute(
        "INSERT INTO orders VALUES ('x', 1)"
    )
    answer = await client.get("/queries/todo", headers={"Livelake-Not-Before": str(token)})
    assert (answer.status_code, answer.json()) == (200, [{"n": 3}])


BAD_TOKENS = {
    "nonsense": "is no token",
    "": "",
    str(Token({"elsewhere": 1})): "not attached here",
    "é": "is no token",
}


async def test_a_demand_that_is_none_says_why(client: httpx.AsyncClient) -> None:
    for text, why in BAD_TOKENS.items():
        answer = await client.get("/queries/todo", headers=[(b"livelake-not-before", text.encode("latin-1"))])
        assert why in refused(answer, 400), text


async def test_a_demand_that_is_not_met_in_time_is_503_with_the_reason(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livelake.live.service._PATIENCE", 0.05)
    never = Token(positions={"elsewhere": 9})
    answer = await client.get("/queries/todo", headers={"Livelake-Not-Before": str(never)})
    assert "Livelake-Not-Before demands has not arrived" in refused(answer, 503)
    assert answer.headers["retry-after"] == "1"


# ---------------------------------------------------------------- health


async def test_health_shows_the_bus(
    client: httpx.AsyncClient, lake: LiveLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    await post(client)
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    bus = answer.json()["bus"]
    assert (bus["mode"], bus["blind"], bus["published"]) == ("local", [], 1)
    monkeypatch.setattr(lake.bus, "blind", lambda: frozenset((KeyExpr("events/**"),)))
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
