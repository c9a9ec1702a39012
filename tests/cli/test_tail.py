"""``livelake tail`` as a user meets it: through a real router, in a process of its own."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

pytest.importorskip("zenoh", reason="the extra livelake[zenoh] is not installed")

from events.routers import running
from events.through import until
from livelake import Event, KeyExpr, ZenohBus
from livelake.cli.tail import _json, _text
from livelake.events import Change, Doubt

PATIENCE = 45.0
NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def router() -> Iterator[str]:
    with running("--listen", "tcp/127.0.0.1:0") as endpoint:
        yield endpoint


@pytest.fixture
async def bus(router: str) -> AsyncIterator[ZenohBus]:
    async with ZenohBus(connect=[router], timeout=PATIENCE) as opened:
        yield opened


def done(n: int = 1, **fields: Any) -> Event:
    return Event(aggregate_type="Todo", aggregate_id="42", event_type="Done", payload={"n": n}, **fields)


def listening(process: subprocess.Popen[str]) -> None:
    """Wait until it hears."""
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("livelake tail hears "), line + str(process.communicate())


class Lines:
    """The lines of a process, read as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.found: list[str] = []
        assert process.stdout is not None
        self._file = process.stdout
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._file:
            self.found.append(line.rstrip("\n"))

    async def reached(self, bus: ZenohBus) -> None:
        """Publish until it is shown: a publisher hears a little later than others that somebody wants its events."""
        while not self.of("Hello"):
            await bus.publish(Event(aggregate_type="Todo", aggregate_id="hello", event_type="Hello"))
            await asyncio.sleep(0.02)

    def of(self, word: str) -> list[str]:
        return [line for line in self.found if word in line]


async def test_each_event_is_a_line(start: Any, router: str, bus: ZenohBus) -> None:
    process = start("tail", "events/Todo/**", "--connect", router)
    lines = Lines(process)
    await asyncio.to_thread(listening, process)
    await lines.reached(bus)
    await bus.publish(Event(aggregate_type="User", aggregate_id="1", event_type="Born"))
    for n in range(3):
        await bus.publish(done(n))
    await until(lambda: len(lines.of("Done")) == 3)
    form = r'\d\d:\d\d:\d\d\.\d{3}  events/Todo/42/\d  Done  {"n": \d}'
    assert all(re.fullmatch(form, line) for line in lines.of("Done")), lines.found
    await bus.invalidate("events/*/42/**")
    await until(lambda: lines.of("(change)"))
    assert "events/*/42/**" in lines.of("(change)")[0]
    assert not lines.of("Born")
    process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(process.wait, PATIENCE) == 0
    assert not lines.of("the bus was closed")
    assert process.stderr.read() == ""


async def test_json_is_a_line_each(start: Any, router: str, bus: ZenohBus) -> None:
    process = start("tail", "--connect", router, "--format", "json")
    lines = Lines(process)
    await asyncio.to_thread(listening, process)
    await lines.reached(bus)
    await bus.publish(done(7, time=NOON, origin="a test"))
    await until(lambda: lines.of('"Done"'))
    (told,) = [json.loads(line) for line in lines.of('"Done"')]
    assert datetime.fromisoformat(told.pop("heard"))
    assert told == {
        "kind": "event",
        "key": "events/Todo/42/1",
        "aggregate_type": "Todo",
        "aggregate_id": "42",
        "event_type": "Done",
        "sequence": 1,
        "payload": {"n": 7},
        "time": "2024-01-15T12:00:00+00:00",
        "origin": "a test",
    }
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, PATIENCE) == 0


async def test_it_ends_after_so_many_lines(start: Any, router: str, bus: ZenohBus) -> None:
    process = start("tail", "--connect", router, "--count", "2")
    await asyncio.to_thread(listening, process)
    while process.poll() is None:
        await bus.publish(done())
        await asyncio.sleep(0.02)
    output, errors = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
    assert (process.returncode, len(output.splitlines()), errors) == (0, 2, "")


async def test_what_may_be_missed_is_told(start: Any) -> None:
    with running("--listen", "tcp/127.0.0.1:0") as endpoint:
        process = start("tail", "--connect", endpoint)
        lines = Lines(process)
        await asyncio.to_thread(listening, process)
    await until(lambda: lines.of("(doubt"))  # the router is gone
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(process.wait, PATIENCE) == 0


async def test_a_reader_that_has_seen_enough_ends_it_quietly(start: Any, router: str) -> None:
    process = start("tail", "--connect", router)
    await asyncio.to_thread(listening, process)
    process.stdout.close()  # though nothing comes that would be written
    assert await asyncio.to_thread(process.wait, PATIENCE) == 0
    assert process.stderr.read() == ""
    process.stdout = None


async def test_a_reader_that_stopped_reading_does_not_keep_it(start: Any, router: str, bus: ZenohBus) -> None:
    process = start("tail", "--connect", router)
    await asyncio.to_thread(listening, process)
    while waiting(process) < 60_000:  # as much as a pipe holds
        await bus.publish(Event(aggregate_type="Todo", aggregate_id="1", event_type="Done", payload="x" * 10_000))
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(process.wait, PATIENCE) == 0


def waiting(process: subprocess.Popen[str]) -> int:
    """Bytes that were written and not read."""
    assert process.stdout is not None
    return int(struct.unpack("i", fcntl.ioctl(process.stdout, termios.FIONREAD, b"\0\0\0\0"))[0])


HOSTILE = "\x1b]0;owned\x07\x1b[31m\r\nlivelake: all is well\x7f\x9b31m\u202e\u2028"


def signals() -> list[Any]:
    event = Event(aggregate_type=HOSTILE, aggregate_id=HOSTILE, event_type=HOSTILE, payload={HOSTILE: HOSTILE})
    return [
        event.numbered(1),
        Change(KeyExpr("events/a/**"), HOSTILE),
        Doubt(KeyExpr("events/a/**"), HOSTILE, HOSTILE),
    ]


@pytest.mark.parametrize("said", signals(), ids=lambda said: type(said).__name__)
def test_a_terminal_obeys_nothing_that_an_event_says(said: Any) -> None:
    text = _text(NOON, said, columns=None)
    assert text.isprintable()
    assert len(_text(NOON, said, columns=60)) <= 60
    line = _json(NOON, said)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["key"] == said.key


def test_a_time_of_the_event_is_shown_before_that_of_its_arrival() -> None:
    late = datetime(2024, 1, 15, 13, 30, tzinfo=UTC)
    shown = _text(late, done().numbered(1), columns=None)
    assert shown.startswith(f"{late.astimezone():%H:%M:%S}.000  events/Todo/42/1  Done")
    assert _text(late, done(time=NOON).numbered(1), columns=None).startswith(f"{NOON.astimezone():%H:%M:%S}.000")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["events//x"], "events//x"),
        (["--connect", "foo/1"], "'foo/1' is no endpoint"),
        (["--connect", "tcp/127.0.0.1:1", "--timeout", "0.3"], "cannot open Zenoh at tcp/127.0.0.1:1"),
    ],
)
def test_what_cannot_be_heard_is_one_line(run: Any, arguments: list[str], why: str) -> None:
    ended = run("tail", *arguments, env=os.environ)
    (line,) = ended.stderr.splitlines()
    assert (ended.returncode, ended.stdout) == (1, "")
    assert line.startswith("livelake: ")
    assert why in line
