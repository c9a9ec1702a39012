"""Time zones as DuckDB knows them: when their clocks are set, and by how much.

DuckDB carries its own table of time zones, which need not be Python's: another release, other rules for next
spring. What is to change exactly when ``current_date`` does must ask DuckDB. Looked up once a zone and year
(about 20 ms), by probing each hour.

All instants and offsets are whole microseconds, instants since 1970 UTC.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from livelake.engine.session import Session

_HOUR: Final = 3600 * 10**6
_DAY: Final = 24 * _HOUR
_AHEAD: Final = 800 * _DAY
_USED_FOR: Final = 400 * _DAY  # then at least a year is still ahead
_REMEMBERED: Final = 64

# Each row begins a stretch of one offset: the first probe, and those that differ from the one before.
_OFFSETS: Final = """
SELECT instant, shift FROM (
    SELECT instant, shift, lag(shift) OVER (ORDER BY instant) AS previous FROM (
        SELECT instant, system.main.epoch_us(
            system.main.timezone($zone, system.main.make_timestamptz(instant))) - instant AS shift
        FROM (SELECT i * $step AS instant FROM system.main.range($first::BIGINT, $last::BIGINT) r(i))))
WHERE previous IS DISTINCT FROM shift ORDER BY instant
"""


@dataclass(frozen=True, slots=True)
class Zone:
    """The offsets of one zone from ``starts[0]`` to ``until``: ``offsets[n]`` holds from ``starts[n]`` on."""

    starts: tuple[int, ...]
    offsets: tuple[int, ...]
    until: int

    def offset_at(self, instant: int) -> int:
        """What is added to UTC for the time on the wall."""
        return self.offsets[max(0, bisect_right(self.starts, instant) - 1)]

    def change_after(self, instant: int) -> int:
        """When the clocks are set next; ``until`` if not before."""
        after = bisect_right(self.starts, instant)
        return self.starts[after] if after < len(self.starts) else self.until


UTC: Final = Zone((0,), (0,), 2**62)


def look_up(session: Session, name: str, now: int) -> Zone:
    """The zone from a day before ``now`` on. Raises QueryError if DuckDB knows no such zone."""
    first = (now - _DAY) // _HOUR
    last = (now + _AHEAD) // _HOUR
    rows = _probe(session, name, _HOUR, first, last)
    found = [(int(rows[0][0]), int(rows[0][1]))]
    for at, _ in rows[1:]:  # within the hour before: to the second
        seconds = _probe(session, name, 10**6, (at - _HOUR) // 10**6, at // 10**6 + 1)
        found += [(int(start), int(offset)) for start, offset in seconds[1:]]
    return Zone(tuple(start for start, _ in found), tuple(offset for _, offset in found), last * _HOUR)


def _probe(session: Session, name: str, step: int, first: int, last: int) -> list[tuple[int, int]]:
    values = {"zone": name, "step": step, "first": first, "last": last}
    return [(int(instant), int(shift)) for instant, shift in session.fetchall(_OFFSETS, values)]


class Zones:
    """The zones looked up so far; "" is the session's own. Safe to call from any thread."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._zones: dict[str, Zone] = {}
        self._lock = threading.Lock()

    def at(self, session: Session, name: str, now: int) -> Zone:
        """The zone of that name, good for a year from ``now``."""
        name = name or self._own
        if name in ("UTC", "Etc/UTC"):
            return UTC
        with self._lock:
            zone = self._zones.get(name)
        if zone is None or not zone.starts[0] <= now <= zone.starts[0] + _USED_FOR:
            zone = look_up(session, name, now)
            with self._lock:
                if len(self._zones) >= _REMEMBERED:
                    self._zones.clear()
                self._zones[name] = zone
        return zone
