"""What the engine has done, counted. Any thread may count; a snapshot is consistent."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

Counted = Literal["reads", "writes", "statements", "errors", "interrupts", "given_up", "reopened"]


@dataclass(frozen=True, slots=True)
class EngineStats:
    """``reads`` counts every execution of a user's query (`Session.read`): it proves "computed once".

    ``writes`` counts statements that may change data or schema, ``statements`` all that DuckDB was asked to run,
    ``errors`` those that failed, ``interrupts`` requests to stop, ``given_up`` jobs that did not heed theirs and cost
    their thread, ``reopened`` how often the databases had to be opened anew. The rest is the pool at this moment;
    ``stuck`` are the given up that still run.
    """

    reads: int
    writes: int
    statements: int
    errors: int
    interrupts: int
    given_up: int
    reopened: int
    running: int
    waiting: int
    workers: int
    stuck: int = 0


class Counters:
    """A few integers behind one lock (100 ns a count)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[Counted, int] = {
            "reads": 0,
            "writes": 0,
            "statements": 0,
            "errors": 0,
            "interrupts": 0,
            "given_up": 0,
            "reopened": 0,
        }

    def count(self, what: Counted) -> None:
        with self._lock:
            self._counts[what] += 1

    def snapshot(self, *, running: int, waiting: int, workers: int, stuck: int = 0) -> EngineStats:
        with self._lock:
            return EngineStats(**self._counts, running=running, waiting=waiting, workers=workers, stuck=stuck)
