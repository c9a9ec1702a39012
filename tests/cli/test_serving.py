"""How many viewers a serving process holds."""

from __future__ import annotations

import subprocess
import sys

import pytest

resource = pytest.importorskip("resource")


def in_a_process_that_may_open(soft: int, hard: int, viewers: int) -> list[str]:
    code = (
        "import logging, resource, sys\n"
        "logging.basicConfig(stream=sys.stdout, format='%(message)s')\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "from livelake.cli.serving import room_for\n"
        f"print(room_for({viewers}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


def test_the_limit_of_open_files_is_raised_as_far_as_viewers_need_it() -> None:
    assert in_a_process_that_may_open(256, 2_000, 1_000) == ["1000 1240"]
    assert in_a_process_that_may_open(1_500, 2_000, 1_000) == ["1000 1500"]


def test_where_it_cannot_be_raised_so_far_fewer_viewers_are_let_in_and_that_is_said() -> None:
    warning, told = in_a_process_that_may_open(256, 600, 1_000)
    assert told == "360 600"
    assert "360 viewers at most" in warning
    assert in_a_process_that_may_open(100, 100, 1_000)[-1] == "1 100"
