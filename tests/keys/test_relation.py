"""intersects and includes against the plain definition, against every key of a small world, and against Zenoh."""

from __future__ import annotations

import random
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.keys import oracle

from livelake.errors import KeyExprError
from livelake.keys import KeyExpr, includes, intersects

seeds = st.integers(0, 2**32)


def pair(seed: int | str, most: int = 5) -> tuple[KeyExpr, KeyExpr] | None:
    """Two expressions, related more often than not; None where a limit refused one."""
    rng = random.Random(seed)
    a = oracle.expression(rng, most)
    b = oracle.expression(rng, most) if rng.random() < 0.3 else oracle.relative(rng, a)
    try:
        return KeyExpr(a), KeyExpr(b)
    except KeyExprError:
        return None


@settings(max_examples=1500, deadline=None)
@given(seeds)
def test_relations_are_what_their_definition_says(seed: int) -> None:
    both = pair(seed)
    if both is None:
        return
    a, b = both
    assert intersects(a, b) is intersects(b, a) is oracle.meet(a, b)
    assert includes(a, b) is oracle.holds(a, b)
    assert includes(b, a) is oracle.holds(b, a)
    if includes(a, b):
        assert intersects(a, b)


SMALL = ["a", "b", "@", "@a", "*", "**", "a$*", "$*b", "$*a$*", "a$*b"]


@cache
def world() -> list[str]:
    return list(oracle.keys("abc", longest=2, most=3))


@cache
def language(expr: str) -> frozenset[str]:
    """The keys of the small world that belong to ``expr``."""
    return frozenset(key for key in world() if oracle.belongs(key, expr))


def small_expressions() -> list[KeyExpr]:
    singles = [KeyExpr(chunk) for chunk in SMALL]
    doubles = [KeyExpr(f"{x}/{y}") for x in SMALL for y in SMALL]
    rng = random.Random(7)
    triples = [KeyExpr("/".join(rng.choice(SMALL) for _ in range(3))) for _ in range(40)]
    return list(dict.fromkeys(singles + doubles + triples))


def test_relations_agree_with_the_enumerated_language() -> None:
    expressions = small_expressions()
    meeting = held = 0
    for a in expressions:
        for b in expressions:
            ours, theirs = language(a), language(b)
            # Three chunks of two letters are enough for a witness of any two of these that are short themselves.
            if ours & theirs:
                assert intersects(a, b), (a, b)
                meeting += 1
            elif a.count("/") + b.count("/") <= 2:
                assert not intersects(a, b), (a, b)
            if includes(a, b):
                assert theirs <= ours, (a, b)
                held += 1
            elif "**" not in b:
                assert not theirs <= ours, (a, b)  # the alphabet holds a letter that no pattern names
    assert meeting > 3000
    assert held > 800


def zenoh_pairs(wanted: int) -> list[tuple[KeyExpr, KeyExpr]]:
    found: list[tuple[KeyExpr, KeyExpr]] = []
    number = 0
    rng = random.Random(20240115)
    while len(found) < wanted:
        number += 1
        try:
            a = oracle.expression(rng)
            b = oracle.expression(rng) if rng.random() < 0.3 else oracle.relative(rng, a)
            found.append((KeyExpr(a), KeyExpr(b)))
        except KeyExprError:
            continue
    return found


def test_relations_are_those_of_zenoh() -> None:
    zenoh = pytest.importorskip("zenoh")
    meeting = holding = 0
    for a, b in zenoh_pairs(120_000):
        foreign_a, foreign_b = zenoh.KeyExpr(a), zenoh.KeyExpr(b)
        meets, holds = intersects(a, b), includes(a, b)
        assert meets is foreign_a.intersects(foreign_b), (a, b)
        assert holds is foreign_a.includes(foreign_b), (a, b)
        assert includes(b, a) is foreign_b.includes(foreign_a), (a, b)
        meeting += meets
        holding += holds
    assert meeting > 30_000
    assert holding > 15_000


def foreign_canonical(autocanonize: object, text: str) -> str | None:
    """What Zenoh makes of a text; "" where it refuses, None where it panics."""
    try:
        return str(autocanonize(text))  # type: ignore[operator]
    except Exception:
        return ""
    except BaseException as panic:  # PanicException is no Exception
        if type(panic).__name__ != "PanicException":
            raise
        return None


def test_spelling_is_that_of_zenoh(capfd: pytest.CaptureFixture[str]) -> None:
    zenoh = pytest.importorskip("zenoh")
    rng = random.Random(5)
    bits = ("a", "é", "*", "**", "$*", "/", "/", "/", "@", "$", "#")
    agreed = refused = 0
    for _ in range(60_000):
        text = "".join(rng.choice(bits) for _ in range(rng.randint(1, 8)))
        if "$*$*" in text:
            continue  # Zenoh panics or refuses; its own specification wants one `$*`
        foreign = foreign_canonical(zenoh.KeyExpr.autocanonize, text)
        try:
            ours = KeyExpr(text)
        except KeyExprError as why:
            if "at most" in str(why) or "more than" in str(why):
                continue  # our limits, which Zenoh does not have
            assert foreign in ("", None), text
            refused += 1
        else:
            assert foreign in (ours, None), text
            assert zenoh.KeyExpr(ours) == ours
            agreed += 1
    assert agreed > 6_000
    assert refused > 8_000
    capfd.readouterr()  # the panics' own noise
