"""What a `KeyTree` is made of: expressions of one shape, in a table by their literal chunks. Not thread-safe.

A shape is made of signs, such as ``("", "", "*", "@")``: a literal chunk is ``""``, or ``"@"`` if it is verbatim;
each wildcard stands for itself, and ``"$*"`` for any chunk with one. In a table, the values of ``events/Order/17/**``
stand under ``"17"``, or under a tuple where there are several literals.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import lru_cache
from itertools import takewhile
from operator import itemgetter
from typing import Any, Final

from livelake.keys.globs import Globs
from livelake.keys.relation import chunk_intersects, intersects

__all__ = [
    "NOTHING",
    "SAME",
    "Many",
    "Part",
    "Shape",
    "Sieve",
    "Table",
    "is_literal",
    "shape_of",
    "with_value",
    "without_value",
]

Table = dict[Hashable, Any]
# From the chunks of a key to the literals to look for; where; the shape, if it sifts.
Probe = tuple[Callable[[Sequence[str]], Hashable], Table, "Shape | None"]

_FEW: Final = 8

NOTHING: Final = object()
"""No value, where None may be one."""
SAME: Final = object()
"""Nothing to change."""


class Many(set[Any]):
    """Two or more values of one expression; its own type, so that a value may itself be a set."""

    __slots__ = ()


class Sieve:
    """The expressions of one shape and the same literals that a look-up cannot tell apart, by name.

    A few are tried one by one; many that differ in a chunk with ``$*`` are found by `Globs`.
    """

    __slots__ = ("_all", "_at", "_globs")

    def __init__(self, at: int | None) -> None:
        """``at`` is the place of the one chunk with ``$*``, which is the name; None: the whole text is."""
        self._at = at
        self._all: dict[str, Any] = {}
        self._globs: Globs | None = None  # of the names, once they are many

    def __len__(self) -> int:
        return len(self._all)

    def name(self, expr: str, chunks: Sequence[str]) -> str:
        """What ``expr`` is called here."""
        return expr if self._at is None else chunks[self._at]

    def get(self, name: str, default: Any = None) -> Any:
        return self._all.get(name, default)

    def put(self, name: str, held: Any) -> None:
        new = name not in self._all
        self._all[name] = held
        if self._at is None or not new:
            return
        if self._globs is not None:
            self._globs.add(name)
        elif len(self._all) > _FEW:
            self._globs = Globs()
            for each in self._all:
                self._globs.add(each)

    def remove(self, name: str) -> None:
        """Take away ``name``, which is there."""
        del self._all[name]
        if self._globs is not None:
            self._globs.remove(name)

    def items(self) -> list[tuple[str, Any]]:
        return list(self._all.items())

    def fitting(self, key: str, chunks: Sequence[str]) -> list[tuple[str, Any]]:
        """What meets the key, which has no wildcard, no verbatim chunk, and this shape's literals."""
        if self._globs is not None:
            assert self._at is not None
            return [(name, self._all[name]) for name in self._globs.fitting(chunks[self._at])]
        if self._at is None:
            return [(name, held) for name, held in self._all.items() if intersects(name, key)]
        chunk = chunks[self._at]
        return [(name, held) for name, held in self._all.items() if chunk_intersects(name, chunk)]


class Shape:
    """What expressions have in common that differ in their literal chunks only. Shared by all trees: `shape_of`."""

    __slots__ = ("head", "literals", "places", "sieve_at", "sifts", "signs")

    def __init__(self, signs: tuple[str, ...]) -> None:
        deep = [at for at, sign in enumerate(signs) if sign == "**"]
        globs = [at for at, sign in enumerate(signs) if sign == "$*"]
        odd = len(globs) > 1 or len(deep) > 1
        first = deep[0] if deep else len(signs)

        def place(at: int) -> int:  # behind a `**`, chunks are counted from the end
            return at if at < first else at - len(signs)

        self.signs = signs
        skip = self.head = sum(1 for _ in takewhile("".__eq__, signs[:2]))  # these are known from the part
        literal = [
            at for at, sign in enumerate(signs) if sign in ("", "@") and at >= skip and not (odd and at > first)
        ]
        self.places = tuple(place(at) for at in literal) or ((0,) if skip else ())
        self.literals: Callable[[Sequence[str]], Hashable] = itemgetter(*self.places) if self.places else _no_literals
        self.sifts = bool(globs) or odd
        self.sieve_at = place(globs[0]) if globs and not odd else None

    @property
    def has_verbatim(self) -> bool:
        """Whether a chunk is verbatim, so that no wildcard meets it."""
        return "@" in self.signs

    def takes(self, count: int) -> bool:
        """Whether a key of ``count`` chunks can have this shape."""
        deep = self.signs.count("**")
        return count >= len(self.signs) - deep if deep else count == len(self.signs)

    def expr(self, head: Sequence[str], literals: Hashable, name: str | None) -> str:
        """The expression whose values stand there."""
        if name is not None and self.sieve_at is None:
            return name
        chunks = list(self.signs)
        chunks[: len(head)] = head
        texts = literals if isinstance(literals, tuple) else (literals,)
        for place, text in zip(self.places, texts, strict=True):
            chunks[place] = text
        if name is not None and self.sieve_at is not None:
            chunks[self.sieve_at] = name
        return "/".join(chunks)

    def candidates(self, table: Table, chunks: Sequence[str], concrete: bool) -> list[Hashable]:
        """Under which literals something may stand that meets a key of any kind; maybe more than do."""
        if concrete:
            return [self.literals(chunks)] if self.takes(len(chunks)) else []
        known = chunks.index("**") if "**" in chunks else len(chunks)
        if all(0 <= at < known and is_literal(chunks[at]) for at in self.places):
            return [self.literals(chunks)]
        return list(table)

    def held(self, table: Table, literals: Hashable) -> list[tuple[str | None, Any]]:
        """What stands under ``literals``, each with its name if there is a sieve."""
        held = table.get(literals, NOTHING)
        if held is NOTHING:
            return []
        return held.items() if self.sifts else [(None, held)]


class Part:
    """The expressions that begin with the same two literal chunks, or one, or none; by their shapes."""

    __slots__ = ("found", "head", "mark", "tables")

    def __init__(self, head: tuple[str, ...] = ()) -> None:
        self.head = head
        self.tables: dict[Shape, Table] = {}
        self.mark = -1
        """For which keys, and since when, ``found`` is right; the tree's."""
        self.found: tuple[Probe, ...] = ()
        """Where to look for a key: here and in wider parts. Most keys have as many chunks as the last."""

    @property
    def is_filled(self) -> bool:
        return any(self.tables.values())

    def probes(self, count: int) -> list[Probe]:
        """Where to look in this part for a key of ``count`` chunks."""
        return [
            (shape.literals, table, shape if shape.sifts else None)
            for shape, table in self.tables.items()
            if shape.takes(count)
        ]

    def values(self) -> Iterator[Any]:
        """What is held, for each expression."""
        for shape, table in self.tables.items():
            for held in table.values():
                if shape.sifts:
                    yield from (inner for _, inner in held.items())
                else:
                    yield held

    def grow(self, shape: Shape) -> Table:
        """A table for a shape that has none."""
        table = self.tables[shape] = {}
        self.mark = -1
        return table

    def tidy(self) -> None:
        """Let go of empty tables."""
        for shape in [shape for shape, table in self.tables.items() if not table]:
            del self.tables[shape]
            self.mark = -1


def shape_of(chunks: Sequence[str]) -> Shape:
    """The shape of an expression, from its chunks."""
    return _shape(tuple([_sign(chunk) for chunk in chunks]))


@lru_cache(maxsize=1024)
def _shape(signs: tuple[str, ...]) -> Shape:
    return Shape(signs)


def _sign(chunk: str) -> str:
    if "*" not in chunk:
        return "@" if chunk[0] == "@" else ""
    return "@" if chunk[0] == "@" else chunk if chunk in ("*", "**") else "$*"


def is_literal(chunk: str) -> bool:
    return "*" not in chunk or chunk[0] == "@"


def _no_literals(_chunks: Sequence[str]) -> Hashable:
    return ()


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
