"""The layers of DESIGN.md, held: imports point down, each foreign library has one door, importing starts nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "livelake"

# Each layer may import those below it. Siblings on one line do not know each other.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "clock"}),
    frozenset({"keys", "token"}),
    frozenset({"cache", "events", "engine"}),
    frozenset({"invalidation"}),
    frozenset({"lake"}),
    frozenset({"live", "catalogs"}),
    frozenset({"web"}),
    frozenset({"cli"}),
)
# What stands beside the layers: published fakes, and the two names of the package itself.
BESIDE = frozenset({"testing", "__init__", "__main__"})

# One door per library: the only places that may import it. A name with a slash is one module of a layer.
DOORS = {
    "duckdb": {"engine"},
    "nanoarrow": {"engine"},
    "moka_py": {"cache/store.py"},
    "msgspec": {"engine/written.py", "events", "web/formats.py", "web/problems.py"},
    "starlette": {"web"},
    "uvicorn": {"web/serve.py"},
    "markdown_it": {"web/markdown.py"},
    "click": {"cli"},
    "psutil": {"cli/telemetry.py"},
    "zenoh": {"events/zenoh_session.py", "events/zenoh_config.py", "events/router.py"},
}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def layer_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def rank_of(layer: str) -> int | None:
    return next((rank for rank, names in enumerate(LAYERS) if layer in names), None)


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that a module imports, inside functions and for types too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            if node.module == "livelake":
                yield from ((node.lineno, f"livelake.{alias.name}") for alias in node.names)
            elif node.module:
                yield node.lineno, node.module


def test_every_module_has_a_layer() -> None:
    known = frozenset().union(*LAYERS, BESIDE)
    strangers = {str(file) for file in modules() if layer_of(file) not in known | {"examples"}}
    assert not strangers


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_down(file: Path) -> None:
    layer = layer_of(file)
    own = rank_of(layer)
    if own is None:
        return
    for line, name in imports(file):
        parts = name.split(".")
        if parts[0] != "livelake" or len(parts) == 1:
            continue
        other = parts[1]
        if other == layer or (rank := rank_of(other)) is None:
            continue  # its own layer, or a name of the package itself, such as __version__
        assert rank < own, f"{file.relative_to(ROOT)}:{line}: {layer} imports {name}, which is not below it"


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_each_library_has_one_door(file: Path) -> None:
    own = {layer_of(file), file.relative_to(ROOT).as_posix()}
    for line, name in imports(file):
        doors = DOORS.get(name.split(".")[0])
        assert doors is None or doors & own, f"{file.relative_to(ROOT)}:{line}: {name} has its door in {doors}"


def test_only_known_libraries_are_imported() -> None:
    allowed = set(DOORS) | set(sys.stdlib_module_names) | {"livelake"}
    found = {name.split(".")[0] for file in modules() for _, name in imports(file)}
    assert found <= allowed, f"new libraries need a door here and a reason in docs/decisions.md: {found - allowed}"


def test_importing_starts_nothing_and_leaves_the_web_out() -> None:
    code = (
        "import sys, threading, asyncio, livelake\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "outside = ('starlette', 'uvicorn', 'click', 'psutil', 'zenoh')\n"
        "loaded = {name for name in sys.modules if name.split('.')[0] in outside}\n"
        "assert not loaded, loaded\n"
        "assert 'livelake.web' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
