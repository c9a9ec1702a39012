"""What LocalBus promises beyond the contract."""

from __future__ import annotations

import asyncio
import threading

import pytest

from livelake.errors import EventError, UsageError
from livelake.events import Change, Doubt, Event, LocalBus, Signal
from livelake.events.event import MAX_SEQUENCE
from livelake.keys import KeyExpr
from livelake.testing import RecordingBus


def event(id: str = "1", sequence: int | None = None) -> Event:  # noqa: A002
    return Event(aggregate_type="Todo", aggregate_id=id, event_type="Done", sequence=sequence)


def test_handlers_run_one_at_a_time_in_one_order_for_all() -> None:
    bus = LocalBus()
    inside = 0
    logs: list[list[str]] = [[], [], []]

    def handler(log: list[str]) -> None:
        def called(signal: Signal) -> None:
            nonlocal inside
            inside += 1
            assert inside == 1
            log.append(signal.key)
            inside -= 1

        bus.subscribe("events/**", called)

    for log in logs:
        handler(log)
    threads = [
        threading.Thread(target=lambda n=n: [bus.publish_nowait(event(str((n, i)))) for i in range(200)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(logs[0]) == 800
    assert logs[0] == logs[1] == logs[2]
    assert bus.stats().failed == 0


def test_handlers_are_called_in_the_order_of_subscription() -> None:
    bus = LocalBus()
    order: list[int] = []
    for number in range(50):
        bus.subscribe("events/**" if number % 2 else "**", lambda _, number=number: order.append(number))
    bus.publish_nowait(event())
    assert order == list(range(50))


def test_a_forgotten_aggregate_goes_on_past_what_was_forgotten() -> None:
    bus = LocalBus(remembered=2)
    heard: list[tuple[str, int | None]] = []
    bus.subscribe("**", lambda signal: heard.append((signal.aggregate_id, signal.sequence)))  # type: ignore[union-attr]
    for id in "aaabcda":  # noqa: A001
        bus.publish_nowait(event(id))
    mine = [sequence for id, sequence in heard if id == "a"]  # noqa: A001
    assert mine == sorted(set(mine))
    assert len(bus._sequences._last) == 2


def test_an_absurd_sequence_spoils_only_its_own_aggregate() -> None:
    bus = LocalBus(remembered=1)
    bus.publish_nowait(event("a", MAX_SEQUENCE))
    with pytest.raises(EventError, match="used up"):
        bus.publish_nowait(event("a"))
    bus.publish_nowait(event("b"))
    bus.publish_nowait(event("c"))
    assert bus.stats().published == 3


def test_a_signal_that_was_interrupted_is_delivered_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = LocalBus()
    heard: list[KeyExpr] = []
    bus.subscribe("**", lambda signal: heard.append(signal.key))

    def interrupted(key: KeyExpr) -> set[object]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(bus._delivery._tree), "match", lambda tree, key: interrupted(key))
        with pytest.raises(KeyboardInterrupt):
            bus.publish_nowait(event("a"))
    assert not heard
    bus.publish_nowait(event("b"))
    assert heard == ["events/Todo/a/1", "events/Todo/b/1"]


async def test_closing_inside_a_handler_is_refused() -> None:
    bus = LocalBus()
    refused: list[BaseException] = []

    def handler(signal: Signal) -> None:
        try:
            bus.close().send(None)  # type: ignore[attr-defined]
        except UsageError as error:
            refused.append(error)

    bus.subscribe("**", handler)
    await bus.publish(event())
    assert len(refused) == 1
    assert not bus.stats().closed


async def test_closing_waits_for_what_is_being_delivered() -> None:
    bus = LocalBus()
    entered, go, order = threading.Event(), threading.Event(), []

    def handler(signal: Signal) -> None:
        if isinstance(signal, Event):
            entered.set()
            assert go.wait(30)
        order.append(type(signal))

    bus.subscribe("**", handler)
    publisher = asyncio.create_task(asyncio.to_thread(bus.publish_nowait, event()))
    assert await asyncio.to_thread(entered.wait, 30)
    closer = asyncio.create_task(asyncio.to_thread(asyncio.run, bus.close()))
    go.set()
    await asyncio.gather(publisher, closer)
    assert order == [Event, Doubt]


def test_subscribing_does_not_wait_for_a_handler() -> None:
    bus = LocalBus()
    entered, go = threading.Event(), threading.Event()

    def handler(signal: Signal) -> None:
        entered.set()
        assert go.wait(30)

    bus.subscribe("**", handler)
    thread = threading.Thread(target=bus.publish_nowait, args=(event(),))
    thread.start()
    assert entered.wait(30)
    bus.subscribe("events/**", handler).close()
    assert bus.stats().subscriptions == 1
    go.set()
    thread.join(30)


def test_a_bus_shows_its_state() -> None:
    bus = LocalBus(source="here")
    bus.subscribe("events/**", print)
    assert repr(bus) == "<LocalBus here: 1 subscriptions, 0 published>"
    assert bus.publish_nowait(event()).positions == {"here": 1}
    with pytest.raises(UsageError):
        LocalBus(remembered=0)


async def test_a_recording_bus_keeps_what_went_in_and_out_and_injects() -> None:
    async with RecordingBus() as bus:
        failures: list[Signal] = []
        bus.subscribe("events/Todo/**", failures.append)
        bus.subscribe("lake/**", failures.append)
        await bus.publish(event())
        await bus.invalidate("lake/sales/**")
        assert bus.published == [event(), Change(KeyExpr("lake/sales/**"))]
        assert [(expr, type(signal)) for expr, signal in bus.delivered] == [
            ("events/Todo/**", Event),
            ("lake/**", Change),
        ]
        assert bus.inject(Doubt(KeyExpr("events/**"), "gap")) == 1
        assert isinstance(failures[-1], Doubt)
