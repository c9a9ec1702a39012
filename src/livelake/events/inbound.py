"""What comes in: callbacks put it into one bounded inbox, one thread tracks and delivers it.

The callbacks run in threads of Zenoh's and do nothing but put; a full inbox refuses, and is then emptied: the numbers
of what is thrown away are still read, and one doubt covers it. Doubts are handed over before the message that
showed them, and a position is reached when both were handed over. Whatever is not as livelake writes it is
answered with a doubt about all that it may have meant, counted, and logged a few times a minute at most.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from livelake.errors import EventError, KeyExprError
from livelake.events import frames
from livelake.events.box import Box
from livelake.events.codec import MAX_BYTES, decode_at
from livelake.events.delivery import Delivery
from livelake.events.event import Change, Doubt, Event
from livelake.events.lanes import Lanes, Source
from livelake.keys import KeyExpr

if TYPE_CHECKING:
    from livelake.events.zenoh_session import Sample

__all__ = ["Inbound"]

_log: Final = logging.getLogger("livelake.events")
_MOST_BYTES: Final = 67_108_864
_OVERHEAD: Final = 256  # about what a sample costs beside its payload
_BATCH: Final = 64  # messages between two looks at the clock
_LOG_EVERY: Final = 10.0
_NOTHING: Final[frozenset[KeyExpr]] = frozenset()


class Inbound:
    """The inbox, its thread, and the tracker, between `start` and `stop`. The ``on_…`` are callbacks, O(1)."""

    def __init__(
        self, own: str, lanes: Lanes, delivery: Delivery, *, silence: float, most_items: int, needs_link: bool
    ) -> None:
        self.received = 0  # messages on the lanes and of changes
        self.overflows = 0
        self.undecodable = 0
        self.reasons: Counter[str] = Counter()
        self.links: set[str] = set()
        self.box: Box[tuple[Any, ...]] = Box(most_items, _MOST_BYTES)  # messages; or what to call and with what
        self._own = own
        self._lanes = lanes
        self._delivery = delivery
        self._step = silence / 6
        self._needs_link = needs_link
        self._lock = threading.Lock()  # guards the tracker and what is blind; no handler runs in it
        self._blind = self._held = _NOTHING
        self._skimming = False
        self._overflowed = False
        self._frontier = 0.0  # what arrived before that was handled: when the last heartbeat came
        self._log_after = 0.0
        self._unlogged = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"livelake-in-{own}", daemon=False)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is still in the inbox is dropped."""
        self._stopping.set()
        self.box.nudge()
        if threading.current_thread() is not self._thread:
            self._thread.join(5.0)

    def begin_with(self, links: set[str]) -> None:
        """The links that there are before anything is heard; where one is needed and missing, all is blind."""
        self.links = set(links)
        if self._needs_link and not links:
            with self._lock:
                self._lanes.link_lost(time.monotonic(), alone=True)
                self._blind = self._lanes.blind()

    # Callbacks

    def on_message(self, sample: Sample) -> None:
        self.received += 1
        self._enter(None, sample)

    def on_heartbeat(self, sample: Sample) -> None:
        self._enter(time.monotonic(), sample)

    def _enter(self, heard_at: float | None, sample: Sample) -> None:
        """Into the inbox go bytes of ours: a sample holds on to the buffer that it came in, 9 kB and more."""
        key, payload, attachment = str(sample.key_expr), sample.payload, sample.attachment
        size = len(payload)
        if size > MAX_BYTES:  # let it go at once: a few of those would fill the memory
            if heard_at is not None:
                return
            key = key[:4096]
            item: tuple[Any, ...] = (self._handle_misfit, (key, f"a payload of {size:,} bytes", None))
            size = 0
        else:
            tag = b"" if attachment is None or len(attachment) > frames.LONGEST_TAG else attachment.to_bytes()
            item = (key, payload.to_bytes(), tag, heard_at)
        if not self.box.put(item, size + len(key) + _OVERHEAD):
            self._overflowed = True

    def on_token(self, key: str, there: bool) -> None:
        if not self.box.put((self._handle_token, (key, there, time.monotonic())), len(key) + _OVERHEAD):
            self._overflowed = True

    def on_link(self, other: str, there: bool) -> None:
        self.box.put((self._handle_link, (other, there, time.monotonic())), _OVERHEAD, force=True)

    # What is so

    def blind(self) -> frozenset[KeyExpr]:
        return self._blind

    def is_over(self, lane: str) -> bool:
        """Whether the source of that lane has ended."""
        with self._lock:
            return self._lanes.is_over(lane.rpartition("/")[0])

    def sources(self) -> list[dict[str, object]]:
        """Each source, as plain data; ``blind_for`` is seconds."""
        now = time.monotonic()
        with self._lock:
            return [_shown(source, now) for source in self._lanes.sources.values()]

    def listen(self, lanes: frozenset[str] | None) -> None:
        with self._lock:
            self._lanes.listen(lanes)
            self._blind = self._held | self._lanes.blind()

    # The thread

    def _run(self) -> None:
        due = time.monotonic() + self._step
        late = False
        while not self._stopping.is_set():
            self._work(due)
            now = time.monotonic()
            if self._overflowed:
                self._spill(now)
            if now < due:
                continue
            starved = now - due > self._step and not late  # let in once what waits in queues before us
            late, due = starved, now + self._step
            if not starved:
                self._tell(self._ticked(now))

    def _work(self, due: float) -> None:
        """Handle what is there, for a batch; wait for it until ``due``."""
        item = self.box.take(due - time.monotonic())
        for _ in range(_BATCH):
            if item is None:
                return
            self._handle(item)
            item = self.box.take(0)
        if item is not None:
            self._handle(item)

    def _handle(self, item: tuple[Any, ...]) -> None:
        try:
            if len(item) == 2:
                item[0](*item[1])
                return
            key, data, tag, heard_at = item
            if heard_at is None:
                self._handle_message(key, data, frames.read_tag(tag))
            else:
                self._handle_heartbeat(key, data, frames.read_tag(tag), heard_at)
        except Exception:
            _log.exception("a message could not be handled")
            self._tell([Doubt(frames.EVERYTHING, "internal")])

    def _spill(self, now: float) -> None:
        """Empty the inbox without delivering; the numbers are read, so that they make no hole."""
        self.overflows += 1
        self._overflowed = False
        self._skimming = True
        count = 0
        try:
            for _ in range(len(self.box)):
                item = self.box.take(0)
                if item is not None:
                    count += 1
                    self._handle(item)
        finally:
            self._skimming = False
        _log.warning("the inbox overflowed; %d messages were dropped, and all that events touch is in doubt", count)
        self._tell([Doubt(frames.EVERYTHING, "overflow")])

    def _handle_message(self, key: str, data: bytes, tag: tuple[str, int, bool] | None) -> None:
        if tag is None:
            self._handle_foreign(key, data)
            return
        source, number, rest = tag
        if key.startswith("livelake/change/"):
            lane = frames.CHANGES
        elif key.startswith("events/") and "*" not in key:
            lane = frames.REST if rest else frames.lane_of(key)
        else:
            self._handle_foreign(key, data)
            return
        signal = None if self._skimming else self._read(key, data, lane, source)
        changed = False
        with self._lock:
            doubts = self._lanes.number(source, lane, number, time.monotonic())
            if doubts or self._lanes.blind() != self._blind:
                self._hold(self._blind)
                changed = True
        if changed:
            self._tell(doubts)
        if signal is None:
            self._delivery.reach([(f"{source}/{lane}", number)])
        else:
            self._delivery.deliver(signal, f"{source}/{lane}", number)

    def _read(self, key: str, data: bytes, lane: str, source: str) -> Event | Change | Doubt:
        """What a numbered message says; a doubt about all that it may say if it cannot be read."""
        try:
            if lane is frames.CHANGES:
                return Change(KeyExpr(data.decode()), source)
            return decode_at(data, key)
        except (EventError, KeyExprError, UnicodeError) as error:
            self._note_misfit(key, str(error))
            return Doubt(frames.scope_of(lane), "undecodable", source)

    def _handle_foreign(self, key: str, data: bytes) -> None:
        """A message that no livelake numbered: it counts, and whether others were lost is not known."""
        if key.startswith("livelake/change/"):
            try:
                scope = KeyExpr(data.decode())
            except (KeyExprError, UnicodeError) as error:
                self._handle_misfit(key, str(error), None)
                return
        else:
            try:
                scope = KeyExpr(key)
            except KeyExprError as error:
                self._handle_misfit(key, str(error), None)
                return
        self._note_misfit(key, "it has no number")
        signal: Event | Change = Change(scope)
        if not scope.is_wild and scope.startswith("events/"):
            try:
                signal = decode_at(data, key)
            except EventError:
                signal = Change(scope)
        self._deliver(signal)
        self._tell([Doubt(scope, "unnumbered")])

    def _handle_misfit(self, key: str, why: str, source: str | None) -> None:
        """A message whose meaning cannot be told."""
        self._note_misfit(key, why)
        scope = frames.EVENTS if key.startswith("events/") else frames.EVERYTHING
        self._tell([Doubt(scope, "undecodable", source)])

    def _handle_heartbeat(self, key: str, data: bytes, tag: tuple[str, int, bool] | None, now: float) -> None:
        try:
            heartbeat = frames.read_heartbeat(data)
        except EventError as error:
            self._note_misfit(key, str(error))
            return  # nothing was vouched for: silence says the rest
        if tag is None:
            self._note_misfit(key, "it has no number")
            return
        name = tag[0]
        self._frontier = now
        with self._lock:
            before = self._lanes.blind()
            hear = self._lanes.bye if heartbeat.bye else self._lanes.heartbeat
            doubts = hear(name, heartbeat.heads, now)
            self._hold(before)
            source = self._lanes.sources.get(name)
            seen = list(source.seen.items()) if source is not None else []
        self._tell(doubts)
        if seen:
            positions = self._delivery.positions
            moved = [(f"{name}/{lane}", n) for lane, n in seen if positions.get(f"{name}/{lane}") != n]
            if moved:
                self._delivery.reach(moved)

    def _handle_token(self, key: str, there: bool, now: float) -> None:
        name = frames.read_source(key)
        if name is None or name == self._own:
            return
        with self._lock:
            before = self._lanes.blind()
            doubts = (self._lanes.appeared if there else self._lanes.gone)(name, now)
            self._hold(before)
        self._tell(doubts)

    def _handle_link(self, other: str, there: bool, now: float) -> None:
        (self.links.add if there else self.links.discard)(other)
        with self._lock:
            before = self._lanes.blind()
            alone = self._needs_link and not self.links
            doubts = self._lanes.link_back() if there else self._lanes.link_lost(now, alone=alone)
            self._hold(before)
        self._tell(doubts)

    def _ticked(self, now: float) -> list[Doubt]:
        with self._lock:
            before = self._lanes.blind()
            doubts = self._lanes.tick(now, self._frontier if len(self.box) else now)
            self._hold(before)
        return doubts

    # Doubts, and what is blind: in before its doubt, out after it

    def _hold(self, before: frozenset[KeyExpr] = _NOTHING) -> None:
        """Be blind as before and as now until the doubts were told. The caller has the lock."""
        self._held = before
        self._blind = before | self._lanes.blind()

    def _tell(self, doubts: Iterable[Doubt]) -> None:
        for doubt in doubts:
            self.reasons[doubt.reason] += 1
            self._deliver(doubt)
        with self._lock:
            self._held = _NOTHING
            self._blind = self._lanes.blind()
            forgotten, self._lanes.forgotten = self._lanes.forgotten, []
        for source in forgotten:
            self._delivery.forget([f"{source.name}/{lane}" for lane in source.seen])

    def _deliver(self, signal: Event | Change | Doubt) -> None:
        if not self._skimming:
            self._delivery.deliver(signal)

    def _note_misfit(self, key: str, why: str) -> None:
        self.undecodable += 1
        self._unlogged += 1
        now = time.monotonic()
        if now >= self._log_after:
            self._log_after = now + _LOG_EVERY
            _log.warning("a message on %.120a is not one of livelake's: %.200a (%d so far)", key, why, self._unlogged)


def _shown(source: Source, now: float) -> dict[str, object]:
    return {
        "node": source.node,
        "epoch": f"{source.epoch:x}",
        "state": source.state.value,
        "lanes": dict(source.seen),
        "blind_for": None if source.state.value == "heard" else round(now - source.since, 3),
    }
