"""What the rig judges by: reads and signals of one process, against the truth. Pure.

A read is *late* if it began more than ``bound`` after the commit of the version that follows the one it returned. A
lost event is *noticed* when a doubt covers it, or while the bus is blind. Both are counted from when the reading
process last stood still for more than 50 ms, if that is later: who does not run notices nothing, and the bound counts
from when it does.

*Excused* is what `docs/bus.md` says is not covered, and nothing else: commits of a publisher that the rig cut off or
froze for so long that it was forgotten, from then until it is heard again.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from faults.truth import PER_NODE, type_of

Span = tuple[float, float]


class Commits(Protocol):
    aggregates: int

    def version(self, aggregate: int) -> int: ...
    def committed_at(self, aggregate: int, version: int) -> float | None: ...
    def is_wild(self, aggregate: int, version: int) -> bool: ...


@dataclass
class Record:
    """What one process noted between two moments."""

    began: float = 0.0
    ended: float = math.inf
    reads: list[tuple[float, int, int]] = field(default_factory=list)
    """(when it began, aggregate, version)"""
    events: list[tuple[float, int, int]] = field(default_factory=list)
    """(when, aggregate, version)"""
    doubts: list[tuple[float, str, str, str]] = field(default_factory=list)
    """(when, scope, reason, source)"""
    heard: list[tuple[float, frozenset[str]]] = field(default_factory=list)
    """(when it changed, sources that are heard)"""
    blind: list[Span] = field(default_factory=list)
    stalls: list[Span] = field(default_factory=list)


@dataclass
class Verdict:
    """Times are seconds."""

    sent: int
    """Events that were committed and published, or ought to have been."""
    lost: int
    """Of them, those that never came."""
    noticed: list[float]
    """After what time each lost one was noticed, in order; infinite if it was not."""
    late: list[tuple[float, int, int, float]]
    """Reads past the bound: (when, aggregate, version, age)."""
    oldest: float
    """The longest time after a commit that a read returned what was before it, whether it is late or not."""
    excused: int
    """Late reads and unnoticed losses that are excused."""
    blind: float
    seconds: float
    stalled: float

    def noticed_at(self, quantile: float) -> float:
        return self.noticed[min(int(quantile * len(self.noticed)), len(self.noticed) - 1)] if self.noticed else 0.0

    def row(self) -> str:
        told = " / ".join(f"{1000 * self.noticed_at(q):.0f}" for q in (0.5, 0.99, 1.0))
        return (
            f"{self.sent:7,} sent {self.lost:7,} lost   noticed p50/p99/max {told} ms   oldest read"
            f" {1000 * self.oldest:.0f} ms   late {len(self.late)}   excused {self.excused}   bypassed"
            f" {self.blind:.1f} of {self.seconds:.1f} s   stalled {self.stalled:.1f} s"
        )


def judge(record: Record, truth: Commits, bound: float, *, cut: Iterable[tuple[str, float, float]] = ()) -> Verdict:
    """``cut``: (node, from, until) for each time that the rig froze a publisher or cut it off."""
    stalls = _Stalls(record.stalls)
    excuses = _excuses(record, cut)
    late, oldest, excused = [], 0.0, 0
    for began, aggregate, version in record.reads:
        committed = truth.committed_at(aggregate, version + 1)
        if committed is None or committed >= began:
            continue
        age = began - stalls.counted_from(committed, began)
        if _is_excused(excuses, aggregate, committed, began):
            excused += age > bound
            continue
        oldest = max(oldest, age)
        if age > bound:
            late.append((began, aggregate, version, age))
    sent, lost = _lost(record, truth)
    noticed = []
    for aggregate, committed in lost:
        at = _noticed_at(record, aggregate, committed)
        age = max(at - stalls.counted_from(committed, at), 0.0)
        if _is_excused(excuses, aggregate, committed, min(at, record.ended)):
            excused += age > bound
        else:
            noticed.append(age)
    return Verdict(
        sent=sent,
        lost=len(lost),
        noticed=sorted(noticed),
        late=late,
        oldest=oldest,
        excused=excused,
        blind=sum(end - start for start, end in record.blind),
        seconds=record.ended - record.began,
        stalled=sum(end - start for start, end in record.stalls),
    )


class _Stalls:
    def __init__(self, spans: list[Span]) -> None:
        self._spans = sorted(spans)
        self._starts = [start for start, _ in self._spans]

    def counted_from(self, start: float, end: float) -> float:
        """``start``, or the end of the last stall between it and ``end``."""
        index = bisect_right(self._starts, end) - 1
        return max(start, min(self._spans[index][1], end)) if index >= 0 else start


def _lost(record: Record, truth: Commits) -> tuple[int, list[tuple[int, float]]]:
    """How many events were sent while it was noted, and (aggregate, committed at) of those that did not come."""
    came = {(aggregate, version) for _, aggregate, version in record.events}
    sent, lost = 0, []
    for aggregate in range(truth.aggregates):
        for version in range(truth.version(aggregate), 0, -1):
            committed = truth.committed_at(aggregate, version)
            if committed is None or committed < record.began:
                break
            if committed <= record.ended and not truth.is_wild(aggregate, version):
                sent += 1
                if (aggregate, version) not in came:
                    lost.append((aggregate, committed))
    return sent, lost


def _noticed_at(record: Record, aggregate: int, committed: float) -> float:
    """When a doubt covered it, or the bus was blind, first after that."""
    scopes = ("**", "events/**", f"events/{type_of(aggregate)}/**")
    index = bisect_right(record.doubts, (committed, "", "", ""))
    doubts = (when for when, scope, _, _ in record.doubts[index:] if scope in scopes)
    blind = (max(start, committed) for start, end in record.blind if end > committed)
    return min(next(doubts, math.inf), min(blind, default=math.inf))


def _excuses(record: Record, cut: Iterable[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """(node, from, until) for each publisher that was forgotten while it was cut off."""
    found = []
    for node, start, end in cut:
        for when, _, reason, source in record.doubts:
            if reason == "forgotten" and source.rpartition(".")[0] == node and start <= when <= end + 1.0:
                back = [at for at, names in record.heard if at > when and source in names]
                found.append((node, when, back[0] if back else math.inf))
    return found


def _is_excused(excuses: list[tuple[str, float, float]], aggregate: int, committed: float, at: float) -> bool:
    """Whether at some moment between the two its publisher was nobody that we knew of."""
    node = f"p{aggregate // PER_NODE}"
    return any(each == node and start <= at and committed <= end for each, start, end in excuses)
