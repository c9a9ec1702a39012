"""Addresses of answers that never change: what they give they give for ever, or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import livelake
from livelake import web
from livelake.errors import ParameterError
from livelake.live import LiveLake
from livelake.web import App
from livelake.web.permanent import parse, spell
from livelake.web.tokens import Tokens

FOR_EVER = "public, max-age=31536000, immutable"
QUERIES = {
    "shelf": '/*---\nparams.least = { type = "integer", default = 0 }\n---*/\n'
    "SELECT region, amount FROM shop.main.orders WHERE amount >= $least ORDER BY ALL",
    "clock": "SELECT now() AS now, count(*) AS n FROM shop.main.orders",
    "today": "SELECT current_date AS day FROM shop.main.orders",
    "events": '/*---\ndepends_on = ["events/Todo/**"]\n---*/\nSELECT count(*) AS n FROM shop.main.orders',
    "own": '/*---\nparams.as_of = { type = "integer", default = 1 }\n---*/\nSELECT $as_of::INTEGER AS n',
    "macro": "SELECT n FROM shop.main.counted()",
    "allowed": "/*---\nhttp = { max_age = 30 }\n---*/\nSELECT count(*) AS n FROM shop.main.orders",
    "itself": "SELECT count(*) AS n FROM shop.snapshots()",
}


@pytest.fixture
async def app(lake: LiveLake, tmp_path: Path) -> AsyncIterator[App]:
    made = await serving(lake, tmp_path / "past", QUERIES)
    yield made
    await made.close()


async def serving(lake: LiveLake, folder: Path, queries: dict[str, str]) -> App:
    folder.mkdir(exist_ok=True)
    for name, sql in queries.items():
        (folder / f"{name}.sql").write_text(sql)
    return await web.app(lake, folder)


@pytest.fixture
async def client(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as made:
        yield made


async def test_an_answer_says_where_it_stays_and_that_stays_what_it_was(
    client: httpx.AsyncClient, lake: LiveLake
) -> None:
    first = await client.get("/queries/shelf?least=6")
    where = first.headers["content-location"]
    assert where.startswith(f"/queries/shelf.json?least=6&as_of=shop:{lake.watcher.heads()['shop']}~")
    await lake.execute("INSERT INTO orders VALUES ('west', 100)")
    assert len((await client.get("/queries/shelf?least=6")).json()) == 2
    kept = await client.get(where)
    assert kept.json() == first.json() == [{"region": "north", "amount": 10}]
    assert kept.headers["cache-control"] == FOR_EVER
    assert kept.headers["etag"] == first.headers["etag"]
    assert kept.headers["content-location"] == where
    assert kept.headers["livelake-as-of"] == first.headers["livelake-as-of"]
    known = await client.get(where, headers={"If-None-Match": first.headers["etag"]})
    assert (known.status_code, known.headers["cache-control"]) == (304, FOR_EVER)


async def test_a_page_and_a_form_have_addresses_of_their_own_and_pages_stay_at_one_state(
    client: httpx.AsyncClient, lake: LiveLake
) -> None:
    first = await client.get("/queries/shelf.csv?limit=1")
    where = first.headers["content-location"]
    assert "/queries/shelf.csv?limit=1&offset=0&as_of=shop:" in where
    await lake.execute("INSERT INTO orders VALUES ('a new first', 1)")
    kept = await client.get(where)
    assert kept.content == first.content
    following = await client.get(kept.links["next"]["url"])
    assert following.content == b"region,amount\r\nsouth,5\r\n"
    assert following.headers["cache-control"] == FOR_EVER


async def test_under_authentication_it_is_private(app: App) -> None:
    closed = App(app.lake, tuple(app.dashboards.values()), tokens=Tokens.of(read=["a-reader-s-token"]))
    shown = {"Authorization": "Bearer a-reader-s-token"}
    transport = httpx.ASGITransport(closed)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=shown) as client:
        where = (await client.get("/queries/shelf")).headers["content-location"]
        assert (await client.get(where)).headers["cache-control"] == FOR_EVER.replace("public", "private")


async def test_what_time_or_events_or_a_parameter_of_that_name_decide_has_no_such_address(
    client: httpx.AsyncClient,
) -> None:
    for name in ("clock", "today", "events", "own", "itself"):
        answer = await client.get(f"/queries/{name}")
        assert answer.status_code == 200
        assert "content-location" not in answer.headers, name
    assert (await client.get("/queries/own?as_of=7")).json() == [{"n": 7}]


async def test_another_text_default_or_value_is_another_address(lake: LiveLake, tmp_path: Path) -> None:
    seals = set()
    for sql in (QUERIES["shelf"], QUERIES["shelf"].replace("ALL", "amount"), QUERIES["shelf"].replace("= 0", "= 1")):
        app = await serving(lake, tmp_path / "one", {"shelf": sql})
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            seals.add((await client.get("/queries/shelf")).headers["content-location"])
            other = (await client.get("/queries/shelf?least=3")).headers["content-location"]
            seals.add(other.replace("least=3&", ""))
            for each in seals - {(await client.get("/queries/shelf")).headers["content-location"]}:
                answer = await client.get(each)
                assert answer.status_code == 410
                assert answer.headers["cache-control"] == "no-store"
        await app.close()
    assert len(seals) == 5  # the value 3 is sealed the same by the first and the third, whose texts are one


async def test_a_lake_that_was_replaced_does_not_answer_for_the_old_one(tmp_path: Path) -> None:
    """Snapshot 2 of one lake is not snapshot 2 of another, whatever their names."""
    wheres, rows = [], []
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        async with livelake.open(f"ducklake:sqlite:{tmp_path}/{number}/shop.sqlite") as lake:
            await lake.execute("CREATE TABLE orders (region VARCHAR, amount INTEGER)")
            await lake.execute(f"INSERT INTO orders VALUES ('lake', {number})")
            app = await serving(lake, tmp_path / "folder", {"shelf": QUERIES["shelf"]})
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
                answer = await client.get("/queries/shelf")
                wheres.append(answer.headers["content-location"])
                rows.append(answer.json())
                assert (await client.get(wheres[0])).status_code == (200 if number == 1 else 410)
            await app.close()
    assert wheres[0].partition("~")[0] == wheres[1].partition("~")[0]
    assert rows[0] != rows[1]


async def test_a_state_that_is_not_kept_any_more_is_gone(client: httpx.AsyncClient, lake: LiveLake) -> None:
    where = (await client.get("/queries/shelf")).headers["content-location"]
    await lake.execute("INSERT INTO orders VALUES ('west', 100)")
    await client.get("/queries/shelf")
    old = f"range(0, {lake.watcher.heads()['shop']})"
    expire = f"SELECT count(*) FROM ducklake_expire_snapshots('shop', versions => {old})"
    await lake.engine.writer.run(lambda session: session.execute(expire))
    answer = await client.get(where)
    assert answer.status_code == 410
    assert "expired" in answer.json()["detail"]


async def test_a_state_to_come_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await client.get("/queries/shelf?as_of=shop:999999")
    assert answer.status_code == 404
    assert "ahead of its newest" in answer.json()["detail"]


async def test_a_person_may_ask_for_the_past_and_nobody_keeps_it(client: httpx.AsyncClient, lake: LiveLake) -> None:
    before = lake.watcher.heads()["shop"]
    await lake.execute("INSERT INTO orders VALUES ('west', 100)")
    answer = await client.get(f"/queries/shelf?as_of=shop:{before}")
    assert len(answer.json()) == 2
    assert answer.headers["cache-control"] == "no-store"
    assert f"as_of=shop:{before}~" in answer.headers["content-location"]


async def test_nobody_keeps_the_past_that_a_person_asks_for_whatever_the_query_allows(
    client: httpx.AsyncClient, lake: LiveLake
) -> None:
    assert (await client.get("/queries/allowed")).headers["cache-control"] == "public, max-age=30"
    path = f"/queries/allowed.csv?as_of=shop:{lake.watcher.heads()['shop']}"
    answer = await client.get(path)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    known = await client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (known.status_code, known.headers["cache-control"]) == (304, "no-store")
    assert (await client.get(answer.headers["content-location"])).headers["cache-control"] == FOR_EVER


BAD_STATES = [
    "",
    "shop",
    "shop:",
    "shop:x",
    "shop:-1",
    "shop:1~",
    "shop:1~xyz",
    "shop:1,shop:2",
    "~",
    ":1",
    "x" * 9_000,
]


async def test_what_is_no_state_says_why(client: httpx.AsyncClient) -> None:
    for text in BAD_STATES:
        answer = await client.get("/queries/shelf", params={"as_of": text})
        assert answer.status_code == 400, text
        assert "catalog:snapshot" in answer.json()["detail"]
    assert (await client.get("/queries/shelf?as_of=elsewhere:1")).status_code == 400
    both = await client.get("/queries/shelf?as_of=shop:1", headers={"Livelake-Not-Before": "e30"})
    assert both.status_code == 400


async def test_a_query_that_cannot_be_asked_of_the_past_says_so_and_is_offered_no_address_again(
    client: httpx.AsyncClient, lake: LiveLake
) -> None:
    """A macro reads the present, whatever as_of says: that shows when it is asked for."""
    await lake.execute("CREATE MACRO counted() AS TABLE SELECT count(*) AS n FROM orders")
    where = (await client.get("/queries/macro")).headers["content-location"]
    await lake.execute("INSERT INTO orders VALUES ('west', 100)")
    answer = await client.get(where)
    assert answer.status_code == 400
    assert "cannot be asked as of the past" in answer.json()["detail"]
    assert "SELECT" not in answer.text
    assert "content-location" not in (await client.get("/queries/macro")).headers


@given(st.dictionaries(st.text(min_size=1, max_size=9), st.integers(0, 10**17), min_size=1, max_size=4))
def test_a_state_is_read_as_it_was_written(versions: dict[str, int]) -> None:
    text = spell(versions, "0123456789abcdef")
    assert text.isascii()
    assert "\n" not in text
    state = parse(text)
    assert (dict(state.versions), state.seal) == (versions, "0123456789abcdef")


@given(st.text(st.sampled_from("ab:,~%019 é")))
def test_any_text_is_a_state_or_a_parameter_error(text: str) -> None:
    with contextlib.suppress(ParameterError):
        assert parse(text).versions
