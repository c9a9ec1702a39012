"""Threads, queue, cancellation. Nothing sleeps: every wait is for a condition, with a deadline."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from livelake.engine import Engine, Session
from livelake.errors import BusyError, ClosedError, QueryError

LONG = "SELECT count(*) FROM range(100000000000) t(i) WHERE i % 7 = 3"
DEADLINE = 30.0


@pytest.fixture
def one() -> Iterator[Engine]:
    with Engine(workers=1, max_waiting=3) as engine:
        yield engine


class Blocker:
    """A job that holds its worker until released."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.release = threading.Event()

    def __call__(self, session: Session) -> str:
        self.started.set()
        assert self.release.wait(DEADLINE)
        return "released"


def long_query(started: threading.Event) -> Callable[[Session], Any]:
    def job(session: Session) -> Any:
        started.set()
        return session.read(LONG)

    return job


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("livelake-")}


async def test_a_job_runs_and_its_value_or_error_comes_back(one: Engine) -> None:
    assert await one.pool.run(lambda session: session.fetchone("SELECT 1")) == (1,)
    with pytest.raises(QueryError, match="nonsense"):
        await one.pool.run(lambda session: session.read("SELECT nonsense"))
    with pytest.raises(ZeroDivisionError):
        await one.pool.run(lambda session: 1 / 0, deadline=DEADLINE)
    assert one.pool.submit(lambda session: 2).result(DEADLINE) == 2


def test_nothing_starts_before_the_first_job_and_no_more_threads_than_needed() -> None:
    before = threads()
    with Engine(workers=3) as engine:
        assert threads() == before
        for _ in range(5):
            engine.pool.submit(lambda session: 1).result(DEADLINE)
        assert len(threads() - before) <= 3
    assert threads() == before


def test_jobs_run_first_come_first_served(one: Engine) -> None:
    blocker, order = Blocker(), list[int]()
    first = one.pool.submit(blocker)
    jobs = [one.pool.submit(lambda session, n=n: order.append(n)) for n in range(3)]
    blocker.release.set()
    concurrent.futures.wait([first, *jobs], DEADLINE)
    assert order == [0, 1, 2]


def test_a_full_queue_refuses_at_once_and_says_how_full(one: Engine) -> None:
    blocker = Blocker()
    jobs = [one.pool.submit(blocker)]
    assert blocker.started.wait(DEADLINE)
    jobs += [one.pool.submit(lambda session: 1) for _ in range(3)]
    with pytest.raises(BusyError, match="1 queries run and 3 wait"):
        one.pool.submit(lambda session: 1)
    assert repr(one.pool) == "<Pool 1 of 1 workers run, 3 jobs wait (bound 3)>"
    assert (one.stats().running, one.stats().waiting, one.stats().workers) == (1, 3, 1)
    blocker.release.set()
    concurrent.futures.wait(jobs, DEADLINE)
    assert one.pool.submit(lambda session: 1).result(DEADLINE) == 1


def test_a_queue_of_none_still_gives_every_worker_a_job() -> None:
    with Engine(workers=2, max_waiting=0) as engine:
        blocker = Blocker()
        jobs = [engine.pool.submit(blocker) for _ in range(2)]
        with pytest.raises(BusyError):
            engine.pool.submit(blocker)
        blocker.release.set()
        assert [job.result(DEADLINE) for job in jobs] == ["released", "released"]


async def test_a_cancelled_job_in_the_queue_is_dropped_and_never_runs(one: Engine) -> None:
    blocker, ran = Blocker(), threading.Event()
    first = one.pool.submit(blocker)
    await until(blocker.started.is_set)
    task = asyncio.create_task(one.pool.run(lambda session: ran.set()))
    await until(lambda: one.pool.waiting == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert one.pool.waiting == 0
    blocker.release.set()
    await asyncio.wrap_future(first)
    assert await one.pool.run(lambda session: 1) == 1
    assert not ran.is_set()


async def test_a_cancelled_job_that_runs_is_interrupted_and_the_worker_is_reusable(one: Engine) -> None:
    started = threading.Event()
    task = asyncio.create_task(one.pool.run(long_query(started)))
    await until(started.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: one.pool.running == 0)
    data = await one.pool.run(lambda session: session.read("SELECT 1 AS a"), deadline=DEADLINE)
    assert data.rows() == [{"a": 1}]


async def test_the_waiter_of_a_cancelled_job_does_not_wait_for_it_to_end(one: Engine) -> None:
    blocker = Blocker()
    task = asyncio.create_task(one.pool.run(blocker))
    await until(blocker.started.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert one.pool.running == 1
    blocker.release.set()
    await until(lambda: one.pool.running == 0)


def test_a_job_that_is_cancelled_before_its_first_statement_never_begins_it(one: Engine) -> None:
    ready, go, outcome = threading.Event(), threading.Event(), list[str]()

    def job(session: Session) -> None:
        ready.set()
        assert go.wait(DEADLINE)
        try:
            session.read(LONG)
        except BaseException as error:
            outcome.append(type(error).__name__)
            raise

    running = one.pool.submit(job)
    assert ready.wait(DEADLINE)
    assert running.cancel()
    go.set()
    assert one.pool.submit(lambda session: session.fetchone("SELECT 1")).result(DEADLINE) == (1,)
    assert outcome == ["Interrupted"]
    assert not running.cancel() or running.cancelled()


def test_an_interrupt_never_reaches_the_next_job(one: Engine) -> None:
    for _ in range(50):
        started = threading.Event()
        running = one.pool.submit(long_query(started))
        following = one.pool.submit(lambda session: session.fetchone("SELECT sum(i) FROM range(100000) t(i)"))
        assert started.wait(DEADLINE)
        assert running.cancel()
        assert following.result(DEADLINE) == (4_999_950_000,)


async def test_a_deadline_ends_waiting_and_running_jobs(one: Engine) -> None:
    started = threading.Event()
    with pytest.raises(BusyError, match="ran past its deadline of"):
        await one.pool.run(long_query(started), deadline=0.2)
    await until(lambda: one.pool.running == 0)
    blocker, ran = Blocker(), threading.Event()
    first = one.pool.submit(blocker)
    await until(blocker.started.is_set)
    with pytest.raises(BusyError, match="waited past its deadline of"):
        await one.pool.run(lambda session: ran.set(), deadline=0.01)
    assert one.pool.waiting == 0
    blocker.release.set()
    assert first.result(DEADLINE) == "released"
    assert not ran.is_set()


def test_two_event_loops_share_a_pool(engine: Engine) -> None:
    results: list[list[Any]] = []

    async def client(base: int) -> None:
        jobs = (
            engine.pool.run(lambda session, n=n: session.fetchone("SELECT $n::INT", {"n": n}))
            for n in range(base, base + 100)
        )
        results.append(await asyncio.gather(*jobs))

    loops = [threading.Thread(target=lambda base=base: asyncio.run(client(base))) for base in (0, 1000, 2000)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join(DEADLINE)
    assert sorted(row[0][0] for row in results) == [0, 1000, 2000]
    for row in results:
        assert [value for (value,) in row] == list(range(row[0][0], row[0][0] + 100))


def test_a_loop_that_ends_while_its_job_runs_harms_nobody(one: Engine) -> None:
    started = threading.Event()

    async def leaves() -> None:
        task = asyncio.create_task(one.pool.run(long_query(started)))
        await until(started.is_set)
        del task

    asyncio.run(leaves())  # cancels what is left
    assert one.pool.submit(lambda session: session.fetchone("SELECT 1")).result(DEADLINE) == (1,)


async def test_one_cursor_is_never_used_by_two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    users: dict[int, set[int]] = {}
    inside: set[int] = set()
    overlaps: list[int] = []
    lock = threading.Lock()
    run = Session._run

    def watched(self: Session, *args: Any, **kwargs: Any) -> Any:
        with lock:
            users.setdefault(id(self), set()).add(threading.get_ident())
            if id(self) in inside:
                overlaps.append(id(self))
            inside.add(id(self))
        try:
            return run(self, *args, **kwargs)
        finally:
            with lock:
                inside.discard(id(self))

    monkeypatch.setattr(Session, "_run", watched)
    with Engine(workers=4) as engine:
        queries = (
            engine.pool.run(lambda session, n=n: session.read("SELECT $n + i AS v FROM range(50) t(i)", {"n": n}))
            for n in range(200)
        )
        results = await asyncio.gather(*queries)
        for n, data in enumerate(results):
            assert [value for (value,) in data.tuples()] == list(range(n, n + 50))
        assert engine.stats().reads == 200
    assert not overlaps
    assert len(users) == 4
    assert all(len(idents) == 1 for idents in users.values())


STATE = {
    "a temporary table": "CREATE TEMP TABLE leaked AS SELECT 1 AS a",
    "a variable": "SET VARIABLE leaked = 1",
    "a schema in use": "USE memory.elsewhere",
    "an open transaction": "BEGIN TRANSACTION",
    "a prepared statement": "PREPARE leaked AS SELECT 1",
    "a temporary view": "CREATE TEMP VIEW leaked AS SELECT 1",
}


@pytest.mark.parametrize("what", STATE)
def test_what_a_job_leaves_on_its_cursor_is_gone_for_the_next(one: Engine, what: str) -> None:
    def ask(session: Session) -> Any:
        with session.transaction():  # which an open transaction would refuse
            return session.fetchone(
                "SELECT getvariable('leaked'), current_schema(), (SELECT count(*) FROM duckdb_tables()), "
                "(SELECT count(*) FROM duckdb_views() WHERE NOT internal), "
                "(SELECT count(*) FROM duckdb_prepared_statements())"
            )

    one.pool.submit(lambda session: session.execute("CREATE SCHEMA elsewhere")).result(DEADLINE)
    clean = one.pool.submit(ask).result(DEADLINE)
    one.pool.submit(lambda session: session.execute(STATE[what])).result(DEADLINE)
    assert one.pool.submit(ask).result(DEADLINE) == clean


def test_a_failed_transaction_does_not_leak(one: Engine) -> None:
    def fails(session: Session) -> None:
        session.execute("BEGIN")
        session.execute("CREATE TABLE t (a INT)")
        session.execute("SELECT nonsense")

    with pytest.raises(QueryError):
        one.pool.submit(fails).result(DEADLINE)
    tables = one.pool.submit(lambda session: session.fetchall("FROM duckdb_tables()")).result(DEADLINE)
    assert tables == []


def test_every_fresh_cursor_is_prepared_and_a_clean_one_is_kept(one: Engine) -> None:
    prepared: list[int] = []

    def hook(session: Session) -> None:
        prepared.append(1)
        session.execute("SET VARIABLE greeting = 'hello'")

    one.prepare(hook)

    def ask(session: Session) -> Any:
        return session.fetchone("SELECT getvariable('greeting')")

    for _ in range(5):
        assert one.pool.submit(ask).result(DEADLINE) == ("hello",)
    assert len(prepared) == 1
    one.pool.submit(lambda session: session.execute("SET VARIABLE greeting = 'bye'")).result(DEADLINE)
    assert one.pool.submit(ask).result(DEADLINE) == ("hello",)
    assert len(prepared) == 2
    with one.cursor() as session:
        assert ask(session) == ("hello",)
    one.prepare(None)
    assert one.pool.submit(ask).result(DEADLINE) == (None,)


def test_a_preparation_that_fails_fails_the_job_and_not_the_worker(one: Engine) -> None:
    one.prepare(lambda session: session.execute("USE nosuch"))
    with pytest.raises(QueryError, match="nosuch"):
        one.pool.submit(lambda session: 1).result(DEADLINE)
    with pytest.raises(QueryError, match="nosuch"):
        one.cursor()
    one.prepare(None)
    assert one.pool.submit(lambda session: 1).result(DEADLINE) == 1


def test_close_fails_what_waits_and_interrupts_what_runs() -> None:
    before = threads()
    engine = Engine(workers=1)
    started = threading.Event()
    running = engine.pool.submit(long_query(started))
    waiting = engine.pool.submit(lambda session: 1)
    assert started.wait(DEADLINE)
    engine.close()
    for job, said in ((running, "while the query ran"), (waiting, "before the query ran")):
        with pytest.raises(ClosedError, match=said):
            job.result(DEADLINE)
    with pytest.raises(ClosedError):
        engine.pool.submit(lambda session: 1)
    engine.close()
    deadline = time.monotonic() + DEADLINE
    while not threads() <= before:  # one that was given up by an earlier test may end meanwhile
        assert time.monotonic() < deadline, "a thread was left behind"
        time.sleep(0.001)  # whoever repeats interrupts goes once nobody is left to be told


async def test_cancelling_a_job_twice_or_late_is_fine(one: Engine) -> None:
    job = one.pool.submit(lambda session: 1)
    assert job.result(DEADLINE) == 1
    assert not job.cancel()
    blocker = Blocker()
    job2 = one.pool.submit(blocker)
    await until(blocker.started.is_set)
    assert job2.cancel()
    assert job2.cancel()
    blocker.release.set()
    with pytest.raises(concurrent.futures.CancelledError):
        job2.result(DEADLINE)
    assert await one.pool.run(lambda session: 1) == 1
