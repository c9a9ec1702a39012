"""What the README shows is run: each Python block with its output, each command line, each header."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README.read_text(), re.DOTALL)
EXAMPLES = [
    (code, output)
    for (kind, code), (then, output) in itertools.pairwise(BLOCKS)
    if kind == "python" and then == "output"
]


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=60)


def test_every_python_block_has_its_output() -> None:
    assert len(EXAMPLES) == sum(kind == "python" for kind, _ in BLOCKS) >= 2


@pytest.mark.parametrize(("code", "output"), EXAMPLES, ids=["lake", "cache"])
def test_a_python_block_prints_what_the_readme_says(code: str, output: str, tmp_path: Path) -> None:
    done = run([sys.executable, "-c", code], tmp_path)
    assert done.stderr == ""
    assert done.stdout == output


def test_the_commands_work_on_the_first_example(tmp_path: Path) -> None:
    run([sys.executable, "-c", EXAMPLES[0][0]], tmp_path)
    commands = re.findall(
        r"^livelake (query|why) +(\S+) '([^']+)'$", "".join(code for _, code in BLOCKS), re.MULTILINE
    )
    assert {name for name, *_ in commands} == {"query", "why"}
    for name, uri, sql in commands:
        done = run([sys.executable, "-m", "livelake", name, uri, sql], tmp_path)
        assert done.returncode == 0, done.stderr
        assert "2" in done.stdout


def test_the_sql_block_is_a_panel(tmp_path: Path) -> None:
    from livelake import web

    (sql,) = [code for kind, code in BLOCKS if kind == "sql"]
    folder = tmp_path / "sales"
    folder.mkdir()
    (folder / "totals.sql").write_text(sql)
    (dashboard,) = web.dashboards(folder)
    assert dashboard.queries["totals"].bind({"least": "3"}) == {"least": 3}


def test_the_first_example_has_twelve_lines() -> None:
    assert len(EXAMPLES[0][0].splitlines()) == 12
