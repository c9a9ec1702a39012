"""`Pool`: a few threads that own a session each, and a bounded queue before them.

First come, first served. Nothing starts before the first job; a thread is added only when a job finds none idle.
A job is any callable on a `Session`; its result travels by a thread-safe future, so several event loops and plain
threads use one pool. A cancelled job leaves the queue at once, or is interrupted until it ends; its waiter does
not wait for that. Whatever a job left on its cursor is gone before the next one.

One lock guards queue, running set and threads; no job, callback or interrupt runs under it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, Final, Generic, TypeVar

from livelake.engine.door import Interrupted
from livelake.engine.session import Session
from livelake.errors import BusyError, ClosedError, LivelakeError

T = TypeVar("T")

_CLOSE_SECONDS: Final = 30.0
"""How long `Pool.close` waits for threads whose statement does not heed an interrupt."""


class Job(Future[T], Generic[T]):
    """A future of one job. `cancel` works while it runs, too: its waiters see the cancellation at once."""

    def __init__(self, pool: Pool, call: Callable[[Session], T]) -> None:
        super().__init__()
        self._pool = pool
        self._call = call

    def cancel(self) -> bool:
        """Leave the queue, or interrupt. False if it has already ended."""
        cancelled = super().cancel()
        if cancelled:
            self._pool.drop(self)
        return cancelled

    def perform(self, session: Session) -> None:
        """Run on the worker's thread, and resolve."""
        try:
            if self.cancelled():
                raise CancelledError
            session.refresh()
            value = self._call(session)
        except BaseException as error:
            self.resolve(self._pool.verdict(error))
        else:
            # Not cancelled meanwhile: this and `cancel` exclude each other inside the future.
            if self.set_running_or_notify_cancel():
                self.set_result(value)

    def resolve(self, error: BaseException) -> None:
        """Fail, unless it was cancelled."""
        if self.set_running_or_notify_cancel():
            self.set_exception(error)


class Pool:
    """``workers`` threads at most, ``max_waiting`` jobs in the queue at most."""

    def __init__(self, open_session: Callable[[], Session], *, workers: int, max_waiting: int) -> None:
        self._open_session = open_session
        self._workers = workers
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._queue: deque[Job[Any]] = deque()
        self._running: dict[Job[Any], Session] = {}
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._is_closed = False

    @property
    def running(self) -> int:
        """Jobs that have a thread."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._queue)

    @property
    def workers(self) -> int:
        """Threads at most."""
        return self._workers

    @property
    def closed(self) -> bool:
        """Whether it takes no more jobs; what holds a worker for long should end then."""
        return self._is_closed

    def submit(self, call: Callable[[Session], T]) -> Job[T]:
        """Queue ``call``. Raises BusyError at once when the queue is full, ClosedError after close."""
        job = Job(self, call)
        with self._lock:
            if self._is_closed:
                raise ClosedError("the engine is closed; open another")
            free = self._workers - len(self._running)  # as many of the queue are about to run
            if len(self._queue) - free >= self._max_waiting:
                raise BusyError(
                    f"the engine is busy: {len(self._running)} queries run and {len(self._queue)} wait; "
                    "try again later"
                )
            self._queue.append(job)
            if len(self._queue) > self._idle and len(self._threads) < self._workers:
                self._start_worker()
            self._arrived.notify()
        return job

    async def run(self, call: Callable[[Session], T], *, deadline: float | None = None) -> T:
        """The value of ``call`` on some worker's session, whose errors are raised here.

        ``deadline`` is in seconds from now, waiting included; when it passes, the job is dropped or interrupted
        and BusyError is raised. Cancelling the caller does the same to the job; neither waits for it to end.
        """
        job = self.submit(call)
        waiter = asyncio.wrap_future(job)
        try:
            if deadline is None:
                return await waiter
            done, _ = await asyncio.wait({waiter}, timeout=deadline)
            if done:
                return waiter.result()
            waiter.add_done_callback(_forget)
            state = "ran" if job in self._running else "waited"
            raise BusyError(f"the query {state} past its deadline of {deadline:g} s; try again later")
        finally:
            job.cancel()  # without effect on a job that has ended

    def drop(self, job: Job[Any]) -> None:
        """Out of the queue, or interrupt it. Called by `Job.cancel`."""
        with self._lock:
            session = self._running.get(job)
            if session is not None:
                # Under the lock: the worker takes the job out of `_running` under it before its turn ends.
                session.interrupt()
                return
            if job not in self._queue:
                return
            self._queue.remove(job)
        job.set_running_or_notify_cancel()

    def verdict(self, error: BaseException) -> BaseException:
        """What the waiter of a job that raised ``error`` is told."""
        if not isinstance(error, Interrupted):
            return error
        told: LivelakeError = BusyError("the query was interrupted; try again")
        if self._is_closed:
            told = ClosedError("the engine was closed while the query ran")
        told.__cause__ = error
        return told

    def close(self) -> None:
        """Refuse new jobs, fail the waiting ones with ClosedError, interrupt the running ones, join the threads.

        Blocks: from an event loop, call it in a thread. Closing twice is fine.
        """
        with self._lock:
            self._is_closed = True
            waiting = list(self._queue)
            self._queue.clear()
            for session in self._running.values():
                session.interrupt()
            threads = self._threads - {threading.current_thread()}
            self._arrived.notify_all()
        for job in waiting:
            job.resolve(ClosedError("the engine was closed before the query ran"))
        for thread in threads:
            thread.join(_CLOSE_SECONDS)

    def __repr__(self) -> str:
        state = "closed, " if self._is_closed else ""
        return (
            f"<Pool {state}{self.running} of {self._workers} workers run, "
            f"{self.waiting} jobs wait (bound {self._max_waiting})>"
        )

    def _start_worker(self) -> None:
        number = len(self._threads) + 1
        thread = threading.Thread(target=self._work, name=f"livelake-engine-{number}", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work(self) -> None:
        with self._open_session() as session:
            while (job := self._next(session)) is not None:
                try:
                    job.perform(session)
                finally:
                    with self._lock:
                        del self._running[job]
                    session.end_turn()
                del job  # its result must not live until the next job

    def _next(self, session: Session) -> Job[Any] | None:
        """Wait for a job and begin its turn in one step, so that a cancellation finds it here or there."""
        with self._lock:
            self._idle += 1
            try:
                while not self._queue:
                    if self._is_closed:
                        return None
                    self._arrived.wait()
            finally:
                self._idle -= 1
            job = self._queue.popleft()
            self._running[job] = session
            session.begin_turn()
            return job


def _forget(waiter: asyncio.Future[Any]) -> None:
    """Look at the outcome that nobody waits for any more, so that asyncio does not complain."""
    if not waiter.cancelled():
        waiter.exception()
