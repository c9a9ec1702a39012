"""The OpenAPI document is valid, says what the folder says, and the server does what the document says."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openapi_spec_validator
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

import livelake
from livelake import web
from livelake.web import App
from livelake.web.tokens import Tokens

TOKEN = "a-token-that-may-publish"
QUERIES = {
    "every.sql": """/*---
title = "Every type"
description = "What a parameter may be."
params.whole = { type = "integer", default = 5, min = 1, max = 9 }
params.number = { type = "number", default = 0.5, min = -1.5 }
params.even = { type = "integer", default = 4, min = 2, step = 2 }
params.some = { type = "choice", from = "SELECT name FROM shop.main.people", default = "Ada" }
params.word = { type = "string", default = "a", max = 20 }
params.yes = { type = "boolean", default = true }
params.day = { type = "date", default = 2024-01-15 }
params.moment = { type = "timestamp", default = 2024-01-15T12:00:00Z }
params.wall = { type = "timestamp", default = 2024-01-15T12:30:00 }
params.colour = { type = "choice", choices = ["red", "green"], default = "red" }
---*/
SELECT $whole AS whole, $number AS number, $word AS word, $yes AS yes, $day AS day, $moment AS moment, $wall AS wall,
       $colour AS colour, $even AS even, $some AS some, name FROM shop.main.people""",
    "must.sql": '/*---\nparams.id = { type = "integer" }\n---*/\nSELECT $id::BIGINT AS id',
    "own.sql": '/*---\nparams.limit = { type = "integer", default = 2, max = 5, min = 0 }\n---*/\n'
    "SELECT i FROM range(9) r(i) LIMIT $limit",
    "plain.sql": "SELECT name FROM shop.main.people",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A served folder, on a loop in a thread of its own; its address."""
    root = tmp_path_factory.mktemp("openapi")
    folder = root / "folder"
    folder.mkdir()
    for name, text in QUERIES.items():
        (folder / name).write_text(text)
    ready: threading.Event = threading.Event()
    address: list[str] = []
    loop = asyncio.new_event_loop()

    async def serving() -> None:
        async with livelake.open(f"ducklake:sqlite:{root}/shop.sqlite") as lake:
            await lake.execute("CREATE TABLE people (name VARCHAR)")
            await lake.execute("INSERT INTO people VALUES ('Ada')")
            found = web.dashboards(folder)
            await web.check(lake, found)
            app = App(lake, found, tokens=Tokens.of([TOKEN]))
            with web.listen("127.0.0.1", 0) as listener:
                address.append(web.url_of(listener).rstrip("/"))
                await web.serve(app, listener, ready.set)

    def run() -> None:
        asyncio.set_event_loop(loop)
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()

    task = loop.create_task(serving())
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(60)
    yield address[0]
    loop.call_soon_threadsafe(task.cancel)
    thread.join(60)


@pytest.fixture(scope="module")
def document(server: str) -> Any:
    return httpx.get(f"{server}/openapi.json").json()


def test_the_document_is_valid_openapi(document: Any) -> None:
    openapi_spec_validator.validate(document)
    assert document["openapi"].startswith("3.1")


def test_it_says_what_the_folder_says(document: Any) -> None:
    operation = document["paths"]["/queries/every"]["get"]
    assert (operation["summary"], operation["description"]) == ("Every type", "What a parameter may be.")
    schemas = {each["name"]: each["schema"] for each in operation["parameters"] if each["in"] == "query"}
    assert schemas["whole"] == {"type": "integer", "minimum": 1, "maximum": 9, "default": 5}
    assert schemas["number"] == {"type": "number", "minimum": -1.5, "default": 0.5}
    assert schemas["word"] == {"type": "string", "minLength": 0, "maxLength": 20, "default": "a"}
    assert schemas["yes"] == {"type": "boolean", "default": True}
    assert schemas["day"] == {"type": "string", "format": "date", "default": "2024-01-15"}
    assert schemas["moment"]["format"] == "date-time"
    assert schemas["wall"] == {"type": "string", "format": "date-time"}  # which has an offset, and its default none
    wall = next(each for each in operation["parameters"] if each["name"] == "wall")
    assert wall["description"] == "Wall; 2024-01-15T12:30:00 by the session's clock if it is not given"
    assert wall["required"] is False
    assert schemas["even"] == {
        "type": "integer",
        "minimum": 2,
        "maximum": 2**63 - 1,
        "multipleOf": 2,
        "default": 4,
    }
    assert schemas["some"] == {"type": "string", "minLength": 0, "maxLength": 1_000, "default": "Ada"}
    assert schemas["colour"] == {"enum": ["red", "green"], "default": "red"}
    assert schemas["limit"] == {"type": "integer", "minimum": 1, "maximum": 100_000}
    assert set(operation["responses"]["200"]["content"]) == {
        "application/json",
        "text/csv",
        "application/vnd.apache.arrow.stream",
        "application/vnd.apache.parquet",
    }
    (needed,) = [each for each in document["paths"]["/queries/must"]["get"]["parameters"] if each.get("required")]
    assert needed["name"] == "id"
    own = [each["name"] for each in document["paths"]["/queries/own"]["get"]["parameters"]]
    assert own.count("limit") == 1
    assert "offset" not in own


def test_it_has_every_route_that_is_no_page(document: Any, server: str) -> None:
    for path in ("/events", "/healthz", "/metrics", *(f"/why/{Path(name).stem}" for name in QUERIES)):
        assert path in document["paths"]
    etag = httpx.get(f"{server}/openapi.json").headers["etag"]
    assert httpx.get(f"{server}/openapi.json", headers={"If-None-Match": etag}).status_code == 304


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: str(mode.value))
def test_the_server_does_what_the_document_says(server: str, mode: schemathesis.GenerationMode) -> None:
    """Requests made of the document by schemathesis, right ones and wrong ones."""
    schema = schemathesis.openapi.from_url(f"{server}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 2 * len(QUERIES) + 3
    can_be_wrong = [each for each in operations if each.query or each.headers or each.body]
    chosen = operations if mode is schemathesis.GenerationMode.POSITIVE else can_be_wrong
    asked = {operation.path: ask_of(operation, mode) for operation in chosen}
    assert all(asked[f"/queries/{Path(name).stem}"] > 5 for name in QUERIES)


def ask_of(operation: Any, mode: schemathesis.GenerationMode) -> int:
    """How many requests were made, each answered as the document says."""
    headers = {"Authorization": f"Bearer {TOKEN}"} if operation.path == "/events" else {}
    done = 0

    @settings(
        max_examples=12,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        nonlocal done
        answer = case.call_and_validate(headers=headers, checks=CHECKS)
        done += 1
        demands = "Livelake-Not-Before" in (case.headers or {}) or "as_of" in (case.query or {})
        is_exact = operation.path != "/events"  # where an integer of JSON Schema may be 5.0, and ours may not
        if mode is schemathesis.GenerationMode.POSITIVE and is_exact and not demands:
            assert answer.status_code in (200, 202, 304), answer.text

    ask()
    return done
