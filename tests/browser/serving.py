"""Servers and writers in processes of their own, for tests that look at them with a browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WRITER = """
import asyncio, livelake, sys, time
async def main():
    async with livelake.open(sys.argv[1]) as lake:
        print("ready", flush=True)
        for sql in sys.stdin:
            await lake.execute(sql)
            print(time.time(), flush=True)
asyncio.run(main())
"""


@dataclass
class Processes:
    """Those that a test has started; killed when it ends."""

    folder: Path
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *command: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "TMPDIR": str(self.folder)}
        pipes: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "text": True,
            "env": environment,
        }
        process = subprocess.Popen([sys.executable, *command], cwd=self.folder, **pipes)
        self.running.append(process)
        return process

    def serve(self, *command: str) -> tuple[subprocess.Popen[str], str]:
        """Start a server; the address that it announces."""
        process = self.start("-m", "livelake", *command)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        return process, found[0]

    def writer(self) -> subprocess.Popen[str]:
        process = self.start("-c", WRITER, f"ducklake:sqlite:{self.folder}/shop.sqlite")
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def close(self) -> None:
        for process in self.running:
            process.kill()
            process.communicate()


def commit(writer: subprocess.Popen[str], sql: str) -> float:
    """Have another process commit; the moment at which it had."""
    assert writer.stdin is not None
    assert writer.stdout is not None
    writer.stdin.write(" ".join(sql.split("\n")) + "\n")
    writer.stdin.flush()
    return float(writer.stdout.readline())
