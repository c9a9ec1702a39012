"""`LocalFile`: the file of a catalog on this machine: whether it is there, and still the one that was attached."""

from __future__ import annotations

from livelake.errors import LostError, SourceError
from livelake.lake.catalog import Catalog, Origin


class LocalFile:
    """Nothing is said of a catalog that has none: a server's, a package's, one in memory. Any thread may call."""

    def __init__(self, catalog: Catalog) -> None:
        self._path = catalog.path if catalog.origin is Origin.LOCAL else None
        self._uri = catalog.uri
        self._attached: tuple[int, int] | None = None

    def is_new(self, *, may_make: bool) -> bool:
        """Whether it is to be made. Raises `SourceError` if it is not there and may not, or cannot, be made."""
        if self._path is None or self._path.exists():
            return False
        if not may_make:
            raise SourceError(
                f"{self._uri}: there is no file {self._path}; check the path, or create the database first"
            )
        if not self._path.parent.is_dir():
            raise SourceError(f"{self._uri}: there is no folder {self._path.parent} to create {self._path.name} in")
        return True

    def check_there(self) -> None:
        """Raise `LostError` if it is gone."""
        if self._path is not None and not self._path.exists():
            raise LostError(
                f"{self._uri}: the file {self._path} is gone; put it back, reads go on by themselves then"
            )

    def attached(self) -> None:
        """It is attached now."""
        self._attached = self._identify()

    def check_same(self) -> LostError | None:
        """What to say if it is another file than was attached. Raises `LostError` if it is gone."""
        if self._attached is None:
            return None
        self.check_there()
        if self._identify() == self._attached:
            return None
        return LostError(f"{self._uri}: the file was replaced by another one; it is opened anew, try again")

    def _identify(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        found = self._path.stat()
        return found.st_dev, found.st_ino
