"""The application inside somebody else's, on uvicorn and granian, and at a path of its own."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount

from livelake import web
from livelake.live import LiveLake

PATIENCE = 60.0


class Tagged(BaseHTTPMiddleware):
    """Middleware of the kind that many applications have: each response goes through a task of its own."""

    async def dispatch(self, request: Request, call_next: object) -> Response:
        answer = await call_next(request)  # type: ignore[operator]
        answer.headers["x-tagged"] = "yes"
        return answer


@pytest.fixture
def client(app: web.App) -> httpx.AsyncClient:
    host = Starlette(routes=[Mount("/lake", app)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(host), base_url="http://localhost")


async def test_every_link_of_a_page_leads_back_into_the_mounted_application(client: httpx.AsyncClient) -> None:
    links: set[str] = set()
    for page in ("/lake/", "/lake/d/shop", "/lake/d/nothing"):
        text = (await client.get(page, headers={"accept": "text/html"})).text
        links |= set(re.findall(r'(?:href|src|data-live)="(/[^"]*)"', text))
    assert {"/lake/", "/lake/d/shop", "/lake/live/shop"} <= links
    assert not [link for link in links if not link.startswith("/lake/")]
    for link in links - {"/lake/live/shop"}:
        assert (await client.get(link)).status_code != 404, link


async def test_the_application_of_the_documentation_serves_a_dashboard(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    (code, *_) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    folder.rename("dashboards")
    names: dict[str, Any] = {}
    exec(code, names)
    host = names["app"]
    async with (
        host.router.lifespan_context(host),
        httpx.AsyncClient(transport=httpx.ASGITransport(host), base_url="http://localhost") as client,
    ):
        assert "/lake/d/shop" in (await client.get("/lake/")).text


@pytest.mark.parametrize("middleware", [(), (Tagged,), (GZipMiddleware,)], ids=["bare", "tasks", "gzip"])
async def test_streams_live_inside_another_application(
    app: web.App, lake: LiveLake, middleware: tuple[type, ...]
) -> None:
    import uvicorn

    host = Starlette(routes=[Mount("/lake", app)], middleware=[Middleware(each) for each in middleware])
    server = uvicorn.Server(uvicorn.Config(host, log_config=None, lifespan="off", timeout_graceful_shutdown=1))
    with web.listen("127.0.0.1", 0) as listener:
        serving = asyncio.create_task(server._serve([listener]))
        try:
            await moves(f"{web.url_of(listener)}lake/live/shop", lake)
            async with asyncio.timeout(PATIENCE):
                while app.channels.viewers:
                    await asyncio.sleep(0.005)
        finally:
            await app.close()
            server.should_exit = True
            await serving


async def moves(url: str, lake: LiveLake) -> None:
    """Three viewers, one in gzip, see each of some commits."""
    async with asyncio.timeout(PATIENCE), httpx.AsyncClient(timeout=PATIENCE) as client, asyncio.TaskGroup() as tasks:
        seen = asyncio.Semaphore(0)

        async def view(coding: str) -> None:
            async with client.stream("GET", url, headers={"Accept-Encoding": coding}) as answer:
                assert answer.status_code == 200
                text, awaited = "", ["Ada", "Bob", "Cy", "Di"]
                async for piece in answer.aiter_text():
                    text += piece
                    while awaited and f">{awaited[0]}<" in text:
                        awaited.pop(0)
                        seen.release()
                    if not awaited:
                        return

        for coding in ("identity", "gzip", "gzip"):
            tasks.create_task(view(coding))
        for name in ("Bob", "Cy", "Di"):
            for _ in range(3):
                await seen.acquire()
            await lake.execute(f"INSERT INTO people VALUES ('{name}')")


GRANIAN = """
import sys
import livelake
from livelake import web
from starlette.applications import Starlette
from starlette.routing import Mount


class Mounted:
    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            self.lake = await livelake.open({uri!r}, poll_interval=0.05).__aenter__()
            self.host = Starlette(routes=[Mount("/lake", await web.app(self.lake, {folder!r}))])
            await send({{"type": "lifespan.startup.complete"}})
            await receive()
            await self.lake.__aexit__(None, None, None)
            await send({{"type": "lifespan.shutdown.complete"}})
        else:
            await self.host(scope, receive, send)

app = Mounted()
"""


@asynccontextmanager
async def granian(tmp_path: Path, folder: Path) -> AsyncIterator[str]:
    (tmp_path / "mounted.py").write_text(
        GRANIAN.format(uri=f"ducklake:sqlite:{tmp_path}/shop.sqlite", folder=str(folder))
    )
    with web.listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--port", str(port), "--backpressure", "4096"]
    with subprocess.Popen(
        [*command, "mounted:app"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield f"http://127.0.0.1:{port}/lake"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


async def test_streams_live_on_granian(tmp_path: Path, folder: Path, lake: LiveLake) -> None:
    pytest.importorskip("granian")
    async with granian(tmp_path, folder) as url, httpx.AsyncClient() as client, asyncio.timeout(PATIENCE):
        while True:
            try:
                if (await client.get(f"{url}/healthz")).status_code == 200:
                    break
            except httpx.TransportError:
                await asyncio.sleep(0.05)
        await moves(f"{url}/live/shop", lake)
        while (await client.get(f"{url}/healthz")).json()["viewers"]:
            await asyncio.sleep(0.02)
