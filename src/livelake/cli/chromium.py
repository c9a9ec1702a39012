"""Headless Chromium as a camera: HTML in, PNG out. Found on the machine, never brought along.

It is spoken to over a pair of pipes in Chrome's DevTools protocol (``--remote-debugging-pipe``: JSON messages that
end in a NUL byte, read by Chromium from descriptor 3, written to 4): no port is opened, no file is written, and the
page, which is handed over as text, has no origin. Blocking; for Unix.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from livelake.errors import SourceError, UsageError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PATIENCE = 60.0  # seconds for one answer; a cold start on a busy machine takes some
_FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
)
_TALLEST = 16_384  # pixels; what Chromium can paint in one piece


def find(given: str | None = None) -> str:
    """Chromium's program. Raises `UsageError` that says what to install."""
    for name in (given,) if given else NAMES:
        if found := shutil.which(name):
            return found
    if given:
        raise UsageError(f"--chromium {given} is not a program that can be run")
    raise UsageError(
        "a PNG is drawn by headless Chromium, and none is installed; install it (Debian: apt-get install chromium),"
        " name it with --chromium, or use --format html"
    )


def screenshot(program: str, html: str, *, width: int, scale: float = 2.0) -> bytes:
    """The whole page as a PNG, ``width`` CSS pixels wide. Raises `SourceError` when Chromium fails or is silent."""
    with (
        tempfile.TemporaryDirectory(prefix="livelake-chromium-", ignore_cleanup_errors=True) as profile,
        _Chromium.started(program, profile) as chromium,
    ):
        target = chromium.ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = chromium.ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        size = {"width": width, "height": 100, "deviceScaleFactor": scale, "mobile": False}
        chromium.ask("Emulation.setDeviceMetricsOverride", size, session)
        frame = chromium.ask("Page.getFrameTree", {}, session)["frameTree"]["frame"]["id"]
        chromium.ask("Page.setDocumentContent", {"frameId": frame, "html": html}, session)
        content = chromium.ask("Page.getLayoutMetrics", {}, session)["cssContentSize"]
        height = min(int(content["height"]), int(_TALLEST / scale))
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        return base64.b64decode(chromium.ask("Page.captureScreenshot", shot, session)["data"])


class _Chromium:
    """One that runs, and the two ends of its pipes."""

    def __init__(self, process: int, to: int, answers: int) -> None:
        self._process = process
        self._to = to
        self._answers = answers
        self._number = 0
        self._buffer = b""

    @classmethod
    @contextlib.contextmanager
    def started(cls, program: str, profile: str) -> Iterator[_Chromium]:
        """Within the block it runs; it is gone after it, whatever happens."""
        flags = [*_FLAGS, f"--user-data-dir={profile}"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # as root it refuses to start otherwise; the page runs no script
        reads, to = _pipe()
        answers, writes = _pipe()
        try:
            process = os.posix_spawn(
                program,
                [program, *flags],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, reads, 3),
                    (os.POSIX_SPAWN_DUP2, writes, 4),
                ],
                setpgroup=0,  # its own helpers go with it
            )
        except OSError as error:
            for each in (reads, to, answers, writes):
                os.close(each)
            raise SourceError(
                f"{program} cannot be started: {error.strerror}; name another with --chromium"
            ) from error
        os.close(reads)
        os.close(writes)
        try:
            yield cls(process, to, answers)
        finally:
            os.close(to)
            os.close(answers)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)

    def ask(self, method: str, parameters: dict[str, Any], session: str | None = None) -> Any:
        """One command's result; what else Chromium tells is passed over."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        try:
            self._write(json.dumps(message).encode() + b"\0")
            while True:
                answer = json.loads(self._message())
                if answer.get("id") == self._number:
                    break
        except (OSError, ValueError) as error:
            raise SourceError(f"Chromium ended before it had answered {method}; does it run by itself?") from error
        if "error" in answer:
            raise SourceError(f"Chromium refused {method}: {answer['error'].get('message')}")
        return answer["result"]

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._to, data) :]

    def _message(self) -> bytes:
        deadline = time.monotonic() + _PATIENCE
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                raise SourceError(f"Chromium did not answer within {_PATIENCE:g} s; try again")
            piece = os.read(self._answers, 1 << 20)
            if not piece:
                raise OSError("the pipe was closed")
            self._buffer += piece
        message, self._buffer = self._buffer.split(b"\0", 1)
        return message


def _pipe() -> tuple[int, int]:
    """Both ends above the descriptors that Chromium wants, so that giving it one does not overwrite another."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 10) for each in ends)
    for each in ends:
        os.close(each)
    return high[0], high[1]
