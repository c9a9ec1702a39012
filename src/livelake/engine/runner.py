"""`Runner`: what runs jobs on sessions, as the rest of livelake sees it. `Pool` is one, made of threads.

The seam for an engine in processes of its own, which can be killed where a thread cannot: it would satisfy this
protocol for calls that can be pickled (`functools.partial` of a function of a module), and give what DuckDB's
interrupt and ``memory_limit`` do not: a hard end, and a bound on all memory.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, TypeVar

from livelake.engine.session import Session

T = TypeVar("T")


class Runner(Protocol):
    """Runs each job on a session that no other job uses meanwhile, and that bears no trace of an earlier one."""

    @property
    def running(self) -> int:
        """Jobs that run, stuck ones included."""
        ...

    @property
    def waiting(self) -> int:
        """Jobs that wait for their turn; bounded."""
        ...

    @property
    def workers(self) -> int:
        """Jobs that can run at once."""
        ...

    @property
    def stuck(self) -> int:
        """Jobs that were told to stop and have not."""
        ...

    @property
    def closed(self) -> bool:
        """Whether it takes no more jobs."""
        ...

    def submit(self, call: Callable[[Session], T]) -> Future[T]:
        """Queue a job; cancelling the future drops or interrupts it. Raises BusyError at once, or ClosedError."""
        ...

    async def run(self, call: Callable[[Session], T], *, deadline: float | None = None) -> T:
        """The value of a job. BusyError once ``deadline`` seconds have passed, however the job behaves."""
        ...

    def close(self) -> None:
        """Refuse new jobs, fail waiting ones, stop running ones. Blocks; closing twice is fine."""
        ...
