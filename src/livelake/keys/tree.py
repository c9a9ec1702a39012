"""Which registered expressions meet a key: a tree of chunks that is walked, never scanned.

A concrete key costs a few dict look-ups for each of its chunks, whatever the number of patterns; no case is
exponential (a walk visits each pair of node and chunk at most once). The two shapes that make up nearly all
dependencies are stored flat: ``P/**`` is a value in the node of ``P``, and a lone value needs no set of its
own.

**Not thread-safe**: whoever owns a tree guards it (the cache and the bus hold their lock around each call).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from livelake.keys.expr import KeyExpr
from livelake.keys.node import (
    NOTHING,
    SAME,
    Many,
    Node,
    Wild,
    cut,
    grow,
    with_value,
    without_value,
)
from livelake.keys.node import child as child_under
from livelake.keys.relation import chunk_intersects

__all__ = ["KeyTree"]

V = TypeVar("V", bound=Hashable)

# A node, the chunk that leads to it, and the way to the node above it.
_Path = tuple[Node, str, Any]


class KeyTree(Generic[V]):
    """A set of (expression, value) pairs that answers which values' expressions intersect a key.

    Values are hashable, compare by ``==``, and may occur under many expressions. Memory: about 150 bytes
    for a pattern of the usual shape. Not thread-safe.
    """

    __slots__ = ("_deep", "_pairs", "_root", "_verbatim")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._root = Node()
        self._pairs = 0
        self._verbatim = 0  # pairs whose expression has a verbatim chunk
        self._deep = 0  # pairs whose expression has a `**` before its end

    def __len__(self) -> int:
        """How many different (expression, value) pairs there are."""
        return self._pairs

    def __bool__(self) -> bool:
        return self._pairs > 0

    def add(self, expr: KeyExpr, value: V) -> None:
        """Register ``value`` under ``expr``; registering the same pair again changes nothing."""
        chunks, below = _parsed(KeyExpr(expr))
        node = self._root
        for chunk in chunks:
            child = child_under(node, chunk)
            node = grow(node, chunk) if child is None else child
        held = node.below if below else node.exact
        grown = with_value(held, value)
        if grown is SAME:
            return
        if below:
            node.below = grown
        else:
            node.exact = grown
        self._count(chunks, +1)

    def discard(self, expr: KeyExpr, value: V) -> None:
        """Forget that pair and every branch that it leaves bare; fine if it is not there."""
        chunks, below = _parsed(KeyExpr(expr))
        path = [self._root]
        for chunk in chunks:
            child = child_under(path[-1], chunk)
            if child is None:
                return
            path.append(child)
        node = path[-1]
        held = node.below if below else node.exact
        rest = without_value(held, value)
        if rest is SAME:
            return
        if below:
            node.below = rest
        else:
            node.exact = rest
        self._count(chunks, -1)
        for at in range(len(chunks) - 1, -1, -1):
            if not path[at + 1].is_bare():
                break
            cut(path[at], chunks[at])

    def match(self, key: KeyExpr) -> set[V]:
        """The values whose expression intersects ``key``: a fresh set, yours to keep.

        ``key`` is canonical; it may be wild, which costs a walk over what it covers. ``**`` is everything
        (but for expressions with verbatim chunks, which no wildcard meets).
        """
        if not self._pairs:
            return set()
        held = self._meeting_wild(key) if "*" in key else self._meeting(key)
        found: set[V] = set()
        for values in held:
            if type(values) is Many:
                found |= values
            else:
                found.add(values)
        return found

    def take(self, key: KeyExpr) -> list[V] | None:
        """What `match` finds, with the pairs that met ``key`` forgotten: cheaper than to discard them one by one.

        A value comes once for each of its expressions that met ``key``, and stays under those that did not. None,
        and nothing is done, where a walk may come twice to one node or must count chunks: wild keys, and trees that
        hold a `**` before an end or a verbatim chunk.
        """
        if self._deep or self._verbatim or "*" in key or "@" in key:
            return None
        taken: list[V] = []
        emptied: list[_Path] = []
        paths: list[_Path] = [(self._root, "", None)]
        for chunk in key.split("/"):
            for path in paths:
                if path[0].below is not NOTHING:
                    taken += _emptied_below(path[0])
                    emptied.append(path)
            paths = _onward(paths, chunk)
            if not paths:
                break
        for path in paths:
            node = path[0]
            taken += _emptied_below(node)
            taken += _values(node.exact)
            node.exact = NOTHING
            emptied.append(path)
        self._pairs -= len(taken)
        for path in emptied:  # from the root down: a node goes with its last child, so that none is cut twice
            while (above := path[2]) is not None and path[0].is_bare():
                cut(above[0], path[1])
                path = above
        return taken

    def _count(self, chunks: list[str], change: int) -> None:
        self._pairs += change
        if "**" in chunks:
            self._deep += change
        if any(chunk[0] == "@" for chunk in chunks):
            self._verbatim += change

    def _meeting(self, key: str) -> list[Any]:
        """What the nodes hold whose expression a concrete key belongs to."""
        chunks = key.split("/")
        clear = _clear_from(chunks) if "@" in key else 0
        nodes = [self._root]
        held: list[Any] = []
        _arrive(nodes, held, clear == 0)
        for used, chunk in enumerate(chunks, 1):
            reached: list[Node] = []
            for node in nodes:
                literal = node.literal
                if literal is not None and (child := literal.get(chunk)) is not None:
                    reached.append(child)
                wild = node.wild
                if wild is not None and chunk[0] != "@":
                    _step(node, wild, chunk, reached)
            if not reached:
                return held
            _arrive(reached, held, used >= clear)
            # Only a `**` inside an expression lets one node be reached in two ways.
            nodes = list(dict.fromkeys(reached)) if self._deep and len(reached) > 1 else reached
        held += [node.exact for node in nodes if node.exact is not NOTHING]
        return held

    def _meeting_wild(self, key: str) -> list[Any]:
        """The same for a key with wildcards: the product of the tree and the key's chunks."""
        chunks = key.split("/")
        end, clear = len(chunks), _clear_from(chunks)
        whole = end - 1 if chunks[-1] == "**" and not self._verbatim else -1
        held: list[Any] = []
        seen: set[tuple[Node, int]] = set()
        todo = [(self._root, 0)]
        while todo:
            state = todo.pop()
            if state in seen:
                continue
            seen.add(state)
            node, at = state
            if at == whole:
                held += _everything(node)
                continue
            if at >= clear and node.below is not NOTHING:
                held.append(node.below)
            if node.wild is not None and node.wild.deep is not None:
                todo.append((node.wild.deep, at))
            if at < end:
                todo += _wild_steps(node, chunks[at], at)
            elif node.exact is not NOTHING:
                held.append(node.exact)
        return held


def _values(held: Any) -> Iterable[Any]:
    return held if type(held) is Many else () if held is NOTHING else (held,)


def _emptied_below(node: Node) -> Iterable[Any]:
    held, node.below = node.below, NOTHING
    return _values(held)


def _onward(paths: list[_Path], chunk: str) -> list[_Path]:
    """Where a plain, literal chunk leads, in a tree whose only `**` are ends."""
    reached: list[_Path] = []
    for path in paths:
        literal, wild = path[0].literal, path[0].wild
        if literal is not None and (child := literal.get(chunk)) is not None:
            reached.append((child, chunk, path))
        if wild is not None:
            if wild.star is not None:
                reached.append((wild.star, "*", path))
            if wild.globs is not None:
                reached += [(found, pattern, path) for pattern, found in wild.globs.fitting(chunk)]
    return reached


def _parsed(expr: str) -> tuple[list[str], bool]:
    """The chunks that lead to an expression's node, and whether it holds also what is below that."""
    chunks = expr.split("/")
    if chunks[-1] == "**":
        chunks.pop()
        return chunks, True
    return chunks, False


def _clear_from(chunks: list[str]) -> int:
    """How many chunks must be used up until none of the rest is verbatim."""
    for at in range(len(chunks) - 1, -1, -1):
        if chunks[at][0] == "@":
            return at + 1
    return 0


def _step(node: Node, wild: Wild, chunk: str, reached: list[Node]) -> None:
    """Add to ``reached`` where a plain, literal chunk leads from ``node`` by wildcards."""
    if wild.star is not None:
        reached.append(wild.star)
    if wild.globs is not None:
        reached += wild.globs.matching(chunk)
    if wild.loops:
        reached.append(node)


def _arrive(nodes: list[Node], held: list[Any], clear: bool) -> None:
    """Collect what ``P/**`` holds in ``nodes``, if no verbatim chunk follows; add those behind an empty `**`."""
    for node in nodes:  # grows under way, on purpose
        if clear and node.below is not NOTHING:
            held.append(node.below)
        wild = node.wild
        if wild is not None and wild.deep is not None:
            nodes.append(wild.deep)


def _wild_steps(node: Node, chunk: str, at: int) -> Iterator[tuple[Node, int]]:
    """The states that follow (``node``, ``at``) when the key's chunk there is ``chunk``."""
    wild = node.wild
    if chunk == "**":
        yield node, at + 1
        for name, child in (node.literal or {}).items():
            if name[0] != "@":
                yield child, at
        yield from ((child, at) for child in _wild_children(wild))
        return
    plain = chunk[0] != "@"
    if plain and "*" in chunk:
        for name, child in (node.literal or {}).items():
            if chunk_intersects(name, chunk):
                yield child, at + 1
    elif node.literal is not None and chunk in node.literal:
        yield node.literal[chunk], at + 1
    if wild is not None and plain:
        if wild.loops:
            yield node, at + 1
        if wild.star is not None:
            yield wild.star, at + 1
        if wild.globs is not None:
            yield from ((child, at + 1) for child in wild.globs.intersecting(chunk))


def _wild_children(wild: Wild | None) -> Iterable[Node]:
    """The children under `*` and `$*` chunks; not that under `**`, which is reached without a chunk."""
    if wild is None:
        return
    if wild.star is not None:
        yield wild.star
    if wild.globs is not None:
        yield from wild.globs.nodes()


def _everything(root: Node) -> list[Any]:
    """What a node and all nodes under it hold."""
    held: list[Any] = []
    todo = [root]
    while todo:
        node = todo.pop()
        if node.exact is not NOTHING:
            held.append(node.exact)
        if node.below is not NOTHING:
            held.append(node.below)
        if node.literal is not None:
            todo += node.literal.values()
        if node.wild is not None:
            todo += _wild_children(node.wild)
            if node.wild.deep is not None:
                todo.append(node.wild.deep)
    return held
