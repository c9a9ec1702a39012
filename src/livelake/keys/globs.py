"""The children of one tree node that stand under ``$*`` chunks, found by their literal beginning or end.

A chunk is looked up once for each *length* of beginning or end that occurs, not once for each pattern: ten
thousand ``user-17$*`` beside each other cost two or three dict look-ups. Only patterns open at both ends
(``$*x$*``) are tried one by one. Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from livelake.keys.relation import chunk_intersects, glob

__all__ = ["Globs"]

N = TypeVar("N")

_Bucket = dict[str, tuple[list[str], N]]


class Globs(Generic[N]):
    """A small map from ``$*`` chunk to node."""

    __slots__ = ("_head_lengths", "_heads", "_nodes", "_tail_lengths", "_tails")

    def __init__(self) -> None:
        self._nodes: dict[str, N] = {}
        self._heads: dict[str, _Bucket[N]] = {}  # by beginning; "" where both ends are open
        self._tails: dict[str, _Bucket[N]] = {}  # by end, for those whose beginning is open
        self._head_lengths: dict[int, int] = {}  # length → how many buckets have it
        self._tail_lengths: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, chunk: str) -> N | None:
        """The node under exactly this chunk."""
        return self._nodes.get(chunk)

    def add(self, chunk: str, node: N) -> None:
        """Put ``node`` under ``chunk``, which is not there yet."""
        parts = chunk.split("$*")
        self._nodes[chunk] = node
        buckets, lengths, end = self._place(parts)
        bucket = buckets.get(end)
        if bucket is None:
            bucket = buckets[end] = {}
            lengths[len(end)] = lengths.get(len(end), 0) + 1
        bucket[chunk] = (parts, node)

    def remove(self, chunk: str) -> None:
        """Take away ``chunk``, which is there."""
        del self._nodes[chunk]
        buckets, lengths, end = self._place(chunk.split("$*"))
        del buckets[end][chunk]
        if not buckets[end]:
            del buckets[end]
            lengths[len(end)] -= 1
            if not lengths[len(end)]:
                del lengths[len(end)]

    def matching(self, chunk: str) -> list[N]:
        """The nodes whose pattern the literal ``chunk`` fits."""
        size = len(chunk)
        found: list[N] = []
        for length in self._head_lengths:
            if length <= size and (bucket := self._heads.get(chunk[:length])):
                found += [node for parts, node in bucket.values() if glob(parts, chunk)]
        for length in self._tail_lengths:
            if length <= size and (bucket := self._tails.get(chunk[size - length :])):
                found += [node for parts, node in bucket.values() if glob(parts, chunk)]
        return found

    def fitting(self, chunk: str) -> list[tuple[str, N]]:
        """The patterns that the literal ``chunk`` fits, with their nodes."""
        size = len(chunk)
        found: list[tuple[str, N]] = []
        for length in self._head_lengths:
            if length <= size and (bucket := self._heads.get(chunk[:length])):
                found += [(pattern, node) for pattern, (parts, node) in bucket.items() if glob(parts, chunk)]
        for length in self._tail_lengths:
            if length <= size and (bucket := self._tails.get(chunk[size - length :])):
                found += [(pattern, node) for pattern, (parts, node) in bucket.items() if glob(parts, chunk)]
        return found

    def intersecting(self, chunk: str) -> Iterator[N]:
        """The nodes whose pattern meets ``chunk``, which may be wild. Tries each."""
        return (node for pattern, node in self._nodes.items() if chunk_intersects(pattern, chunk))

    def nodes(self) -> Iterator[N]:
        return iter(self._nodes.values())

    def _place(self, parts: list[str]) -> tuple[dict[str, _Bucket[N]], dict[int, int], str]:
        head, tail = parts[0], parts[-1]
        if tail and not head:
            return self._tails, self._tail_lengths, tail
        return self._heads, self._head_lengths, head
