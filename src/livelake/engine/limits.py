"""`Caps` and `Limits`: what one answer may hold, and what one query and the whole engine may cost. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from livelake.errors import TooLargeError

MOST_BYTES: Final = 256 << 20
"""An answer larger than that is refused unless told otherwise: the lake's own cache holds no more in all."""


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
    """

    max_rows: int | None = None
    max_result_bytes: int | None = MOST_BYTES
    deadline: float | None = None
    memory_limit: str | None = None
    max_spill: str | None = None
    grace: float = 2.0

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
