"""What the rig found, each as small as it gets; all failed before."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from events.through import until
from livelake.events import frames
from livelake.events.lanes import Lanes
from livelake.events.outbound import Outbound, Parcel

SILENCE, PATIENCE = 0.35, 1.55


def test_i4_a_source_is_not_forgotten_for_a_silence_of_our_own_link() -> None:
    """After an outage of the router we may be back before a publisher is: it publishes, and nobody hears of it."""
    lanes = Lanes(silence=SILENCE, grace=0.05, patience=PATIENCE)
    lanes.heartbeat("p.1", {"Todo": 1}, 0.0)
    lanes.link_lost(0.1, alone=True)
    for tenth in range(2, 50):
        lanes.tick(tenth / 10)
    assert "p.1" in lanes.sources
    lanes.link_back()
    assert lanes.blind(), "it may be publishing"
    lanes.tick(5.0)
    lanes.tick(5.0 + PATIENCE - 0.2)
    assert lanes.blind()
    assert [doubt.reason for doubt in lanes.tick(5.0 + PATIENCE + 0.2)] == ["forgotten"]
    assert not lanes.blind()


class Wire:
    """Takes a heartbeat at once, and an event when it is let."""

    def __init__(self) -> None:
        self.let = threading.Semaphore(0)
        self.heartbeats: list[frames.Heartbeat] = []

    def put(self, key: str, payload: bytes, tag: bytes) -> None:
        if key.startswith("events/"):
            assert self.let.acquire(timeout=60)
        else:
            self.heartbeats.append(frames.read_heartbeat(payload))


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.let.release(1000)


def outbound(wire: Wire, numbers: dict[str, int]) -> Outbound:
    return Outbound(
        frames.Tagger("p", 1),
        wire.put,
        heartbeat=0.01,
        most_items=1000,
        at_exit=lambda: None,
        numbered=lambda: dict(numbers),
    )


def publish(out: Outbound, numbers: dict[str, int], count: int) -> None:
    for _ in range(count):
        numbers["Todo"] = number = numbers.get("Todo", 0) + 1
        out.box.put(Parcel(f"events/Todo/1/{number}", b"", b"", "Todo", number))


async def test_i4_a_heartbeat_tells_of_what_has_waited_for_the_wire(wire: Wire) -> None:
    """A wire that is slower than who publishes: what waits is unheard of, and heartbeats are on time."""
    numbers: dict[str, int] = {}
    out = outbound(wire, numbers)
    publish(out, numbers, 100)
    out.start()
    try:

        def told() -> bool:
            wire.let.release()
            return any(heartbeat.heads.get("Todo") == 100 for heartbeat in wire.heartbeats)

        await until(told, 5.0)
        assert len(out.box) > 50
    finally:
        wire.let.release(1000)
        assert out.stop(30.0)


async def test_i4_a_goodbye_tells_of_what_did_not_leave_in_time(wire: Wire) -> None:
    numbers: dict[str, int] = {}
    out = outbound(wire, numbers)
    publish(out, numbers, 100)
    out.start()
    await until(lambda: wire.heartbeats)
    out.stop(0.0)
    wire.let.release(3)
    await until(lambda: wire.heartbeats[-1].bye)
    assert len(out.box) > 50
    assert wire.heartbeats[-1].heads == {"Todo": 100}
