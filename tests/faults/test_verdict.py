"""The judge: what is late, what is noticed, what is excused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from faults.truth import PER_NODE, Truth
from faults.verdict import Record, judge


class Told:
    """Commits of one aggregate at given times."""

    aggregates = 1

    def __init__(self, *times: float, wild: tuple[int, ...] = ()) -> None:
        self.times, self.wild = times, wild

    def version(self, aggregate: int) -> int:
        return len(self.times)

    def committed_at(self, aggregate: int, version: int) -> float | None:
        return self.times[version - 1] if 1 <= version <= len(self.times) else None

    def is_wild(self, aggregate: int, version: int) -> bool:
        return version in self.wild


def test_a_read_is_late_when_it_returns_what_was_replaced_before_the_bound() -> None:
    reads = [(1.0, 0, 0), (1.4, 0, 0), (1.6, 0, 0), (9.0, 0, 1)]
    verdict = judge(Record(reads=reads, events=[(1.0, 0, 1)]), Told(1.0), 0.5)
    assert verdict.late == [(1.6, 0, 0, pytest.approx(0.6))]
    assert verdict.oldest == pytest.approx(0.6)


def test_a_process_that_did_not_run_is_given_the_bound_from_when_it_did() -> None:
    read, stall = (3.0, 0, 0), (0.9, 2.7)
    assert judge(Record(reads=[read]), Told(1.0), 0.5).late
    assert not judge(Record(reads=[read], stalls=[stall]), Told(1.0), 0.5).late
    assert judge(Record(reads=[read], stalls=[(0.9, 2.4)]), Told(1.0), 0.5).late
    assert judge(Record(reads=[read], stalls=[(0.2, 0.9), (3.1, 4.0)]), Told(1.0), 0.5).late


def test_what_did_not_come_is_lost_and_is_noticed_by_a_doubt_about_it_or_by_blindness() -> None:
    doubts = [(0.5, "**", "gap", ""), (1.1, "events/User/**", "gap", ""), (1.2, "events/Todo/**", "gap", "")]
    verdict = judge(Record(ended=9.0, events=[(1.1, 0, 1)], doubts=doubts), Told(1.0, 1.0), 0.5)
    assert (verdict.sent, verdict.lost, verdict.noticed) == (2, 1, [pytest.approx(0.2)])
    verdict = judge(Record(ended=9.0, blind=[(0.2, 0.3), (0.9, 1.1), (3.0, 4.0)]), Told(1.0, 2.0), 0.5)
    assert verdict.noticed == [0.0, pytest.approx(1.0)]
    assert judge(Record(ended=9.0), Told(1.0), 0.5).noticed == [math.inf]


def test_only_events_that_were_sent_while_it_was_noted_count() -> None:
    verdict = judge(Record(began=1.5, ended=2.5, doubts=[(2.0, "**", "gap", "")]), Told(1.0, 2.0, 3.0), 0.5)
    assert (verdict.sent, verdict.lost) == (1, 1)
    assert judge(Record(), Told(1.0, 2.0, wild=(2,)), 0.5).sent == 1


def test_only_who_was_cut_off_and_forgotten_is_excused_until_it_is_heard() -> None:
    forgotten = [(2.0, "**", "forgotten", "p0.1")]
    record = Record(ended=9.0, reads=[(4.0, 0, 0), (7.0, 0, 0)], doubts=forgotten, heard=[(5.0, frozenset({"p0.1"}))])
    assert len(judge(record, Told(3.0), 0.5).late) == 2
    cut = [("p0", 0.0, 4.5)]
    assert [when for when, *_ in judge(record, Told(5.5), 0.5, cut=cut).late] == [7.0]
    assert judge(record, Told(3.0), 0.5, cut=cut).excused == 3
    assert not judge(record, Told(3.0), 0.5, cut=[("p1", 0.0, 4.5)]).excused
    assert not judge(record, Told(3.0), 0.5, cut=[("p0", 3.0, 4.5)]).excused


def test_the_truth_is_shared_by_path_and_survives_its_writer(tmp_path: Path) -> None:
    one = Truth(tmp_path / "truth", PER_NODE)
    assert one.committed_at(3, 1) is None
    assert [one.commit(3), one.commit(3, wild=True)] == [1, 2]
    other = Truth(tmp_path / "truth", PER_NODE)
    assert other.version(3) == 2
    assert [other.is_wild(3, 1), other.is_wild(3, 2)] == [False, True]
    first, second = other.committed_at(3, 1), other.committed_at(3, 2)
    assert first is not None
    assert second is not None
    assert first <= second
    assert [other.version(2), other.version(4)] == [0, 0]
