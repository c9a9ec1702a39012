"""What a stranger, or a forger, may put on the wire: memory stays bounded, the log is clear, and service goes on.

`tests/events/test_zenoh.py` has what each strange message means; here it is the process that must bear many.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("zenoh", reason="the extra livelake[zenoh] is not installed")

import zenoh

from faults.rig import Rig, rigged, until
from livelake.events import frames
from livelake.events.zenoh_config import session_config

MEBI = 1 << 20
FLOOD = 100_000


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rigged(tmp_path_factory.mktemp("rig"), bound=5.0, publishers=1, wild=0.0, deaf=True) as made:
        made.emit(100)
        yield made


@pytest.fixture(scope="module")
def stranger(rig: Rig) -> Iterator[zenoh.Session]:
    config = session_config([rig.router.endpoint])
    with zenoh.open(zenoh.Config.from_json5(json.dumps(config))) as session:
        yield session


def put(session: zenoh.Session, key: str, payload: bytes = b"", tag: bytes | None = None) -> None:
    session.put(key, payload, attachment=tag, congestion_control=zenoh.CongestionControl.BLOCK)


def settled(rig: Rig) -> None:
    """What is published is heard, and nothing is stale."""
    until(lambda: not rig.state()["inbox"], "the inbox is empty")
    rig.emit(1)
    assert not rig.stale()


def log_of(rig: Rig) -> list[str]:
    return (rig.folder / "subscriber.err").read_text().splitlines()


@pytest.mark.parametrize(
    ("what", "count", "pause"),
    [
        ("small messages, each in a buffer of its own", 10_000, 0.0001),
        ("long keys", 3_000, 0.0),
        ("large attachments", 3_000, 0.0),
        ("payloads", 3_000, 0.0),
    ],
)
def test_what_waits_in_the_inbox_takes_no_more_memory_than_it_says(
    rig: Rig, stranger: zenoh.Session, what: str, count: int, pause: float
) -> None:
    """64 MiB, and some for what is in Zenoh's own queues."""
    before = rig.state()
    rig.subscriber.ask("stall")
    key = "events/Todo/1/1" if what != "long keys" else f"events/{'k' * 60_000}/1"
    payload = bytes(100_000) if what == "payloads" else b""
    tag = bytes(100_000) if what == "large attachments" else None
    for _ in range(count):
        stranger.put(
            key, payload, attachment=tag, express=bool(pause), congestion_control=zenoh.CongestionControl.BLOCK
        )
        if pause:
            time.sleep(pause)  # the load itself: a flood is put together into few buffers
    until(lambda: rig.state()["received"] - before["received"] >= count, "all has come")
    during = rig.state()
    rig.subscriber.ask("go on")
    assert (during["rss"] - before["rss"]) / MEBI < (110 if not pause else 50)
    settled(rig)


def test_a_flood_of_a_publisher_stays_within_the_inbox(rig: Rig) -> None:
    before = rig.state()
    rig.publishers[0].ask("emit", count=FLOOD)
    settled(rig)
    after = rig.state()
    assert after["rss"] - before["rss"] < 192 * MEBI
    assert after["received"] - before["received"] >= FLOOD or after["flushes"]


def test_a_flood_of_a_stranger_stays_within_the_inbox_and_the_log(rig: Rig, stranger: zenoh.Session) -> None:
    before, lines = rig.state(), len(log_of(rig))
    for number in range(FLOOD):
        put(stranger, f"events/Todo/{number % 1000}/{number}", b"{}")
    settled(rig)
    after = rig.state()
    assert after["undecodable"] > before["undecodable"]
    assert after["rss"] - before["rss"] < 192 * MEBI
    assert len(log_of(rig)) - lines < 50


def test_large_payloads_and_keys_are_let_go(rig: Rig, stranger: zenoh.Session) -> None:
    router = psutil.Process(rig.router.process.pid)
    before, at_router = rig.state(), router.memory_info().rss
    for size in (2_000_000, 64_000_000, 64_000_000, 64_000_000):
        put(stranger, "events/Todo/1/1", bytes(size))
    for number in range(200):
        put(stranger, f"events/{'k' * 60_000}/{number}", b"")
    settled(rig)
    assert rig.state()["rss"] - before["rss"] < 192 * MEBI
    assert router.memory_info().rss - at_router < 512 * MEBI


@pytest.mark.parametrize("key", ["events/**", "**", "events/*/*/*", "events/Todo/$*1/**", "livelake/**"])
def test_wild_puts_are_changes_and_no_more(rig: Rig, stranger: zenoh.Session, key: str) -> None:
    for _ in range(200):
        put(stranger, key)
    settled(rig)


def test_what_cannot_be_read_is_logged_on_one_clean_line(rig: Rig, stranger: zenoh.Session) -> None:
    for key, payload, tag in (
        ("events/Todo/1\n2026-01-01 livelake: all is well/1", b"\xff\xfe\x00", None),
        ("events/\x1b[2J\u202etxt/1/1", b"\xff" * 1000, b"\xff" * 40),
        ("livelake/heartbeat/\r\n", b"\xff", None),
        ("livelake/change/x", b"\xc3(", None),
        ("events/Todo/1/1", b"[" * 900_000, None),
    ):
        put(stranger, key, payload, tag)
    settled(rig)
    lines = log_of(rig)
    assert any("not one of livelake's" in line for line in lines)
    assert all(line.isascii() and line.isprintable() and len(line) < 500 for line in lines), lines
    assert not any(line.startswith("2026") for line in lines)


Forgery = tuple[str, bytes, int]
HUGE = 10**15
FORGERIES: dict[str, Forgery] = {
    "a number": ("events/Todo/0/1", b"", HUGE),
    "a number of changes": ("livelake/change/p0", b"events/User/1/**", HUGE),
    "a heartbeat that is ahead": ("livelake/heartbeat/p0", frames.write_heartbeat({"Todo": HUGE, "User": HUGE}), 0),
    "a heartbeat that is behind": ("livelake/heartbeat/p0", frames.write_heartbeat({"Todo": 1}), 0),
    "a goodbye": ("livelake/heartbeat/p0", frames.write_heartbeat({}, bye=True), 0),
    "a goodbye that is ahead": ("livelake/heartbeat/p0", frames.write_heartbeat({"Todo": HUGE}, bye=True), 0),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_i4_a_forged_message_of_a_source_hides_no_loss(rig: Rig, stranger: zenoh.Session, forgery: str) -> None:
    """The last events of its publisher are lost right after it, and then all is quiet."""
    node, _, epoch = rig.runs[0].partition(".")
    key, payload, number = FORGERIES[forgery]
    heard = rig.state()["received"]
    put(stranger, key, payload, frames.Tagger(node, int(epoch, 16)).tag(number))
    put(stranger, "events/Other/1/1")
    until(lambda: rig.state()["received"] > heard, "it has come")
    rig.publishers[0].ask("set", lose_next=12)
    rig.publishers[0].ask("emit", count=12)  # of both types
    until(lambda: not rig.stale(), f"the loss is noticed: {rig.stale()}", 5.0)
    rig.meet()
    settled(rig)


def test_i4_a_forged_end_of_a_source_hides_no_loss(rig: Rig, stranger: zenoh.Session) -> None:
    token = stranger.liveliness().declare_token(f"livelake/source/{rig.runs[0].replace('.', '/')}")
    stranger.liveliness().declare_token("livelake/source/nobody/ff")
    token.undeclare()
    rig.publishers[0].ask("set", lose_next=12)
    rig.publishers[0].ask("emit", count=12)  # of both types
    until(lambda: not rig.stale(), f"the loss is noticed: {rig.stale()}", 5.0)
    settled(rig)


@pytest.fixture(autouse=True)
def none_has_crashed(rig: Rig, tmp_path: Path) -> Iterator[None]:
    yield
    assert rig.subscriber.alive
    assert rig.publishers[0].alive
    assert rig.router.process.poll() is None
