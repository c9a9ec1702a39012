"""The tracker: one example for each rule, then random schedules against a naive model, with planted faults."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from livelake.events.event import Doubt
from livelake.events.frames import CHANGES, EVENTS, EVERYTHING
from livelake.events.lanes import Lanes, Source, State
from livelake.keys import KeyExpr

SILENCE, GRACE, PATIENCE, BEAT = 0.35, 0.05, 1.55, 0.1
TODO, NOTE = KeyExpr("events/Todo/**"), KeyExpr("events/Note/**")
A, A2, B = "a.1", "a.2", "b.1"


def make(cls: type[Lanes] = Lanes, *, lanes: frozenset[str] | None = None, most: int = 1024) -> Lanes:
    made = cls(silence=SILENCE, grace=GRACE, patience=PATIENCE, most_sources=most)
    made.listen(lanes)
    return made


def heard(*sources: str, lanes: frozenset[str] | None = None) -> Lanes:
    """A tracker that knows these, at 0, at time 0."""
    made = make(lanes=lanes)
    for source in sources or (A,):
        assert made.heartbeat(source, {}, 0.0) == []
    assert made.blind() == frozenset()
    return made


def said(doubts: list[Doubt]) -> list[tuple[str, str]]:
    return [(doubt.reason, doubt.scope) for doubt in doubts]


# Numbers


def test_numbers_without_holes_are_no_doubt() -> None:
    lanes = heard()
    assert [lanes.number(A, "Todo", n, 0.0) for n in (1, 2, 3)] == [[], [], []]
    assert lanes.heartbeat(A, {"Todo": 3}, 0.1) == []


def test_a_hole_is_a_doubt_about_its_lane_alone() -> None:
    lanes = heard()
    lanes.number(A, "Todo", 1, 0.0)
    assert said(lanes.number(A, "Todo", 3, 0.0)) == [("gap", TODO)]
    assert lanes.number(A, "Note", 1, 0.0) == []
    assert lanes.number(A, "Todo", 4, 0.0) == []


def test_a_hole_among_changes_may_have_been_about_anything() -> None:
    assert said(heard().number(A, CHANGES, 2, 0.0)) == [("gap", EVERYTHING)]


def test_repetitions_and_what_comes_late_are_no_doubt() -> None:
    lanes = heard()
    for number in (1, 3):
        lanes.number(A, "Todo", number, 0.0)
    assert lanes.number(A, "Todo", 3, 0.0) == lanes.number(A, "Todo", 2, 0.0) == []


# Heartbeats


def test_a_heartbeat_that_is_ahead_waits_for_what_is_on_its_way() -> None:
    lanes = heard()
    assert lanes.heartbeat(A, {"Todo": 2}, 0.1) == []
    assert lanes.tick(0.12) == []
    assert lanes.number(A, "Todo", 1, 0.12) == lanes.number(A, "Todo", 2, 0.12) == []
    assert lanes.tick(0.3) == []


def test_what_does_not_come_within_the_grace_is_a_tail_gap_once() -> None:
    lanes = heard()
    lanes.heartbeat(A, {"Todo": 2}, 0.1)
    lanes.number(A, "Todo", 1, 0.1)
    assert said(lanes.tick(0.16)) == [("tail-gap", TODO)]
    assert lanes.heartbeat(A, {"Todo": 2}, 0.2) == lanes.tick(0.3) == []
    assert lanes.number(A, "Todo", 3, 0.3) == []


def test_what_waits_in_our_own_inbox_is_not_lost() -> None:
    lanes = heard()
    lanes.heartbeat(A, {"Todo": 1}, 0.1)
    assert lanes.tick(0.3, frontier=0.12) == []
    assert said(lanes.tick(0.32, frontier=0.16)) == [("tail-gap", TODO)]


def test_lanes_that_nobody_listens_to_are_covered_by_heartbeats() -> None:
    lanes = heard(lanes=frozenset({"Todo"}))
    assert lanes.heartbeat(A, {"Note": 7}, 0.1) == lanes.tick(0.2) == []
    assert lanes.sources[A].seen == {"Note": 7}


def test_a_forged_number_hides_losses_for_two_heartbeats_and_no_longer() -> None:
    lanes = heard()
    lanes.number(A, "Todo", 1, 0.0)
    assert said(lanes.number(A, "Todo", 10**9, 0.05)) == [("gap", TODO)]
    assert lanes.heartbeat(A, {"Todo": 1}, 0.1) == []  # it may have been overtaken by what is true
    assert said(lanes.heartbeat(A, {"Todo": 2}, 0.2)) == [("reset", TODO)]
    assert said(lanes.number(A, "Todo", 4, 0.25)) == [("gap", TODO)]


def test_events_that_overtake_each_heartbeat_are_no_forgery() -> None:
    lanes = heard()
    for number in range(1, 100):
        assert lanes.number(A, "Todo", number, number / 10) == []
        assert lanes.heartbeat(A, {"Todo": number - 1}, number / 10) == []


# Sources


def test_a_new_source_is_doubted_for_what_it_said_before() -> None:
    lanes = make()
    doubts = lanes.heartbeat(A, {"Todo": 5, "Note": 0}, 0.0)
    assert said(doubts) == [("new-source", TODO)]
    assert lanes.number(A, "Todo", 6, 0.0) == []


def test_a_source_is_blind_from_its_token_to_its_first_heartbeat() -> None:
    lanes = make()
    assert lanes.appeared(A, 0.0) == []
    assert lanes.blind() == {EVERYTHING}
    assert lanes.number(A, "Todo", 1, 0.0) == []
    assert lanes.blind() == {EVERYTHING}
    assert lanes.heartbeat(A, {"Todo": 1}, 0.0) == []
    assert lanes.blind() == frozenset()


def test_silence_is_a_doubt_and_blinds_until_it_is_back_which_is_another() -> None:
    lanes = heard()
    assert lanes.tick(0.3) == []
    assert said(lanes.tick(0.36)) == [("silent", EVERYTHING)]
    assert lanes.blind() == {EVERYTHING}
    assert lanes.tick(0.5) == []
    assert said(lanes.heartbeat(A, {"Todo": 9}, 0.6)) == [("back", EVERYTHING)]
    assert lanes.blind() == frozenset()
    assert lanes.number(A, "Todo", 10, 0.6) == []


def test_a_lost_token_is_a_loss_unless_a_goodbye_comes_within_the_grace() -> None:
    lanes = heard()
    assert lanes.gone(A, 0.1) == lanes.gone(A, 0.12) == []
    assert lanes.tick(0.14) == []
    assert said(lanes.tick(0.16)) == [("token-lost", EVERYTHING)]
    assert lanes.blind() == {EVERYTHING}
    assert lanes.gone(A, 0.17) == lanes.tick(0.3) == []
    lanes = heard()
    lanes.gone(A, 0.1)
    assert lanes.bye(A, {}, 0.12) == lanes.tick(0.2) == []
    assert not lanes.blind()


def test_a_lost_source_is_forgotten_after_a_last_doubt() -> None:
    lanes = heard()
    lanes.gone(A, 0.05)
    assert said(lanes.tick(0.1)) == [("token-lost", EVERYTHING)]
    assert lanes.tick(1.6) == []
    assert said(lanes.tick(1.7)) == [("forgotten", EVERYTHING)]
    assert lanes.blind() == frozenset()
    assert lanes.is_over(A)
    assert [source.name for source in lanes.forgotten] == [A]
    assert said(lanes.heartbeat(A, {"Todo": 1}, 3.0)) == [("new-source", TODO)]  # the way to it was lost, not it
    assert not lanes.is_over(A)


def test_a_goodbye_is_believed_when_its_heads_were_heard() -> None:
    lanes = heard()
    lanes.number(A, "Todo", 1, 0.0)
    assert lanes.bye(A, {"Todo": 1}, 0.1) == []
    assert not lanes.sources
    assert lanes.gone(A, 0.1) == lanes.number(A, "Todo", 1, 0.1) == lanes.appeared(A, 0.1) == []
    assert lanes.blind() == frozenset()


def test_a_goodbye_that_overtakes_events_waits_for_them_and_doubts_what_is_lost() -> None:
    lanes = heard()
    assert lanes.bye(A, {"Todo": 2}, 0.1) == []
    assert lanes.gone(A, 0.1) == []
    lanes.number(A, "Todo", 1, 0.12)
    assert not lanes.is_over(A)
    assert said(lanes.tick(0.2)) == [("tail-gap", TODO)]
    assert lanes.is_over(A)


def test_two_runs_of_a_node_are_two_sources_and_the_old_one_goes_when_it_is_lost() -> None:
    lanes = heard(A)
    assert lanes.heartbeat(A2, {}, 0.1) == []
    assert said(lanes.number(A, "Todo", 2, 0.1)) == [("gap", TODO)]  # still running: its numbers count
    lanes.gone(A, 0.2)
    lanes.heartbeat(A2, {}, 0.2)
    assert said(lanes.tick(0.26)) == [("token-lost", EVERYTHING)]
    assert said(lanes.tick(0.3)) == [("forgotten", EVERYTHING)]
    assert lanes.is_over(A)
    assert lanes.blind() == frozenset()


def test_a_token_of_a_run_before_the_one_that_is_heard_is_over() -> None:
    lanes = heard(A2)
    assert lanes.is_over(A)
    assert not lanes.is_over(B)
    assert not lanes.is_over("no source")


# Links, lanes, bounds


def test_without_a_link_all_is_blind_until_there_is_one() -> None:
    lanes = heard(A, B)
    assert said(lanes.link_lost(0.1, alone=True)) == [("link-lost", EVERYTHING)]
    assert lanes.link_lost(0.1, alone=True) == []
    assert lanes.tick(9.0) == []
    assert lanes.blind() == {EVERYTHING}
    assert said(lanes.link_back()) == [("link-back", EVERYTHING)]
    assert lanes.blind() == {EVERYTHING}, "until the others are back, too"
    lanes.heartbeat(A, {}, 9.1)
    lanes.heartbeat(B, {}, 9.1)
    assert lanes.blind() == frozenset()
    assert lanes.link_back() == []


def test_one_link_of_several_blinds_until_each_source_was_heard() -> None:
    lanes = heard(A, B)
    assert len(lanes.link_lost(0.1, alone=False)) == 1
    lanes.heartbeat(A, {}, 0.15)
    assert lanes.blind() == {EVERYTHING}
    lanes.heartbeat(B, {}, 0.15)
    assert lanes.blind() == frozenset()


def test_a_lane_newly_listened_to_is_blind_until_the_next_heartbeat() -> None:
    lanes = heard(lanes=frozenset({"Todo"}))
    lanes.listen(frozenset({"Todo", "Note"}))
    assert lanes.blind() == {NOTE}
    assert said(lanes.heartbeat(A, {"Note": 3}, 0.1)) == [("new-lane", NOTE)]
    assert lanes.blind() == frozenset()
    lanes.listen(None)
    assert lanes.blind() == {EVENTS}


def test_an_old_heartbeat_vouches_for_nothing() -> None:
    lanes = heard()
    assert said(lanes.tick(2.0)) == [("silent", EVERYTHING)]
    assert lanes.heartbeat(A, {}, 1.5) == []
    assert lanes.blind() == {EVERYTHING}


def test_forged_sources_are_bounded_and_push_out_no_honest_one() -> None:
    lanes = make(most=10)
    lanes.heartbeat(A, {}, 0.0)
    for number in range(100):
        lanes.number(f"f{number}.1", "Todo", 5, 0.0)
    assert len(lanes.sources) == 10
    assert A in lanes.sources


def test_forged_lanes_are_bounded() -> None:
    lanes = heard()
    for number in range(3_000):
        assert lanes.number(A, f"L{number}", 2, 0.0)
    assert len(lanes.sources[A].seen) < 1_100


# Random schedules


class Publisher:
    """One run of a node in the model; knows what it said and when."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heads: dict[str, int] = {}


class World:
    """A publisher, a wire with two queues that delays, loses, repeats and reorders, and the tracker under test."""

    def __init__(self, seed: int, cls: type[Lanes]) -> None:
        self.random = random.Random(seed)
        self.lanes = make(cls)
        self.now = 0.0
        self.epoch = 0
        self.wire: list[tuple[float, int, tuple[object, ...]]] = []
        self.open: dict[tuple[str, str, int], float] = {}  # neither delivered nor doubted → when it was published
        self.cut_until = -1.0
        self.quiet_until = -1.0
        self.loss = self.random.choice([0.0, 0.05, 0.3])
        self.order = 0
        self.start()

    def start(self) -> None:
        self.epoch += 1
        self.publisher = Publisher(f"n.{self.epoch:x}")
        self.hear(self.lanes.appeared(self.publisher.name, self.now))
        self.hear(self.lanes.heartbeat(self.publisher.name, {}, self.now))
        self.next_beat = self.now + BEAT

    def send(self, *message: object, loss: float, longest: float) -> None:
        if self.now < self.cut_until or self.random.random() < loss:
            return
        for _ in range(2 if self.random.random() < 0.05 else 1):
            self.order += 1
            self.wire.append((self.now + self.random.uniform(0, longest), self.order, message))

    def publish(self) -> None:
        lane = self.random.choice(["Todo", "Note", "Rare"] if self.random.random() < 0.1 else ["Todo", "Note"])
        number = self.publisher.heads[lane] = self.publisher.heads.get(lane, 0) + 1
        self.open[self.publisher.name, lane, number] = self.now
        self.send("number", self.publisher.name, lane, number, loss=self.loss, longest=0.03)

    def hear(self, doubts: list[Doubt]) -> None:
        for doubt in doubts:
            self.open = {
                event: at
                for event, at in self.open.items()
                if not doubt.scope.includes(KeyExpr(f"events/{event[1]}/1/1"))
            }

    def deliver(self) -> None:
        due = sorted(message for message in self.wire if message[0] <= self.now)
        self.wire = [message for message in self.wire if message[0] > self.now]
        for _, _, (kind, *arguments) in due:
            if kind == "number":
                name, lane, number = arguments
                self.hear(self.lanes.number(name, lane, number, self.now))  # type: ignore[arg-type]
                self.open.pop((name, lane, number), None)  # type: ignore[arg-type]
            else:
                self.hear(getattr(self.lanes, str(kind))(*arguments, self.now))

    def step(self) -> str | None:
        self.now += 0.01
        draw = self.random.random()
        if self.now >= self.quiet_until and draw < 0.3:
            self.publish()
        elif draw > 0.997:
            self.quiet_until = self.now + self.random.uniform(0, 1)  # then a tail is lost for long if at all
        elif draw > 0.994:
            self.cut_until = self.now + self.random.uniform(0, 1)  # silently
        elif draw > 0.992:
            if self.now >= self.cut_until and self.random.random() < 0.5:
                self.send("bye", self.publisher.name, dict(self.publisher.heads), loss=0, longest=0.03)
            if self.now >= self.cut_until:
                self.start()
        if self.now >= self.next_beat:
            self.next_beat = self.now + BEAT
            self.send("heartbeat", self.publisher.name, dict(self.publisher.heads), loss=0.0, longest=0.03)
        self.deliver()
        self.hear(self.lanes.tick(self.now))
        blind = bool(self.lanes.blind())
        late = [event for event, at in self.open.items() if self.now - at > SILENCE + 2 * BEAT and not blind]
        return f"at {self.now:.2f} nobody noticed {late}" if late else None


def first_fault(seed: int, cls: type[Lanes] = Lanes) -> str | None:
    world = World(seed, cls)
    return next((fault for _ in range(600) if (fault := world.step())), None)


@pytest.mark.parametrize("seed", range(60))
def test_i4_whatever_is_lost_is_doubted_or_blind_within_the_bound(seed: int) -> None:
    assert first_fault(seed) is None


class NoGaps(Lanes):
    def number(self, name: str, lane: str, number: int, now: float) -> list[Doubt]:
        return [doubt for doubt in super().number(name, lane, number, now) if doubt.reason != "gap"]


class NoTails(Lanes):
    def _compare(self, source: Source, heads: Mapping[str, int], now: float, doubts: list[Doubt]) -> None:
        pass


class NoSilence(Lanes):
    def tick(self, now: float) -> list[Doubt]:
        for source in self.sources.values():
            if source.state is not State.LOST:
                source.heard_at = now
        return super().tick(now)


@pytest.mark.parametrize("planted", [NoGaps, NoTails, NoSilence])
def test_the_search_finds_what_is_planted(planted: type[Lanes]) -> None:
    assert any(first_fault(seed, planted) for seed in range(60))
