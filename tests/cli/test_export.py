"""``livelake export``: a picture that needs nothing else, of one state of the data, all of it or none."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

import livelake
from livelake import web
from livelake.web.still import at_one_state, inlined

HOSTILE = "</style></script><script>alert(1)</script><img src=x onerror=alert(1)>"
SHOP = {
    "livelake.toml": 'title = "The shop"\nattach = { shop = "ducklake:sqlite:../shop.sqlite" }',
    "totals.sql": """/*---
chart = { mark = "bar", x = "total", y = "region" }
params.least = { type = "integer", default = 0 }
---*/
SELECT region, sum(amount)::INTEGER AS total FROM shop.main.orders GROUP BY region HAVING sum(amount) >= $least
ORDER BY region""",
    "count.sql": "SELECT sum(amount)::INTEGER AS everything FROM shop.main.orders",
}


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    async with livelake.open(f"ducklake:sqlite:{tmp_path}/shop.sqlite") as lake:
        await lake.execute("CREATE TABLE orders (region VARCHAR, amount INTEGER)")
        await lake.execute(
            "INSERT INTO orders VALUES ('north', 10), ('south', 5), ($hostile, 7)", {"hostile": HOSTILE}
        )
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, text in SHOP.items():
        (folder / name).write_text(text)
    return folder


def failed(done: Any) -> str:
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("livelake: ")
    return str(line)


def test_html_is_one_file_that_holds_all_and_runs_nothing(run: Any, folder: Path, tmp_path: Path) -> None:
    done = run("export", "shop")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"wrote shop\.html \([\d,]+ bytes\)\n", done.stdout)
    page = (tmp_path / "shop.html").read_text()
    for told in ("<h1>The shop</h1>", "north", "south", "22", "as of shop 2"):
        assert told in page
    assert "<script" not in page.replace("&lt;script", "")
    assert re.findall(r'(?:src|href|action)="(?!#)([^"]{0,20})', page) == ["data:image/svg+xml;b"]
    assert re.findall(r"url\((?!\"data:)[^)]*", page) == []
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert "<img" not in page
    assert "data-live" not in page
    assert sorted(each.name for each in tmp_path.iterdir() if "html" in each.name) == ["shop.html"]


def test_parameters_are_those_of_the_page(run: Any, folder: Path, tmp_path: Path) -> None:
    assert run("export", "shop", "-p", "least=6", "-o", "narrow.html").returncode == 0
    page = (tmp_path / "narrow.html").read_text()
    assert "north" in page
    assert "south" not in page
    assert "no parameter 'most'" in failed(run("export", "shop", "-p", "most=6"))
    assert "a whole number" in failed(run("export", "shop", "-p", "least=six"))
    assert "NAME=VALUE" in failed(run("export", "shop", "-p", "least"))


def test_standard_output_takes_it_too(run: Any, folder: Path) -> None:
    done = run("export", "shop", "-o", "-")
    assert done.stdout.startswith("<!doctype html>")
    assert done.stdout.rstrip().endswith("</html>")


def test_of_several_dashboards_one_is_named(run: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "one.sql").write_text("SELECT 1 AS one")
    assert "name one with --dashboard: other, shop" in failed(run("export", "."))
    assert run("export", ".", "--dashboard", "other").returncode == 0
    assert "there is no dashboard 'third'" in failed(run("export", ".", "-d", "third"))


def test_a_query_that_fails_is_told_and_nothing_is_written(run: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "shop.html").write_text("before")
    (folder / "bad.sql").write_text("SELECT * FROM shop.main.nowhere")
    assert f"{folder}/bad.sql:1: " in failed(run("export", "shop"))
    assert (tmp_path / "shop.html").read_text() == "before"


def test_the_old_file_stays_whole_until_the_new_one_is(run: Any, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "shop.html"
    target.write_text("before")
    target.chmod(0o640)
    with target.open() as reader:  # who has begun to read the old one goes on with it
        assert run("export", "shop").returncode == 0
        assert reader.read() == "before"
    assert target.read_text().startswith("<!doctype html>")
    assert target.stat().st_mode & 0o777 == 0o640
    assert "cannot be written" in failed(run("export", "shop", "-o", "nowhere/shop.html"))
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".shop")] == []


def test_without_chromium_it_says_what_to_install(run: Any, folder: Path, tmp_path: Path) -> None:
    done = run("export", "shop", "-f", "png", env={**os.environ, "PATH": str(tmp_path)})
    assert "apt-get install chromium" in failed(done)
    assert "--chromium nobody is not" in failed(run("export", "shop", "-f", "png", "--chromium", "nobody"))
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert "Chromium ended before" in failed(run("export", "shop", "-f", "png", "--chromium", str(broken)))
    assert not (tmp_path / "shop.png").exists()


@pytest.mark.browser
def test_png_is_the_whole_page(run: Any, folder: Path, tmp_path: Path) -> None:
    if not (shutil.which("chromium") or shutil.which("chromium-browser")):
        pytest.skip("chromium is not installed")
    assert run("export", "shop", "-f", "png").stderr == ""
    short = (tmp_path / "shop.png").read_bytes()
    for number in range(12):
        (folder / f"more{number}.sql").write_text("SELECT range AS n FROM range(30)")
    assert run("export", "shop", "-f", "png").stderr == ""
    sizes = [struct.unpack(">II", png[16:24]) for png in (short, (tmp_path / "shop.png").read_bytes())]
    assert all(width == 2 * 1_280 for width, _ in sizes)
    assert 300 < sizes[0][1] < 2_000 < sizes[1][1]  # as tall as what is on it
    assert short.startswith(b"\x89PNG")


async def test_i7_all_panels_are_of_one_state_while_somebody_writes(folder: Path, tmp_path: Path) -> None:
    """Money moves between two accounts; every picture's parts agree."""
    for name in ("a", "b"):
        (folder / f"{name}.sql").write_text(f"SELECT amount AS {name} FROM shop.main.accounts WHERE name = '{name}'")
    (folder / "both.sql").write_text("SELECT sum(amount)::INTEGER AS both FROM shop.main.accounts")
    async with livelake.open(f"ducklake:sqlite:{tmp_path}/shop.sqlite") as lake:
        await lake.execute("CREATE TABLE accounts AS FROM (VALUES ('a', 100), ('b', 0)) t(name, amount)")
        (dashboard,) = web.dashboards(folder)
        moved, stop = 0, False

        async def move() -> None:
            nonlocal moved
            while not stop:
                async with lake.transaction() as transaction:
                    for sign, name in (("-", "a"), ("+", "b")):
                        await transaction.execute(
                            f"UPDATE accounts SET amount = amount {sign} 1 WHERE name = '{name}'"
                        )
                moved += 1
                await asyncio.sleep(0.02)

        moving = asyncio.create_task(move())
        seen = set()
        while len(seen) < 10:
            results = await at_one_state(lake, dashboard, web.bind(dashboard, []))
            a, b, both = (results[name].rows()[0][name] for name in ("a", "b", "both"))
            assert a + b == both == 100
            seen.add(a)
        stop = True
        await moving
        assert moved >= 9


def test_what_is_inlined_replaces_what_was_linked() -> None:
    page = (
        '<head><link rel="icon" href="/i"/><link rel="stylesheet" href="/s"/><script src="/j" defer></script></head>'
        '<body><header class="bar"><a href="/">home</a></header><script src="/k"></script><p>text</p></body>'
    )
    done = inlined(page, '.logo { background: url("icon.svg") }', b"<svg/>")
    assert "/j" not in done
    assert "/k" not in done
    assert "home" not in done
    assert '<style>.logo { background: url("data:image/svg+xml;base64,PHN2Zy8+") }' in done
    assert done.endswith("<p>text</p></body>")
