"""Tenants: who asks is bound from the token, and nobody's bytes depend on what another may see."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from livelake import web
from livelake.errors import ConfigError, ForbiddenError, ParameterError
from livelake.live import LiveLake
from livelake.web import App, Identity
from livelake.web.identity import SCOPE_KEY
from web.attacks.attacked import ADA, BOB, NOBODY, browser, shows


async def test_a_claim_is_bound_from_the_token(client: httpx.AsyncClient) -> None:
    assert (await client.get("/queries/orders", headers=shows(ADA))).json() == [{"item": "anvil", "amount": 7}]
    assert (await client.get("/queries/orders", headers=shows(BOB))).json() == [{"item": "umbrella", "amount": 8}]
    assert (await client.get("/queries/orders?least=8", headers=shows(ADA))).json() == []


@pytest.mark.parametrize(
    "query",
    ["tenant=globex", "tenant=acme", "Tenant=globex", "%74enant=globex", "tenant[]=globex", "least=1&tenant=globex"],
)
async def test_a_claim_is_never_taken_from_the_address(client: httpx.AsyncClient, query: str) -> None:
    for path in ("/queries/orders", "/d/mine", "/live/mine"):
        answer = await client.get(f"{path}?{query}", headers=shows(ADA))
        assert answer.status_code == 400, path
        assert "umbrella" not in answer.text
    headers = {"X-Tenant": "globex", "tenant": "globex", "Cookie": "tenant=globex"}
    assert "umbrella" not in (await client.get("/queries/orders", headers=shows(ADA) | headers)).text


async def test_no_address_that_we_write_says_a_claim(client: httpx.AsyncClient) -> None:
    """Neither the links of a page nor the fields of an answer; and what they say can be asked."""
    page = await client.get("/d/mine?least=1", headers=shows(ADA))
    assert "../why/orders?least=1" in page.text
    links = [*re.findall(r'(?:href|src|action|data-live)="([^"]*)"', page.text), str(page.url)]
    for path in ("/queries/orders.csv?least=1&limit=1", "/queries/orders?least=1"):
        links += map(str, (await client.get(path, headers=shows(ADA))).headers.values())
    assert not [link for link in links if "acme" in link or "tenant" in link]
    for path in ("/why/orders?least=1", "/why/orders"):
        why = await client.get(path, headers=shows(ADA))
        assert (why.status_code, "reads shop.main.sales" in why.text) == (200, True)


async def test_who_lacks_the_claim_is_refused_with_the_reason(client: httpx.AsyncClient, open_app: App) -> None:
    for path in ("/queries/orders", "/live/mine"):
        answer = await client.get(path, headers=shows(NOBODY))
        assert answer.status_code == 403
        assert "'tenant', and your token has none" in answer.json()["detail"]
    page = await client.get("/d/mine", headers=shows(NOBODY))
    assert page.status_code == 403
    assert "your token has none" in page.text
    async with browser(open_app) as stranger:
        answer = await stranger.get("/queries/orders")
        assert (answer.status_code, "--tokens FILE" in answer.text) == (403, True)


async def test_what_does_not_depend_on_who_asks_is_computed_once_for_all(client: httpx.AsyncClient) -> None:
    said = [
        (await client.get("/queries/count", headers=shows(who))).headers["cache-status"] for who in (ADA, BOB, NOBODY)
    ]
    assert said[0].startswith("livelake; fwd=miss")
    assert all(each.startswith("livelake; hit") for each in said[1:])


async def test_what_depends_on_who_asks_is_never_a_hit_for_another(client: httpx.AsyncClient) -> None:
    first = await client.get("/queries/orders", headers=shows(ADA))
    other = await client.get("/queries/orders", headers=shows(BOB))
    again = await client.get("/queries/orders", headers=shows(ADA))
    said = [answer.headers["cache-status"].partition(";")[2].strip() for answer in (first, other, again)]
    assert [each.startswith("hit") for each in said] == [False, False, True]
    theirs = {"If-None-Match": first.headers["etag"]}
    assert (await client.get("/queries/orders", headers=shows(BOB) | theirs)).status_code == 200


MOMENTS = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|\+00:00)|[0-9]{2}:[0-9]{2}:[0-9]{2} UTC")


async def test_bytes_of_one_tenant_do_not_depend_on_anothers_data(client: httpx.AsyncClient, shop: LiveLake) -> None:
    """Non-interference: with each change of Ada's data, all that Bob can see of his own stays as it was."""

    async def seen() -> list[tuple[int, str | None, bytes]]:
        answers = [await client.get(path, headers=shows(BOB)) for path in ("/queries/orders", "/d/mine")]
        return [(each.status_code, each.headers.get("etag"), MOMENTS.sub(b"", each.content)) for each in answers]

    before = await seen()
    for sql in (
        "INSERT INTO sales VALUES ('acme', 'rocket', 1000000)",
        "UPDATE sales SET amount = -1 WHERE tenant = 'acme'",
        "INSERT INTO sales VALUES ('globex''; --', 'x', 1), ('Globex', 'y', 2), ('globex ', 'z', 3)",
        "DELETE FROM sales WHERE tenant = 'acme'",
    ):
        await shop.execute(sql)
        await client.get("/queries/orders", headers=shows(ADA))
        assert await seen() == before
    await shop.execute("INSERT INTO sales VALUES ('globex', 'mine', 9)")
    assert await seen() != before  # it would have shown


HOSTILE = ["acme' OR 1=1 --", "acme|globex", "*", "%", "acme,globex", "", "NULL", "true", "x" * 1_000]


async def test_a_claim_is_a_value_whatever_it_says(open_app: App) -> None:
    """An application around ours says who asks; ours believes it, and the text stays a value."""

    for tenant in HOSTILE:

        async def around(scope: Any, receive: Any, send: Any, tenant: str = tenant) -> None:
            await open_app({**scope, SCOPE_KEY: Identity(claims={"tenant": tenant})}, receive, send)

        async with browser(around) as client:
            answer = await client.get("/queries/orders")
            assert (answer.status_code, answer.json()) == (200, []), tenant[:20]
            assert (await client.get("/d/mine")).status_code == 200
    assert len(set(open_app.channels._open)) == len(HOSTILE)


async def test_a_claim_that_does_not_fit_is_refused(open_app: App) -> None:
    async def around(scope: Any, receive: Any, send: Any) -> None:
        await open_app({**scope, SCOPE_KEY: Identity(claims={"tenant": next(claims)})}, receive, send)

    claims = iter(["x" * 1_001, "acme\0globex"])
    async with browser(around) as client:
        for _ in range(2):
            answer = await client.get("/queries/orders")
            assert (answer.status_code, "does not fit" in answer.text) == (403, True)


async def test_an_application_around_ours_says_who_may_read(app: App) -> None:
    """Also where tokens are asked for: what it vouches for needs none."""

    def around(identity: object) -> Any:
        async def call(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, SCOPE_KEY: identity}, receive, send)

        return call

    async with browser(around(Identity(claims={"tenant": "acme"}))) as client:
        assert (await client.get("/queries/orders")).json() == [{"item": "anvil", "amount": 7}]
    async with browser(around(Identity(roles=frozenset()))) as client:
        assert (await client.get("/queries/orders")).status_code == 403
    async with browser(around("somebody")) as client:  # no identity of ours
        assert (await client.get("/queries/orders")).status_code == 401


async def test_two_sessions_of_one_browser_follow_one_another_and_nothing_is_left(
    log_in: Callable[[str], Any],
) -> None:
    client = await log_in(ADA)
    assert "anvil" in (await client.get("/d/mine")).text
    await client.post("/login", data={"token": BOB})
    page = await client.get("/d/mine")
    assert ("anvil" in page.text, "umbrella" in page.text) == (False, True)


# ---------------------------------------------------------------- in the folder


def test_a_header_names_the_claim(folder: Path) -> None:
    query = next(each for each in web.dashboards(folder) if each.name == "mine").queries["orders"]
    assert query.params["tenant"].claim == "tenant"
    assert list(query.open_params) == ["least"]
    assert query.bind({}, {"tenant": "acme"}) == {"tenant": "acme", "least": 0}
    with pytest.raises(ParameterError, match="it takes least"):
        query.bind({"tenant": "globex"}, {"tenant": "acme"})
    with pytest.raises(ForbiddenError):
        query.bind({})


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ('{ type = "string", claim = "" }', "is the name of a claim"),
        ('{ type = "string", claim = "Not one" }', "is the name of a claim"),
        ('{ type = "string", claim = 7 }', "must be a text"),
        ('{ type = "string", claim = "user", default = "everybody" }', "has no default"),
        ('{ type = "string", clam = "user" }', "did you mean 'claim'"),
    ],
)
def test_a_claim_that_is_declared_wrongly_names_its_line(tmp_path: Path, header: str, why: str) -> None:
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "q.sql").write_text(f"/*---\ntitle = 'T'\nparams.who = {header}\n---*/\nSELECT $who")
    with pytest.raises(ConfigError, match=r"q\.sql:3: .*" + why):
        web.dashboards(tmp_path / "wrong")


async def test_a_claim_may_be_a_number_or_a_day(shop: LiveLake, tmp_path: Path) -> None:
    (tmp_path / "typed").mkdir()
    text = '/*---\nparams.n = { type = "integer", claim = "level", max = 9 }\n---*/\nSELECT $n AS n'
    (tmp_path / "typed" / "level.sql").write_text(text)
    query = web.dashboards(tmp_path / "typed")[0].queries["level"]
    assert query.bind({}, {"level": "7"}) == {"n": 7}
    for wrong in ("10", "seven", "7.0", ""):
        with pytest.raises(ForbiddenError, match="does not fit"):
            query.bind({}, {"level": wrong})
