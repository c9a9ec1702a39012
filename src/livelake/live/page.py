"""`Page`: several queries watched as one, so that what is shown together belongs together (I7).

A page's `Frame` carries a snapshot of each catalog, and every panel in it was computed at that snapshot, or at
another at which its tables had the same rows. Nothing is locked for that. A round reads what has changed through the
cache, at one snapshot where it must be computed (`Joint`); then the panels are compared:

    read at its snapshot, or before it and not overtaken by it ──► belongs to the frame
    otherwise ──► read again, all that is stale at once; after some tries without sharing others' flights
    not there in time ──► *late*: what was there before stays, marked, and the round goes on without it

Lives on the event loop of its lake. A page holds no queue: whoever looks takes the newest frame (I5, I8).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from livelake.cache import SEVERAL, Change, Read
from livelake.cache.refresh import Touch
from livelake.clock import Clock
from livelake.lake import Answer, Joint, Query, Result
from livelake.lake.log import NEVER
from livelake.live.feed import State, overtaken_since
from livelake.live.updates import FIRST, Reason, ended

log = logging.getLogger("livelake.live")

PATIENCE: Final = 1.0
"""Seconds for which a round waits for a slow panel before the others are shown without it."""

_SHARED_TRIES: Final = 3
_TRIES: Final = 6
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0


class Source(Protocol):
    """What a page needs of its lake."""

    async def read_for(self, question: Query, touch: Touch, joint: Joint, *, fresh: bool) -> Read[Answer]: ...

    async def caught_up(self, at: Mapping[str, int]) -> bool:
        """Whether every commit up to ``at`` has been applied to the cache; looks for them."""
        ...

    def again_in(self, read: Read[Answer]) -> float | None:
        """Seconds after which time alone makes it untrue."""
        ...

    def release(self, read: Read[Answer] | None, touch: Touch) -> None: ...

    def result_of(self, read: Read[Answer]) -> Result: ...

    def joint(self) -> Joint: ...


@dataclass(frozen=True, slots=True)
class Frame:
    """What a page shows. ``panels``: a state for each query, numbered by the frame that it came with."""

    number: int = 0
    at: Mapping[str, int] = field(default_factory=dict)
    """The snapshot of each catalog at which every panel is right that is not late, has not failed and is not lazy."""
    panels: tuple[State, ...] = ()
    late: frozenset[int] = frozenset()
    """Panels that show an earlier state, or none yet, because theirs is still being computed."""


class _Panel:
    """One query of a page: its newest read, and what is under way."""

    def __init__(self, question: Query, eager: bool, touched: Callable[[_Panel], None]) -> None:
        self.question = question
        self.eager = eager
        self.read: Read[Answer] | None = None
        self.task: asyncio.Task[Read[Answer]] | None = None
        self.error: Exception | None = None
        self.reason = FIRST  # why what it shows followed what it showed
        self.failures = 0
        self.due: float | None = 0.0  # monotonic; when it is to be read again though nothing has changed
        self.touch = lambda: touched(self)

    @property
    def is_done(self) -> bool:
        """Whether a lazy one has what it is to show."""
        return not self.eager and (self.read is not None or self.error is not None)


class Page:
    """Made by `LiveLake.page`; `close` it. ``eager``: for each question, whether it is read again after a change."""

    def __init__(
        self,
        source: Source,
        questions: Sequence[Query],
        eager: Sequence[bool],
        clock: Clock,
        patience: float = PATIENCE,
    ) -> None:
        self.frame = Frame(panels=(State(),) * len(questions))
        self.closed = False
        self.patience = patience
        self._source = source
        self._monotonic = clock.monotonic
        self._loop = asyncio.get_running_loop()
        self._panels = [
            _Panel(each, is_eager, self._touched) for each, is_eager in zip(questions, eager, strict=True)
        ]
        self._changed: set[_Panel] = set()
        self._news = asyncio.Event()
        self._listeners: dict[Callable[[], None], None] = {}
        self._task = self._loop.create_task(self._run())

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """For each panel, why its state followed the one before."""
        return tuple(each.reason for each in self._panels)

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake()`` after each change of the frame; returns what ends that."""
        self._listeners[wake] = None
        return lambda: self._listeners.pop(wake, None)

    async def close(self) -> None:
        """Stop watching and wake everyone for the last time. Closing twice is fine."""
        self.closed = True
        tasks = [self._task, *(each.task for each in self._panels if each.task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in self._panels:
            self._source.release(each.read, each.touch)
            self._source.release(None, each.touch)
            each.read = None
        self._wake()

    # ---------------------------------------------------------------- rounds

    async def _run(self) -> None:
        while True:
            self._news.clear()
            now = self._monotonic()
            changed, self._changed = self._changed, set()
            due = [
                each
                for each in self._panels
                if not each.is_done and (each in changed or (each.due is not None and each.due <= now))
            ]
            overtaken = {each for each in changed if each.is_done}
            try:
                if await self._round(due) or overtaken:
                    self._publish(overtaken)
            except Exception:
                log.exception("a page met an error that it does not know; it goes on")
                await asyncio.sleep(_FIRST_PAUSE)
            await self._sleep()

    async def _sleep(self) -> None:
        next_due = min((each.due for each in self._panels if each.due is not None and not each.is_done), default=None)
        left = None if next_due is None else max(0.0, next_due - self._monotonic())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._news.wait()

    async def _round(self, due: Collection[_Panel]) -> bool:
        """Read what is due, and again what does not belong together. Whether anything was read."""
        if not due and not any(each.task is not None for each in self._panels):
            return False
        self._late: set[_Panel] = set()
        for attempt in range(_TRIES):
            await self._read(due, fresh=attempt >= _SHARED_TRIES)
            if not await self._source.caught_up(self._at()):  # nobody can tell what belongs together
                self._late = {each for each in self._panels if self._can_retry(each)}
                break
            self._late = self._apart()
            if not self._late:
                break
            # All that is stale at once: what is right now may be overtaken by what the late ones will be read at.
            due = [each for each in self._panels if each in self._late or (self._can_retry(each) and _is_stale(each))]
            due = [each for each in due if each.task is None]
            if not due:
                break
        return True

    async def _read(self, due: Iterable[_Panel], *, fresh: bool) -> None:
        """Start to read, and wait for all that is under way, as long as there is patience."""
        joint = self._source.joint()
        for each in due:
            if each.task is None:
                anew = fresh or (each.read is not None and not each.read.value.exact)
                each.due = None
                each.task = self._loop.create_task(
                    self._source.read_for(each.question, each.touch, joint, fresh=anew)
                )
                each.task.add_done_callback(lambda _task: self._news.set())
        under_way = [each.task for each in self._panels if each.task is not None]
        try:
            if under_way:
                await asyncio.wait(under_way, timeout=self.patience)
        finally:
            joint.close()
        for each in self._panels:
            if each.task is not None and each.task.done():
                task, each.task = each.task, None
                self._take(each, task)

    def _take(self, panel: _Panel, task: asyncio.Task[Read[Answer]]) -> None:
        """What a read has brought."""
        now = self._monotonic()
        before = None if panel.read is None else panel.read.slot
        try:
            read = task.result()
        except Exception as error:
            panel.error, panel.reason = error, ended(before)
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**panel.failures) * random.uniform(0.75, 1.25)  # noqa: S311
            panel.failures += 1
            panel.due = now + pause
            return
        if read.slot is not before:
            panel.reason = ended(before)
        self._source.release(panel.read, panel.touch)
        panel.read, panel.error, panel.failures = read, None, 0
        again = self._source.again_in(read)
        panel.due = None if again is None else now + again
        if read.slot.is_stale:  # it was touched while it was being read, perhaps in a round that is over
            self._note(panel)

    # ---------------------------------------------------------------- comparing

    def _can_retry(self, panel: _Panel) -> bool:
        return panel.eager and panel.read is not None and panel.error is None

    def _at(self) -> dict[str, int]:
        """The newest snapshot of each catalog that any panel was read at."""
        at: dict[str, int] = {}
        for each in self._panels:
            if self._can_retry(each) and each.read is not None:
                for name, version in (each.read.slot.pinned or {}).items():
                    at[name] = max(version, at.get(name, version))
        return at

    def _apart(self) -> set[_Panel]:
        """The panels whose answers are not right at the snapshot of the others."""
        at = self._at()
        return {each for each in self._panels if self._can_retry(each) and not _is_right_at(each.read, at)}

    # ---------------------------------------------------------------- telling

    def _publish(self, overtaken: Collection[_Panel]) -> None:
        """A new frame, if anything in it differs from the last."""
        number = self.frame.number + 1
        states = [
            self._state(each, before, number, each in overtaken)
            for each, before in zip(self._panels, self.frame.panels, strict=True)
        ]
        late = frozenset(
            at for at, each in enumerate(self._panels) if each in self._late or (each.task and each.error is None)
        )
        differs = late != self.frame.late or any(state.number == number for state in states)
        self.frame = Frame(number if differs else number - 1, self._at(), tuple(states), late)
        if differs:
            self._wake()

    def _state(self, panel: _Panel, before: State, number: int, overtaken: bool) -> State:
        if panel.read is None and panel.error is None:
            return before
        result = before.result if panel.read is None else self._source.result_of(panel.read)
        error = overtaken_since() if overtaken else panel.error
        if panel.is_done and before.error is not None and not overtaken:
            error = before.error
        same = (
            (result is None) == (before.result is None)
            and (result is None or before.result is None or result.etag == before.result.etag)
            and str(error) == str(before.error)
        )
        return replace(before, result=result, error=error) if same else State(number, result, error)

    def _touched(self, panel: _Panel) -> None:
        """It may have changed. Called from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody watches any more
            self._loop.call_soon_threadsafe(self._note, panel)

    def _note(self, panel: _Panel) -> None:
        self._changed.add(panel)
        self._news.set()

    def _wake(self) -> None:
        for wake in list(self._listeners):
            wake()


def _is_stale(panel: _Panel) -> bool:
    return panel.read is not None and panel.read.slot.is_stale


def _is_right_at(read: Read[Answer] | None, at: Mapping[str, int]) -> bool:
    """Whether an answer is also that of the snapshot ``at``, which is not older and has been applied."""
    if read is None:
        return True
    slot = read.slot
    if not read.value.exact:  # it may have read more than it says
        return False
    if not slot.is_stale or not slot.pinned:
        return True
    cause, source, until = slot.dropped_by, None, -1
    if isinstance(cause, Change):
        if cause.version >= NEVER:  # equal numbers may be of two histories
            return False
        # Once it is stale it hears of nothing more. The change that it heard of is the first of that catalog that it
        # has not seen, for they are applied in their order; unless it stands for several.
        if cause.key != SEVERAL:
            source, until = cause.source, cause.version
    return all(
        at.get(name) == version or (name == source and at.get(name, until) < until)
        for name, version in slot.pinned.items()
    )
