"""Validity: until when time alone leaves an answer true, from the steps that its SQL makes of the present.

Pure but for `valid_until`, which asks DuckDB for the moment that the query itself sees: ``now()`` of the
transaction in which it runs. Instants are whole microseconds since 1970 UTC; *wall* is what a clock on the wall of
a zone shows, as if it were UTC.

Days and longer are told by the wall's date: if clocks are set within a day, it goes on. What is shorter is over
when the clocks are set.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from livelake.engine import Session, Step, Zone, Zones

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = 10**6
_DAY: Final = 86400 * _SECOND
_MONDAY: Final = 4 * _DAY  # 1970-01-05
_BUCKETS_FROM: Final = 946857600 * _SECOND  # 2000-01-03, a Monday
_MONTHS: Final = {"month": 1, "quarter": 3, "year": 12}
_LENGTHS: Final = {"second": _SECOND, "minute": 60 * _SECOND, "hour": 3600 * _SECOND, "day": _DAY, "week": 7 * _DAY}


def valid_until(session: Session, steps: Iterable[Step], zones: Zones) -> datetime | None:
    """When the first of the steps is over, counted from the ``now()`` of the session's transaction."""
    steps = frozenset(steps)
    if not steps:
        return None
    row = session.fetchone("SELECT system.main.epoch_us(system.main.now())")
    assert row is not None
    now = int(row[0])
    end = min(over_at(step, now, zones.at(session, step.zone, now)) for step in steps)
    return _EPOCH + timedelta(microseconds=end)


def over_at(step: Step, now: int, zone: Zone) -> int:
    """The first instant after ``now`` at which the step may be another; never too late."""
    begin, _ = _span(step, now + zone.offset_at(now))
    at = now
    while True:
        offset, change = zone.offset_at(at), zone.change_after(at)
        _, end = _span(step, at + offset)
        if end - offset < change:
            return end - offset
        is_date = step.unit in _MONTHS or step.unit in ("day", "week")
        if not is_date or change >= zone.until or _span(step, change + zone.offset_at(change))[0] != begin:
            return change
        at = change


def _span(step: Step, wall: int) -> tuple[int, int]:
    """Begin and end, on the wall, of the unit that ``wall`` lies in."""
    if months := _MONTHS.get(step.unit):
        moment = _EPOCH + timedelta(microseconds=wall)
        return _month(moment.year, (moment.month - 1) // months * months), _month(
            moment.year, ((moment.month - 1) // months + 1) * months
        )
    length = step.width if step.unit == "bucket" else _LENGTHS[step.unit]
    origin = {"bucket": _BUCKETS_FROM, "week": _MONDAY}.get(step.unit, 0)
    begin = wall - (wall - origin) % length
    return begin, begin + length


def _month(year: int, months: int) -> int:
    """The begin of the month that is ``months`` after January of ``year``."""
    first = datetime(year + months // 12, months % 12 + 1, 1, tzinfo=UTC)
    return (first - _EPOCH) // timedelta(microseconds=1)
