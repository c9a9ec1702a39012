"""A site that a browser test looks at: livelake's application in an ASGI app of the test's, on a thread of its own.

While playwright lives its thread can run no event loop; so the loop, the lake and the server live on another one.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import FileResponse, HTMLResponse
from starlette.routing import Mount, Route

import livelake
from livelake import web

PATIENCE = 30.0
T = TypeVar("T")


def datastar_js() -> Path:
    """Datastar's own client, from the wheel that brings it; it is never copied into the repository."""
    try:
        found = importlib.metadata.distribution("starhtml").locate_file("starhtml/static/js/datastar-core.js")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("starhtml, whose wheel brings Datastar's client, is not installed")
    path = Path(str(found))
    assert path.read_text(encoding="utf-8").startswith("// Datastar v1.")
    return path


class Site:
    """A lake, a dashboard folder, and pages of the test's own at ``/mine``. It can be stopped and started again."""

    def __init__(self, folder: Path, lake: str, page: str = "", *, follow: bool = False) -> None:
        self.folder, self.page, self.requests = folder, page, list[tuple[str, str, dict[str, str]]]()
        self._uri, self._follow, self._port = lake, follow, 0
        self.refuse = 0
        self._start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    def _start(self) -> None:
        self._ready: Future[None] = Future()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._main(),))
        self._thread.start()
        self._ready.result(PATIENCE)

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do it on the site's loop."""
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(PATIENCE)

    def execute(self, sql: str) -> None:
        self.run(lambda: self.lake.execute(sql))

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self._loop.close()

    def restart(self) -> None:
        """On the same port, with a new process' lake and channels."""
        self.stop()
        self._start()

    def cut(self) -> None:
        """End every stream, in order."""
        self.run(lambda: self.app.channels.end(lambda _channel: True))

    async def _main(self) -> None:
        self._end = asyncio.Event()
        try:
            async with livelake.open(self._uri) as self.lake:
                self.app = await web.app(self.lake, self.folder)
                if not self._follow:
                    return await self._serve()
                async with web.reloader(self.app, self.folder):
                    return await self._serve()
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            raise

    async def _serve(self) -> None:
        routes = [
            Route("/mine", lambda _request: HTMLResponse(self.page)),
            Route("/datastar.js", lambda _request: FileResponse(datastar_js(), media_type="text/javascript")),
            Mount("/", self._listened),
        ]
        with web.listen("127.0.0.1", self._port) as listener:
            self._port = listener.getsockname()[1]
            config = uvicorn.Config(Starlette(routes=routes), log_config=None, lifespan="off", timeout_keep_alive=1)
            config.timeout_graceful_shutdown = 1
            server = uvicorn.Server(config)
            server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
            serving = asyncio.ensure_future(server.serve(sockets=[listener]))
            while not server.started:
                assert not serving.done()
                await asyncio.sleep(0.005)
            self._ready.set_result(None) if not self._ready.done() else None
            await self._end.wait()
            await self.app.close()
            server.should_exit = True
            await serving

    async def _listened(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self.requests.append((scope["path"], scope["query_string"].decode(), headers))
        if self.refuse and scope["path"].startswith("/live"):
            self.refuse -= 1
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self.app(scope, receive, send)

    def streams(self) -> list[tuple[str, dict[str, str]]]:
        """(query string, headers) of each stream that was asked for."""
        return [(query, headers) for path, query, headers in self.requests if path.startswith("/live")]
