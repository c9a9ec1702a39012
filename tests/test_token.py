"""Token: a point in the history of catalogs and sources, its order, its union and its text."""

from __future__ import annotations

import base64
import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livelake.errors import UsageError
from livelake.token import Token

names = st.text(st.characters(codec=None, categories=None), min_size=1, max_size=6) | st.sampled_from("abc")
points = st.dictionaries(names, st.integers(0, 2**63 - 1) | st.integers(0, 4), max_size=4)
tokens = st.builds(Token, points, points)


@given(tokens)
def test_its_text_is_url_safe_and_reads_back(token: Token) -> None:
    text = str(token)
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert Token.parse(text) == token
    assert hash(Token.parse(text)) == hash(token)
    assert str(Token.parse(text)) == text


@given(tokens, tokens, tokens)
def test_tokens_are_a_lattice(a: Token, b: Token, c: Token) -> None:
    assert a | a == a
    assert a | b == b | a
    assert (a | b) | c == a | (b | c)
    assert a <= a | b
    assert b <= a | b
    assert (a <= b) is (a | b == b) is b.covers(a)
    assert (a < b) is (a <= b and a != b)
    assert (a >= b) is (b <= a)
    if a <= c and b <= c:
        assert a | b <= c
    assert Token() <= a


def test_it_covers_writes_and_publications() -> None:
    token = Token({"sales": 42}) | Token(positions={"node/Todo": 7}) | Token({"sales": 41, "crm": 3})
    assert token.versions == {"sales": 42, "crm": 3}
    assert token.positions == {"node/Todo": 7}
    assert token.covers(Token({"sales": 42}))
    assert not token.covers(Token({"sales": 43}))
    assert not token.covers(Token({"hr": 0}))
    assert bool(token)
    assert not Token()


def test_it_is_immutable_and_copies() -> None:
    given_versions = {"sales": 1}
    token = Token(given_versions)
    given_versions["sales"] = 9
    assert token.versions == {"sales": 1}
    with pytest.raises(TypeError):
        token.versions["sales"] = 2  # type: ignore[index]
    with pytest.raises(AttributeError):
        token._versions = {}
    with pytest.raises(AttributeError):
        del token._versions
    for again in (copy.copy(token), copy.deepcopy(token), pickle.loads(pickle.dumps(token))):
        assert again == token
    assert repr(token) == "Token(versions={'sales': 1}, positions={})"
    assert token != 5
    with pytest.raises(TypeError):
        token | 5  # type: ignore[operator]


@pytest.mark.parametrize("number", [-1, 2**63, 1.0, True, "1", None])
def test_numbers_are_whole_and_from_zero(number: object) -> None:
    with pytest.raises(UsageError, match="whole number"):
        Token({"sales": number})  # type: ignore[dict-item]


def text_of(plain: str) -> str:
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "é",
        "a b",
        "????",
        text_of("[]"),
        text_of("5"),
        text_of('{"x":{}}'),
        text_of('{"v":[]}'),
        text_of('{"v":{"a":-1}}'),
        text_of('{"v":{"a":1.5}}'),
        text_of('{"v":{"a":true}}'),
        text_of('{"v":{"":1}}'),
        text_of('{"v":{"a":NaN}}'),
        text_of("[" * 40_000),
        "A" * 100_000,
        None,
    ],
    ids=lambda text: f"{text!r:.30}",
)
def test_a_text_that_is_no_token_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Token.parse(text)
    assert 20 < len(str(caught.value)) < 400


@given(st.text(max_size=40))
def test_any_text_is_a_token_or_refused(text: str) -> None:
    try:
        token = Token.parse(text)
    except UsageError:
        return
    assert Token.parse(str(token)) == token
