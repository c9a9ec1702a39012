"""How often a place may try to log in and fail. Pure; time comes in as an argument.

A generic cell rate algorithm (ITU-T I.371): a place has some failures at once, then one every so many seconds. It is
one number for each place, and the places are bounded: what was longest quiet is forgotten first. The guess that is
slowed is at a token of 16 characters and more, so this is against noise more than against luck.
"""

from __future__ import annotations

from collections import OrderedDict

from livelake.web.admission import network

__all__ = ["Attempts"]


class Attempts:
    """Failures by place: ``burst`` at once, then one every ``every`` seconds; ``most`` places are remembered."""

    def __init__(self, *, burst: int = 20, every: float = 3.0, most: int = 10_000) -> None:
        self._slack = burst * every
        self._every = every
        self._most = most
        self._paid_until: OrderedDict[str, float] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Seconds until this place may try again; 0 at once. ``now`` is monotonic."""
        paid = self._paid_until.get(_place(address), now)
        return max(0.0, paid + self._every - now - self._slack)

    def failed(self, address: str, now: float) -> bool:
        """Count a failure; whether it is the one after which this place must wait."""
        place = _place(address)
        paid = max(self._paid_until.get(place, now), now) + self._every
        self._paid_until[place] = paid
        self._paid_until.move_to_end(place)
        if len(self._paid_until) > self._most:
            self._paid_until.popitem(last=False)
        return self._slack < paid + self._every - now <= self._slack + self._every

    def __len__(self) -> int:
        return len(self._paid_until)


def _place(address: str) -> str:
    return network(address)[:64]
