"""What the documents say holds a promise is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from livelake.web import dashboards

ROOT = Path(__file__).parent.parent
DEFINED = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("document", ["seed-map.md", "invariants.md"])
def test_every_test_and_file_that_is_named_exists(document: str) -> None:
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    named = re.findall(r"`([^`\s]+)`", text)
    tests = {name for name in named if re.fullmatch(r"test_\w+", name)}
    files = {name for name in named if name.startswith(("tests/", "src/"))}
    files |= {name.replace("cache/", "src/livelake/cache/") for name in named if re.match(r"cache/\w+\.py", name)}
    assert tests
    assert not tests - DEFINED, "no such test"
    assert not {name for name in files if not (ROOT / name).exists()}, "no such file"


def test_every_defect_of_the_sketch_has_its_line() -> None:
    text = (ROOT / "docs" / "seed-map.md").read_text(encoding="utf-8")
    lines = "\n".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| S"))
    assert {int(number) for number in re.findall(r"S(\d+)", lines)} == set(range(1, 54))


def test_what_is_said_of_dashboards_loads(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8")
    settings, parameters = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    used = ", ".join(f"${name}" for name in re.findall(r"^params\.(\w+)", parameters, re.MULTILINE))
    (tmp_path / "livelake.toml").write_text(settings.replace('order = ["revenue", "orders"]', ""))
    (tmp_path / "a.sql").write_text(f"/*---\n{parameters}\n---*/\nSELECT {used}")
    folder = tmp_path.rename(tmp_path.with_name("dashboard"))
    (dashboard,) = dashboards(folder)
    assert dashboard.queries["a"].params["limit"].step == 5
    described = {"title", "description", "chart", "params.NAME", "span", "refresh", "depends_on", "http"}
    assert set(re.findall(r"`([\w.]+)`", "\n".join(re.findall(r"^\| (.*?) \|", text, re.MULTILINE)))) == described
