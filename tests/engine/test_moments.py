"""What SQL makes of the present: the shapes that stand still for a while, and everything else."""

from __future__ import annotations

from typing import Any

import pytest

from livelake.engine import Reads, Session, Step, reads

SETUP = """
CREATE TABLE t AS SELECT 1 AS id, DATE '2024-01-01' AS day, now() AS ts
CREATE TABLE odd AS SELECT 1 AS "current_timestamp", 2 AS "today"
CREATE VIEW recent AS FROM t WHERE day >= current_date - 7
CREATE VIEW this_hour AS FROM t WHERE ts >= date_trunc('hour', now())
CREATE VIEW calendar AS FROM generate_series(current_date - 7, current_date, INTERVAL 1 DAY)
CREATE MACRO since(days) AS TABLE FROM t WHERE day > now()::DATE - days
CREATE MACRO mine(x) AS date_trunc('minute', x)
CREATE MACRO moment() AS now()
"""

# Query | function unit [zone] [width in seconds]; several separated by commas
STEPS = """
SELECT current_date | current_date day
SELECT today() | today day
SELECT current_date() | current_date day
FROM t WHERE day = current_date | current_date day
SELECT current_date - 7, current_date::TIMESTAMP, current_date + INTERVAL 1 MONTH | current_date day
SELECT make_date(year(today()), 1, 1) | today day
SELECT extract(epoch FROM current_date) | current_date day
SELECT now()::DATE | now day
SELECT CAST(current_timestamp AS DATE) | current_timestamp day
SELECT TRY_CAST(now() AS DATE) | now day
SELECT localtimestamp::DATE | localtimestamp day
SELECT now()::TIMESTAMP::DATE | now day
SELECT transaction_timestamp()::DATE | transaction_timestamp day
SELECT date_trunc('second', now()) | now second
SELECT date_trunc('minute', now()) | now minute
SELECT date_trunc('hour', now()) | now hour
SELECT date_trunc('HOUR', NOW()) | now hour
SELECT datetrunc('hours', get_current_timestamp()) | current_timestamp hour
SELECT date_trunc('day', now()) | now day
SELECT date_trunc('week', now()) | now week
SELECT date_trunc('month', now()) | now month
SELECT date_trunc('quarter', now()) | now quarter
SELECT date_trunc('year', now()) | now year
SELECT date_trunc('century', now()) | now year
SELECT date_trunc('hour', localtimestamp) | localtimestamp hour
SELECT date_trunc('hour', now()::TIMESTAMP) | now hour
SELECT date_trunc('hour', now()::TIMESTAMPTZ) | now hour
SELECT date_trunc('day', current_date) | current_date day
SELECT date_trunc('hour', now()) - INTERVAL 3 HOUR | now hour
SELECT date_trunc('day', now() - INTERVAL 7 DAY) | now day
SELECT date_trunc('day', now() - INTERVAL '7 days') | now day
SELECT date_trunc('month', now() - INTERVAL 1 MONTH) | now day
SELECT (now() - INTERVAL 2 WEEK)::DATE | now day
SELECT (now() - to_days($n))::DATE | now day
SELECT date_trunc('day', now() AT TIME ZONE 'Asia/Tokyo') | now day Asia/Tokyo
SELECT (now() AT TIME ZONE 'Asia/Tokyo')::DATE | now day Asia/Tokyo
SELECT year(now()), month(now()) | now year, now month
SELECT extract(year FROM now()) | now year
SELECT extract(hour FROM now()) | now hour
SELECT date_part('dow', now()) | now day
SELECT dayname(now()) | now day
SELECT week(localtimestamp) | localtimestamp day
SELECT time_bucket(INTERVAL '15 minutes', now()) | now bucket UTC 900
SELECT time_bucket(INTERVAL 15 MINUTE, now()) | now bucket UTC 900
SELECT time_bucket(INTERVAL 1 WEEK, now()) | now bucket UTC 604800
SELECT time_bucket(INTERVAL 6 HOUR, localtimestamp) | localtimestamp bucket - 21600
SELECT time_bucket(INTERVAL 6 HOUR, now()::TIMESTAMP) | now bucket - 21600
SELECT time_bucket(INTERVAL 6 HOUR, now() AT TIME ZONE 'Asia/Tokyo') | now bucket Asia/Tokyo 21600
FROM recent | current_date day
FROM this_hour | now hour
FROM since(7) | now day
SELECT date_trunc('hour', moment()) | now hour
FROM calendar | current_date day
FROM generate_series(current_date - 7, current_date, INTERVAL 1 DAY) | current_date day
WITH w AS (SELECT date_trunc('hour', now()) AS h) SELECT count(*) FROM t, w WHERE ts > h | now hour
SELECT current_date, date_trunc('hour', now()) | current_date day, now hour
SELECT list_transform([1], lambda x: x + day(current_date)) | current_date day
SELECT today FROM odd |
SELECT current_timestamp FROM odd |
"""

FREE = """
SELECT now()
SELECT now()::TIMESTAMP
SELECT now()::VARCHAR
SELECT now()::TIME
SELECT epoch(now())
SELECT strftime(now(), '%Y')
SELECT now() - INTERVAL 7 DAY
FROM t WHERE ts > now() - INTERVAL 1 HOUR
SELECT date_trunc('day', now() - INTERVAL 3 HOUR)
SELECT date_trunc('hour', now() - INTERVAL 1 DAY)
SELECT date_trunc('day', now() - INTERVAL '1 day 3 hours')
SELECT date_trunc('day', now() - (now() - ts)) FROM t
SELECT date_trunc('microseconds', now())
SELECT date_trunc('milliseconds', now())
SELECT date_trunc(s, now()) FROM (VALUES ('hour')) v(s)
SELECT date_trunc($unit, now())
SELECT date_part('epoch', now())
SELECT date_part(['year', 'microsecond'], now())
SELECT microsecond(now())
SELECT time_bucket(INTERVAL 1 MONTH, now())
SELECT time_bucket(INTERVAL '1 day 3 hours', now())
SELECT time_bucket(INTERVAL 1 HOUR, now(), INTERVAL 5 MINUTE)
SELECT (now()::TIMESTAMP)::TIMESTAMPTZ::DATE
SELECT (now() AT TIME ZONE 'Asia/Tokyo')::TIMESTAMPTZ::DATE
SELECT timezone('UTC', now()::TIMESTAMP)::DATE
SELECT greatest(now(), ts)::DATE FROM t
SELECT current_time, localtime
SELECT age(day) FROM t
SELECT date_trunc('hour', now()), now()
SELECT moment()
SELECT mine(now())
FROM t LIMIT day(current_date)
FROM t LIMIT (year(now()) % 7)
FROM t LIMIT 1 OFFSET (epoch(now())::INT % 2)
FROM range(epoch(now())::BIGINT)
"""


@pytest.fixture
def prepared(session: Session) -> Session:
    for statement in SETUP.strip().splitlines():
        session.execute(statement)
    return session


def found(session: Session, sql: str) -> Reads:
    names = session.statements(sql)[0].named_parameters
    values: Any = {"unit": "hour", "n": 7}
    return reads(*session.texts(sql, {name: values[name] for name in names}))


def expected(text: str) -> frozenset[Step]:
    steps = set()
    for each in filter(None, map(str.strip, text.split(","))):
        words = each.split()
        function, unit, zone, width = words + ["-", "0"][len(words) - 2 :]
        steps.add(Step(function, unit, zone.strip("-"), int(width) * 10**6))
    return frozenset(steps)


def test_every_shape_that_stands_still_is_a_step_and_stands_against_nothing(prepared: Session) -> None:
    for line in STEPS.strip().splitlines():
        sql, _, steps = line.rpartition("|")
        what = found(prepared, sql)
        assert what.steps == expected(steps), (sql, what)
        assert what.time == frozenset(), sql
        assert what.cacheable, (sql, what.why_not)


def test_any_other_use_of_the_present_is_free(prepared: Session) -> None:
    for sql in FREE.strip().splitlines():
        what = found(prepared, sql)
        assert "time" in what.obstacles, (sql, what)


def test_a_macro_of_a_function_s_name_vouches_for_nothing(prepared: Session) -> None:
    """DuckDB prefers a user's macro to its own function of that name."""
    prepared.execute("CREATE MACRO date_trunc(unit, x) AS x")
    prepared.execute("CREATE MACRO today() AS epoch(now())")
    assert found(prepared, "SELECT date_trunc('hour', now())").time == {"now"}
    assert found(prepared, "SELECT today()").time >= {"now"}
    assert found(prepared, "FROM t LIMIT today()").time == {"today"}


def test_a_step_says_what_it_is() -> None:
    assert str(Step("now", "hour")) == "now (by hour)"
    assert str(Step("now", "day", "Asia/Tokyo")) == "now (by day in Asia/Tokyo)"
    assert str(Step("now", "bucket", "UTC", 900 * 10**6)) == "now (by 900 s bucket in UTC)"
