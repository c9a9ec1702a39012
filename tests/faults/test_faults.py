"""One short run of each kind of fault, with real processes: nothing stays stale, nothing crashes, nothing hangs (I4).

The bound is generous here, for machines that are busy; `test_soak` asserts the one that is promised.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("zenoh", reason="the extra livelake[zenoh] is not installed")

from faults.network import network
from faults.rig import Rig, rigged, until
from faults.verdict import Verdict

BOUND = 5.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Rig]]:
    """The rig, for as long as it is in order."""
    kept: list[Rig] = []
    yield kept
    for rig in kept:
        try:
            rig.close()
        finally:
            rig.kill()


@pytest.fixture
def rig(shared: list[Rig], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """One rig for all, since starting processes is what takes the time; another after one that failed."""
    if not shared:
        folder = tmp_path_factory.mktemp("rig")
        shared.append(Rig(folder, bound=BOUND, rate=150.0))
    failed = request.session.testsfailed
    yield shared[0]
    if request.session.testsfailed != failed:
        shared.pop().kill()


def assert_held(found: list[Verdict], *, lost: bool | None = None) -> None:
    (verdict,) = found
    print(verdict.row())
    assert verdict.sent > 10
    assert verdict.late == []
    assert verdict.noticed_at(1.0) <= BOUND
    if lost is not None:
        assert bool(verdict.lost) is lost


def test_i4_without_a_fault_nothing_is_lost_and_nothing_is_doubted(rig: Rig) -> None:
    before = rig.state()["flushes"]
    with rig.watched() as found:
        rig.run(1.0)
    assert_held(found)
    if not found[0].stalled:
        assert not found[0].lost
        assert rig.state()["flushes"] == before


@pytest.mark.parametrize("down", [0.0, 1.5])
def test_i4_a_router_is_killed_and_comes_back(rig: Rig, down: float) -> None:
    with rig.watched() as found:
        rig.restart_router(down)
    assert_held(found, lost=True)


def test_i4_a_router_is_frozen(rig: Rig) -> None:
    with rig.watched() as found:
        rig.freeze_router(1.5)
    assert_held(found)


def test_i4_a_publisher_is_frozen(rig: Rig) -> None:
    with rig.watched() as found:
        rig.freeze_publisher(0, 1.5)
    assert_held(found)


@pytest.mark.parametrize("after", [0, 300])
def test_i4_a_publisher_crashes_and_comes_back_as_another_run(rig: Rig, after: int) -> None:
    """Right after its last publications, too: committed, numbered, and never put on the wire."""
    with rig.watched() as found:
        rig.crash_publisher(0, after=after)
    assert_held(found)


@pytest.mark.parametrize("rate", [5.0, 400.0])
def test_i4_messages_are_lost_repeated_and_reordered(rig: Rig, rate: float) -> None:
    with rig.watched() as found:
        rig.set(drop=0.2, duplicate=0.2, reorder=0.2, rate=rate)
        for each in rig.publishers:
            each.ask("emit", count=20)
        rig.run(1.5)
    assert_held(found, lost=True)


def test_i4_the_last_event_before_a_silence_is_lost(rig: Rig) -> None:
    with rig.watched() as found:
        rig.set(rate=0)
        lose_the_tail(rig)
    assert_held(found, lost=True)


def test_i4_the_wire_is_slower_than_who_publishes(rig: Rig) -> None:
    """Events wait in the outbox for longer than the bound, and heartbeats do not vouch for them."""
    with rig.watched() as found:
        rig.set(slow=0.02)
        rig.run(1.5)
    assert_held(found)
    assert "tail-gap" in {reason for _, _, reason, _ in rig.record.doubts}


def test_i4_a_router_restarts_while_the_outbox_is_full(tmp_path: Path) -> None:
    with rigged(tmp_path, bound=BOUND, publishers=1, outbox=50) as rig, rig.watched() as found:
        rig.set(slow=0.01, rate=800)
        until(lambda: rig.publishers[0].ask("stats")["outbox"] >= 50, "the outbox is full")
        rig.restart_router(0.3)
        until(lambda: rig.publishers[0].ask("stats")["outbox"] >= 50, "the outbox is full again")
        rig.set(slow=0, rate=0)
    assert_held(found)


@pytest.mark.parametrize("name", ["p0", "reader"])
def test_i4_the_network_is_cut_without_a_word(tmp_path: Path, name: str) -> None:
    with network(name) as made, rigged(tmp_path, bound=BOUND, rate=150.0, network=made) as rig:
        with rig.watched() as found:
            rig.cut(name, 1.5)
        assert_held(found, lost=True)


# The rig itself


def lose_the_tail(rig: Rig) -> None:
    rig.emit(10)
    rig.set(lose_next=1)
    for each in rig.publishers:
        each.ask("emit", count=1)


def test_negative_control_without_detection_the_rig_fails(tmp_path: Path) -> None:
    """The scenario of `test_i4_the_last_event_before_a_silence_is_lost`, with a subscriber that sees only holes."""
    with rigged(tmp_path, bound=1.0, wild=0.0, blindfold=True) as rig:
        rig.subscriber.ask("begin")
        lose_the_tail(rig)
        with pytest.raises(AssertionError, match="nothing is stale"):
            rig.settle()
        verdict = rig.verdict()
        assert len(rig.stale()) == len(rig.publishers)
        assert verdict.lost == len(rig.publishers)
        assert verdict.noticed_at(1.0) > 1.0
