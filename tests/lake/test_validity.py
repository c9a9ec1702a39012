"""Until when time alone leaves an answer true: by arithmetic, against DuckDB moment by moment, and on a lake."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

import livelake
from livelake.engine import Engine, Session, Step, literal
from livelake.engine.zone import UTC as UTC_ZONE
from livelake.engine.zone import Zone, look_up
from livelake.lake.validity import over_at, valid_until
from livelake.testing import ManualClock

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = 3600 * 10**6


def us(text: str) -> int:
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


def end(unit: str, now: str, zone: Zone = UTC_ZONE, width: int = 0) -> str:
    at = over_at(Step("now", unit, width=width), us(now), zone)
    return (EPOCH + timedelta(microseconds=at)).strftime("%Y-%m-%d %H:%M:%S")


# -------------------------------------------------------------------- by arithmetic


@pytest.mark.parametrize(
    ("unit", "now", "over"),
    [
        ("second", "2024-02-28 23:59:59.999999", "2024-02-29 00:00:00"),
        ("minute", "2024-01-15 12:34:56", "2024-01-15 12:35:00"),
        ("hour", "2024-01-15 12:00:00", "2024-01-15 13:00:00"),
        ("day", "2024-02-28 12:00:00", "2024-02-29 00:00:00"),
        ("day", "2024-02-29 00:00:00", "2024-03-01 00:00:00"),
        ("week", "2024-01-15 00:00:00", "2024-01-22 00:00:00"),  # a Monday
        ("week", "2024-01-14 23:00:00", "2024-01-15 00:00:00"),
        ("month", "2024-12-31 23:00:00", "2025-01-01 00:00:00"),
        ("quarter", "2024-11-15 12:00:00", "2025-01-01 00:00:00"),
        ("quarter", "2024-04-01 00:00:00", "2024-07-01 00:00:00"),
        ("year", "2024-01-01 00:00:00", "2025-01-01 00:00:00"),
    ],
)
def test_a_step_is_over_when_the_next_unit_begins(unit: str, now: str, over: str) -> None:
    assert end(unit, now) == over


def test_a_bucket_is_counted_from_its_origin() -> None:
    assert end("bucket", "2024-01-15 12:34:56", width=900 * 10**6) == "2024-01-15 12:45:00"
    assert end("bucket", "2024-01-17 12:34:56", width=7 * 24 * HOUR) == "2024-01-22 00:00:00"


# Summer time from March to October, UTC+1 and +2.
PARIS = Zone(
    (us("2024-01-01"), us("2024-03-31 01:00"), us("2024-10-27 01:00")), (HOUR, 2 * HOUR, HOUR), us("2026-01-01")
)
# The clock goes forward at midnight, from 0:00 to 1:00, and back at 1:00, to 0:00.
HAVANA = Zone(
    (us("2024-01-01"), us("2024-03-10 05:00"), us("2024-11-03 05:00")),
    (-5 * HOUR, -4 * HOUR, -5 * HOUR),
    us("2026-01-01"),
)
# Back at 0:00, to 23:00 of the day before, as it was in Brazil.
BRAZIL = Zone((us("2017-01-01"), us("2018-02-18 02:00")), (-2 * HOUR, -3 * HOUR), us("2020-01-01"))


@pytest.mark.parametrize(
    ("zone", "unit", "now", "over"),
    [
        (PARIS, "day", "2024-01-15 22:59:00", "2024-01-15 23:00:00"),
        (PARIS, "day", "2024-03-30 23:00:00", "2024-03-31 22:00:00"),  # a day of 23 hours
        (PARIS, "day", "2024-10-26 22:00:00", "2024-10-27 23:00:00"),  # a day of 25
        (PARIS, "month", "2024-03-15 12:00:00", "2024-03-31 22:00:00"),
        (PARIS, "year", "2024-06-15 12:00:00", "2024-12-31 23:00:00"),
        (PARIS, "hour", "2024-10-27 00:30:00", "2024-10-27 01:00:00"),  # the hour that comes twice
        (HAVANA, "day", "2024-03-10 04:30:00", "2024-03-10 05:00:00"),
        (HAVANA, "day", "2024-11-03 04:30:00", "2024-11-04 05:00:00"),
        (BRAZIL, "day", "2018-02-18 01:30:00", "2018-02-18 03:00:00"),
        (BRAZIL, "hour", "2018-02-18 01:30:00", "2018-02-18 02:00:00"),
    ],
)
def test_days_go_on_when_the_clocks_are_set_and_hours_end(zone: Zone, unit: str, now: str, over: str) -> None:
    assert end(unit, now, zone) == over


def test_nothing_is_said_of_what_the_table_of_a_zone_does_not_reach() -> None:
    short = Zone((us("2024-01-01"),), (0,), us("2024-03-01"))
    assert end("year", "2024-02-01 00:00:00", short) == "2024-03-01 00:00:00"


# -------------------------------------------------------------------- against DuckDB

UNITS = ["minute", "hour", "day", "week", "month", "quarter", "year"]
ZONES = ["UTC", "Europe/Paris", "America/Havana", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca"]


@pytest.mark.parametrize("name", ZONES)
def test_until_it_is_over_duckdb_says_the_same_and_then_something_else(name: str) -> None:
    """The oracle is DuckDB's own ``date_trunc``, at random moments of two years and on both sides of their ends."""
    with Engine(workers=1) as engine, engine.cursor() as session:
        session.execute(f"SET TimeZone = {literal(name)}")
        zone = look_up(session, name, us("2024-01-15"))
        for unit in UNITS:
            moments = [us("2024-01-15") + n * 28 * 2971215073 for n in range(20 if unit == "minute" else 100)]
            for start in zone.starts[1:]:
                moments += [start + apart for apart in (-3 * HOUR // 2, -1, 0, 1, HOUR // 2)]
            exact = 0
            for now in moments:
                over = over_at(Step("now", unit), now, zone)
                assert over > now
                probes = [now + (over - 1 - now) * n // 7 for n in range(8)]
                said = session.fetchall(
                    f"SELECT epoch_us(date_trunc('{unit}', make_timestamptz(t))) FROM (SELECT unnest($probes) AS t)",
                    {"probes": [*probes, over]},
                )
                assert len(set(said[:-1])) == 1, (name, unit, now, over)
                exact += said[-1] != said[0]
            # Where the clocks are set is the one place at which an hour may seem to end too early.
            assert exact >= len(moments) - 5 * len(zone.starts), (name, unit)


@pytest.mark.parametrize("name", ["UTC", "Asia/Kolkata", "Europe/Paris"])
@pytest.mark.parametrize("minutes", [15, 45, 300, 1440, 7 * 1440])
def test_a_bucket_is_over_when_duckdb_s_is(name: str, minutes: int) -> None:
    with Engine(workers=1) as engine, engine.cursor() as session:
        session.execute(f"SET TimeZone = {literal(name)}")
        zone = look_up(session, name, us("2024-01-15"))
        for hour in range(0, 24 * 400, 307):
            now = us("2024-01-15") + hour * HOUR + 7
            for value, counted in (("make_timestamptz(t)", UTC_ZONE), ("make_timestamptz(t)::TIMESTAMP", zone)):
                over = over_at(Step("now", "bucket", width=minutes * 60 * 10**6), now, counted)
                before, last, after = session.fetchall(
                    f"SELECT epoch_us(time_bucket(INTERVAL {minutes} MINUTE, {value})) FROM (SELECT unnest($p) AS t)",
                    {"p": [now, over - 1, over]},
                )
                assert before == last, (value, now)
                assert after != before or over in zone.starts


def test_now_is_the_transaction_s_and_so_is_what_follows_from_it(session_of_engine: Session) -> None:
    session, zones = session_of_engine, livelake.engine.Zones("UTC")
    with session.transaction():
        first = session.fetchone("SELECT epoch_us(now())")
        until = valid_until(session, [Step("now", "second")], zones)
        session.execute("SELECT count(*) FROM range(30000000) r(i) WHERE hash(i) % 7 = 1")
        assert session.fetchone("SELECT epoch_us(now())") == first
        assert valid_until(session, [Step("now", "second")], zones) == until
    assert valid_until(session, [], zones) is None


@pytest.fixture
def session_of_engine() -> object:
    engine = Engine(workers=1)
    with engine, engine.cursor() as session:
        yield session


# -------------------------------------------------------------------- on a lake


def now_and_clock() -> ManualClock:
    return ManualClock(datetime.now(UTC))


async def test_current_date_is_kept_until_midnight_and_then_asked_again(tmp_path: object) -> None:
    clock = now_and_clock()
    async with livelake.open(f"ducklake:{tmp_path}/sales.ducklake", clock=clock) as lake:
        zone = ZoneInfo(lake.engine.time_zone)
        await lake.execute("CREATE TABLE orders AS SELECT current_date AS day, 1 AS amount")
        sql = "SELECT sum(amount) AS s FROM orders WHERE day = current_date"
        result = await lake.query(sql)
        assert result.valid_until is not None
        today = clock.now().astimezone(zone).date()
        assert result.valid_until.astimezone(zone) == datetime.combine(
            today + timedelta(days=1), datetime.min.time(), zone
        )
        assert (await lake.query(sql)).status == "hit"
        await lake.execute("CREATE TABLE elsewhere (a INTEGER)")
        assert (await lake.query(sql)).status == "hit"
        await lake.execute("INSERT INTO orders VALUES (current_date, 1)")
        assert (await lake.query(sql)).rows() == [{"s": 2}]
        clock.jump((result.valid_until - clock.now()).total_seconds() - 1)  # the wall: monotonic time has not gone on
        assert (await lake.query(sql)).status == "hit"
        clock.jump(1)
        assert (await lake.query(sql)).status == "miss"


@pytest.mark.parametrize(
    ("sql", "kept"),
    [
        ("SELECT date_trunc('year', now()) AS y", True),
        ("SELECT year(today()) AS y", True),
        ("SELECT now() AS n", False),
        ("SELECT current_date AS d, now() AS n", False),
        ("SELECT current_date AS d, random() AS r", False),
        ("SELECT uuid() AS u", False),
        ("SELECT gen_random_uuid() AS u, current_date AS d", False),
    ],
)
async def test_what_stands_still_is_kept_and_what_does_not_is_not(sql: str, kept: bool) -> None:
    async with livelake.open(":memory:", clock=now_and_clock()) as lake:
        first = await lake.query(sql)
        assert (await lake.query(sql)).status == ("hit" if kept else "bypass")
        assert (first.valid_until is not None) == ("current_date" in sql or kept)
        assert bool((await lake.why(sql)).why_not) != kept


async def test_a_declared_ttl_and_a_step_the_earlier_counts() -> None:
    clock = now_and_clock()
    async with livelake.open(":memory:", clock=clock) as lake:
        sql = "SELECT now() AS n, date_trunc('year', now()) AS y"
        soon = (await lake.query(sql, ttl=30)).valid_until
        assert soon == clock.now() + timedelta(seconds=30)
        late = (await lake.query(sql, ttl=10 * 366 * 86400)).valid_until
        assert late is not None
        assert late < clock.now() + timedelta(days=367)


async def test_a_plan_that_is_known_still_counts_from_its_own_now(tmp_path: object) -> None:
    """What is remembered for a text is its steps, not their ends."""
    async with livelake.open(f"ducklake:{tmp_path}/sales.ducklake") as lake:
        sql = "SELECT date_trunc('second', now())::VARCHAR AS s"
        seen = set()
        async with asyncio.timeout(60):
            while len(seen) < 3:
                result = await lake.query(sql)
                assert result.valid_until is not None
                shown = datetime.fromisoformat(result.rows()[0]["s"])
                assert result.valid_until == shown + timedelta(seconds=1)
                seen.add(result.valid_until)


async def test_the_session_s_time_zone_counts_and_is_part_of_the_key(tmp_path: object) -> None:
    ends, keys = set(), set()
    for name in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):  # 25 hours apart: never the same date
        async with livelake.open(":memory:", settings={"TimeZone": name}) as lake:
            keys.add(lake.ask("SELECT current_date AS d").key)
            result = await lake.query("SELECT current_date AS d")
            zone = ZoneInfo(name)
            here: date = result.rows()[0]["d"]
            assert result.valid_until is not None
            assert result.valid_until.astimezone(zone).date() == here + timedelta(days=1)
            assert result.valid_until.astimezone(zone).hour == 0
            ends.add(here)
    assert len(ends) == len(keys) == 2


async def test_a_watched_query_notices_that_the_wall_clock_was_set(tmp_path: object) -> None:
    """The sleep until midnight is a sleep of monotonic time, which knows nothing of a laptop that was shut."""
    clock = now_and_clock()
    async with livelake.open(f"ducklake:{tmp_path}/sales.ducklake", clock=clock) as lake:
        lake.look_every = 0.01
        feed = lake.live("SELECT current_date AS d")
        await asyncio.wait_for(anext(feed), 30)
        reads, rounds = lake.engine.stats().reads, lake.refresher.rounds
        async with asyncio.timeout(30):
            while lake.refresher.rounds < rounds + 3:
                await asyncio.sleep(0.005)
        assert lake.engine.stats().reads == reads, "before the day is over, to look again is a hit"
        clock.jump(86400)
        async with asyncio.timeout(30):
            while lake.engine.stats().reads == reads:
                await asyncio.sleep(0.005)


async def test_a_watched_query_is_refreshed_when_its_step_is_over(tmp_path: object) -> None:
    """No commit and no tick: ``refresh_every`` is an hour."""
    async with livelake.open(f"ducklake:{tmp_path}/sales.ducklake") as lake:
        lake.refresh_every = 3600.0
        feed = lake.live("SELECT date_trunc('second', now())::VARCHAR AS s")
        seen = [(await asyncio.wait_for(anext(feed), 30)).rows()[0]["s"] for _ in range(3)]
        assert seen == sorted(set(seen))
