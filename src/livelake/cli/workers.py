"""Several serving processes behind one socket, and the one that looks after them.

The supervisor holds the listening socket and gives it to each worker, so that a worker which dies takes no waiting
connection with it. Workers are spawned, never forked: neither DuckDB nor a Zenoh session survives a fork. Each has
its own database, cache and bus session; what joins them is the lake's commit log and, for events, the bus.

A pipe leads to each worker. It says once that it is ready, or why it cannot be; when the pipe closes it ends, which
is also how it ends if the supervisor was killed. The supervisor takes the signals; Ctrl-C, which a terminal sends to
all, is ignored by workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NoReturn

from livelake import web
from livelake.cli.bus import BusSettings
from livelake.cli.serving import Serving, serving
from livelake.cli.terminal import begin_output
from livelake.errors import LivelakeError, SourceError
from livelake.events.router import run_router
from livelake.events.router_config import router_config

log = logging.getLogger("livelake.serve")

_READY: Final = ""
_ENDING: Final = 1.5  # seconds that workers have to end; then they are killed
_LAST_RESORT: Final = 3.0  # the same, counted by a worker whose supervisor is gone
_SHORTEST, _LONGEST = 0.1, 5.0  # seconds before another worker is started
_STEADY: Final = 10.0  # seconds after which a worker's death is not held against the next one
_LONGEST_SOCKET: Final = 100  # bytes in the path of a Unix socket; 107 is what Linux takes


async def supervise(settings: Serving, listener: socket.socket, count: int, ready: Callable[[], None]) -> None:
    """Keep ``count`` workers running until cancelled; ``ready()`` when all accept connections.

    Raises what the first of them says if one cannot start. One that dies later is started again, later each time.
    """
    resource_tracker.ensure_running()  # it lets Ctrl-C through while it starts
    places = [_Place(number, settings, listener) for number in range(1, count + 1)]
    tasks = [asyncio.create_task(place.keep()) for place in places]
    tasks.append(asyncio.create_task(_tell(places, ready)))
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _end(places)


@contextlib.asynccontextmanager
async def private_bus() -> AsyncIterator[BusSettings]:
    """A router for the workers of one supervisor: on a Unix socket that only this user can reach."""
    with _private_folder() as folder:
        endpoint = f"unixsock-stream/{folder}/bus.sock"
        listening = asyncio.Event()
        config = router_config([endpoint])
        routing = asyncio.create_task(run_router(config, on_ready=lambda _places: listening.set()))
        waiting = asyncio.create_task(listening.wait())
        try:
            await asyncio.wait((routing, waiting), return_when=asyncio.FIRST_COMPLETED)
            if routing.done():
                routing.result()
            yield BusSettings(connect=(endpoint,))
        finally:
            waiting.cancel()
            routing.cancel()
            await asyncio.gather(routing, waiting, return_exceptions=True)


async def with_private_bus(settings: Serving, listener: socket.socket, count: int, ready: Callable[[], None]) -> None:
    """`supervise`, with a bus of the workers' own."""
    async with private_bus() as bus:
        await supervise(replace(settings, bus=bus), listener, count, ready)


class _Place:
    """One of the places of a supervisor, and whoever works there now."""

    def __init__(self, number: int, settings: Serving, listener: socket.socket) -> None:
        self.ready = asyncio.Event()
        self.process: multiprocessing.process.BaseProcess | None = None
        self.pipe: Connection | None = None
        if settings.bus is not None and number > 1:
            settings = replace(settings, bus=replace(settings.bus, quiet=True))
        settings = replace(settings, keeps_up=number == 1)
        self._number, self._settings, self._listener = number, settings, listener

    async def keep(self) -> None:
        """Have somebody work here until cancelled. Raises `SourceError` if the first one cannot start."""
        pause = _SHORTEST
        while True:
            began = time.monotonic()
            process, pipe = self._start()
            failure = await self._answer(pipe)
            if failure is None:
                self.ready.set()
            elif not self.ready.is_set():
                raise SourceError(failure or f"{self._called(process)} {_fate(process)} before it was ready")
            else:
                self.close()
            await _readable(process.sentinel)
            process.join()
            if time.monotonic() - began > _STEADY:
                pause = _SHORTEST
            why = failure or _fate(process)
            log.warning("%s: %s; another starts in %g s", self._called(process), why, pause)
            self.close()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST)

    def close(self) -> None:
        """Tell whoever works here to end."""
        if self.pipe is not None:
            self.pipe.close()
            self.pipe = None

    def _start(self) -> tuple[multiprocessing.process.BaseProcess, Connection]:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        with theirs, _interrupts_held():
            arguments = (self._settings, self._listener, theirs)
            self.process = context.Process(target=_work, args=arguments, name=f"worker {self._number}", daemon=True)
            self.process.start()
        return self.process, self.pipe

    async def _answer(self, pipe: Connection) -> str | None:
        """None if the worker is ready, else why it cannot be; an empty text if it ended without a word."""
        await _readable(pipe.fileno())
        try:
            said: str = pipe.recv()
        except (EOFError, OSError):
            return ""
        return None if said == _READY else said

    def _called(self, process: multiprocessing.process.BaseProcess) -> str:
        return f"worker {self._number} (process {process.pid})"


async def _tell(places: list[_Place], ready: Callable[[], None]) -> None:
    for place in places:
        await place.ready.wait()
    ready()


async def _end(places: list[_Place]) -> None:
    """End all workers: by themselves if they can in time. Also if we are cancelled again."""
    for place in places:
        place.close()
    left = [place.process for place in places if place.process is not None]
    try:
        await asyncio.wait_for(asyncio.gather(*(_readable(each.sentinel) for each in left)), _ENDING)
    except TimeoutError:
        log.warning("workers that did not end by themselves were killed")
    finally:
        for each in left:
            if each.is_alive():
                each.kill()
            each.join()


def _fate(process: multiprocessing.process.BaseProcess) -> str:
    """How a process that has ended, or is about to, did so."""
    process.join(1.0)
    code = process.exitcode
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"ended with status {code}"


async def _readable(file: int) -> None:
    loop = asyncio.get_running_loop()
    there: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not there.done():
            there.set_result(None)

    loop.add_reader(file, tell)
    try:
        await there
    finally:
        loop.remove_reader(file)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """What is spawned here begins with Ctrl-C held back, until it has said what it thinks of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder of mode 0700 with a name that is short enough for a socket in it."""
    try:
        with contextlib.ExitStack() as stack:
            made = stack.enter_context(TemporaryDirectory(prefix="livelake-bus-", ignore_cleanup_errors=True))
            if len(os.fsencode(made)) + len("/bus.sock") > _LONGEST_SOCKET:
                made = stack.enter_context(
                    TemporaryDirectory(prefix="livelake-bus-", dir="/tmp", ignore_cleanup_errors=True)
                )
            yield Path(made)
    except OSError as error:
        raise SourceError(f"no folder for the workers' bus: {error.strerror}; set TMPDIR to one") from error


# ---------------------------------------------------------------- in the worker


def _work(settings: Serving, listener: socket.socket, pipe: Connection) -> None:
    """The whole life of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    begin_output()

    async def main() -> None:
        await serving(settings, web.dashboards(settings.folder), listener, lambda: pipe.send(_READY))

    try:
        with listener:
            asyncio.run(_until_told(main(), pipe))
    except LivelakeError as error:
        with contextlib.suppress(OSError):  # the supervisor is gone
            pipe.send(str(error) or type(error).__name__)
        _leave(1)
    _leave(0)


def _leave(status: int) -> NoReturn:
    """End now. Everything is closed; the interpreter's last rites take seconds where memory is large."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


async def _until_told(main: Coroutine[Any, Any, None], pipe: Connection) -> None:
    """Run ``main`` until it ends, the supervisor closes the pipe, or somebody sends SIGTERM."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(main)
    loop.add_signal_handler(signal.SIGTERM, task.cancel)

    def stop() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(task.cancel)

    threading.Thread(target=_wait_for_end, args=(pipe, stop), name="livelake-pipe", daemon=True).start()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.result()


def _wait_for_end(pipe: Connection, stop: Callable[[], None]) -> None:
    """A thread of its own, so that it works though the loop should not."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    stop()
    time.sleep(_LAST_RESORT)
    os._exit(1)
