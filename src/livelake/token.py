"""What a write or a publication hands back, and what a later read may demand: a point that data must have
reached.

A token is opaque to users: they keep it, merge it, send it (a header, a cookie, a query string) and hand it
back. Inside it are the snapshots of catalogs and the positions of event sources. It is a point in a
lattice: ``a | b`` is the earliest point that is past both, ``a <= b`` says that reaching ``b`` is reaching
``a``.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from livelake.errors import UsageError

__all__ = ["Token", "check_token"]

_LARGEST: Final = 2**63 - 1
_LONGEST_TEXT: Final = 65_536


class Token:
    """A point in the history of catalogs and event sources. Immutable, hashable; safe to share between
    threads.

    ``str(token)`` is url-safe text, at most a few dozen characters for each name in it; `parse` reads it
    back. The empty token is a point that everything has reached; it is falsy.
    """

    __slots__ = ("_positions", "_versions")

    _versions: Mapping[str, int]
    _positions: Mapping[str, int]

    def __init__(self, versions: Mapping[str, int] | None = None, positions: Mapping[str, int] | None = None) -> None:
        for what, names in (("version", versions), ("position", positions)):
            for name, number in (names or {}).items():
                _check(what, name, number)
        object.__setattr__(self, "_versions", MappingProxyType(dict(versions or {})))
        object.__setattr__(self, "_positions", MappingProxyType(dict(positions or {})))

    @property
    def versions(self) -> Mapping[str, int]:
        """Catalog name → snapshot id."""
        return self._versions

    @property
    def positions(self) -> Mapping[str, int]:
        """Lane of an event source → number of the last event in it."""
        return self._positions

    @classmethod
    def parse(cls, text: str) -> Token:
        """The token whose text this is; `UsageError` says why it is none."""
        if not isinstance(text, str):
            raise UsageError(f"a token is text, and this is {type(text).__name__}; hand back str(token).")
        if len(text) > _LONGEST_TEXT:
            raise UsageError(f"a token has at most {_LONGEST_TEXT:,} characters, and this has {len(text):,}.")
        try:
            plain = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
            content = json.loads(plain)
        except (binascii.Error, UnicodeError, ValueError, RecursionError) as error:
            raise _unreadable(text, "it is not what str(token) gives") from error
        if not isinstance(content, dict) or not content.keys() <= {"v", "p"}:
            raise _unreadable(text, "it was made by another version, or by hand")
        versions, positions = content.get("v", {}), content.get("p", {})
        if not isinstance(versions, dict) or not isinstance(positions, dict):
            raise _unreadable(text, "it was made by another version, or by hand")
        try:
            return cls(versions, positions)
        except UsageError as error:
            raise _unreadable(text, str(error)) from error

    def covers(self, other: Token) -> bool:
        """Whether reaching this is also reaching ``other``; the same as ``other <= self``."""
        return _all_reached(other._versions, self._versions) and _all_reached(other._positions, self._positions)

    def __le__(self, other: object) -> bool:
        return other.covers(self) if isinstance(other, Token) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return other.covers(self) and self != other if isinstance(other, Token) else NotImplemented

    def __or__(self, other: object) -> Token:
        """The earliest point past both: each name at its maximum."""
        if not isinstance(other, Token):
            return NotImplemented
        if self.covers(other):
            return self
        if other.covers(self):
            return other
        return Token(_maxima(self._versions, other._versions), _maxima(self._positions, other._positions))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Token):
            return NotImplemented
        return self._versions == other._versions and self._positions == other._positions

    def __hash__(self) -> int:
        return hash((frozenset(self._versions.items()), frozenset(self._positions.items())))

    def __bool__(self) -> bool:
        return bool(self._versions or self._positions)

    def __str__(self) -> str:
        content = {"v": dict(self._versions), "p": dict(self._positions)}
        plain = json.dumps({k: v for k, v in content.items() if v}, sort_keys=True, separators=(",", ":"))
        return base64.urlsafe_b64encode(plain.encode("ascii")).rstrip(b"=").decode("ascii")

    def __repr__(self) -> str:
        return f"Token(versions={dict(self._versions)!r}, positions={dict(self._positions)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Token, (dict(self._versions), dict(self._positions))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Token is immutable; {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Token is immutable; {name!r} cannot be deleted")


def check_token(token: object) -> None:
    """Raise `UsageError` for what is no `Token` where one is wanted."""
    if not isinstance(token, Token):
        how = "Token.parse(…) reads the text of one" if isinstance(token, str) else "a write returns one"
        raise UsageError(f"not_before={token!r:.80}: give a Token, and this is {type(token).__name__}; {how}")


def _check(what: str, name: object, number: object) -> None:
    if not isinstance(name, str) or not name:
        raise UsageError(f"the name of a {what} is non-empty text, and this is {name!r}.")
    if type(number) is not int or not 0 <= number <= _LARGEST:
        raise UsageError(f"the {what} of {name!r} is a whole number from 0, and this is {number!r:.40}.")


def _unreadable(text: str, reason: str) -> UsageError:
    return UsageError(f"{text[:40]!r} is no token: {reason}. Hand back the text of a token unchanged.")


def _all_reached(wanted: Mapping[str, int], reached: Mapping[str, int]) -> bool:
    return all(number <= reached.get(name, -1) for name, number in wanted.items())


def _maxima(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    names: Iterable[str] = {**a, **b}
    return {name: max(a.get(name, 0), b.get(name, 0)) for name in names}
