"""What does a cached answer of 200 rows cost over HTTP, against FastAPI returning bytes that were made before?

Two applications on the same server (uvicorn, as `livelake serve` sets it up, a process each), asked in turns by one
client: a bare socket that keeps its connection, and pipelines so that the client's own work does not count twice.
FastAPI's route does nothing but return a `Response` over the very bytes that livelake answers with. The measure is
the server's own CPU time a request, from ``/proc``, so that the client and whoever else is on the machine do not
matter; the wall clock is reported beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import multiprocessing
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import Bar, Contender, Report, Settings, Timing, compare

ROWS = 200
SQL = (
    "SELECT i AS id, 'customer ' || i AS name, i * 1.25 AS amount, DATE '2024-01-01' + i::INTEGER AS day, "
    f"i % 3 = 0 AS paid FROM range({ROWS}) r(i) ORDER BY i"
)
LIVELAKE, PAGE_304, GZIP = "livelake, 200", "livelake, 304", "livelake, 200 gzip"
FASTAPI, STARLETTE = "FastAPI, prebuilt bytes", "Starlette, prebuilt bytes"
_PATH = "/queries/rows"
_DEPTH = 16  # requests on the wire at once


def run(settings: Settings) -> Report:
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Server(_livelake, stack.enter_context(tempfile.TemporaryDirectory())))
        body, etag = ours.fetch()
        contenders = {
            LIVELAKE: (ours, b""),
            PAGE_304: (ours, f"If-None-Match: {etag}\r\n".encode()),
            GZIP: (ours, b"Accept-Encoding: gzip\r\n"),
            STARLETTE: (stack.enter_context(Server(_starlette, body)), b""),
        }
        baseline, notes = FASTAPI, []
        if importlib.util.find_spec("fastapi") is None:
            baseline, notes = STARLETTE, ["FastAPI is not installed: Starlette stands in for it"]
        else:
            contenders[FASTAPI] = (stack.enter_context(Server(_fastapi, body)), b"")
        for server, _ in contenders.values():
            assert server.fetch()[0] == body
        return _report(*_measure(contenders, settings), baseline, notes)


def _measure(contenders: dict[str, tuple[Server, bytes]], settings: Settings) -> tuple[Timing, Timing]:
    """By the wall clock, and by the servers' CPU."""
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    counts: dict[str, int] = {}

    def asking(name: str, server: Server, extra: bytes) -> Contender:
        def ask(n: int) -> None:
            before = server.cpu_ns()
            server.ask(n, extra)
            spent[name].append((server.cpu_ns() - before) / n)
            counts[name] = n

        return ask

    operations = 50 if settings.quick else 500
    timing = asyncio.run(
        compare({name: asking(name, *each) for name, each in contenders.items()}, settings, operations=operations)
    )
    return timing, Timing(spent, counts)


def _report(timing: Timing, cpu: Timing, baseline: str, notes: list[str]) -> Report:
    rows = []
    for (name, *by_cpu), (_, *by_clock) in zip(cpu.rows(baseline), timing.rows(baseline), strict=True):
        rows.append((name, *by_cpu, by_clock[0], by_clock[1]))
    # "≥ 0.7 × the requests per second" is "at most 1 / 0.7 of the time".
    bars = [Bar(f"server CPU a request, {LIVELAKE} / {baseline}", cpu.ratio(LIVELAKE, baseline), 1 / 0.7)]
    rate = 1 / cpu.ratio(LIVELAKE, baseline)
    return Report(
        question=f"What does a cached answer of {ROWS} rows cost over HTTP? (ratios to {baseline})",
        columns=("contender", "CPU", "ratio", "rounds", "wall clock", "ratio"),
        rows=rows,
        bars=bars,
        notes=[f"requests a CPU-second: {rate:.2f} × {baseline} (bar 0.7)", *notes],
        raw={"wall": timing.raw(), "cpu": cpu.raw()},
    )


class Server:
    """An application in a process of its own, and one connection to it."""

    def __init__(self, serve: Callable[..., None], argument: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._ready, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(argument, theirs), daemon=True)

    def __enter__(self) -> Server:
        self._process.start()
        if not self._ready.poll(60):
            raise RuntimeError("the server did not start")
        self.port = self._ready.recv()
        self._socket = socket.create_connection(("127.0.0.1", self.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.join(30)

    def cpu_ns(self) -> int:
        """Of all its threads, since it began."""
        tasks = Path(f"/proc/{self._process.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())

    def fetch(self, path: str = _PATH) -> tuple[bytes, str]:
        """The body and its ETag."""
        self._socket.sendall(_request(path, b""))
        head, body = _response(self._socket, bytearray())
        etag = next(
            (line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"etag")), b""
        )
        return body, etag.strip().decode()

    def ask(self, n: int, extra: bytes, path: str = _PATH) -> None:
        """``n`` requests, with lines added to the head of each."""
        request, left, rest = _request(path, extra), n, bytearray()
        while left:
            some = min(_DEPTH, left)
            self._socket.sendall(request * some)
            for _ in range(some):
                _response(self._socket, rest)
            left -= some


def _request(path: str, extra: bytes) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n".encode() + extra + b"\r\n"


def _response(connection: socket.socket, rest: bytearray) -> tuple[bytes, bytes]:
    """Head and body of the next response; ``rest`` is what was read past the one before."""
    while (end := rest.find(b"\r\n\r\n")) < 0:
        rest += connection.recv(262_144)
    head = bytes(rest[:end]).lower()
    assert head.startswith((b"http/1.1 200", b"http/1.1 304")), head
    length = 0
    if b"content-length:" in head:
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    while len(rest) < end + 4 + length:
        rest += connection.recv(262_144)
    body = bytes(rest[end + 4 : end + 4 + length])
    original = bytes(rest[:end])
    del rest[: end + 4 + length]
    return original, body


# -------------------------------------------------------------------- served


def _livelake(folder: str, ready: Any) -> None:
    import livelake
    from livelake import web

    queries = Path(folder) / "bench"
    queries.mkdir()
    (queries / "rows.sql").write_text(SQL)

    async def main() -> None:
        async with livelake.open(":memory:") as lake:
            app = await web.app(lake, queries)
            with web.listen("127.0.0.1", 0) as listener:
                await web.serve(app, listener, lambda: ready.send(listener.getsockname()[1]))

    asyncio.run(main())


def _fastapi(body: bytes, ready: Any) -> None:
    import fastapi

    app = fastapi.FastAPI()

    @app.get("/queries/rows")
    async def rows() -> fastapi.Response:
        return fastapi.Response(body, media_type="application/json")

    _uvicorn(app, ready)


def _starlette(body: bytes, ready: Any) -> None:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def rows(_request: Request) -> Response:
        return Response(body, media_type="application/json")

    _uvicorn(Starlette(routes=[Route("/queries/rows", rows)]), ready)


def _uvicorn(app: Any, ready: Any) -> None:
    """As `web.serve` sets it up."""
    import uvicorn

    from livelake import web

    with web.listen("127.0.0.1", 0) as listener:
        config = uvicorn.Config(
            app, log_config=None, log_level="critical", access_log=False, lifespan="off", server_header=False
        )
        ready.send(listener.getsockname()[1])
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
