"""What stands under ``$*`` chunks, found by their literal beginning or end.

A chunk is looked up once for each *length* of beginning or end that occurs, not once for each pattern: ten
thousand ``user-17$*`` beside each other cost two or three dict look-ups. Only patterns open at both ends
(``$*x$*``) are tried one by one. Not thread-safe.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from livelake.keys.relation import glob

__all__ = ["Globs"]

N = TypeVar("N")
D = TypeVar("D")

_Bucket = dict[str, tuple[list[str], N]]


class Globs(Generic[N]):
    """A small map from ``$*`` chunk to anything."""

    __slots__ = ("_all", "_head_lengths", "_heads", "_tail_lengths", "_tails")

    def __init__(self) -> None:
        self._all: dict[str, N] = {}
        self._heads: dict[str, _Bucket[N]] = {}  # by beginning; "" where both ends are open
        self._tails: dict[str, _Bucket[N]] = {}  # by end, for those whose beginning is open
        self._head_lengths: dict[int, int] = {}  # length → how many buckets have it
        self._tail_lengths: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, chunk: str) -> bool:
        return chunk in self._all

    def get(self, chunk: str, default: D) -> N | D:
        """What is under exactly this chunk."""
        return self._all.get(chunk, default)

    def add(self, chunk: str, value: N) -> None:
        """Put ``value`` under ``chunk``, which is not there yet."""
        parts = chunk.split("$*")
        self._all[chunk] = value
        buckets, lengths, end = self._place(parts)
        bucket = buckets.get(end)
        if bucket is None:
            bucket = buckets[end] = {}
            lengths[len(end)] = lengths.get(len(end), 0) + 1
        bucket[chunk] = (parts, value)

    def remove(self, chunk: str) -> None:
        """Take away ``chunk``, which is there."""
        del self._all[chunk]
        buckets, lengths, end = self._place(chunk.split("$*"))
        del buckets[end][chunk]
        if not buckets[end]:
            del buckets[end]
            lengths[len(end)] -= 1
            if not lengths[len(end)]:
                del lengths[len(end)]

    def fitting(self, chunk: str) -> list[tuple[str, N]]:
        """The patterns that the literal ``chunk`` fits, with what is under them."""
        size = len(chunk)
        found: list[tuple[str, N]] = []
        for length in self._head_lengths:
            if length <= size and (bucket := self._heads.get(chunk[:length])):
                found += [(pattern, value) for pattern, (parts, value) in bucket.items() if glob(parts, chunk)]
        for length in self._tail_lengths:
            if length <= size and (bucket := self._tails.get(chunk[size - length :])):
                found += [(pattern, value) for pattern, (parts, value) in bucket.items() if glob(parts, chunk)]
        return found

    def items(self) -> list[tuple[str, N]]:
        """Every pattern and what is under it."""
        return list(self._all.items())

    def _place(self, parts: list[str]) -> tuple[dict[str, _Bucket[N]], dict[int, int], str]:
        head, tail = parts[0], parts[-1]
        if tail and not head:
            return self._tails, self._tail_lengths, tail
        return self._heads, self._head_lengths, head
