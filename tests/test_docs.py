"""What the documents say holds a promise is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from livelake.web import dashboards
from livelake.web.charts import ChartSpec

ROOT = Path(__file__).parent.parent
DEFINED = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("document", ["seed-map.md", "invariants.md", "security.md"])
def test_every_test_and_file_that_is_named_exists(document: str) -> None:
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    named = re.findall(r"`([^`\s]+)`", text)
    tests = {name for name in named if re.fullmatch(r"test_\w+", name)}
    files = {name for name in named if name.startswith(("tests/", "src/"))}
    files |= {f"src/livelake/{name}" for name in named if re.fullmatch(r"[a-z]+/\w+\.py", name) and name not in files}
    assert tests
    assert not tests - DEFINED, "no such test"
    assert not {name for name in files if not (ROOT / name).exists()}, "no such file"


def test_every_invariant_names_what_holds_it() -> None:
    text = (ROOT / "docs" / "invariants.md").read_text(encoding="utf-8")
    held = {row[1]: row[-2] for line in text.splitlines() if re.match(r"\| I\d", line) and (row := line.split("|"))}
    assert [name.strip() for name in held] == [f"I{number}" for number in range(1, 9)]
    assert not [name for name, by in held.items() if not re.search(r"`(test_\w+|tests/[^`]+)`", by)]


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
    charts = re.search(r"^## Charts\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert charts
    with pytest.raises(ValueError, match="it takes") as refused:
        ChartSpec.parse({"nothing": 1})
    keys = re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`.*?) \|", charts[1], re.MULTILINE)))
    assert sorted(keys) == sorted(str(refused.value).rpartition("it takes ")[2].split(", "))
    text = text.replace(charts[1], "")
    described = {"title", "description", "chart", "params.NAME", "span", "refresh", "depends_on", "http"}
    assert set(re.findall(r"`([\w.]+)`", "\n".join(re.findall(r"^\| (.*?) \|", text, re.MULTILINE)))) == described


def test_the_tokens_and_the_query_of_the_security_page_are_what_they_claim(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    from livelake import web

    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    ((tokens,), (sql,)) = [re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("tokens", "sql")]
    (tmp_path / "tokens").write_text(tokens)
    found = web.Tokens.from_file(tmp_path / "tokens")
    ada, bob, both = [line.split()[1] for line in tokens.splitlines()[1:]]
    now = datetime(2026, 12, 30, tzinfo=UTC)
    claims = [identity.claims if (identity := found.whose(each, now)) else None for each in (ada, bob, both)]
    assert claims == [{"user": "ada", "tenant": "Acme Corp"}, {"user": "bob", "tenant": "Globex"}, {}]
    assert found.whose(bob, datetime(2026, 12, 31, tzinfo=UTC)) is None
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "orders.sql").write_text(sql)
    query = web.dashboards(tmp_path / "mine")[0].queries["orders"]
    assert query.bind({}, claims[0]) == {"tenant": "Acme Corp"}
