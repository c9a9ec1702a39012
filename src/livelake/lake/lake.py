"""`Lake`: queries over attached databases, answered from the cache exactly as long as that is right.

Contract. Safe to use from several threads and event loops. A read that begins after a change was acknowledged
here returns data that includes it. A query and the snapshots that it read are taken in one transaction; what it
reads comes from its own unoptimised plan. It knows nothing of feeds: `livelake.live` builds those on top.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Self, Unpack, cast

from livelake.cache import AnalyticsCache, Policy, Read, Slot
from livelake.cache.dependencies import key_exprs
from livelake.cache.registry import Watcher as Hearer
from livelake.clock import SYSTEM, Clock
from livelake.engine import Engine, Limits, Statement, check_seconds, check_text
from livelake.errors import BusyError, ClosedError
from livelake.keys import KeyExpr
from livelake.lake.answer import Answer, Result
from livelake.lake.attached import REMOTE_INTERVALS, Attached
from livelake.lake.catalog import parse
from livelake.lake.computing import Computing
from livelake.lake.joint import Joint
from livelake.lake.log import CountedLog, SnapshotLog
from livelake.lake.parameters import Parameters, canonical
from livelake.lake.planner import Planner
from livelake.lake.provenance import question_hash
from livelake.lake.question import OWN, Query, Terms, check_as_of, check_ttl, question, short, terms_of
from livelake.lake.safety import checked, engine_for, lock, restore
from livelake.lake.transaction import Transaction
from livelake.lake.travel import AsOf, Travel
from livelake.lake.upkeep import Done, Upkeep, maintain
from livelake.lake.waiting import catch_up
from livelake.lake.watcher import Watcher
from livelake.lake.why import Why, explain
from livelake.lake.writer import Writer
from livelake.token import Token, check_token

# Until a flight has pinned its snapshots it depends on every catalog (I2).
_EVERY_LAKE = frozenset((KeyExpr("lake/**"),))
_NO_KEYS: frozenset[KeyExpr] = frozenset()
_LIMITS = Limits()


class Lake:
    """Made by `Lake.attach`; `livelake.open` wraps it with live queries."""

    def __init__(
        self,
        engine: Engine,
        attached: Attached,
        default: str,
        cache: AnalyticsCache,
        *,
        clock: Clock = SYSTEM,
        poll_interval: float = 0.25,
        limits: Limits = _LIMITS,
        untrusted: bool = False,
    ) -> None:
        self.engine = engine
        self.limits = limits
        self.untrusted = untrusted
        self._terms = Terms(untrusted=True) if untrusted else OWN
        self.attached = attached
        self.catalogs = catalogs = {name: each.catalog for name, each in attached.by_name.items()}
        self.default = default
        self.cache = cache
        self._clock = clock
        # What makes one text mean different things: where its names lead, and settings that change answers.
        self._space = "\n".join([default, *attached.space, engine.settings_fingerprint()])
        self._counts_writes = not all(c.is_lake for c in catalogs.values())
        self._closed = False
        logs = [
            SnapshotLog(engine, each) if each.catalog.is_lake else CountedLog(each.catalog)
            for each in attached.by_name.values()
        ]
        scouts = attached.scouts.values()
        self.watcher = Watcher(logs, cache, clock=clock, interval=poll_interval, engine=engine, scouts=scouts)
        self._writer = Writer(engine, attached, self.watcher, counts_writes=self._counts_writes)
        self._planner = Planner(engine, self.watcher.logs, self.watcher.watch_files)
        self._travel = Travel(engine, self._planner, self.watcher, default)
        self._computing = Computing(
            engine,
            attached,
            self.watcher,
            self._planner,
            self._travel,
            clock,
            limits,
            counts_writes=self._counts_writes,
        )
        if attached.is_restorable:
            engine.recovery(partial(restore, attached, cache))

    @classmethod
    async def attach(
        cls,
        uri: str,
        *,
        as_name: str | None = None,
        others: Mapping[str, str] | None = None,
        cache: AnalyticsCache | None = None,
        read_only: bool = False,
        create: bool = True,
        clock: Clock = SYSTEM,
        poll_interval: float = 0.25,
        remote_poll: float | None = None,
        workers: int = 4,
        limits: Limits = _LIMITS,
        untrusted: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> Self:
        """Attach ``uri`` as the default catalog, and ``others`` under their names.

        ``limits``: what queries may cost. ``untrusted``: whoever asks is a stranger, see `engine.untrusted`; what can
        be shut in DuckDB itself is shut, too. ``settings``: DuckDB's; nothing can be set later.

        Raises `UsageError` for a URI that is not understood and a number that makes no sense, `SourceError` for a
        database that is not there or cannot be opened, `LockedError` when another process holds it.
        """
        check_seconds("poll_interval", poll_interval)
        if remote_poll is not None:
            check_seconds("remote_poll", remote_poll)
        catalogs = [parse(uri, as_name)]
        catalogs += [parse(other, name) for name, other in (others or {}).items()]
        default = catalogs[0].name

        def begin() -> Lake:
            engine = engine_for(limits, workers, untrusted=untrusted)
            try:
                look_every = REMOTE_INTERVALS * poll_interval if remote_poll is None else remote_poll
                attached = Attached.of(
                    engine, catalogs, read_only=read_only, create=create, clock=clock, look_every=look_every
                )
                engine.prepare(partial(attached.use, default))
                lock(engine, attached, settings or {}, sealed=untrusted)
                kept = AnalyticsCache(1_000, None, None, 256 << 20, clock=clock) if cache is None else cache
                return cls(
                    engine,
                    attached,
                    default,
                    kept,
                    clock=clock,
                    poll_interval=poll_interval,
                    limits=limits,
                    untrusted=untrusted,
                )
            except BaseException:
                engine.close()
                raise

        lake = cast("Self", await asyncio.to_thread(begin))
        lake.watcher.start()
        return lake

    # ---------------------------------------------------------------- reading

    def ask(
        self,
        sql: str,
        parameters: Parameters = None,
        *,
        depends_on: str | Iterable[str] = (),
        ttl: float | None = None,
        as_of: AsOf | None = None,
        terms: Terms | None = None,
    ) -> Query:
        """A question as the cache knows it. Raises `ParameterError`, `KeyExprError`, and `UsageError` for an
        ``as_of`` that names no snapshot; runs nothing."""
        terms = terms or self._terms
        check_text(sql)
        check_ttl(ttl)
        check_as_of(as_of)
        keys = key_exprs(depends_on) if depends_on else _NO_KEYS
        key: tuple[Any, ...] = (self._space, sql, canonical(parameters) if parameters else None, keys, ttl)
        if terms != self._terms:
            key = (*key, terms)
        if as_of:  # last: without it, it is the same question of now
            return question((*key, self._travel.key(as_of)), sql, parameters, keys, ttl, dict(as_of), terms)
        return question(key, sql, parameters, keys, ttl, None, terms)

    async def query(
        self,
        sql: str,
        parameters: Parameters = None,
        *,
        not_before: Token | None = None,
        as_of: AsOf | None = None,
        depends_on: str | Iterable[str] = (),
        ttl: float | None = None,
        fresh: bool = False,
        stale_while_revalidate: float | None = None,
        stale_if_error: float | None = None,
        timeout: float | None = None,
        untrusted: bool | None = None,
        max_rows: int | None = None,
        max_result_bytes: int | None = None,
    ) -> Result:
        """The answer to one SELECT: from the cache if nothing that it read has changed, else computed once.

        ``not_before``: never older than that write. ``as_of``: exactly as of these snapshots (``{"sales": 42}``),
        other lakes as they are now; `SnapshotGoneError` if expired, `SnapshotAheadError` if still to come.
        ``depends_on``: key expressions for what no commit log shows. ``ttl``: keep for so many seconds an answer that
        otherwise could not be kept (files, ``now()``).
        ``fresh``: compute now. ``stale_while_revalidate``, ``stale_if_error``: take, marked ``stale``, an answer that
        stopped being fresh at most so many seconds ago, instead of waiting or when the computation fails.
        ``timeout``: `BusyError` after so many seconds. ``untrusted``: the SQL is a stranger's; it may read the tables
        of this lake and nothing else, or raises `RefusedError`. ``max_rows``, ``max_result_bytes``: `TooLargeError`
        for more, in place of what the lake was opened with. Raises `QueryError` for SQL that is
        not one SELECT or that DuckDB refuses. Cancelling the caller cancels nobody else's wait.
        """
        terms = None
        if untrusted is not None or max_rows is not None or max_result_bytes is not None:
            # A lake that was opened for strangers trusts nobody's SQL.
            terms = terms_of(self.untrusted or bool(untrusted), max_rows, max_result_bytes)
        # The path of a hit. What is no text may have no hash.
        if not_before is None and as_of is None and terms is None and not fresh and isinstance(sql, str):
            keys = key_exprs(depends_on) if depends_on else _NO_KEYS
            key = (self._space, sql, canonical(parameters) if parameters else None, keys, ttl)
            slot = self.cache.peek(key)
            if slot is not None and slot.read_at < self.watcher.blind_at:
                return Result(slot.value, "hit", slot.read_at - slot.begun_at)
        asked = self.ask(sql, parameters, depends_on=depends_on, ttl=ttl, as_of=as_of, terms=terms)
        left = timeout
        if not_before is not None:
            check_token(not_before)
            left = await catch_up(self.watcher, not_before, self._clock, timeout)
        try:
            async with asyncio.timeout(left) as limit:
                if asked.as_of is not None and not fresh and (kept := await self._still(asked)) is not None:
                    return kept
                return self._result(
                    await self.fetch(
                        asked,
                        fresh=fresh,
                        stale_while_revalidate=stale_while_revalidate,
                        stale_if_error=stale_if_error,
                    )
                )
        except TimeoutError:
            if not limit.expired():
                raise
            raise BusyError(f"no answer within {timeout:g} s to {short(sql)}; allow more time") from None

    async def _still(self, asked: Query) -> Result | None:
        """The answer that is kept for now, if it certainly is the one as of the past that is asked for."""
        assert asked.as_of is not None
        await self._travel.arrive(asked.as_of)
        heads = self.watcher.heads()
        slot = self.cache.peek(asked.key[:-1])  # the same question without its past
        if slot is None or slot.read_at >= self.watcher.blind_at:
            return None
        answer = self._travel.kept(slot.value, asked.as_of, heads)
        return None if answer is None else Result(answer, "hit", slot.read_at - slot.begun_at)

    async def check(self, sql: str) -> Statement:
        """That ``sql`` is one SELECT, whose parameters anybody may choose; runs nothing. Raises `QueryError`."""
        return await self.engine.pool.run(lambda session: checked(session, sql))

    async def fetch(
        self,
        question: Query,
        *,
        watcher: Hearer | None = None,
        joint: Joint | None = None,
        **policy: Unpack[Policy],
    ) -> Read[Answer]:
        """`query` for those who build on the lake: the slot itself, with a watcher attached to it.

        With ``joint``, what must be computed is read at its snapshot, if that goes well.
        """
        if self._closed:
            raise ClosedError("this lake is closed")

        await self._travel.arrive(question.as_of)
        if self.watcher.is_blind:  # nobody can vouch for what is kept
            policy["fresh"] = True

        return await self.cache.fetch(
            question.key,
            lambda flight: self._computing.run(flight, question, joint),
            depends_on=_EVERY_LAKE | question.depends_on,
            pins=True,
            watcher=watcher,
            **policy,
        )

    def _result(self, read: Read[Answer]) -> Result:
        error = read.error or read.slot.dropped_by
        return Result(read.slot.value, read.status, read.age, str(error) if read.status == "stale" else None)

    def joint(self) -> Joint:
        """Where several questions are read at one snapshot; see `fetch`. To be closed."""
        pool, cache = self.engine.pool, self.cache
        return Joint(pool, self._computing.pinned, lambda: cache.applied, parallel=not self._counts_writes)

    # ---------------------------------------------------------------- writing

    async def execute(self, sql: str, parameters: Parameters = None) -> Token:
        """Run one statement and commit it. On return its changes have been applied here.

        The token is what a later read may demand (``not_before``). Writes take turns; a conflict with another
        process is tried again. Cancelling waits for nothing: a statement that has begun is interrupted and
        rolled back, one that was committing may have been committed.
        """

        return await self._writer.execute(sql, parameters)

    async def insert(self, table: str, data: Any, *, columns: Sequence[str] | None = None) -> Token:
        """Insert rows or Arrow data as one commit: all of it or nothing. On return it has been applied here.

        ``data``: an Arrow table or stream, a data frame, a `Result`; or rows, as mappings or, with ``columns``, as
        sequences, from any iterable. Columns go by name; those not given take their default. A conflict is tried
        again where the data can be read again (they have a length). No rows are no commit, and an empty token.
        Raises `UsageError` naming the row and column that do not fit.
        """

        return await self._writer.insert(table, data, columns)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Group statements into one commit: all of them or none. ``transaction.token`` is set after the block.

        Other tasks' writes wait for its end; one of its own that does not go by the transaction is a `UsageError`.
        """
        return self._writer.transaction()

    async def maintain(
        self,
        options: Upkeep | None = None,
        *,
        catalogs: Iterable[str] | None = None,
        told: Callable[[Done], object] | None = None,
    ) -> tuple[Done, ...]:
        """One round of upkeep (`Upkeep`) on ``catalogs``, or on every lake that is written here. Changes no answer.

        ``told`` hears of each step. May be cancelled at any moment. Raises `UsageError` for what is read-only here.
        """
        self._writer.refuse_holder("lake.maintain", "leave it to a task of its own")
        lakes, look = self.attached.by_name, self.watcher.look
        return await maintain(self.engine, lakes, options or Upkeep(), self._clock, catalogs, told, look)

    async def administer(self, statements: Sequence[str]) -> None:
        """Run a lake's own procedures, which change no answer, on the writer's lane and outside of a transaction."""
        await self._writer.administer(statements)

    # ---------------------------------------------------------------- explaining

    async def why(
        self,
        sql: str,
        parameters: Parameters = None,
        *,
        depends_on: str | Iterable[str] = (),
        ttl: float | None = None,
    ) -> Why:
        """What the query depends on, whether its answer is kept, and what the latest commits meant for it."""
        question = self.ask(sql, parameters, depends_on=depends_on, ttl=ttl)
        entry = self.cache.explain(question.key)

        trip = await self.engine.pool.run(lambda session: self._computing.foresee_now(session, question))
        slot: Slot[Answer] | None = self.cache.peek(question.key) if entry.state == "fresh" else None
        kept = None if slot is None else slot.value
        footprint = trip.footprint if kept is None else kept.footprint
        keys = self.attached.keys(footprint, question_hash(sql, canonical(parameters) if parameters else None))
        return explain(question, trip.reads, trip.footprint, entry, kept, self.watcher.logs, keys)

    # ---------------------------------------------------------------- closing

    async def close(self) -> None:
        """Stop watching, interrupt what runs, close the database. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self.watcher.stop)
        await self.cache.close()
        await asyncio.to_thread(self.engine.close)
        self.attached.close()

    def __repr__(self) -> str:
        names = ", ".join(f"{c.name}={c.uri}" for c in self.catalogs.values())
        return f"<Lake {names}{' closed' if self._closed else ''}>"
