"""``livelake publish`` as a user meets it: through a real router, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

pytest.importorskip("zenoh", reason="the extra livelake[zenoh] is not installed")

from events.routers import running
from events.through import until
from livelake import Event, Token, ZenohBus
from livelake.events import Signal

PATIENCE = 45.0
SECRET = "hush-hush"


@pytest.fixture(scope="module")
def router() -> Iterator[str]:
    with running("--listen", "tcp/127.0.0.1:0") as endpoint:
        yield endpoint


@pytest.fixture
async def bus(router: str) -> AsyncIterator[ZenohBus]:
    async with ZenohBus(connect=[router], timeout=PATIENCE) as opened:
        yield opened


def failed(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a failure."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("livelake: ")
    assert "Traceback" not in line
    return line


async def heard(bus: ZenohBus, run: Any, *arguments: str) -> tuple[Event, subprocess.CompletedProcess[str]]:
    """What others heard of a command, and what it said."""
    events: list[Signal] = []
    with bus.subscribe("events/**", lambda signal: events.append(signal) if isinstance(signal, Event) else None):
        done = await asyncio.to_thread(run, "publish", *arguments)
        assert done.returncode == 0, done.stderr
        await until(lambda: events)
    (event,) = events
    assert isinstance(event, Event)
    return event, done


async def test_an_event_reaches_others(run: Any, router: str, bus: ZenohBus) -> None:
    arguments = ["Todo", "42", "Done", '{"by": ["Ada", 1.5, null]}', "--connect", router]
    event, done = await heard(bus, run, *arguments)
    assert (event.key, event.event_type, event.payload) == ("events/Todo/42/1", "Done", {"by": ["Ada", 1.5, None]})
    assert event.time is not None
    assert event.origin == "livelake publish"
    assert done.stderr == ""
    assert done.stdout.startswith("published events/Todo/42/1, token ")


async def test_its_token_is_reached_elsewhere(run: Any, router: str, bus: ZenohBus) -> None:
    bus.subscribe("events/**", lambda _signal: None)
    done = run("publish", "Todo", "a/b *ü", "Done", "--connect", router, "--format", "token")
    token = Token.parse(done.stdout.strip())
    assert token.positions
    await bus.reached(token, timeout=PATIENCE)


async def test_json_is_for_programs(run: Any, router: str, bus: ZenohBus) -> None:
    event, done = await heard(
        bus, run, "Todo", "a/b *ü", "Done", "--sequence", "7", "--connect", router, "-f", "json"
    )
    told = json.loads(done.stdout)
    assert (event.aggregate_id, event.sequence, event.payload) == ("a/b *ü", 7, None)
    assert told["key"] == event.key == "events/Todo/a%2Fb%20%2A%C3%BC/7"
    assert Token.parse(told["token"])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["Todo", "1", "Done", "{bad"], "the payload '{bad' is no JSON"),
        (["Todo", "1", "Done", "NaN"], "payload holds nan"),
        (["Todo", "1", "Done", "[" * 65 + "]" * 65], "more than 64 deep"),
        (["Todo", "1", "Done", "[" * 100_000], "no JSON"),
        (["", "1", "Done"], "aggregate_type is empty"),
        (["Todo", "x" * 60_000, "Done"], "too long a key"),
        (["Todo", "1", "Done", "--connect", "localhost"], "'localhost' is no endpoint"),
        (["Todo", "1", "Done", "--user", "ada"], "$LIVELAKE_PASSWORD is not set"),
        (["Todo", "1", "Done", "--tls-key", "none.pem"], "private_key and no certificate"),
        (["Todo", "1", "Done", "--tls-ca", "none.pem"], "none.pem cannot be read"),
    ],
)
def test_what_cannot_be_published_is_one_line(run: Any, arguments: list[str], why: str) -> None:
    assert why in failed(run("publish", *arguments))


def test_no_router_is_one_line_in_time(run: Any) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        place = f"tcp/127.0.0.1:{nobody.getsockname()[1]}"
        began = time.monotonic()
        line = failed(run("publish", "Todo", "1", "Done", "--connect", place, "--timeout", "0.5"))
    assert f"cannot open Zenoh at {place}" in line
    assert "livelake router" in line
    assert time.monotonic() - began < PATIENCE / 2


def test_a_password_comes_from_the_environment_and_is_not_shown(run: Any, tmp_path: Any) -> None:
    users = tmp_path / "users"
    users.write_text(f"ada:{SECRET}\n")
    users.chmod(0o600)
    with running("--listen", "tcp/127.0.0.1:0", "--users", users) as endpoint:
        arguments = ["publish", "Todo", "1", "Done", "--connect", endpoint, "--user", "ada", "--timeout", "2"]
        right = run(*arguments, env=os.environ | {"LIVELAKE_PASSWORD": SECRET})
        wrong = run(*arguments, env=os.environ | {"LIVELAKE_PASSWORD": SECRET + "x"})
    assert right.returncode == 0, right.stderr
    assert SECRET not in failed(wrong)
