"""Time as an argument.

Two clocks, never mixed: *monotonic* seconds for ages and deadlines that no clock change may move, and the
*wall* for what people and windows mean by a moment. Both are injected; `livelake.testing.ManualClock` moves
only when told.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where time comes from. Safe to call from any thread."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    def now(self) -> datetime:
        """The wall clock as an aware datetime in UTC; may jump."""
        ...


class SystemClock:
    """The machine's own clocks."""

    monotonic = staticmethod(time.monotonic)

    @staticmethod
    def now() -> datetime:
        return datetime.now(UTC)


SYSTEM = SystemClock()
