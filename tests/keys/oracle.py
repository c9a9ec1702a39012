"""What key expressions mean, written so that it can be seen to be right, whatever it costs."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from itertools import product

CHUNKS = ("a", "b", "ab", "@", "@a")
WILD = ("*", "**", "$*a", "a$*", "a$*b", "$*b$*", "@a$*")


def belongs(key: str, expr: str) -> bool:
    """Whether a concrete key belongs to the set of an expression: the definition, chunk by chunk."""
    return _belongs(key.split("/"), expr.split("/"))


def _belongs(key: list[str], expr: list[str]) -> bool:
    if not expr:
        return not key
    first, rest = expr[0], expr[1:]
    if first == "**":
        return _belongs(key, rest) or (bool(key) and key[0][0] != "@" and _belongs(key[1:], expr))
    return bool(key) and _fits(key[0], first) and _belongs(key[1:], rest)


def _fits(chunk: str, pattern: str) -> bool:
    if chunk[0] == "@" or pattern[0] == "@":
        return chunk == pattern
    if pattern == "*":
        return True
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("$*")), chunk, re.DOTALL) is not None


def meet(a: str, b: str) -> bool:
    """Whether two expressions meet, by plain recursion (exponential)."""
    return _meet(a.split("/"), b.split("/"))


def _meet(a: list[str], b: list[str]) -> bool:
    if a and b and a[0] != "**" and b[0] != "**":
        return _meet_chunk(a[0], b[0]) and _meet(a[1:], b[1:])
    if not a and not b:
        return True
    return _deep_moves(a, b) or _deep_moves(b, a)


def _deep_moves(a: list[str], b: list[str]) -> bool:
    if not a or a[0] != "**":
        return False
    return _meet(a[1:], b) or (bool(b) and b[0][0] != "@" and _meet(a, b[1:]))


def _meet_chunk(a: str, b: str) -> bool:
    if a[0] == "@" or b[0] == "@":
        return a == b
    return _meet_text(_signs(a), _signs(b))


def _signs(chunk: str) -> list[str]:
    return ["$*"] if chunk == "*" else re.findall(r"\$\*|.", chunk, re.DOTALL)


def _meet_text(a: list[str], b: list[str]) -> bool:
    if not a or not b:
        return all(sign == "$*" for sign in a + b)
    if a[0] == "$*":
        return _meet_text(a[1:], b) or _meet_text(a, b[1:])
    if b[0] == "$*":
        return _meet_text(a, b[1:]) or _meet_text(a[1:], b)
    return a[0] == b[0] and _meet_text(a[1:], b[1:])


def holds(a: str, b: str) -> bool:
    """Whether ``a`` holds ``b``, chunks side by side as Zenoh lays them, by plain recursion."""
    return _holds(a.split("/"), b.split("/"))


def _holds(a: list[str], b: list[str]) -> bool:
    if not a:
        return not b
    if a[0] == "**":
        return _holds(a[1:], b) or (bool(b) and b[0][0] != "@" and _holds(a, b[1:]))
    return bool(b) and b[0] != "**" and _holds_chunk(a[0], b[0]) and _holds(a[1:], b[1:])


def _holds_chunk(a: str, b: str) -> bool:
    if a[0] == "@" or b[0] == "@":
        return a == b
    # A sign that occurs nowhere else stands for whatever the `$*` of b may be.
    return _fits("\0" if b == "*" else b.replace("$*", "\0"), a)


def keys(letters: str = "ab", longest: int = 3, most: int = 3) -> Iterator[str]:
    """Every concrete key over few letters (and a few verbatim chunks), up to a length and a number of chunks."""
    texts = ["".join(t) for n in range(1, longest + 1) for t in product(letters, repeat=n)] + ["@", "@a"]
    for count in range(1, most + 1):
        for chunks in product(texts, repeat=count):
            yield "/".join(chunks)


def expression(rng: random.Random, most: int = 5) -> str:
    """A random expression, not canonical, within the limits often enough."""
    return "/".join(
        rng.choice(WILD if rng.random() < 0.5 else CHUNKS) if rng.random() < 0.8 else _mixed(rng)
        for _ in range(rng.randint(1, most))
    )


def _mixed(rng: random.Random) -> str:
    signs = [rng.choice(("a", "b", "c", "é", "@", "-", "$*", "$*")) for _ in range(rng.randint(1, 5))]
    return "".join(signs)


def relative(rng: random.Random, expr: str) -> str:
    """A random expression that is a near relation of ``expr``, so that a good share of pairs meet."""
    chunks = expr.split("/")
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(chunks))
        match rng.randrange(6):
            case 0:
                chunks[at] = "*"
            case 1:
                chunks[at] = "**"
            case 2:
                chunks.insert(at, "**")
            case 3 if len(chunks) > 1:
                del chunks[at]
            case 4:
                chunks[at] = rng.choice(CHUNKS + WILD)
            case _ if "*" not in chunks[at]:
                cut = rng.randint(0, len(chunks[at]))
                chunks[at] = chunks[at][:cut] + "$*" + chunks[at][cut + rng.randint(0, 1) :]
    return "/".join(chunks)
