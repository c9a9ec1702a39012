"""How the rig talks with its processes: a line of JSON each way."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import Any

Order = dict[str, Any]


def orders() -> asyncio.Queue[Order]:
    """What comes on stdin; ``{"do": "stop"}`` at its end. A thread reads: it is a daemon, for stdin may block."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Order] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(queue.put_nowait, json.loads(line))
        loop.call_soon_threadsafe(queue.put_nowait, {"do": "stop"})

    threading.Thread(target=read, daemon=True).start()
    return queue


def answer(**what: Any) -> None:
    print(json.dumps(what), flush=True)
