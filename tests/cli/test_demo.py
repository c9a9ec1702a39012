"""``livelake demo`` as a user meets it: begins, moves, ends at once and leaves nothing behind."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

PATIENCE = 45.0
ENDS_WITHIN = 10.0


@dataclass
class Demo:
    process: subprocess.Popen[str]
    url: str
    suggested: str
    fetch: Callable[[str], bytes]

    def samples(self) -> int:
        """How many it has taken, as its own dashboard says."""
        totals = {row["what"]: row["total"] for row in json.loads(self.get("/queries/totals"))}
        return int(totals["Samples"].replace(",", ""))

    def get(self, path: str) -> bytes:
        parts = urlsplit(self.url)
        return self.fetch(f"{parts.scheme}://{parts.netloc}{path}")

    def grows(self) -> None:
        """Wait for two more samples."""
        first, deadline = self.samples(), time.monotonic() + PATIENCE
        while self.samples() < first + 2:
            assert time.monotonic() < deadline, "no commit arrives"
            time.sleep(0.05)

    def end(self, number: signal.Signals) -> None:
        """Stop it, and look that it went well."""
        began = time.monotonic()
        self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=ENDS_WITHIN)
        print(f"ended {time.monotonic() - began:.2f} s after {number.name}")
        assert (self.process.returncode, output, errors) == (0, "", "")
        with pytest.raises(OSError, match="refused"):
            self.get("/")


@pytest.fixture
def demo(start: Any, fetch: Any, tmp_path: Path) -> Callable[..., Demo]:
    """Start a demo whose temporary folders are below ``tmp_path``."""
    (tmp_path / "tmp").mkdir(mode=0o777)
    (tmp_path / "tmp").chmod(0o777)

    def call(*arguments: str, port: str = "0", **options: Any) -> Demo:
        environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), **options.pop("env", {})}
        process = start("demo", "--no-browser", "--port", port, *arguments, env=environment, **options)
        lines = [process.stdout.readline().strip() for _ in range(4)]
        url = re.fullmatch(r"livelake demo: this machine, live, on (http://127\.0\.0\.1:\d+/d/machine)", lines[0])
        assert url, process.stderr.read()
        assert lines[3] == "Ctrl-C ends it"
        return Demo(process, url[1], lines[2].removeprefix("try:").strip(), fetch)

    return call


def left(tmp_path: Path) -> list[str]:
    """What the demo has left behind. Not ours is `tempfile`'s empty probe, if the signal came while it was there."""

    def counts(path: Path) -> bool:
        try:
            return path.is_dir() or path.stat().st_size > 0
        except FileNotFoundError:  # the probe went between the listing and the look
            return False

    return sorted(each.name for each in (tmp_path / "tmp").iterdir() if counts(each))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_begins_moves_and_ends(demo: Any, tmp_path: Path, number: signal.Signals) -> None:
    running = demo(env={"HOME": "/nonexistent"} if number == signal.SIGTERM else {})
    assert len(left(tmp_path)) == 1
    assert b"This machine" in running.get("/d/machine")
    running.grows()
    running.end(number)
    assert left(tmp_path) == []


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")
def test_the_demo_works_as_an_unprivileged_user(demo: Any) -> None:
    nobody = pwd.getpwnam("nobody")
    options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": "/"}
    try:
        subprocess.run([sys.executable, "-c", "import livelake"], check=True, capture_output=True, **options)  # type: ignore[call-overload]
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nobody may not read this checkout or its Python")
    with tempfile.TemporaryDirectory(prefix="livelake-nobody-") as folder:
        Path(folder).chmod(0o777)
        running = demo(env={"HOME": "/nonexistent", "TMPDIR": folder}, **options)
        running.grows()
        assert [each.owner() for each in Path(folder).iterdir()] == ["nobody"]
        running.end(signal.SIGINT)
        assert list(Path(folder).iterdir()) == []


def test_open_streams_do_not_hold_the_demo(demo: Any, tmp_path: Path) -> None:
    running = demo()
    port = urlsplit(running.url).port
    streams = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) for _ in range(3)]
    for stream in streams:
        stream.sendall(b"GET /live/machine HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while b"datastar-patch-elements" not in stream.recv(4_096):
            pass
    running.end(signal.SIGINT)
    for stream in streams:
        while stream.recv(65_536):
            pass
        stream.close()
    assert left(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_demo_starts_leaves_nothing_behind(
    start: Any, tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    process = start("demo", "--no-browser", "--port", "0", env={**os.environ, "TMPDIR": str(folder)})
    deadline = time.monotonic() + PATIENCE
    while not left(tmp_path):  # the folder is there, the lake is not yet
        assert time.monotonic() < deadline
    process.send_signal(number)
    output, errors = process.communicate(timeout=ENDS_WITHIN)
    assert (process.returncode, output, errors) == (0, "", "")
    assert left(tmp_path) == []


def test_a_taken_port_makes_it_take_another(demo: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = demo(port=str(port))
    assert urlsplit(running.url).port != port
    assert running.samples() >= 2
    running.end(signal.SIGINT)


def test_a_kept_lake_is_continued(demo: Any, run: Any, tmp_path: Path) -> None:
    sql = "SELECT count(*) AS rows, count(DISTINCT time) AS times FROM system"

    def kept(uri: str) -> int:
        (row,) = json.loads(run("query", uri, sql, "--format", "json").stdout)
        assert row["rows"] == row["times"]
        return int(row["rows"])

    folder = str(tmp_path / "kept here" / "deep")
    first = demo("--dir", folder)
    first.grows()
    first.end(signal.SIGINT)
    uri = f"ducklake:sqlite:{folder}/machine.sqlite"
    assert (rows := kept(uri)) >= 3
    second = demo("--dir", folder)
    second.grows()
    second.end(signal.SIGTERM)
    assert kept(uri) >= rows + 3
    assert left(tmp_path) == []


def test_the_command_that_it_suggests_works(demo: Any) -> None:
    running = demo()
    command = f"{sys.executable} -m {running.suggested} --count 2"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = re.findall(r"^ *(\d+)$", done.stdout, re.MULTILINE)
    assert int(first) < int(second)
    running.end(signal.SIGINT)
