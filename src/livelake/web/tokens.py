"""Who may publish over HTTP: bearer tokens (RFC 6750), each with a role, kept as digests.

Digests of one length are compared, each with every one that is known: how long it takes says nothing about them.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from livelake.errors import ConfigError, UsageError

__all__ = ["Role", "Tokens", "Verdict"]

log = logging.getLogger("livelake.web")

Role = Literal["publish", "read"]
Verdict = Literal["allowed", "off", "missing", "unknown", "read only"]
"""What is said to a request: come in; nobody may; no token was shown; none that is known; not for publishing."""

_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,1024}")
_SCHEME: Final = re.compile(r"bearer +(\S+) *", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Digests of tokens and their roles. Without any, nobody publishes. Its `repr` tells how many there are."""

    _known: tuple[tuple[bytes, Role], ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, publish: Iterable[str] = (), read: Iterable[str] = ()) -> Tokens:
        """`UsageError` for a text that no header can carry; it does not repeat the text."""
        return cls(
            tuple([(_digest(each), "publish") for each in publish] + [(_digest(each), "read") for each in read])
        )

    @classmethod
    def from_file(cls, path: Path) -> Tokens:
        """A line ``publish TOKEN`` or ``read TOKEN`` each; ``#`` begins a comment. `ConfigError` names the line.

        A file that others on this machine can read is told to the log.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            others = path.stat().st_mode & 0o077
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ConfigError(f"the tokens cannot be read: {reason}", file=path) from error
        if others:
            log.warning("%s holds tokens, and others on this machine can read it; run chmod 600 %s", path, path)
        known = tuple(
            _line(line, path, number)
            for number, line in enumerate(lines, 1)
            if line.strip() and not line.lstrip().startswith("#")
        )
        if not known:
            raise ConfigError("there is no token here; write a line `publish TOKEN`", file=path)
        return cls(known)

    def __or__(self, other: Tokens) -> Tokens:
        return Tokens(self._known + other._known)

    def __bool__(self) -> bool:
        return bool(self._known)

    def judge(self, authorization: Sequence[str]) -> Verdict:
        """What to say to a request with these ``Authorization`` headers."""
        if not any(role == "publish" for _, role in self._known):
            return "off"
        if not authorization:
            return "missing"
        shown = _SCHEME.fullmatch(authorization[0])
        if len(authorization) > 1 or shown is None:
            return "unknown"
        given = hashlib.sha256(shown[1].encode("utf-8", "surrogateescape")).digest()
        roles = [role for digest, role in self._known if hmac.compare_digest(digest, given)]
        if "publish" in roles:
            return "allowed"
        return "read only" if roles else "unknown"

    def __repr__(self) -> str:
        return f"<Tokens: {len(self._known)}>"


def _digest(token: str) -> bytes:
    if not _TOKEN.fullmatch(token):
        raise UsageError(
            "a token is 1 to 1,024 visible ASCII characters without spaces, and one that was given is not;"
            " `openssl rand -hex 32` makes one"
        )
    return hashlib.sha256(token.encode("ascii")).digest()


def _line(line: str, path: Path, number: int) -> tuple[bytes, Role]:
    role, _, token = line.strip().partition(" ")
    for known in get_args(Role):
        if role == known:
            try:
                return _digest(token.strip()), known
            except UsageError as error:
                raise ConfigError(str(error), file=path, line=number) from error
    raise ConfigError("a line is `publish TOKEN` or `read TOKEN`", file=path, line=number)
