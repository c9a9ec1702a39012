"""Time zones as DuckDB has them, beside those that Python has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from livelake.engine import Engine, Session, Zones
from livelake.engine.zone import look_up
from livelake.errors import LivelakeError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMES = ["Etc/UTC", "Europe/Paris", "America/New_York", "America/Havana", "Australia/Lord_Howe", "Asia/Kathmandu"]


def microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize("name", NAMES)
def test_the_clocks_are_set_when_python_s_are(session: Session, name: str) -> None:
    """These zones have not changed their rules for years: both tables know them."""
    python, now = ZoneInfo(name), datetime(2024, 1, 15, 12, 0, tzinfo=UTC)
    zone = look_up(session, name, microseconds(now))

    def offset(moment: datetime) -> timedelta:
        there = moment.astimezone(python).utcoffset()
        assert there is not None
        return there

    for hour in range(-20, 24 * 790):
        moment = now + timedelta(hours=hour, minutes=17)
        assert zone.offset_at(microseconds(moment)) == offset(moment) // timedelta(microseconds=1)
    for start in zone.starts[1:]:
        moment = EPOCH + timedelta(microseconds=start)
        assert offset(moment) != offset(moment - timedelta(seconds=1))
        assert zone.change_after(start - 1) == start
    assert len(zone.starts) == 1 if name in ("Etc/UTC", "Asia/Kathmandu") else len(zone.starts) >= 5
    assert zone.change_after(zone.until - 1) == zone.until


def test_a_zone_is_looked_up_once_a_year(session: Session, engine: Engine) -> None:
    zones, now = Zones("Europe/Paris"), microseconds(datetime(2024, 1, 15, tzinfo=UTC))
    zone = zones.at(session, "", now)
    statements = engine.counters.snapshot(running=0, waiting=0, workers=0).statements
    assert zones.at(session, "Europe/Paris", now + 300 * 86400 * 10**6) is zone
    assert engine.counters.snapshot(running=0, waiting=0, workers=0).statements == statements
    later = zones.at(session, "", now + 500 * 86400 * 10**6)
    assert later.until > zone.until
    assert zones.at(session, "UTC", now).offset_at(now) == 0


def test_a_zone_that_duckdb_does_not_know_is_an_error(session: Session) -> None:
    with pytest.raises(LivelakeError):
        look_up(session, "Nowhere/Land", 0)
