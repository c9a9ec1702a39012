"""What is open only as long as somebody may see it: each stream is held by a lease, and ends with it.

One look every so many seconds for all of them, so that a stream costs nothing in between. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from livelake.web.identity import Identity

__all__ = ["Leases"]

EVERY = 1.0
"""Seconds between two looks. A stream outlives its token by no more than that."""


class Leases:
    """Ends what ``still`` no longer holds for. It is called with each identity at every look, so it must be cheap."""

    def __init__(self, renew: Callable[[], None], still: Callable[[Identity], bool], every: float = EVERY) -> None:
        self._renew = renew
        self._still = still
        self._every = every
        self._held: dict[Callable[[], None], Identity] = {}
        self._timer: asyncio.TimerHandle | None = None

    def hold(self, identity: Identity, end: Callable[[], None]) -> Callable[[], None]:
        """Call ``end()`` once when ``identity`` may no longer; returns what gives the lease back."""
        self._held[end] = identity
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._tick)
        return lambda: self._give_back(end)

    def look(self) -> None:
        """End what has lapsed."""
        self._renew()
        for end, identity in list(self._held.items()):
            if not self._still(identity):
                self._give_back(end)
                end()

    def close(self) -> None:
        """Look no more; what is held is ended by whoever closes. Closing twice is fine."""
        self._held.clear()
        self._stop()

    def __len__(self) -> int:
        return len(self._held)

    def _tick(self) -> None:
        self._timer = None
        try:
            self.look()
        finally:
            if self._held:
                self._timer = asyncio.get_running_loop().call_later(self._every, self._tick)

    def _give_back(self, end: Callable[[], None]) -> None:
        self._held.pop(end, None)
        if not self._held:
            self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
