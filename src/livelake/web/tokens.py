"""Who may read and publish: bearer tokens (RFC 6750), each with roles, claims and an end, kept as digests.

Reading is open until somebody has a token with the role read; from then on it needs one. Publishing always needs
one. A file of tokens has a line each::

    # who        token             what is said of whoever shows it
    read         6f1c…             user=ada tenant="Acme Corp"
    read,publish 0b72…             until=2026-12-31T00:00:00Z

Digests of one length are compared, each with every one that is known: how long it takes says nothing about them.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, cast, get_args

from livelake.errors import ConfigError, UsageError
from livelake.web.identity import Identity, Role

__all__ = ["SHORTEST", "Role", "Tokens", "Verdict"]

log = logging.getLogger("livelake.web")

Verdict = Literal["allowed", "off", "missing", "unknown", "read only"]
"""What is said to who would publish: do; nobody may; no token was shown; none that is known; not with this one."""

SHORTEST: Final = 16
"""Characters of a token: a short one is guessed, however slowly we answer."""
_TOKEN: Final = re.compile(rf"[\x21-\x7e]{{{SHORTEST},1024}}")
_SCHEME: Final = re.compile(r"bearer +(\S+) *", re.IGNORECASE)
_LINE: Final = re.compile(r"(\S+)(?:[ \t]+(\S+)(?:[ \t]+(.*))?)?")
_CLAIM: Final = re.compile(r'([a-z_][a-z0-9_]*)=("[^"]*"|[^\s"]+)(?:[ \t]+|$)')
_ROLES: Final = frozenset(get_args(Role))
_UNTIL: Final = "until"


@dataclass(frozen=True, slots=True)
class _Grant:
    """What one token stands for."""

    digest: bytes = field(repr=False)
    roles: frozenset[Role]
    claims: Mapping[str, str] = field(default_factory=dict)
    until: datetime | None = None

    def identity(self) -> Identity:
        return Identity(self.roles, self.claims, self.until, self.digest)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Digests of tokens and what they stand for, and the file that they came from, if any.

    Without any, everybody reads and nobody publishes. Its `repr` tells how many there are. Can be sent to another
    process.
    """

    _fixed: tuple[_Grant, ...] = field(default=(), repr=False)
    """Those that no file takes away."""
    _known: tuple[_Grant, ...] = field(default=(), repr=False)
    """These and what the file says, each token once."""
    _file: Path | None = None
    _seen: tuple[int, ...] = ()
    guards_reading: bool = False
    """Whether reading needs a token. It never becomes open again because the last such token was taken away."""

    @classmethod
    def of(cls, publish: Iterable[str] = (), read: Iterable[str] = ()) -> Tokens:
        """`UsageError` for a text that is too short or that no header can carry; it does not repeat the text."""
        given: list[tuple[Role, str]] = [("publish", each) for each in publish] + [("read", each) for each in read]
        known = _merged([_Grant(_digest(token), frozenset({role})) for role, token in given])
        return _guarding(cls(known, known))

    @classmethod
    def from_file(cls, path: Path) -> Tokens:
        """The tokens of a file, which `renewed` looks at again. `ConfigError` names the line that is none.

        A file that others on this machine can read is told to the log.
        """
        try:
            seen, text = _look(path), path.read_text(encoding="utf-8")
            others = path.stat().st_mode & 0o077
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ConfigError(f"the tokens cannot be read: {reason}", file=path) from error
        if others:
            log.warning("%s holds tokens, and others on this machine can read it; run chmod 600 %s", path, path)
        grants, wrong = _parse(text, path)
        if wrong:
            raise wrong[0]
        if not grants:
            raise ConfigError("there is no token here; write a line `read TOKEN` or `publish TOKEN`", file=path)
        return _guarding(cls((), grants, path, seen))

    def renewed(self) -> Tokens:
        """These tokens, or what their file says if it has changed since. Costs a look at the file's times.

        Never more than the file says: a line that is none is left out and told to the log, and a file that cannot be
        read vouches for nobody until it can.
        """
        if self._file is None:
            return self
        try:
            seen = _look(self._file)
            if seen == self._seen:
                return self
            text = self._file.read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            if self._seen:
                log.error("%s cannot be read (%s); its tokens count for nothing until it can", self._file, error)
            return replace(self, _seen=(), _known=self._fixed)
        grants, wrong = _parse(text, self._file)
        for each in wrong:
            log.error("%s; this line is left out", each)
        return _guarding(replace(self, _seen=seen, _known=_merged([*self._fixed, *grants])))

    def __or__(self, other: Tokens) -> Tokens:
        """Both; at most one of them comes from a file."""
        one, two = (self, other) if self._file is not None else (other, self)
        assert two._file is None
        return replace(
            one,
            _fixed=_merged([*one._fixed, *two._fixed]),
            _known=_merged([*one._known, *two._known]),
            guards_reading=one.guards_reading or two.guards_reading,
        )

    def __bool__(self) -> bool:
        return bool(self._known)

    @property
    def may_publish(self) -> bool:
        """Whether anybody may publish."""
        return any("publish" in each.roles for each in self._known)

    def identities(self) -> list[Identity]:
        """Whom they stand for, also those that have ended."""
        return [each.identity() for each in self._known]

    def whose(self, token: str, now: datetime) -> Identity | None:
        """Who shows this token, if it is known and has not ended."""
        given = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        found = [each for each in self._known if hmac.compare_digest(each.digest, given)]
        return next((each.identity() for each in found if each.until is None or now < each.until), None)

    def bearer(self, authorization: Sequence[str], now: datetime) -> Identity | None:
        """Who shows these ``Authorization`` headers: one of them, with a token that is known."""
        shown = _SCHEME.fullmatch(authorization[0]) if len(authorization) == 1 else None
        return None if shown is None else self.whose(shown[1], now)

    def vouch(self, identity: Identity, now: datetime) -> bool:
        """Whether what was vouched for once still is: the token is here, says the same, and nothing has ended."""
        if identity.until is not None and now >= identity.until:
            return False
        if not identity.token:
            return True
        return any(
            each.digest == identity.token
            and identity.roles <= each.roles
            and each.claims == identity.claims
            and (each.until is None or now < each.until)
            for each in self._known
        )

    def judge(self, authorization: Sequence[str], now: datetime) -> Verdict:
        """What to say to one who would publish, with these ``Authorization`` headers."""
        if not self.may_publish:
            return "off"
        if not authorization:
            return "missing"
        identity = self.bearer(authorization, now)
        if identity is None:
            return "unknown"
        return "allowed" if identity.may("publish") else "read only"

    def __repr__(self) -> str:
        return f"<Tokens: {len(self._known)}>"


def _guarding(tokens: Tokens) -> Tokens:
    guards = tokens.guards_reading or any("read" in each.roles for each in tokens._known)
    return replace(tokens, guards_reading=guards)


def _look(path: Path) -> tuple[int, ...]:
    """What changes when a file does: who it is, how long, and when it was written."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _merged(grants: Iterable[_Grant]) -> tuple[_Grant, ...]:
    """The same token given twice has the roles of both, and the earlier end."""
    found: dict[bytes, _Grant] = {}
    for each in grants:
        known = found.get(each.digest, each)
        ends = [moment for moment in (known.until, each.until) if moment is not None]
        found[each.digest] = replace(
            known, roles=known.roles | each.roles, claims=known.claims or each.claims, until=min(ends, default=None)
        )
    return tuple(found.values())


def _digest(token: str) -> bytes:
    if not _TOKEN.fullmatch(token):
        raise UsageError(
            f"a token is {SHORTEST} to 1,024 visible ASCII characters without spaces, so that nobody guesses it,"
            " and one that was given is not; `openssl rand -hex 32` makes one"
        )
    return hashlib.sha256(token.encode("ascii")).digest()


# ---------------------------------------------------------------- lines


def _parse(text: str, path: Path) -> tuple[tuple[_Grant, ...], list[ConfigError]]:
    """What the lines say, and what is wrong with those that say nothing."""
    found: dict[bytes, tuple[int, _Grant]] = {}
    wrong: list[ConfigError] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            grant = _line(line)
            first, _ = found.setdefault(grant.digest, (number, grant))
            if first != number:
                raise UsageError(
                    f"line {first} has this token already; write its roles together: `read,publish TOKEN`"
                )
        except UsageError as error:
            wrong.append(ConfigError(str(error), file=path, line=number))
    return tuple(grant for _, grant in found.values()), wrong


def _line(line: str) -> _Grant:
    said = _LINE.fullmatch(line)
    names = set(said[1].split(",")) if said else set()
    if said is None or not names or not names <= _ROLES:
        raise UsageError("a line is `read TOKEN`, `publish TOKEN` or `read,publish TOKEN`, then what is said of it")
    claims = _claims(said[3] or "")
    until = claims.pop(_UNTIL, None)
    ends = None if until is None else _moment(until)
    return _Grant(_digest(said[2] or ""), cast("frozenset[Role]", frozenset(names)), claims, ends)


def _claims(text: str) -> dict[str, str]:
    claims: dict[str, str] = {}
    at = 0
    while at < len(text):
        found = _CLAIM.match(text, at)
        if found is None or found[1] in claims:
            raise UsageError(
                'after the token stand claims, each once: name=value or name="a value", and until=MOMENT'
            )
        claims[found[1]] = found[2].strip('"')
        at = found.end()
    return claims


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise UsageError(f"until={text[:40]} is no moment with its zone, such as until=2026-12-31T00:00:00Z")
    return found
