"""Windows of time against a naive oracle that only watches a clock on the wall, and in the cache (S1, S2, F31).

The oracle knows nothing of transitions: it asks `zoneinfo` what the local clock shows, minute by minute, and notes
where the shown hour, day, week or month becomes another.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import sys
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import cache as remember
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livelake.cache import AnalyticsCache, windows
from livelake.cache.windows import Window
from livelake.errors import SourceError, UsageError
from livelake.testing import ManualClock

UNITS: dict[str, Callable[..., Window]] = {
    "hour": windows.hour,
    "day": windows.day,
    "week": windows.week,
    "month": windows.month,
}
ZONES = (
    "UTC",
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Asuncion",
    "America/Caracas",
    "America/Havana",
    "America/New_York",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Europe/Moscow",
    "Pacific/Apia",
    "Pacific/Chatham",
)
# These two years have a skipped day, skipped midnights, clocks that go back over midnight, changes by half an hour.
SINCE, UNTIL = datetime(2010, 7, 1, tzinfo=UTC), datetime(2012, 7, 1, tzinfo=UTC)
MICROSECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("microseconds", "minutes", "hours", "days"))


def at(text: str) -> datetime:
    """An instant, in UTC unless the text says otherwise."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def span(window: Window) -> tuple[datetime, datetime]:
    return window.start.astimezone(UTC), window.end.astimezone(UTC)


# -------------------------------------------------------------------- the oracle


def shown(local: datetime, unit: str) -> Any:
    """What a clock on the wall calls the current hour, day, week or month."""
    match unit:
        case "hour":
            return local.date(), local.hour, local.utcoffset()
        case "week":
            return local.isocalendar()[:2]
        case "month":
            return local.year, local.month
    return local.date()


@remember
def changes(zone_name: str) -> tuple[datetime, ...]:
    """Hours of UTC in which the offset becomes another, by looking at the beginning of each."""
    zone = ZoneInfo(zone_name)
    hours = [SINCE + number * HOUR for number in range((UNTIL - SINCE) // HOUR)]
    offsets = [hour.astimezone(zone).utcoffset() for hour in hours]
    return tuple(hour for hour, (old, new) in zip(hours, itertools.pairwise(offsets), strict=False) if old != new)


@remember
def wall(zone_name: str, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    """Each minute, and what the local clock shows then."""
    zone = ZoneInfo(zone_name)
    minutes = (since + number * MINUTE for number in range((until - since) // MINUTE))
    return [(minute, minute.astimezone(zone)) for minute in minutes]


def boundaries(zone_name: str, unit: str, since: datetime, until: datetime) -> list[datetime]:
    """Each minute at which another window begins. An hour may be shown again; a day that has passed is not new."""
    found, newest = [], None
    for minute, local in wall(zone_name, since, until):
        now = shown(local, unit)
        if newest is not None and (now != newest if unit == "hour" else now > newest):
            found.append(minute)
        newest = now if unit == "hour" or newest is None else max(now, newest)
    return found


def chain(unit: str, since: datetime, until: datetime, tz: str | tzinfo, name: str = "n") -> Iterator[Window]:
    """The windows from the one that has ``since`` in it to the one that has ``until`` in it."""
    clock, instant = ManualClock(since), since
    while instant <= until:
        window = UNITS[unit](name, instant, tz=tz, clock=clock)
        yield window
        end = window.end.astimezone(UTC)
        assert end > instant
        instant = end


# -------------------------------------------------------------------- names and bounds


def test_a_day_in_utc_is_named_as_in_the_seed() -> None:
    window = windows.day("daily_stats", date(2024, 1, 15))
    assert window.key == "daily_stats:2024-01-15"
    assert (window.start, window.end) == (at("2024-01-15"), at("2024-01-16"))


@pytest.mark.parametrize(
    ("unit", "tz", "key", "start", "end"),
    [
        ("hour", "UTC", "n:2024-01-15T13", "2024-01-15T13:00", "2024-01-15T14:00"),
        ("week", "UTC", "n:2024-W03", "2024-01-15", "2024-01-22"),
        ("month", "UTC", "n:2024-01", "2024-01-01", "2024-02-01"),
        ("hour", "Asia/Kolkata", "n:2024-01-15T18+0530[Asia/Kolkata]", "2024-01-15T12:30", "2024-01-15T13:30"),
        ("day", "America/New_York", "n:2024-01-15[America/New_York]", "2024-01-15T05:00", "2024-01-16T05:00"),
        ("week", "Asia/Kolkata", "n:2024-W03[Asia/Kolkata]", "2024-01-14T18:30", "2024-01-21T18:30"),
        ("month", "Asia/Kolkata", "n:2024-01[Asia/Kolkata]", "2023-12-31T18:30", "2024-01-31T18:30"),
        ("day", timezone(timedelta(hours=-3)), "n:2024-01-15[-0300]", "2024-01-15T03:00", "2024-01-16T03:00"),
    ],
)
def test_each_unit_has_its_label_and_its_bounds(unit: str, tz: str | tzinfo, key: str, start: str, end: str) -> None:
    window = UNITS[unit]("n", at("2024-01-15T13:07:21.5"), tz=tz)
    assert window.key == key
    assert span(window) == (at(start), at(end))


def test_bounds_are_in_the_zone_that_was_asked_for() -> None:
    window = windows.day("n", date(2024, 7, 1), tz="Asia/Tehran")
    assert window.start.tzinfo is window.end.tzinfo is ZoneInfo("Asia/Tehran")
    assert window.start.isoformat() == "2024-07-01T00:00:00+03:30"


def test_a_week_belongs_to_the_year_of_its_thursday() -> None:
    assert windows.week("n", date(2021, 1, 3)).key == "n:2020-W53"
    assert windows.week("n", date(2024, 12, 30)).key == "n:2025-W01"


def test_the_instant_counts_and_not_the_zone_that_it_is_written_in() -> None:
    instant = at("2024-01-15T23:30:00-05:00")
    assert windows.day("n", instant).key == "n:2024-01-16"
    assert windows.day("n", instant, tz="America/New_York").key == "n:2024-01-15[America/New_York]"


@pytest.mark.parametrize("tz", ["UTC", "Etc/UTC", "Zulu", UTC, timezone(timedelta(0), "Z"), ZoneInfo("Etc/UCT")])
def test_utc_by_any_name_is_the_same_window(tz: str | tzinfo) -> None:
    clock = ManualClock()
    assert windows.day("n", date(2024, 1, 15), tz=tz, clock=clock) == windows.day("n", date(2024, 1, 15), clock=clock)


def test_a_window_is_frozen_and_can_be_hashed() -> None:
    window = windows.day("n", date(2024, 1, 15))
    assert len({window, windows.day("n", date(2024, 1, 15))}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        window.key = "other"  # type: ignore[misc]


def test_a_name_with_colons_collides_with_no_other_window() -> None:
    """No label has a colon, so the last one in a key divides name and label."""
    names = [
        "n",
        "n:2024-01-15",
        "n:2024-01-15T13",
        "n:2024-W03",
        "n:2024-01",
        ":",
        "n:",
        "n:[Asia/Tehran]",
        "n[UTC]",
    ]
    instant = at("2024-01-15T13:30")
    tzs: list[str | tzinfo] = ["UTC", "Asia/Tehran", timezone(timedelta(hours=3, minutes=30))]
    made = [unit(name, instant, tz=tz).key for name in names for unit in UNITS.values() for tz in tzs]
    assert len(set(made)) == len(made)
    assert {key.rpartition(":")[0] for key in made} == set(names)


# -------------------------------------------------------------------- open and closed


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("tz", ["UTC", "Asia/Tehran"])
def test_a_window_is_open_until_its_end_and_not_an_instant_longer(unit: str, tz: str) -> None:
    clock = ManualClock(at("2024-01-15T12:10"))
    make = UNITS[unit]
    window = make("n", clock.now(), tz=tz, clock=clock)
    assert window.valid_until == window.end
    later = make("n", window.end, tz=tz, clock=clock)
    assert later.key != window.key
    assert later.valid_until == later.end, "a window to come is open"
    for since_end, open_ in ((-MICROSECOND, True), (timedelta(0), False), (MICROSECOND, False)):
        then = ManualClock(span(window)[1] + since_end)
        assert make("n", window.start, tz=tz, clock=then).valid_until == (window.end if open_ else None)


def test_a_window_is_half_open() -> None:
    window = windows.day("n", date(2024, 3, 10), tz="America/New_York")
    assert window.contains(window.start)
    assert window.contains(at("2024-03-11T03:59:59.999999"))
    assert not window.contains(window.end)
    assert not window.contains(at("2024-03-10T04:59:59.999999"))


# -------------------------------------------------------------------- clocks that are moved


@pytest.mark.parametrize(
    ("tz", "day", "start", "hours"),
    [
        ("America/New_York", date(2024, 3, 10), "2024-03-10T05:00", 23),
        ("America/New_York", date(2024, 11, 3), "2024-11-03T04:00", 25),
        ("America/Sao_Paulo", date(2018, 11, 4), "2018-11-04T03:00", 23),  # midnight is skipped: begins at 01:00
        ("America/Sao_Paulo", date(2018, 2, 17), "2018-02-17T02:00", 25),  # 24:00 is 23:00 again
        ("Asia/Beirut", date(2022, 3, 27), "2022-03-26T22:00", 23),
        ("Africa/Cairo", date(2014, 8, 1), "2014-07-31T22:00", 23),
        ("America/Havana", date(2011, 11, 13), "2011-11-13T04:00", 25),  # 00:00 to 01:00 comes twice
        ("America/St_Johns", date(2010, 11, 6), "2010-11-06T02:30", 24),
        ("America/St_Johns", date(2010, 11, 7), "2010-11-07T02:30", 25),  # 00:01 is 23:01 of the day before
        ("Australia/Lord_Howe", date(2024, 10, 6), "2024-10-05T13:30", 23.5),
        ("Australia/Lord_Howe", date(2024, 4, 7), "2024-04-06T13:00", 24.5),
        ("Antarctica/Troll", date(2024, 3, 31), "2024-03-31T00:00", 22),
        ("Pacific/Apia", date(2011, 12, 29), "2011-12-29T10:00", 24),
        ("Pacific/Apia", date(2011, 12, 31), "2011-12-30T10:00", 24),
        ("Pacific/Kwajalein", date(1969, 9, 30), "1969-09-29T13:00", 47),  # crossed the date line eastward
        ("America/Toronto", date(1919, 3, 31), "1919-03-31T04:30", 23.5),  # 23:30 became 00:30
        ("Europe/Amsterdam", date(1937, 7, 1), None, None),  # an offset of odd seconds was dropped
    ],
)
def test_a_day_begins_at_the_first_instant_that_exists(
    tz: str, day: date, start: str | None, hours: float | None
) -> None:
    window = windows.day("n", day, tz=tz)
    if start is not None and hours is not None:
        assert span(window)[0] == at(start)
        assert window.seconds == hours * 3600
    assert span(window)[1] == span(windows.day("n", day + DAY, tz=tz))[0]
    assert windows.day("n", window.start, tz=tz) == window


def test_a_date_that_a_zone_skipped_is_an_empty_window() -> None:
    before, skipped, after = (windows.day("n", date(2011, 12, day), tz="Pacific/Apia") for day in (29, 30, 31))
    assert span(before)[1] == span(skipped)[0] == span(skipped)[1] == span(after)[0]
    assert skipped.seconds == 0
    assert not skipped.contains(skipped.start)
    assert len({before.key, skipped.key, after.key}) == 3
    assert windows.week("n", date(2011, 12, 30), tz="Pacific/Apia").seconds == 6 * 86400


def test_a_day_that_has_begun_does_not_end_when_the_clock_goes_back_over_midnight() -> None:
    """St. John's, 2010-11-07: after 00:00:59 came 23:01:00 of the sixth."""
    tz = "America/St_Johns"
    again = at("2010-11-07T03:00")
    assert again.astimezone(ZoneInfo(tz)).isoformat() == "2010-11-06T23:30:00-03:30"
    assert windows.day("n", again, tz=tz).key == f"n:2010-11-07[{tz}]"
    assert windows.day("n", at("2010-11-07T02:00"), tz=tz).key == f"n:2010-11-06[{tz}]"


def test_the_repeated_hour_is_two_windows() -> None:
    first, second = (windows.hour("n", at(f"2024-10-27T0{hour}:30"), tz="Europe/Berlin") for hour in (0, 1))
    assert first.key == "n:2024-10-27T02+0200[Europe/Berlin]"
    assert second.key == "n:2024-10-27T02+0100[Europe/Berlin]"
    assert first.seconds == second.seconds == 3600
    assert span(first)[1] == span(second)[0]
    half_past_two = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    assert [first.contains(half_past_two), second.contains(half_past_two)] == [True, False]
    assert [window.contains(half_past_two.replace(fold=1)) for window in (first, second)] == [False, True]


def test_where_clocks_move_by_half_an_hour_an_hour_is_cut() -> None:
    tz = "Australia/Lord_Howe"
    autumn = list(chain("hour", at("2024-04-06T13:30"), at("2024-04-06T15:45"), tz))
    assert [(window.key[:21], window.seconds / 60) for window in autumn] == [
        ("n:2024-04-07T00+1100[", 60),
        ("n:2024-04-07T01+1100[", 60),
        ("n:2024-04-07T01+1030[", 30),
        ("n:2024-04-07T02+1030[", 60),
    ]
    spring = list(chain("hour", at("2024-10-05T15:00"), at("2024-10-05T16:15"), tz))
    assert [(window.key[:21], window.seconds / 60) for window in spring] == [
        ("n:2024-10-06T01+1030[", 60),
        ("n:2024-10-06T02+1100[", 30),
        ("n:2024-10-06T03+1100[", 60),
    ]


# -------------------------------------------------------------------- two years, twenty zones


@pytest.mark.parametrize("tz", ZONES)
def test_f31_no_window_is_wrong_in_two_years(tz: str) -> None:
    """Windows tile, keys are injective, each boundary is where the oracle's clock shows something new."""
    keys: list[str] = []
    hours: set[datetime] = set()
    for unit in UNITS:
        tiles = list(chain(unit, SINCE, UNTIL, tz))
        spans = [span(window) for window in tiles]
        assert all(one[1] == two[0] for one, two in itertools.pairwise(spans)), "a gap or an overlap"
        keys.extend(window.key for window in tiles)
        starts = {start for start, _ in spans if start >= SINCE}
        for change in changes(tz):
            since, until = change - 26 * HOUR, change + 26 * HOUR
            expected = boundaries(tz, unit, since, until)
            assert sorted(start for start in starts if since < start < until) == expected
        if unit == "hour":
            hours = starts
            assert all(end - start <= HOUR for start, end in spans)
        assert starts <= hours, "a day, week or month begins where an hour does"
    assert len(set(keys)) == len(keys), "two windows share a key"


@pytest.mark.parametrize("tz", ZONES)
def test_f31_a_virtual_clock_is_always_in_the_window_that_it_shows(tz: str) -> None:
    zone, clock = ZoneInfo(tz), ManualClock(SINCE)
    odd = {change + shift for change in changes(tz) for shift in (HOUR, 2 * HOUR)}
    wrong = []
    while clock.now() < UNTIL:
        now = clock.now()
        for unit, make in UNITS.items():
            window = make("n", now, tz=tz, clock=clock)
            right = window.contains(now) and window.valid_until == window.end and span(window)[1] > now
            # Where the clock has gone back over midnight it shows the day before; the tiling test has these.
            if not any(abs(now - change) < 2 * HOUR for change in odd):
                right = right and shown(now.astimezone(zone), unit) == shown(window.start, unit)
            if not right:
                wrong.append((unit, now, window))
        clock.advance(25 * 3607.1)  # a little more than a day: every hour comes up
    assert not wrong


@settings(deadline=None, max_examples=300)
@given(
    tz=st.sampled_from(sorted(zoneinfo.available_timezones())),
    instant=st.datetimes(datetime(1850, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    unit=st.sampled_from(sorted(UNITS)),
)
def test_every_instant_is_in_the_one_window_that_any_instant_in_it_names(
    tz: str, instant: datetime, unit: str
) -> None:
    make = UNITS[unit]
    window = make("n", instant, tz=tz)
    start, end = span(window)
    assert start <= instant < end
    assert window.contains(instant)
    assert make("n", start, tz=tz) == make("n", end - MICROSECOND, tz=tz) == window
    assert span(make("n", end, tz=tz))[0] == end
    assert span(make("n", start - MICROSECOND, tz=tz))[1] == start
    assert window.key.isprintable()


@settings(deadline=None, max_examples=200)
@given(tz=st.sampled_from(sorted(zoneinfo.available_timezones())), day=st.dates(date(1850, 1, 1), date(2100, 1, 1)))
def test_dates_tile_time_also_where_none_of_their_instants_exists(tz: str, day: date) -> None:
    one, two = windows.day("n", day, tz=tz), windows.day("n", day + DAY, tz=tz)
    assert span(one)[0] <= span(one)[1] == span(two)[0]
    assert one.key != two.key


# -------------------------------------------------------------------- what cannot be a window


def test_a_naive_datetime_is_refused() -> None:
    for make in UNITS.values():
        with pytest.raises(UsageError, match="no time zone"):
            make("n", datetime(2024, 1, 15, 12))
    with pytest.raises(UsageError, match="no time zone"):
        windows.day("n", date(2024, 1, 15)).contains(datetime(2024, 1, 15))


def test_a_date_has_no_hour() -> None:
    with pytest.raises(UsageError, match="aware datetime"):
        windows.hour("n", date(2024, 1, 15))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="aware datetime"):
        windows.day("n", "2024-01-15")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "two\nlines", "nul\0", "\x1b[31m"])
def test_a_name_is_printable_text(name: str) -> None:
    with pytest.raises(UsageError, match="printable"):
        windows.day(name, date(2024, 1, 15))


@pytest.mark.parametrize(
    ("tz", "near"),
    [
        ("Europe/Berln", "Europe/Berlin"),
        ("europe/berlin ", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("New York", "America/New_York"),
        ("America/Kolkata", "Asia/Kolkata"),
    ],
)
def test_an_unknown_zone_is_answered_with_the_nearest_names(tz: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"no such time zone; the nearest are .*{near}"):
        windows.day("n", date(2024, 1, 15), tz=tz)


@pytest.mark.parametrize("tz", ["", "Europe", "/etc/passwd", "../zoneinfo/UTC", "a\0b", "+05:30", "Ελλάδα"])
def test_what_is_no_zone_at_all_is_refused(tz: str) -> None:
    with pytest.raises(UsageError, match="no such time zone"):
        windows.day("n", date(2024, 1, 15), tz=tz)


def test_a_tzinfo_without_a_name_is_refused() -> None:
    class Mine(tzinfo):
        def utcoffset(self, _when: datetime | None) -> timedelta:
            return HOUR

        dst = tzname = utcoffset  # type: ignore[assignment]

    for tz in (Mine(), None, 5):
        with pytest.raises(UsageError, match="IANA name"):
            windows.day("n", date(2024, 1, 15), tz=tz)  # type: ignore[arg-type]
    for file_tz in zone_from_file(None), zone_from_file("not:a]name"):
        with pytest.raises(UsageError, match="IANA name"):
            windows.day("n", date(2024, 1, 15), tz=file_tz)


def zone_from_file(key: str | None) -> ZoneInfo:
    """The zone of London under another name."""
    import io

    rule = b"TZif2" + bytes(15) + bytes(12) + bytes((0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4)) + bytes(6) + b"GMT\0"
    return ZoneInfo.from_file(io.BytesIO(rule + rule + b"\nGMT0BST,M3.5.0/1,M10.5.0\n"), key=key)


@pytest.mark.parametrize("day", [date.min, date.max])
def test_the_calendar_ends(day: date) -> None:
    for make in (windows.day, windows.week, windows.month):
        with pytest.raises(UsageError, match="1 to 9999"):
            make("n", day, tz="Asia/Tokyo")


def test_a_machine_without_zone_data_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tzdata", None)
    monkeypatch.setitem(sys.modules, "tzdata.zoneinfo", None)
    before = zoneinfo.TZPATH
    ZoneInfo.clear_cache()
    zoneinfo.reset_tzpath(())
    try:
        with pytest.raises(SourceError, match="install"):
            windows.day("n", date(2024, 1, 15), tz="Asia/Dili")
        assert windows.day("n", date(2024, 1, 15)).key == "n:2024-01-15"
    finally:
        zoneinfo.reset_tzpath(before)
        ZoneInfo.clear_cache()


# -------------------------------------------------------------------- in the cache


class Todos:
    """A table that can be counted by day, and that tells the cache of its rows."""

    def __init__(self, clock: ManualClock, cache: AnalyticsCache, tz: str = "UTC") -> None:
        self.rows: list[datetime] = []
        self.counts = 0
        self._clock, self._cache, self._tz = clock, cache, tz

    def add(self, *rows: datetime) -> None:
        self.rows.extend(rows)
        self._cache.apply(f"events/Todo/1/{len(self.rows)}")

    async def count(self, day: date) -> Any:
        window = windows.day("todos", day, tz=self._tz, clock=self._clock)

        async def compute() -> int:
            self.counts += 1
            return sum(map(window.contains, self.rows))

        return await self._cache.get_or_compute(
            window.key, compute, depends_on=["events/Todo/**"], valid_until=window.valid_until
        )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cache(clock: ManualClock) -> AnalyticsCache:
    return AnalyticsCache(clock=clock, time_to_live=None, time_to_idle=None)


YESTERDAY, TODAY = date(2024, 1, 14), date(2024, 1, 15)


async def test_s1_a_past_day_is_computed_once_and_again_when_late_data_touches_it(
    clock: ManualClock, cache: AnalyticsCache
) -> None:
    todos = Todos(clock, cache)
    todos.add(at("2024-01-14T08:00"))
    assert [await todos.count(YESTERDAY) for _ in range(3)] == [1, 1, 1]
    clock.advance(90 * 86400)
    assert await todos.count(YESTERDAY) == 1
    assert todos.counts == 1
    todos.add(at("2024-01-14T23:59:59"))
    assert [await todos.count(YESTERDAY) for _ in range(2)] == [2, 2]
    assert todos.counts == 2


async def test_s2_today_moves_with_its_events_and_ends_at_midnight(clock: ManualClock, cache: AnalyticsCache) -> None:
    todos = Todos(clock, cache)
    assert [await todos.count(TODAY) for _ in range(2)] == [0, 0]
    todos.add(at("2024-01-15T12:00"))
    assert [await todos.count(TODAY) for _ in range(2)] == [1, 1]
    assert todos.counts == 2


@pytest.mark.parametrize("tz", ["UTC", "Asia/Beirut", "America/New_York"])
async def test_a_read_at_the_boundary_is_a_miss_and_the_answer_of_the_closed_day_stays(
    clock: ManualClock, cache: AnalyticsCache, tz: str
) -> None:
    todos = Todos(clock, cache, tz)
    day = clock.now().astimezone(ZoneInfo(tz)).date()
    end = windows.day("todos", day, tz=tz, clock=clock).end
    assert await todos.count(day) == 0
    clock.advance((end - clock.now()).total_seconds() - 0.001)
    assert await todos.count(day) == 0
    assert todos.counts == 1
    clock.advance((end - clock.now()).total_seconds())
    assert clock.now() == end
    for _ in range(3):
        assert await todos.count(day) == 0
        clock.advance(86400 * 365)
    assert todos.counts == 2


async def test_f31_a_clock_that_is_set_back_over_the_boundary_hides_no_row(
    clock: ManualClock, cache: AnalyticsCache
) -> None:
    todos = Todos(clock, cache)
    clock.jump(13 * 3600)  # an hour into tomorrow, as nobody else has it
    assert await todos.count(TODAY) == 0
    clock.jump(-13 * 3600)
    todos.add(clock.now())
    assert await todos.count(TODAY) == 1


async def test_a_computation_that_the_boundary_overtakes_is_not_kept(
    clock: ManualClock, cache: AnalyticsCache
) -> None:
    go, calls = asyncio.Event(), itertools.count(1)

    async def compute() -> int:
        call = next(calls)
        await go.wait()
        return call

    async def read() -> Any:
        window = windows.day("n", TODAY, clock=clock)
        return await cache.get_or_compute(window.key, compute, valid_until=window.valid_until)

    reader = asyncio.create_task(read())
    await asyncio.sleep(0)
    clock.advance(12 * 3600)
    go.set()
    assert await reader == 1
    assert [await read(), await read()] == [2, 2]


# -------------------------------------------------------------------- the sketch, as it stands in seed.md


class Sketch:
    """`TimeWindowCache` and `daily_stats_cache_key`, line by line."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.cache: dict[str, tuple[datetime, Any]] = {}

    def get_if_valid(self, key: str, window_end: datetime) -> Any:
        entry = self.cache.get(key)
        if entry is not None and self.clock.now() < entry[0] and entry[0] <= window_end:
            return entry[1]
        return None

    def insert_with_window(self, key: str, data: Any, valid_until: datetime) -> None:
        self.cache[key] = (valid_until, data)

    @staticmethod
    def daily_stats_cache_key(day: date) -> tuple[str, datetime]:
        expires = datetime.combine(day + DAY, datetime.min.time(), UTC)
        return f"daily_stats:{day}", expires


def test_the_sketch_never_caches_a_past_day_s1(clock: ManualClock) -> None:
    sketch = Sketch(clock)
    key, expires = sketch.daily_stats_cache_key(YESTERDAY)
    sketch.insert_with_window(key, 1, expires)
    assert sketch.get_if_valid(key, expires) is None


def test_the_sketch_is_stale_all_day_s2(clock: ManualClock) -> None:
    sketch, rows = Sketch(clock), [at("2024-01-15T08:00")]
    key, expires = sketch.daily_stats_cache_key(TODAY)
    sketch.insert_with_window(key, len(rows), expires)
    rows.append(clock.now())  # there is nothing that it could be told
    clock.advance(11 * 3600)
    assert sketch.get_if_valid(key, expires) == 1 != len(rows)
