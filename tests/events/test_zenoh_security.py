"""Who is let in by a real router, and who may publish; beside each success, an intruder who is refused."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zenoh

from events.certificates import Authority, Identity
from events.routers import running
from livelake.errors import SourceError
from livelake.events.event import Change, Event, Signal
from livelake.events.router import config_json
from livelake.events.router_config import RouterTLS, router_config
from livelake.events.zenoh import ZenohBus
from livelake.events.zenoh_config import Credentials, session_config

PATIENCE = 30.0
REFUSED = 0.7  # seconds that an intruder tries; one who may come in is given PATIENCE
FORBIDDEN = ("events/Todo/bad", "events/Todo/*", "events/**", "**", "livelake/change/bad", "livelake/heartbeat/bad")

Connect = Callable[..., zenoh.Session]


def until(question: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not question():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def open_session(endpoint: str, known: Credentials | None = None, timeout: float = PATIENCE) -> zenoh.Session:
    return zenoh.open(
        zenoh.Config.from_json5(json.dumps(session_config([endpoint], timeout=timeout, credentials=known)))
    )


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Sessions that the test need not close."""
    sessions: list[zenoh.Session] = []

    def call(endpoint: str, known: Credentials | None = None) -> zenoh.Session:
        sessions.append(open_session(endpoint, known))
        return sessions[-1]

    yield call
    for session in sessions:
        session.close()


def assert_refused(endpoint: str, known: Credentials | None = None) -> None:
    with pytest.raises(zenoh.ZError, match="Unable to connect"), open_session(endpoint, known, REFUSED):
        pass


class Ear:
    """The keys that a session hears on an expression."""

    def __init__(self, session: zenoh.Session, expression: str) -> None:
        self.keys: list[str] = []
        note = zenoh.handlers.Callback(lambda sample: self.keys.append(str(sample.key_expr)), indirect=False)
        self._kept = session.declare_subscriber(expression, note)


def put(session: zenoh.Session, key: str) -> None:
    session.put(key, b"", congestion_control=zenoh.CongestionControl.BLOCK)


def assert_hears(ear: Ear, session: zenoh.Session, key: str) -> None:
    """What ``session`` puts arrives: again and again, since a subscription takes its time to get around."""

    def arrived() -> bool:
        put(session, key)
        return key in ear.keys

    until(arrived, f"{key} arrives")


# ---------------------------------------------------------------- TLS


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "theirs")


def tls_options(ours: Authority) -> list[object]:
    router = ours.identity("router")
    return ["--tls-certificate", router.certificate, "--tls-key", router.private_key, "--tls-ca", ours.ca]


def shown(ca: Path, identity: Identity) -> Credentials:
    return Credentials(ca=ca, certificate=identity.certificate, private_key=identity.private_key)


@pytest.mark.parametrize("protocol", ["tls", "quic"])
def test_tls_carries_events_and_a_client_refuses_a_router_that_its_authority_does_not_vouch_for(
    ours: Authority, theirs: Authority, connect: Connect, protocol: str
) -> None:
    with running("--listen", f"{protocol}/127.0.0.1:0", *tls_options(ours)) as endpoint:
        known = Credentials(ca=ours.ca)
        ear = Ear(connect(endpoint, known), "events/**")
        assert_hears(ear, connect(endpoint.replace("127.0.0.1", "localhost"), known), "events/Todo/1/1")
        assert_refused(endpoint, Credentials(ca=theirs.ca))
        assert_refused(endpoint.replace(protocol, "tcp"))


def test_mutual_tls_lets_in_only_certificates_of_its_authority(
    ours: Authority, theirs: Authority, connect: Connect
) -> None:
    options = ["--listen", "tls/127.0.0.1:0", "--mutual-tls", *tls_options(ours)]
    with running(*options) as endpoint:
        friend = connect(endpoint, shown(ours.ca, ours.identity("reader")))
        ear = Ear(friend, "events/**")
        assert [link.auth_identifier for link in friend.info.links()] == ["router"]
        assert_refused(endpoint, Credentials(ca=ours.ca))
        assert_refused(endpoint, shown(ours.ca, theirs.identity("writer")))
        assert_refused(endpoint, shown(theirs.ca, theirs.identity("writer")))
        assert_refused(endpoint.replace("tls", "tcp"))
        assert_hears(ear, connect(endpoint, shown(ours.ca, ours.identity("writer"))), "events/Todo/1/1")


# ---------------------------------------------------------------- user and password


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    file.write_text("writer:w-secret\nreader:r-secret\nother:o-secret\n")
    file.chmod(0o600)
    return file


def test_only_users_with_their_password_are_let_in(users: Path, connect: Connect) -> None:
    with running("--listen", "tcp/127.0.0.1:0", "--users", users) as endpoint:
        ear = Ear(connect(endpoint, Credentials(user="reader", password="r-secret")), "events/**")
        assert_refused(endpoint)
        assert_refused(endpoint, Credentials(user="reader", password="w-secret"))
        assert_refused(endpoint, Credentials(user="stranger", password="r-secret"))
        assert_hears(ear, connect(endpoint, Credentials(user="writer", password="w-secret")), "events/Todo/1/1")


def test_a_router_joins_another_by_user_and_password(users: Path, tmp_path: Path, connect: Connect) -> None:
    local = tmp_path / "local"
    local.write_text("leaf:l-secret\n")
    leaf, reader = Credentials(user="leaf", password="l-secret"), Credentials(user="reader", password="r-secret")
    with running("--listen", "tcp/127.0.0.1:0", "--users", users) as inner:
        options = ["--listen", "tcp/127.0.0.1:0", "--users", local, "--connect", inner, "--user", "other"]
        ear = Ear(connect(inner, reader), "events/**")
        with running(*options, LIVELAKE_PASSWORD="o-secret") as outer:
            assert_hears(ear, connect(outer, leaf), "events/Todo/1/1")
        with running(*options, LIVELAKE_PASSWORD="wrong") as outer:
            stranger = connect(outer, leaf)
            assert_hears(Ear(connect(outer, leaf), "events/**"), stranger, "events/Todo/bad")
            assert_hears(ear, connect(inner, reader), "events/Todo/2/1")
            assert "events/Todo/bad" not in ear.keys


# ---------------------------------------------------------------- who may publish


def with_marker(config: dict[str, Any]) -> dict[str, Any]:
    """``config``, and everybody may also put a marker: it comes after a forbidden put, on the same path."""
    control = config["access_control"]
    put_and_subscribe = ["put", "declare_subscriber"]
    control["rules"].append(
        {
            "id": "marker",
            "messages": put_and_subscribe,
            "flows": ["ingress", "egress"],
            "permission": "allow",
            "key_exprs": ["test/**", "events/Marker/**"],
        }
    )
    control["policies"].append({"rules": ["marker"], "subjects": ["everybody"]})
    return config


Known = Callable[[str], Credentials]


@pytest.fixture(params=["common name", "user name"])
def guarded(
    request: pytest.FixtureRequest, tmp_path: Path, ours: Authority, users: Path
) -> Iterator[tuple[str, Known]]:
    """A router where only ``writer`` may publish, and what each name shows to be let in."""

    def by_certificate(name: str) -> Credentials:
        return shown(ours.ca, ours.identity(name))

    def by_password(name: str) -> Credentials:
        return Credentials(user=name, password=f"{name[0]}-secret")

    if request.param == "common name":
        own = ours.identity("router")
        tls = RouterTLS(certificate=own.certificate, private_key=own.private_key, ca=ours.ca, mutual=True)
        config, known = router_config(["tls/127.0.0.1:0"], tls=tls, publishers=["writer"]), by_certificate
    else:
        config, known = router_config(["tcp/127.0.0.1:0"], users=users, publishers=["writer"]), by_password
    file = tmp_path / "router.json5"
    file.write_text(config_json(with_marker(config)))
    with running("--config", file) as endpoint:
        yield endpoint, known


def test_only_a_named_publisher_reaches_others(guarded: tuple[str, Known], connect: Connect) -> None:
    endpoint, known = guarded
    writer, reader, other = (connect(endpoint, known(name)) for name in ("writer", "reader", "other"))
    events, changes = Ear(other, "events/**"), Ear(other, "livelake/change/*")
    beats, markers = Ear(other, "livelake/heartbeat/*"), Ear(other, "test/**")
    for ear, key in ((events, "events/Todo/1/1"), (changes, "livelake/change/w"), (beats, "livelake/heartbeat/w")):
        assert_hears(ear, writer, key)
    put(writer, "events/**")  # a publisher may publish a wildcard, within what is its to publish
    until(lambda: "events/**" in events.keys, "a publisher's wildcard")

    heard = {*events.keys, *changes.keys, *beats.keys}
    events.keys.clear()
    for key in FORBIDDEN:
        put(reader, key)
    assert_hears(markers, reader, "test/after")  # the same session and priority: what came before has been judged
    assert {*events.keys, *changes.keys, *beats.keys} - {"events/Todo/1/1"} <= heard - {"events/**"}

    for key in ("**", "secret/plan", "livelake/**"):
        put(writer, key)
    assert_hears(markers, writer, "test/later")
    assert {*events.keys, *changes.keys, *beats.keys} - {"events/Todo/1/1"} <= heard - {"events/**"}


def test_only_a_named_publisher_announces_a_source(guarded: tuple[str, Known], connect: Connect) -> None:
    endpoint, known = guarded
    writer, reader, other = (connect(endpoint, known(name)) for name in ("writer", "reader", "other"))
    seen: list[tuple[str, zenoh.SampleKind]] = []
    note = zenoh.handlers.Callback(lambda each: seen.append((str(each.key_expr), each.kind)), indirect=False)
    watching = other.liveliness().declare_subscriber("livelake/source/*/*", note, history=True)
    forged = reader.liveliness().declare_token("livelake/source/reader/1")
    assert_hears(Ear(other, "test/**"), reader, "test/after")  # declarations are not slower than puts
    token = writer.liveliness().declare_token("livelake/source/writer/1")
    until(lambda: seen, "the writer's token")
    late = connect(endpoint, known("other")).liveliness().get("livelake/source/*/*", timeout=PATIENCE)
    assert [str(reply.ok.key_expr) for reply in late] == ["livelake/source/writer/1"]
    token.undeclare()
    until(lambda: len(seen) > 1, "the writer's token goes")
    kinds = zenoh.SampleKind
    assert seen == [("livelake/source/writer/1", kinds.PUT), ("livelake/source/writer/1", kinds.DELETE)]
    forged.undeclare()
    watching.undeclare()


def test_a_reader_hears_what_the_bus_carries_and_nothing_else(guarded: tuple[str, Known], connect: Connect) -> None:
    endpoint, known = guarded
    writer, reader = connect(endpoint, known("writer")), connect(endpoint, known("reader"))
    narrow, everything = Ear(reader, "events/Todo/**"), Ear(reader, "**")
    markers = Ear(reader, "test/**")
    assert_hears(narrow, writer, "events/Todo/1/1")
    put(writer, "events/User/1/1")
    put(writer, "secret/plan")
    assert_hears(markers, writer, "test/after")
    # Within the process, Zenoh hands whatever has arrived to every subscriber that it fits.
    assert {*everything.keys} <= {"events/Todo/1/1", "test/after"}
    assert {*narrow.keys} == {"events/Todo/1/1"}


# ---------------------------------------------------------------- the bus itself


def heard_by(bus: ZenohBus) -> list[Signal]:
    heard: list[Signal] = []
    bus.subscribe("events/**", heard.append)
    return heard


async def until_heard(heard: list[Signal], source: ZenohBus, event_type: str) -> None:
    """``source`` publishes until ``heard`` has an event of that type: nobody is there at once."""
    deadline = time.monotonic() + PATIENCE
    while not any(isinstance(each, Event) and each.aggregate_type == event_type for each in heard):
        assert time.monotonic() < deadline, f"no {event_type} in {heard}"
        await source.publish(Event(aggregate_type=event_type, aggregate_id="1", event_type="Happened"))
        await asyncio.sleep(0.02)


async def test_a_bus_goes_through_tls(ours: Authority, theirs: Authority) -> None:
    with running("--listen", "tls/127.0.0.1:0", *tls_options(ours)) as endpoint:
        known = Credentials(ca=ours.ca)
        async with (
            ZenohBus([endpoint], credentials=known, timeout=PATIENCE) as first,
            ZenohBus([endpoint], credentials=known, timeout=PATIENCE) as second,
        ):
            await until_heard(heard_by(second), first, "Todo")
        with pytest.raises(SourceError, match=endpoint):
            await ZenohBus([endpoint], credentials=Credentials(ca=theirs.ca), timeout=REFUSED).open()


async def test_a_bus_of_a_reader_hears_the_publisher_and_reaches_nobody(guarded: tuple[str, Known]) -> None:
    endpoint, known = guarded
    async with (
        ZenohBus([endpoint], credentials=known("writer"), timeout=PATIENCE) as writer,
        ZenohBus([endpoint], credentials=known("reader"), timeout=PATIENCE) as reader,
        ZenohBus([endpoint], credentials=known("other"), timeout=PATIENCE) as other,
    ):
        heard, at_reader = heard_by(other), heard_by(reader)
        await until_heard(heard, writer, "Todo")
        await until_heard(at_reader, writer, "Todo")
        await reader.publish(Event(aggregate_type="Forged", aggregate_id="1", event_type="Happened"))
        await reader.invalidate("events/Forged/**")
        await until_heard(heard, reader, "Marker")
        assert "Forged" not in {each.aggregate_type for each in heard if isinstance(each, Event)}
        assert not any(isinstance(each, Change) for each in heard)
        with pytest.raises(SourceError, match=endpoint):
            await ZenohBus([endpoint], timeout=REFUSED).open()
