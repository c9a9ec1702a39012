"""Computing an answer: pin, plan, narrow, run; in a transaction of its own or in one that a page shares.

On a worker's thread, with that worker's session. What moves while it reads (rows that are compacted away, files that
are written, a catalog that is attached again, an instance of DuckDB that has died) is noticed, and it is read again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from livelake.cache import Flight
from livelake.clock import Clock
from livelake.engine import Engine, Limits, Session, UnkeepableError
from livelake.errors import BusyError, QueryError, RefusedError, SourceError, TooLargeError
from livelake.lake.answer import Answer
from livelake.lake.attached import Attached
from livelake.lake.joint import Joint
from livelake.lake.log import CountedLog, SnapshotLog
from livelake.lake.planner import Planner
from livelake.lake.question import Query, short
from livelake.lake.stillness import Look
from livelake.lake.travel import Travel, Trip
from livelake.lake.watcher import Watcher

_MOVE_RETRIES = 8
_HEALINGS = 2
_TORN_RETRIES = 3


class Computing:
    """See the module. Any thread, each with a session of its own."""

    def __init__(
        self,
        engine: Engine,
        attached: Attached,
        watcher: Watcher,
        planner: Planner,
        travel: Travel,
        clock: Clock,
        limits: Limits,
        *,
        counts_writes: bool,
    ) -> None:
        self._engine = engine
        self._attached = attached
        self._watcher = watcher
        self._planner = planner
        self._travel = travel
        self._clock = clock
        self._limits = limits
        self._counts_writes = counts_writes

    async def run(self, flight: Flight[Answer], question: Query, joint: Joint | None) -> Answer:
        """The answer for a flight; at the snapshot of ``joint``, if there is one and it goes well."""
        if joint is not None:
            try:
                return await self._jointly(joint, flight, question)
            except (RefusedError, TooLargeError):
                raise
            except (QueryError, SourceError):
                pass  # then by itself, where it is healed and tried again
        return await self._engine.pool.run(
            lambda session: self._compute(session, flight, question), deadline=self._limits.deadline
        )

    def foresee_now(self, session: Session, question: Query) -> Trip:
        """`foresee` in a transaction of its own."""
        counted = self._counted()
        with session.transaction(read_only=True):
            return self.foresee(session, question, counted)

    @contextlib.contextmanager
    def pinned(self, session: Session) -> Iterator[Mapping[str, int]]:
        """A transaction in which every catalog is pinned, and their states."""
        self._attached.check_files()
        with contextlib.ExitStack() as reading:
            with self._watcher.settled if self._counts_writes else contextlib.nullcontext():
                counted = self._counted()
                reading.enter_context(session.transaction(read_only=True))
                at = self._planner.pin(session, counted)
                if counted:  # DuckDB begins to read a database when it is first looked at
                    session.fetchone("SELECT count(*) FROM system.main.duckdb_schemas()")
            yield at

    async def _jointly(self, joint: Joint, flight: Flight[Answer], question: Query) -> Answer:
        def step(session: Session, at: Mapping[str, int], since: int) -> Answer:
            if flight.begun_after != since:  # it has not been told of what came after the joint had begun
                raise SourceError(f"{short(question.sql)} was asked after a change that this snapshot is older than")
            return self._read_jointly(session, at, flight, question)

        try:
            async with asyncio.timeout(self._limits.deadline) as limit:
                return await joint.run(step)
        except TimeoutError:
            if not limit.expired():
                raise
            raise BusyError(f"{short(question.sql)} ran past its deadline of {self._limits.deadline:g} s") from None

    def _read_jointly(
        self, session: Session, at: Mapping[str, int], flight: Flight[Answer], question: Query
    ) -> Answer:
        answer, trip = self._read(session, flight, question, {name: at[name] for name in self._counted()})
        if self._has_moved(session, trip) or self._watcher.files.is_torn(answer.footprint.files):
            raise SourceError(f"rows were moved, or files were written, while {short(question.sql)} ran")
        self._travel.check_there(session, question.as_of)
        return replace(answer, exact=True)

    def _counted(self) -> dict[str, int]:
        """The writes so far to catalogs without snapshots."""
        return {name: log.head for name, log in self._watcher.logs.items() if isinstance(log, CountedLog)}

    def _look_at_files(self) -> dict[str, Look | None]:
        logs = self._watcher.logs.items()
        return {name: log.look_at_file() for name, log in logs if isinstance(log, SnapshotLog)}

    def _has_moved(self, session: Session, trip: Trip, before: Mapping[str, Look | None] | None = None) -> bool:
        """Whether rows that were read may have been moved; ``before``: looks from before the transaction."""
        for name, at in trip.heads.items():
            log = self._watcher.logs[name]
            if isinstance(log, SnapshotLog):
                read = {(table.schema, table.table) for table in trip.reads.tables if table.catalog == name}
                if log.moved_since(session, at, read, (before or {}).get(name)):
                    return True
        return False

    def _compute(self, session: Session, flight: Flight[Answer], question: Query) -> Answer:
        """The answer, on a worker's thread; read again if rows were moved, or files written, under it."""
        healed = torn = 0
        for _ in range(_MOVE_RETRIES):
            self._attached.check_files()
            renewals = self._attached.renewals()
            try:
                counted, before = self._counted(), self._look_at_files()
                with session.transaction(read_only=True):
                    answer, trip = self._read(session, flight, question, counted)
            except UnkeepableError:
                continue  # the engine knows better now
            except (QueryError, SourceError) as error:
                if healed == _HEALINGS or not self._attached.heal(error, renewals, past=question.as_of is not None):
                    raise self._travel.blame(session, question.as_of, error) from error
                healed += 1
                session.refresh()  # everything may have been opened anew
                continue
            if self._has_moved(session, trip, before):
                continue
            if not self._watcher.files.is_torn(answer.footprint.files) or torn == _TORN_RETRIES:
                # One that is written without a pause is torn each time, and its answer not kept.
                self._travel.check_there(session, question.as_of)
                return replace(answer, exact=not self._counts_writes)
            torn += 1
        raise BusyError(f"rows were moved again and again while {short(question.sql)} ran; try again")

    def _read(
        self, session: Session, flight: Flight[Answer], question: Query, counted: Mapping[str, int]
    ) -> tuple[Answer, Trip]:
        """Pin, plan, narrow, run, within a transaction. ``counted``: from before it began."""
        trip = self.foresee(session, question, counted)
        self._attached.vouch(trip.reads)
        footprint, until = trip.footprint, trip.footprint.valid_until
        flight.pin(
            footprint.pins,
            footprint.depends_on,
            valid_until=None if until is None else until.timestamp(),
            keep=footprint.why_not is None,
        )
        renaming = {"rename": trip.rename} if trip.as_of else {}
        terms = question.terms
        caps = self._limits.caps(terms.max_rows, terms.max_result_bytes, guarded=terms.untrusted)
        data = session.read(trip.sql, question.parameters, caps, **renaming)
        return Answer(data, footprint, datetime.fromtimestamp(flight.slot.computed_at, UTC)), trip

    def foresee(self, session: Session, question: Query, counted: Mapping[str, int]) -> Trip:
        """What the question reads, and on what its answer depends if this transaction computes it."""
        now = self._clock.now()
        if question.as_of is not None:
            trip = self._travel.foresee(session, question, counted, now)
        else:
            found, footprint = self._planner.foresee(session, question, counted, now)
            trip = Trip(question.sql, found, footprint, footprint.as_of, {})
        return replace(trip, footprint=self._attached.bounded(trip.reads, trip.footprint, question.ttl, now))
