"""What happens to a process that uses a ZenohBus badly; each in a process of its own, for they would hang ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

pytest.importorskip("zenoh", reason="the extra livelake[zenoh] is not installed")

from events.through import Router

HEAD = """
import asyncio, os, sys, threading
from livelake import Event, ZenohBus
endpoint = sys.argv[1]
def event(): return Event(aggregate_type="Todo", aggregate_id="1", event_type="Done")
"""


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    started = Router()
    yield started
    started.kill()


def run(code: str, router: Router | None = None) -> str:
    """What the code prints; fails when it fails, or hangs."""
    argument = router.endpoint if router is not None else "none"
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code, argument], timeout=60, check=False, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("connect", ["[endpoint]", "[]"])
def test_an_interpreter_ends_though_nobody_closed_the_bus(router: Router, connect: str) -> None:
    out = run(
        f"""
async def main():
    global bus
    bus = ZenohBus(connect={connect})
    await bus.open()
    bus.subscribe("events/**", lambda signal: None)
    for _ in range(100): await bus.publish(event())
    print("done", flush=True)
asyncio.run(main())
""",
        router,
    )
    assert out == "done\n"


def test_an_interpreter_ends_after_an_error_in_the_middle(router: Router) -> None:
    out = run(
        """
async def main():
    async with ZenohBus(connect=[endpoint]) as bus:
        bus.subscribe("events/**", lambda signal: None)
        raise ZeroDivisionError
try: asyncio.run(main())
except ZeroDivisionError: print("raised", threading.active_count())
""",
        router,
    )
    assert out == "raised 1\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_is_told_and_does_not_hang(router: Router) -> None:
    out = run(
        """
from livelake.errors import UsageError
async def main():
    bus = ZenohBus(connect=[endpoint])
    await bus.open()
    child = os.fork()
    if child == 0:
        try:
            bus.publish_nowait(event())
        except UsageError as error:
            print("used:", "spawn" in str(error), flush=True)
        try:
            await ZenohBus(connect=[endpoint]).open()
        except UsageError as error:
            print("opened:", "spawn" in str(error), flush=True)
        await bus.close()
        print("closed", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    await bus.publish(event())
    await bus.close()
    print("parent goes on")
asyncio.run(main())
""",
        router,
    )
    assert out == "used: True\nopened: True\nclosed\nparent goes on\n"


def test_importing_livelake_needs_no_zenoh_and_using_the_bus_says_what_to_install() -> None:
    out = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.modules['zenoh'] = None\n"
            "import livelake, asyncio\n"
            "bus = livelake.ZenohBus()\n"
            "try: asyncio.run(bus.open())\n"
            "except livelake.errors.UsageError as error: print(error)\n",
        ],
        timeout=60,
        check=True,
        text=True,
        capture_output=True,
    ).stdout
    assert "pip install 'livelake[zenoh]'" in out
