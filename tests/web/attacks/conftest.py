"""What is attacked: a shop of two tenants, behind tokens, as an ASGI app and as a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from livelake import web
from livelake.live import LiveLake
from livelake.testing import ManualClock
from livelake.web import App
from livelake.web.tokens import Tokens
from web.attacks.attacked import FILES, TOKENS, Site, browser


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "dashboards"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
async def shop(lake: LiveLake) -> LiveLake:
    async with lake.transaction() as transaction:
        await transaction.execute("CREATE TABLE sales (tenant VARCHAR, item VARCHAR, amount INTEGER)")
        await transaction.execute("INSERT INTO sales VALUES ('acme', 'anvil', 7), ('globex', 'umbrella', 8)")
    return lake


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text(TOKENS)
    file.chmod(0o600)
    return file


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def app(shop: LiveLake, folder: Path, token_file: Path, clock: ManualClock) -> AsyncIterator[App]:
    """Reading needs a token. Its clock moves only when told."""
    found = web.dashboards(folder)
    await web.check(shop, found)
    made = App(shop, found, tokens=Tokens.from_file(token_file), clock=clock)
    yield made
    await made.close()


@pytest.fixture
async def open_app(shop: LiveLake, folder: Path) -> AsyncIterator[App]:
    """Everybody reads."""
    made = await web.app(shop, folder)
    yield made
    await made.close()


@pytest.fixture
async def client(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with browser(app) as made:
        yield made


@pytest.fixture
async def log_in(app: App) -> AsyncIterator[Callable[[str], Any]]:
    """A browser that has logged in with a token."""
    async with AsyncExitStack() as stack:

        async def call(token: str) -> httpx.AsyncClient:
            made = await stack.enter_async_context(browser(app))
            answer = await made.post("/login", data={"token": token})
            assert answer.status_code == 303, answer.text
            return made

        yield call


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[App], Any]]:
    """Serve an app until the test ends."""
    async with AsyncExitStack() as stack:

        async def call(app: App) -> Site:
            listener = stack.enter_context(web.listen("127.0.0.1", 0))
            ready = asyncio.Event()
            serving = asyncio.create_task(web.serve(app, listener, ready.set))

            async def stop() -> None:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)

            stack.push_async_callback(stop)
            await ready.wait()
            return Site(listener.getsockname()[1])

        yield call
