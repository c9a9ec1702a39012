"""The writing side of a lake: one lane, each commit applied here before anybody is told of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from livelake.engine import Engine, Session, check_text, identifier, makes_temporary
from livelake.errors import QueryError, UsageError
from livelake.lake.attached import Attached
from livelake.lake.log import CountedLog, SnapshotLog
from livelake.lake.parameters import Parameters
from livelake.lake.question import short
from livelake.lake.receipt import Receipts
from livelake.lake.retry import again
from livelake.lake.targets import Targets, Work, written
from livelake.lake.transaction import Transaction
from livelake.lake.watcher import Watcher
from livelake.token import Token


class Writer:
    """``counts_writes``: a catalog without a log is attached, so that the targets of each write must be known."""

    def __init__(self, engine: Engine, attached: Attached, watcher: Watcher, *, counts_writes: bool) -> None:
        self._lane = engine.writer
        self._attached = attached
        self._watcher = watcher
        self._counts_writes = counts_writes
        self._receipts = Receipts(engine, attached)
        self._open: set[Transaction] = set()

    def refuse_holder(self, what: str, instead: str) -> None:
        """Raise `UsageError` if this task is inside a transaction: whatever else takes the lane would wait for it,
        and it for that."""
        task = asyncio.current_task()
        if any(each.is_held_by(task) for each in tuple(self._open)):
            raise UsageError(
                f"{what}: this task holds a transaction, for whose end that would wait for ever; {instead}, or leave "
                "its block first"
            )

    async def execute(self, sql: str, parameters: Parameters = None) -> Token:
        """`Lake.execute`."""
        self.refuse_holder("lake.execute", "use t.execute of the transaction (async with lake.transaction() as t)")

        def write(session: Session) -> Token:
            self._attached.check_files()
            targets = written(session, sql, plan=self._counts_writes)
            if makes_temporary(sql):
                raise QueryError(
                    f"what is temporary is seen by its own session only, and no query has that: {short(sql)!r}; "
                    "leave TEMP out, or stay in one transaction (async with lake.transaction() as t), which sees it"
                )
            with self.committing(session) as work:
                work.targets = targets
                session.execute(sql, parameters)
            return work.token

        return await again(lambda: self._lane.run(write), self._attached)

    async def insert(self, table: str, data: Any, columns: Sequence[str] | None) -> Token:
        """`Lake.insert`."""
        self.refuse_holder("lake.insert", "use t.insert of the transaction (async with lake.transaction() as t)")

        async def attempt() -> Token:
            async with self.transaction() as transaction:
                count = await transaction.insert(table, data, columns=columns)
            return transaction.token if count and transaction.token is not None else Token()

        return await again(attempt, self._attached, repeatable=hasattr(data, "__len__"))

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """`Lake.transaction`."""
        self.refuse_holder("lake.transaction", "use t.execute and t.insert of the one that it holds")
        transaction = Transaction(self._lane, self.committing, plan=self._counts_writes)
        self._open.add(transaction)
        try:
            async with transaction:
                yield transaction
        finally:
            self._open.discard(transaction)

    async def administer(self, statements: Sequence[str]) -> None:
        """`Lake.administer`."""
        self.refuse_holder("lake.administer", "leave it to a task of its own")
        for sql in statements:
            check_text(sql)
        await self._lane.run(lambda session: [session.fetchall(sql) for sql in statements])

    @contextlib.contextmanager
    def committing(self, session: Session) -> Iterator[Work]:
        """A transaction that is committed and applied here at its end. On the lane's thread."""
        self._attached.check_files()
        work = Work()
        with contextlib.ExitStack() as applying:
            with self._receipts.transaction(session) as receipt:
                yield work
                applying.enter_context(self._watcher.settled)
            work.token = self._applied(session, work.targets) | receipt.found

    def _applied(self, session: Session, targets: Targets) -> Token:
        """What this session has just committed, applied here."""
        watcher, versions = self._watcher, dict[str, int]()
        for name, log in watcher.logs.items():
            if isinstance(log, CountedLog):
                tables = targets.of(name)
                if tables is None or tables:
                    versions[name] = watcher.wrote(name, tables)
        watcher.look()
        if targets.files:
            watcher.files.look(after_write=True)
        for name, log in watcher.logs.items():
            if isinstance(log, SnapshotLog):
                row = session.fetchone(f"FROM {identifier(name)}.last_committed_snapshot()")
                if row and row[0] is not None:
                    versions[name] = int(row[0])
        return Token(versions=versions)
