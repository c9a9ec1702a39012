"""Sessions: what a browser holds after its reader has typed a token once. A signed ticket, never the token.

The ticket names the token by a number that only this deployment can make, says when it began and ends, and carries
a number of its own; HMAC-SHA256 over it all (RFC 2104) makes it ours. So every worker can check one and none keeps a
table of them. What must be kept is who has logged out: a list that workers share through a file that is only ever
appended to, bounded because it forgets what has ended, and, if it still grows, ends all sessions that began before.

A ticket is worth what its token is worth now: take the token away and its sessions are gone.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import secrets
import struct
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from livelake.web.identity import Identity
from livelake.web.tokens import Tokens

__all__ = ["SessionSettings", "Sessions"]

_TICKET: Final = struct.Struct(">16sdd16s")  # the token's number, begin and end in seconds, its own number
_MAC_BYTES: Final = 32
_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{107}")  # 80 bytes

_SESSION: Final = struct.Struct(">16sd")  # its own number, and when it began
_ENDED: Final = struct.Struct(">16sd")  # a record of the file: a session's number, and when it would have ended
_ALL: Final = bytes(16)  # in the place of a number: all that began before that moment
_MOST_ENDED: Final = 10_000
_MOST_READ: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """What all workers of one deployment share."""

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """A new one at each start logs everybody out."""
    seconds: float = 12 * 3600.0
    """The longest life of a session."""
    ended: Path | None = None
    """A file for those that were logged out; None where one process serves alone."""


class Sessions:
    """Begins, reads and ends them. Belongs to one event loop; looks at a file of a few bytes, if at any."""

    def __init__(self, settings: SessionSettings | None = None) -> None:
        self._settings = settings or SessionSettings()
        self._known: tuple[Tokens, dict[bytes, Identity]] = (Tokens(), {})
        self._ended: dict[bytes, float] = {}
        self._none_before = 0.0
        self._offset = 0
        path = self._settings.ended
        # Held open, so that nobody who tidies up takes it away from under us.
        self._file = None if path is None else os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)

    def close(self) -> None:
        """Closing twice is fine."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def begin(self, identity: Identity, now: datetime) -> tuple[str, int]:
        """A ticket for whoever showed the token, and the whole seconds for which it is good."""
        until = now + timedelta(seconds=self._settings.seconds)
        if identity.until is not None:
            until = min(until, identity.until)
        own = secrets.token_bytes(16)
        ticket = _TICKET.pack(self._number(identity.token), now.timestamp(), until.timestamp(), own)
        value = base64.urlsafe_b64encode(ticket + self._mac(ticket)).rstrip(b"=").decode()
        return value, max(0, int((until - now).total_seconds()))

    def read(self, value: str, tokens: Tokens, now: datetime) -> Identity | None:
        """Who holds this ticket; None if it is not ours, has ended, or its token is no longer known."""
        if not _VALUE.fullmatch(value):
            return None
        given = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
        ticket, mac = given[: _TICKET.size], given[_TICKET.size :]
        if not hmac.compare_digest(mac, self._mac(ticket)):
            return None
        number, begun, until, own = _TICKET.unpack(ticket)
        behind = self._by_number(tokens).get(number)
        if behind is None or not behind.may("read") or now.timestamp() >= until or self._has_ended(own, begun):
            return None
        # Reading only: what writes is never moved by a cookie, so no other site can move it either.
        found = replace(
            behind,
            roles=behind.roles & {"read"},
            until=datetime.fromtimestamp(until, UTC),
            session=_SESSION.pack(own, begun),
        )
        return found if tokens.vouch(found, now) else None

    def end(self, identity: Identity, now: datetime) -> None:
        """Log out: nobody reads with this session again, here or at another worker."""
        if identity.session and identity.until is not None:
            own, _ = _SESSION.unpack(identity.session)
            self._note(own, identity.until.timestamp(), now.timestamp())

    def holds(self, identity: Identity) -> bool:
        """Whether it is no session, or one that was not logged out."""
        return not identity.session or not self._has_ended(*_SESSION.unpack(identity.session))

    def look(self, now: datetime) -> None:
        """Hear who has logged out at other workers. Costs a look at the length of a file."""
        if self._file is None or os.fstat(self._file).st_size < self._offset + _ENDED.size:
            return
        news = os.pread(self._file, _MOST_READ, self._offset)
        whole = len(news) - len(news) % _ENDED.size
        self._offset += whole
        for own, moment in _ENDED.iter_unpack(news[:whole]):
            self._apply(own, moment)
        self._forget(now.timestamp())

    # ---------------------------------------------------------------- who has logged out

    def _note(self, own: bytes, until: float, now: float) -> None:
        self._forget(now)
        record = (own, until) if len(self._ended) < _MOST_ENDED else (_ALL, now)
        self._apply(*record)
        if self._file is not None:
            os.write(self._file, _ENDED.pack(*record))  # appended whole: a record is shorter than any buffer

    def _forget(self, now: float) -> None:
        """Those that would have ended by themselves."""
        if len(self._ended) >= _MOST_ENDED:
            self._ended = {each: end for each, end in self._ended.items() if end > now}

    def _apply(self, own: bytes, moment: float) -> None:
        if own == _ALL:
            self._none_before = max(self._none_before, moment)
            self._ended.clear()
        else:
            self._ended[own] = moment

    def _has_ended(self, own: bytes, begun: float) -> bool:
        return own in self._ended or begun <= self._none_before

    # ---------------------------------------------------------------- signing

    def _mac(self, ticket: bytes) -> bytes:
        return hmac.digest(self._settings.secret, b"livelake ticket\0" + ticket, "sha256")

    def _number(self, digest: bytes) -> bytes:
        return hmac.digest(self._settings.secret, b"livelake token\0" + digest, "sha256")[:16]

    def _by_number(self, tokens: Tokens) -> dict[bytes, Identity]:
        if self._known[0] is not tokens:
            self._known = (tokens, {self._number(each.token): each for each in tokens.identities()})
        return self._known[1]
