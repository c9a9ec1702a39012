"""`Joint`: several questions read at one snapshot of every catalog, in as many transactions as agree on it.

Steps wait in a queue. The first worker of the engine that takes one begins a transaction and pins every catalog; that
is the joint's snapshot as long as anybody reads at it. More workers help if what they pin is the same, which nearly
always it is; one that finds a newer state leaves again. When a step has failed, its transaction is over, and the
steps that are left begin another, perhaps at a newer state: so each answer still says what it was read at, and
whoever needs one snapshot compares (`livelake.live.page`).

No worker waits for anything but its own query: two joints that need each other's flights cannot starve.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

from livelake.engine import Pool, Session

T = TypeVar("T")
Pinned = Mapping[str, int]
"""The state of each catalog that a transaction reads."""
Step = Callable[[Session, Pinned, int], T]
"""What is done at it; also given is how much had been applied to the cache when the first transaction began."""

_WORKERS: Final = 4
_LINGER: Final = 0.005
"""Seconds that the last worker waits for another step: those of a page come within one turn of the event loop."""


class Joint:
    """See the module. ``begin(session)`` is a transaction with every catalog pinned. For one event loop at a time.

    ``parallel=False`` keeps to one transaction at a time.
    """

    def __init__(
        self,
        pool: Pool,
        begin: Callable[[Session], AbstractContextManager[Pinned]],
        applied: Callable[[], int],
        *,
        parallel: bool = True,
    ) -> None:
        self._pool = pool
        self._begin = begin
        self._applied = applied
        self._most = min(_WORKERS, pool.workers) if parallel else 1
        self._arrived = threading.Condition()  # guards what follows
        self._queue: deque[tuple[Step[Any], Future[Any]]] = deque()
        self._jobs: set[Future[None]] = set()
        self._performing: dict[Future[Any], Session] = {}
        self._at: Pinned | None = None
        self._since = 0
        self._readers = 0
        self._closed = False

    async def run(self, step: Step[T]) -> T:
        """The value of ``step(session, pinned, since)``; raises its errors. Cancelling it interrupts its query."""
        future: Future[T] = Future()
        with self._arrived:
            self._queue.append((step, future))
            helpful = len(self._queue) > len(self._jobs) - self._readers and len(self._jobs) < self._most
            self._arrived.notify()
        if helpful:
            self._call_worker()
        try:
            return await asyncio.wrap_future(future)
        finally:
            if not future.done() and not future.cancel():
                self._interrupt(future)

    def close(self) -> None:
        """No more steps will come: nobody waits for one. What is queued is still done."""
        with self._arrived:
            self._closed = True
            self._arrived.notify_all()

    def _call_worker(self) -> None:
        try:
            job = self._pool.submit(self._work)
        except Exception as error:  # the pool is full or closed
            with self._arrived:
                alone = not self._jobs
                left = list(self._queue) if alone else []
                if alone:
                    self._queue.clear()
            for _, future in left:
                _fail(future, error)
            return
        with self._arrived:
            self._jobs.add(job)
        job.add_done_callback(self._gone)

    def _gone(self, job: Future[None]) -> None:
        """A worker has left, or never came."""
        with self._arrived:
            self._jobs.discard(job)
            deserted = bool(self._queue) and not self._jobs
        error = None if job.cancelled() else job.exception()
        if deserted and error is None:
            self._call_worker()
        elif deserted:
            while self._queue:
                _fail(self._queue.popleft()[1], error)  # type: ignore[arg-type]

    def _work(self, session: Session) -> None:
        """One worker: a transaction, and steps as long as there are any and none has failed."""
        served, since = False, self._applied()
        try:
            with self._begin(session) as pinned:
                if not self._agrees(pinned, since):
                    return
                try:
                    while (well := self._serve(session, pinned)) is not None:
                        served = True
                        if not well:
                            return
                finally:
                    with self._arrived:
                        self._readers -= 1
        except Exception:  # a transaction in which a step has failed cannot be committed; there is nothing to commit
            if not served:
                raise

    def _agrees(self, pinned: Pinned, since: int) -> bool:
        with self._arrived:
            if not self._readers:
                self._at, self._since = pinned, since
            elif self._at != pinned:
                return False
            self._readers += 1
            return True

    def _serve(self, session: Session, pinned: Pinned) -> bool | None:
        """Perform the next step: whether it went well; None if there was none."""
        taken = self._take(session)
        if taken is None:
            return None
        step, future = taken
        error, value = None, None
        try:
            value = step(session, pinned, self._since)
        except BaseException as raised:
            error = self._pool.verdict(raised)
        with self._arrived:  # from here on nobody interrupts it
            del self._performing[future]
        if error is None:
            future.set_result(value)
        else:
            _fail(future, error)
        return error is None

    def _take(self, session: Session) -> tuple[Step[Any], Future[Any]] | None:
        with self._arrived:
            if not self._queue and self._readers == 1 and not self._closed:
                self._arrived.wait(_LINGER)
            while self._queue:
                step, future = self._queue.popleft()
                if future.set_running_or_notify_cancel():
                    self._performing[future] = session
                    return step, future
            return None

    def _interrupt(self, future: Future[Any]) -> None:
        """Nobody waits for a step any more that is under way. What is left of its worker's turn goes with it."""
        with self._arrived:
            session = self._performing.get(future)
            if session is not None:
                self._pool.stop(session)


def _fail(future: Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
