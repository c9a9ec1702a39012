"""What ``livelake router --listen ENDPOINT --insecure`` runs, without the command line: half the time to start."""

from __future__ import annotations

import asyncio
import sys

from livelake.events.router import run_router
from livelake.events.router_config import router_config

if __name__ == "__main__":
    asyncio.run(run_router(router_config([sys.argv[1]]), on_ready=lambda places: print(*places, flush=True)))
