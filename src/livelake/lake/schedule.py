"""Upkeep by the clock: how often, and of which lakes; and the spans of time in which people say it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from livelake.errors import LivelakeError, ParameterError
from livelake.lake.upkeep import Upkeep

if TYPE_CHECKING:
    from livelake.lake.lake import Lake

log = logging.getLogger("livelake.upkeep")

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SPAN: Final = re.compile(r"(\d{1,6})([smhd])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A round of ``upkeep`` each ``every`` on these catalogs."""

    every: timedelta
    upkeep: Upkeep
    catalogs: tuple[str, ...]


def span(text: str) -> timedelta:
    """``90s``, ``15m``, ``1h`` or ``7d``. Raises `ParameterError`."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise ParameterError(f"{text!r} is not a span of time; write a whole number and s, m, h or d, such as 7d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


async def keep_up(lake: Lake, schedules: Iterable[Schedule]) -> None:
    """Carry out the schedules until cancelled. A round that fails is told in the log, and the next one comes."""
    async with asyncio.TaskGroup() as tasks:
        for schedule in schedules:
            tasks.create_task(_carry_out(lake, schedule))


async def _carry_out(lake: Lake, schedule: Schedule) -> None:
    while True:
        await asyncio.sleep(schedule.every.total_seconds())
        try:
            await lake.maintain(schedule.upkeep, catalogs=schedule.catalogs, told=lambda done: log.info("%s", done))
        except LivelakeError as error:
            log.warning("upkeep of %s was cut short; the next round goes on: %s", ", ".join(schedule.catalogs), error)
