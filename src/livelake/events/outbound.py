"""What goes out: one thread puts events, changes and heartbeats on the wire, in the order of their numbers.

Only it puts, and a wire that blocks (up to 5 s) holds up nobody else: publishers see a full outbox, others a source
that is silent. A heartbeat names what was put before it, and what has waited since the last heartbeat: on a wire
that is slower than its publishers heartbeats are on time, and events are not. The thread is no daemon and looks
whether the main thread is still there: a session that nobody closed would hang the interpreter's exit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from livelake.errors import SourceError
from livelake.events import frames
from livelake.events.bell import Bell
from livelake.events.box import Box

__all__ = ["Outbound", "Parcel"]

_log: Final = logging.getLogger("livelake.events")
_MOST_BYTES: Final = 67_108_864


class Parcel(NamedTuple):
    """Something to put."""

    key: str
    payload: bytes
    tag: bytes
    lane: str
    number: int


class Outbound:
    """The outbox and its thread, between `start` and `stop`. Any thread; ``put`` is `ZenohSession.put`.

    ``at_exit`` is called in its thread when the main thread has ended and nobody has stopped it. ``numbered`` tells
    the number of the last publication of each lane; by default heartbeats name only what was put.
    """

    def __init__(
        self,
        tagger: frames.Tagger,
        put: Callable[[str, bytes, bytes], None],
        *,
        heartbeat: float,
        most_items: int,
        at_exit: Callable[[], None],
        numbered: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self.box: Box[Parcel] = Box(most_items, _MOST_BYTES)
        self.room = Bell()
        """Rung when the outbox has become shorter."""
        self.failed = 0
        self._tagger = tagger
        self._put = put
        self._interval = heartbeat
        self._at_exit = at_exit
        self._numbered = numbered
        self._heads: dict[str, int] = {}
        self._due: Mapping[str, int] = {}  # what was numbered at the last heartbeat
        self._beat_key = f"livelake/heartbeat/{tagger.node}"
        self._stopping = threading.Event()
        self._deadline = 0.0
        self._thread = threading.Thread(target=self._run, name=f"livelake-out-{tagger.node}", daemon=False)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Put what is left, for at most ``timeout`` seconds, say goodbye, and end; whether that was done in time."""
        self._deadline = time.monotonic() + timeout
        self._stopping.set()
        self.box.nudge()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout + 0.5)
        return not self._thread.is_alive()

    def _run(self) -> None:
        due = 0.0
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= due:
                self._beat()
                due = now + self._interval
                if not threading.main_thread().is_alive():
                    self._finish()
                    self._at_exit()
                    return
            parcel = self.box.take(due - now)
            if parcel is not None:
                self._send(parcel)
        self._finish()

    def _finish(self) -> None:
        while (parcel := self.box.take(0)) is not None or len(self.box):
            if self._deadline and time.monotonic() > self._deadline:
                _log.warning("%d publications did not leave in time; others will notice the hole", len(self.box) + 1)
                break
            if parcel is not None:
                self._send(parcel)
        self._beat(bye=True)

    def _send(self, parcel: Parcel) -> None:
        self._heads[parcel.lane] = parcel.number  # also if it fails: then the heartbeat tells of the loss
        self._try(parcel.key, parcel.payload, parcel.tag)
        self.room.ring()

    def _beat(self, *, bye: bool = False) -> None:
        numbered = self._numbered()
        due = numbered if bye else self._due
        self._due = numbered
        waiting = {lane: number for lane, number in due.items() if number > self._heads.get(lane, 0)}
        self._try(self._beat_key, frames.write_heartbeat(self._heads | waiting, bye=bye), self._tagger.tag(0))

    def _try(self, key: str, payload: bytes, tag: bytes) -> None:
        try:
            self._put(key, payload, tag)
        except SourceError as error:
            self.failed += 1
            if self.failed == 1 or self.failed % 1000 == 0:
                _log.warning("%s (%d so far)", error, self.failed)
