"""The nodes of a `KeyTree`: what they hold, and how children come and go. Not thread-safe.

A node stands for the chunks that lead to it. There is one for each pattern, so it is small: four slots, no dict
until there is a child, no set until there is a second value.
"""

from __future__ import annotations

from typing import Any, Final

from livelake.keys.globs import Globs

__all__ = ["NOTHING", "SAME", "Many", "Node", "Wild", "child", "cut", "grow", "with_value", "without_value"]

NOTHING: Final = object()
"""No value, where None may be one."""
SAME: Final = object()
"""Nothing to change."""


class Many(set[Any]):
    """Two or more values of one expression; its own type, so that a value may itself be a set."""

    __slots__ = ()


class Node:
    """What stands behind one chunk: 64 bytes, because there is one for each pattern."""

    __slots__ = ("below", "exact", "literal", "wild")

    def __init__(self) -> None:
        self.exact: Any = NOTHING  # values of the expression that ends here
        self.below: Any = NOTHING  # values of that expression and `/**`
        self.literal: dict[str, Node] | None = None
        self.wild: Wild | None = None

    def is_bare(self) -> bool:
        """Whether nothing hangs on it any more."""
        return (
            self.exact is NOTHING
            and self.below is NOTHING
            and self.literal is None
            and (self.wild is None or self.wild.is_bare())
        )


class Wild:
    """The children of a node under wildcard chunks. Few nodes have it."""

    __slots__ = ("deep", "globs", "loops", "star")

    def __init__(self) -> None:
        self.star: Node | None = None  # under `*`
        self.globs: Globs[Node] | None = None  # under chunks with `$*`
        self.deep: Node | None = None  # under a `**` that is not the last chunk
        self.loops = False  # whether the owner itself stands for a `**`, and so may take any chunk and stay

    def is_bare(self) -> bool:
        return self.star is None and self.globs is None and self.deep is None


def child(node: Node, chunk: str) -> Node | None:
    """The node under exactly this chunk, which may be a wildcard."""
    if "*" not in chunk or chunk[0] == "@":
        return None if node.literal is None else node.literal.get(chunk)
    wild = node.wild
    if wild is None:
        return None
    if chunk == "*":
        return wild.star
    if chunk == "**":
        return wild.deep
    return None if wild.globs is None else wild.globs.get(chunk)


def grow(node: Node, chunk: str) -> Node:
    """A new node under ``chunk``, where there is none."""
    new = Node()
    if "*" not in chunk or chunk[0] == "@":
        if node.literal is None:
            node.literal = {}
        node.literal[chunk] = new
        return new
    if node.wild is None:
        node.wild = Wild()
    wild = node.wild
    if chunk == "*":
        wild.star = new
    elif chunk == "**":
        new.wild = Wild()
        new.wild.loops = True
        wild.deep = new
    else:
        if wild.globs is None:
            wild.globs = Globs()
        wild.globs.add(chunk, new)
    return new


def cut(node: Node, chunk: str) -> None:
    """Take away the child under ``chunk``, and what this leaves empty."""
    wild = node.wild
    if "*" not in chunk or chunk[0] == "@":
        assert node.literal is not None
        del node.literal[chunk]
        if not node.literal:
            node.literal = None
        return
    assert wild is not None
    if chunk == "*":
        wild.star = None
    elif chunk == "**":
        wild.deep = None
    elif wild.globs is not None:
        wild.globs.remove(chunk)
        if not wild.globs:
            wild.globs = None
    if wild.is_bare() and not wild.loops:
        node.wild = None


def with_value(held: Any, value: object) -> Any:
    """``held`` and ``value``, or `SAME`. A lone value needs no set."""
    if held is NOTHING:
        return value
    if type(held) is not Many:
        return SAME if held is value or held == value else Many((held, value))
    if value in held:
        return SAME
    held.add(value)
    return held


def without_value(held: Any, value: object) -> Any:
    """``held`` but for ``value``, or `SAME`."""
    if held is NOTHING:
        return SAME
    if type(held) is not Many:
        return NOTHING if held is value or held == value else SAME
    if value not in held:
        return SAME
    held.discard(value)
    return held if len(held) > 1 else held.pop()
