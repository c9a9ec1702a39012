"""How many may look at once: streams in total, and from one address. Pure counting; belongs to one event loop.

Addresses of IPv6 count by their network of 64 bits, which is what one customer is given. Behind a proxy all viewers
have the proxy's address, so that a cap for each address belongs into the proxy.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable

from livelake.errors import BusyError

MAX_VIEWERS = 10_000


class Admission:
    """``most`` streams at once, ``most_per_address`` of them from one address; None: as many as come."""

    def __init__(self, most: int | None = MAX_VIEWERS, most_per_address: int | None = None) -> None:
        self.most = most
        self.most_per_address = most_per_address
        self.total = 0
        self._by_address: Counter[str] = Counter()

    def enter(self, address: str | None) -> Callable[[], None]:
        """Let one in; returns what lets it out, to be called once. Raises `BusyError` if there is no room."""
        if self.most is not None and self.total >= self.most:
            raise BusyError(f"{self.most} streams are open, and this server holds no more; try again later")
        place = network(address)
        if self.most_per_address is not None and self._by_address[place] >= self.most_per_address:
            raise BusyError(
                f"{self.most_per_address} streams are open from your address, and no more are held for one;"
                " close some pages, or try again later"
            )
        self.total += 1
        self._by_address[place] += 1
        return lambda: self._leave(place)

    def _leave(self, place: str) -> None:
        self.total -= 1
        self._by_address[place] -= 1
        if not self._by_address[place]:
            del self._by_address[place]


def network(address: str | None) -> str:
    """What counts as one place: an IPv4 address, or a /64 of IPv6; anything else by its name."""
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
