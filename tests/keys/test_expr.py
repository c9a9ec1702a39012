"""KeyExpr: canonical spelling, refusals that help, limits, and ids as chunks."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from livelake import keys
from livelake.errors import KeyExprError, UsageError
from livelake.keys import KeyExpr, decode_chunk, encode_chunk

NASTY = [
    "",
    "%",
    "%%",
    "/",
    "//",
    "*",
    "**",
    "$*",
    "$",
    "#",
    "?",
    "@",
    "@x",
    "\0",
    "\n",
    " ",
    "a/b",
    "é",
    "🦆",
]
NASTY += ["\ud800", "\udfff\ud800", "\ud83d\udc26", "..", ".", "%41", "%2F", "~", "a" * 300, "\x7f", "\u2028"]
any_text = st.text(st.characters(codec=None, categories=None), max_size=30)  # lone surrogates too


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("a", "a"),
        ("a/**/*", "a/*/**"),
        ("**/**", "**"),
        ("**/*/**/*", "*/*/**"),
        ("a/$*", "a/*"),
        ("$*$*", "*"),
        ("$*$*$*/**/b", "*/**/b"),
        ("a$*$*b", "a$*b"),
        ("**/$*/**", "*/**"),
        ("@a$*$*", "@a$*"),
        ("events/Todo/möbel 1/\0", "events/Todo/möbel 1/\0"),
    ],
)
def test_an_expression_has_one_spelling(written: str, canonical: str) -> None:
    assert KeyExpr(written) == canonical
    assert KeyExpr(canonical) == canonical


def test_an_expression_is_its_text() -> None:
    key = KeyExpr("a/**/*")
    assert {key: 1}["a/*/**"] == 1
    assert hash(key) == hash("a/*/**")
    assert str(key) == "a/*/**"
    assert type(str(key)) is str
    assert repr(key) == "KeyExpr('a/*/**')"
    assert KeyExpr(key) is key
    for again in (pickle.loads(pickle.dumps(key)), copy.deepcopy(key)):
        assert again == key
        assert type(again) is KeyExpr
    with pytest.raises(AttributeError):
        key.colour = "red"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "chunk 1 is empty"),
        ("/a", "chunk 1 is empty"),
        ("a/", "chunk 2 is empty"),
        ("a//b", "chunk 2 is empty"),
        ("a/b#/c", "chunk 2 ('b#') holds `#`"),
        ("a/b?", "chunk 2 ('b?') holds `?`"),
        ("a/b*", "chunk 2 ('b*') has `*` beside"),
        ("***", "chunk 1 ('***') has `*` beside"),
        ("a/$**", "chunk 2 ('$**') has `*` beside"),
        ("a$b", "chunk 1 ('a$b') holds a `$`"),
        ("a/b/$", "chunk 3 ('$') holds a `$`"),
        ("a/\ud800", "chunk 2 ('\\ud800') holds a lone surrogate"),
        ("$*a$*b$*", "more than 2 `$*`"),
        ("**/a/**/b/**/c/**", "has 4 `**`; at most 3"),
        ("x" * 1025, "has 1,025 bytes"),
        ("é" * 513, "has 1,026 bytes"),
        (7, "this is int"),
        (None, "this is NoneType"),
    ],
)
def test_a_refusal_names_the_chunk_and_the_rule(text: str, says: str) -> None:
    with pytest.raises(KeyExprError) as caught:
        KeyExpr(text)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 400
    assert isinstance(caught.value, (UsageError, ValueError))


def test_the_limits_themselves_are_allowed() -> None:
    for text in ("x" * 1024, "é" * 512, "**/a/**/b/**", "$*a$*", "a$*$*$*b$*$*", "**/**/**/**/**"):
        KeyExpr(text)


def test_only_what_can_stand_for_many_is_wild() -> None:
    assert all(KeyExpr(text).is_wild for text in ("**", "a/*", "a$*/b", "@x/**"))
    assert not any(KeyExpr(text).is_wild for text in ("a", "a/b/c", "@a$*", "a/@$*b"))


@pytest.mark.parametrize(
    ("a", "b", "meets", "holds"),
    [
        ("a/**", "a", True, True),
        ("a/*", "a", False, False),
        ("events/T/**", "events/T/x/5", True, True),
        ("events/T/**", "events/TL/x/5", False, False),
        ("events/*/42/**", "events/T/**", True, False),
        ("a$*", "a", True, True),
        ("**", "@a", False, False),
        ("events/**", "events/@x/1", False, False),
        ("@a/**", "@a/b", True, True),
        ("@a$*", "@ab", False, False),
        ("$*@x", "@x", False, False),
        ("a/**/b", "a/b", True, True),
        ("a$*b", "a$*c", False, False),
        ("a$*", "$*b", True, False),
        ("$*a$*", "b$*a$*", True, True),
        ("a$*a", "a", False, False),
    ],
)
def test_sets_meet_and_hold_each_other(a: str, b: str, meets: bool, holds: bool) -> None:
    assert KeyExpr(a).intersects(b) is meets
    assert KeyExpr(b).intersects(a) is meets
    assert KeyExpr(a).includes(b) is holds
    assert KeyExpr(a).includes(a)


def test_comparing_canonizes_and_refuses() -> None:
    assert KeyExpr("a/*/**").includes("a/**/*")
    with pytest.raises(KeyExprError):
        KeyExpr("a").intersects("a//b")


def test_no_comparison_explodes() -> None:
    long = "a" * 1000
    assert not KeyExpr("$*a$*b").intersects(long)
    many = "/".join("a" * 500)
    assert not KeyExpr("**/a/**/a/**/b").intersects(many)
    assert KeyExpr("**/a/**/a/**").includes(many)


@pytest.mark.parametrize("text", NASTY)
def test_any_id_becomes_one_plain_chunk_and_back(text: str) -> None:
    chunk = encode_chunk(text)
    assert decode_chunk(chunk) == text
    key = keys.event("T", text, 5)
    assert key == KeyExpr(str(key))
    assert not key.is_wild
    assert key.split("/") == ["events", "T", chunk, "5"]
    for expr in (keys.aggregate("T"), keys.instance("T", text), KeyExpr("events/*/*/*"), KeyExpr("**")):
        assert expr.includes(key)


@given(any_text, any_text)
@example("a", "%61")
@example("", "%")
def test_ids_are_encoded_one_to_one(a: str, b: str) -> None:
    assert decode_chunk(encode_chunk(a)) == a
    assert (encode_chunk(a) == encode_chunk(b)) is (a == b)


@given(any_text)
def test_a_chunk_is_decoded_only_if_it_was_encoded(chunk: str) -> None:
    try:
        text = decode_chunk(chunk)
    except KeyExprError:
        return
    assert encode_chunk(text) == chunk


@pytest.mark.parametrize("chunk", ["%61", "%2f", "%zz", "%4", "a b", "é", "", "a%", "%FF", "*"])
def test_what_was_not_encoded_is_not_decoded(chunk: str) -> None:
    with pytest.raises(KeyExprError):
        decode_chunk(chunk)


def test_the_builders_speak_the_language() -> None:
    assert keys.aggregate("Todo") == "events/Todo/**"
    assert keys.instance("Todo", "a/b") == "events/Todo/a%2Fb/**"
    assert keys.event("Todo", "", 0) == "events/Todo/%/0"
    assert keys.table("my lake", "main", "orders") == "lake/my%20lake/main/orders"
    assert keys.catalog("sales") == "lake/sales/**"
    assert keys.catalog("sales").includes(keys.table("sales", "main", "orders"))
    assert all(type(key) is KeyExpr for key in (keys.aggregate("T"), keys.table("a", "b", "c")))
    with pytest.raises(KeyExprError, match="hash"):
        keys.instance("Todo", "x" * 1024)
