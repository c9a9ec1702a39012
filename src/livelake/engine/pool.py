"""`Pool`: a few threads that own a session each, and a bounded queue before them.

First come, first served. Nothing starts before the first job; a thread is added only when a job finds none idle.
A job is any callable on a `Session`; its result travels by a thread-safe future, so several event loops and plain
threads use one pool. A cancelled job leaves the queue at once, or is interrupted until it ends; its waiter does
not wait for that. Whatever a job left on its cursor is gone before the next one.

DuckDB heeds an interrupt between steps of a plan, and one step can take minutes (``levenshtein`` of two long texts).
A job that was told to stop and still runs after a grace is *given up*: it keeps its thread until it ends, another
takes that thread's place, and the thread that then is one too many ends. A bound holds for that, too; with as many
threads given up as there may be, new jobs are refused at once.

One lock guards queue, running set and threads; no job, callback or interrupt runs under it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from livelake.engine.counters import Counters
from livelake.engine.door import Interrupted
from livelake.engine.interrupt import Interrupter
from livelake.engine.limits import check_count
from livelake.engine.session import Session
from livelake.errors import BusyError, ClosedError, LivelakeError, QueryError

T = TypeVar("T")

WORKER_NAME: Final = "livelake-engine-"
"""How the names of all threads of all pools begin. After `Pool.close`, one that is left is one that is given up."""

TOO_DEEP: Final = (
    "the SQL, or a value in it, is nested too deep to be understood; nest it less: concat(…), list_sum([…]) or "
    "IN (…) in place of a long chain of operators, tables in place of lists within lists"
)

_CLOSE_SECONDS: Final = 10.0
"""How long `Pool.close` waits in all for threads that have been told to stop."""
_GIVEN_UP_SECONDS: Final = 1.0
"""… and for those that were told long ago."""


@dataclass(frozen=True, slots=True)
class GivingUp:
    """When a job that was told to stop costs its thread: after ``grace`` seconds, and up to ``most`` threads."""

    interrupter: Interrupter
    counters: Counters
    grace: float
    most: int
    monotonic: Callable[[], float] = time.monotonic


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


class _Overdue:
    """Looks after one job that was told to stop; the interrupter's thread pokes it."""

    def __init__(self, pool: Pool, job: Job[Any], rule: GivingUp) -> None:
        self._pool = pool
        self._job = job
        self._rule = rule
        self._until = rule.monotonic() + rule.grace

    def poke(self) -> bool:
        if not self._pool.runs(self._job):
            return False
        if self._rule.monotonic() < self._until:
            return True
        self._pool.give_up(self._job)
        return False


class Pool:
    """``workers`` threads at most, and those given up; ``max_waiting`` jobs in the queue at most. A `Runner`.

    Raises `UsageError` for less than one worker.
    """

    def __init__(
        self,
        open_session: Callable[[], Session],
        *,
        workers: int,
        max_waiting: int,
        giving_up: GivingUp | None = None,
    ) -> None:
        check_count("workers", workers, 1)
        self._open_session = open_session
        self._workers = workers
        self._max_waiting = max_waiting
        self._giving_up = giving_up
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._queue: deque[Job[Any]] = deque()
        self._running: dict[Job[Any], Session] = {}
        self._thread_of: dict[Job[Any], threading.Thread] = {}
        self._threads: set[threading.Thread] = set()
        self._started = 0
        self._given_up: dict[Job[Any], threading.Thread] = {}
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
    def stuck(self) -> int:
        """Jobs that were told to stop, have not within the grace, and still run."""
        return len(self._given_up)

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
            threads = self._allowed()
            free = threads - len(self._running)  # as many of the queue are about to run
            if self._given_up and threads == len(self._given_up):
                raise BusyError(
                    f"the engine is busy: {len(self._given_up)} queries do not heed their interrupt and hold every "
                    "thread; try again later, or start the process again"
                )
            if len(self._queue) - free >= self._max_waiting:
                raise BusyError(
                    f"the engine is busy: {len(self._running)} queries run and {len(self._queue)} wait; "
                    "try again later"
                )
            self._queue.append(job)
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
                self._interrupt(job, session)
                return
            if job not in self._queue:
                return
            self._queue.remove(job)
        job.set_running_or_notify_cancel()

    def stop(self, session: Session) -> None:
        """Interrupt the job that runs on ``session``, as cancelling it would, but let it say what came of it."""
        with self._lock:
            job = next((job for job, used in self._running.items() if used is session), None)
            if job is not None:
                self._interrupt(job, session)

    def _interrupt(self, job: Job[Any], session: Session) -> None:
        session.interrupt()
        if self._giving_up is not None:
            self._giving_up.interrupter.add(_Overdue(self, job, self._giving_up))

    def runs(self, job: Job[Any]) -> bool:
        """Whether the job has a thread, and one that was not given up."""
        return job in self._running and job not in self._given_up

    def give_up(self, job: Job[Any]) -> None:
        """Let another thread take the place of this job's, within bounds."""
        with self._lock:
            if self._is_closed or not self.runs(job):
                return
            self._given_up[job] = self._thread_of[job]
            self._start_worker()
        if self._giving_up is not None:
            self._giving_up.counters.count("given_up")

    def verdict(self, error: BaseException) -> BaseException:
        """What the waiter of a job that raised ``error`` is told."""
        if isinstance(error, RecursionError):  # of whoever walks a syntax tree, a plan or a value, here or in C
            return _caused(QueryError(TOO_DEEP), error)
        if not isinstance(error, Interrupted):
            return error
        told: LivelakeError = BusyError("the query was interrupted; try again")
        if self._is_closed:
            told = ClosedError("the engine was closed while the query ran")
        return _caused(told, error)

    def close(self) -> bool:
        """Refuse new jobs, fail the waiting ones with ClosedError, interrupt the running ones, join the threads.

        Whether all threads have ended; some seconds are waited for those that do not heed. Blocks: from an event
        loop, call it in a thread. Closing twice is fine.
        """
        with self._lock:
            self._is_closed = True
            waiting = list(self._queue)
            self._queue.clear()
            for session in self._running.values():
                session.interrupt()
            late = set(self._given_up.values())
            threads = self._threads - {threading.current_thread()}
            self._arrived.notify_all()
        for job in waiting:
            job.resolve(ClosedError("the engine was closed before the query ran"))
        for some, seconds in ((threads - late, _CLOSE_SECONDS), (threads & late, _GIVEN_UP_SECONDS)):
            until = time.monotonic() + seconds
            for thread in some:
                thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def __repr__(self) -> str:
        state = "closed, " if self._is_closed else ""
        stuck = f", {self.stuck} stuck" if self._given_up else ""
        return (
            f"<Pool {state}{self.running} of {self._workers} workers run, "
            f"{self.waiting} jobs wait (bound {self._max_waiting}){stuck}>"
        )

    def _allowed(self) -> int:
        """How many threads there may be at this moment."""
        more = 0 if self._giving_up is None else min(len(self._given_up), self._giving_up.most)
        return self._workers + more

    def _start_worker(self) -> None:
        """One more thread, if a job finds none idle and the bound allows it."""
        if len(self._queue) <= self._idle or len(self._threads) >= self._allowed():
            return
        self._started += 1
        thread = threading.Thread(target=self._work, name=f"{WORKER_NAME}{self._started}", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work(self) -> None:
        with self._open_session() as session:
            while (job := self._next(session)) is not None:
                try:
                    job.perform(session)
                finally:
                    with self._lock:
                        del self._running[job], self._thread_of[job]
                        self._given_up.pop(job, None)
                    session.end_turn()
                del job  # its result must not live until the next job

    def _next(self, session: Session) -> Job[Any] | None:
        """Wait for a job and begin its turn in one step, so that a cancellation finds it here or there."""
        with self._lock:
            if len(self._threads) > self._allowed():  # another took its place while it was stuck
                self._threads.discard(threading.current_thread())
                return None
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
            self._thread_of[job] = threading.current_thread()
            session.begin_turn()
            return job


def _caused(told: LivelakeError, error: BaseException) -> LivelakeError:
    told.__cause__ = error
    return told


def _forget(waiter: asyncio.Future[Any]) -> None:
    """Look at the outcome that nobody waits for any more, so that asyncio does not complain."""
    if not waiter.cancelled():
        waiter.exception()
