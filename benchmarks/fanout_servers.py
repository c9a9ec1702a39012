"""The servers that `fanout` compares: ``python -m benchmarks.fanout_servers KIND PORT [--fast]``.

Each has ``GET /live``, a stream, and ``POST /publish``, whose body becomes the next event for everybody. Ours are the
library's own parts (`Broadcast`, `Stream`, `serve`) under a source of frames that costs nothing. ``--fast``: uvloop
and httptools, where they are installed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from livelake import web
from livelake.web.datastar import patch_elements
from livelake.web.fanout import Broadcast
from livelake.web.stream import STREAM, Pulse, Stream


class Ours:
    """A broadcast behind routes, as `livelake.web.App` has it."""

    def __init__(self) -> None:
        self.broadcast = Broadcast(asyncio.get_running_loop().call_soon)
        self._pulse = Pulse(lambda: datetime.now(UTC), 3_600)
        self._asgi = Starlette(
            routes=[Route("/live", _Endpoint(self._live)), Route("/publish", self._publish, methods=["POST"])]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._asgi(scope, receive, send)
        if (stream := scope.get(STREAM)) is not None:
            await stream(scope, receive, send)

    async def close(self) -> None:
        self.broadcast.close()

    async def _live(self, _request: Request) -> ASGIApp:
        return Stream(self.broadcast, None, self._pulse, lambda: None)

    async def _publish(self, request: Request) -> Response:
        self.broadcast.show({"panel": patch_elements((await request.body()).decode())})
        return Response(status_code=204)


class _Endpoint:
    def __init__(self, handler: Callable[[Request], Any]) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._handler(Request(scope, receive, send))
        if isinstance(answer, Response):
            await answer(scope, receive, send)
        else:
            scope[STREAM] = answer


def queues() -> ASGIApp:
    """What is usually written: Starlette's StreamingResponse, and a queue for each viewer."""
    viewers: set[asyncio.Queue[bytes]] = set()

    async def live(_request: Request) -> Response:
        async def events() -> AsyncIterator[bytes]:
            queue: asyncio.Queue[bytes] = asyncio.Queue()
            viewers.add(queue)
            try:
                while True:
                    yield await queue.get()
            finally:
                viewers.discard(queue)

        return StreamingResponse(events(), media_type="text/event-stream")

    async def publish(request: Request) -> Response:
        frame = patch_elements((await request.body()).decode())
        for queue in viewers:
            queue.put_nowait(frame)
        return Response(status_code=204)

    return Starlette(routes=[Route("/live", live), Route("/publish", publish, methods=["POST"])])


def sse_starlette(*, encoded: bool) -> ASGIApp:
    """sse-starlette: given dictionaries, as it documents, or bytes that are encoded once."""
    from sse_starlette import EventSourceResponse

    viewers: set[asyncio.Queue[Any]] = set()

    async def live(_request: Request) -> Response:
        async def events() -> AsyncIterator[Any]:
            queue: asyncio.Queue[Any] = asyncio.Queue()
            viewers.add(queue)
            try:
                while True:
                    yield await queue.get()
            finally:
                viewers.discard(queue)

        return EventSourceResponse(events(), ping=3_600)

    number = 0

    async def publish(request: Request) -> Response:
        nonlocal number
        number += 1
        text = (await request.body()).decode()
        event: Any = {"event": "datastar-patch-elements", "id": str(number), "data": f"elements {text}"}
        if encoded:
            event = patch_elements(text, id=str(number))
        for queue in viewers:
            queue.put_nowait(event)
        return Response(status_code=204)

    return Starlette(routes=[Route("/live", live), Route("/publish", publish, methods=["POST"])])


async def _uvicorn(app: ASGIApp, port: int) -> None:
    import uvicorn

    config = uvicorn.Config(app, log_config=None, log_level="critical", access_log=False, lifespan="off")
    with web.listen("127.0.0.1", port) as listener:
        await uvicorn.Server(config).serve([listener])


async def _main(kind: str, port: int) -> None:
    if kind == "serve":
        with web.listen("127.0.0.1", port) as listener:
            await web.serve(Ours(), listener)  # type: ignore[arg-type]
    elif kind == "asgi":
        await _uvicorn(Ours(), port)
    elif kind == "mounted":
        await _uvicorn(Starlette(routes=[Mount("/", Ours())], middleware=[Middleware(_Passing)]), port)
    elif kind == "queues":
        await _uvicorn(queues(), port)
    else:
        await _uvicorn(sse_starlette(encoded=kind == "sse-starlette bytes"), port)


class _Passing:
    """Middleware as applications have it: it looks at the messages and lets them pass."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def passing(message: Any) -> None:
            await send(message)

        await self._app(scope, receive, passing)


KINDS = ("serve", "asgi", "mounted", "queues", "sse-starlette", "sse-starlette bytes")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("port", type=int)
    parser.add_argument("--fast", action="store_true")
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    factory = None
    if given.fast:
        import httptools  # noqa: F401 - uvicorn takes it where it is installed
        import uvloop

        factory = uvloop.new_event_loop
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_main(given.kind, given.port))


if __name__ == "__main__":
    main()
