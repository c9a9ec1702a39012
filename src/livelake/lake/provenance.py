"""Keys of answers by where their data come from: printed, logged and compared, and never mistaken for each other.

The seed's ``embedded:{catalog}:{version}:{table}:{hash}`` and ``remote:{source}:{snapshot}:{table}:{hash}``, as
structures. Their text escapes what separates its parts, so that different keys have different texts and a text
can be read back. Pure.
"""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from livelake.errors import UsageError


@dataclass(frozen=True, slots=True, order=True)
class EmbeddedKey:
    """One table of an embedded catalog under one question. ``version`` is of the content, not of the package."""

    kind: ClassVar[str] = "embedded"
    catalog: str
    version: str
    table: str
    question: str

    def __str__(self) -> str:
        return _joined(self.kind, astuple(self))


@dataclass(frozen=True, slots=True, order=True)
class RemoteKey:
    """One table of a catalog that can change, as of ``snapshot``. ``source`` is its printable URI."""

    kind: ClassVar[str] = "remote"
    source: str
    snapshot: int
    table: str
    question: str

    def __str__(self) -> str:
        return _joined(self.kind, astuple(self))


SourceKey = EmbeddedKey | RemoteKey


def parse_key(text: str) -> SourceKey:
    """The key that prints as ``text``. Raises `UsageError` for a text that no key prints."""
    kind, *parts = text.split(":")
    values = [unquote(part) for part in parts]
    if len(values) == 4:
        if kind == "embedded":
            found: SourceKey = EmbeddedKey(values[0], values[1], values[2], values[3])
        elif kind == "remote" and values[1].lstrip("-").isascii() and values[1].lstrip("-").isdigit():
            found = RemoteKey(values[0], int(values[1]), values[2], values[3])
        else:
            found = EmbeddedKey("", "", "", "")
        if str(found) == text:
            return found
    raise UsageError(
        f"{text!r} is not the key of an answer; they read embedded:catalog:version:table:question "
        "or remote:source:snapshot:table:question"
    )


def question_hash(*parts: Any) -> str:
    """A short name for a question: SHA-256 over its parts, each by its length and its `repr`."""
    digest = hashlib.sha256()
    for part in parts:
        written = repr(part).encode("utf-8", "surrogatepass")
        digest.update(len(written).to_bytes(8, "big") + written)
    return digest.hexdigest()[:32]


def _joined(kind: str, parts: tuple[Any, ...]) -> str:
    return ":".join([kind, *(quote(str(part), safe="/.,@+=?&- ") for part in parts)])
