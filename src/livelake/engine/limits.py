"""`Caps` and `Limits`: what one answer may hold, and what one query and the whole engine may cost. Pure."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from livelake.errors import TooLargeError, UsageError

MOST_BYTES: Final = 256 << 20
"""An answer larger than that is refused unless told otherwise: the lake's own cache holds no more in all."""


def check_count(what: str, number: object, least: int) -> None:
    """Raise `UsageError` unless it is a whole number from ``least``."""
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise UsageError(f"{what}={number!r:.40}: give a whole number from {least}")


def check_seconds(what: str, seconds: object, *, zero: bool = False) -> None:
    """Raise `UsageError` for what is no time that can be waited; ``zero``: whether no time at all is one."""
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds <= threading.TIMEOUT_MAX or not (seconds or zero):  # type: ignore[operator]
        raise UsageError(f"{what}={seconds!r:.40}: give seconds, {'from' if zero else 'more than'} 0")


def check_caps(max_rows: object, max_result_bytes: object) -> None:
    """Raise `UsageError` for what bounds no answer; 0 allows empty ones, None any."""
    for what, most in (("max_rows", max_rows), ("max_result_bytes", max_result_bytes)):
        if most is not None:
            check_count(what, most, 0)


@dataclass(frozen=True, slots=True)
class Caps:
    """What one answer may hold; None: no bound of its own.

    ``guarded``: the query is somebody else's. Its rows pass through a table that DuckDB's ``memory_limit`` covers,
    which a result on its way to Arrow is not, and leave it in small pieces: half again as slow, and never more than
    one piece above the caps.
    """

    max_rows: int | None = None
    max_result_bytes: int | None = None
    guarded: bool = False

    def check(self, rows: int, nbytes: int = 0) -> None:
        """Raise `TooLargeError` for an answer that already holds so much."""
        if self.max_rows is not None and rows > self.max_rows:
            raise TooLargeError(
                f"the answer has more than {self.max_rows:,} rows; aggregate it, add a LIMIT, or allow more "
                "(max_rows=…)"
            )
        if self.max_result_bytes is not None and nbytes > self.max_result_bytes:
            raise TooLargeError(
                f"the answer is larger than {self.max_result_bytes:,} bytes; aggregate it, add a LIMIT, or allow "
                "more (max_result_bytes=…)"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What queries of one lake may cost.

    ``max_rows`` and ``max_result_bytes`` bound one answer. ``deadline``: seconds for one computation, waiting for a
    worker included; then it is interrupted. ``memory_limit`` and ``max_spill`` are DuckDB's own words ("2GB"), for
    all queries together. ``grace``: seconds that a query has to heed an interrupt before its thread is given up.
    Raises `UsageError` for what can be no limit: a deadline of 0 leaves no time for any answer.
    """

    max_rows: int | None = None
    max_result_bytes: int | None = MOST_BYTES
    deadline: float | None = None
    memory_limit: str | None = None
    max_spill: str | None = None
    grace: float = 2.0

    def __post_init__(self) -> None:
        check_caps(self.max_rows, self.max_result_bytes)
        if self.deadline is not None:
            check_seconds("deadline", self.deadline)
        check_seconds("grace", self.grace, zero=True)

    def caps(
        self, max_rows: int | None = None, max_result_bytes: int | None = None, *, guarded: bool = False
    ) -> Caps:
        """The caps of one query that asks for some of its own."""
        return Caps(
            self.max_rows if max_rows is None else max_rows,
            self.max_result_bytes if max_result_bytes is None else max_result_bytes,
            guarded,
        )


class Forgetful(set[str]):
    """A set that is emptied when it is full, for what can be found out again. Any thread may add."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def add(self, text: str) -> None:
        if len(self) >= self._most:
            self.clear()
        super().add(text)
