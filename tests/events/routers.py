"""``livelake router`` in a process of its own, for tests; killed when the block ends."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def running(*options: object, **environment: str) -> Iterator[str]:
    """The first endpoint that a router with these options listens on. It runs until the block ends."""
    command = [sys.executable, "-m", "livelake", "router", *map(str, options)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if " listens on " not in line:
                process.kill()
                raise AssertionError(f"no router: {line}{process.communicate()[1]}")
            yield line.partition(" listens on ")[2].split()[0].rstrip(",")
        finally:
            process.kill()
            process.communicate()
