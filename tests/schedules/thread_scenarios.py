"""What happens at once in several threads, and on several event loops. See `threads`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from livelake.errors import ClosedError
from schedules.threads import Scenario, SteppedLoop, ThreadWorld
from schedules.world import check_books


def _with(**settings: Any) -> Callable[[Scenario], Scenario]:
    def note(scenario: Scenario) -> Scenario:
        scenario.settings = settings  # type: ignore[attr-defined]
        return scenario

    return note


def threads_read_and_commit(world: ThreadWorld) -> None:
    world.scheduler.spawn(world.reader)
    world.scheduler.spawn(world.reader)
    world.scheduler.spawn(world.writer)


def hits_without_the_lock(world: ThreadWorld) -> None:
    world.read()
    world.scheduler.spawn(world.peeker)
    world.scheduler.spawn(world.reader)
    world.scheduler.spawn(world.writer)


def threads_insert(world: ThreadWorld) -> None:
    def insert() -> None:
        world.truth += 1
        version = world.truth
        world.cache.insert("k", version, depends_on="events/T/**")
        world.acknowledged = version
        world.peeker(1)

    world.scheduler.spawn(insert)
    world.scheduler.spawn(world.reader)
    world.scheduler.spawn(world.peeker)


def threads_invalidate_where(world: ThreadWorld) -> None:
    def invalidate() -> None:
        world.truth += 1
        version = world.truth
        world.cache.invalidate_where(lambda key: key == "k")
        world.acknowledged = version

    world.scheduler.spawn(world.reader)
    world.scheduler.spawn(world.reader)
    world.scheduler.spawn(invalidate)


def the_store_evicts(world: ThreadWorld) -> None:
    """It drops what was just set, or what it likes; two writers' puts may cross on the way into it."""
    world.bag.refuse = world.scheduler.flip

    def evict() -> None:
        for _ in range(2):
            world.bag.evict("k")
            world.cache.settle()

    world.scheduler.spawn(world.reader)
    world.scheduler.spawn(evict)
    world.scheduler.spawn(lambda: world.writer(1))
    world.scheduler.spawn(lambda: world.peeker(2))


def puts_cross_on_the_way(world: ThreadWorld) -> None:
    """Inserts, removals and healing puts of one key at once: the store may never serve what no change reaches."""

    def insert() -> None:
        world.cache.insert("k", world.truth, depends_on="events/T/**")

    def churn() -> None:
        world.cache.invalidate("k")
        world.bag.evict("k")
        world.cache.settle()

    world.scheduler.spawn(insert)
    world.scheduler.spawn(insert)
    world.scheduler.spawn(churn)
    world.scheduler.spawn(lambda: world.peeker(2))


@_with(time_to_live=2.0, time_to_idle=1.5, keep_stale=1.0)
def time_passes(world: ThreadWorld) -> None:
    def pass_time() -> None:
        for _ in range(3):
            world.clock.advance(1.0)
            world.cache.settle()

    world.scheduler.spawn(world.reader)
    world.scheduler.spawn(world.reader)
    world.scheduler.spawn(pass_time)
    world.scheduler.spawn(lambda: world.writer(1))


def threads_fail(world: ThreadWorld) -> Callable[[], None]:
    world.scheduler.spawn(lambda: world.reader(fail=True, negative_ttl=100.0))
    world.scheduler.spawn(lambda: world.reader(negative_ttl=100.0))
    world.scheduler.spawn(world.writer)

    def finish() -> None:
        world.commit()
        world.settle()

    return finish


def threads_take_stale_if_it_fails(world: ThreadWorld) -> None:
    world.read()
    world.scheduler.spawn(lambda: world.read(fail=True, stale_if_error=10.0))
    world.scheduler.spawn(world.reader)
    world.scheduler.spawn(lambda: world.writer(1))


def threads_take_stale_meanwhile(world: ThreadWorld) -> None:
    world.read()
    world.scheduler.spawn(lambda: world.reader(stale_while_revalidate=10.0))
    world.scheduler.spawn(world.reader)
    world.scheduler.spawn(lambda: world.writer(1))


def threads_force_fresh(world: ThreadWorld) -> None:
    world.scheduler.spawn(world.read)
    world.scheduler.spawn(lambda: world.read(fresh=True))
    world.scheduler.spawn(lambda: world.read(fresh=True))
    world.scheduler.spawn(lambda: world.writer(1))


def two_loops(world: ThreadWorld) -> None:
    world.scheduler.spawn(lambda: world.on_loop(world.read_on_loop, world.read_on_loop))
    world.scheduler.spawn(lambda: world.on_loop(world.read_on_loop))
    world.scheduler.spawn(lambda: world.writer(1))


@_with(versioned=True)
def two_loops_with_versions(world: ThreadWorld) -> None:
    world.scheduler.spawn(lambda: world.on_loop(world.read_on_loop))
    world.scheduler.spawn(lambda: world.on_loop(world.read_on_loop))
    world.scheduler.spawn(world.writer)


def callers_on_loops_are_cancelled(world: ThreadWorld) -> None:
    world.scheduler.spawn(lambda: world.on_loop(world.read_on_loop, cancel=2))
    world.scheduler.spawn(lambda: world.on_loop(world.read_on_loop))
    world.scheduler.spawn(lambda: world.writer(1))


def a_thread_joins_a_loop(world: ThreadWorld) -> None:
    world.scheduler.spawn(lambda: world.on_loop(world.read_on_loop, world.read_on_loop))
    world.scheduler.spawn(world.reader)
    world.scheduler.spawn(lambda: world.writer(1))


def the_leading_loop_goes_away(world: ThreadWorld) -> Callable[[], None]:
    """It is closed in the middle of a flight, without a word to anybody; followers lead again."""

    async def never(_flight: Any) -> int:
        await asyncio.sleep(10_000)
        return -1

    def die() -> None:
        loop = SteppedLoop(world.scheduler)
        task = loop.create_task(world.cache.fetch("k", never))
        for _ in range(3):
            loop.call_soon(loop.stop)
            loop.run_forever()
        for left in asyncio.all_tasks(loop):
            left._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()
        task.get_coro().close()  # type: ignore[union-attr]

    def finish() -> None:
        world.cache._reader._tasks.clear()  # those of the loop that is gone
        world.read()
        world.settle()

    world.scheduler.spawn(die)
    world.scheduler.spawn(world.read)
    world.scheduler.spawn(lambda: world.on_loop(world.read_on_loop))
    return finish


def a_watcher_on_a_loop_hears_the_last_change(world: ThreadWorld) -> None:
    async def watch() -> None:
        loop, changed, last = asyncio.get_running_loop(), asyncio.Event(), -1

        def touch() -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(changed.set)

        while last < 2:
            changed.clear()
            read = await world.cache.fetch("k", world.compute_on_loop, depends_on=_events(), watcher=touch)
            assert read.value >= last, f"I8: {read.value} after {last}"
            last = read.value
            try:
                if last < 2:
                    await asyncio.wait_for(changed.wait(), 1000)
            except TimeoutError:
                raise AssertionError("last change: a watcher was not told of it") from None
            finally:
                world.cache.unwatch(read.slot, touch)

    world.bag.refuse = world.scheduler.flip
    world.scheduler.spawn(lambda: world.on_loop(watch))
    world.scheduler.spawn(world.writer)


def _events() -> Any:
    from schedules.world import ON_EVENTS

    return ON_EVENTS


def closed_under_threads(world: ThreadWorld) -> Callable[[], None]:
    def refused() -> None:
        with contextlib.suppress(ClosedError):
            world.reader()

    async def refused_on_loop() -> None:
        with contextlib.suppress(ClosedError):
            await world.read_on_loop()

    async def close() -> None:
        world.cache._reader._threads = None
        await world.cache.close()

    world.scheduler.spawn(refused)
    world.scheduler.spawn(lambda: world.on_loop(refused_on_loop))
    world.scheduler.spawn(lambda: world.on_loop(close))

    def finish() -> None:
        world.settle(books=False)
        check_books(world.cache)

    return finish


THREAD_SCENARIOS: tuple[Scenario, ...] = (
    threads_read_and_commit,
    hits_without_the_lock,
    threads_insert,
    threads_invalidate_where,
    the_store_evicts,
    puts_cross_on_the_way,
    time_passes,
    threads_fail,
    threads_take_stale_if_it_fails,
    threads_take_stale_meanwhile,
    threads_force_fresh,
    two_loops,
    two_loops_with_versions,
    callers_on_loops_are_cancelled,
    a_thread_joins_a_loop,
    the_leading_loop_goes_away,
    a_watcher_on_a_loop_hears_the_last_change,
    closed_under_threads,
)
