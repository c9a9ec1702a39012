"""Catalogs inside packages: a wheel that is built, installed and opened, and nothing is written there (S34)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import livelake
from livelake import catalogs
from livelake.errors import SourceError, UsageError

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "frozenlake"
version = "1.0"
[tool.hatch.build.targets.wheel]
packages = ["frozenlake"]
artifacts = ["*.db", "*.parquet"]
"""
COUNT = "SELECT count(*) AS n, max(name) AS last FROM astronauts"
ROWS = "SELECT 'astronaut ' || lpad(range::VARCHAR, 3, '0') AS name FROM range({})"


async def build(folder: Path, rows: int, backend: str = "") -> Path:
    """The source of a package: a lake of ``rows`` rows."""
    data = folder / "frozenlake" / "data"
    data.mkdir(parents=True)
    (folder / "frozenlake" / "__init__.py").touch()
    (folder / "pyproject.toml").write_text(PROJECT)
    async with livelake.open(f"ducklake:{backend}{data}/space.db") as lake:
        await lake.execute(f"CREATE TABLE astronauts AS {ROWS.format(rows)}")
    return folder


def install(source: Path, target: Path) -> Path:
    """As pip does it, without a network."""
    quiet = {"check": True, "timeout": 100, "capture_output": True}
    build = "import hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", f"import sys; {build}", str(source / "dist")], cwd=source, **quiet)
    (wheel,) = (source / "dist").glob("*.whl")
    options = ["--no-index", "--no-deps", "--no-compile", "--upgrade", "--quiet", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], **quiet)
    return target


def state(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(file.relative_to(folder)): (file.stat().st_mtime_ns, hashlib.md5(file.read_bytes()).hexdigest())
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield monkeypatch
    forget()


def forget() -> None:
    sys.modules.pop("frozenlake", None)
    importlib.invalidate_caches()


URI = "embedded:frozenlake/data/space.db"


UNPRIVILEGED = f"""
import asyncio, os, livelake
async def main():
    async with livelake.open({URI!r}) as lake:
        print(os.getuid(), (await lake.query({COUNT!r})).rows())
asyncio.run(main())
os.setgroups([]); os.setgid(65534); os.setuid(65534)
asyncio.run(main())
"""


async def test_a_wheel_is_installed_and_opened_and_nothing_is_written(
    tmp_path: Path, importable: pytest.MonkeyPatch
) -> None:
    source = await build(tmp_path / "source", 100)
    site = await asyncio.to_thread(install, source, tmp_path / "site")
    shutil.rmtree(source)  # the catalog has the path of its making in it
    importable.syspath_prepend(str(site))
    importable.chdir("/")
    for folder, _, names in os.walk(site):
        for name in names:
            os.chmod(Path(folder) / name, 0o444)
        os.chmod(folder, 0o555)
    before = state(site)
    async with livelake.open(catalogs.embedded("frozenlake", "data/space.db")) as lake:
        result = await lake.query(COUNT)
        assert result.rows() == [{"n": 100, "last": "astronaut 099"}]
        assert (await lake.query(COUNT)).status == "hit"
        with pytest.raises(livelake.LivelakeError, match="read-only"):
            await lake.execute("DELETE FROM astronauts")
        assert lake.attached.by_name["space"]._private is None
        (key,) = catalogs.keys(lake, result, COUNT)
        assert str(key).startswith("embedded:space:1-")
    assert state(site) == before
    if os.geteuid() == 0:  # root may write anywhere: so as somebody who may not, once every module is loaded
        for parent in tmp_path.parents[:3]:
            if parent.is_relative_to("/tmp/pytest-of-root"):
                parent.chmod(0o755)
        tmp_path.chmod(0o755)
        run = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-B", "-c", UNPRIVILEGED],
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "65534 [{'n': 100, 'last': 'astronaut 099'}]" in run.stdout, run.stderr
    assert state(site) == before


async def test_the_version_is_of_the_content_and_not_of_the_package(
    tmp_path: Path, importable: pytest.MonkeyPatch
) -> None:
    """S34: another asset under the same package version is another answer, in a cache that both share."""
    found = []
    async with contextlib.AsyncExitStack() as stack:
        keeper = await stack.enter_async_context(livelake.open(":memory:"))
        for number, rows in enumerate((100, 50, 100)):
            folder = await build(tmp_path / f"source{number}", rows)
            with importable.context() as patch:
                patch.syspath_prepend(str(folder))
                forget()
                lake = await stack.enter_async_context(livelake.open(URI, cache=keeper.cache))
                result = await lake.query(COUNT)
                again = await lake.query(COUNT)
                found.append((result.rows()[0]["n"], again.status, *catalogs.keys(lake, result, COUNT)))
    assert [(n, status) for n, status, _ in found] == [(100, "hit"), (50, "hit"), (100, "hit")]
    assert len({key for *_, key in found}) == 3
    assert len({key.question for *_, key in found}) == 1


async def test_the_same_content_has_the_same_version(tmp_path: Path, importable: pytest.MonkeyPatch) -> None:
    source = await build(tmp_path / "a", 10)
    shutil.copytree(source, tmp_path / "b")
    versions = set()
    for folder in ("a", "b"):
        with importable.context() as patch:
            patch.syspath_prepend(str(tmp_path / folder))
            forget()
            async with livelake.open(URI) as lake:
                versions.add(lake.attached.by_name["space"].version)
    assert len(versions) == 1


async def test_a_zipped_package_is_copied_to_a_private_folder(tmp_path: Path, importable: pytest.MonkeyPatch) -> None:
    source = await build(tmp_path / "source", 100)
    shutil.make_archive(str(tmp_path / "lake"), "zip", source, "frozenlake")
    shutil.rmtree(source)
    importable.syspath_prepend(str(tmp_path / "lake.zip"))
    async with livelake.open(URI) as lake:
        assert (await lake.query(COUNT)).rows()[0]["n"] == 100
        private = lake.attached.by_name["space"]._private
        assert private is not None
        assert private.stat().st_mode & 0o777 == 0o700
    assert not private.exists()


async def test_a_sqlite_catalog_may_be_shipped_but_not_in_wal_mode(
    tmp_path: Path, importable: pytest.MonkeyPatch
) -> None:
    import sqlite3

    source = await build(tmp_path / "source", 100, "sqlite:")
    importable.syspath_prepend(str(source))
    with pytest.raises(SourceError, match="journal_mode"):
        async with livelake.open(URI):
            pass
    connection = sqlite3.connect(source / "frozenlake" / "data" / "space.db")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    async with livelake.open(URI) as lake:
        assert (await lake.query(COUNT)).rows()[0]["n"] == 100


async def test_what_is_not_there_says_so(tmp_path: Path, importable: pytest.MonkeyPatch) -> None:
    (tmp_path / "frozenlake").mkdir()
    (tmp_path / "frozenlake" / "__init__.py").touch()
    (tmp_path / "frozenlake" / "text.db").write_text("no database")
    importable.syspath_prepend(str(tmp_path))
    for uri, says in (
        (URI, "holds no file data/space.db"),
        ("embedded:no_such_package/space.db", "no package 'no_such_package'"),
        ("embedded:frozenlake/text.db", "cannot be attached"),
    ):
        with pytest.raises(SourceError, match=says):
            async with livelake.open(uri):
                pass


@pytest.mark.parametrize(("package", "path"), [("a", "../b.db"), ("a b", "x.db"), ("a", ""), ("", "x")])
def test_a_path_that_leaves_the_package_is_refused(package: str, path: str) -> None:
    with pytest.raises(UsageError, match="inside a package"):
        catalogs.embedded(package, path)
