"""What is no question that can be understood: each is refused by an error of ours that says what is expected."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

import livelake
from livelake.errors import ParameterError, QueryError, UsageError
from livelake.live import LiveLake

DEEP = {
    "a sum": "SELECT 1" + "+1" * 500,
    "a text": "SELECT 'x'" + "||'x'" * 500,
    "a list": "SELECT " + "[" * 500 + "1" + "]" * 500,
    "a negation": "SELECT " + "NOT " * 500 + "true",
}


@pytest.mark.parametrize("untrusted", [False, True])
@pytest.mark.parametrize("what", DEEP)
async def test_a_text_that_is_nested_too_deep_is_told_so(what: str, untrusted: bool) -> None:
    async with livelake.open(":memory:") as lake:
        with pytest.raises(QueryError, match=r"nested too deep to be understood; nest it less"):
            await lake.query(DEEP[what], untrusted=untrusted)
        assert (await lake.query("SELECT 1 AS a")).rows() == [{"a": 1}]


async def test_whatever_reads_a_text_tells_that_it_is_nested_too_deep(ducklake: LiveLake) -> None:
    text = DEEP["a sum"]
    with pytest.raises(QueryError, match="nested too deep"):
        await ducklake.why(text)
    with pytest.raises(QueryError, match="nested too deep"):
        await ducklake.query(f"{text} + $a", {"a": 1})
    with pytest.raises(QueryError, match="nested too deep"):
        await ducklake.query(text, as_of={"sales": 1})
    with pytest.raises(QueryError, match="nested too deep"):
        async for _ in ducklake.live(text):
            pass


async def test_a_write_that_is_nested_too_deep_leaves_nothing() -> None:
    async with livelake.open(":memory:") as lake:
        await lake.execute("CREATE TABLE t (a INT)")
        with pytest.raises(QueryError, match="nested too deep"):
            await lake.execute(f"INSERT INTO t {DEEP['a sum']}")
        assert (await lake.query("SELECT count(*) AS n FROM t")).rows() == [{"n": 0}]


@pytest.mark.parametrize("depth", [200, 250, 300, 350])
async def test_at_every_depth_there_is_an_answer_or_an_error_of_ours(ducklake: LiveLake, depth: int) -> None:
    ways: list[tuple[str, dict[str, Any]]] = [
        ("SELECT $a" + "+1" * depth, {"parameters": {"a": 1}}),
        ("SELECT count(*)" + "+1" * depth + " FROM orders", {"as_of": {"sales": 1}}),
        ("SELECT " + "coalesce(" * depth + "1" + ")" * depth + " FROM orders", {"untrusted": True}),
    ]
    for text, given in ways:
        with suppress(QueryError):
            assert (await ducklake.query(text, **given)).rows()


async def test_a_parameter_without_an_end_is_refused() -> None:
    deep: list[Any] = []
    deep.append(deep)
    async with livelake.open(":memory:") as lake:
        for parameters in ([deep], {"a": deep}):
            with pytest.raises(ParameterError, match="nested too deep to be understood, or holds itself"):
                await lake.query("SELECT $1" if isinstance(parameters, list) else "SELECT $a", parameters)


@pytest.mark.parametrize("sql", [5, None, b"SELECT 1", ["SELECT 1"]])
async def test_sql_that_is_no_text_is_refused(sql: Any) -> None:
    async with livelake.open(":memory:") as lake:
        for ask in (lake.query, lake.why, lake.check, lake.execute):
            with pytest.raises(UsageError, match=f"SQL is text, and this is {type(sql).__name__}"):
                await ask(sql)
        with pytest.raises(UsageError, match="SQL is text"):
            lake.live(sql)


async def test_text_that_has_no_utf_8_is_refused() -> None:
    async with livelake.open(":memory:") as lake:
        for ask in (lake.query, lake.why, lake.check, lake.execute):
            with pytest.raises(QueryError, match=r"SQL is UTF-8, and character 9 of this, '\\ud800'"):
                await ask("SELECT '\ud800'")
        assert (await lake.query("SELECT 'ü' AS a")).rows() == [{"a": "ü"}]


async def test_not_before_that_is_no_token_is_refused(lake: LiveLake) -> None:
    token = await lake.execute("INSERT INTO people VALUES ('Grace')")
    with pytest.raises(UsageError, match=r"give a Token, and this is str; Token\.parse\(…\)"):
        await lake.query("SELECT 1", not_before=str(token))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="give a Token, and this is int; a write returns one"):
        await lake.query("SELECT 1", not_before=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("as_of", [5, 0, "sales", {1: 2}])
async def test_as_of_that_names_no_snapshots_is_refused(lake: LiveLake, as_of: Any) -> None:
    with pytest.raises(UsageError, match="give the snapshot of each lake by its name"):
        await lake.query("SELECT 1", as_of=as_of)
