"""The planner: what a question reads and at which snapshots, as one transaction sees them.

Called on a worker's thread inside the transaction that then runs the query (I2): what is pinned here is what is
read there. Safe to use from several threads, each with a session of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cached_property, partial

from livelake.engine import (
    Engine,
    Hidden,
    Reads,
    Realm,
    Session,
    Zones,
    gate,
    guard,
    identifier,
    masked,
    reads,
    refuse,
)
from livelake.errors import QueryError
from livelake.lake.files import Look, is_local
from livelake.lake.footprint import Footprint, Logs, footprint_of
from livelake.lake.log import SnapshotLog
from livelake.lake.plans import Plan, Plans
from livelake.lake.question import Query, has_null
from livelake.lake.validity import valid_until

Watch = Callable[[Iterable[str]], tuple[int, Mapping[str, Look]]]


class Planner:
    """Pins and plans. ``logs``: one for each catalog; ``watch``: looks at the files of these names, from then on."""

    def __init__(self, engine: Engine, logs: Logs, watch: Watch) -> None:
        self._engine = engine
        self._logs = logs
        self._watch = watch
        self._plans = Plans()
        self._zones = Zones(engine.time_zone)

    @cached_property
    def realm(self) -> Realm:
        """What somebody who is not trusted may name."""
        return Realm(frozenset(self._logs), self._engine.builtins, self._engine.internal_views)

    def forget(self) -> None:
        """Every text is new again."""
        self._plans.forget()

    def admit(self, session: Session, question: Query) -> None:
        """Raise QueryError for a text that may not be asked. Before it is bound: binding opens files."""
        if question.terms.untrusted:
            guard(session, question.sql, self.realm)
        else:
            gate(session, question.sql, reads_only=True)

    def accept(self, question: Query, found: Reads) -> None:
        """Raise QueryError for a plan that shows what may not be asked."""
        refuse_changes(found)
        if question.terms.untrusted:
            refuse(found, self.realm)

    def foresee(
        self, session: Session, question: Query, counted: Mapping[str, int], now: datetime
    ) -> tuple[Reads, Footprint]:
        """What the question reads, and on what its answer depends if this transaction computes it.

        ``counted``: the states of the catalogs without snapshots, as they were before the transaction began;
        ``now``: from when a declared ttl counts. Raises QueryError for what is not one SELECT. Costs 2 ms for a
        new text beyond the look at each catalog's snapshot.
        """
        plan, pinned = self._pin(session, question, counted)
        until = self.until(session, plan.reads)
        names = {file.path for file in plan.reads.files if is_local(file.path)}
        seen = self._watch(names) if names else None
        footprint = footprint_of(
            plan.reads, pinned, self._logs, now, question.depends_on, question.ttl, until=until, seen=seen
        )
        return plan.reads, footprint

    def pin(self, session: Session, counted: Mapping[str, int]) -> dict[str, int]:
        """The state of every catalog, which this transaction reads from now on."""
        return self._snapshots(session, self._logs, counted)

    def until(self, session: Session, found: Reads) -> datetime | None:
        """When the first of the steps of time in what is read is over."""
        return valid_until(session, found.steps, self._zones)

    def hidden(self, session: Session, sql: str, pinned: Mapping[str, int]) -> Hidden:
        """What views and macros as they are at these snapshots hide; see `livelake.engine.reads`."""
        return partial(self._plans.definitions(self._schemas(pinned), self._engine.builtins).hidden, session, sql)

    def _pin(self, session: Session, question: Query, counted: Mapping[str, int]) -> tuple[Plan, dict[str, int]]:
        """The plan of a text and the state of each catalog that it reads, both as this transaction sees them."""
        sql, parameters = question.sql, question.parameters
        untrusted = question.terms.untrusted
        plan = self._plans.known(sql, untrusted=untrusted)
        if plan is not None:
            pinned = self._snapshots(session, plan.schemas, counted)
            if plan.schemas == self._schemas(pinned):
                return plan, pinned
        self.admit(session, question)
        found, pinned = self._read(session, question, counted)
        schemas = self._schemas(pinned)
        self.accept(question, found)
        plan = Plan(found, schemas)
        by_value = has_null(parameters) or found.given - self._engine.builtins
        if found.planned and None not in schemas.values() and not by_value and not found.files:
            self._plans.remember(sql, plan, untrusted=untrusted)
        return plan, pinned

    def _read(self, session: Session, question: Query, counted: Mapping[str, int]) -> tuple[Reads, dict[str, int]]:
        """What a text reads, and the state of every catalog: views and macros lead into some that it does not name.

        Files that it names are taken out of the plan first, unless a macro has their name.
        """
        sql, parameters = question.sql, question.parameters
        # Who may read no files has been refused them already.
        named = None if question.terms.untrusted else masked(session, sql, parameters, self._engine.cursor)
        if named is not None:
            pinned = self.pin(session, counted)
            macros = self._plans.definitions(self._schemas(pinned), self._engine.builtins).macros(session)
            if not {word for macro in macros for word in macro.name} & {file.function for file in named.files}:
                hidden = self.hidden(session, sql, pinned)
                return reads(named.plan, named.tree, heads=pinned, hidden=hidden, files=named.files), pinned
        lakes = () if parameters else tuple(name for name in self._logs if name not in counted)
        beside = ", ".join(f"(SELECT id FROM {identifier(name)}.current_snapshot())" for name in lakes)
        plan, tree, *snapshots = session.texts(sql, parameters, beside=beside)
        pinned = self._snapshots(session, self._logs.keys() - lakes, counted) | dict(
            zip(lakes, snapshots, strict=True)
        )
        return reads(plan, tree, heads=pinned, hidden=self.hidden(session, sql, pinned)), pinned

    def _snapshots(self, session: Session, names: Iterable[str], counted: Mapping[str, int]) -> dict[str, int]:
        """The state of each of these catalogs as this transaction sees it."""
        pinned: dict[str, int] = {}
        for name in names:
            if name in counted:
                pinned[name] = counted[name]
            elif name in self._logs:
                row = session.fetchone(f"SELECT id FROM {identifier(name)}.current_snapshot()")
                pinned[name] = int(row[0]) if row else -1
        return pinned

    def _schemas(self, pinned: Mapping[str, int]) -> dict[str, int | None]:
        """The schema version of each pinned snapshot; a plain database's plans hold until its next write."""
        schemas: dict[str, int | None] = {}
        for name, snapshot in pinned.items():
            log = self._logs[name]
            schemas[name] = log.schema_at(snapshot) if isinstance(log, SnapshotLog) else snapshot
        return schemas


def refuse_changes(found: Reads) -> None:
    """Raise QueryError for a query that would change something."""
    if found.changes:
        raise QueryError(f"only queries run here, and this one calls {', '.join(sorted(found.changes))}")
