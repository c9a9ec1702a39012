"""What the web tests share: hostile texts, and a shop, which is a small lake with dashboards over it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import livelake
from livelake import web
from livelake.live import LiveLake

HOSTILE = [
    "<img src=x onerror=window.pwned=1>",
    '"><svg/onload=window.pwned=1>',
    "'><script>window.pwned=1</script>",
    "</script><script>window.pwned=1</script>",
    "</title></style></textarea><b onclick=window.pwned=1>x",
    "javascript:window.pwned=1",
    '" data-on-click="window.pwned=1" x="',
    "{{7*7}} ${7*7} <%= 7*7 %>",
    "]]><!--<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>&e;",
    "&lt;b&gt; &#60;script&#62; &amp;",
    "one\ntwo\rthree\r\ndata: four\n\nevent: five\u2028six\x85seven\x0ceight",
    "\0\x08\x1b[31m\ufffe\u202eevil\u202c",
]


@pytest.fixture(params=HOSTILE, ids=lambda text: ascii(text)[:24])
def hostile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


SHOP = {
    "shop/livelake.toml": 'title = "The shop"\norder = ["totals", "people"]',
    "shop/totals.sql": """/*---
title = "Totals"
chart = { mark = "bar", x = "total", y = "region" }
params.least = { type = "integer", default = 0, min = 0 }
params.prefix = { type = "string", default = "" }
---*/
SELECT region, sum(amount)::INTEGER AS total FROM shop.main.orders WHERE starts_with(region, $prefix)
GROUP BY region HAVING sum(amount) >= $least ORDER BY region""",
    "shop/people.sql": "SELECT name FROM shop.main.people ORDER BY name",
    "misc/types.sql": """SELECT
        1.50::DECIMAL(9, 2) AS price, 12345678901234567890.123::DECIMAL(38, 3) AS long, DATE '2024-01-15' AS day,
        TIMESTAMPTZ '2024-01-15 12:00:00+00' AS moment, NULL AS nothing, 'nan'::DOUBLE AS nan,
        170141183460469231731687303715884105727::HUGEINT AS huge, INTERVAL 90 MINUTE AS span, 'ä"\\<'AS text,
        MAP {DATE '2024-01-15': [1, 2]} AS map, {'a': true} AS struct, '\\xAB'::BLOB AS bytes""",
    "misc/clock.sql": "SELECT now() AS now",
    "misc/needs.sql": """/*---
params.since = { type = "date" }
---*/
SELECT $since::DATE AS since""",
}


@pytest.fixture
async def lake(tmp_path: Path) -> AsyncIterator[LiveLake]:
    """Orders, and people who have nothing to do with them."""
    async with livelake.open(f"ducklake:sqlite:{tmp_path}/shop.sqlite") as opened:
        async with opened.transaction() as transaction:
            await transaction.execute("CREATE TABLE orders (region VARCHAR, amount INTEGER)")
            await transaction.execute("CREATE TABLE people (name VARCHAR)")
            await transaction.insert("orders", [{"region": "north", "amount": 10}, {"region": "south", "amount": 5}])
            await transaction.insert("people", [{"name": "Ada"}])
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two dashboards: the shop, and one that reads no table."""
    root = tmp_path / "dashboards"
    for name, text in SHOP.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
async def app(lake: LiveLake, folder: Path) -> AsyncIterator[web.App]:
    made = await web.app(lake, folder)
    yield made
    await made.close()
