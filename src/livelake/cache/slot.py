"""One answer, from the flight that computes it to the entry that keeps it.

A `Slot` is the single object that the index, the flights, the entries and the store share, so they can never
disagree about *which* answer is meant: a change flips this object, whoever holds it.

    flying ──land──► kept ──────► gone        (kept: served to readers)
       │               │
       │ fence         │ change, expiry       `fresh_until` drops to -inf: never served as fresh again
       ▼               ▼
     fenced          stale                    (may still be shown, marked, where that was asked for)

All fields but `read_at` change only under the lock of the cache that owns the slot. Readers look without
the lock: the one word that they need, `fresh_until`, is written atomically.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar, final

from livelake.keys import KeyExpr

if TYPE_CHECKING:
    from livelake.cache.flight import Flight

V = TypeVar("V")

NEVER = -math.inf
FOREVER = math.inf
SEVERAL: Final = KeyExpr("**")
"""The key of a change that stands for several, whose version is that of the newest."""


class Change(NamedTuple):
    """Something under ``key`` has changed.

    With ``source`` and ``version`` it is a commit in a log that numbers its states: an answer that was read
    from ``source`` at ``version`` or later has seen it. Without them it is an event: everything that depends
    on ``key`` and began before is in doubt.
    """

    key: KeyExpr
    source: str | None = None
    version: int = 0

    def __str__(self) -> str:
        return f"{self.key} at {self.source} {self.version}" if self.source else str(self.key)


@final
class Group:
    """Entries that depend on one and the same expression, and on nothing else: an event ends them all by one word.

    ``cause`` is None as long as they may be fresh; it changes once, under the lock, and readers look without it.
    """

    __slots__ = ("cause", "expression", "slots", "stale_at")

    def __init__(self, expression: KeyExpr) -> None:
        self.expression = expression
        self.slots: set[Slot[Any]] = set()
        self.cause: Change | str | None = None
        self.stale_at: float = FOREVER


class Slot(Generic[V]):
    """See the module. ``value`` is meaningful once ``landed``."""

    __slots__ = (
        "begun_at",
        "cause",
        "computed_at",
        "cost",
        "depends_on",
        "ended_at",
        "evicted",
        "flight",
        "fresh_until",
        "group",
        "idle_after",
        "key",
        "landed",
        "landed_at",
        "pinned",
        "read_at",
        "registered",
        "retries",
        "retry_at",
        "size",
        "sweep",
        "unseen",
        "valid_until",
        "value",
        "watchers",
        "weight",
    )

    value: V

    def __init__(self, key: Hashable, depends_on: frozenset[KeyExpr]) -> None:
        self.key = key
        self.depends_on: tuple[KeyExpr, ...] = tuple(depends_on)  # a set of one takes 170 bytes more
        self.registered = 0  # under how many expressions it stands in the index
        self.flight: Flight[V] | None = None
        self.landed = False
        self.fresh_until: float = FOREVER  # monotonic seconds; NEVER = fenced or stale
        self.idle_after: float = FOREVER  # seconds without a read after which it goes
        self.read_at: float = NEVER  # monotonic; the one field that readers write, without the lock
        self.retries = 0  # background refreshes of this entry that failed, one after the other
        self.retry_at: float = NEVER  # monotonic; not before then the next one
        self.valid_until: float | None = None  # wall clock, seconds since the epoch
        self.computed_at: float = 0.0  # wall clock, when the computation began to read
        self.begun_at: float = 0.0  # monotonic, the same moment
        self.landed_at: float = 0.0  # monotonic
        self.cost: float = 0.0  # seconds that the computation took
        self.size = 0  # bytes
        self.weight = 1
        self.evicted = False
        self.sweep = 0  # the number of its one valid item on the registry's heap of deadlines
        # Versioned sources: what was read (None until pinned), and what was heard of before that was known.
        self.pinned: Mapping[str, int] | None = None
        self.unseen: tuple[Change, ...] = ()  # tuples: nearly always empty, and then they cost nothing
        self.group: Group | None = None  # with whom it shares its one dependency
        self.cause: Change | str | None = None
        self.ended_at: float = FOREVER
        self.watchers: tuple[Callable[[], None], ...] = ()

    @property
    def is_stale(self) -> bool:
        """Fenced while it flew, or overtaken by a change, or dropped since. Says nothing of expiry by time."""
        return self.fresh_until == NEVER or ((group := self.group) is not None and group.cause is not None)

    @property
    def stale_at(self) -> float:
        """Monotonic; when a change made it stale, or `FOREVER`."""
        group = self.group
        return self.ended_at if group is None or group.cause is None else group.stale_at

    @property
    def dropped_by(self) -> Change | str | None:
        """What made it stale: a change, the key of an event, or words."""
        group = self.group
        return self.cause if group is None or group.cause is None else group.cause

    def end(self, cause: Change | str, now: float) -> None:
        """It is not to be served as fresh any more. Once only; the lock is held."""
        self.ended_at = now
        self.cause = cause
        self.fresh_until = NEVER

    def has_seen(self, change: Change) -> bool:
        """Whether the versions that this answer was read at include ``change``."""
        if change.source is None or self.pinned is None:
            return False
        return self.pinned.get(change.source, -1) >= change.version

    def __repr__(self) -> str:
        state = "stale" if self.is_stale else "kept" if self.landed else "flying"
        return f"<Slot {self.key!r} {state} depends_on={sorted(self.depends_on)}>"
