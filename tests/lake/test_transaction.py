"""Who holds a transaction: its task writes by it, and all others wait for its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import livelake
from livelake.errors import QueryError, UsageError
from livelake.lake.transaction import Transaction
from livelake.live import LiveLake

PATIENCE = 20.0
"""Seconds that only a hang would take."""

Write = Callable[[LiveLake], Awaitable[Any]]


async def begin_another(lake: LiveLake) -> None:
    async with lake.transaction():
        pass


WRITES: dict[str, Write] = {
    "execute": lambda lake: lake.execute("INSERT INTO people VALUES ('Grace')"),
    "insert": lambda lake: lake.insert("people", [{"name": "Grace"}]),
    "maintain": lambda lake: lake.maintain(),
    "administer": lambda lake: lake.administer(["SELECT 1"]),
    "transaction": begin_another,
}


async def names(lake: LiveLake) -> list[str]:
    return [row["name"] for row in (await lake.query("SELECT name FROM people ORDER BY name")).rows()]


async def add(transaction: Transaction, name: str) -> None:
    await transaction.execute(f"INSERT INTO people VALUES ('{name}')")


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_beside_the_transaction_of_its_own_task_is_refused_at_once(
    ducklake: LiveLake, name: str
) -> None:
    async with asyncio.timeout(PATIENCE), ducklake.transaction() as transaction:
        with pytest.raises(UsageError, match=rf"lake\.{name}: this task holds a transaction.*leave its block"):
            await WRITES[name](ducklake)
        await add(transaction, "Linus")
    assert await names(ducklake) == ["Ada", "Linus"]
    await WRITES[name](ducklake)


async def test_what_is_refused_says_what_to_use(lake: LiveLake) -> None:
    async with asyncio.timeout(PATIENCE), lake.transaction():
        with pytest.raises(UsageError, match=r"use t\.execute of the transaction"):
            await lake.execute("INSERT INTO people VALUES ('Grace')")
        with pytest.raises(UsageError, match=r"use t\.insert of the transaction"):
            await lake.insert("people", [{"name": "Grace"}])


async def test_a_read_inside_a_transaction_is_answered(lake: LiveLake) -> None:
    async with asyncio.timeout(PATIENCE), lake.transaction():
        assert await names(lake) == ["Ada"]


async def test_a_transaction_of_another_lake_is_in_nobodys_way(lake: LiveLake, tmp_path: Path) -> None:
    async with (
        asyncio.timeout(PATIENCE),
        livelake.open(str(tmp_path / "other.duckdb")) as other,
        other.transaction(),
    ):
        await lake.execute("INSERT INTO people VALUES ('Grace')")
    assert await names(lake) == ["Ada", "Grace"]


async def test_another_task_waits_for_the_end(lake: LiveLake) -> None:
    async with asyncio.timeout(PATIENCE):
        async with lake.transaction() as transaction:
            other = asyncio.create_task(lake.execute("INSERT INTO people VALUES ('Grace')"))
            await add(transaction, "Linus")
            assert not other.done()
        await other
    assert await names(lake) == ["Ada", "Grace", "Linus"]


async def test_a_helper_that_has_ended_leaves_the_transaction_to_its_task(lake: LiveLake) -> None:
    async with asyncio.timeout(PATIENCE), lake.transaction() as transaction:
        await asyncio.create_task(add(transaction, "Linus"))
        with pytest.raises(UsageError, match="this task holds a transaction"):
            await lake.execute("INSERT INTO people VALUES ('Grace')")


async def test_whoever_handed_a_transaction_over_waits_like_any_other(lake: LiveLake) -> None:
    stack, used, leave = AsyncExitStack(), asyncio.Event(), asyncio.Event()
    transaction = await stack.enter_async_context(lake.transaction())

    async def take_over() -> None:
        async with stack:
            await add(transaction, "Linus")
            used.set()
            await leave.wait()
            with pytest.raises(UsageError, match="this task holds a transaction"):
                await lake.execute("INSERT INTO people VALUES ('Eve')")

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(take_over())
        await used.wait()
        asyncio.get_running_loop().call_soon(leave.set)
        await lake.execute("INSERT INTO people VALUES ('Grace')")
    assert await names(lake) == ["Ada", "Grace", "Linus"]


async def test_a_transaction_outlives_the_task_that_began_it(lake: LiveLake) -> None:
    stack = AsyncExitStack()
    async with asyncio.timeout(PATIENCE):
        transaction = await asyncio.create_task(stack.enter_async_context(lake.transaction()))
        async with stack:
            await add(transaction, "Linus")
            with pytest.raises(UsageError, match="this task holds a transaction"):
                await lake.execute("INSERT INTO people VALUES ('Grace')")
        await lake.execute("INSERT INTO people VALUES ('Grace')")
    assert await names(lake) == ["Ada", "Grace", "Linus"]


async def test_nobody_is_refused_after_a_transaction_that_failed(lake: LiveLake) -> None:
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ZeroDivisionError):
            async with lake.transaction() as transaction:
                await add(transaction, "Linus")
                raise ZeroDivisionError
        await lake.execute("INSERT INTO people VALUES ('Grace')")
    assert await names(lake) == ["Ada", "Grace"]


TEMPORARY = [
    "CREATE TEMP TABLE mine AS SELECT 1 AS a",
    "/* mine */ create or replace -- only\n temporary view mine as select 1 as a",
    "CREATE LOCAL TEMP TABLE mine (a INT)",
    "CREATE TEMP MACRO mine() AS 1",
    "CREATE TEMPORARY SEQUENCE mine",
    'CREATE TABLE IF NOT EXISTS "temp".mine (a INT)',
    "CREATE TABLE temp.main.mine (a INT)",
]


@pytest.mark.parametrize("sql", TEMPORARY)
async def test_what_no_query_would_see_is_refused(lake: LiveLake, sql: str) -> None:
    with pytest.raises(QueryError, match=r"what is temporary is seen by its own session only.*leave TEMP out"):
        await lake.execute(sql)


async def test_a_table_may_be_called_temporary(lake: LiveLake) -> None:
    await lake.execute("CREATE TABLE temperature AS SELECT 'CREATE TEMP TABLE' AS temp")
    await lake.execute('CREATE OR REPLACE TABLE "temporary" AS SELECT temp FROM temperature')
    assert (await lake.query('FROM "temporary"')).rows() == [{"temp": "CREATE TEMP TABLE"}]


async def test_a_transaction_sees_its_temporary_table_and_takes_it_along(lake: LiveLake) -> None:
    async with lake.transaction() as transaction:
        await transaction.execute("CREATE TEMP TABLE staged AS SELECT 'Grace' AS name")
        await transaction.execute("INSERT INTO people FROM staged")
    assert await names(lake) == ["Ada", "Grace"]
    with pytest.raises(QueryError, match="staged does not exist"):
        await lake.execute("INSERT INTO people FROM staged")
