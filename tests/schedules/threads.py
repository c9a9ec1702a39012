"""A scheduler of threads: real threads, one at a time, handed over where the schedule says.

A thread gives way at explicit points only: before it takes the registry's lock and after it has given it back,
before it looks at the clock, before it touches the store, where a computation says so, and where it waits. Which of
the runnable threads goes on is a number that a strategy picks (detangle's: delay-bounded search, PCT, random walk),
so each schedule is a list of numbers and can be replayed: ``run_once(scenario, detangle.Replay(choices))``.

Event loops take part: a `SteppedLoop` waits, and reads the time, at the scheduler instead of at the system.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import detangle
from detangle import Decision

import livelake.cache.flight as flight_module
from livelake.cache import AnalyticsCache, Flight
from livelake.keys import KeyExpr
from livelake.testing import ManualClock
from schedules.world import EVENT, ON_EVENTS, ON_LAKE, TABLE, Bag, Failed, check_books

MOST_STEPS = 3_000


class Stuck(AssertionError):
    """Nobody can go on."""


class Aborted(BaseException):
    """Ends a thread of a schedule that has failed already."""


class BrokenSchedule(AssertionError):
    """A schedule that broke a promise, and how to see it again."""

    def __init__(self, scenario: Any, error: BaseException, choices: list[int]) -> None:
        super().__init__(f"{scenario.__name__}: {error} [replay with choices {choices}]")
        self.choices = choices


class _Worker:
    """An operating system's thread, used again for many schedules."""

    def __init__(self) -> None:
        self.go = threading.Lock()
        self.go.acquire()
        self.body: Callable[[], None] = lambda: None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            self.go.acquire()
            self.body()


_workers: list[_Worker] = []


class Strand:
    """One thread of a schedule."""

    def __init__(self, scheduler: Scheduler, number: int, work: Callable[[], Any]) -> None:
        self.id = number  # what detangle's strategies look at
        self.work = work
        self.scheduler = scheduler
        self.done = False
        self.ready: Callable[[], bool] | None = None
        self.deadline: float | None = None
        self.state: Any = None
        while len(_workers) <= number:
            _workers.append(_Worker())
        self.worker = _workers[number]
        self.worker.body = self._body

    def _body(self) -> None:
        try:
            self.work()
        except Aborted:
            pass
        except BaseException as error:
            self.scheduler.fail(error)
        self.done = True
        self.scheduler._hand_over(self)


class Scheduler:
    """Runs the strands of one schedule to their end. Times are virtual seconds."""

    active: Scheduler | None = None

    def __init__(self, strategy: detangle.Strategy) -> None:
        self.strategy = strategy
        self.decisions: list[Decision] = []
        self.strands: list[Strand] = []
        self.current: Strand | None = None
        self.now = 0.0
        self.steps = 0
        self.error: BaseException | None = None
        self._finished = threading.Lock()
        self._finished.acquire()

    def spawn(self, work: Callable[[], Any]) -> None:
        self.strands.append(Strand(self, len(self.strands), work))

    def run(self) -> None:
        first = self._pick()
        if first is not None:
            self.current = first
            first.worker.go.release()
            self._finished.acquire()
        self.current = None
        if self.error is not None:
            raise self.error

    def fail(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error

    def pause(self) -> None:
        """Another may go on here."""
        me = self.current
        if me is not None and self.error is None:
            self._hand_over(me)

    def wait(self, ready: Callable[[], bool], timeout: float | None = None) -> bool:
        """Go on when ``ready()``, or when ``timeout`` has passed and nobody else had anything to do."""
        me = self.current
        if me is None or self.error is not None:
            if ready():
                return True
            raise Aborted if me is not None else Stuck("hang: the test itself would wait for ever")
        me.ready, me.deadline = ready, None if timeout is None else self.now + timeout
        self._hand_over(me)
        me.ready = None
        if self.error is not None:
            raise Aborted
        return ready()

    def flip(self) -> bool:
        """A coin of the schedule's."""
        value = self.strategy.choose(2, "data")
        self.decisions.append(Decision("data", 2, value))
        return bool(value)

    def _hand_over(self, me: Strand) -> None:
        following = self._pick(me)
        if following is me:
            return
        self.current = following
        if following is None:
            self._finished.release()
        else:
            following.worker.go.release()
        if not me.done:
            me.worker.go.acquire()

    def _pick(self, me: Strand | None = None) -> Strand | None:
        left = [strand for strand in self.strands if not strand.done]
        if not left:
            return None
        self.steps += 1
        if self.steps > MOST_STEPS:
            self.fail(Stuck(f"hang: still running after {MOST_STEPS} steps"))
        if self.error is not None:  # each in turn falls out of where it waits
            return me if me is not None and not me.done else left[0]
        ready = [strand for strand in left if strand.ready is None or strand.ready()]
        if not ready:
            times = [strand.deadline for strand in left if strand.deadline is not None]
            if not times:
                self.fail(Stuck(f"hang: {len(left)} threads wait for each other"))
                return left[0]
            self.now = max(self.now, min(times))
            ready = [strand for strand in left if strand.deadline is not None and strand.deadline <= self.now]
        if len(ready) == 1:
            return ready[0]
        if me in ready:  # to go on is the default
            ready.remove(me)
            ready.insert(0, me)
        choice = self.strategy.schedule(ready)
        self.decisions.append(Decision("sched", len(ready), choice))
        return ready[choice]


class SteppedLock:
    """The registry's lock, taken and given back at the scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.owner: Strand | None = None
        self.state: Callable[[], Any] = lambda: None
        self._held = False

    def __enter__(self) -> None:
        scheduler = self._scheduler
        scheduler.pause()
        assert not (self._held and self.owner is scheduler.current), "hang: the lock is taken twice"
        while self._held:
            scheduler.wait(lambda: not self._held)
        self._held, self.owner = True, scheduler.current

    def __exit__(self, *_exc: object) -> None:
        if self.owner is not None:  # a computation began in the state that its thread has seen last
            self.owner.state = self.state()
        self._held, self.owner = False, None
        self._scheduler.pause()


class SteppedClock(ManualClock):
    """To look at the time is a point where another may go on, inside the lock too."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler

    def monotonic(self) -> float:
        self._scheduler.pause()
        return super().monotonic()


class SteppedLoop(asyncio.BaseEventLoop):
    """An event loop in one of the threads. It has no selector: only other threads wake it."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._selector = self
        self._woken = False

    def time(self) -> float:
        return self._scheduler.now

    def select(self, timeout: float | None) -> list[Any]:
        if timeout == 0:
            self._scheduler.pause()
        else:
            self._scheduler.wait(lambda: self._woken or bool(self._ready), timeout)
        self._woken = False
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        self._woken = True


class ThreadWorld:
    """`world.World` for threads and several loops. Truth, floors and what must hold are the same."""

    def __init__(self, scheduler: Scheduler, *, versioned: bool = False, **settings: Any) -> None:
        self.scheduler = scheduler
        self.clock = SteppedClock(scheduler)
        settings = {"time_to_live": None, "time_to_idle": None, "grace": 0.01, "clock": self.clock, **settings}
        self.cache = AnalyticsCache(100, **settings)
        self.bag = Bag(pause=scheduler.pause)
        self.bag.install(self.cache)
        self.registry = self.cache._registry
        lock = SteppedLock(scheduler)
        count = self.registry.count
        lock.state = lambda: (count["fences"], count["abandoned"])
        self.registry.lock = lock  # type: ignore[assignment]
        store_lock = SteppedLock(scheduler)
        store_lock.state = lock.state
        self.bag.lock = store_lock  # type: ignore[assignment]
        self.cache._reader._threads = self  # type: ignore[assignment] - `submit` makes a thread of the schedule's
        self.versioned = versioned
        self.truth = 0
        self.acknowledged = 0
        self.computations = 0
        self.running: Counter[Any] = Counter()

    def submit(self, work: Callable[..., Any], *args: Any) -> None:
        self.scheduler.spawn(lambda: work(*args))

    # ---------------------------------------------------------------- computing

    @contextlib.contextmanager
    def _computing(self, key: str) -> Iterator[None]:
        me = self.scheduler.current
        state = (key, None if me is None else me.state)
        self.running[state] += 1
        self.computations += 1
        try:
            assert self.running[state] == 1, f"I3: two computations of {key} in one state of the data"
            yield
        finally:
            self.running[state] -= 1

    def compute(self, key: str = "k", *, fail: bool = False) -> int:
        with self._computing(key):
            self.scheduler.pause()
            value = self.truth
            self.scheduler.pause()
            if fail:
                raise Failed(value)
            return value

    async def compute_on_loop(self, flight: Flight[int]) -> int:
        with self._computing("k"):
            await asyncio.sleep(0)
            value = self.truth
            if self.versioned:
                await asyncio.sleep(0)
                flight.pin({"sales": value}, [KeyExpr(TABLE)])
            await asyncio.sleep(0)
            return value

    # ---------------------------------------------------------------- reading and changing

    def read(self, key: str = "k", *, fail: bool = False, **policy: Any) -> int:
        stale = bool(policy.get("stale_while_revalidate") or policy.get("stale_if_error"))
        floor = 0 if stale else self.truth if policy.get("fresh") else self.acknowledged
        try:
            value: int = self.cache.get_or_compute_sync(
                key, lambda: self.compute(key, fail=fail), depends_on="events/T/**", **policy
            )
        except Failed as error:
            assert error.truth >= floor, f"I1: a failure at {error.truth} was kept after {floor} was acknowledged"  # noqa: PT017
            return error.truth
        assert value >= floor, f"I1: {value} was read after {floor} had been acknowledged"
        return value

    def reader(self, times: int = 2, **how: Any) -> None:
        last = 0
        for _ in range(times):
            value = self.read(**how)
            assert value >= last, f"I8: {value} after {last}"
            last = value

    def peeker(self, times: int = 3) -> None:
        for _ in range(times):
            floor = self.acknowledged
            value = self.cache.get("k", floor)
            assert value >= floor, f"I1: a hit on {value} after {floor} had been acknowledged"

    async def read_on_loop(self, **policy: Any) -> int:
        floor = self.truth if policy.get("fresh") else self.acknowledged
        read = await self.cache.fetch(
            "k",
            self.compute_on_loop,
            depends_on=ON_LAKE if self.versioned else ON_EVENTS,
            pins=self.versioned,
            **policy,
        )
        if read.status != "stale":
            assert read.value >= floor, f"I1: {read.value} was read after {floor} had been acknowledged"
        return read.value

    def commit(self) -> None:
        self.truth += 1
        version = self.truth
        self.scheduler.pause()
        if self.versioned:
            self.cache.apply(TABLE, source="sales", version=version)
        else:
            self.cache.apply(EVENT)
        self.acknowledged = max(self.acknowledged, version)

    def writer(self, times: int = 2) -> None:
        for _ in range(times):
            self.commit()

    # ---------------------------------------------------------------- loops

    def on_loop(self, *works: Callable[[], Awaitable[Any]], cancel: int | None = None) -> None:
        """Run coroutines on an event loop of this thread's. ``cancel``: the first, after so many rounds."""
        loop = SteppedLoop(self.scheduler)

        async def main() -> None:
            tasks = [asyncio.ensure_future(work()) for work in works]
            if cancel is not None:
                for _ in range(cancel):
                    await asyncio.sleep(0)
                tasks[0].cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    raise outcome
            await asyncio.sleep(1)  # virtual: what was deserted is cancelled, background flights land

        try:
            loop.run_until_complete(main())
        except BaseException:
            for task in asyncio.all_tasks(loop):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                task.get_coro().close()  # type: ignore[union-attr]
            raise
        finally:
            loop.close()

    def settle(self, *, books: bool = True) -> None:
        """After all threads have ended."""
        assert not +self.running, f"left behind: still computing {self.running}"
        if not books:
            return
        check_books(self.cache)
        if not self.versioned:
            assert self.read() == self.truth, "I1: the last change was missed"
            check_books(self.cache)


Scenario = Callable[[ThreadWorld], Any]


class _Futures(SimpleNamespace):
    Future = concurrent.futures.Future

    @staticmethod
    def wait(waiters: tuple[Any, ...], timeout: float | None = None) -> Any:
        scheduler = Scheduler.active
        assert scheduler is not None
        scheduler.wait(lambda: all(waiter.done() for waiter in waiters), timeout)
        return SimpleNamespace(done={waiter for waiter in waiters if waiter.done()})


def run_once(scenario: Scenario, strategy: detangle.Strategy, index: int = 0) -> Scheduler:
    """One schedule. Raises what broke."""
    strategy.start(index)
    scheduler = Scheduler.active = Scheduler(strategy)
    real = flight_module.concurrent
    flight_module.concurrent = SimpleNamespace(futures=_Futures)  # type: ignore[assignment]
    try:
        settings = getattr(scenario, "settings", {})
        world = ThreadWorld(scheduler, **settings)
        finish = scenario(world)
        scheduler.run()
        (finish or world.settle)()
    except Aborted:
        raise Stuck("hang: aborted") from None
    except Exception as error:
        raise BrokenSchedule(scenario, error, [decision.value for decision in scheduler.decisions]) from error
    finally:
        flight_module.concurrent = real
        Scheduler.active = None
        strategy.finish(scheduler.decisions, False)
    return scheduler


def explore(scenario: Scenario, runs: int, seed: int = 1) -> tuple[int, int]:
    """Exactly ``runs`` schedules: within few preemptions systematically, then at random. (runs, distinct)"""
    ran = 0
    seen: set[tuple[int, ...]] = set()

    def go(strategy: detangle.Strategy, most: int) -> None:
        nonlocal ran
        for index in itertools.count():
            if index >= most or strategy.exhausted:
                return
            scheduler = run_once(scenario, strategy, index)
            seen.add(tuple(decision.value for decision in scheduler.decisions))
            ran += 1

    go(detangle.DFS(max_delays=3), runs // 2 if seed == 1 else 0)
    rest = (detangle.RandomWalk(seed), detangle.PCT(seed, depth=2), detangle.PCT(seed, depth=4))
    for number, strategy in enumerate(rest):
        go(strategy, (runs - ran) // (len(rest) - number))
    return ran, len(seen)
