"""What a request says of where it comes from and where it goes, read once from the raw scope. Pure.

Never from a URL that was put together again: its host is whatever the client wrote (CVE-2026-48710). Fetch metadata
after https://www.w3.org/TR/fetch-metadata/, origins after RFC 6454.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from starlette.types import Scope

__all__ = ["Asked", "Hosts", "is_answered", "local_path"]

_HOST: Final = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_]([a-z0-9._-]{0,253}))(?::(\d{1,5}))?", re.IGNORECASE)
_BEARER: Final = re.compile(r"bearer(\s|$)", re.IGNORECASE)
_LOCAL: Final = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LONGEST_WAY_BACK: Final = 2_000
_OPEN: Final = frozenset({"/login", "/logout", "/healthz"})


@dataclass(frozen=True)
class Hosts:
    """Names that a server answers to. ``any_address``: also to every IP address, which no foreign name leads to."""

    names: frozenset[str]
    any_address: bool = False

    @property
    def is_loopback(self) -> bool:
        """Whether nobody asks but who sits at this machine."""
        return not self.any_address and all(_is_here(name) for name in self.names)

    def __contains__(self, host: object) -> bool:
        return host in self.names or (self.any_address and isinstance(host, str) and _is_address(host))


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. ``path`` is what was asked for below the place where we are mounted."""

    method: str
    path: str
    root: str
    query: str
    address: str
    is_secure: bool
    host: str | None
    """In lower case and without its port; None if there is none, more than one, or what is none."""
    port: str
    bearers: tuple[str, ...]
    """All ``Authorization`` headers, if one of them shows a token: what a proxy asks for besides is not for us."""
    cookies: tuple[str, ...]
    is_foreign: bool
    """Whether a page of another site, or of another origin, had a browser ask."""
    is_visit: bool
    """Whether a person follows a link or types an address, as far as can be told."""

    @classmethod
    def of(cls, scope: Scope) -> Asked:
        headers: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            if name in _READ:
                headers.setdefault(name, []).append(value.decode("latin-1"))
        hosts = headers.get(b"host", [])
        found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        root = scope.get("root_path", "")
        shown = headers.get(b"authorization", [])
        return cls(
            method=scope["method"],
            path=scope["path"].removeprefix(root) if root else scope["path"],
            root=root,
            query=scope.get("query_string", b"").decode("latin-1"),
            address=(scope.get("client") or ("",))[0],
            is_secure=scope.get("scheme") == "https",
            host=None if found is None else found[1].lower(),
            port=(found and found[3]) or "",
            bearers=tuple(shown) if any(_BEARER.match(each) for each in shown) else (),
            cookies=tuple(headers.get(b"cookie", ())),
            is_foreign=_is_foreign(headers),
            is_visit=_is_visit(scope["method"], headers),
        )

    @property
    def is_open(self) -> bool:
        """Whether no token is needed: the way in, whether all is well, the page's own files, which say nothing."""
        if self.path in _OPEN:
            return True
        file = self.path.removeprefix("/static/")
        return file != self.path and "/" not in file

    @property
    def is_stream(self) -> bool:
        return self.path == "/live" or self.path.startswith("/live/")

    @property
    def login(self) -> str:
        """Where to log in, and then come back here."""
        back = quote(self.path, safe="/") + (f"?{self.query}" if self.query else "")
        known = local_path(back) == back and back != "/" and len(back) <= _LONGEST_WAY_BACK
        return f"{self.root}/login" + (f"?{urlencode({'next': back})}" if known else "")


def local_path(text: str) -> str:
    """``text`` if it is a path on this server, else ``/``. Browsers read ``//`` and ``/\\`` as another host."""
    return text if _LOCAL.fullmatch(text) else "/"


def is_answered(hosts: Container[str] | None, asked: Asked) -> bool:
    """Whether we go by the name that was asked for; without a list, by any that is one."""
    if hosts is None:
        return asked.host is not None
    return asked.host is not None and asked.host in hosts


_READ: Final = frozenset(
    [
        b"host",
        b"origin",
        b"sec-fetch-site",
        b"sec-fetch-mode",
        b"sec-fetch-dest",
        b"accept",
        b"authorization",
        b"cookie",
    ]
)


def _is_here(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host.strip("[]")).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _is_foreign(headers: dict[bytes, list[str]]) -> bool:
    """What is no browser says nothing of a site."""
    sites = headers.get(b"sec-fetch-site")
    if sites is not None:
        return not all(site in ("same-origin", "none") for site in sites)
    origins, hosts = headers.get(b"origin", []), headers.get(b"host", [""])
    return not all(_is_own(origin, hosts[0]) for origin in origins)


def _is_visit(method: str, headers: dict[bytes, list[str]]) -> bool:
    modes, destinations = headers.get(b"sec-fetch-mode"), headers.get(b"sec-fetch-dest", [])
    return (
        method in ("GET", "HEAD")
        and all(destination == "document" for destination in destinations)
        and (modes == ["navigate"] if modes is not None else b"origin" not in headers)
        and any("text/html" in accept for accept in headers.get(b"accept", ()))
    )


def _is_own(origin: str, host: str) -> bool:
    """Whether ``origin`` leads to ``host``, which is a name and maybe a port."""
    try:
        asked, own = urlsplit(origin), urlsplit(f"{origin.partition(':')[0]}://{host}")
        default = _DEFAULT_PORTS.get(asked.scheme)
        return asked.hostname is not None and (asked.hostname, asked.port or default) == (
            own.hostname,
            own.port or default,
        )
    except ValueError:
        return False
