"""Who asks: what a token, a session, or the application around ours vouches for. Pure.

The guard puts one into ``scope["livelake.identity"]``; None there means that authentication is off. An application
that mounts ours and has a log-in of its own puts its own there, and ours believes it::

    scope["livelake.identity"] = Identity(claims={"tenant": "acme"})
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

__all__ = ["SCOPE_KEY", "Identity", "Role", "claims_of", "identity_of"]

Role = Literal["publish", "read"]

SCOPE_KEY: Final = "livelake.identity"


@dataclass(frozen=True, slots=True)
class Identity:
    """May do what its roles say, until it ends. Its `repr` tells nothing that could be shown in its place."""

    roles: frozenset[Role] = frozenset({"read"})
    claims: Mapping[str, str] = field(default_factory=dict)
    """What is said of who asks: ``{"user": "ada"}``. Queries may take parameters from here."""
    until: datetime | None = None
    """Not valid from this moment on."""
    token: bytes = field(default=b"", repr=False)
    """The digest of the token behind it; empty where an application around ours vouches."""
    session: bytes = field(default=b"", repr=False)
    """The session's own number; empty where the token itself was shown."""

    def may(self, role: Role) -> bool:
        return role in self.roles


def identity_of(scope: MutableMapping[str, Any]) -> Identity | None:
    """Who asks, None where nobody is asked."""
    found = scope.get(SCOPE_KEY)
    return found if isinstance(found, Identity) else None


def claims_of(scope: MutableMapping[str, Any]) -> Mapping[str, str] | None:
    """What is said of who asks, for `Query.bind`; None where authentication is off."""
    found = identity_of(scope)
    return None if found is None else found.claims
