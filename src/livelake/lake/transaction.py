"""A transaction on the writer's lane: several statements, one commit.

The lane's thread is held for as long as the block lasts; statements travel to it one at a time. Leaving the
block commits, an exception rolls back.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Self

from livelake.engine import Pool, Session, TableRef, gate, identifier, reads
from livelake.errors import ClosedError, QueryError, UsageError
from livelake.lake.parameters import Parameters
from livelake.token import Token

_ROWS_AT_ONCE = 500
# How often a lane that is held by an open block looks whether it is to close.
_CLOSE_CHECK = 0.25

_Step = Callable[[Session], Any]

_ROWS_ONLY = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE_INTO"})
_NOT_DATA = frozenset(
    {"TRANSACTION", "ATTACH", "DETACH", "SET", "VARIABLE_SET", "LOAD", "PREPARE", "EXECUTE", "PRAGMA"}
)


@dataclass(frozen=True, slots=True)
class Targets:
    """The tables that statements have written, as far as it is known. ``anything``: it is not."""

    tables: frozenset[TableRef] = frozenset()
    anything: bool = False

    def __or__(self, other: Targets) -> Targets:
        return Targets(self.tables | other.tables, self.anything or other.anything)

    def of(self, catalog: str) -> frozenset[tuple[str, str]] | None:
        """The (schema, table) written in ``catalog``; None if it may be any."""
        if self.anything:
            return None
        return frozenset((table.schema, table.table) for table in self.tables if table.catalog == catalog)


def written(session: Session, sql: str, *, plan: bool) -> Targets:
    """What one statement will write, from its plan if that is asked for.

    Raises `QueryError` for several statements, and for what changes the session.
    """
    kind = gate(session, sql, reads_only=False).kind
    if kind in _NOT_DATA:
        raise QueryError(f"{kind} changes the session, not data; see transaction() and open(attach=…)")
    if not plan or kind not in _ROWS_ONLY:
        return Targets(anything=True)
    found = reads(session.plan(sql), session.parse(sql))
    return Targets(found.targets, anything=not (found.planned and found.targets))


class _RolledBack(Exception):  # noqa: N818 - not an error: how a block that failed is left
    pass


def _roll_back(_session: Session) -> None:
    """The step that ends a block without a commit."""


class Transaction:
    """Made by `Lake.transaction`; for one task at a time."""

    def __init__(
        self,
        lane: Pool,
        committed: Callable[[Session, Targets], Token],
        settled: AbstractContextManager[object],
        *,
        plan: bool,
    ) -> None:
        self.token: Token | None = None
        """What a later read may demand; set once the block has been left and committed."""
        self._lane = lane
        self._committed = committed
        self._settled = settled  # held while it is committed and applied
        self._plan = plan
        self._steps: queue.SimpleQueue[tuple[_Step | None, Future[Any]]] = queue.SimpleQueue()
        self._ended: asyncio.Future[Token] | None = None
        self._targets = Targets()
        self._failed: Exception | None = None

    async def execute(self, sql: str, parameters: Parameters = None) -> None:
        """Run one statement in the transaction. After an error the block can only be left."""

        def step(session: Session) -> None:
            self._targets |= written(session, sql, plan=self._plan)
            session.execute(sql, parameters)

        await self._do(step)

    async def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows, given as mappings with the same keys. ``table`` may be qualified with dots."""
        if not rows:
            return
        columns = list(rows[0])
        if any(list(row) != columns for row in rows):
            raise UsageError(f"insert into {table}: every row must have the columns {columns}, in this order")
        target = ".".join(map(identifier, table.split(".")))
        into = f"INSERT INTO {target} ({', '.join(map(identifier, columns))}) VALUES "
        one = f"({', '.join('?' * len(columns))})"

        def step(session: Session) -> None:
            self._targets |= written(session, f"{into}{one}", plan=self._plan)
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                some = rows[start : start + _ROWS_AT_ONCE]
                session.execute(into + ", ".join([one] * len(some)), [v for row in some for v in row.values()])

        await self._do(step)

    async def _do(self, step: _Step | None) -> Any:
        if self._ended is None or self._ended.done():
            raise ClosedError("this transaction has ended; begin another with lake.transaction()")
        if self._failed is not None:
            raise QueryError(f"a statement of this transaction has failed, so nothing is committed: {self._failed}")
        future: Future[Any] = Future()
        self._steps.put((step, future))
        waiting = asyncio.wrap_future(future)
        await asyncio.wait((waiting, self._ended), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            await self._ended
            raise ClosedError("this transaction has ended")
        try:
            return await waiting
        except Exception as error:
            self._failed = error
            raise

    def _serve(self, session: Session, begun: Future[None]) -> Token:
        """The lane's side: one transaction, steps as they come."""
        with contextlib.ExitStack() as committing:
            self._take_steps(session, begun, committing)
            return self._committed(session, self._targets)

    def _take_steps(self, session: Session, begun: Future[None], committing: contextlib.ExitStack) -> None:
        with session.transaction():
            begun.set_result(None)
            while True:
                try:
                    step, future = self._steps.get(timeout=_CLOSE_CHECK)
                except queue.Empty:
                    if self._lane.closed:
                        raise ClosedError("the lake was closed while a transaction was open") from None
                    continue
                if step is None:
                    future.set_result(None)
                    break
                if step is _roll_back:
                    raise _RolledBack
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    future.set_result(step(session))
                except BaseException as error:
                    future.set_exception(error)
            committing.enter_context(self._settled)

    async def __aenter__(self) -> Self:
        begun: Future[None] = Future()
        self._ended = asyncio.ensure_future(self._lane.run(lambda session: self._serve(session, begun)))
        beginning = asyncio.wrap_future(begun)
        await asyncio.wait((beginning, self._ended), return_when=asyncio.FIRST_COMPLETED)
        if not beginning.done():
            beginning.cancel()
            await self._ended  # raises why it could not begin
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_exc: object) -> None:
        assert self._ended is not None
        if kind is None and self._failed is None:
            await self._do(None)
            self.token = await self._ended
            return
        self._steps.put((_roll_back, Future()))
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            self._ended.cancel()  # a step may still run: interrupt it; the lane rolls back by itself
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._ended
        if kind is None:  # the error was caught inside the block: all of it or none
            raise QueryError(f"a statement of this transaction failed, so nothing was committed: {self._failed}")
