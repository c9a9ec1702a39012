"""Who was heard how far, what was missed, and what cannot be vouched for. Pure: no wire, no thread, no clock.

Each source numbers each of its lanes (see `frames`) from 1 without holes, and says ten times a second in a heartbeat
how far each has come. So a hole is a loss; a heartbeat that is ahead of the events is a loss at the tail; and a
source that is not heard may be saying anything. What is missed is answered with a `Doubt`; what may be
missed at this moment is *blind* until the source is heard again.

    state of a source   means                                    leaves it
    NEW                 first sign, no heartbeat yet: blind      heartbeat → HEARD · silence → LOST
    HEARD               its heads are known                      silence, token gone, link lost → LOST
    LOST                not heard: blind                         heartbeat → HEARD · lease + bound → forgotten

Going to LOST costs a doubt about everything, for the source may begin a lane that nobody knows of; so does coming
back. A source that is forgotten, after a last doubt, blinds nobody for ever. Only a heartbeat vouches: events
come in other queues, and a queue can be old. Sources are runs: a node that starts again is another source, and
its former run is forgotten as soon as it is lost. Beside the sources stands our own link: without one, all is blind.

Events and heartbeats come in queues of their own and may overtake each other. So a heartbeat that is ahead waits
``grace`` seconds for what is on its way; and one that is behind is believed when the next is still behind: then
the number was forged, and what it hid for two heartbeats is doubted.

Not thread-safe. ``now`` is monotonic seconds of the moment when a message arrived, not when it is looked at: an inbox
that lags is a source that is silent.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from livelake.events.event import Doubt
from livelake.events.frames import CHANGES, EVENTS, EVERYTHING, MAX_LANES, REST, scope_of
from livelake.keys import KeyExpr

__all__ = ["Lanes", "Source", "State"]

_CLEAR: Final[frozenset[KeyExpr]] = frozenset()
_ALL: Final = frozenset({EVERYTHING})
_MOST_DOUBTS: Final = 16  # of one heartbeat; more are folded into one
_REMEMBERED: Final = 4_096


class State(Enum):
    """See the table above."""

    NEW = "new"
    HEARD = "heard"
    LOST = "lost"


@dataclass(slots=True, eq=False)
class Source:
    """What is known of one run of a node."""

    name: str
    heard_at: float
    """When the last heartbeat came; when it was met, before the first."""
    since: float
    """Since when it is in its state."""
    state: State = State.NEW
    seen: dict[str, int] = field(default_factory=dict)
    """Lane → the last number that was heard of, or doubted."""
    late: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Lane → (head that a heartbeat named, when it becomes a loss)."""
    ahead: dict[str, int] = field(default_factory=dict)
    """Lane → number that was past the heartbeat."""
    learning: set[KeyExpr] = field(default_factory=set)
    """Scopes that are newly listened to, until the next heartbeat."""
    leaving: bool = False
    parting: float | None = None
    """When its token went, if it has not said goodbye: that may come in another queue."""

    @property
    def node(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def epoch(self) -> int:
        try:
            return int(self.name.rpartition(".")[2], 16)
        except ValueError:  # a name that a user made up
            return 1 << 64


class Lanes:
    """The tracker. Each method tells what was heard of and returns the doubts that follow, in order.

    ``silence``: seconds without a heartbeat after which a source is LOST. ``grace``: see above.
    ``patience``: seconds for which a LOST source blinds before it is forgotten.
    """

    def __init__(self, *, silence: float, grace: float, patience: float, most_sources: int = 1024) -> None:
        self._silence, self._grace, self._patience = silence, grace, patience
        self._most = most_sources
        self.sources: dict[str, Source] = {}
        self._unsure: set[str] = set()  # sources that are NEW or LOST
        self._learning: set[str] = set()  # sources with something in `learning`
        self._over: OrderedDict[str, None] = OrderedDict()  # sources that said goodbye or were forgotten
        self._listening: frozenset[str] | None = frozenset()  # lanes; None is all
        self._unlinked = False
        self._now = 0.0
        self.forgotten: list[Source] = []
        """Sources that have gone since the caller last emptied this."""

    # What is so

    def blind(self) -> frozenset[KeyExpr]:
        """What cannot be vouched for now."""
        if self._unlinked or self._unsure:
            return _ALL
        if self._learning:
            return frozenset().union(*(self.sources[name].learning for name in self._learning))
        return _CLEAR

    def is_over(self, name: str) -> bool:
        """Whether that source has ended, and all that it could have said was delivered or doubted."""
        if name in self.sources:
            return False
        if name in self._over:
            return True
        return self._has_successor(Source(name, 0, 0))

    # What is heard

    def number(self, name: str, lane: str, number: int, now: float) -> list[Doubt]:
        """A numbered message has come."""
        source = self.sources.get(name)
        doubts: list[Doubt] = []
        if source is None:
            if name in self._over:
                return doubts  # it has overtaken, or was overtaken by, the goodbye, which vouched for it
            source = self._meet(name, now, doubts)
        seen = source.seen.get(lane, 0)
        if number <= seen:
            return doubts  # again, or late: its hole was doubted
        if seen == 0 and len(source.seen) >= MAX_LANES + 2 and lane not in source.seen:
            doubts.append(Doubt(scope_of(lane), "too many lanes", name))  # no livelake does that
            return doubts
        source.seen[lane] = number
        if number != seen + 1:
            doubts.append(Doubt(scope_of(lane), "gap", name))
        if source.late and lane in source.late and number >= source.late[lane][0]:
            del source.late[lane]
        return doubts

    def heartbeat(self, name: str, heads: Mapping[str, int], now: float) -> list[Doubt]:
        """A heartbeat has come."""
        doubts: list[Doubt] = []
        source = self.sources.get(name) or self._meet(name, now, doubts)
        source.heard_at = max(source.heard_at, now)
        if now >= self._now - self._silence:  # else it has lain in a queue for too long to vouch for anything
            self._believe(source, heads, now, doubts)
        return doubts

    def bye(self, name: str, heads: Mapping[str, int], now: float) -> list[Doubt]:
        """The last heartbeat: once what is on its way has come, or was doubted, the source is forgotten."""
        if name not in self.sources:
            self._note_over(name)
            return []
        doubts: list[Doubt] = []
        source = self.sources[name]
        self._believe(source, heads, now, doubts)  # however old: nothing comes after it
        source.leaving = True
        if not source.late:
            self._forget(source)
        return doubts

    def appeared(self, name: str, now: float) -> list[Doubt]:
        """Its liveliness token was seen. Blind until its first heartbeat, which tells what was missed."""
        doubts: list[Doubt] = []
        if name not in self.sources and name not in self._over:
            self._meet(name, now, doubts)
        return doubts

    def gone(self, name: str, now: float) -> list[Doubt]:
        """Its liveliness token has gone. If no goodbye comes within the grace, it crashed, or the way to it did."""
        source = self.sources.get(name)
        if source is not None and source.parting is None and source.state is not State.LOST:
            source.parting = now
        return []

    def link_lost(self, now: float, *, alone: bool) -> list[Doubt]:
        """A link was lost, and who is behind it is not known; ``alone``: it was the last, and we want one."""
        told = self._unlinked
        self._unlinked = self._unlinked or alone
        lost = [source for source in self.sources.values() if source.state is not State.LOST]
        for source in lost:
            self._lose(source, now)
        return [Doubt(EVERYTHING, "link-lost")] if lost or (alone and not told) else []

    def link_back(self) -> list[Doubt]:
        """There is a link again. Those who were LOST meanwhile have been given no time to come back yet."""
        if not self._unlinked:
            return []
        self._unlinked = False
        for source in self.sources.values():
            if source.state is State.LOST:
                source.since = self._now
        return [Doubt(EVERYTHING, "link-back")]

    def tick(self, now: float, frontier: float | None = None) -> list[Doubt]:
        """Time has passed. All that arrived until ``frontier`` was looked at: ``now``, unless the inbox lags."""
        self._now = now
        looked_at = now if frontier is None else frontier
        doubts: list[Doubt] = []
        for source in list(self.sources.values()):
            if source.late:
                self._expire(source, looked_at, doubts)
            if source.leaving and not source.late:
                self._forget(source)
            elif source.state is not State.LOST:
                parted = source.parting is not None and looked_at - source.parting >= self._grace
                if parted or now - source.heard_at > self._silence:
                    self._lose(source, now)
                    doubts.append(Doubt(EVERYTHING, "token-lost" if parted else "silent", source.name))
            elif self._has_successor(source) or (not self._unlinked and now - source.since > self._patience):
                self._forget(source)
                doubts.append(Doubt(EVERYTHING, "forgotten", source.name))
        return doubts

    def listen(self, lanes: frozenset[str] | None) -> None:
        """From now on messages of these lanes come here, all if None. What is new is blind until a heartbeat."""
        before, self._listening = self._listening, lanes
        if lanes is None:
            new = {EVENTS} if before is not None else set()
        else:
            new = {scope_of(lane) for lane in lanes - before} if before is not None else set()
        if new:
            for source in self.sources.values():
                source.learning |= new
                self._learning.add(source.name)

    # How it is done

    def _hears(self, lane: str) -> bool:
        if self._listening is None or lane == CHANGES:
            return True
        return lane in self._listening or (lane == REST and bool(self._listening))

    def _meet(self, name: str, now: float, doubts: list[Doubt]) -> Source:
        if (
            len(self.sources) >= self._most
        ):  # one that never had a heartbeat first: forged names push out no honest ones
            victim = self.sources[next(iter(self._unsure), next(iter(self.sources)))]
            self._forget(victim)
            doubts.append(Doubt(EVERYTHING, "evicted", victim.name))
        source = self.sources[name] = Source(name, now, now)
        self._unsure.add(name)
        self._over.pop(name, None)
        return source

    def _lose(self, source: Source, now: float) -> None:
        source.state, source.since, source.parting = State.LOST, now, None
        self._unsure.add(source.name)

    def _forget(self, source: Source) -> None:
        del self.sources[source.name]
        self._unsure.discard(source.name)
        self._learning.discard(source.name)
        self._note_over(source.name)
        self.forgotten.append(source)

    def _note_over(self, name: str) -> None:
        self._over[name] = None
        if len(self._over) > _REMEMBERED:
            self._over.popitem(last=False)

    def _has_successor(self, source: Source) -> bool:
        node, epoch = source.node, source.epoch
        return any(s.node == node and s.epoch > epoch and s.state is State.HEARD for s in self.sources.values())

    def _believe(self, source: Source, heads: Mapping[str, int], now: float, doubts: list[Doubt]) -> None:
        """Take the heads for what was said until ``now``; doubt what of it was not heard."""
        match source.state:
            case State.HEARD:
                self._compare(source, heads, now, doubts)
            case State.NEW:
                self._take_over(source, heads, doubts)
            case State.LOST:
                source.seen = dict(heads)
                doubts.append(Doubt(EVERYTHING, "back", source.name))
        if source.learning:
            source.learning.clear()
            self._learning.discard(source.name)
        if source.state is not State.HEARD:
            source.state, source.since = State.HEARD, now
            source.late.clear()
            source.ahead.clear()
            self._unsure.discard(source.name)

    def _take_over(self, source: Source, heads: Mapping[str, int], doubts: list[Doubt]) -> None:
        """Its first heartbeat: doubt each lane that is past what was seen."""
        missed = [lane for lane, head in heads.items() if head > source.seen.get(lane, 0)]
        source.seen.update({lane: heads[lane] for lane in missed})
        doubts += _folded((scope_of(lane) for lane in missed if self._hears(lane)), "new-source", source.name)

    def _compare(self, source: Source, heads: Mapping[str, int], now: float, doubts: list[Doubt]) -> None:
        """What a heartbeat says against what was seen."""
        seen, late, new = source.seen, source.late, source.learning
        missed: list[KeyExpr] = []
        for lane, head in heads.items():
            if head > seen.get(lane, 0):
                if not self._hears(lane):
                    seen[lane] = head
                elif new and (
                    EVENTS in new or scope_of(lane) in new
                ):  # events of before it was listened to are missing, and nobody waits for them
                    seen[lane] = head
                    missed.append(scope_of(lane))
                elif lane not in late:
                    late[lane] = (head, now + self._grace)
        doubts += _folded(missed, "new-lane", source.name)
        forged = self._still_ahead(source, heads)
        for lane in forged:
            seen[lane] = heads.get(lane, 0)
        doubts += _folded((scope_of(lane) for lane in forged), "reset", source.name)

    @staticmethod
    def _still_ahead(source: Source, heads: Mapping[str, int]) -> list[str]:
        """Lanes whose number was past the last heartbeat, and is past this one: no source numbers so."""
        forged = [lane for lane, number in source.ahead.items() if number > heads.get(lane, 0)]
        source.ahead = {
            lane: number for lane, number in source.seen.items() if number > heads.get(lane, 0) and lane not in forged
        }
        return forged

    def _expire(self, source: Source, now: float, doubts: list[Doubt]) -> None:
        """What was waited for long enough is lost."""
        lost = [lane for lane, (_, deadline) in source.late.items() if now >= deadline]
        missed = []
        for lane in lost:
            head, _ = source.late.pop(lane)
            if source.seen.get(lane, 0) < head:
                source.seen[lane] = head
                missed.append(scope_of(lane))
        doubts += _folded(missed, "tail-gap", source.name)


def _folded(scopes: Iterable[KeyExpr], reason: str, source: str) -> list[Doubt]:
    """A doubt for each scope, or few for many."""
    found = list(scopes)
    if EVERYTHING in found:
        found = [EVERYTHING]
    elif len(found) > _MOST_DOUBTS:
        found = [EVENTS]
    return [Doubt(scope, reason, source) for scope in found]
