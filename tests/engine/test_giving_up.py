"""Queries that do not heed an interrupt: they cost their thread, are counted, and never the service."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from livelake.engine import Engine, Runner, Session
from livelake.errors import BusyError

DEADLINE = 60.0


class Deaf:
    """A job that goes on for as long as the test likes, whatever it is told: as DuckDB inside one long step."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.release = threading.Event()

    def __call__(self, session: Session) -> str:
        self.started.set()
        assert self.release.wait(DEADLINE)
        return "at last"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(workers=2, grace=0.0) as engine:
        yield engine


async def deaf(engine: Engine) -> Deaf:
    """One more that was told to stop, and has not."""
    job = Deaf()
    stuck = engine.stats().given_up
    task = asyncio.create_task(engine.pool.run(job))
    await until(job.started.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: engine.stats().given_up == stuck + 1)
    return job


async def test_another_thread_takes_the_place_of_one_that_is_given_up(engine: Engine) -> None:
    jobs = [await deaf(engine), await deaf(engine)]
    assert (engine.stats().stuck, engine.stats().given_up) == (2, 2)
    assert "2 stuck" in repr(engine.pool)
    for number in range(5):
        assert await engine.pool.run(lambda session, n=number: session.fetchone("SELECT $n::INT", {"n": n})) == (
            number,
        )
    for job in jobs:
        job.release.set()
    await until(lambda: engine.stats().stuck == 0)
    assert engine.stats().given_up == 2


async def test_threads_that_come_back_are_not_one_too_many(engine: Engine) -> None:
    for _ in range(3):
        jobs = [await deaf(engine), await deaf(engine)]
        assert await engine.pool.run(lambda session: 1) == 1
        for job in jobs:
            job.release.set()
        await until(lambda: engine.stats().stuck == 0)
        blockers = [Deaf(), Deaf(), Deaf()]
        futures = [engine.pool.submit(blocker) for blocker in blockers]
        await until(lambda blockers=blockers: sum(each.started.is_set() for each in blockers) == 2)  # type: ignore[misc]
        assert engine.pool.running == 2
        for blocker in blockers:
            blocker.release.set()
        assert [future.result(DEADLINE) for future in futures] == ["at last"] * 3


async def test_a_bound_holds_for_them_and_then_new_jobs_are_refused_at_once(engine: Engine) -> None:
    jobs = [await deaf(engine) for _ in range(4)]  # two workers, and as many again
    with pytest.raises(BusyError, match="4 queries do not heed their interrupt"):
        engine.pool.submit(lambda session: 1)
    jobs[0].release.set()
    await until(lambda: engine.stats().stuck == 3)
    assert await engine.pool.run(lambda session: 1, deadline=DEADLINE) == 1
    for job in jobs:
        job.release.set()


async def test_a_deadline_is_kept_however_the_query_behaves(engine: Engine) -> None:
    job = Deaf()
    with pytest.raises(BusyError, match="past its deadline"):
        await engine.pool.run(job, deadline=0.05)
    await until(lambda: engine.stats().stuck == 1)
    job.release.set()


async def test_what_heeds_its_interrupt_within_the_grace_costs_nothing() -> None:
    with Engine(workers=1, grace=DEADLINE) as engine:
        for _ in range(5):
            with pytest.raises(BusyError):
                await engine.pool.run(
                    lambda session: session.read("SELECT count(*) FROM range(100000000000) t(i) WHERE i % 7 = 3"),
                    deadline=0.01,
                )
        assert await engine.pool.run(lambda session: 1) == 1
        assert (engine.stats().given_up, engine.stats().stuck) == (0, 0)


async def test_a_writer_is_never_given_up(engine: Engine) -> None:
    """A commit to a slow disk is not a hostile query, and two writers would only make each other fail."""
    job = Deaf()
    task = asyncio.create_task(engine.writer.run(job))
    await until(job.started.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    waiting = engine.writer.submit(lambda session: "after")
    assert engine.writer.stuck == 0
    assert not waiting.done()
    job.release.set()
    assert waiting.result(DEADLINE) == "after"


async def test_the_answer_of_a_query_that_was_given_up_reaches_nobody(engine: Engine) -> None:
    job = await deaf(engine)
    assert await engine.pool.run(lambda session: session.fetchone("SELECT 1")) == (1,)
    job.release.set()
    await until(lambda: engine.stats().stuck == 0)
    assert await engine.pool.run(lambda session: session.fetchone("SELECT 2")) == (2,)


def test_a_pool_is_a_runner(engine: Engine) -> None:
    """The seam for an engine in processes of its own: mypy checks that it fits."""
    runner: Runner = engine.pool
    assert (runner.workers, runner.running, runner.waiting, runner.stuck, runner.closed) == (2, 0, 0, 0, False)


# One step each that DuckDB 1.5.5 does not leave for an interrupt, with the memory that it takes bounded from outside.
HOSTILE = {
    "levenshtein": "SELECT levenshtein(repeat('ab', 60000), repeat('ba', 60000))",
    "lpad": "SELECT length(lpad('x', 1500000000, 'y'))",
    "repeat": "SELECT length(repeat('x', 1500000000))",
    "array_to_string": "SELECT length(array_to_string(range(20000000), ','))",
    "list_reduce": "SELECT list_reduce(range(30000000), lambda a, b: a + b)",
    "list_sort": "SELECT list_sort(range(30000000))[1]",
    "cross join": "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE (a.range + b.range) % 7 = 3",
    "sketch": "SELECT approx_count_distinct(a.range * b.range) FROM range(10000000) a, range(10000000) b",
    "by parameter": "SELECT count(*) FROM range($n) t(i) WHERE i % 7 = 3",
}
SERVICE = """
import asyncio, os, resource, sys
from livelake.engine import Caps, Engine
from livelake.errors import LivelakeError
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
async def main():
    engine = Engine(workers=1, memory_limit="200MB", max_spill="100MB", threads=1, grace=0.2)
    params = {"n": 10**12} if "$n" in sys.argv[1] else None
    try:
        await engine.pool.run(lambda s: s.read(sys.argv[1], params, Caps(guarded=True)), deadline=0.5)
        print("answered")
    except LivelakeError as error:
        print(type(error).__name__)
    row = await engine.pool.run(lambda session: session.fetchone("SELECT 42"), deadline=60)
    print("alive", row, flush=True)
    os._exit(0)  # a process may be killed, which is what one that serves strangers is for
asyncio.run(main())
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_the_service_outlives_a_hostile_query(name: str) -> None:
    """In a process with its address space bounded: whatever becomes of the query, the next one is answered."""
    done = subprocess.run(
        [sys.executable, "-c", SERVICE, HOSTILE[name]], capture_output=True, text=True, timeout=110, check=False
    )
    assert "alive (42,)" in done.stdout, done.stderr
    assert done.stdout.split()[0] in ("BusyError", "QueryError", "answered", "InternalError")


CLOSING = """
import asyncio, time
from livelake.engine import Engine
from livelake.errors import BusyError
async def main():
    with Engine(workers=1, grace=0.05) as engine:
        try:
            sql = "SELECT levenshtein(repeat('ab', 90000), repeat('ba', 90000))"
            await engine.pool.run(lambda s: s.read(sql), deadline=0.2)
        except BusyError:
            print("late")
        while not engine.stats().stuck:
            await asyncio.sleep(0.001)
    print("closed")
asyncio.run(main())
"""


def test_an_engine_closes_though_a_query_does_not_end_and_so_does_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", CLOSING], capture_output=True, text=True, timeout=110, check=False)
    assert (done.stdout.split(), done.returncode) == (["late", "closed"], 0), done.stderr
