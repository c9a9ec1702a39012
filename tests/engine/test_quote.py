from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livelake.engine import Engine, identifier, literal
from livelake.errors import QueryError

TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))


@given(text=TEXTS)
def test_a_literal_comes_back_as_the_text_that_it_quotes(shared_engine: Engine, text: str) -> None:
    with shared_engine.cursor() as session:
        assert session.fetchone(f"SELECT {literal(text)}") == (text,)


@given(name=TEXTS.filter(bool))
def test_an_identifier_names_a_column_whatever_it_holds(shared_engine: Engine, name: str) -> None:
    with shared_engine.cursor() as session:
        quoted = identifier(name)
        data = session.read(f"SELECT {quoted} FROM (SELECT 42 AS {quoted})")
        assert data.columns[0].name == name
        assert data.tuples() == [(42,)]


@given(name=TEXTS.filter(bool))
def test_an_identifier_is_one_token_for_the_parser(shared_engine: Engine, name: str) -> None:
    with shared_engine.cursor() as session:
        assert len(session.statements(f"SELECT 1 AS {identifier(name)}")) == 1


@pytest.mark.parametrize("bad", ["a\x00b", "\x00", "a\ud800"])
def test_what_duckdb_cannot_hold_is_refused(bad: str) -> None:
    with pytest.raises(QueryError):
        literal(bad)
    with pytest.raises(QueryError):
        identifier(bad)


def test_an_empty_identifier_is_refused_and_an_empty_literal_is_not() -> None:
    with pytest.raises(QueryError):
        identifier("")
    assert literal("") == "''"
