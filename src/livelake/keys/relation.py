"""The algebra of key expressions: an expression is a set of keys; do two sets meet, does one hold the other?

Pure functions over *canonical* text (what `KeyExpr` guarantees; anything else gives meaningless answers).
They follow Zenoh's key expression language and are checked against it, and against brute force, in
`tests/keys`:

* ``*`` is one chunk, ``**`` any number of chunks and also none, ``$*`` any text inside a chunk and also none;
* a chunk that begins with ``@`` is *verbatim*: only the same text matches it, no wildcard does, and wildcard
  signs inside it are plain text.

Nothing here is exponential: `intersects` and `includes` are simulations that visit each pair of chunks at
most once, and two chunks are compared in time linear in their length (one ``str.find`` per part).
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["chunk_includes", "chunk_intersects", "glob", "includes", "intersects"]


def intersects(a: str, b: str) -> bool:
    """Whether at least one key belongs to both. Symmetric. Cost: chunks of ``a`` × chunks of ``b`` at worst."""
    if a == b:
        return True
    if "*" not in a and "*" not in b:
        return False
    theirs = b.split("/")
    end = len(theirs)
    # The places in b that b may have reached once the chunks of a so far are used up.
    places = _rest_of_deep({0}, theirs)
    for chunk in a.split("/"):
        after: set[int] = set()
        if chunk == "**":
            after = _runs(places, theirs)
        else:
            for place in places:
                if place == end:
                    continue
                other = theirs[place]
                if other == "**":
                    if chunk[0] != "@":
                        after.add(place)
                elif chunk_intersects(chunk, other):
                    after.add(place + 1)
        if not after:
            return False
        places = _rest_of_deep(after, theirs)
    return end in places


def includes(a: str, b: str) -> bool:
    """Whether ``a`` holds every key of ``b``. Cost as for `intersects`.

    "Yes" is always true. As in Zenoh, the chunks of the two are laid side by side, so one kind of inclusion
    is not seen: where ``a`` needs a minimal number of chunks that a ``**`` in ``b`` delivers together with
    what follows it (``*/**`` does hold ``**/x``; the answer is "no"). Where ``b`` has no ``**``, "no" is
    exact too.
    """
    if a == b:
        return True
    if "*" not in a:
        return False
    mine = a.split("/")
    end = len(mine)
    places = _rest_of_deep({0}, mine)
    for chunk in b.split("/"):
        after: set[int] = set()
        for place in places:
            if place == end:
                continue
            own = mine[place]
            if own == "**":
                if chunk[0] != "@":
                    after.add(place)
            elif chunk != "**" and chunk_includes(own, chunk):
                after.add(place + 1)
        if not after:
            return False
        places = _rest_of_deep(after, mine)
    return end in places


def _rest_of_deep(places: set[int], chunks: Sequence[str]) -> set[int]:
    """``places``, and those behind a ``**`` that stands there and matches nothing more."""
    # Canonical text never has two `**` in a row, so one step is the closure.
    return places | {place + 1 for place in places if place < len(chunks) and chunks[place] == "**"}


def _runs(places: set[int], chunks: Sequence[str]) -> set[int]:
    """Where a ``**`` of the other side can move to from ``places``: each way up to the next verbatim chunk."""
    reached: set[int] = set()
    for start in places:
        place = start
        while place not in reached:
            reached.add(place)
            if place < len(chunks) and chunks[place][0] != "@":
                place += 1
    return reached


def chunk_intersects(a: str, b: str) -> bool:
    """Whether some chunk text belongs to both chunks; neither is ``**``."""
    if a == b:
        return True
    if a[0] == "@" or b[0] == "@":
        return False
    if a == "*" or b == "*":
        return True
    if "$" not in a:
        return "$" in b and glob(b.split("$*"), a)
    if "$" not in b:
        return glob(a.split("$*"), b)
    # Both have a hole: put a's middle into b's hole and b's middle into a's. Only the two ends can disagree.
    head_a, tail_a = a[: a.index("$")], a[a.rindex("*") + 1 :]
    head_b, tail_b = b[: b.index("$")], b[b.rindex("*") + 1 :]
    heads = head_a.startswith(head_b) or head_b.startswith(head_a)
    return heads and (tail_a.endswith(tail_b) or tail_b.endswith(tail_a))


def chunk_includes(a: str, b: str) -> bool:
    """Whether chunk ``a`` holds every text of chunk ``b``; neither is ``**``."""
    if a == b:
        return True
    if a[0] == "@" or b[0] == "@" or b == "*":
        return False
    # A literal part never contains `$`, so a `$*` in b can only fall into a hole of a: exactly inclusion.
    return a == "*" or ("$" in a and glob(a.split("$*"), b))


def glob(parts: Sequence[str], text: str) -> bool:
    """Whether ``text`` is the ``parts`` (two or more) in order, with anything or nothing in between."""
    head, tail = parts[0], parts[-1]
    end = len(text) - len(tail)
    if end < len(head) or not text.startswith(head) or not text.endswith(tail):
        return False
    at = len(head)
    for part in parts[1:-1]:  # the leftmost place is the best one: it leaves the most for the rest
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
