"""A Zenoh router in a process of its own, for tests; and waiting for a condition."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

CODE = """
import signal, sys, threading, zenoh
session, stop = zenoh.open(zenoh.Config.from_json5(sys.argv[1])), threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
print("READY", flush=True)
stop.wait()
session.close()
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Router:
    """Started with it; `kill`, `freeze` and `start` as often as wanted; always on the same port."""

    def __init__(self) -> None:
        self.endpoint = f"tcp/127.0.0.1:{free_port()}"
        self.start()

    def start(self) -> None:
        config = {
            "mode": "router",
            "listen": {"endpoints": [self.endpoint]},
            "scouting": {"delay": 0, "multicast": {"enabled": False}, "gossip": {"enabled": False}},
            "transport": {"link": {"tx": {"lease": 1000}}, "shared_memory": {"enabled": False}},
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", CODE, json.dumps(config)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "READY\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)
        if self.process.stdout is not None:
            self.process.stdout.close()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until it is so; fail with what it looks like if it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.002)
