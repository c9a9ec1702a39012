"""What the cache says of itself: a read's outcome, an entry explained, the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, Self, TypeVar

from livelake.cache.slot import Slot
from livelake.keys import KeyExpr

V = TypeVar("V")

Status = Literal["hit", "miss", "joined", "stale", "bypass"]
"""How a read was answered: from an entry; computed for it; from a flight under way; from an entry that is known
to be stale (only where asked for); computed and kept for nobody."""


class Read(NamedTuple, Generic[V]):
    """The slot that answers a read, and how it came about."""

    slot: Slot[V]
    status: Status
    age: float = 0.0
    """Seconds since the computation of the answer began."""
    error: BaseException | None = None
    """With status ``stale``: the failure that made it serve an old answer, if that was the reason."""

    @property
    def value(self) -> V:
        return self.slot.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The entry under a key, as it stands. ``state`` is what a read would meet; ``dropped_by`` says why."""

    state: Literal["fresh", "stale", "expired", "flying", "absent"]
    depends_on: tuple[KeyExpr, ...] = ()
    pinned: Mapping[str, int] | None = None
    dropped_by: str | None = None
    age: float | None = None
    cost: float | None = None

    @classmethod
    def of_flight(cls, depends_on: Iterable[KeyExpr] | None) -> Self:
        """What there is where there is no entry: a flight, or (None) nothing."""
        if depends_on is None:
            return cls(state="absent")
        return cls(state="flying", depends_on=tuple(sorted(depends_on)))

    @classmethod
    def of_entry(cls, slot: Slot[Any], is_fresh: bool, now: float) -> Self:
        """An entry at ``now`` (monotonic)."""
        return cls(
            state="stale" if slot.is_stale else "fresh" if is_fresh else "expired",
            depends_on=tuple(sorted(slot.depends_on)),
            pinned=slot.pinned,
            dropped_by=None if slot.dropped_by is None else str(slot.dropped_by),
            age=now - slot.begun_at,
            cost=slot.cost,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """Counts since the cache was made; ``entries``, ``bytes`` and ``flights`` are of now."""

    hits: int = 0
    misses: int = 0
    joins: int = 0
    stale_served: int = 0
    refreshes: int = 0  # begun in the background for answers that were served stale
    refreshes_coalesced: int = 0  # asked for while one was under way, or put off after a failure
    bypasses: int = 0
    computed: int = 0
    errors: int = 0
    fences: int = 0  # flights that a change overtook
    stale_fills_prevented: int = 0  # answers that landed after that, and were not kept
    invalidations: int = 0  # entries that a change made stale
    evictions: int = 0
    expirations: int = 0
    abandoned: int = 0  # flights that nobody waited for any more
    entries: int = 0
    bytes: int = 0
    flights: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}
