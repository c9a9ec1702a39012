"""What the command-line tests share: the real command in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PATIENCE = 45.0

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``livelake …`` to its end, in ``tmp_path``."""

    def call(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "livelake", *arguments]
        given = {"cwd": tmp_path, "capture_output": True, "text": True, "encoding": "utf-8", "timeout": PATIENCE}
        return subprocess.run(command, check=False, **{**given, **options})  # type: ignore[call-overload,no-any-return]

    return call


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """``livelake …`` left running, with pipes; killed when the test ends."""
    processes: list[subprocess.Popen[str]] = []

    def call(*arguments: str, **options: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "livelake", *arguments]
        given = {
            "cwd": tmp_path,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "env": os.environ,
        }
        process = subprocess.Popen(command, **{**given, **options})  # type: ignore[call-overload]
        processes.append(process)
        return process  # type: ignore[no-any-return]

    yield call
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def fetch() -> Callable[[str], bytes]:
    """What a GET returns; raises for any status but 200."""

    def call(url: str) -> bytes:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return bytes(answer.read())

    return call
