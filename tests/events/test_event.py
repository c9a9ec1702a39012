"""Event and its codec: what is refused and how, and that the rest comes out as it went in."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livelake.errors import EventError, UsageError
from livelake.events import Change, Doubt, Event
from livelake.events.codec import MAX_BYTES, decode, decode_at, encode
from livelake.events.event import MAX_DEPTH, MAX_SEQUENCE
from livelake.keys import KeyExpr

GOOD: dict[str, Any] = {"aggregate_type": "Todo", "aggregate_id": "42", "event_type": "Done"}

any_text = st.text(st.characters(codec=None, categories=None), max_size=20)  # lone surrogates too
plain = st.text(min_size=1, max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
times = st.datetimes(
    datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.timezones() | st.just(timezone(timedelta(seconds=3217)))
)
events = st.builds(
    Event,
    aggregate_type=any_text.filter(bool),
    aggregate_id=any_text,
    event_type=plain,
    sequence=st.none() | st.integers(0, MAX_SEQUENCE),
    payload=json_values,
    time=st.none() | times,
    origin=st.none() | plain,
)


def in_utc(event: Event) -> Event:
    """The event with its time in UTC: Python holds moments in a DST gap or fold unequal to any other zone's."""
    if event.time is None:
        return event
    return msgspec.structs.replace(event, time=event.time.astimezone(UTC))


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


@settings(max_examples=400, deadline=None)
@given(events)
def test_an_event_comes_out_as_it_went_in(event: Event) -> None:
    assert decode(encode(event)) == in_utc(event)
    if event.sequence is not None:
        kind, type_, id_, sequence = event.key.split("/")
        assert (kind, sequence) == ("events", str(event.sequence))
        assert event.key == KeyExpr(str(event.key))
        assert type_
        assert id_


def test_the_wire_is_plain_json() -> None:
    event = Event(
        **GOOD, sequence=5, payload={"é": [1]}, time=datetime(2024, 1, 15, 13, tzinfo=timezone(timedelta(hours=1)))
    )
    assert json.loads(encode(event)) == {
        **GOOD,
        "sequence": 5,
        "payload": {"é": [1]},
        "time": "2024-01-15T12:00:00Z",
    }
    assert json.loads(encode(Event(**GOOD))) == GOOD
    assert decode(b'{"aggregate_type":"T","aggregate_id":"","event_type":"E","later":1}').aggregate_id == ""
    assert decode(memoryview(bytearray(encode(event)))) == event


def test_an_event_without_sequence_has_no_key_and_says_who_gives_it() -> None:
    with pytest.raises(EventError, match="the bus assigns it"):
        Event(**GOOD).key
    assert Event(**GOOD, sequence=0).key == "events/Todo/42/0"
    assert Event(**GOOD).numbered(7).key == "events/Todo/42/7"
    with pytest.raises(EventError):
        Event(**GOOD).numbered(-1)


def test_an_event_is_frozen_and_keyword_only() -> None:
    event = Event(**GOOD)
    with pytest.raises(AttributeError):
        event.sequence = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        Event("Todo", "42", "Done")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("aggregate_type", "", "aggregate_type is empty"),
        ("aggregate_type", None, "aggregate_type is text, and this is NoneType"),
        ("aggregate_id", 42, "aggregate_id is text, and this is int"),
        ("aggregate_id", "x" * 1024, "too long a key"),
        ("aggregate_id", "é" * 200, "too long a key"),
        ("event_type", "", "event_type is empty"),
        ("origin", "", "origin is empty"),
        ("origin", 5, "origin is text"),
        ("sequence", -1, "sequence is a whole number"),
        ("sequence", True, "sequence is a whole number"),
        ("sequence", 1.0, "sequence is a whole number"),
        ("sequence", 2**63, "sequence is a whole number"),
        ("time", datetime(2024, 1, 15), "no time zone"),
        ("time", "2024-01-15", "time is a datetime"),
        ("payload", float("nan"), "holds nan"),
        ("payload", [{"a": float("inf")}], "holds inf"),
        ("payload", {"a": datetime(2024, 1, 15, tzinfo=UTC)}, "datetime.datetime"),
        ("payload", Decimal(1), "decimal.Decimal"),
        ("payload", (1, 2), "builtins.tuple"),
        ("payload", b"x", "builtins.bytes"),
        ("payload", {1: 2}, "has the key 1"),
        ("payload", {"\ud800": 2}, "lone surrogate"),
        ("payload", ["\ud800"], "lone surrogate"),
        ("payload", 2**64, "more than 64 bits"),
        ("payload", -(2**63) - 1, "more than 64 bits"),
    ],
)
def test_what_is_no_event_is_refused_with_its_field(field: str, value: object, says: str) -> None:
    with pytest.raises(EventError) as caught:
        Event(**{**GOOD, field: value})
    assert says in str(caught.value)
    assert isinstance(caught.value, UsageError)


def test_a_payload_that_is_too_deep_too_wide_or_contains_itself_is_refused() -> None:
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(EventError, match="more than 64 deep"):
            Event(**GOOD, payload=nested(depth))
    with pytest.raises(EventError, match="more than 1,000,000 parts"):
        Event(**GOOD, payload=[0] * 1_000_001)
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(EventError, match="contains itself"):
        Event(**GOOD, payload=circle)
    laughs: Any = [1]
    for _ in range(MAX_DEPTH - 1):
        laughs = [laughs] * 10
    with pytest.raises(EventError, match="parts"):
        Event(**GOOD, payload=laughs)


def test_the_deepest_and_the_largest_go_through() -> None:
    for payload in (nested(MAX_DEPTH), "x" * (MAX_BYTES - 200), list(range(100_000))):
        event = Event(**GOOD, payload=payload)
        assert decode(encode(event)) == event


def test_size_is_bounded_both_ways() -> None:
    event = Event(**GOOD, payload="x" * MAX_BYTES)
    with pytest.raises(EventError, match="1,048,576 are allowed"):
        encode(event)
    data = encode(event, max_bytes=2 * MAX_BYTES)
    with pytest.raises(EventError, match="1,048,576 are allowed"):
        decode(data)
    assert decode(data, max_bytes=len(data)) == event


def wire(**fields: object) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"aggregate_type":"T"',
        wire(aggregate_type=""),
        wire(sequence=-1),
        wire(sequence="5"),
        wire(sequence=1.5),
        wire(time="yesterday"),
        wire(time="2024-01-15T12:00:00"),
        wire(event_type=None),
        wire(payload=float("nan")),
        wire(payload=nested(MAX_DEPTH + 1)),
        wire(aggregate="a/b"),
        b'{"aggregate":"a","event_type":"E"}',
        b'{"aggregate":"a/%zz","event_type":"E"}',
        b'{"aggregate":"a/b/c","event_type":"E"}',
        b'{"aggregate_id":"a","event_type":"E"}',
        b'{"aggregate_type":"T","aggregate_id":"\xff","event_type":"E"}',
        b'{"aggregate_type":"T","aggregate_id":"\\ud800","event_type":"E"}',
        b"[" * 500_000,
        b'{"aggregate_type":"T","aggregate_id":"1","event_type":"E","payload":' + b"[" * 200_000,
        b'{"aggregate_type":"T","aggregate_id":"1","event_type":"E","payload":' + b"[" * 9999 + b"]" * 9999 + b"}",
    ],
    ids=lambda data: f"{data!r:.40}",
)
def test_undecodable_bytes_are_an_event_error_with_a_reason(data: bytes) -> None:
    with pytest.raises(EventError) as caught:
        decode(data)
    assert len(str(caught.value)) > 10


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | events.map(encode).flatmap(
    lambda data: st.tuples(st.just(data), st.integers(0, len(data) - 1), st.integers(0, 255)).map(
        lambda hit: hit[0][: hit[1]] + bytes([hit[2]]) + hit[0][hit[1] + 1 :]
    )
))  # fmt: skip
def test_mangled_bytes_are_an_event_or_an_event_error(data: bytes) -> None:
    try:
        event = decode(data)
    except EventError:
        return
    assert decode(encode(event)) == in_utc(event)


def test_every_signal_says_what_it_is_about() -> None:
    assert Change(KeyExpr("events/**")).key == "events/**"
    assert Doubt(KeyExpr("events/T/**"), "gap", "node/T").key == "events/T/**"
    assert Event(**GOOD, sequence=1).key == "events/Todo/42/1"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"payload": {"a": [1, None, "x", {"b": 2.5}]}},
        {"payload": 2**63},
        {"payload": "12345678901234567890123"},
        {"time": datetime(2024, 1, 15, tzinfo=UTC), "origin": "api"},
        {"aggregate_id": ""},
        {"aggregate_id": "\ud800/*"},
        {"aggregate_id": "x" * 950},
        {"sequence": MAX_SEQUENCE},
    ],
)
def test_an_event_is_read_under_its_key_as_anywhere(more: dict[str, object]) -> None:
    sent = Event(**{"aggregate_type": "Todo", "aggregate_id": "1", "event_type": "Done", "sequence": 5, **more})
    data = encode(sent)
    assert decode_at(data, sent.key) == decode(data) == sent
    assert type(decode_at(data, sent.key)) is Event
    with pytest.raises(EventError):
        decode_at(data, "events/Todo/other/5")


@pytest.mark.parametrize(
    "fields",
    [
        b'"sequence":-5',
        b'"sequence":5,"origin":""',
        b'"sequence":5,"time":"2024-01-01T00:00:00"',
        b'"sequence":5,"payload":' + b"[" * 65 + b"]" * 65,
        b'"sequence":5,"payload":123456789012345678901234567890',
        b'"sequence":5,"aggregate":"a/b"',
        b"",
    ],
)
def test_what_is_no_event_is_none_under_its_key_either(fields: bytes) -> None:
    data = b'{"aggregate_type":"T","aggregate_id":"1","event_type":"x"' + (b"," + fields if fields else b"") + b"}"
    for key in ("events/T/1/5", "events/T/1/-5"):
        with pytest.raises(EventError):
            decode_at(data, key)
