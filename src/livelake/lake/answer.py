"""Answers and results: what is shared, and what one reader is handed.

An `Answer` is immutable and shared by everyone: the rows as Arrow bytes and the footprint of their making. A
`Result` is a thin view of it for one read, with how that read was answered and how old the answer was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from livelake.cache import Status
from livelake.engine import ArrowData, Column
from livelake.lake.footprint import Footprint


@dataclass(frozen=True)
class Answer:
    """Rows and where they come from. Immutable; shared between threads."""

    data: ArrowData
    footprint: Footprint
    computed_at: datetime
    exact: bool = True
    """Whether ``as_of`` is exactly what was read, and not at least that (a write to a plain database may have been
    committed and not counted yet)."""

    @cached_property
    def nbytes(self) -> int:
        """What the cache is charged for it."""
        return self.data.nbytes + 64 * (4 + len(self.footprint.depends_on) + len(self.footprint.tables))


class Result:
    """One read's view of an `Answer`. Exports ``__arrow_c_stream__``: pyarrow, polars and DuckDB read it."""

    __slots__ = ("age", "answer", "error", "status")

    def __init__(self, answer: Answer, status: Status, age: float = 0.0, error: str | None = None) -> None:
        self.answer = answer
        self.status: Status = status
        self.age = age
        """Seconds since the computation began to read, by this machine's wall clock, when this read was answered."""
        self.error = error
        """With status ``stale``: why a fresh answer could not be had."""

    def rows(self) -> list[dict[str, Any]]:
        """The rows as dictionaries of Python values. Decoded anew on each call."""
        return self.answer.data.rows()

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.answer.data.columns

    @property
    def ipc(self) -> bytes:
        """The rows as an Arrow IPC stream."""
        return self.answer.data.ipc

    @property
    def etag(self) -> str:
        """A strong validator: equal for equal content, whatever snapshot it was read at."""
        return self.answer.data.etag

    @property
    def as_of(self) -> Mapping[str, int]:
        """The snapshot of each catalog that was read."""
        return self.answer.footprint.as_of

    @property
    def computed_at(self) -> datetime:
        """When the computation began to read (aware, UTC)."""
        return self.answer.computed_at

    @property
    def valid_until(self) -> datetime | None:
        """When time alone makes the answer untrue; None if it never does."""
        return self.answer.footprint.valid_until

    def __len__(self) -> int:
        return self.answer.data.num_rows

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.answer.data.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        names = ", ".join(column.name for column in self.columns)
        as_of = ", ".join(f"{name} {version}" for name, version in self.as_of.items())
        return f"<Result {len(self)} rows ({names}) {self.status}{' as of ' + as_of if as_of else ''}>"
