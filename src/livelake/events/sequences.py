"""Which sequence an event gets: one more than the last of its aggregate, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from livelake.errors import EventError
from livelake.events.event import MAX_SEQUENCE, Event

__all__ = ["Sequences"]

_LARGEST_FLOOR: Final = 2**62


class Sequences:
    """The last sequence of each aggregate, for a bounded number of aggregates. Not thread-safe."""

    def __init__(self, remembered: int) -> None:
        self._remembered = remembered
        self._last: OrderedDict[tuple[str, str], int] = OrderedDict()  # least lately published first
        self._forgotten = 0  # no forgotten aggregate was past this

    def next(self, event: Event) -> int:
        """The sequence that the event has or is given, noted as its aggregate's last if it is the largest."""
        aggregate = (event.aggregate_type, event.aggregate_id)
        last = self._last.get(aggregate, self._forgotten)
        sequence = last + 1 if event.sequence is None else event.sequence
        if sequence > MAX_SEQUENCE:
            raise EventError(f"the sequences of {aggregate!r} are used up; publish it with a sequence of its own.")
        self._last[aggregate] = max(last, sequence)
        self._last.move_to_end(aggregate)
        if len(self._last) > self._remembered:
            _, gone = self._last.popitem(last=False)
            if gone < _LARGEST_FLOOR:  # else one absurd sequence would use up those of everyone
                self._forgotten = max(self._forgotten, gone)
        return sequence
