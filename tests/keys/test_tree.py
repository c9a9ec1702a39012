"""KeyTree against a scan of a list, and its promises of size."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.keys import oracle

from livelake import keys
from livelake.errors import KeyExprError
from livelake.keys import KeyExpr, KeyTree, intersects
from livelake.keys.globs import Globs


def some_expressions(seed: int, count: int) -> list[KeyExpr]:
    rng = random.Random(seed)
    found: list[KeyExpr] = []
    while len(found) < count:
        text = oracle.expression(rng, 4)
        if found and rng.random() < 0.4:
            text = oracle.relative(rng, rng.choice(found))
        try:
            found.append(KeyExpr(text))
        except KeyExprError:
            continue
    return found


POOL = some_expressions(1, 120)


class TreeMachine(RuleBasedStateMachine):
    """Random histories; the oracle is a set of pairs that is scanned."""

    def __init__(self) -> None:
        super().__init__()
        self.tree: KeyTree[int | None] = KeyTree()
        self.pairs: set[tuple[KeyExpr, int | None]] = set()

    values = st.none() | st.integers(0, 4)

    @rule(expr=st.sampled_from(POOL), value=values)
    def add(self, expr: KeyExpr, value: int | None) -> None:
        self.tree.add(expr, value)
        self.pairs.add((expr, value))

    @rule(expr=st.sampled_from(POOL), value=values)
    def discard(self, expr: KeyExpr, value: int | None) -> None:
        self.tree.discard(expr, value)
        self.pairs.discard((expr, value))

    @rule(key=st.sampled_from(POOL))
    def match(self, key: KeyExpr) -> None:
        assert self.tree.match(key) == {value for expr, value in self.pairs if intersects(expr, key)}

    @invariant()
    def counts(self) -> None:
        assert len(self.tree) == len(self.pairs)
        assert bool(self.tree) is bool(self.pairs)

    def teardown(self) -> None:
        for expr, value in self.pairs:
            self.tree.discard(expr, value)
        assert is_as_new(self.tree)


TreeMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_tree_is_a_scan = TreeMachine.TestCase


def is_as_new(tree: KeyTree[object]) -> bool:
    """Whether nothing is left of what was removed: no count, no part and no shape."""
    tree._sweep()
    return not tree._parts and list(tree._wide) == [""] and not tree._wide[""].tables


@pytest.mark.parametrize("seed", range(12))
def test_a_large_tree_answers_as_a_scan_does(seed: int) -> None:
    rng = random.Random(seed)
    pairs = list({(expr, rng.randrange(200)) for expr in some_expressions(seed, 400)})
    tree: KeyTree[int] = KeyTree()
    for expr, value in pairs:
        tree.add(expr, value)
    for _ in range(4):
        for key in [*some_expressions(rng.randrange(10**6), 60), KeyExpr("**"), KeyExpr("a/**")]:
            assert tree.match(key) == {value for expr, value in pairs if intersects(expr, key)}, key
        rng.shuffle(pairs)
        gone, pairs = pairs[:100], pairs[100:]
        for expr, value in gone:
            tree.discard(expr, value)
        assert len(tree) == len(pairs)
    assert not pairs
    assert is_as_new(tree)


def test_many_globs_beside_each_other_answer_as_a_scan_does() -> None:
    rng = random.Random(3)
    letters = "ab"

    def word(longest: int) -> str:
        return "".join(rng.choice(letters) for _ in range(rng.randint(0, longest)))

    exprs = {KeyExpr(f"x/{word(3)}$*{word(2)}$*{word(3)}/y") for _ in range(300)}
    exprs |= {KeyExpr(f"x/{word(3)}$*{word(3)}/y") for _ in range(100)}
    tree: KeyTree[str] = KeyTree()
    for expr in exprs:
        tree.add(expr, str(expr))
    left = list(exprs)
    while left:
        for _ in range(20):
            key = KeyExpr(f"x/{word(7) or 'b'}/y")
            assert tree.match(key) == {str(expr) for expr in left if intersects(expr, key)}
        for _ in range(min(50, len(left))):
            gone = left.pop(rng.randrange(len(left)))
            tree.discard(gone, str(gone))
    assert is_as_new(tree)


def test_the_same_pair_counts_once_and_leaves_once() -> None:
    tree: KeyTree[str] = KeyTree()
    for _ in range(3):
        tree.add(KeyExpr("a/**"), "x")
    tree.add(KeyExpr("a/**"), "y")
    assert len(tree) == 2
    tree.discard(KeyExpr("a/**"), "absent")
    tree.discard(KeyExpr("b/**"), "x")
    tree.discard(KeyExpr("a"), "x")
    assert tree.match(KeyExpr("a/1")) == {"x", "y"}
    tree.discard(KeyExpr("a/**"), "x")
    assert tree.match(KeyExpr("a/1")) == {"y"}
    tree.discard(KeyExpr("a/**"), "y")
    assert is_as_new(tree)


def test_values_may_be_sets_and_none() -> None:
    tree: KeyTree[object] = KeyTree()
    tree.add(KeyExpr("a"), frozenset({1, 2}))
    tree.add(KeyExpr("a"), None)
    assert tree.match(KeyExpr("a")) == {frozenset({1, 2}), None}


def test_a_match_is_the_callers_own() -> None:
    tree: KeyTree[int] = KeyTree()
    tree.add(KeyExpr("a"), 1)
    tree.add(KeyExpr("a"), 2)
    tree.match(KeyExpr("a")).clear()
    assert tree.match(KeyExpr("a")) == {1, 2}


def test_everything_is_all_but_the_verbatim() -> None:
    tree: KeyTree[int] = KeyTree()
    for number, text in enumerate(("a", "a/**", "**", "*/b$*/**/c", "x/*/@y")):
        tree.add(KeyExpr(text), number)
    assert tree.match(KeyExpr("**")) == {0, 1, 2, 3}
    tree.discard(KeyExpr("x/*/@y"), 4)
    assert tree.match(KeyExpr("**")) == {0, 1, 2, 3}
    tree.clear()
    assert not tree
    assert tree.match(KeyExpr("**")) == set()


def test_a_tree_canonizes_what_it_is_given() -> None:
    tree: KeyTree[int] = KeyTree()
    tree.add("a/**/*", 1)  # type: ignore[arg-type]
    assert tree.match(KeyExpr("a/b")) == {1}
    tree.discard("a/**/*", 1)  # type: ignore[arg-type]
    assert not tree


def test_a_concrete_match_looks_in_few_places_however_many_there_are() -> None:
    """The bound that matters, counted and not timed: tables looked into for one key among 20,000 patterns."""
    tree: KeyTree[int] = KeyTree()
    for number in range(20_000):
        tree.add(keys.instance(f"T{number % 50}", str(number)), number)
        if number % 500 == 0:
            tree.add(keys.aggregate(f"T{number % 50}"), -number)
            tree.add(KeyExpr(f"events/T{number % 50}/{number}$*/**"), -number)
    key = keys.event("T0", "1000", 1)
    assert tree.match(key) >= {1000, -1000}
    assert len(tree._probe(tree._meeting(key.split("/")), 4)) == 3


@pytest.mark.parametrize("text", ["**/a/**/a/**/b", "**/a/**/a/**/a", "a$*a$*/**/a/**", "**/$*a$*a/**"])
def test_many_wildcards_against_many_chunks_are_not_exponential(text: str) -> None:
    tree: KeyTree[int] = KeyTree()
    tree.add(KeyExpr(text), 1)
    key = KeyExpr("/".join(["a"] * 400))
    assert tree.match(key) == ({1} if intersects(text, key) else set())


def test_nothing_is_left_of_wildcards_that_went() -> None:
    tree: KeyTree[int] = KeyTree()
    tree.add(KeyExpr("a/b"), 1)
    tree.add(KeyExpr("*/b"), 1)
    for text in ("a/*/x", "a/x$*", "a/$*x", "a/$*x$*", "a/**/x", "a/b/$*x/$*y"):
        tree.add(KeyExpr(text), 2)
        tree.discard(KeyExpr(text), 2)
        assert sum(len(part.tables) for part in tree._all_parts()) == 2, text


@pytest.mark.parametrize("seed", range(12))
def test_what_is_taken_is_what_matches_and_the_rest_stays(seed: int) -> None:
    rng = random.Random(seed)
    pairs = {(expr, rng.randrange(100)) for expr in some_expressions(seed + 100, 400)}
    tree: KeyTree[int] = KeyTree()
    for expr, value in pairs:
        tree.add(expr, value)
    for key in [*some_expressions(seed + 200, 40), KeyExpr("a/**"), KeyExpr("a/b/**"), KeyExpr("**")]:
        met = {(expr, value) for expr, value in pairs if intersects(expr, key)}
        assert sorted(tree.take(key)) == sorted(value for _, value in met)
        pairs -= met
        assert len(tree) == len(pairs)
        for expr, value in rng.sample(sorted(met), len(met) // 2):  # some come back
            tree.add(expr, value)
            pairs.add((expr, value))
    for expr, value in pairs:
        tree.discard(expr, value)
    assert is_as_new(tree)


def test_globs_find_each_pattern_once_and_forget_lengths() -> None:
    globs = Globs()
    patterns = ["a$*", "ab$*", "abc$*d", "$*b", "$*ab", "$*aab", "$*b$*", "b$*b", "$*a$*b"]
    for pattern in patterns:
        globs.add(pattern)
    for text in ("b", "ab", "aab", "abcd", "bb", "x"):
        found = globs.fitting(text)
        assert len(found) == len(set(found)), text
        assert set(found) == {p for p in patterns if intersects(p, text)}
    for pattern in patterns:
        globs.remove(pattern)
    assert not globs._heads
    assert not globs._tails
    assert not globs._head_lengths
    assert not globs._tail_lengths
