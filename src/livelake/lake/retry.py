"""Writes tried again: after a conflict with another process, and once after DuckLake was attached again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from livelake.errors import ConflictError, QueryError
from livelake.lake.attached import Attached

T = TypeVar("T")

_CONFLICTS: Final = 8


async def again(attempt: Callable[[], Awaitable[T]], attached: Attached, *, repeatable: bool = True) -> T:
    """The value of the first attempt that no other process is in the way of; seven conflicts are borne.

    Each attempt leaves nothing behind when it fails. One that is not ``repeatable`` is made once.
    """
    healed = not repeatable
    for conflict in range(_CONFLICTS):
        renewals = attached.renewals()
        try:
            return await attempt()
        except ConflictError:
            if not repeatable or conflict + 1 == _CONFLICTS:
                raise
            await asyncio.sleep(random.uniform(0, 0.01 * 2**conflict))  # noqa: S311
        except QueryError as error:
            if healed or not await asyncio.to_thread(attached.heal, error, renewals, reads=False):
                raise
            healed = True
    raise AssertionError("unreachable")
