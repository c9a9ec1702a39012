"""Searched interleavings of read, invalidate, finish and cancel (I1, I2, I3, I6, I8)."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import detangle
import pytest

from livelake.cache import Flight
from livelake.cache.registry import Registry

_spec = importlib.util.spec_from_file_location("world", Path(__file__).with_name("world.py"))
assert _spec is not None
assert _spec.loader is not None
_world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_world)
World, Failed = _world.World, _world.Failed

Scenario = Callable[[], Coroutine[Any, Any, None]]


async def reads_and_commits() -> None:
    world = World()
    await asyncio.gather(world.reader(), world.reader(), world.writer())
    await world.settle()


async def reads_and_commits_with_versions() -> None:
    world = World(versioned=True)
    await asyncio.gather(world.reader(), world.reader(), world.writer())
    await world.settle()


async def callers_are_cancelled() -> None:
    world = World()
    crowd = [world.impatient(world.reader) for _ in range(3)]
    await asyncio.gather(*crowd, world.writer())
    await world.settle()


async def callers_are_cancelled_with_versions() -> None:
    world = World(versioned=True)
    crowd = [world.impatient(world.reader) for _ in range(3)]
    await asyncio.gather(*crowd, world.writer())
    await world.settle()


async def one_survives_the_cancelled() -> None:
    world = World()
    await asyncio.gather(*(world.impatient(world.read) for _ in range(2)), world.read())
    assert world.computations == 1, "the survivor's computation was cancelled with the others"
    await world.settle()


async def computations_fail() -> None:
    world = World()

    async def unlucky() -> None:
        try:
            await world.read(fail=True)
        except Failed:
            return

    await asyncio.gather(unlucky(), unlucky(), world.writer(1))
    await world.settle()


async def forced_fresh_reads() -> None:
    world = World(versioned=True)
    await asyncio.gather(world.read(), world.read(fresh=True), world.read(fresh=True), world.writer(1))
    await world.settle()


async def invalidated_by_key_and_predicate() -> None:
    world = World()

    async def invalidate(how: Callable[[], object]) -> None:
        world.truth += 1
        version = world.truth
        await asyncio.sleep(0)
        how()
        world.acknowledged = max(world.acknowledged, version)

    await asyncio.gather(
        world.reader(),
        invalidate(lambda: world.cache.invalidate("k")),
        invalidate(lambda: world.cache.invalidate_where(lambda key: key == "k")),
    )
    await world.settle()


async def watched_until_the_last_change() -> None:
    """A watcher is told of every state that was overtaken, so its last look is the last state."""
    world = World(versioned=True)
    seen: list[int] = []
    changed = asyncio.Event()

    async def watch() -> None:
        while not seen or seen[-1] < 2:
            changed.clear()
            read = await world.cache.fetch(
                "k",
                lambda flight: world.compute(flight, "k"),
                depends_on=frozenset({_world.KeyExpr("lake/**")}),
                pins=True,
                watcher=changed.set,
            )
            seen.append(read.value)
            if read.value < 2:
                await changed.wait()

    await asyncio.gather(watch(), world.reader(1), world.writer(2))
    assert seen[-1] == 2
    assert seen == sorted(seen)
    await world.settle()


SCENARIOS: tuple[Scenario, ...] = (
    reads_and_commits,
    reads_and_commits_with_versions,
    callers_are_cancelled,
    callers_are_cancelled_with_versions,
    one_survives_the_cancelled,
    computations_fail,
    forced_fresh_reads,
    invalidated_by_key_and_predicate,
    watched_until_the_last_change,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_no_schedule_breaks_the_promise(scenario: Scenario) -> None:
    """I1, I2, I3, I6, I8: no stale fill, no hang, one flight, over 1,400 schedules of each scenario."""
    stats = detangle.explore(scenario, runs=1_400, seed=1)
    assert stats.runs == 1_400 or stats.exhausted


def test_the_search_has_teeth(monkeypatch: pytest.MonkeyPatch) -> None:
    """I1, negative control: with the fence taken out, the same search finds the stale fill."""
    make_stale = Registry.make_stale

    def entries_only(self: Registry, slot: Any, cause: Any, woken: Any) -> None:
        if slot.flight is None:
            make_stale(self, slot, cause, woken)

    monkeypatch.setattr(Registry, "make_stale", entries_only)
    for scenario in (reads_and_commits, reads_and_commits_with_versions):
        with pytest.raises(detangle.BugFound, match="I1"):
            detangle.explore(scenario, runs=1_400, seed=1)


def test_the_search_finds_a_cancelled_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    """I3, negative control: a caller that takes the flight with it when it is cancelled is found."""

    def leave(self: Flight[Any], waiter: Any) -> None:
        assert self.task is not None
        self.task.cancel()

    monkeypatch.setattr(Flight, "leave", leave)
    with pytest.raises(detangle.BugFound):
        detangle.explore(one_survives_the_cancelled, runs=1_400, seed=1)
