"""Which ``$*`` chunks a literal chunk fits, found by their literal beginning or end.

A chunk is looked up once for each *length* of beginning or end that occurs, not once for each pattern: ten
thousand ``user-17$*`` beside each other cost two or three dict look-ups. Only patterns open at both ends
(``$*x$*``) are tried one by one. Not thread-safe.
"""

from __future__ import annotations

from livelake.keys.relation import glob

__all__ = ["Globs"]

_Bucket = dict[str, list[str]]  # pattern → its literal parts


class Globs:
    """A set of ``$*`` chunks."""

    __slots__ = ("_head_lengths", "_heads", "_tail_lengths", "_tails")

    def __init__(self) -> None:
        self._heads: dict[str, _Bucket] = {}  # by beginning; "" where both ends are open
        self._tails: dict[str, _Bucket] = {}  # by end, for those whose beginning is open
        self._head_lengths: dict[int, int] = {}  # length → how many buckets have it
        self._tail_lengths: dict[int, int] = {}

    def add(self, pattern: str) -> None:
        """Put in ``pattern``, which is not there yet."""
        parts = pattern.split("$*")
        buckets, lengths, end = self._place(parts)
        bucket = buckets.get(end)
        if bucket is None:
            bucket = buckets[end] = {}
            lengths[len(end)] = lengths.get(len(end), 0) + 1
        bucket[pattern] = parts

    def remove(self, pattern: str) -> None:
        """Take away ``pattern``, which is there."""
        buckets, lengths, end = self._place(pattern.split("$*"))
        del buckets[end][pattern]
        if not buckets[end]:
            del buckets[end]
            lengths[len(end)] -= 1
            if not lengths[len(end)]:
                del lengths[len(end)]

    def fitting(self, chunk: str) -> list[str]:
        """The patterns that the literal ``chunk`` fits."""
        size = len(chunk)
        found: list[str] = []
        for length in self._head_lengths:
            if length <= size and (bucket := self._heads.get(chunk[:length])):
                found += [pattern for pattern, parts in bucket.items() if glob(parts, chunk)]
        for length in self._tail_lengths:
            if length <= size and (bucket := self._tails.get(chunk[size - length :])):
                found += [pattern for pattern, parts in bucket.items() if glob(parts, chunk)]
        return found

    def _place(self, parts: list[str]) -> tuple[dict[str, _Bucket], dict[int, int], str]:
        head, tail = parts[0], parts[-1]
        if tail and not head:
            return self._tails, self._tail_lengths, tail
        return self._heads, self._head_lengths, head
