"""``livelake serve --reload`` as its own process."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def until(condition: Callable[[], bool], seconds: float = 45.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def test_files_are_followed_and_faults_are_logged(start: Any, fetch: Callable[[str], bytes], tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    file = tmp_path / "shop" / "one.sql"
    file.write_text("SELECT 1 AS n")
    serving = start("serve", "shop", "--port", "0", "--reload", stderr=subprocess.STDOUT)
    found = re.search(r"http://\S+", serving.stdout.readline())
    assert found

    def one() -> Any:
        return json.loads(fetch(f"{found[0]}queries/one"))

    assert one() == [{"n": 1}]
    file.write_text("SELECT 2 AS n")
    until(lambda: one() == [{"n": 2}])
    file.write_text("SELECT 3 AS")
    line = serving.stdout.readline()
    assert "not served, what was before goes on" in line
    assert f"{file}:1: " in line
    assert one() == [{"n": 2}]
    file.write_text("SELECT 4 AS n")
    until(lambda: one() == [{"n": 4}])
    serving.send_signal(signal.SIGTERM)
    output, _ = serving.communicate(timeout=45)
    assert (serving.returncode, output) == (0, "")


def test_several_workers_do_not_follow(run: Any, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "one.sql").write_text("SELECT 1 AS n")
    done = run("serve", "shop", "--reload", "--workers", "2", "--port", "0")
    assert done.returncode == 1
    assert "--reload follows the files in one process" in done.stderr
