"""Upkeep by the clock: rounds come, a failed one does not end them, and spans of time are read strictly."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import livelake
from lake.conftest import until
from livelake.errors import ParameterError, SourceError
from livelake.lake import Upkeep
from livelake.lake.schedule import Schedule, keep_up, span


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3_600), (" 7d ", 604_800), ("0s", 0)]
)
def test_a_span_of_time_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert span(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "7", "d", "-1h", "1.5h", "1 h", "7w", "1h30m", "9999999d"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="not a span of time"):
        span(text)


async def test_rounds_come_and_a_failure_does_not_end_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "livelake.upkeep")
    async with livelake.open(f"ducklake:sqlite:{tmp_path}/sales.sqlite") as lake:
        await lake.execute("CREATE TABLE orders AS SELECT 1 AS a")
        await lake.execute("INSERT INTO orders VALUES (2)")
        maintain, rounds = lake.maintain, 0

        async def failing_first(*args: Any, **named: Any) -> Any:
            nonlocal rounds
            rounds += 1
            if rounds == 1:
                raise SourceError("the disk is away")
            return await maintain(*args, **named)

        monkeypatch.setattr(lake, "maintain", failing_first)
        schedule = Schedule(every=timedelta(milliseconds=5), upkeep=Upkeep(), catalogs=("sales",))
        keeping = asyncio.create_task(keep_up(lake, [schedule]))
        await until(lambda: rounds >= 3)
        keeping.cancel()
        await asyncio.wait((keeping,))
        assert keeping.cancelled()
        assert "cut short; the next round goes on: the disk is away" in caplog.text
        assert "rows flushed into files" in caplog.text
