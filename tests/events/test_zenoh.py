"""ZenohBus between nodes: two buses in this process, a real router in another."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

pytest.importorskip("zenoh", reason="the extra livelake[zenoh] is not installed")

import zenoh

from events.through import Router, until
from livelake import AnalyticsCache, CacheInvalidator, keys
from livelake.errors import BusyError, ClosedError, SourceError, UsageError
from livelake.events import Change, Doubt, Event, Signal, ZenohBus
from livelake.events.codec import encode
from livelake.keys import KeyExpr
from livelake.token import Token


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    started = Router()
    yield started
    started.kill()


@pytest.fixture
def connected(router: Router) -> Callable[..., ZenohBus]:
    return lambda **more: ZenohBus(connect=[router.endpoint], **more)


def event(id: str = "1", type: str = "Todo", **more: Any) -> Event:  # noqa: A002
    return Event(aggregate_type=type, aggregate_id=id, event_type="Done", **more)


class Heard(list[Signal]):
    def __call__(self, signal: Signal) -> None:
        self.append(signal)

    def events(self) -> list[Event]:
        return [signal for signal in self if isinstance(signal, Event)]

    def doubts(self) -> list[Doubt]:
        return [signal for signal in self if isinstance(signal, Doubt)]


async def acquainted(*buses: ZenohBus) -> None:
    """Wait until each has heard of all the others, and none is blind."""
    await until(lambda: all(bus.stats().sources >= len(buses) - 1 and not bus.blind() for bus in buses))


class Stranger:
    """A bare Zenoh session at the same router, that puts what it likes."""

    def __init__(self, router: Router) -> None:
        config = zenoh.Config()
        for key, value in {
            "mode": '"client"',
            "connect/endpoints": f'["{router.endpoint}"]',
            "scouting/multicast/enabled": "false",
        }.items():
            config.insert_json5(key, value)
        self.session = zenoh.open(config)

    def put(self, key: str, payload: bytes = b"", tag: bytes | None = None) -> None:
        self.session.put(key, payload, attachment=tag, congestion_control=zenoh.CongestionControl.BLOCK)


@pytest.fixture
def stranger(router: Router) -> Iterator[Stranger]:
    made = Stranger(router)
    yield made
    made.session.close()


# Between nodes


async def test_events_arrive_elsewhere_as_they_are_and_in_order(connected: Callable[..., ZenohBus]) -> None:
    async with connected() as near, connected() as far:
        heard = Heard()
        far.subscribe("events/**", heard)
        await acquainted(near, far)
        sent = event("a/b", payload={"n": [1, None, "é"]}, origin="here")
        token = await near.publish(sent)
        for number in range(500):
            token |= await near.publish(event(str(number % 3), payload=number))
        await far.reached(token)
        assert heard[0] == sent.numbered(1)
        for aggregate in "012":
            mine = [e.sequence or 0 for e in heard.events() if e.aggregate_id == aggregate]
            assert mine == list(range(1, len(mine) + 1))
        assert len(heard.events()) == 501
        assert not heard.doubts()
        assert Token(positions=token.positions) <= far.heard()


@pytest.mark.parametrize("id", ["@x", "", "a/b", "*", "$*", "#?", "\0", "\ud800", "é" * 100])
async def test_ids_of_any_text_cross_the_wire(connected: Callable[..., ZenohBus], id: str) -> None:  # noqa: A002
    async with connected() as near, connected() as far:
        own, other = Heard(), Heard()
        far.subscribe(keys.instance("Todo", id), own)
        far.subscribe(keys.instance("Todo", "other"), other)
        await acquainted(near, far)
        await far.reached(await near.publish(event(id)))
        assert [e.aggregate_id for e in own.events()] == [id]
        assert not other


async def test_a_wild_change_reaches_every_node_and_every_subscription(connected: Callable[..., ZenohBus]) -> None:
    async with connected() as near, connected() as far, connected() as third:
        one, two, lake, none = Heard(), Heard(), Heard(), Heard()
        far.subscribe("events/Todo/1/**", one)
        third.subscribe("events/*/1/*", two)
        third.subscribe("lake/sales/**", lake)
        far.subscribe("files/**", none)
        await acquainted(near, far, third)
        token = await near.invalidate("events/T$*/**")
        token |= await near.invalidate("lake/**")
        await far.reached(token)
        await third.reached(token)
        assert [signal.key for signal in one] == [signal.key for signal in two] == ["events/T$*/**"]
        assert [(type(signal), signal.key) for signal in lake] == [(Change, "lake/**")]
        assert not none


async def test_routers_send_only_the_lanes_that_are_wanted(connected: Callable[..., ZenohBus]) -> None:
    async with connected() as near, connected() as far:
        heard, late = Heard(), Heard()
        far.subscribe("events/Todo/7/**", heard)
        await acquainted(near, far)
        token = Token()
        for number in range(50):
            token |= await near.publish(event(str(number), "User"))
            token |= await near.publish(event(str(number), "Todo"))
        await far.reached(token)  # of the lane that it does not hear it knows by heartbeats
        assert far.stats().received == 50
        assert len(heard) == 1
        with far.subscribe("events/User/**", late):
            await until(lambda: not far.blind())
            await far.reached(await near.publish(event("x", "User")))
            assert [e.aggregate_id for e in late.events()] == ["x"]
        assert far.health()["listens_to"] == ["events/Todo/**"]
        with far.subscribe("events/*/x/**", late):
            assert far.health()["listens_to"] == ["events/**"]


async def test_many_types_are_heard_as_all_and_nothing_is_lost_in_between(connected: Callable[..., ZenohBus]) -> None:
    async with connected() as near, connected() as far:
        heard = Heard()
        await acquainted(near, far)
        for number in range(40):
            far.subscribe(f"events/T{number}/**", heard)
        assert far.health()["listens_to"] == ["events/**"]
        await until(lambda: not far.blind())
        token = Token()
        for number in range(40):
            token |= await near.publish(event(type=f"T{number}"))
        await far.reached(token)
        assert {e.aggregate_type for e in heard.events()} == {f"T{number}" for number in range(40)}


async def test_a_cache_elsewhere_is_invalidated(connected: Callable[..., ZenohBus]) -> None:
    cache: AnalyticsCache[str] = AnalyticsCache()
    async with connected() as near, connected() as far, CacheInvalidator(cache, far):
        await acquainted(near, far)
        cache.insert("a", "A", depends_on=["events/Todo/1/**"])
        cache.insert("b", "B", depends_on=["events/Todo/2/**"])
        await far.reached(await near.publish(event("1")))
        assert cache.get("a") is None
        assert cache.get("b") is not None


# Losses


async def test_i4_a_router_that_dies_blinds_and_what_was_lost_is_doubted() -> None:
    router = Router()
    cache: AnalyticsCache[str] = AnalyticsCache()
    try:
        async with (
            ZenohBus(connect=[router.endpoint]) as near,
            ZenohBus(connect=[router.endpoint]) as far,
            CacheInvalidator(cache, far),
        ):
            await acquainted(near, far)
            cache.insert("a", "A", depends_on=["events/Todo/1/**"])
            router.kill()
            await until(far.blind)
            await until(lambda: cache.get("a") is None)
            token = await near.publish(event("1"))
            router.start()
            await until(lambda: not far.blind() and not near.blind())
            await far.reached(token, timeout=30)
            await acquainted(near, far)
            assert far.stats().flushes.keys() & {"link-lost", "token-lost"}
            assert cache.get("a") is None
            await far.reached(await near.publish(event("1")), timeout=30)
    finally:
        router.kill()


async def test_i4_a_frozen_router_is_noticed_by_silence_alone() -> None:
    router = Router()
    try:
        async with ZenohBus(connect=[router.endpoint]) as near, ZenohBus(connect=[router.endpoint]) as far:
            heard = Heard()
            far.subscribe("events/**", heard)
            await acquainted(near, far)
            with router.frozen():
                await until(far.blind)
                assert "silent" in far.stats().flushes
                assert heard.doubts()
            await until(lambda: not far.blind())
    finally:
        router.kill()


async def test_a_publisher_that_says_goodbye_blinds_nobody(connected: Callable[..., ZenohBus]) -> None:
    async with connected() as far:
        heard = Heard()
        far.subscribe("events/**", heard)
        async with connected() as near:
            await acquainted(near, far)
            token = await near.publish(event())
        await until(lambda: not far.stats().sources)
        await far.reached(token)
        assert not far.blind()
        assert [type(signal) for signal in heard] == [Event]


async def test_a_flood_of_the_inbox_is_one_overflow_and_a_doubt(connected: Callable[..., ZenohBus]) -> None:
    go = threading.Event()
    heard = Heard()

    def slow(signal: Signal) -> None:
        heard(signal)
        assert go.wait(60)

    async with connected() as near, connected(inbox=50) as far:
        far.subscribe("events/**", slow)
        await acquainted(near, far)
        tokens = [await near.publish(event(str(number))) for number in range(2_000)]
        await until(lambda: len(far._inbound.box) >= 50)
        await until(lambda: near.stats().outbox == 0)
        go.set()
        await far.reached(tokens[-1], timeout=30)
        assert far.stats().overflows >= 1
        assert any(doubt.reason == "overflow" for doubt in heard.doubts())
        assert len(heard.doubts()) <= 10
        await far.reached(await near.publish(event("after")), timeout=30)
        assert heard.events()[-1].aggregate_id == "after"


async def test_a_full_outbox_has_publish_wait_and_nowait_raise(connected: Callable[..., ZenohBus]) -> None:
    async with connected(outbox=5) as bus:
        assert bus._outbound is not None
        stuck, go = threading.Event(), threading.Event()
        put = bus._outbound._put

        def slow(*arguments: Any) -> None:
            stuck.set()
            assert go.wait(60)
            put(*arguments)

        bus._outbound._put = slow
        heard = Heard()
        bus.subscribe("events/**", heard)
        assert await asyncio.to_thread(stuck.wait, 30)
        for _ in range(5):
            bus.publish_nowait(event())
        with pytest.raises(BusyError):
            bus.publish_nowait(event())
        waiting = [asyncio.create_task(bus.publish(event())), asyncio.create_task(bus.invalidate("events/**"))]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.wait([waiting[1]])
        assert len(heard) == 5
        go.set()
        await waiting[0]
        assert len(heard) == 6


# Strangers


async def test_strange_messages_are_answered_with_doubt_and_service_goes_on(
    connected: Callable[..., ZenohBus], stranger: Stranger, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected() as near, connected() as far:
        heard = Heard()
        far.subscribe("events/**", heard)
        await acquainted(near, far)
        tag = near._tagger.tag(1)
        for number, (key, payload, attached) in enumerate(
            [
                ("events/Todo/1", b'{"any": "thing"}', None),  # a companion's own shape
                ("events/Todo/1/5", encode(event("1", sequence=5)), None),  # no number
                ("events/**", b"", None),  # wild
                ("events/Todo/1/\u202ex\n", b"\xff\xfe", None),
                ("events/Todo/1/6", b"\xff\xfe not utf-8", b"short"),
                ("events/Odd/1/1", b"garbage", tag),  # numbered, and not to be read
                ("events/Other/1/1", encode(event("1", sequence=5)), tag),  # another's event
                ("events/Todo/9/9", b"[" * 100_000, None),
                ("events/" + "k" * 60_000, b"", None),
                ("livelake/change/x", b"not//an/expression", None),
                ("livelake/heartbeat/x", b'{"heads": {"a b": -1}}', tag),
                ("livelake/heartbeat/x", b"{", None),
            ],
            1,
        ):
            stranger.put(key, payload, attached)
            await until(lambda wanted=number: far.stats().undecodable >= wanted)
        await until(lambda: len(heard.doubts()) >= 10)
        assert {signal.key for signal in heard} >= {"events/Todo/1", "events/**", "events/Todo/1/5"}
        assert [e.sequence for e in heard.events()] == [5]
        strange = [record.getMessage() for record in caplog.records if "not one of livelake's" in record.message]
        assert 1 <= len(strange) <= 3
        assert all(len(line) < 500 and line.isascii() for line in strange)
        heard.clear()
        await far.reached(await near.publish(event("fine")), timeout=30)
        assert [e.aggregate_id for e in heard.events()] == ["fine"]


async def test_a_huge_payload_is_let_go_and_doubted(connected: Callable[..., ZenohBus], stranger: Stranger) -> None:
    async with connected() as near, connected() as far:
        heard = Heard()
        far.subscribe("events/**", heard)
        await acquainted(near, far)
        stranger.put("events/Todo/1/1", bytes(3_000_000))  # the session takes 4 MiB, an event has 1
        await until(lambda: any(doubt.reason == "undecodable" for doubt in heard.doubts()))
        await far.reached(await near.publish(event("fine")), timeout=30)


async def test_a_payload_that_no_node_takes_in_stops_nobody() -> None:
    router = Router()
    stranger = Stranger(router)
    try:
        async with ZenohBus(connect=[router.endpoint]) as near, ZenohBus(connect=[router.endpoint]) as far:
            heard = Heard()
            far.subscribe("events/**", heard)
            await acquainted(near, far)
            stranger.put("events/Todo/1/1", bytes(64_000_000))
            await far.reached(await near.publish(event("fine")), timeout=30)
            assert [e.aggregate_id for e in heard.events()] == ["fine"]
    finally:
        stranger.session.close()
        router.kill()


async def test_a_forged_number_hides_nothing_for_long(connected: Callable[..., ZenohBus], stranger: Stranger) -> None:
    async with connected() as near, connected() as far:
        heard = Heard()
        far.subscribe("events/**", heard)
        await acquainted(near, far)
        await far.reached(await near.publish(event()))
        stranger.put("events/Todo/1/9", encode(event("1", sequence=9)), near._tagger.tag(10**12))
        await until(lambda: "gap" in far.stats().flushes)
        await until(lambda: "reset" in far.stats().flushes)
        await far.reached(await near.publish(event()), timeout=30)


# Opening and closing


async def test_before_and_after_it_is_open_it_refuses(connected: Callable[..., ZenohBus]) -> None:
    bus = connected(node="me")
    assert "not open" in repr(bus)
    for use in (lambda: bus.publish_nowait(event()), lambda: bus.subscribe("a", Heard())):
        with pytest.raises(ClosedError):
            use()
    async with bus:
        assert bus.health()["connected"] == 1
        with pytest.raises(UsageError):
            await bus.open()
    with pytest.raises(ClosedError):
        bus.publish_nowait(event())
    await bus.close()


async def test_closing_in_a_handler_is_refused_in_each_thread(connected: Callable[..., ZenohBus]) -> None:
    refused: list[BaseException] = []
    async with connected() as near, connected() as far:

        def handler(signal: Signal) -> None:
            try:
                far.close().send(None)  # type: ignore[attr-defined]
            except UsageError as error:
                refused.append(error)

        far.subscribe("events/**", handler)
        await acquainted(near, far)
        await far.publish(event())
        await far.reached(await near.publish(event()))
        assert len(refused) == 2


async def test_nobody_there_is_an_error_that_says_where() -> None:
    started = time.monotonic()
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:9"):
        await ZenohBus(connect=["tcp/127.0.0.1:9"], timeout=0.5).open()
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    "wrong",
    [
        {"connect": "tcp/127.0.0.1:1"},
        {"heartbeat": 0.5},
        {"inbox": 0},
        {"node": "a.b"},
        {"node": ""},
        {"mode": "peer", "connect": ["tcp/127.0.0.1:1"]},
        {"mode": "client"},
    ],
)
def test_what_cannot_work_is_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ZenohBus(**wrong)


async def test_opening_can_be_cancelled() -> None:
    opening = asyncio.create_task(ZenohBus(connect=["tcp/10.255.255.1:9"], timeout=2.0).open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening


async def test_tokens_name_the_node_and_the_lane() -> None:
    async with ZenohBus(node="api-1") as bus:
        (lane,) = (await bus.publish(event("x", "My Type"))).positions
        assert lane.startswith("api-1.")
        assert lane.endswith("/My%20Type")
        tokens = [await bus.publish(event()) for _ in range(3)]
        assert all(earlier <= later for earlier, later in pairwise(tokens))
        assert isinstance(KeyExpr("events/**"), str)
