"""The dependency index: key expressions → the slots that a change under them concerns.

Not thread-safe by itself: the cache that owns it holds its lock. One change costs one look-up in the tree and
then work for each slot that it hits, never a walk over what exists.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from livelake.cache.slot import Slot
from livelake.errors import KeyExprError
from livelake.keys import KeyExpr, KeyTree, aggregate, instance

if TYPE_CHECKING:
    AnySlot = Slot[Any]


def key_exprs(depends_on: str | Iterable[str]) -> frozenset[KeyExpr]:
    """``depends_on`` as users write it, validated: one expression or several. Empty means: on nothing known.

    Raises `KeyExprError` for what is no key expression, and for one that no event or table can ever match.
    """
    keys = frozenset((KeyExpr(depends_on),) if isinstance(depends_on, str) else map(KeyExpr, depends_on))
    for key in keys:
        if not _can_match(key):
            raise KeyExprError(
                f"nothing can ever match the dependency {str(key)!r}: events are at events/TYPE/ID/SEQUENCE and "
                "tables at lake/CATALOG/SCHEMA/TABLE; write for example events/Todo/** for every event of a type"
            )
    return keys


# Every key that a change can have.
_POSSIBLE = (KeyExpr("events/*/*/*"), KeyExpr("lake/*/*/*"), KeyExpr("lake/*/schema"))


@lru_cache(maxsize=4_096)
def _can_match(key: KeyExpr) -> bool:
    return any(key.intersects(possible) for possible in _POSSIBLE)


class CacheDependency:
    """What one cached answer depends on, built step by step (the seed's builder).

    >>> CacheDependency("daily_stats:2024-01-15").depends_on_aggregate("Todo").depends_on_instance("User", "7")
    CacheDependency('daily_stats:2024-01-15', ['events/Todo/**', 'events/User/7/**'])
    """

    def __init__(self, cache_key: str, depends_on: Iterable[str] = ()) -> None:
        self.cache_key = cache_key
        self.depends_on: frozenset[KeyExpr] = key_exprs(depends_on)

    def depends_on_aggregate(self, aggregate_type: str) -> Self:
        """Every event of every instance of ``aggregate_type``."""
        return self._with(aggregate(aggregate_type))

    def depends_on_instance(self, aggregate_type: str, aggregate_id: str) -> Self:
        """Every event of one instance. The id may be any text."""
        return self._with(instance(aggregate_type, aggregate_id))

    def depends_on_key(self, expression: str) -> Self:
        """Any key expression."""
        return self._with(KeyExpr(expression))

    def _with(self, expression: KeyExpr) -> Self:
        return type(self)(self.cache_key, self.depends_on | {expression})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.cache_key!r}, {sorted(map(str, self.depends_on))})"


class Dependencies:
    """Which slots are registered under which expressions. A slot is registered at most once."""

    def __init__(self) -> None:
        self._tree: KeyTree[AnySlot] = KeyTree()
        self._size = 0

    def register(self, slot: AnySlot) -> None:
        """Enter ``slot`` under everything that it depends on."""
        if slot.registered:
            return
        slot.registered = max(1, len(slot.depends_on))
        self._size += 1
        for expression in slot.depends_on:
            self._tree.add(expression, slot)

    def discard(self, slot: AnySlot) -> None:
        """Take ``slot`` out again; not being there is fine."""
        if not slot.registered:
            return
        slot.registered = 0
        self._size -= 1
        for expression in slot.depends_on:
            self._tree.discard(expression, slot)

    def move(self, slot: AnySlot, depends_on: frozenset[KeyExpr]) -> None:
        """Narrow or widen what a registered slot depends on."""
        before, slot.depends_on = frozenset(slot.depends_on), tuple(depends_on)
        if slot.registered:
            slot.registered = max(1, len(depends_on))
            for expression in before - depends_on:
                self._tree.discard(expression, slot)
            for expression in depends_on - before:
                self._tree.add(expression, slot)

    def match(self, key: KeyExpr) -> set[AnySlot]:
        """All slots that depend on something that ``key`` may mean."""
        return self._tree.match(key)

    def take(self, key: KeyExpr) -> list[AnySlot]:
        """`match`, and `discard` each. Give back by `register` what is to stay."""
        taken = self._tree.take(key)
        if taken is None:
            found = list(self._tree.match(key))
            for slot in found:
                self.discard(slot)
            return found
        found = []
        for slot in taken:
            if slot.registered:  # once, though several of its expressions were met
                if slot.registered > 1:
                    for expression in slot.depends_on:
                        self._tree.discard(expression, slot)
                slot.registered = 0
                found.append(slot)
        self._size -= len(found)
        return found

    def slots(self) -> list[AnySlot]:
        """Everything registered: flights and entries."""
        return list(self._tree.match(KeyExpr("**")))

    def __len__(self) -> int:
        return self._size
