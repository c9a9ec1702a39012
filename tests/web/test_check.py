"""What is wrong with a dashboard is found before anything is served, and said with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from livelake import web
from livelake.errors import ConfigError
from livelake.live import LiveLake

PARAMETER = 'params.least = { type = "integer", default = 0 }'


def header(*lines: str) -> str:
    return "\n".join(["/*---", *lines, "---*/", ""])


WRONG = {
    "two statements": ("SELECT 1;\nSELECT 2", 1, "2"),
    "two below a header": (header('title = "Two"') + "\nSELECT 1; SELECT 2", 5, "2"),
    "insert": ("INSERT INTO orders VALUES ('east', 1)", 1, "INSERT"),
    "insert returning": ("INSERT INTO orders VALUES ('east', 1) RETURNING *", 1, "INSERT"),
    "create": ("CREATE TABLE x AS SELECT 1 AS a", 1, "CREATE"),
    "copy": ("COPY (SELECT 1) TO '/tmp/livelake-must-not-exist.csv'", 1, "COPY"),
    "attach": ("ATTACH ':memory:' AS other", 1, "ATTACH"),
    "setting": ("SET threads = 1", 1, "SET"),
    "syntax": (header('title = "Typo"') + "SELEC 1", 4, "syntax error"),
    "undeclared": ("SELECT $least", 1, "$least is used, but params.least is not declared"),
    "positional": ("SELECT ?", 1, "is not declared"),
    "unused": (header(PARAMETER) + "SELECT 1", 1, "params.least is declared, but $least is not used"),
    "unknown mark": (header('title = "x"', 'chart = { mark = "pie" }') + "SELECT 1", 3, "pie"),
    "bad channel": (header('chart = { mark = "bar", x = 1, y = "a" }') + "SELECT 1", 2, "chart"),
    "bad header": (header("title = ") + "SELECT 1", 2, "TOML"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_file_that_cannot_be_served_is_named_with_its_line(lake: LiveLake, tmp_path: Path, case: str) -> None:
    text, line, reason = WRONG[case]
    file = tmp_path / "shop" / "wrong.sql"
    file.parent.mkdir()
    file.write_text(text)
    (tmp_path / "shop" / "right.sql").write_text("SELECT 1")
    before = lake.watcher.heads()["shop"]
    with pytest.raises(ConfigError) as caught:
        await web.app(lake, file.parent)
    error = caught.value
    assert (error.file, error.line) == (file, line)
    assert str(error).startswith(f"{file}:{line}: ")
    assert reason in str(error)
    assert "\n" not in str(error)
    assert lake.watcher.heads()["shop"] == before
    assert not Path("/tmp/livelake-must-not-exist.csv").exists()


async def test_names_of_parameters_compare_without_case(lake: LiveLake, tmp_path: Path) -> None:
    (tmp_path / "right.sql").write_text(header(PARAMETER) + "SELECT $LEAST")
    app = await web.app(lake, tmp_path)
    assert list(app.queries) == ["right"]
    await app.close()


async def test_a_table_may_come_later(lake: LiveLake, tmp_path: Path) -> None:
    (tmp_path / "early.sql").write_text("SELECT * FROM shop.main.later")
    app = await web.app(lake, tmp_path)
    await app.close()
