"""What every bus promises (see `livelake.events.bus`), held against each implementation in `BUSES`."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import FrozenInstanceError
from itertools import pairwise

import pytest
import pytest_asyncio

from events.through import Router
from livelake.errors import BusyError, ClosedError, EventError, KeyExprError
from livelake.events import Bus, Change, Doubt, Event, LocalBus, Signal, ZenohBus
from livelake.keys import KeyExpr
from livelake.testing import RecordingBus
from livelake.token import Token

BUSES = ("local", "recording", "zenoh-embedded", "zenoh-client")


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    started = Router()
    yield started
    started.kill()


@pytest.fixture(params=BUSES)
def make_bus(request: pytest.FixtureRequest) -> Callable[[], Bus]:
    """What makes a bus that is still to be opened, by ``async with`` or `opened`."""
    if request.param == "local":
        return LocalBus
    if request.param == "recording":
        return RecordingBus
    pytest.importorskip("zenoh", reason="the extra livelake[zenoh] is not installed")
    if request.param == "zenoh-embedded":
        return ZenohBus
    endpoint = request.getfixturevalue("router").endpoint
    return lambda: ZenohBus(connect=[endpoint])


async def opened(make_bus: Callable[[], Bus]) -> Bus:
    bus = make_bus()
    return await bus.__aenter__()


@pytest_asyncio.fixture
async def bus(make_bus: Callable[[], Bus]) -> AsyncIterator[Bus]:
    async with make_bus() as entered:
        yield entered


def event(id: str = "1", type: str = "Todo", **more: object) -> Event:  # noqa: A002
    return Event(aggregate_type=type, aggregate_id=id, event_type="Done", **more)


class Heard(list[Signal]):
    """A handler that keeps what it was called with."""

    def __call__(self, signal: Signal) -> None:
        self.append(signal)

    def events(self) -> list[Event]:
        return [signal for signal in self if isinstance(signal, Event)]

    def doubts(self) -> list[Doubt]:
        return [signal for signal in self if isinstance(signal, Doubt)]


class Failing(Heard):
    """A handler that keeps what it was called with, and raises while ``error`` is set."""

    error: BaseException | None = RuntimeError("handler")

    def __call__(self, signal: Signal) -> None:
        super().__call__(signal)
        if self.error is not None:
            raise self.error


# Delivery


async def test_publish_returns_after_every_handler_here(bus: Bus) -> None:
    first, second = Heard(), Heard()
    bus.subscribe("events/Todo/**", first)
    bus.subscribe("events/**", second)
    await bus.publish(event(payload={"a": [1, None]}))
    assert len(first) == len(second) == 1
    (heard,) = first.events()
    assert (heard.aggregate_id, heard.event_type, heard.payload) == ("1", "Done", {"a": [1, None]})


async def test_only_those_hear_whose_expression_meets_the_key(bus: Bus) -> None:
    heard: dict[str, Heard] = {}
    for expr in ("events/Todo/**", "events/Todo/1/**", "events/Todo/2/*", "events/T$*/*/7", "events/*/1", "**"):
        heard[expr] = Heard()
        bus.subscribe(expr, heard[expr])
    await bus.publish(event("1", sequence=7))
    assert {expr for expr, signals in heard.items() if signals} == {
        "events/Todo/**",
        "events/Todo/1/**",
        "events/T$*/*/7",
        "**",
    }


async def test_nasty_ids_reach_wildcards_and_only_their_own_instance(bus: Bus) -> None:
    from livelake import keys

    everything = Heard()
    bus.subscribe("events/**", everything)
    for id in ("@x", "", "a/b", "*", "$*", "\0", "\ud800"):  # noqa: A001
        own = Heard()
        with bus.subscribe(keys.instance("Todo", id), own):
            await bus.publish(event(id))
        assert [e.aggregate_id for e in own.events()] == [id]
    assert len(everything) == 7


@pytest.mark.parametrize("expr", ["**", "events/**", "events/Todo/**", "events/*/1/**", "events/T$*/*/3"])
async def test_a_wild_publication_reaches_all_whom_it_meets(bus: Bus, expr: str) -> None:
    near, far, other = Heard(), Heard(), Heard()
    bus.subscribe("events/Todo/1/**", near)
    bus.subscribe("events/*/1/3", far)
    bus.subscribe("lake/sales/**", other)
    await bus.invalidate(expr)
    assert [type(signal) for signal in near + far] == [Change, Change]
    assert {signal.key for signal in near + far} == {expr}
    assert len(other) == (expr == "**")


async def test_a_change_needs_no_wildcard_and_must_be_a_key_expression(bus: Bus) -> None:
    heard = Heard()
    bus.subscribe("lake/sales/**", heard)
    await bus.invalidate(KeyExpr("lake/sales/main/orders"))
    await bus.invalidate("lake/**/*")
    assert [signal.key for signal in heard] == ["lake/sales/main/orders", "lake/*/**"]
    with pytest.raises(KeyExprError):
        await bus.invalidate("lake//x")
    with pytest.raises(EventError):
        await bus.publish("events/Todo/1")  # type: ignore[arg-type]


async def test_one_handler_may_be_subscribed_twice_and_hears_twice(bus: Bus) -> None:
    heard = Heard()
    one = bus.subscribe("events/**", heard)
    bus.subscribe("events/**", heard)
    await bus.publish(event())
    one.close()
    await bus.publish(event())
    assert len(heard) == 3


# Sequences, order, tokens


async def test_an_event_without_sequence_gets_one_that_grows_per_aggregate(bus: Bus) -> None:
    heard = Heard()
    bus.subscribe("events/**", heard)
    for id in "1121":  # noqa: A001
        await bus.publish(event(id))
    await bus.publish(event("1", "Note"))
    got = [(e.aggregate_type, e.aggregate_id, e.sequence) for e in heard.events()]
    assert got == [("Todo", "1", 1), ("Todo", "1", 2), ("Todo", "2", 1), ("Todo", "1", 3), ("Note", "1", 1)]
    assert [e.key for e in heard.events()][3] == "events/Todo/1/3"


async def test_a_given_sequence_is_kept_and_grown_past(bus: Bus) -> None:
    heard = Heard()
    bus.subscribe("events/**", heard)
    for sequence in (None, 40, None, 7, None):
        await bus.publish(event(sequence=sequence))
    assert [e.sequence for e in heard.events()] == [1, 40, 41, 7, 42]


async def test_the_event_that_was_handed_in_is_not_changed(bus: Bus) -> None:
    mine = event()
    await bus.publish(mine)
    assert mine.sequence is None


async def test_tokens_grow_and_are_heard(bus: Bus) -> None:
    tokens = [await bus.publish(event()), await bus.invalidate("events/**"), await bus.publish(event("2", "Note"))]
    for earlier, later in pairwise(tokens):
        assert earlier.positions
        assert not later <= earlier
    for token in tokens:
        assert Token(positions=token.positions) <= bus.heard()
        assert Token.parse(str(token)) == token
    beyond = Token(positions={lane: number + 1 for lane, number in tokens[-1].positions.items()})
    assert not beyond <= bus.heard()


async def test_what_a_handler_publishes_comes_after_what_it_handles(bus: Bus) -> None:
    order: list[tuple[str, int | None]] = []
    inner: list[bool] = []

    def first(signal: Signal) -> None:
        assert isinstance(signal, Event)
        order.append(("first", signal.sequence))
        if signal.sequence == 1:
            token = bus.publish_nowait(event())
            inner.append(Token(positions=token.positions) <= bus.heard())

    def second(signal: Signal) -> None:
        assert isinstance(signal, Event)
        order.append(("second", signal.sequence))

    bus.subscribe("events/Todo/**", first)
    bus.subscribe("events/Todo/**", second)
    await bus.publish(event())
    for name in ("first", "second"):
        assert [sequence for who, sequence in order if who == name] == [1, 2]
    assert inner == [False]


async def test_publishing_in_a_circle_takes_no_stack(bus: Bus) -> None:
    heard = Heard()

    def again(signal: Signal) -> None:
        heard(signal)
        if len(heard) < 5_000:
            bus.publish_nowait(event(str(len(heard) % 3)))

    with bus.subscribe("events/**", again):
        await bus.publish(event())
        assert len(heard) == 5_000


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run ``work(0…count-1)`` at once; fail on what any of them raised, or on a deadlock."""
    start, failures = threading.Barrier(count), []

    def run(number: int) -> None:
        try:
            start.wait(30)
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "deadlock"
    assert not failures


async def test_publishers_of_one_aggregate_keep_their_order(bus: Bus) -> None:
    heard = Heard()
    bus.subscribe("events/Todo/**", heard)

    def publish(number: int) -> None:
        for count in range(300):
            bus.publish_nowait(event("x", payload=[number, count]))

    await asyncio.to_thread(in_threads, 6, publish)
    assert sorted(e.sequence or 0 for e in heard.events()) == list(range(1, 1801))
    for number in range(6):
        mine = [e for e in heard.events() if e.payload[0] == number]
        assert [e.payload[1] for e in mine] == list(range(300))
        assert [e.sequence for e in mine] == sorted(e.sequence or 0 for e in mine)


async def test_publish_in_a_thread_returns_after_its_own_event_was_handled(bus: Bus) -> None:
    seen: set[object] = set()
    bus.subscribe("events/**", lambda signal: seen.add(signal.payload) if isinstance(signal, Event) else None)

    def publish(number: int) -> None:
        for count in range(200):
            mark = f"{number}:{count}"
            token = bus.publish_nowait(event(str(number), payload=mark))
            assert mark in seen
            assert Token(positions=token.positions) <= bus.heard()

    await asyncio.to_thread(in_threads, 6, publish)


async def test_handlers_that_publish_to_each_other_from_many_threads_do_not_deadlock(bus: Bus) -> None:
    heard = Heard()

    def answer(type: str) -> Callable[[Signal], None]:  # noqa: A002
        def handler(signal: Signal) -> None:
            heard(signal)
            if isinstance(signal, Event) and signal.payload:
                bus.publish_nowait(event("x", type, payload=signal.payload - 1))

        return handler

    bus.subscribe("events/A/**", answer("B"))
    bus.subscribe("events/B/**", answer("A"))

    def publish(number: int) -> None:
        for _ in range(50):
            bus.publish_nowait(event("x", "AB"[number % 2], payload=4))

    await asyncio.to_thread(in_threads, 4, publish)
    assert Counter(e.payload for e in heard.events()) == dict.fromkeys(range(5), 200)


# Subscribing


async def test_subscribing_is_in_effect_at_once_and_closing_too(bus: Bus) -> None:
    heard = Heard()
    subscription = bus.subscribe("events/**/*", heard)
    assert (subscription.expr, subscription.closed) == ("events/*/**", False)
    await bus.publish(event())
    subscription.close()
    subscription.close()
    await bus.publish(event())
    assert subscription.closed
    assert len(heard) == 1
    with bus.subscribe("events/**", heard) as other:
        await bus.publish(event())
    assert other.closed
    await bus.publish(event())
    assert len(heard) == 2
    assert bus.stats().subscriptions == 0
    with pytest.raises(KeyExprError):
        bus.subscribe("events//x", heard)


async def test_a_handler_may_subscribe_and_unsubscribe(bus: Bus) -> None:
    late, once, silenced = Heard(), Heard(), Heard()

    def handler(signal: Signal) -> None:
        once(signal)
        own.close()
        bus.subscribe("events/**", late)

    own = bus.subscribe("events/**", handler)
    await bus.publish(event())
    assert not late.doubts()
    before = len(late)  # whether a newcomer hears of the signal under way is not promised
    await bus.publish(event())
    assert len(once) == 1
    assert len(late) == before + 1

    victims = [bus.subscribe("events/**", silenced) for _ in range(2)]

    def killer(signal: Signal) -> None:
        for victim in victims:
            victim.close()

    bus.subscribe("events/**", killer)
    await bus.publish(event())
    count = len(silenced)
    await bus.publish(event())
    assert len(silenced) == count


async def test_a_subscription_closed_by_an_earlier_handler_hears_no_more_of_that_signal(bus: Bus) -> None:
    closer, heard = Heard(), Heard()
    subscriptions = [bus.subscribe("events/**", lambda signal: (closer(signal), subscriptions[1].close()))]  # type: ignore[func-returns-value]
    subscriptions.append(bus.subscribe("events/**", heard))
    await bus.publish(event())
    assert len(closer) == 1
    if isinstance(bus, LocalBus):  # it calls in the order of subscription
        assert not heard


async def test_subscribing_from_many_threads_while_publishing_loses_nothing(bus: Bus) -> None:
    steady = Heard()
    bus.subscribe("events/**", steady)

    def work(number: int) -> None:
        for count in range(150):
            own = Heard()
            with bus.subscribe(f"events/Todo/{number}-{count}/**", own):
                bus.publish_nowait(event(f"{number}-{count}"))
            assert len(own) == 1

    await asyncio.to_thread(in_threads, 6, work)
    assert len(steady) == 900
    assert bus.stats().subscriptions == 1


# Handlers that fail


async def test_a_failing_handler_gets_a_doubt_and_breaks_nobody(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    before, failing, after = Heard(), Failing(), Heard()
    for handler in (before, failing, after):
        bus.subscribe("events/**", handler)
    await bus.publish(event())
    assert len(before.events()) == len(after.events()) == 1
    assert not before.doubts() + after.doubts()
    (doubt,) = failing.doubts()
    assert doubt.scope.includes(failing.events()[0].key)
    assert "RuntimeError" in doubt.reason
    assert bus.stats().failed >= 1
    assert any(record.exc_info for record in caplog.records)


async def test_a_doubt_that_was_not_taken_is_owed_until_it_is(bus: Bus) -> None:
    failing = Failing()
    subscription = bus.subscribe("events/Todo/**", failing)
    await bus.publish(event("1"))
    failing.clear()
    failing.error = None
    await bus.publish(event("2"))
    first, second = failing
    assert isinstance(first, Doubt)
    assert first.scope == subscription.expr
    assert isinstance(second, Event)
    await bus.publish(event("3"))
    assert len(failing.doubts()) == 1


async def test_an_exit_out_of_a_handler_reaches_the_publisher_and_the_others_hear(bus: Bus) -> None:
    failing, after = Failing(), Heard()
    failing.error = KeyboardInterrupt()
    bus.subscribe("events/**", failing)
    bus.subscribe("events/**", after)
    caught: list[BaseException] = []

    def publish() -> None:
        try:
            bus.publish_nowait(event())
        except BaseException as error:
            caught.append(error)

    await asyncio.to_thread(publish)
    assert [type(error) for error in caught] == [KeyboardInterrupt]
    assert len(after.events()) == 1
    assert len(failing.doubts()) == 1
    failing.error = None
    await bus.publish(event())
    assert [e.sequence for e in after.events()] == [1, 2]


async def test_a_publication_that_is_refused_in_a_handler_leaves_the_bus_working(bus: Bus) -> None:
    def handler(signal: Signal) -> None:
        if isinstance(signal, Event):
            bus.invalidate_nowait("not//an/expression")

    heard = Heard()
    bus.subscribe("events/**", handler)
    bus.subscribe("events/**", heard)
    await bus.publish(event())
    await bus.publish(event())
    assert len(heard.events()) == 2
    assert bus.stats().failed == 2


# Reaching, and what it cannot vouch for


async def test_what_was_published_here_is_reached_at_once(bus: Bus) -> None:
    for token in (await bus.publish(event()), await bus.invalidate("a/**"), Token()):
        await bus.reached(token, timeout=0.0)


async def test_what_nobody_published_is_not_reached(bus: Bus) -> None:
    token = await bus.publish(event())
    beyond = Token(positions={lane: number + 1 for lane, number in token.positions.items()})
    for never in (beyond, Token(positions={"elsewhere.1/Todo": 1}), Token(positions={"x": 1})):
        with pytest.raises(BusyError, match="did not hear"):
            await bus.reached(never, timeout=0.01)


async def test_reaching_waits_across_loops_and_threads(bus: Bus) -> None:
    token = await bus.publish(event())
    (lane,) = token.positions
    wanted = Token(positions={lane: token.positions[lane] + 20})
    waiting = [asyncio.create_task(bus.reached(wanted, timeout=60)) for _ in range(3)]
    elsewhere = asyncio.create_task(asyncio.to_thread(asyncio.run, bus.reached(wanted, timeout=60)))
    waiting[0].cancel()
    await asyncio.sleep(0)
    assert not waiting[1].done()
    await asyncio.to_thread(lambda: [bus.publish_nowait(event()) for _ in range(20)])
    await asyncio.gather(*waiting[1:], elsewhere)
    assert waiting[0].cancelled()


async def test_waiting_ends_when_the_bus_closes(make_bus: Callable[[], Bus]) -> None:
    bus = await opened(make_bus)
    waiting = asyncio.create_task(bus.reached(Token(positions={"elsewhere.1/Todo": 1}), timeout=60))
    await asyncio.sleep(0)
    await bus.close()
    with pytest.raises(ClosedError):
        await waiting


async def test_a_bus_that_lost_nothing_is_not_blind(bus: Bus) -> None:
    bus.subscribe("events/Todo/**", Heard())
    await bus.publish(event())
    assert bus.blind() == frozenset()


# Stats and closing


async def test_stats_count_and_are_frozen(bus: Bus) -> None:
    bus.subscribe("events/**", Heard())
    bus.subscribe("events/Todo/**", Heard())
    await bus.publish(event())
    await bus.publish(event("1", "Note"))
    await bus.invalidate("events/Note/**")
    stats = bus.stats()
    assert (stats.published, stats.delivered, stats.failed, stats.doubts) == (3, 4, 0, 0)
    assert (stats.subscriptions, stats.closed) == (2, False)
    with pytest.raises(FrozenInstanceError):
        stats.published = 5  # type: ignore[misc]


async def test_a_closed_bus_leaves_a_doubt_and_refuses(make_bus: Callable[[], Bus]) -> None:
    bus = await opened(make_bus)
    kept, gone, failing = Heard(), Heard(), Failing()
    bus.subscribe("events/**", failing)
    subscription = bus.subscribe("events/Todo/**", kept)
    bus.subscribe("events/**", gone).close()
    token = await bus.publish(event())
    await bus.close()
    await bus.close()
    (last,) = kept.doubts()
    assert last.scope == subscription.expr
    assert kept[-1] is last
    assert not gone
    assert subscription.closed
    subscription.close()
    for use in (
        lambda: bus.publish_nowait(event()),
        lambda: bus.invalidate_nowait("a"),
        lambda: bus.subscribe("a", kept),
    ):
        with pytest.raises(ClosedError):
            use()
    with pytest.raises(ClosedError):
        await bus.publish(event())
    with pytest.raises(ClosedError):
        await bus.invalidate("events/**")
    assert bus.stats().closed
    assert bus.stats().subscriptions == 0
    assert Token(positions=token.positions) <= bus.heard()


async def test_async_with_closes_also_after_an_error(make_bus: Callable[[], Bus]) -> None:
    bus = make_bus()

    async def fail() -> None:
        async with bus as entered:
            assert entered is bus
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert bus.stats().closed


async def test_many_loops_may_share_one_bus(bus: Bus) -> None:
    heard = Heard()
    bus.subscribe("events/**", heard)

    def work(number: int) -> None:
        async def publish_some() -> None:
            for _ in range(100):
                await bus.publish(event(str(number)))

        asyncio.run(publish_some())

    await asyncio.to_thread(in_threads, 4, work)
    assert len(heard) == 400
