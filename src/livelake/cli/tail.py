"""``tail``: what goes over a bus, a line each, as it comes.

A thread of its own writes: a reader that has stopped reading stops that thread, never the bus, nor the end of the
command. It writes to the file itself, for an interpreter that ends cannot take the lock of a buffer from it. Between
is a bounded queue; what does not fit is counted and told.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import queue
import select
import shutil
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, assert_never

import click

from livelake.cli.bus import BusSettings, connect_options, credentials
from livelake.cli.ending import run, stoppable
from livelake.cli.terminal import clean, shorten
from livelake.events import Change, Doubt, Event, Signal
from livelake.keys import KeyExpr

Format = Literal["text", "json"]

_MOST: Final = 65_536  # signals that wait to be written
_LOOK: Final = 0.2  # seconds between looks whether anybody still reads


@click.command(short_help="Show events as they come, a line each.")
@click.argument("keyexpr", metavar="[KEYEXPR]", default="events/**")
@connect_options
@click.option("--format", "-f", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--count", "-n", type=click.IntRange(min=1), help="End after so many lines.")
def tail(
    keyexpr: str,
    connect: tuple[str, ...],
    timeout: float,
    format: Format,  # noqa: A002
    count: int | None,
    **login: Path | str | None,
) -> None:
    """Show what is published at a router, until Ctrl-C: time, key, event type, payload.

    KEYEXPR is events/** unless given. A doubt says that something under its key may have been missed.
    """
    wanted = KeyExpr(keyexpr)
    settings = BusSettings(connect=connect, credentials=credentials(**login), timeout=timeout)  # type: ignore[arg-type]
    sys.stdout.flush()

    async def main() -> None:
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        written = _json if format == "json" else functools.partial(_text, columns=columns)
        lines = _Lines(sys.stdout.fileno(), written, count, lambda: _call(loop, over.set))
        async with settings.bus() as bus:
            with bus.subscribe(wanted, lines.put):  # ended first: the bus's last doubt is not for people
                lines.start()
                click.echo(f"livelake tail hears {wanted} at {', '.join(connect)} (Ctrl-C ends it)", err=True)
                await over.wait()
        lines.check()

    with stoppable():
        run(main())


class _Lines:
    """Signals that are to be written, and the thread that writes them; ``over()`` is called when it has ended."""

    def __init__(
        self, file: int, written: Callable[[datetime, Signal], str], count: int | None, over: Callable[[], None]
    ) -> None:
        self._file, self._written, self._left, self._over = file, written, count, over
        self._queue: queue.Queue[tuple[datetime, Signal]] = queue.Queue(_MOST)
        self._missed = 0
        self._failure: OSError | None = None

    def put(self, signal: Signal) -> None:
        """A handler of the bus."""
        try:
            self._queue.put_nowait((datetime.now(UTC), signal))
        except queue.Full:
            self._missed += 1

    def start(self) -> None:
        threading.Thread(target=self._run, name="livelake-tail", daemon=True).start()

    def check(self) -> None:
        """Raise what ended the writing, if that was not its reader."""
        if self._failure is not None and not isinstance(self._failure, BrokenPipeError):
            raise self._failure

    def _run(self) -> None:
        try:
            while self._left is None or self._left > 0:
                try:
                    heard, signal = self._queue.get(timeout=_LOOK)
                except queue.Empty:
                    if _is_forsaken(self._file):
                        return
                    continue
                if self._missed:
                    missed, self._missed = self._missed, 0
                    print(f"livelake: {missed:,} lines were left out: their reader is too slow", file=sys.stderr)
                self._write(self._written(heard, signal))
                self._left = None if self._left is None else self._left - 1
        except OSError as error:
            self._failure = error
        finally:
            self._over()

    def _write(self, line: str) -> None:
        data = (line + "\n").encode(sys.stdout.encoding, "backslashreplace")
        while data:
            try:
                data = data[os.write(self._file, data) :]
            except BlockingIOError:
                select.select([], [self._file], [])


def _text(heard: datetime, signal: Signal, *, columns: int | None) -> str:
    """For people, in so many columns. Nothing in it is obeyed by a terminal."""
    match signal:
        case Event():
            when = heard if signal.time is None else signal.time
            what = clean(signal.event_type)
            if signal.payload is not None:
                what += "  " + json.dumps(signal.payload, ensure_ascii=False, separators=(", ", ": "))
        case Change():
            when, what = heard, "(change) anything under this key may have changed"
        case Doubt():
            of = "" if signal.source is None else f" of {signal.source}"
            when, what = heard, f"(doubt: {signal.reason}) something{of} may have been missed"
        case _:
            assert_never(signal)
    line = clean(f"{when.astimezone():%H:%M:%S.%f}"[:-3] + f"  {signal.key}  {what}")
    return line if columns is None else shorten(line, columns)


def _json(heard: datetime, signal: Signal) -> str:
    """For programs: one object, all ASCII."""
    told: dict[str, object] = {"kind": type(signal).__name__.lower(), "heard": heard.isoformat(), "key": signal.key}
    match signal:
        case Event():
            told |= {name: getattr(signal, name) for name in Event.__struct_fields__}
            told["time"] = None if signal.time is None else signal.time.isoformat()
        case Change():
            told["source"] = signal.source
        case Doubt():
            told |= {"reason": signal.reason, "source": signal.source}
        case _:
            assert_never(signal)
    return json.dumps(told).replace("\x7f", "\\u007f")


def _is_forsaken(file: int) -> bool:
    """Whether whoever read the pipe has gone."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(file, 0)
    return any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))


def _call(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(what)
