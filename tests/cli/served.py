"""Servers as their clients see them: requests, viewers, worker processes, and waiting for a condition."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import httpx
import psutil

PATIENCE = 45.0
SECRET = "open-sesame-open-sesame"
EVENT = {"aggregate_type": "Todo", "aggregate_id": "42", "event_type": "Done"}


def failed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("livelake: ")
    return line


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.01)


def get(url: str, **headers: str) -> Any:
    """JSON, by a connection of its own."""
    named = {name.replace("_", "-"): value for name, value in headers.items()} | {"Connection": "close"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=named), timeout=PATIENCE) as answer:
        return json.load(answer)


def post(url: str, event: Any = None, token: str = SECRET) -> str:
    """Publish; the token that comes back."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps(event or EVENT).encode()
    request = urllib.request.Request(f"{url}events", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        assert answer.status == 202
        told = json.load(answer)
        assert answer.headers["livelake-as-of"] == told["token"]
        return str(told["token"])


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def by_worker(url: str, count: int, condition: Callable[[Any], bool] = lambda _health: True) -> bool:
    """Whether so many workers have told, within some requests, that they are as wanted."""
    return len({health["process"] for _ in range(20 * count) if condition(health := get(f"{url}healthz"))}) >= count


class Page:
    """A viewer: what its stream has shown last."""

    def __init__(self, url: str) -> None:
        self._url, self.text = f"{url}live/shop", ""

    async def __aenter__(self) -> Page:
        self._client = httpx.AsyncClient(timeout=PATIENCE)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._client.aclose()

    async def _read(self) -> None:
        async with self._client.stream("GET", self._url) as answer:
            async for line in answer.aiter_lines():
                self.text += line + "\n"

    def shows(self, title: str, n: int) -> bool:
        """Whether the newest state of that panel has this number."""
        panels = re.findall(rf'<section id="panel-{title}".*?</section>', self.text, re.DOTALL)
        return bool(panels) and bool(re.search(rf">\s*{n}\s*<", panels[-1]))
