"""The refresher: bursts become one round, the last change is never missed, failures pause and recover."""

from __future__ import annotations

import asyncio
import itertools

import detangle
import pytest

from livelake.cache import Loaded, Refresher
from livelake.cache.refresh import Touch


class Thing:
    """A truth that changes, and a load that reads it half way through."""

    def __init__(self) -> None:
        self.truth = 0
        self.loads = 0
        self.running = 0
        self.touches: list[Touch] = []
        self.published: list[int] = []
        self.errors: list[str] = []
        self.fail = 0

    async def load(self, touch: Touch) -> Loaded[int]:
        self.running += 1
        self.loads += 1
        assert self.running == 1, "one refresh of a thing at a time"
        try:
            mark: Touch = lambda: touch()  # noqa: E731 - one of its own for each load, as each slot has its watchers
            self.touches.append(mark)
            await asyncio.sleep(0)
            value = self.truth
            await asyncio.sleep(0)
            if self.fail:
                self.fail -= 1
                raise ValueError("no")
            return Loaded(value, None, lambda: self.touches.remove(mark) if mark in self.touches else None)
        finally:
            self.running -= 1

    def change(self) -> None:
        self.truth += 1
        touches, self.touches = self.touches, []
        for touch in touches:
            touch()


async def changes_in_bursts() -> None:
    thing, refresher = Thing(), Refresher()
    watched = refresher.watch(thing.load, thing.published.append, lambda error: thing.errors.append(str(error)))
    for burst in (1, 5, 3):
        for _ in range(burst):
            thing.change()
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        while not thing.published or thing.published[-1] != thing.truth:
            await asyncio.sleep(0.01)
    assert thing.published == sorted(thing.published), "I8: older never follows newer"
    assert thing.loads <= 5, "a burst is one round"
    await watched.close()
    await refresher.close()
    assert thing.running == 0


async def changes_while_it_fails() -> None:
    thing, refresher = Thing(), Refresher()
    thing.fail = 3
    refresher.watch(thing.load, thing.published.append, lambda error: thing.errors.append(str(error)))
    for _ in range(4):
        thing.change()
        await asyncio.sleep(0.2)
    async with asyncio.timeout(600):
        while not thing.published or thing.published[-1] != thing.truth:
            await asyncio.sleep(1)
    assert thing.errors == ["no"] * 3
    await refresher.close()


@pytest.mark.parametrize("scenario", [changes_in_bursts, changes_while_it_fails])
def test_no_schedule_loses_the_last_change(scenario: object) -> None:
    """I8, F29: searched over 1,000 schedules each, in virtual time."""
    detangle.explore(scenario, runs=1_000, seed=1)  # type: ignore[arg-type]


async def test_at_most_so_many_loads_run_at_once() -> None:
    """F29."""
    refresher = Refresher(workers=3)
    running, most, done = 0, 0, 0

    async def load(touch: Touch) -> Loaded[int]:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done += 1
        return Loaded(1, None, lambda: None)

    for _ in range(20):
        refresher.watch(load, lambda value: None, lambda error: None)
    async with asyncio.timeout(20):
        while done < 20:
            await asyncio.sleep(0)
    assert most == 3
    await refresher.close()


def test_what_time_makes_untrue_is_loaded_again() -> None:
    async def scenario() -> None:
        refresher = Refresher()
        seen: list[int] = []

        async def load(touch: Touch) -> Loaded[int]:
            return Loaded(len(seen), 10.0, lambda: None)

        refresher.watch(load, seen.append, lambda error: None)
        await asyncio.sleep(35)
        assert seen == [0, 1, 2, 3]
        await refresher.close()

    detangle.run(scenario)


def test_pauses_grow_with_failures_and_have_a_bound() -> None:
    async def scenario() -> None:
        refresher = Refresher()
        times: list[float] = []

        async def load(touch: Touch) -> Loaded[int]:
            times.append(asyncio.get_running_loop().time())
            raise ValueError("never")

        refresher.watch(load, lambda value: None, lambda error: None)
        await asyncio.sleep(600)
        pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert 0.3 < pauses[0] < 0.7
        assert all(22 < pause < 38 for pause in pauses[-5:])
        await refresher.close()

    detangle.run(scenario)
