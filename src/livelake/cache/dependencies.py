"""The dependency index: key expressions → the slots that a change under them concerns.

Not thread-safe by itself: the cache that owns it holds its lock. One change costs one look-up in the tree and
then work for each slot that it hits, never a walk over what exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from livelake.cache.slot import Group, Slot
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
    """Which slots are registered under which expressions. A slot is registered at most once.

    It stands in the tree by itself, under each of its expressions; or, after `gather`, within the group of those that
    depend on the same one expression.
    """

    def __init__(self) -> None:
        self._tree: KeyTree[AnySlot | Group] = KeyTree()
        self._groups: dict[KeyExpr, Group] = {}  # also those that have ended and are not empty yet
        # Takes out all that depends on something that a key may mean; what is to stay is given back by `register`.
        # A group is the taker's, to end or to dissolve. A slot may come several times and is still ``registered``:
        # see `take_rest`.
        self.take: Callable[[str], list[AnySlot | Group]] = self._tree.take

    def register(self, slot: AnySlot) -> None:
        """Enter ``slot`` under everything that it depends on."""
        if slot.registered:
            return
        slot.registered = max(1, len(slot.depends_on))
        for expression in slot.depends_on:
            self._tree.add(expression, slot)

    def discard(self, slot: AnySlot) -> None:
        """Take ``slot`` out again; not being there is fine. A group that has ended lets go of it too."""
        group = slot.group
        if group is not None:
            group.slots.discard(slot)
            if group.cause is None:
                slot.group = None
            if not group.slots:
                self._disband(group)
        elif slot.registered:
            for expression in slot.depends_on:
                self._tree.discard(expression, slot)
        slot.registered = 0

    def move(self, slot: AnySlot, depends_on: frozenset[KeyExpr]) -> None:
        """Narrow or widen what a registered slot depends on, before it is gathered."""
        before, slot.depends_on = frozenset(slot.depends_on), tuple(depends_on)
        if slot.registered:
            slot.registered = max(1, len(depends_on))
            for expression in before - depends_on:
                self._tree.discard(expression, slot)
            for expression in depends_on - before:
                self._tree.add(expression, slot)

    def gather(self, slot: AnySlot) -> None:
        """Let a registered slot that has landed share the fate of those that depend on the same, if there are any.

        Not for slots of which one by one must be told: flights, failures, those with watchers.
        """
        if len(slot.depends_on) != 1:
            return
        (expression,) = slot.depends_on
        group = self._groups.get(expression)
        if group is None or group.cause is not None:
            beside = self._tree.under(expression)
            if len(beside) < 2:
                return
            group = self._groups[expression] = Group(expression)
            self._tree.add(expression, group)
            first = beside[beside[0] is slot]
            if isinstance(first, Slot) and first.landed and not first.watchers and len(first.depends_on) == 1:
                self._join(first, group)
        self._join(slot, group)

    def single_out(self, slot: AnySlot) -> None:
        """Take ``slot`` out of its group, if that has not ended: it stands by itself again."""
        if slot.group is not None and slot.group.cause is None:
            self.discard(slot)
            self.register(slot)

    def dissolve(self, group: Group) -> list[AnySlot]:
        """The slots of a taken group that has not ended, each by itself again. Nobody joins it any more."""
        if self._groups.get(group.expression) is group:
            del self._groups[group.expression]
        slots = list(group.slots)
        for slot in slots:
            slot.group = None  # and still `registered`: under its one expression
        group.slots.clear()
        return slots

    def take_rest(self, slot: AnySlot) -> None:
        """Take out what else a taken slot is registered under."""
        for expression in slot.depends_on:
            self._tree.discard(expression, slot)

    def __len__(self) -> int:
        """How many slots are registered. Walks."""
        return len(set(self.slots()))

    def slots(self) -> list[AnySlot]:
        """Everything registered: flights and entries."""
        found: list[AnySlot] = []
        for each in self._tree.match(KeyExpr("**")):
            if isinstance(each, Group):
                found += each.slots
            else:
                found.append(each)
        return found

    def _join(self, slot: AnySlot, group: Group) -> None:
        self._tree.discard(group.expression, slot)
        group.slots.add(slot)
        slot.group = group

    def _disband(self, group: Group) -> None:
        if group.cause is None:
            self._tree.discard(group.expression, group)
        if self._groups.get(group.expression) is group:
            del self._groups[group.expression]
