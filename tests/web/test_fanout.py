"""Broadcasts without a connection: what each viewer is sent, over every edition, whatever it skipped."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from livelake.web import sse
from livelake.web.compress import accepts_gzip, stored
from livelake.web.fanout import Broadcast, chunk

TICK = sse.comment("tick") + sse.frame(event="livelake-tick", data="1")


def frame(text: str) -> bytes:
    return sse.frame(event="datastar-patch-elements", data=f"elements {text}")


def events(body: bytes) -> list[bytes]:
    """Whole events, in order; anything after the last one is a fault."""
    *whole, rest = body.split(b"\n\n")
    assert rest == b""
    return whole


def test_a_viewer_is_sent_the_newest_of_each_panel_oldest_first() -> None:
    broadcast = Broadcast()
    for name, text in (("a", "a1"), ("b", "b1"), ("a", "a2"), ("a", "a3")):
        broadcast.show({name: frame(text)})
    assert [b"elements b1" in each for each in events(broadcast.since(0))] == [True, False]
    assert b"elements a3" in broadcast.since(0)
    assert b"a2" not in broadcast.since(0)
    assert events(broadcast.since(2)) == events(broadcast.since(0))[1:]
    assert broadcast.since(4) == b""
    assert broadcast.since(99) == b""


def test_what_several_viewers_lack_is_one_object_whatever_they_have_seen() -> None:
    broadcast = Broadcast()
    for number in range(10):
        broadcast.show({"a": frame(str(number))})
    for encoding in ("identity", "gzip"):
        for chunked in (False, True):
            edition = broadcast.edition(encoding, chunked=chunked)
            assert len({id(edition.piece(seen, False)) for seen in range(10)}) == 1
            assert edition is broadcast.edition(encoding, chunked=chunked)


def test_i7_panels_that_move_at_once_share_a_number_and_only_the_last_has_the_id() -> None:
    broadcast = Broadcast()
    assert broadcast.show({"a": frame("a1"), "b": frame("b1")}) == 1
    first, second = events(broadcast.since(0))
    assert b"id: " not in first
    assert second.startswith(f"id: {broadcast.epoch}-1\n".encode())
    broadcast.show({"b": frame("b2")})  # what is left of the first number still ends with its id
    first, second = events(broadcast.since(0))
    assert (first[: len(second)].split(b"\n")[0], second.split(b"\n")[0]) == (
        f"id: {broadcast.epoch}-1".encode(),
        f"id: {broadcast.epoch}-2".encode(),
    )


def test_an_equal_frame_is_not_sent_again() -> None:
    broadcast, woken = Broadcast(), []
    broadcast.show({"a": frame("1"), "b": frame("1")})
    broadcast.listen(lambda: woken.append(1))
    assert broadcast.show({"a": frame("1"), "b": frame("1")}) == 1
    assert not woken
    broadcast.show({"a": frame("1"), "b": frame("2")})
    assert [b"2" in each for each in events(broadcast.since(1))] == [True]
    assert len(woken) == 1


def test_a_sign_of_life_is_for_those_who_were_there() -> None:
    broadcast = Broadcast()
    broadcast.show({"a": frame("1")})
    broadcast.tick(TICK)
    broadcast.tick(TICK)
    assert broadcast.since(1) == TICK  # one, however many were missed
    assert TICK not in broadcast.state(0)
    assert broadcast.since(0).endswith(TICK)
    broadcast.show({"a": frame("2")})
    assert broadcast.since(0).startswith(TICK)
    assert broadcast.resume(f"{broadcast.epoch}-4") == 4


def test_who_waits_is_served_in_slices_and_nobody_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livelake.web.fanout._SLICE", 10)
    soon: list[Callable[[], None]] = []
    broadcast, told = Broadcast(soon.append), []
    unlisten = [broadcast.listen(lambda number=number: told.append(number)) for number in range(25)]  # type: ignore[misc]
    broadcast.show({"a": frame("1")})
    assert told == list(range(10))
    unlisten[12]()
    broadcast.show({"a": frame("2")})  # the ten who were served come again, after those who still wait
    while soon:
        soon.pop(0)()
    waited = [number for number in range(25) if number != 12]
    assert told == [*range(10), *waited[10:], *range(10)]
    assert not broadcast._waiting


def test_a_viewer_that_fails_does_not_keep_the_others_waiting() -> None:
    broadcast, told = Broadcast(), []
    broadcast.listen(lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    broadcast.listen(lambda: told.append(1))
    broadcast.show({"a": frame("1")})
    broadcast.show({"a": frame("2")})
    assert told == [1, 1]


# ---------------------------------------------------------------- compression


@dataclass
class Viewer:
    """One decoder, fed with exactly what one connection would carry; ``plain`` is what came out."""

    broadcast: Broadcast
    edition: object
    gzip: bool
    chunked: bool
    seen: int = 0
    in_step: bool = False
    plain: bytes = b""
    expected: bytes = b""
    sizes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
        greeting = TICK.replace(b"data: 1", b"data: %d" % random.randrange(10**9))
        start = self.seen
        body, self.in_step = self.edition.begin(start, greeting)  # type: ignore[attr-defined]
        self.expected = greeting + self.broadcast.state(start)
        self.seen = self.broadcast.number
        self._take(body)

    def follow(self) -> None:
        lacking = self.broadcast.since(self.seen)
        body = self.edition.piece(self.seen, self.in_step)  # type: ignore[attr-defined]
        assert bool(body) == bool(lacking)
        if body:
            self.seen, self.in_step = self.broadcast.number, True
            self.expected += lacking
            self._take(body)

    def _take(self, body: bytes) -> None:
        self.sizes.append(len(body))
        if self.chunked:
            size, _, rest = body.partition(b"\r\n")
            assert rest[int(size, 16) :] == b"\r\n"
            body = rest[:-2]
        self.plain += self._decoder.decompress(body) if self.gzip else body
        assert self.plain == self.expected  # each piece can be read when it comes: nothing is held back


def table(rows: list[int]) -> bytes:
    cells = "".join(
        f'<tr><td class="name">Row {at}</td><td class="number">{row:,}</td></tr>' for at, row in enumerate(rows)
    )
    return frame(f'<section id="panel-a"><table>{cells}</table></section>')


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("show"), st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)),
        st.tuples(st.just("tick"), st.none()),
        st.tuples(st.just("join"), st.tuples(st.booleans(), st.booleans(), st.integers(0, 30))),
        st.tuples(st.just("busy"), st.lists(st.integers(0, 5), max_size=6)),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, seed=st.integers(0, 2**32), rows=st.sampled_from([3, 95, 900]))
def test_every_decoder_gets_exactly_the_frames_whoever_joins_skips_or_resumes(
    steps: list[tuple[str, object]], seed: int, rows: int
) -> None:
    """900 rows are over 32 kB: more than a decoder remembers."""
    source, broadcast = random.Random(seed), Broadcast()
    panels = {name: [source.randrange(10**6) for _ in range(rows)] for name in "abc"}
    viewers: list[Viewer] = []
    busy: set[int] = set()
    for what, argument in steps:
        if what == "show":
            for name in argument:  # type: ignore[attr-defined]
                panels[name][source.randrange(rows)] = source.randrange(10**6)
            broadcast.show({name: table(panels[name]) for name in argument})  # type: ignore[attr-defined]
        elif what == "tick":
            broadcast.tick(TICK.replace(b"data: 1", b"data: %d" % source.randrange(10**9)))
        elif what == "join":
            gzip, chunked, seen = argument  # type: ignore[misc]
            edition = broadcast.edition("gzip" if gzip else "identity", chunked=chunked)
            viewers.append(Viewer(broadcast, edition, gzip, chunked, seen=min(seen, broadcast.number)))
        else:
            busy = set(argument)  # type: ignore[call-overload]
        for place, viewer in enumerate(viewers):
            if place % 6 not in busy:
                viewer.follow()
    for viewer in viewers:
        viewer.follow()
        event("in gzip" if viewer.gzip else "plain")


def test_viewers_in_step_are_sent_a_twentieth_of_a_table_whose_rows_change() -> None:
    """12 of 95 rows; the same bytes for all in step, and a joiner or two do not spoil it."""
    source, broadcast = random.Random(7), Broadcast()
    rows = [source.randrange(10**6) for _ in range(95)]
    broadcast.show({"a": table(rows)})
    edition = broadcast.edition("gzip", chunked=False)
    viewers = [Viewer(broadcast, edition, True, False) for _ in range(3)]
    raw = packed = 0
    for number in range(50):
        for at in source.sample(range(95), 12):
            rows[at] += source.randrange(-500, 500)
        broadcast.show({"a": table(rows)})
        pieces = {id(edition.piece(viewer.seen, viewer.in_step)) for viewer in viewers[:3]}
        assert len(pieces) == 1
        for viewer in viewers:
            viewer.follow()
        raw += len(broadcast.since(broadcast.number - 1))
        packed += viewers[0].sizes[-1]
        if number % 10 == 5:  # also just after a sign of life
            broadcast.tick(TICK)
            for viewer in viewers:
                viewer.follow()
            viewers.append(Viewer(broadcast, edition, True, False))
    assert packed * 20 <= raw, f"{raw / packed:.1f} times smaller"


def test_who_skipped_a_number_is_in_step_again_after_one_whole_piece() -> None:
    source, broadcast = random.Random(7), Broadcast()
    rows = [source.randrange(10**6) for _ in range(95)]
    edition = broadcast.edition("gzip", chunked=False)
    broadcast.show({"a": table(rows)})
    steady, late = (Viewer(broadcast, edition, True, False) for _ in range(2))
    for number in range(6):
        rows[number] += 1
        broadcast.show({"a": table(rows)})
        steady.follow()
        if number != 2:
            late.follow()
    assert late.sizes[1:] == [*steady.sizes[1:3], late.sizes[3], *steady.sizes[5:]]
    assert late.sizes[3] > 4 * steady.sizes[4]


def test_a_chunk_is_never_the_one_that_ends_a_response() -> None:
    assert chunk(b"") == b""
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def test_a_stored_block_is_deflate() -> None:
    for text in (b"", TICK, b"x" * 65_535):
        assert zlib.decompressobj(-15).decompress(stored(text)) == text


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", False),
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("GZIP;Q=0.5", True),
        ("x-gzip", True),
        ("br", False),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("gzip;q=0.0", False),
        ("identity", False),
        ("identity, gzip", True),
        ("identity;q=1, gzip;q=0.5", False),
        ("identity;q=0, *;q=0.1", True),
        ("gzip;q=nonsense", False),
        ("gzip;q=nan", False),
        ("gzip;q=-1", False),
        (";;,,=", False),
        ("gzipped", False),
    ],
)
def test_gzip_is_sent_to_whom_it_is_welcome(header: str, wanted: bool) -> None:
    assert accepts_gzip(header) is wanted
