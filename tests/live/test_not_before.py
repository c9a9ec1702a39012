"""A read that demands a publication waits for it, on whichever node that was; `LocalBus` first, then two nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import livelake
from livelake.errors import BusyError, ClosedError, QueryError, SnapshotAheadError, SourceError
from livelake.events import Event, LocalBus
from livelake.keys import KeyExpr
from livelake.lake.log import SnapshotLog
from livelake.live import LiveLake
from livelake.token import Token

PATIENCE = 45.0
ROUNDS = 200
NEVER_POLLED = 600.0


def done(id_: str = "42", type_: str = "Todo") -> Event:
    return Event(aggregate_type=type_, aggregate_id=id_, event_type="Done")


@pytest.fixture
async def lake(tmp_path: Path) -> AsyncIterator[LiveLake]:
    async with livelake.open(f"ducklake:sqlite:{tmp_path}/sales.sqlite") as opened:
        await opened.execute("CREATE TABLE orders (id INTEGER)")
        yield opened


async def test_what_was_published_here_is_reached_at_once(lake: LiveLake) -> None:
    sql = "SELECT count(*) AS n FROM orders"
    assert (await lake.query(sql, depends_on="events/Todo/**")).status == "miss"
    token = await lake.bus.publish(done())
    assert (await lake.query(sql, depends_on="events/Todo/**", not_before=token)).status == "miss"
    both = token | await lake.execute("INSERT INTO orders VALUES (1)")
    result = await lake.query(sql, depends_on="events/Todo/**", not_before=both, timeout=PATIENCE)
    assert result.rows() == [{"n": 1}]


async def test_what_nobody_here_can_hear_of_ends_at_the_deadline(lake: LiveLake) -> None:
    elsewhere = Token(positions={"elsewhere": 7})
    with pytest.raises(BusyError, match=r"did not hear of elsewhere at 7 within 0\.05 s: .* try again"):
        await lake.query("SELECT 1", not_before=elsewhere, timeout=0.05)
    with pytest.raises(BusyError, match=r"as new as `not_before` within 0\.05 s"):
        await lake.query("SELECT 1", not_before=Token({"sales": 10**9}), timeout=0.05)
    with pytest.raises(QueryError, match="not attached here"):
        await lake.query("SELECT 1", not_before=Token({"other": 1}))


async def test_an_empty_token_demands_nothing(lake: LiveLake) -> None:
    assert (await lake.query("SELECT 1 AS a", not_before=Token(), timeout=PATIENCE)).rows() == [{"a": 1}]


async def test_a_wait_is_cancelled_like_any_other(lake: LiveLake) -> None:
    asking = asyncio.create_task(lake.query("SELECT 1", not_before=Token(positions={"x": 1}), timeout=PATIENCE))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (await lake.query("SELECT 1 AS a")).rows() == [{"a": 1}]


async def test_a_closed_lake_says_so(tmp_path: Path) -> None:
    async with livelake.open(f"ducklake:sqlite:{tmp_path}/sales.sqlite") as lake:
        pass
    with pytest.raises(ClosedError):
        await lake.query("SELECT 1", not_before=Token(positions={"x": 1}))


@pytest.mark.parametrize("token", [None, Token()], ids=["plain", "not_before"])
async def test_a_cancellation_that_meets_the_answer_is_not_swallowed(
    lake: LiveLake, token: Token | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`asyncio.wait_for` of Python 3.11 returns the answer then, and the caller runs on as if not cancelled."""
    read = await lake.fetch(lake.ask("SELECT 1 AS a"))
    for turns in range(8):
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def fetch(*_: object, gate: asyncio.Future[None] = gate, **__: object) -> object:
            await gate
            return read

        monkeypatch.setattr(lake, "fetch", fetch)
        asking = asyncio.create_task(lake.query("SELECT 2 AS a", not_before=token, timeout=PATIENCE))
        for _ in range(8):
            await asyncio.sleep(0)
        gate.set_result(None)
        for _ in range(turns):
            await asyncio.sleep(0)
        was_cancelled = asking.cancel()
        await asyncio.wait((asking,))
        assert asking.cancelled() == was_cancelled, turns


async def test_a_lake_that_went_back_has_lost_the_write(tmp_path: Path) -> None:
    catalog = tmp_path / "sales.sqlite"
    uri = f"ducklake:sqlite:{catalog}"
    async with livelake.open(uri) as writer:
        await writer.execute("CREATE TABLE orders (id INTEGER)")
    async with livelake.open(uri) as writer, livelake.open(uri, poll_interval=0.02) as reader:
        token = await writer.execute("INSERT INTO orders VALUES (1)")
        then = {"sales": token.versions["sales"]}
        assert (await reader.query("FROM orders", not_before=token)).rows() == [{"id": 1}]
        assert (await reader.query("FROM orders", as_of=then)).rows() == [{"id": 1}]
        log = reader.watcher.logs["sales"]
        await writer.execute("DELETE FROM orders")
        # What restoring a backup comes to for who has the file open: the newest snapshots are gone.
        for table, column in (("ducklake_snapshot", "snapshot_id"), ("ducklake_snapshot_changes", "snapshot_id")):
            await writer.administer(
                [f"DELETE FROM __ducklake_metadata_sales.{table} WHERE {column} >= {then['sales']}"]
            )
        await asyncio.to_thread(reader.watcher.look)
        assert isinstance(log, SnapshotLog)
        assert log.head < then["sales"]
        with pytest.raises(SourceError, match=r"sales went back from \d+ to \d+ .*is lost; write it again"):
            await reader.query("FROM orders", not_before=token)
        with pytest.raises(SnapshotAheadError):
            await reader.query("FROM orders", as_of=then)


class _Blind(LocalBus):
    """A bus that can vouch for no event."""

    def blind(self) -> frozenset[KeyExpr]:
        return frozenset((KeyExpr("events/**"),))


async def test_what_a_snapshot_vouches_for_is_kept_while_the_bus_is_blind(tmp_path: Path) -> None:
    async with _Blind() as bus, livelake.open(f"ducklake:sqlite:{tmp_path}/sales.sqlite", bus=bus) as lake:
        await lake.execute("CREATE TABLE orders (id INTEGER)")
        sql = "SELECT count(*) AS n FROM orders"
        statuses = [(await lake.query(sql)).status for _ in range(2)]
        told = [(await lake.query(sql, depends_on="events/Todo/**")).status for _ in range(2)]
    assert statuses == ["miss", "hit"]
    assert told == ["miss", "miss"]


# ---------------------------------------------------------------- two nodes behind a router


@pytest.fixture(scope="module")
def router() -> Iterator[str]:
    pytest.importorskip("zenoh", reason="the extra livelake[zenoh] is not installed")
    from events.routers import running

    with running("--listen", "tcp/127.0.0.1:0") as endpoint:
        yield endpoint


@pytest.fixture
async def two(router: str, tmp_path: Path) -> AsyncIterator[tuple[LiveLake, LiveLake]]:
    """Two lakes over one catalog, each with its own session; only events tell the second of a commit."""
    uri = f"ducklake:sqlite:{tmp_path}/sales.sqlite"
    async with (
        livelake.ZenohBus(connect=[router], timeout=PATIENCE) as here,
        livelake.ZenohBus(connect=[router], timeout=PATIENCE) as there,
        livelake.open(uri, bus=here, poll_interval=NEVER_POLLED) as writer,
    ):
        await writer.execute("CREATE TABLE orders (id INTEGER)")
        async with livelake.open(uri, bus=there, poll_interval=NEVER_POLLED) as reader:
            yield writer, reader


SQL, TODO = "SELECT coalesce(max(id), 0) AS n FROM orders", "events/Todo/**"


async def test_a_read_after_a_publication_elsewhere_never_meets_what_was_cached_before_it(
    two: tuple[LiveLake, LiveLake],
) -> None:
    writer, reader = two
    hits = 0
    for number in range(1, ROUNDS + 1):
        before = await reader.query(SQL, depends_on=TODO)
        hits += (await reader.query(SQL, depends_on=TODO)).status == "hit"  # so there was something to be wrong about
        assert before.rows() == [{"n": number - 1}]
        await writer.execute("INSERT INTO orders VALUES ($n)", {"n": number})
        token = await writer.bus.publish(done(str(number % 7)))
        after = await reader.query(SQL, depends_on=TODO, not_before=token, timeout=PATIENCE)
        assert after.rows() == [{"n": number}], number
    assert hits > ROUNDS / 2


async def test_without_the_token_it_may_be_old_and_so_the_search_above_can_find_faults(
    two: tuple[LiveLake, LiveLake],
) -> None:
    writer, reader = two
    old = 0
    for number in range(1, ROUNDS + 1):
        await reader.query(SQL, depends_on=TODO)
        await writer.execute("INSERT INTO orders VALUES ($n)", {"n": number})
        token = await writer.bus.publish(done())
        old += (await reader.query(SQL, depends_on=TODO)).rows() != [{"n": number}]
        await reader.bus.reached(token, timeout=PATIENCE)
        if old:
            return
    raise AssertionError("not one read was too early: this test shows nothing")


async def test_the_token_travels_as_text(two: tuple[LiveLake, LiveLake]) -> None:
    writer, reader = two
    token = await writer.bus.publish(done())
    await reader.query(SQL, depends_on=TODO, not_before=Token.parse(str(token)), timeout=PATIENCE)
    assert token.positions.items() <= reader.bus.heard().positions.items()


async def test_a_wildcard_change_is_waited_for_too(two: tuple[LiveLake, LiveLake]) -> None:
    writer, reader = two
    await reader.query(SQL, depends_on=TODO)
    await writer.execute("INSERT INTO orders VALUES (3)")
    token = await writer.bus.invalidate("events/*/42/**")
    after = await reader.query(SQL, depends_on=TODO, not_before=token, timeout=PATIENCE)
    assert after.rows() == [{"n": 3}]


async def test_a_publisher_that_is_gone_is_not_waited_for(two: tuple[LiveLake, LiveLake], router: str) -> None:
    _, reader = two
    async with livelake.ZenohBus(connect=[router], timeout=PATIENCE) as short:
        token = await short.publish(done())
        await reader.bus.reached(token, timeout=PATIENCE)
    result = await reader.query(SQL, depends_on=TODO, not_before=token, timeout=PATIENCE)
    assert result.rows() == [{"n": 0}]
