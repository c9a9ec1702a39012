"""Which registered expressions meet a key: a few dict look-ups, never a scan.

Expressions of one *shape* (``events/Order/17/**`` and ``events/Order/18/**``: the same wildcards in the same places)
stand in one table by their literal chunks. A concrete key is looked up once in each table whose shape it can have,
whatever the number of expressions. Tables are kept apart by the first two chunks as far as these are literal, so that
an event of one type does not meet the shapes of another. Chunks with ``$*`` are told apart by `Globs`; only
expressions with several of them, or with several ``**``, are tried one by one.

**Not thread-safe**: whoever owns a tree guards it (the cache and the bus hold their lock around each call).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from livelake.keys.expr import MAX_BYTES, KeyExpr
from livelake.keys.relation import chunk_intersects, intersects
from livelake.keys.shapes import (
    NOTHING,
    SAME,
    Many,
    Part,
    Probe,
    Shape,
    Sieve,
    Table,
    is_literal,
    shape_of,
    with_value,
    without_value,
)

__all__ = ["KeyTree"]

# Marks are the number of a key's chunks, and above that the age of the wide tables.
_STEP = 1 << 20

V = TypeVar("V", bound=Hashable)


class _Place(NamedTuple):
    """Where the values of one expression stand."""

    part: Part
    shape: Shape
    table: Table
    literals: Hashable
    name: str | None  # in a sieve
    held: Any


class KeyTree(Generic[V]):
    """A set of (expression, value) pairs that answers which values' expressions intersect a key.

    Values are hashable, compare by ``==``, and may occur under many expressions. Memory: about 150 bytes
    for a pattern of the usual shape. Not thread-safe.
    """

    __slots__ = ("_bare", "_mark", "_parts", "_wide")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        # By the second chunk, then by the first: types are many, and what stands before them is not.
        self._parts: dict[str, dict[str, Part]] = {}
        # What has a wildcard in the second chunk, by the first; and under "" what has one in the first.
        self._wide: dict[str, Part] = {"": Part()}
        self._mark = 0  # grows with the tables of wide parts; see `Part.probe`
        self._bare: dict[Part, None] = {}  # emptied by `take`, perhaps: what was taken often comes back

    def __len__(self) -> int:
        """How many different (expression, value) pairs there are. Walks."""
        return sum(len(held) if type(held) is Many else 1 for part in self._all_parts() for held in part.values())

    def __bool__(self) -> bool:
        return any(part.is_filled for part in self._all_parts())

    def add(self, expr: KeyExpr, value: V) -> None:
        """Register ``value`` under ``expr``; registering the same pair again changes nothing."""
        expr = KeyExpr(expr)
        chunks = expr.split("/")
        shape = shape_of(chunks)
        part = self._part(chunks, shape) or self._begin(chunks[: shape.head])
        table = part.tables.get(shape)
        if table is None:
            table = part.grow(shape)
            if shape.head < 2:
                self._mark += _STEP
        literals = shape.literals(chunks)
        if shape.sifts:
            sieve = table.get(literals) or table.setdefault(literals, Sieve(shape.sieve_at))
            name = sieve.name(expr, chunks)
            grown = with_value(sieve.get(name, NOTHING), value)
            if grown is not SAME:
                sieve.put(name, grown)
        else:
            grown = with_value(table.get(literals, NOTHING), value)
            if grown is not SAME:
                table[literals] = grown

    def discard(self, expr: KeyExpr, value: V) -> None:
        """Forget that pair and all that it leaves bare; fine if it is not there."""
        place = self._place(KeyExpr(expr))
        if place is None:
            return
        rest = without_value(place.held, value)
        if rest is not SAME:
            self._replace(place, rest)

    def under(self, expr: KeyExpr) -> tuple[V, ...]:
        """The values that are registered under exactly ``expr``."""
        place = self._place(expr)
        return () if place is None else tuple(place.held) if type(place.held) is Many else (place.held,)

    def match(self, key: KeyExpr) -> set[V]:
        """The values whose expression intersects ``key``: a fresh set, yours to keep.

        ``key`` is canonical; it may be wild, which costs a look at all that it may cover. ``**`` is everything
        (but for expressions with verbatim chunks, which no wildcard meets).
        """
        chunks = key.split("/")
        found: set[V] = set()
        if "*" in key or "@" in key:
            for place in self._places(key, chunks):
                _collect(place.held, found)
            return found
        part, count = self._meeting(chunks), len(chunks)
        for literals, table, shape in part.found if part.mark == count + self._mark else self._probe(part, count):
            if (held := table.get(literals(chunks), NOTHING)) is NOTHING:
                continue
            if shape is None:
                _collect(held, found)
            else:
                for _, inner in held.fitting(key, chunks):
                    _collect(inner, found)
        return found

    def take(self, key: str) -> list[V]:
        """What `match` finds, with the pairs that met ``key`` forgotten.

        A value comes once for each of its expressions that met ``key``, and stays under those that did not.
        ``key`` is any text: what is no key raises `KeyExprError`, and what is not canonical is made so.
        """
        chunks = key.split("/")
        # One test for each sign: a regular expression takes twice as long.
        odd = "*" in key or "@" in key or "$" in key or "?" in key or "#" in key
        if odd or "" in chunks or not key.isascii() or len(key) > MAX_BYTES:
            key = KeyExpr(key)
            chunks = key.split("/")
            if "*" in key or "@" in key:
                return self._take_places(self._places(key, chunks))
        count = len(chunks)
        beside = self._parts.get(chunks[1]) if count > 1 else None  # `_meeting`, without a call
        part = None if beside is None else beside.get(chunks[0])
        if part is None:
            part = self._wide.get(chunks[0]) or self._wide[""]
        taken: list[V] = []
        for literals, table, shape in part.found if part.mark == count + self._mark else self._probe(part, count):
            if (held := table.pop(literals(chunks), NOTHING)) is not NOTHING:
                if shape is None and type(held) is not Many:
                    taken.append(held)
                else:
                    _unpack(held, shape, table, key, chunks, taken)
        self._bare[part] = None
        return taken

    def _take_places(self, places: list[_Place]) -> list[V]:
        taken: list[V] = []
        for place in places:
            _extend(taken, place.held)
            self._replace(place, NOTHING)
        return taken

    def _part(self, chunks: list[str], shape: Shape) -> Part | None:
        """The part that an expression belongs to, if it is there."""
        if shape.head < 2:
            return self._wide.get(chunks[0] if shape.head else "")
        beside = self._parts.get(chunks[1])
        return None if beside is None else beside.get(chunks[0])

    def _begin(self, head: list[str]) -> Part:
        """A part that is not there yet."""
        part = Part(tuple(head))
        if len(head) < 2:
            self._wide[head[0] if head else ""] = part
            self._mark += _STEP
        else:
            self._parts.setdefault(head[1], {})[head[0]] = part
        if len(self._bare) > 64 + len(self._parts) // 4:
            self._sweep(part)
        return part

    def _place(self, expr: KeyExpr) -> _Place | None:
        """Where the values of exactly ``expr`` stand, if it has any."""
        chunks = expr.split("/")
        shape = shape_of(chunks)
        part = self._part(chunks, shape)
        table = None if part is None else part.tables.get(shape)
        if part is None or table is None:
            return None
        literals = shape.literals(chunks)
        held, name = table.get(literals, NOTHING), None
        if shape.sifts and held is not NOTHING:
            name = held.name(expr, chunks)
            held = held.get(name, NOTHING)
        return None if held is NOTHING else _Place(part, shape, table, literals, name, held)

    def _meeting(self, chunks: list[str]) -> Part:
        """The narrowest part that a concrete key meets; its probes cover the wider ones."""
        if len(chunks) > 1 and (beside := self._parts.get(chunks[1])) is not None:
            part = beside.get(chunks[0])
            if part is not None:
                return part
        return self._wide.get(chunks[0]) or self._wide[""]

    def _probe(self, part: Part, count: int) -> tuple[Probe, ...]:
        """Where to look for a key of ``count`` chunks that meets ``part``, noted there."""
        wider = [self._wide.get(part.head[0])] if len(part.head) == 2 else []
        wider += [self._wide.get("")] if part.head else []
        part.found = tuple(probe for each in (part, *wider) if each is not None for probe in each.probes(count))
        part.mark = count + self._mark
        return part.found

    def _all_parts(self) -> Iterator[Part]:
        for beside in self._parts.values():
            yield from beside.values()
        yield from self._wide.values()

    def _places(self, key: str, chunks: list[str]) -> list[_Place]:
        """Where the expressions stand that meet a key of any kind."""
        concrete = all(is_literal(chunk) for chunk in chunks)
        before, deep_end = chunks[:-1], chunks[-1] == "**"
        found: list[_Place] = []
        for part in self._all_parts():
            if not _meets(chunks, part.head):
                continue
            covered = deep_end and len(before) <= len(part.head) and before == list(part.head[: len(before)])
            for shape, table in part.tables.items():
                sure = covered and not shape.has_verbatim
                for literals in list(table) if sure else shape.candidates(table, chunks, concrete):
                    found += [
                        _Place(part, shape, table, literals, name, held)
                        for name, held in shape.held(table, literals)
                        if sure or intersects(shape.expr(part.head, literals, name), key)
                    ]
        return found

    def _replace(self, place: _Place, rest: Any) -> None:
        """Put ``rest`` in the place of what is held there, and let go of what is bare then."""
        part, _, table, literals, name, _ = place
        if name is not None:
            sieve: Sieve = table[literals]
            if rest is NOTHING:
                sieve.remove(name)
            else:
                sieve.put(name, rest)
        elif rest is not NOTHING:
            table[literals] = rest
        if rest is NOTHING and (name is None or not table[literals]):
            del table[literals]
        if not table:
            self._tidy(part)

    def _tidy(self, part: Part) -> None:
        """Let go of a part's empty tables, and of the part if all are."""
        part.tidy()
        if len(part.head) < 2:
            self._mark += _STEP
        if part.tables or not part.head:
            return
        if len(part.head) == 1:
            if self._wide.get(part.head[0]) is part:
                del self._wide[part.head[0]]
            return
        first, second = part.head
        beside = self._parts.get(second, {})
        if beside.get(first) is part:
            del beside[first]
            if not beside:
                del self._parts[second]

    def _sweep(self, spare: Part | None = None) -> None:
        """Let go of what `take` has emptied and nobody has filled again, but for ``spare``."""
        firsts = dict.fromkeys(part.head[0] for part in self._bare if part.head)
        wide = [self._wide[first] for first in ("", *firsts) if first in self._wide]
        for part in dict.fromkeys((*self._bare, *wide)):
            if part is not spare and not all(part.tables.values()):
                self._tidy(part)
        self._bare.clear()


def _collect(held: Any, found: set[Any]) -> None:
    if type(held) is Many:
        found |= held
    else:
        found.add(held)


def _extend(taken: list[Any], held: Any) -> None:
    if type(held) is Many:
        taken += held
    else:
        taken.append(held)


def _unpack(held: Any, shape: Shape | None, table: Table, key: str, chunks: list[str], taken: list[Any]) -> None:
    """Add the values that meet a concrete key to ``taken``; what a sieve keeps goes back to its place."""
    if shape is None:
        _extend(taken, held)
        return
    sieve: Sieve = held
    fitting = sieve.fitting(key, chunks)
    for _, inner in fitting:
        _extend(taken, inner)
    if len(fitting) < len(sieve):
        for name, _ in fitting:
            sieve.remove(name)
        table[shape.literals(chunks)] = sieve


def _meets(chunks: list[str], head: tuple[str, ...]) -> bool:
    """Whether a key can meet expressions that begin with the literal chunks ``head``."""
    for at, literal in enumerate(head):
        if at == len(chunks):
            return False
        if chunks[at] == "**":
            return True
        if not chunk_intersects(chunks[at], literal):
            return False
    return True
