"""What `livelake.open` is given: what makes no sense is refused before anything is opened or made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import livelake
from livelake.errors import UsageError

NUMBERS = [
    *(("workers", value) for value in (0, -1, 1.5, "4")),
    *((name, value) for name in ("poll_interval", "remote_poll") for value in (0, -1, float("inf"), "1")),
]


@pytest.mark.parametrize(("name", "value"), NUMBERS)
async def test_a_number_that_makes_no_sense_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name}={value!r}: give "):
        await livelake.open(str(tmp_path / "p.duckdb"), **{name: value})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["max_rows", "max_result_bytes"])
async def test_a_query_s_own_cap_is_checked_too(name: str) -> None:
    async with livelake.open(":memory:") as lake:
        with pytest.raises(UsageError, match=f"{name}=-1: give a whole number from 0"):
            await lake.query("SELECT 1 WHERE false", **{name: -1})
