"""Results over HTTP: forms, pages, validators, what caches are told, and what strangers are not told."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import logging
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import livelake
from livelake import Event, LocalBus, web
from livelake.cache import Status
from livelake.cli.terminal import table_text
from livelake.engine import ArrowData
from livelake.errors import ConfigError, ParameterError, SourceError
from livelake.live import LiveLake
from livelake.testing import RecordingBus
from livelake.token import Token
from livelake.web import App, formats
from livelake.web.api import ApiSettings
from livelake.web.caching import Freshness, cache_control, cache_status, etag_of
from livelake.web.formats import TooLarge, written
from livelake.web.negotiate import MEDIA_TYPES, OFFERS
from livelake.web.paging import Page, ask, links
from livelake.web.representations import Representations
from livelake.web.tokens import Tokens

QUERIES = {
    "numbers": "SELECT i AS number, 'x' || i AS name FROM range(250) r(i) ORDER BY i",
    "shelf": "SELECT region, amount FROM shop.main.orders ORDER BY ALL",
    "none": "SELECT region FROM shop.main.orders WHERE false",
    "wide": "SELECT repeat('x', 4_000) AS text FROM range(50)",
    "short": "/*---\nhttp = { max_age = 30, stale_while_revalidate = 60 }\n---*/\n"
    "SELECT count(*) AS n FROM shop.main.orders",
    "today": "/*---\nhttp = { max_age = 31536000 }\n---*/\nSELECT current_date AS day",
    "capped": "/*---\nparams.limit = { type = 'integer', default = 3, min = 1, max = 9 }\n---*/\n"
    "SELECT i FROM range(100) r(i) ORDER BY i LIMIT $limit",
    "fails": "SELECT 'secret word'::INTEGER AS n FROM shop.main.orders",
}


@pytest.fixture
async def app(lake: LiveLake, tmp_path: Path) -> AsyncIterator[App]:
    folder = tmp_path / "api"
    folder.mkdir()
    for name, sql in QUERIES.items():
        (folder / f"{name}.sql").write_text(sql.replace("'integer'", '"integer"'))
    found = web.dashboards(folder)
    await web.check(lake, found)
    made = App(lake, found, api=ApiSettings(max_rows=100, max_bytes=100_000))
    yield made
    await made.close()


@pytest.fixture
async def client(app: App) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as made:
        made.headers.pop("accept")
        made.headers["accept-encoding"] = "identity"
        yield made


def refused(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = answer.json()
    return body


# ---------------------------------------------------------------- forms

ROWS = [{"region": "north", "amount": 10}, {"region": "south", "amount": 5}]


def read_rows(form: str, body: bytes) -> list[dict[str, Any]]:
    match form:
        case "json":
            found = json.loads(body)
        case "csv":
            found = [
                {**row, "amount": int(row["amount"])}
                for row in csv.DictReader(io.StringIO(body.decode(), newline=""))
            ]
        case "arrow":
            found = pa.ipc.open_stream(body).read_all().to_pylist()
        case _:
            found = pq.read_table(io.BytesIO(body)).to_pylist()
    return list(found)


async def test_an_infinite_date_is_a_word_and_no_day(lake: LiveLake) -> None:
    sql = "SELECT 'infinity'::DATE AS d, '-infinity'::TIMESTAMP AS t, 'infinity'::TIMESTAMPTZ AS z"
    result = await lake.query(f"{sql}, ['infinity'::DATE] AS l, MAP {{'infinity'::DATE: 1}} AS m")
    data = result.answer.data
    assert json.loads(written(data, "json", most=1 << 20)) == [
        {"d": "infinity", "t": "-infinity", "z": "infinity", "l": ["infinity"], "m": {"infinity": 1}}
    ]
    assert written(data, "csv", most=1 << 20).startswith(b"d,t,z,l,m\r\ninfinity,-infinity,infinity,")
    assert "infinity  -infinity  infinity" in table_text(result)


@pytest.mark.parametrize("form", OFFERS)
async def test_a_form_is_had_by_accept_and_by_suffix(client: httpx.AsyncClient, form: str) -> None:
    by_accept = await client.get("/queries/shelf", headers={"Accept": MEDIA_TYPES[form]})
    by_suffix = await client.get(f"/queries/shelf.{form}", headers={"Accept": "image/png"})
    for answer in (by_accept, by_suffix):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(MEDIA_TYPES[form])
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert read_rows(form, answer.content) == ROWS
    assert by_accept.content == by_suffix.content
    assert by_accept.headers["etag"] == by_suffix.headers["etag"]
    assert "Accept" in by_accept.headers["vary"].split(", ")
    assert "Accept" not in by_suffix.headers["vary"].split(", ")
    downloads = form != "json"
    assert by_suffix.headers.get("content-disposition") == (
        f'attachment; filename="shelf.{form}"' if downloads else None
    )


async def test_what_no_form_meets_is_406_with_the_offers(client: httpx.AsyncClient) -> None:
    body = refused(await client.get("/queries/shelf", headers={"Accept": "text/html, image/*"}), 406)
    assert [offer["type"] for offer in body["offers"]] == list(MEDIA_TYPES.values())
    for offer in body["offers"]:
        assert (await client.get(offer["url"])).status_code == 200


async def test_an_answer_without_rows_has_its_columns_in_every_form(client: httpx.AsyncClient) -> None:
    assert (await client.get("/queries/none")).content == b"[]"
    assert (await client.get("/queries/none.csv")).content == b"region\r\n"
    arrow = pa.ipc.open_stream((await client.get("/queries/none.arrow")).content).read_all()
    assert (arrow.num_rows, arrow.column_names) == (0, ["region"])
    assert pq.read_table(io.BytesIO((await client.get("/queries/none.parquet")).content)).column_names == ["region"]


async def test_every_form_says_the_same_of_every_type(lake: LiveLake) -> None:
    result = await lake.query(
        """SELECT 1.50::DECIMAL(9, 2) AS price, DATE '2024-01-15' AS day, NULL AS nothing, 'ä"\\<' AS text,
        TIMESTAMPTZ '2024-01-15 12:00:00+00' AS moment, [1, 2] AS list, {'a': true} AS struct, '\\xAB'::BLOB AS bytes,
        'on'::ENUM('on', 'off') AS enum, '0b6fa0e5-8c1d-4a6b-9f55-0c3b9d7f1f00'::UUID AS uuid, 2.5 AS number"""
    )
    data = result.answer.data
    (row,) = pq.read_table(io.BytesIO(written(data, "parquet", most=1 << 20))).to_pylist()
    assert row == pa.table(result).to_pylist()[0]
    assert (row["price"], row["enum"], row["list"]) == (Decimal("1.50"), "on", [1, 2])
    names, line = csv.reader(io.StringIO(written(data, "csv", most=1 << 20).decode(), newline=""))
    assert dict(zip(names, line, strict=True)) == {
        "price": "1.50",
        "day": "2024-01-15",
        "nothing": "",
        "text": 'ä"\\<',
        "moment": "2024-01-15T12:00:00+00:00",
        "list": "[1,2]",
        "struct": '{"a":true}',
        "bytes": "ab",
        "enum": "on",
        "uuid": "0b6fa0e5-8c1d-4a6b-9f55-0c3b9d7f1f00",
        "number": "2.5",
    }


@pytest.mark.parametrize("form", OFFERS)
async def test_equal_answers_are_equal_bytes_in_every_form(lake: LiveLake, form: Any) -> None:
    """A strong ETag names content: a body that was dropped and written again must be the same one."""
    sql = "SELECT i, 'x' || i AS t, i / 7 AS d FROM range(30_000) r(i) ORDER BY i"
    first, again = [(await lake.query(sql, fresh=True)).answer.data for _ in range(2)]
    assert first is not again
    assert written(first, form, most=1 << 30) == written(again, form, most=1 << 30)


# ---------------------------------------------------------------- CSV


@pytest.fixture
async def cells(lake: LiveLake) -> Any:
    async def made(*texts: str | None) -> bytes:
        data = (await lake.query("SELECT unnest($texts::VARCHAR[]) AS cell", {"texts": list(texts)})).answer.data
        return written(data, "csv", most=1 << 20)

    return made


FORMULAS = [
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+1",
    "@x",
    "\tx",
    "\rx",
    "\nx",
    "-x",
    "-1+1",
    "-2-3",
    "--1",
    "-",
    "-.",
    "-1e",
]
NO_FORMULAS = ["x", "1", "-1", "-1.5", "-.5", "-1e9", "-1.5E-3", "a=b", "a\tb", "'=x", " =x", "ä"]


async def test_no_cell_is_a_formula(cells: Any) -> None:
    lines = list(csv.reader(io.StringIO((await cells(*FORMULAS)).decode(), newline="")))
    assert lines == [["cell"], *([f"'{text}"] for text in FORMULAS)]


async def test_what_is_no_formula_is_left_as_it_is(cells: Any) -> None:
    lines = list(csv.reader(io.StringIO((await cells(*NO_FORMULAS)).decode(), newline="")))
    assert lines == [["cell"], *([text] for text in NO_FORMULAS)]


async def test_a_columns_name_is_no_formula_either(lake: LiveLake) -> None:
    data = (await lake.query("""SELECT -1 AS "=1+1", 2 AS "a,""b" """)).answer.data
    assert written(data, "csv", most=1 << 20) == b'\'=1+1,"a,""b"\r\n-1,2\r\n'


async def test_nothing_and_an_empty_text_differ_and_duckdb_reads_it_back(cells: Any, tmp_path: Path) -> None:
    texts = ["", None, 'say "hi"', "a,b", "one\r\ntwo", " blank ", "ä\u2028"]
    body = await cells(*texts)
    assert body.startswith(b'cell\r\n""\r\n""\r\n"say ""hi"""\r\n')  # one column: an empty line would be no line
    file = tmp_path / "cells.csv"
    file.write_bytes(body)
    found = duckdb.sql(f"FROM read_csv('{file}', all_varchar := true, new_line := '\\r\\n')").fetchall()
    assert [text or "" for (text,) in found] == [text or "" for text in texts]


async def test_no_reader_skips_a_row_of_a_single_column_that_holds_nothing(cells: Any, tmp_path: Path) -> None:
    file = tmp_path / "cells.csv"
    file.write_bytes(await cells(None, "x", None))
    assert len(duckdb.sql(f"FROM read_csv('{file}', header := true)").fetchall()) == 3
    assert pyarrow.csv.read_csv(file).num_rows == 3
    assert [row["cell"] for row in csv.DictReader(file.read_text().splitlines())] == ["", "x", ""]


async def test_in_several_columns_nothing_is_an_empty_field(lake: LiveLake) -> None:
    data = (await lake.query("SELECT NULL AS a, '' AS b, 'x' AS c")).answer.data
    assert written(data, "csv", most=1 << 20) == b'a,b,c\r\n,"",x\r\n'


# ---------------------------------------------------------------- pages


async def test_pages_are_cut_from_one_answer_and_lead_to_each_other(
    client: httpx.AsyncClient, lake: LiveLake
) -> None:
    found: list[int] = []
    url: str | None = "/queries/numbers?limit=100"
    seen = []
    before = lake.engine.stats().reads
    while url is not None:
        answer = await client.get(url)
        assert answer.status_code == 200
        assert answer.headers["livelake-total"] == "250"
        found += [row["number"] for row in answer.json()]
        seen.append(answer.headers["etag"])
        url = answer.links.get("next", {}).get("url")
    assert found == list(range(250))
    assert len(set(seen)) == 3
    assert lake.engine.stats().reads == before + 1
    assert answer.links["prev"]["url"] == "/queries/numbers?limit=100&offset=100"


@pytest.mark.parametrize("form", OFFERS)
async def test_a_page_is_the_same_rows_in_every_form(client: httpx.AsyncClient, form: str) -> None:
    answer = await client.get(f"/queries/shelf.{form}?offset=1&limit=5")
    assert read_rows(form, answer.content) == ROWS[1:]
    assert read_rows(form, (await client.get(f"/queries/shelf.{form}?offset=7")).content) == []


async def test_too_many_rows_say_how_to_page(client: httpx.AsyncClient) -> None:
    body = refused(await client.get("/queries/numbers"), 413)
    assert body["total"] == 250
    assert "?limit=100&offset=0" in body["detail"]
    assert (await client.get("/queries/numbers?limit=100&offset=0")).status_code == 200


async def test_too_many_bytes_say_to_take_fewer_rows(client: httpx.AsyncClient) -> None:
    for path in ("/queries/wide", "/queries/wide.csv", "/queries/wide.arrow"):
        assert "ask for pages" in refused(await client.get(path), 413)["detail"]
    assert "limit=40" in refused(await client.get("/queries/wide?limit=40"), 413)["detail"]
    assert (await client.get("/queries/wide?limit=10")).status_code == 200


BAD_PAGES = {
    "limit=0": "from 1 to 100",
    "limit=101": "from 1 to 100",
    "limit=x": "whole number",
    "limit=-1": "whole number",
    "limit=": "whole number",
    "limit=1&limit=2": "twice",
    "limit=%D9%A1": "whole number",
    "offset=-1": "whole number from 0",
    "offset=99999999999999999999": "whole number from 0",
    "offset=1&offset=1": "twice",
    "page=2": "no parameter",
}


async def test_a_page_that_is_none_says_why(client: httpx.AsyncClient) -> None:
    for query, reason in BAD_PAGES.items():
        assert reason in refused(await client.get(f"/queries/numbers?{query}"), 400)["detail"]


async def test_a_query_with_a_limit_of_its_own_has_no_pages(client: httpx.AsyncClient) -> None:
    assert [row["i"] for row in (await client.get("/queries/capped?limit=2")).json()] == [0, 1]
    assert "at most 9" in refused(await client.get("/queries/capped?limit=50"), 400)["detail"]
    assert "no parameter 'offset'" in refused(await client.get("/queries/capped?offset=1"), 400)["detail"]


def test_a_link_keeps_what_else_was_asked() -> None:
    asked = ask([("region", 'a&"b'), ("limit", "10"), ("offset", "5")], {"region"}, 100)
    assert asked.own == [("region", 'a&"b')]
    assert links("/q", asked, 30) == (
        '</q?region=a%26%22b&limit=10&offset=0>; rel="prev", </q?region=a%26%22b&limit=10&offset=15>; rel="next"'
    )
    assert links("/q", ask([], (), 100), 30) is None
    assert links("/q", ask([("limit", "100")], (), 100), 30) is None
    with pytest.raises(ParameterError):
        ask([("limit", "101")], (), 100)


# ---------------------------------------------------------------- validators


async def test_each_form_coding_and_page_has_its_own_etag(client: httpx.AsyncClient) -> None:
    ways = [("/queries/numbers.csv?limit=90", "identity"), ("/queries/numbers.csv?limit=90", "gzip")]
    ways += [(f"/queries/numbers.{form}?limit=100", "identity") for form in OFFERS]
    ways += [("/queries/numbers.json?limit=90&offset=1", "identity"), ("/queries/numbers.json?limit=90", "gzip")]
    tags = [(await client.get(path, headers={"Accept-Encoding": coding})).headers["etag"] for path, coding in ways]
    assert len(set(tags)) == len(ways)
    assert all(tag.startswith('"') for tag in tags)  # strong
    for (path, coding), tag in zip(ways, tags, strict=True):
        known = await client.get(path, headers={"Accept-Encoding": coding, "If-None-Match": f'"x", W/{tag}'})
        assert (known.status_code, known.content) == (304, b"")
        other = "gzip" if coding == "identity" else "identity"
        if "parquet" not in path:  # which is packed already, and not packed again
            plain = await client.get(path, headers={"Accept-Encoding": other, "If-None-Match": tag})
            assert plain.status_code == 200


async def test_304_says_what_200_would(client: httpx.AsyncClient) -> None:
    first = await client.get("/queries/numbers?limit=10")
    for told in (first.headers["etag"], "*"):
        known = await client.get("/queries/numbers?limit=10", headers={"If-None-Match": told})
        assert known.status_code == 304
        for name in ("etag", "cache-control", "vary", "livelake-as-of", "livelake-total", "link"):
            assert known.headers[name] == first.headers[name]
        assert "content-length" not in known.headers
        assert "content-type" not in known.headers


async def test_304_writes_no_body(app: App, client: httpx.AsyncClient) -> None:
    etag = (await client.get("/queries/shelf.csv")).headers["etag"]
    app.results.bodies = Representations(1 << 20)
    known = await client.get("/queries/shelf.csv", headers={"If-None-Match": etag})
    assert known.status_code == 304
    assert app.results.bodies.written == 0


async def test_two_lines_of_a_header_are_one_list(client: httpx.AsyncClient) -> None:
    etag = (await client.get("/queries/shelf")).headers["etag"]
    two = [("If-None-Match", '"x"'), ("If-None-Match", etag), ("Accept", "text/html"), ("Accept", "*/*")]
    assert (await client.get("/queries/shelf", headers=two)).status_code == 304


async def test_head_is_get_without_its_body(client: httpx.AsyncClient) -> None:
    for path in ("/queries/numbers?limit=100", "/queries/shelf.parquet", "/queries/shelf.csv"):
        get, head = await client.get(path), await client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("etag", "content-length", "content-type", "cache-control", "vary", "livelake-as-of"):
            assert head.headers[name] == get.headers[name]
        assert int(head.headers["content-length"]) == len(get.content)


async def test_a_body_is_packed_for_who_takes_it(client: httpx.AsyncClient) -> None:
    path = "/queries/numbers?limit=100"
    plain = await client.get(path)
    async with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as packed:
        raw = b"".join([piece async for piece in packed.aiter_raw()])
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) == len(raw) < len(plain.content)
    assert gzip.decompress(raw) == plain.content
    assert "content-encoding" not in plain.headers
    for small in ("/queries/none", "/queries/shelf.parquet"):
        assert "content-encoding" not in (await client.get(small, headers={"Accept-Encoding": "gzip"})).headers


async def test_packing_can_be_turned_off(app: App, client: httpx.AsyncClient) -> None:
    app.results.settings = ApiSettings(compress=False)
    assert (
        "content-encoding" not in (await client.get("/queries/numbers", headers={"Accept-Encoding": "gzip"})).headers
    )


def test_an_etag_is_safe_in_a_header() -> None:
    assert etag_of("ab", "csv", "gzip", Page(5, 10)).startswith('"ab-csv-5+10-gzip-')
    assert etag_of("ab", "csv", "identity", None) != etag_of("ab", "csv", "gzip", None)


# ---------------------------------------------------------------- what caches are told

HALF_A_MINUTE = Freshness(max_age=30, stale_while_revalidate=60, stale_if_error=90)


@pytest.mark.parametrize(
    ("allowed", "private", "permanent", "status", "left", "told"),
    [
        (None, False, False, "hit", None, "no-cache"),
        (None, True, False, "hit", None, "private, no-cache"),
        (
            HALF_A_MINUTE,
            False,
            False,
            "miss",
            None,
            "public, max-age=30, stale-while-revalidate=60, stale-if-error=90",
        ),
        (
            HALF_A_MINUTE,
            True,
            False,
            "hit",
            None,
            "private, max-age=30, stale-while-revalidate=60, stale-if-error=90",
        ),
        (HALF_A_MINUTE, False, False, "hit", 10.9, "public, max-age=10"),
        (
            HALF_A_MINUTE,
            False,
            False,
            "hit",
            50.0,
            "public, max-age=30, stale-while-revalidate=20, stale-if-error=20",
        ),
        (HALF_A_MINUTE, False, False, "hit", 0.5, "no-cache"),
        (HALF_A_MINUTE, False, False, "hit", -5.0, "no-cache"),
        (HALF_A_MINUTE, False, False, "stale", None, "no-cache"),
        (Freshness(max_age=0), False, False, "hit", None, "public, max-age=0"),
        (None, False, True, "hit", None, "public, max-age=31536000, immutable"),
        (None, True, True, "hit", None, "private, max-age=31536000, immutable"),
    ],
)
def test_caches_are_told_no_more_than_is_so(
    allowed: Freshness | None, private: bool, permanent: bool, status: Status, left: float | None, told: str
) -> None:
    assert cache_control(allowed, private=private, permanent=permanent, status=status, left=left) == told


@pytest.mark.parametrize(
    ("status", "left", "age", "told"),
    [
        ("hit", None, 0.0, 'livelake; hit; key="q"'),
        ("hit", 12.7, 0.0, 'livelake; hit; ttl=12; key="q"'),
        ("miss", None, 0.0, 'livelake; fwd=miss; stored; key="q"'),
        ("joined", 5.0, 0.0, 'livelake; fwd=miss; collapsed; ttl=5; key="q"'),
        ("bypass", 5.0, 0.0, 'livelake; fwd=bypass; key="q"'),
        ("stale", None, 7.2, 'livelake; hit; ttl=-8; key="q"; detail=stale'),
    ],
)
def test_cache_status_is_as_in_rfc_9211(status: Status, left: float | None, age: float, told: str) -> None:
    assert cache_status("q", status, left, age) == told


async def test_by_default_nothing_is_used_without_asking(client: httpx.AsyncClient) -> None:
    assert (await client.get("/queries/shelf")).headers["cache-control"] == "no-cache"


async def test_a_query_may_allow_more_in_its_header(client: httpx.AsyncClient) -> None:
    told = (await client.get("/queries/short")).headers["cache-control"]
    assert told == "public, max-age=30, stale-while-revalidate=60"


async def test_nothing_is_allowed_past_the_answers_own_time(client: httpx.AsyncClient) -> None:
    answer = await client.get("/queries/today")
    age = int(answer.headers["cache-control"].removeprefix("public, max-age=").partition(",")[0])
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert age <= (midnight - datetime.now(UTC)).total_seconds() + 1
    assert f"ttl={age}" in answer.headers["cache-status"]


async def test_under_authentication_nothing_is_for_shared_caches(app: App) -> None:
    closed = App(app.lake, tuple(app.dashboards.values()), tokens=Tokens.of(read=["a-reader-s-token"]))
    shown = {"Authorization": "Bearer a-reader-s-token"}
    transport = httpx.ASGITransport(closed)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=shown) as client:
        assert (await client.get("/queries/shelf")).headers["cache-control"] == "private, no-cache"
        assert (await client.get("/queries/short")).headers["cache-control"].startswith("private, max-age=30")


async def test_a_demand_is_part_of_what_an_answer_varies_by(client: httpx.AsyncClient) -> None:
    """Else an HTTP cache would meet a demand with what it kept before."""
    assert "Livelake-Not-Before" in (await client.get("/queries/short")).headers["vary"].split(", ")


async def test_the_token_of_an_answer_can_be_handed_back(client: httpx.AsyncClient, app: App, lake: LiveLake) -> None:
    token = await lake.execute("INSERT INTO orders VALUES ('west', 1)")
    first = await client.get("/queries/shelf", headers={"Livelake-Not-Before": str(token)})
    told = first.headers["livelake-as-of"]
    assert Token.parse(told).covers(Token(token.versions))
    again = await client.get("/queries/shelf", headers={"Livelake-Not-Before": told})
    assert again.json() == first.json()
    assert len(first.json()) == 3


async def test_server_timing_tells_the_parts(client: httpx.AsyncClient) -> None:
    first, again = [(await client.get("/queries/shelf")).headers["server-timing"] for _ in range(2)]
    assert first.startswith("query;desc=miss;dur=")
    assert again.startswith("query;desc=hit;dur=")
    assert ", write;dur=" in again


# ---------------------------------------------------------------- bodies that are kept


async def test_a_body_is_written_once_for_all_who_ask(app: App, client: httpx.AsyncClient) -> None:
    await asyncio.gather(*(client.get("/queries/numbers.csv?limit=100") for _ in range(20)))
    assert app.results.bodies.written == 1
    await client.get("/queries/numbers.csv?limit=100")
    assert app.results.bodies.hits >= 1


async def test_an_equal_answer_of_a_new_snapshot_is_not_written_again(
    app: App, client: httpx.AsyncClient, lake: LiveLake
) -> None:
    first = await client.get("/queries/shelf")
    await lake.execute("INSERT INTO orders VALUES ('none', 0)")
    await lake.execute("DELETE FROM orders WHERE region = 'none'")
    again = await client.get("/queries/shelf")
    assert "fwd=miss" in again.headers["cache-status"]
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["livelake-as-of"] != first.headers["livelake-as-of"]
    assert app.results.bodies.written == 1


async def test_bodies_are_kept_within_their_bytes() -> None:
    bodies = Representations(800)
    for number in range(20):
        assert await bodies.get(f"{number}", lambda: b"x" * 100) == b"x" * 100
    assert (bodies.nbytes, len(bodies)) == (800, 8)
    assert bodies.find("0") is None
    assert bodies.find("12") is not None  # and so 13 is the oldest now
    await bodies.get("20", lambda: b"x" * 100)
    assert (bodies.find("13"), bodies.find("12")) == (None, b"x" * 100)
    assert len(await bodies.get("large", lambda: b"x" * 101)) == 101
    assert bodies.find("large") is None


async def test_who_stops_waiting_for_a_body_stops_nobody_else_and_a_failure_is_not_kept() -> None:
    bodies, go = Representations(1_000), threading.Event()

    def write() -> bytes:
        assert go.wait(60)
        return b"done"

    first = asyncio.ensure_future(bodies.get("a", write))
    second = asyncio.ensure_future(bodies.get("a", lambda: b"never"))
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert await second == b"done"
    with pytest.raises(asyncio.CancelledError):
        await first

    def fail() -> bytes:
        raise TooLarge("x")

    with pytest.raises(TooLarge):
        await bodies.get("b", fail)
    assert await bodies.get("b", lambda: b"fine") == b"fine"


async def test_a_writer_stops_as_soon_as_it_is_too_long(lake: LiveLake, monkeypatch: pytest.MonkeyPatch) -> None:
    data: ArrowData = (await lake.query("SELECT i FROM range(100_000) r(i)")).answer.data
    lines = 0
    line = formats._line

    def counted(values: Any) -> str:
        nonlocal lines
        lines += 1
        return line(values)

    monkeypatch.setattr(formats, "_line", counted)
    with pytest.raises(TooLarge):
        written(data, "csv", most=10_000)
    assert lines < 10_000


# ---------------------------------------------------------------- what strangers are told


async def test_a_stranger_learns_a_number_and_the_log_the_rest(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "livelake.web"):
        answer = await client.get("/queries/fails")
    body = refused(answer, 500)
    number = body["instance"].removeprefix("urn:livelake:error:")
    assert number in body["detail"]
    for secret in ("secret", "SELECT", "INTEGER", "/tmp"):
        assert secret not in answer.text
    assert number in caplog.text
    assert "secret word" in caplog.text


async def test_whoever_sits_at_the_machine_is_told_what_went_wrong(lake: LiveLake, app: App) -> None:
    local = App(lake, tuple(app.dashboards.values()), hosts=frozenset({"127.0.0.1"}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(local), base_url="http://127.0.0.1") as client:
        assert "secret word" in refused(await client.get("/queries/fails"), 500)["detail"]
    await local.close()


async def test_data_that_cannot_be_read_names_no_path(
    client: httpx.AsyncClient, lake: LiveLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_args: object, **_named: object) -> None:
        raise SourceError("/srv/secret/data.parquet is gone")

    monkeypatch.setattr(lake, "query", broken)
    answer = await client.get("/queries/shelf")
    assert "cannot be read now" in refused(answer, 502)["detail"]
    assert "secret" not in answer.text


async def test_the_clients_own_errors_are_told_to_everybody(client: httpx.AsyncClient) -> None:
    assert "no parameter 'x'" in refused(await client.get("/queries/shelf?x=1"), 400)["detail"]
    assert "numbers" in refused(await client.get("/queries/nothing"), 404)["detail"]


# ---------------------------------------------------------------- why


async def test_why_is_text_for_people_and_json_for_programs(client: httpx.AsyncClient) -> None:
    await client.get("/queries/shelf")
    told = await client.get("/why/shelf")
    assert told.headers["content-type"] == "text/plain; charset=utf-8"
    assert "reads shop.main.orders, unchanged since" in told.text
    assert "kept: fresh" in told.text
    plain = await client.get("/why/shelf", headers={"Accept": "application/json"})
    assert "shop.main.orders" in plain.json()["tables"]
    assert plain.headers["cache-control"] == "no-store"
    assert (
        "text/plain or application/json"
        in refused(await client.get("/why/shelf", headers={"Accept": "image/png"}), 406)["detail"]
    )
    refused(await client.get("/why/nothing"), 404)
    refused(await client.get("/why/capped?limit=x"), 400)


async def test_why_tells_strangers_no_sql_and_its_author_all(lake: LiveLake, app: App) -> None:
    local = App(lake, tuple(app.dashboards.values()), hosts=frozenset({"127.0.0.1"}))
    for each, tells in ((app, False), (local, True)):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(each), base_url="http://127.0.0.1") as client:
            for accept in ("text/plain", "application/json"):
                told = await client.get("/why/shelf", headers={"Accept": accept})
                assert ("SELECT" in told.text) is tells
    await local.close()


# ---------------------------------------------------------------- settings of a query

BAD_HTTP = {
    "http = 30": "must be a table",
    "http = {}": "needs max_age",
    "http = { stale_while_revalidate = 5 }": "needs max_age",
    "http = { max_age = -1 }": "http.max_age must be whole seconds from 0",
    "http = { max_age = 1.5 }": "not a number",
    "http = { max_age = true }": "not a boolean",
    "http = { max_age = 99999999999 }": "a year",
    "http = { maxage = 1 }": "did you mean 'max_age'",
}


@pytest.mark.parametrize(("line", "reason"), BAD_HTTP.items())
def test_a_header_that_says_http_wrongly_names_file_and_line(tmp_path: Path, line: str, reason: str) -> None:
    file = tmp_path / "query.sql"
    file.write_text(f'/*---\ntitle = "x"\n{line}\n---*/\nSELECT 1')
    with pytest.raises(ConfigError) as caught:
        web.dashboards(tmp_path)
    assert reason in str(caught.value)
    assert (caught.value.file, caught.value.line) == (file, 3)


# ---------------------------------------------------------------- events


async def test_an_answer_made_of_others_events_says_how_far_they_were_heard(tmp_path: Path) -> None:
    """Of a bus that others hear. Of one in this process alone nobody could be asked for more."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "todo.sql").write_text('/*---\ndepends_on = ["events/Todo/**"]\n---*/\nSELECT 1 AS n')
    for bus, tells in ((RecordingBus(), True), (LocalBus(), False)):
        async with bus, livelake.open(":memory:", bus=bus) as lake:
            app = await web.app(lake, tmp_path / "folder")
            done = await bus.publish(Event(aggregate_type="Todo", aggregate_id="1", event_type="Done"))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
                told = (await client.get("/queries/todo")).headers["livelake-as-of"]
                assert Token(positions=Token.parse(told).positions).covers(done) is tells
                again = await client.get("/queries/todo", headers={"Livelake-Not-Before": told})
                assert again.status_code == 200
            await app.close()
