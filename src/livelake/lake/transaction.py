"""A transaction on the writer's lane: several statements, one commit.

The lane's thread is held for as long as the block lasts; statements travel to it one at a time. Leaving the
block commits, an exception rolls back.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Self

from livelake.engine import Pool, Session
from livelake.errors import ClosedError, QueryError
from livelake.lake.insert import Insertion
from livelake.lake.parameters import Parameters
from livelake.lake.targets import Targets, Work, written
from livelake.token import Token

# How often a lane that is held by an open block looks whether it is to close.
_CLOSE_CHECK = 0.25

_Step = Callable[[Session], Any]


class _RolledBack(Exception):  # noqa: N818 - not an error: how a block that failed is left
    pass


def _roll_back(_session: Session) -> None:
    """The step that ends a block without a commit."""


class Transaction:
    """Made by `Lake.transaction`; for one task at a time, which may hand it to another."""

    def __init__(
        self, lane: Pool, committing: Callable[[Session], AbstractContextManager[Work]], *, plan: bool
    ) -> None:
        self.token: Token | None = None
        """What a later read may demand; set once the block has been left and committed."""
        self._lane = lane
        self._committing = committing
        self._plan = plan
        self._steps: queue.SimpleQueue[tuple[_Step | None, Future[Any]]] = queue.SimpleQueue()
        self._ended: asyncio.Future[Token] | None = None
        self._targets = Targets()
        self._failed: Exception | None = None
        self._began_by: asyncio.Task[Any] | None = None
        self._used_by: asyncio.Task[Any] | None = None

    def is_held_by(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether ``task`` holds the lane: it ran the last statement or, if who did has ended, began the block."""
        if task is None or self._ended is None or self._ended.done():
            return False
        user = self._used_by
        return task is (self._began_by if user is None or user.done() else user)

    async def execute(self, sql: str, parameters: Parameters = None) -> None:
        """Run one statement in the transaction. After an error the block can only be left."""

        def step(session: Session) -> None:
            self._targets |= written(session, sql, plan=self._plan)
            session.execute(sql, parameters)

        await self._do(step)

    async def insert(self, table: str, data: Any, *, columns: Sequence[str] | None = None) -> int:
        """Insert rows or Arrow data, as `Lake.insert`; returns how many rows.

        An iterator is read here, on the calling loop, some thousands of rows at a time. After an error the block can
        only be left.
        """
        insertion = Insertion(table, data, columns, plan=self._plan)

        async def do(step: Callable[[Session], int]) -> int:
            def on_lane(session: Session) -> int:
                count = step(session)
                self._targets |= insertion.targets
                return count

            return int(await self._do(on_lane))

        if insertion.is_arrow:
            return await do(insertion.pour)
        batches = insertion.batches()
        rows, count = next(batches, None), 0
        while rows is not None:
            following = next(batches, None)
            count += await do(partial(insertion.add, rows=rows, is_last=following is None))
            rows = following
        return count

    async def _do(self, step: _Step | None) -> Any:
        if self._ended is None or self._ended.done():
            raise ClosedError("this transaction has ended; begin another with lake.transaction()")
        if self._failed is not None:
            raise QueryError(f"a statement of this transaction has failed, so nothing is committed: {self._failed}")
        self._used_by = asyncio.current_task()
        future: Future[Any] = Future()
        self._steps.put((step, future))
        waiting = asyncio.wrap_future(future)
        waiting.add_done_callback(_seen)
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
        with self._committing(session) as work:
            begun.set_result(None)
            self._take_steps(session)
            work.targets = self._targets
        return work.token

    def _take_steps(self, session: Session) -> None:
        """Until the block is left; leaving it by an error raises."""
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

    async def __aenter__(self) -> Self:
        begun: Future[None] = Future()
        self._began_by = asyncio.current_task()
        self._ended = asyncio.ensure_future(self._lane.run(lambda session: self._serve(session, begun)))
        beginning = asyncio.wrap_future(begun)
        try:
            await asyncio.wait((beginning, self._ended), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._abandon(interrupting=True)
            raise
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
        await self._abandon(interrupting=kind is not None and issubclass(kind, asyncio.CancelledError))
        if kind is None:  # the error was caught inside the block: all of it or none
            raise QueryError(f"a statement of this transaction failed, so nothing was committed: {self._failed}")

    async def _abandon(self, *, interrupting: bool) -> None:
        """Let the lane go without a commit, whether it has begun, has yet to, or is at a step."""
        assert self._ended is not None
        self._steps.put((_roll_back, Future()))
        if interrupting:
            self._ended.cancel()  # a step may still run; the lane rolls back by itself
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._ended


def _seen(waiting: asyncio.Future[Any]) -> None:
    """Look at an outcome that a cancelled caller waits for no more, so that asyncio does not complain."""
    if not waiting.cancelled():
        waiting.exception()
