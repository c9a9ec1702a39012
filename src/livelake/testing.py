"""Published fakes for the tests of livelake and of those who build on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["ManualClock"]


class ManualClock:
    """A clock that moves only when told. Both clocks move together in `advance`; `jump` moves the wall alone."""

    def __init__(self, now: datetime = datetime(2024, 1, 15, 12, tzinfo=UTC)) -> None:
        self._now = now
        self._monotonic = 1000.0

    def monotonic(self) -> float:
        return self._monotonic

    def now(self) -> datetime:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on both clocks."""
        self._monotonic += seconds
        self._now += timedelta(seconds=seconds)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as NTP or a person would; monotonic time stands."""
        self._now += timedelta(seconds=seconds)
