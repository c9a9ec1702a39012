from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from livelake.engine import Engine, extensions, literal
from livelake.errors import SourceError


def test_an_extension_is_loaded_from_its_wheel_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = extensions.load

    def load(connection: Any, name: str) -> None:
        calls.append(name)
        real(connection, name)

    monkeypatch.setattr(extensions, "load", load)
    with Engine() as engine, engine.cursor() as session:
        for _ in range(2):
            engine.load_extension("sqlite")
            engine.load_extension("sqlite_scanner")
        assert calls == ["sqlite_scanner"]
        rows = session.fetchall(
            "SELECT install_mode FROM duckdb_extensions() WHERE extension_name = 'sqlite_scanner' AND loaded"
        )
        assert rows == [("NOT_INSTALLED",)]  # it lies in site-packages still


@pytest.mark.parametrize(("name", "extra"), [("postgres", "livelake[postgres]"), ("httpfs", "livelake[http]")])
def test_an_absent_extension_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, extra: str
) -> None:
    monkeypatch.setattr(extensions, "_in_wheel", lambda _: None)
    with Engine() as engine, engine.cursor() as session:
        session.execute(f"SET GLOBAL custom_extension_repository = {literal(str(tmp_path / 'none'))}")
        session.execute(f"SET GLOBAL extension_directory = {literal(str(tmp_path / 'installed'))}")
        with pytest.raises(SourceError) as caught:
            engine.load_extension(name)
    assert f'pip install "{extra}"' in str(caught.value)


def test_nothing_is_installed_or_loaded_behind_our_back(engine: Engine) -> None:
    with engine.cursor() as session:
        for name in ("autoinstall_known_extensions", "autoload_known_extensions"):
            assert session.fetchone(f"SELECT current_setting('{name}')") == (False,)
