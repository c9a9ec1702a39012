"""Windows of time, as people name them: an hour, a day, a week, a month of some place on earth.

A `Window` names a stretch of time (`key`), bounds it (`start`, `end`) and says how long an answer about it may be
kept (`valid_until`)::

    today = windows.day("daily_stats", clock.now(), tz="Europe/Berlin")
    await cache.get_or_compute(today.key, compute, depends_on=["events/Todo/**"], valid_until=today.valid_until)

**Open and closed.** A window whose end has not come (also one that has not begun) is *open*: its answer expires at
its end. A *closed* one has no expiry of its own. Late data may reach either, so both need ``depends_on``; for an open
window the end alone would leave its answer stale until then. The cache's own ``time_to_live`` still counts: past days
that shall stay for good want a cache with ``time_to_live=None, time_to_idle=None``.

**Half-open, in instants.** A window holds each instant with ``start <= instant < end``. The windows of one unit and
zone tile time: every instant is in exactly one. Ask data for ``ts >= start AND ts < end``. Python subtracts and
compares datetimes of one zone by their wall time; take `Window.contains` and `Window.seconds`, or convert to UTC.

**Days, weeks and months** begin at the first instant at which the local clock shows their first midnight *or
later*. So a day may have 23 or 25 hours; where midnight is skipped (Beirut, Cairo, São Paulo once) it begins when
the clock resumes; where the clock has shown midnight and goes back before it (St. John's until 2011), the day has
begun and does not end again. A date that a zone skipped as a whole (Apia, 2011-12-30) has an empty window:
``start == end``, nothing is in it, and a loop over dates needs no exception. Weeks are those of ISO 8601: they begin
on Monday, and the year in the key is that of their Thursday.

**Hours** are what the local clock shows *at one UTC offset*: local hh:00 to the next hh:00, cut wherever the offset
changes. The hour that is repeated in autumn is therefore two windows with two keys, and local times inside a window
are never ambiguous; no hour is longer than 60 minutes. Where clocks move by half an hour (Lord Howe) the hour of
the change is two windows of 60 and 30 minutes in autumn, and one of 30 in spring.

**Keys** are ``name:label`` in UTC and ``name:label[zone]`` elsewhere (the suffix of RFC 9557), an hour outside UTC
with its offset::

    stats:2024-01-15T13   stats:2024-01-15   stats:2024-W03   stats:2024-01   stats:2024-01-15[Asia/Beirut]
    stats:2024-10-27T02+0100[Europe/Berlin]

A name may be any printable text, also with ``:`` in it: no label has one, so what stands before the last ``:`` is the
name, and two different windows never share a key. A key says nothing of parameters or tenants; these belong in the
name, or beside it: ``(window.key, tenant, region)``.

**Zones** are IANA names, `zoneinfo.ZoneInfo` or `datetime.timezone`; other kinds of tzinfo have no name to put in a
key. The system's zone data is used, else the package ``tzdata``. UTC needs neither.

**The clock** decides only whether a window is open; it never moves a boundary. If it is set back over an end, an
answer that was kept as closed has no expiry: its dependencies keep it true.

Pure functions of their arguments and the clock; any thread may call them. Specification: seed.md, pattern 1.
"""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from livelake.clock import SYSTEM, Clock
from livelake.errors import SourceError, UsageError

__all__ = ["Window", "day", "hour", "month", "week"]

_SECOND = timedelta(seconds=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)

_UTC_NAMES = frozenset({"UTC", "Etc/UTC", "UCT", "Etc/UCT", "Zulu", "Etc/Zulu", "Universal", "Etc/Universal"})
_ZONE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]*")


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, half-open. ``start`` and ``end`` are aware, in the zone that was asked for.

    ``valid_until`` is ``end`` while the window is open, None once it is closed; it is decided when the window is
    made, so make one for each read.
    """

    key: str
    start: datetime
    end: datetime
    valid_until: datetime | None

    @property
    def seconds(self) -> float:
        """How long it really lasts: 82 800 for a day of 23 hours, where ``end - start`` says 24."""
        return (self.end.astimezone(UTC) - self.start.astimezone(UTC)).total_seconds()

    def contains(self, instant: datetime) -> bool:
        """Whether ``instant``, aware and of any zone, is in this window."""
        moment = _instant(instant)
        return self.start.astimezone(UTC) <= moment < self.end.astimezone(UTC)


def hour(name: str, at: datetime, *, tz: str | tzinfo = "UTC", clock: Clock = SYSTEM) -> Window:
    """The hour that the clocks of ``tz`` show at the instant ``at``, at the offset that they have then.

    A date has many hours, and a naive datetime is no instant: both raise `UsageError`.
    """
    zone, suffix = _zone(tz)
    if not isinstance(at, datetime):
        raise UsageError(f"an hour window for {at!r}: that is no hour; give an aware datetime")
    with _within_the_calendar(at):
        start, end = _hour_around(_instant(at), zone)
        label = start.astimezone(zone).isoformat(timespec="hours").replace(":", "")  # with the offset
        label = label.removesuffix("+0000") if zone is UTC else label
        return _window(name, label, suffix, start, end, zone, clock)


def day(name: str, at: date | datetime, *, tz: str | tzinfo = "UTC", clock: Clock = SYSTEM) -> Window:
    """The day ``at``, or the day in ``tz`` that has the instant ``at`` in it."""
    return _calendar(_DAYS, name, at, tz, clock)


def week(name: str, at: date | datetime, *, tz: str | tzinfo = "UTC", clock: Clock = SYSTEM) -> Window:
    """The ISO week, Monday to Sunday, of the day ``at``, or the one in ``tz`` that has the instant ``at`` in it."""
    return _calendar(_WEEKS, name, at, tz, clock)


def month(name: str, at: date | datetime, *, tz: str | tzinfo = "UTC", clock: Clock = SYSTEM) -> Window:
    """The month of the day ``at``, or the one in ``tz`` that has the instant ``at`` in it."""
    return _calendar(_MONTHS, name, at, tz, clock)


# -------------------------------------------------------------------- the calendar: dates, no clocks


class _Unit(NamedTuple):
    """A kind of window that is made of whole days."""

    first: Callable[[date], date]  # the first day of the window that a day is in
    next: Callable[[date], date]  # from a first day to the next
    label: Callable[[date], str]  # of a first day


def _week_label(monday: date) -> str:
    year, number, _ = monday.isocalendar()
    return f"{year:04}-W{number:02}"


_DAYS = _Unit(lambda d: d, lambda d: d + _DAY, date.isoformat)
_WEEKS = _Unit(lambda d: d - d.weekday() * _DAY, lambda d: d + 7 * _DAY, _week_label)
_MONTHS = _Unit(
    lambda d: d.replace(day=1),
    lambda d: (d + 31 * _DAY).replace(day=1),
    lambda d: d.isoformat()[:7],
)


def _calendar(unit: _Unit, name: str, at: date | datetime, tz: str | tzinfo, clock: Clock) -> Window:
    zone, suffix = _zone(tz)
    with _within_the_calendar(at):
        if isinstance(at, datetime):
            moment = _instant(at)
            first = unit.first(moment.astimezone(zone).date())
            # A clock that goes back over midnight shows the old date again, in the window of the new one.
            while _begin(unit.next(first), zone) <= moment:
                first = unit.next(first)
        elif isinstance(at, date):
            first = unit.first(at)
        else:
            raise UsageError(f"a window for {at!r}: give a date or an aware datetime")
        start, end = _begin(first, zone), _begin(unit.next(first), zone)
        return _window(name, unit.label(first), suffix, start, end, zone, clock)


# -------------------------------------------------------------------- clocks: instants are aware, in UTC


def _begin(first: date, zone: tzinfo) -> datetime:
    """The first instant at which the clocks of ``zone`` show midnight of ``first`` or later.

    By PEP 495 an ambiguous time with fold=0 is the earlier instant, while a time that does not exist comes out
    later with fold=0 than with fold=1, and the clocks were moved in between.
    """
    midnight = datetime.combine(first, time.min, zone)
    before = midnight.replace(fold=1).astimezone(UTC)
    after = midnight.astimezone(UTC)
    return after if after <= before else _change(zone, before, after)


def _hour_around(moment: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    local = moment.astimezone(zone)
    start = moment - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    end = start + _HOUR
    offset = local.utcoffset()
    if _offset(zone, start) != offset:
        start = _change(zone, start, moment)
    if _offset(zone, end - _SECOND) != offset:
        end = _change(zone, moment.replace(microsecond=0), end - _SECOND)
    return start, end


def _change(zone: tzinfo, before: datetime, after: datetime) -> datetime:
    """The instant in ``(before, after]`` at which the offset changes; there is one, and changes fall on seconds."""
    old = _offset(zone, before)
    low, high = 0, -((before - after) // _SECOND)  # seconds after `before`, rounded up
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, before + middle * _SECOND) == old:
            low = middle
        else:
            high = middle
    return before + high * _SECOND


def _offset(zone: tzinfo, moment: datetime) -> timedelta | None:
    return moment.astimezone(zone).utcoffset()


def _instant(at: datetime) -> datetime:
    if at.utcoffset() is None:
        raise UsageError(f"{at!r} has no time zone, so it is no instant; give an aware datetime")
    return at.astimezone(UTC)


# -------------------------------------------------------------------- assembling


@contextmanager
def _within_the_calendar(at: date) -> Iterator[None]:
    """The calendar has the years 1 to 9999."""
    try:
        yield
    except OverflowError as error:
        raise UsageError(f"a window around {at!r} leaves the years 1 to 9999") from error


def _window(name: str, label: str, suffix: str, start: datetime, end: datetime, zone: tzinfo, clock: Clock) -> Window:
    if not name or not name.isprintable():
        raise UsageError(f"a window named {name!r}: the name must be printable text, and not empty")
    local_end = end.astimezone(zone)
    return Window(
        key=f"{name}:{label}{suffix}",
        start=start.astimezone(zone),
        end=local_end,
        valid_until=local_end if clock.now().astimezone(UTC) < end else None,
    )


def _zone(tz: str | tzinfo) -> tuple[tzinfo, str]:
    """The zone that is meant, and how it stands in a key."""
    if isinstance(tz, timezone):
        return (tz, f"[{datetime(1, 1, 2, tzinfo=tz):%z}]") if tz.utcoffset(None) else (UTC, "")
    if isinstance(tz, ZoneInfo):
        zone, zone_name = tz, tz.key
    elif isinstance(tz, str):
        if tz in _UTC_NAMES:
            return UTC, ""
        zone, zone_name = _load(tz), tz
    else:
        raise UsageError(
            f"tz={tz!r}: a {type(tz).__name__} has no name that could stand in a key; "
            "give an IANA name, a ZoneInfo or a datetime.timezone"
        )
    if zone_name in _UTC_NAMES:
        return UTC, ""
    if not _ZONE_NAME.fullmatch(zone_name or ""):  # a zone read from a file may have none
        raise UsageError(f"tz={tz!r}: the name of the zone must be an IANA name such as 'Europe/Berlin'")
    return zone, f"[{zone_name}]"


def _load(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a folder, such as "Europe"
        known = zoneinfo.available_timezones()
        if not known:
            raise SourceError(
                f"tz={name!r}: there is no time zone data on this machine; "
                "install it (apt install tzdata, or pip install tzdata), or use UTC"
            ) from error
        near = ", ".join(_nearest(name, known))
        raise UsageError(f"tz={name!r}: no such time zone" + (f"; the nearest are {near}" if near else "")) from error


def _nearest(name: str, known: set[str]) -> list[str]:
    """Up to three zones that may have been meant, by their whole name or by the place alone."""
    wanted = name.lower().replace(" ", "_")
    names: dict[str, str] = {}
    for zone in sorted(known):
        names.setdefault(zone.rpartition("/")[2].lower(), zone)
        names[zone.lower()] = zone
    close = [names[word] for word in difflib.get_close_matches(wanted, names, n=6)]
    place = difflib.get_close_matches(wanted.rpartition("/")[2], names, n=3)
    return list(dict.fromkeys([*close, *(names[word] for word in place)]))[:3]
