"""Catalogs inside Python packages: where they lie, and what their content is.

They are opened where they are installed, and nothing is written there. A package that is imported from a zip file
has no files; then the catalog and its data are copied to a private folder, which the caller removes.
"""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Callable
from importlib.resources.abc import Traversable
from pathlib import Path

from livelake.errors import SourceError

_CHUNK = 1 << 20


def locate(target: str, private: Callable[[], Path]) -> Path:
    """The file of ``package/folder/space.db``; in a new folder ``private()`` if the package is a zip file.

    Raises `SourceError` for a package or file that is not there. Imports the package.
    """
    package, _, resource = target.partition("/")
    try:
        root = importlib.resources.files(package)
    except (ImportError, TypeError) as error:
        raise SourceError(f"embedded:{target}: no package {package!r} can be imported; is it installed?") from error
    file = root.joinpath(*resource.split("/"))
    if not file.is_file():
        raise SourceError(
            f"embedded:{target}: the package {package} holds no file {resource}; was it built with its data?"
        )
    if isinstance(file, Path):
        return file.absolute()
    # Data lie beside the catalog: everything in its folder comes along.
    into = private()
    _extract(root.joinpath(*resource.split("/")[:-1]) if "/" in resource else root, into)
    return into / file.name


def content_version(catalog: Path, data: Path | None, snapshot: int) -> str:
    """A version that changes when the content does, whatever the package's own version says.

    The catalog counts with its bytes, the data files with their names and sizes: DuckLake gives each a new name.
    """
    digest = hashlib.sha256()
    with catalog.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if data is not None and data.is_dir():
        for each in sorted(data.rglob("*")):
            if each.is_file() and each != catalog:
                digest.update(f"\0{each.relative_to(data).as_posix()}\0{each.stat().st_size}".encode())
    return f"{snapshot}-{digest.hexdigest()[:32]}"


def _extract(folder: Traversable, into: Path) -> None:
    into.mkdir(mode=0o700, exist_ok=True)
    for item in folder.iterdir():
        if item.is_dir():
            _extract(item, into / item.name)
        elif item.is_file() and not item.name.endswith((".py", ".pyc")):
            with item.open("rb") as source, (into / item.name).open("xb") as copy:
                while chunk := source.read(_CHUNK):
                    copy.write(chunk)
