"""What happens at once, on one event loop. Each scenario is run under many schedules; see `world`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import detangle

from livelake.cache import Change, ProactiveRefresh
from livelake.errors import ClosedError
from livelake.keys import KeyExpr
from schedules.world import EVENT, TABLE, Failed, World, check_books

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
    assert world.computations == 1, "I3: the survivor's computation was cancelled with the others"
    await world.settle()


async def computations_fail() -> None:
    world = World()
    await asyncio.gather(world.tolerant(fail=True), world.tolerant(fail=True), world.writer(1))
    await world.settle()


async def computations_fail_with_versions() -> None:
    world = World(versioned=True)
    await asyncio.gather(world.tolerant(2, fail=True), world.tolerant(fail=True), world.writer())
    await world.settle()


async def forced_fresh_reads() -> None:
    world = World(versioned=True)
    await asyncio.gather(world.read(), world.read(fresh=True), world.read(fresh=True), world.writer(1))
    await world.settle()


async def forced_fresh_reads_are_cancelled() -> None:
    world = World()
    crowd = [world.impatient(lambda: world.read(fresh=True)) for _ in range(2)]
    await asyncio.gather(world.impatient(world.read), *crowd, world.writer(1))
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


async def cleared_while_failing() -> None:
    """`clear` is a change of everything: no kept failure outlives it."""
    world = World()

    async def clear() -> None:
        world.truth += 1
        version = world.truth
        await asyncio.sleep(0)
        world.cache.clear()
        world.acknowledged = version

    await asyncio.gather(
        world.tolerant(2, fail=True, negative_ttl=100.0), world.tolerant(2, negative_ttl=100.0), clear()
    )
    await _end_with_failures(world)


async def failures_are_kept() -> None:
    world = World()
    await asyncio.gather(
        world.tolerant(2, fail=True, negative_ttl=100.0), world.tolerant(2, negative_ttl=100.0), world.writer()
    )
    await _end_with_failures(world)


async def failures_are_kept_with_versions() -> None:
    world = World(versioned=True)
    await asyncio.gather(
        world.tolerant(2, fail=True, negative_ttl=100.0), world.tolerant(2, negative_ttl=100.0), world.writer()
    )
    await _end_with_failures(world)


async def _end_with_failures(world: World) -> None:
    """A failure may be kept still; if so it is of the last state, and the next change drops it."""
    with contextlib.suppress(Failed):
        await world.read()
    await world.commit()
    await world.settle()


async def stale_while_revalidated() -> None:
    world = World(bag=True)
    await world.read()
    await asyncio.gather(
        world.reader(stale_while_revalidate=10.0), world.reader(stale_while_revalidate=10.0), world.writer()
    )
    await world.settle()


async def stale_while_revalidated_and_cancelled() -> None:
    world = World(versioned=True)
    await world.read()
    await asyncio.gather(
        world.impatient(lambda: world.reader(stale_while_revalidate=10.0)),
        world.impatient(world.read),
        world.writer(),
    )
    await world.settle()


async def stale_if_it_fails() -> None:
    world = World()
    await world.read()
    await asyncio.gather(world.tolerant(2, fail=True, stale_if_error=10.0), world.tolerant(2), world.writer(1))
    await world.settle()


async def background_refreshes_fail() -> None:
    world = World()
    await world.read()
    await asyncio.gather(
        world.tolerant(2, fail=True, stale_while_revalidate=10.0), world.tolerant(1), world.writer(1)
    )
    assert world.cache.stats().refreshes <= 2, "F29: a failing refresh is put off"
    await world.settle()


async def bypassed() -> None:
    world = World()

    async def bypass() -> None:
        floor = world.truth

        async def alone() -> int:
            await asyncio.sleep(0)
            return world.truth

        read = await world.cache.read("k", alone, bypass=True)
        assert read.status == "bypass"
        assert read.value >= floor, "I1: a bypass is computed after the call"

    await asyncio.gather(world.reader(), bypass(), bypass(), world.writer(1))
    await world.settle()


async def answers_for_those_who_waited_only() -> None:
    """``keep=False``: shared with who waited, kept for nobody."""
    world = World(versioned=True)
    await asyncio.gather(world.reader(keep=False), world.read(), world.writer(1))
    await world.settle()


async def inserted_under_reads() -> None:
    world = World()

    async def insert() -> None:
        world.truth += 1
        await asyncio.sleep(0)
        world.cache.insert("k", world.truth, depends_on=["events/T/**"])
        await asyncio.sleep(0)
        assert world.cache.get("k", world.truth) == world.truth, "I8: an older answer replaced the inserted"
        world.acknowledged = world.truth

    await asyncio.gather(world.reader(), world.reader(), insert())
    await world.settle()


async def evicted_while_landing() -> None:
    """The store may drop what was just set."""
    world = World(bag=True)
    world.bag.refuse = lambda: detangle.flip(0.5)
    await asyncio.gather(world.reader(), world.reader(), world.writer())
    await world.settle()


async def evicted_at_any_time() -> None:
    world = World(bag=True, versioned=True)

    async def evict() -> None:
        for _ in range(3):
            world.bag.evict("k")
            await asyncio.sleep(0)
            world.cache.settle()

    await asyncio.gather(world.reader(), world.reader(), evict(), world.writer(1))
    await world.settle()


async def expired_at_any_time() -> None:
    world = World(bag=True, time_to_live=2.0, time_to_idle=1.5, keep_stale=1.0)

    async def pass_time() -> None:
        for _ in range(4):
            world.clock.advance(1.0)
            world.cache.settle()
            await asyncio.sleep(0)

    await asyncio.gather(world.reader(), world.reader(stale_while_revalidate=1.0), pass_time(), world.writer(1))
    await world.settle()


async def watched_until_the_last_change() -> None:
    """A watcher is told of every state that was overtaken, so its last look is the last state."""
    world = World(versioned=True, bag=True)
    world.bag.refuse = lambda: detangle.flip(0.5)

    async def settle() -> None:
        for _ in range(3):
            world.cache.settle()
            await asyncio.sleep(0)

    await asyncio.gather(_watch(world, 2), settle(), world.writer(2))
    await world.settle()


async def watched_with_events() -> None:
    world = World()
    await asyncio.gather(_watch(world, 2), world.impatient(lambda: _watch(world, 2)), world.writer(2))
    await world.settle()


async def _watch(world: World, last: int) -> None:
    changed = asyncio.Event()
    seen: list[int] = []
    while not seen or seen[-1] < last:
        changed.clear()
        read = await world.cache.fetch(
            "k", world.compute, depends_on=world.depends_on, pins=world.versioned, watcher=changed.set
        )
        seen.append(read.value)
        try:
            if read.value < last:
                await asyncio.wait_for(changed.wait(), 1000)
        except TimeoutError:
            raise AssertionError("last change: a watcher was not told of it") from None
        finally:
            world.cache.unwatch(read.slot, changed.set)
    assert seen == sorted(seen), f"I8: {seen}"


async def several_changes_are_one_step() -> None:
    world = World()

    async def apply_all() -> None:
        world.truth += 1
        await asyncio.sleep(0)
        world.cache.apply_all([Change(KeyExpr("events/T/1/1")), Change(KeyExpr("events/T/2/1"))])
        world.acknowledged = world.truth

    await asyncio.gather(world.reader(key="a"), world.reader(key="b"), apply_all())
    await world.settle()


async def refreshed_ahead() -> None:
    """A kept key is computed again after the last change, by itself."""
    world = World()

    async def compute() -> int:
        await asyncio.sleep(0)
        value = world.truth
        await asyncio.sleep(0)
        return value

    async with ProactiveRefresh(world.cache, clock=world.clock) as refresh:
        refresh.keep("k", compute, depends_on="events/T/**")
        await asyncio.gather(world.writer(), world.reader(1))
        await asyncio.sleep(100)
        assert world.cache.get("k") == world.truth, "last change: the refresher missed it"
    check_books(world.cache)
    await world.settle()


async def refreshed_ahead_and_failing() -> None:
    world = World()
    left = [2]

    async def compute() -> int:
        await asyncio.sleep(0)
        value = world.truth
        if left[0] and detangle.flip(0.5):
            left[0] -= 1
            raise Failed(value)
        return value

    async with ProactiveRefresh(world.cache, clock=world.clock) as refresh:
        refresh.keep("k", compute, depends_on="events/T/**", stale_if_error=100.0)
        await world.writer()
        await asyncio.sleep(100)
        assert world.cache.get("k") == world.truth, "last change: the refresher missed it"
    await world.settle()


async def closed_at_any_time() -> None:
    world = World()

    async def refused(work: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(ClosedError):
            await work

    async def close() -> None:
        await asyncio.sleep(0)
        await world.cache.close()

    await asyncio.gather(
        refused(world.reader()), refused(world.reader(stale_while_revalidate=5.0)), world.writer(1), close()
    )
    await asyncio.sleep(1)
    check_books(world.cache)
    assert not +world.running, "left behind: a computation"


async def two_tables_one_catalog() -> None:
    """A commit of another table fences nobody who has narrowed."""
    world = World(versioned=True)

    async def other() -> None:
        world.cache.apply("lake/sales/main/people", source="sales", version=0)
        await asyncio.sleep(0)

    await asyncio.gather(world.reader(), world.writer(1), other(), other())
    world.cache.apply(TABLE, source="sales", version=world.truth)
    world.cache.apply(EVENT)
    await world.settle()


async def companions_and_commits() -> None:
    """Entries of one table share their fate, until a commit comes that some of them have seen."""
    await _companions(World(versioned=True))


async def companions_and_events() -> None:
    await _companions(World())


async def companions_come_and_go() -> None:
    """Some are evicted or watched, which takes them out of their group."""
    world = World(bag=True)

    async def evict() -> None:
        for key in "ab":
            world.bag.evict(key)
            await asyncio.sleep(0)
            world.cache.settle()

    await _companions(world, evict(), _watch(world, 1))


async def _companions(world: World, *others: Coroutine[Any, Any, None]) -> None:
    for key in "abk":
        await world.read(key)
    await asyncio.gather(
        world.reader(key="a"), world.reader(1, key="b"), world.reader(1, key="c"), world.writer(), *others
    )
    for _ in range(2):  # what came after the group was taken apart hears of the next one too
        for key in "abk":
            await world.read(key)
        await world.commit()
        check_books(world.cache)
    for key in "abk":
        assert await world.read(key) == world.truth, "I1: the last change was missed"
    await world.settle()


SCENARIOS: tuple[Scenario, ...] = (
    reads_and_commits,
    reads_and_commits_with_versions,
    callers_are_cancelled,
    callers_are_cancelled_with_versions,
    one_survives_the_cancelled,
    computations_fail,
    computations_fail_with_versions,
    forced_fresh_reads,
    forced_fresh_reads_are_cancelled,
    invalidated_by_key_and_predicate,
    cleared_while_failing,
    failures_are_kept,
    failures_are_kept_with_versions,
    stale_while_revalidated,
    stale_while_revalidated_and_cancelled,
    stale_if_it_fails,
    background_refreshes_fail,
    bypassed,
    answers_for_those_who_waited_only,
    inserted_under_reads,
    evicted_while_landing,
    evicted_at_any_time,
    expired_at_any_time,
    watched_until_the_last_change,
    watched_with_events,
    several_changes_are_one_step,
    refreshed_ahead,
    refreshed_ahead_and_failing,
    closed_at_any_time,
    two_tables_one_catalog,
    companions_and_commits,
    companions_and_events,
    companions_come_and_go,
)
