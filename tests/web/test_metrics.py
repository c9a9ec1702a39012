"""`/metrics` as Prometheus reads it, by the grammar of its text format."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from livelake.live import LiveLake
from livelake.web import App
from livelake.web.metrics import Metric, text

LINE = re.compile(r'([a-z_:][a-z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)', re.ASCII)
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"')
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(exposition: str) -> tuple[Samples, dict[str, str]]:
    """(samples by name and labels, types by name); fails on whatever the format does not allow."""
    samples: Samples = {}
    types: dict[str, str] = {}
    assert exposition.endswith("\n")
    for line in exposition.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, "one TYPE a family"
            types[name] = kind
            continue
        found = LINE.fullmatch(line)
        assert found, line
        assert found[1] in types, "its TYPE comes before a sample"
        key = (found[1], frozenset((m[1], m[2]) for m in LABEL.finditer(found[2] or "")))
        assert key not in samples, "no sample twice"
        samples[key] = float(found[3])
    return samples, types


@pytest.fixture
async def client(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as made:
        yield made


async def scrape(client: httpx.AsyncClient) -> Samples:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    samples, types = parse(answer.text)
    assert all(name.endswith("_total") for name, kind in types.items() if kind == "counter")
    return samples


async def test_what_is_asked_is_counted_by_query_form_and_fate(client: httpx.AsyncClient, lake: LiveLake) -> None:
    before = await scrape(client)
    etag = (await client.get("/queries/totals")).headers["etag"]
    await client.get("/queries/totals")
    await client.get("/queries/totals", headers={"If-None-Match": etag})
    await client.get("/queries/people.csv")
    await client.get("/queries/totals?least=x")
    after = await scrape(client)

    def count(name: str, **labels: str) -> float:
        key = (f"livelake_{name}", frozenset(labels.items()))
        return after[key] - before.get(key, 0.0)

    assert count("query_requests_total", query="totals", format="json", cache="miss") == 1
    assert count("query_requests_total", query="totals", format="json", cache="hit") == 2
    assert count("query_requests_total", query="totals", format="json", cache="error") == 1
    assert count("query_requests_total", query="people", format="csv", cache="miss") == 1
    assert count("query_not_modified_total", query="totals") == 1
    assert count("query_bytes_total", query="people") > 0
    assert count("query_seconds_total", query="people") > 0
    assert count("engine_reads_total") == 2
    assert count("cache_misses_total") == 2
    assert count("bodies_written_total") == 2
    assert after["livelake_catalog_snapshot", frozenset({("catalog", "shop")})] == lake.watcher.heads()["shop"]
    assert after["livelake_watcher_blind", frozenset()] == 0
    assert 0 <= after["livelake_watcher_lag_seconds", frozenset()] < 60


async def test_labels_come_from_the_folder_and_never_from_a_request(client: httpx.AsyncClient) -> None:
    for number in range(20):
        await client.get(f"/queries/made-up-{number}")
        await client.get(f"/queries/totals.json?x{number}=1")
        await client.get("/queries/totals", headers={"Accept": f"image/{number}"})
    labels = {value for _, pairs in await scrape(client) for name, value in pairs if name == "query"}
    assert labels == {"totals", "people", "types", "clock", "needs"}
    kinds = {value for _, pairs in await scrape(client) for name, value in pairs if name == "format"}
    assert kinds <= {"json", "csv", "arrow", "parquet", "none"}


def test_any_label_and_number_can_be_written() -> None:
    samples = (({"a": 'x"y\\z\n'}, 1.0), ({"a": "b"}, 0.25), ({"a": "c"}, float("inf")), ({"a": "d"}, float("nan")))
    found, types = parse(text([Metric("m", "gauge", "One\nline \\ only", samples)]))
    assert types == {"livelake_m": "gauge"}
    assert found["livelake_m", frozenset({("a", r"x\"y\\z\n")})] == 1
    assert len(found) == 4
