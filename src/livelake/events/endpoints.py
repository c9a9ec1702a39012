"""Where a Zenoh session or router listens or connects: ``tcp/HOST:PORT`` and its kin, judged before Zenoh does.

Zenoh takes ``tcp/x`` and ``foo/1`` when it reads a configuration and fails later, or only says "Timeout"; here each
is refused with the reason. Pure; any thread; no name is looked up.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from typing import Final

from livelake.errors import UsageError

__all__ = ["Endpoint", "parse_endpoint"]

_EXAMPLES: Final = "tcp/10.0.0.5:7447, tls/events.example.org:7447, unixsock-stream//run/livelake/bus.sock"
_ENCRYPTED: Final = frozenset({"tls", "quic"})
_PLAIN: Final = frozenset({"tcp", "udp", "ws"})
_UNIX: Final = "unixsock-stream"
_NOT_COMPILED: Final = frozenset({"unixpipe", "vsock", "serial"})
_PORTS: Final = range(65_536)
_HOST: Final = re.compile(r"[^\s/:\[\]]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """One place. ``text`` is what Zenoh is given; ``port`` is None for a Unix socket, whose ``host`` is its path."""

    text: str
    protocol: str
    host: str
    port: int | None

    def __str__(self) -> str:
        return self.text

    @property
    def is_encrypted(self) -> bool:
        return self.protocol in _ENCRYPTED

    @property
    def is_datagram(self) -> bool:
        return self.protocol in ("udp", "quic")

    @property
    def is_local(self) -> bool:
        """Only this machine can reach it: a loopback address or a Unix socket."""
        if self.port is None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_every_address(self) -> bool:
        """``0.0.0.0`` and ``[::]``: a place to listen, none to connect to."""
        try:
            return self.port is not None and ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False

    def with_port(self, port: int) -> Endpoint:
        """The same place at another port."""
        assert self.port is not None, self.text
        head, tail = self.text.rsplit(f":{self.port}", 1)
        return dataclasses.replace(self, text=f"{head}:{port}{tail}", port=port)


def parse_endpoint(text: str, *, listening: bool) -> Endpoint:
    """The endpoint that ``text`` is; `UsageError` says in one line which it is and why it is none.

    A Zenoh endpoint may end in ``?metadata`` and ``#options`` (``tcp/10.0.0.5:7447#iface=eth0``); these are kept
    unread. Only a listener may ask for port 0 (any free one) or for every address.
    """
    protocol, slash, address = text.partition("/")
    address = re.split(r"[?#]", address, maxsplit=1)[0]
    if protocol in _NOT_COMPILED:
        raise _refused(text, f"the zenoh package is built without {protocol}")
    if not slash or protocol not in _ENCRYPTED | _PLAIN | {_UNIX}:
        raise _refused(text, "it does not begin with tcp/, tls/, quic/, ws/, udp/ or unixsock-stream/")
    if not text.isprintable():
        raise _refused(text, "it holds control characters")
    if protocol == _UNIX:
        if not address.strip("/"):
            raise _refused(text, "it names no socket file")
        return Endpoint(text, protocol, address, None)
    host, port = _host_and_port(text, address)
    endpoint = Endpoint(text, protocol, host, port)
    if not listening and port == 0:
        raise _refused(text, "nobody listens on port 0; name the port of the router")
    if not listening and endpoint.is_every_address:
        raise _refused(text, "that is every address, a place to listen; name the host of the router")
    return endpoint


def _host_and_port(text: str, address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not host:
        raise _refused(text, "it needs a host and a port, HOST:PORT")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) in _PORTS):
        raise _refused(text, f"{port!r:.20} is no port; ports are 0 to 65535")
    if str(int(port)) != port:
        raise _refused(text, f"the port is written {int(port)}")
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1].partition("%")[0])), int(port)
        except ValueError:
            raise _refused(text, f"{host:.60} is no IPv6 address") from None
    if ":" in host:
        raise _refused(text, f"an IPv6 address stands in brackets: [{host:.60}]:{port}")
    if not _HOST.fullmatch(host):
        raise _refused(text, f"{host!r:.60} is no host name or address")
    return host, int(port)


def _refused(text: str, why: str) -> UsageError:
    shown = text if len(text) <= 100 else text[:99] + "…"
    return UsageError(f"{shown!r} is no endpoint: {why}. Examples: {_EXAMPLES}")
