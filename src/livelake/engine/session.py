"""`Session`: one DuckDB cursor and the rules for using it.

A session belongs to one thread at a time (two at once corrupt results silently in DuckDB, so here the second one
raises InternalError); only `interrupt` may come from any thread. Each call takes exactly one statement: DuckDB
itself would run all of ``SELECT 1; DROP TABLE t``. Errors are ours, with DuckDB's first line.

A *turn* is one job of the pool on the session. An interrupt stops the running statement and refuses the rest of
the turn; it never reaches the next turn. Outside a turn it stops the running statement only. ROLLBACK and COMMIT
are never interrupted.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final, Protocol, TypeVar

import duckdb

from livelake.engine.answering import UnkeepableError, answer
from livelake.engine.counters import Counters
from livelake.engine.door import FatalError, Interrupted, translate
from livelake.engine.interlude import Interlude
from livelake.engine.interrupt import Interrupter
from livelake.engine.limits import Caps
from livelake.engine.literals import value_literal
from livelake.engine.parameters import Parameters, check_parameters, with_values
from livelake.engine.quote import literal
from livelake.engine.result import ArrowData
from livelake.engine.serialized import BOTH, PARSE, PLAN, PLAN_OF_TREE
from livelake.engine.stranded import put_down, rolled_back
from livelake.errors import ClosedError, InternalError, LivelakeError, LostError, QueryError

T = TypeVar("T")

_CHANGES: Final = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE_INTO"})
_WRITES: Final = _CHANGES | {"CREATE", "DROP", "ALTER", "COPY", "CALL", "EXPORT", "VACUUM"}
_TRACELESS: Final = _CHANGES | {"SELECT", "EXPLAIN"}
"""Kinds that leave nothing on the cursor: no setting, variable, temporary table or open transaction."""

_CLOSE_SECONDS: Final = 30.0


class Host(Protocol):
    """What a session needs of its engine."""

    counters: Counters
    interrupter: Interrupter
    interlude: Interlude
    caps: Caps
    unkeepable: set[str]
    """Texts whose answer no temporary table can hold; see `answering`. One that is forgotten is found again."""
    generation: int

    @property
    def is_broken(self) -> bool:
        """Whether every cursor of now is of no use: `new_cursor` opens everything anew, or says why it cannot."""
        ...

    def new_cursor(self) -> duckdb.DuckDBPyConnection:
        """A private cursor. Raises ClosedError or FatalError."""
        ...

    def prepare_session(self, session: Session) -> None:
        """Bring a fresh cursor into the state that every job expects."""
        ...

    def broke(self, error: LivelakeError) -> None:
        """Remember that the instance is dead, or one of its databases."""
        ...

    def strand(self) -> None:
        """Remember that a cursor of the instance cannot be closed, and so the instance cannot; see `stranded`."""
        ...


class Session:
    """One cursor. Get one from `Engine.cursor`, or as the argument of a pool's job; close what you got."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._busy = threading.Lock()  # held while a statement runs: proves that one thread uses the cursor
        self._gate = threading.Lock()  # guards the next five, against `interrupt` and `close` from other threads
        self._is_closed = False
        self._in_turn = False
        self._running = False
        self._stopped = False
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._in_transaction = False
        self._is_clean = False
        self._generation = -1

    # -- statements

    def execute(self, sql: str, params: Parameters = None) -> None:
        """Run one statement to its end and drop its rows."""
        self._fetch(sql, params)

    def fetchall(self, sql: str, params: Parameters = None) -> list[tuple[Any, ...]]:
        """The rows of one statement of our own. A user's query goes through `read`, which is counted.

        TIMESTAMP WITH TIME ZONE needs ``pytz`` here, because DuckDB's client wants it: cast, or `read`.
        """
        return self._fetch(sql, params)

    def fetchone(self, sql: str, params: Parameters = None) -> tuple[Any, ...] | None:
        """The first row, or None. The whole result is read, so that nothing stays open on the cursor."""
        rows = self._fetch(sql, params)
        return rows[0] if rows else None

    def read(
        self,
        sql: str,
        params: Parameters = None,
        caps: Caps | None = None,
        *,
        rename: Callable[[str], str] | None = None,
    ) -> ArrowData:
        """The answer to a user's query, read completely. Counted as a read, failed or not.

        ``caps`` are the engine's own unless given. ``rename`` gives its columns other names than DuckDB does. Raises
        QueryError, ParameterError, SourceError, TooLargeError, or Interrupted. About 0.7 ms above the query's own
        cost.
        """
        statement = self._one(sql, params)
        self._host.counters.count("reads")
        caps = caps or self._host.caps
        keep = sql not in self._host.unkeepable
        try:
            return self._run(sql, lambda cursor: answer(cursor, statement, params, caps, rename, keep=keep))
        except UnkeepableError as error:
            self._is_clean = False
            if caps.guarded:
                raise
            self._host.unkeepable.add(sql)
            with suppress(QueryError):  # in a transaction, which is lost: whoever began it may begin another
                return self._run(sql, lambda cursor: answer(cursor, statement, params, caps, rename, keep=False))
            raise error

    def plan(self, sql: str, params: Parameters = None) -> str:
        """The unoptimised logical plan as JSON text, for `reads`; an error is inside of it, not raised.

        DuckDB cannot serialise a plan in which a parameter has no type yet (``$a IS NULL``, ``range($n)``), and
        takes 20 ms to say so. So the values of ``params`` stand in for them: such a plan may hold for these values
        only, see `Reads.given` and beware of NULL, which folds tables away as it does in the query itself.
        """
        if params and (tree := self.tree(sql, params)) is not None:
            planned = self.plan_of(tree)
            if not planned.startswith('{"error":true'):
                return planned
        return self._scalar(PLAN, sql)

    def plan_of(self, tree: Any) -> str:
        """`plan` of a syntax tree."""
        return self._scalar(PLAN_OF_TREE, json.dumps(tree))

    def tree(self, sql: str, params: Parameters = None) -> Any:
        """`parse`, read, with values in place of parameters. None for no SELECT, and for values without a literal."""
        tree = json.loads(self.parse(sql))
        if tree["error"] or not params:
            return None if tree["error"] else tree
        values = params if isinstance(params, Mapping) else {str(n): value for n, value in enumerate(params, 1)}
        literals = {str(name).lower(): value_literal(value) for name, value in values.items()}
        if None in literals.values():
            return None
        return with_values(tree, {name: self._expression(str(written)) for name, written in literals.items()})

    def texts(self, sql: str, params: Parameters = None, *, beside: str = "") -> tuple[Any, ...]:
        """`plan` and `parse` for `reads`, as one statement where there are no parameters.

        ``beside``: a FROM clause of one row, whose columns follow (0.3 ms less than by a statement of its own).
        """
        if params:
            return self.plan(sql, params), self.parse(sql)
        both = BOTH.format(literal(sql)) + (f", * FROM {beside}" if beside else "")
        found = self._run(sql, lambda cursor: cursor.execute(both).fetchone())
        if found is None:
            raise InternalError(f"DuckDB gave no row for {both}")
        return found

    def _expression(self, written: str) -> Any:
        """The syntax tree of one expression."""
        return json.loads(self.parse(f"SELECT {written}"))["statements"][0]["node"]["select_list"][0]

    def parse(self, sql: str) -> str:
        """The syntax tree of a SELECT as JSON text, for `reads`; an error is inside of it, not raised."""
        return self._scalar(PARSE, sql)

    def statements(self, sql: str) -> list[duckdb.Statement]:
        """What DuckDB's parser makes of the text (5 µs). Raises QueryError if it is no SQL."""
        return self._run(sql, lambda cursor: cursor.extract_statements(sql), is_query=False)

    @contextmanager
    def transaction(self, *, read_only: bool = False, lasting: bool = False) -> Iterator[None]:
        """BEGIN, then COMMIT; ROLLBACK on any exception, an interrupt and a cancellation included.

        A conflict at COMMIT raises ConflictError and leaves nothing behind. ``lasting``: it looks at no DuckLake and
        at nothing that is ever replaced, so nobody need wait for its end.
        """
        with nullcontext() if lasting else self._host.interlude.transaction():
            self._begin_transaction(read_only=read_only)
            self._in_transaction = not lasting
            try:
                yield
                self._refuse_if_stopped()
                self._raw("COMMIT")
                self._in_transaction = False
            except BaseException:
                self._rollback()
                raise

    @contextmanager
    def incoming(self, name: str, stream: object) -> Iterator[None]:
        """Let SQL on this cursor read an Arrow stream as ``name``. A capsule can be read once."""
        self._run("", lambda cursor: cursor.register(name, stream), is_query=False)
        try:
            yield
        finally:
            with suppress(LivelakeError):  # an aborted transaction takes the name away by itself
                self._run("", lambda cursor: cursor.unregister(name), interruptible=False, is_query=False)

    # -- interrupt

    def interrupt(self, *, between: bool = True) -> None:
        """Stop what runs, and the rest of the turn. Any thread; never waits; without effect when idle.

        Without ``between``, also without effect between two statements of a turn.
        """
        with self._gate:
            if not (self._running or (self._in_turn and between)):
                return
            self._stopped = True
        self._host.counters.count("interrupts")
        self._host.interrupter.add(self)

    def poke(self) -> bool:
        """For the interrupter: one more interrupt, if a statement that is to be stopped still runs."""
        with self._gate:  # held, so that the statement cannot end and another begin before the interrupt lands
            if not (self._stopped and self._running) or self._cursor is None:
                return False
            self._cursor.interrupt()
            return True

    def begin_turn(self) -> None:
        """For the pool: what follows is one job."""
        with self._gate:
            self._in_turn, self._stopped = True, False

    def end_turn(self) -> None:
        """For the pool: the job has ended; no interrupt may outlive it."""
        with self._gate:
            self._in_turn = self._stopped = False

    # -- the cursor

    def refresh(self) -> None:
        """Replace the cursor if an earlier job may have left something on it, or if preparation has changed."""
        if not self._is_clean or self._generation != self._host.generation or self._host.is_broken:
            self.renew()

    def renew(self) -> None:
        """A new, prepared cursor in place of the old one, whose open transaction is rolled back."""
        self._generation, self._is_clean = self._host.generation, False
        if self._is_closed:
            raise ClosedError("this session is closed; get another from the engine")
        fresh = self._host.new_cursor()
        with self._gate:
            old, self._cursor = self._cursor, fresh
        self._put_down(old)
        self._host.prepare_session(self)
        self._is_clean = True

    def close(self, patience: float = _CLOSE_SECONDS) -> bool:
        """Give the cursor back, once what runs has ended; whether it has within ``patience`` s. Twice is fine."""
        with self._gate:
            self._is_closed = True
        return self.lose(patience)

    def lose(self, patience: float) -> bool:
        """Give the cursor back, but not the session: `refresh` gets it another. As `close` otherwise."""
        if not self._busy.acquire(timeout=patience):
            return False  # DuckDB does not heed the interrupt; closing under a running statement would crash
        try:
            with self._gate:
                cursor, self._cursor = self._cursor, None
                self._is_clean = False
            self._put_down(cursor)
        finally:
            self._busy.release()
        return True

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "running" if self._running else "idle"
        return f"<Session {state}{', in a turn' if self._in_turn else ''}>"

    # -- inside

    def _fetch(self, sql: str, params: Parameters) -> list[tuple[Any, ...]]:
        statement = self._one(sql, params)
        return self._run(sql, lambda cursor: _rows(cursor, statement, params))

    def _scalar(self, sql: str, argument: str) -> str:
        found = self._run(argument, lambda cursor: cursor.execute(sql, [argument]).fetchone())
        if found is None:
            raise InternalError(f"DuckDB gave no row for {sql}")
        return str(found[0])

    def _one(self, sql: str, params: Parameters) -> duckdb.Statement:
        found = self.statements(sql)
        if len(found) != 1:
            raise QueryError(f"one statement at a time; this text holds {len(found)}: {sql[:80]!r}")
        check_parameters(found[0].named_parameters, params)
        kind = found[0].type.name
        if kind in _WRITES:
            self._host.counters.count("writes")
        if kind not in _TRACELESS:
            self._is_clean = False
        return found[0]

    def _begin_transaction(self, *, read_only: bool) -> None:
        sql = "BEGIN TRANSACTION READ ONLY" if read_only else "BEGIN TRANSACTION"
        self._run(sql, lambda cursor: cursor.execute(sql))

    def _rollback(self) -> None:
        """Back to a cursor without a transaction, whatever it takes; a COMMIT that failed has none already."""
        with suppress(LivelakeError):
            if self._run("ROLLBACK", rolled_back, interruptible=False):
                self._in_transaction = False
            else:
                self.renew()

    def _put_down(self, cursor: duckdb.DuckDBPyConnection | None) -> None:
        in_transaction, self._in_transaction = self._in_transaction, False
        if cursor is not None and not put_down(cursor, in_transaction=in_transaction):
            self._host.strand()

    def _raw(self, sql: str) -> None:
        self._run(sql, lambda cursor: cursor.execute(sql), interruptible=False)

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            raise Interrupted("interrupted before COMMIT")

    def _run(
        self,
        sql: str,
        call: Callable[[duckdb.DuckDBPyConnection], T],
        *,
        interruptible: bool = True,
        is_query: bool = True,
    ) -> T:
        """Use the cursor, alone; map what it raises."""
        if self._is_closed:
            raise ClosedError("this session is closed; get another from the engine")
        if not self._busy.acquire(blocking=False):
            raise InternalError("a session was used by two threads at once; every thread needs its own")
        try:
            with self._gate:
                cursor = self._cursor
                if cursor is None:
                    raise LostError("the databases were opened anew meanwhile; try again")
                if self._stopped and interruptible:
                    raise Interrupted("interrupted before it began")
                self._running = interruptible
            if is_query:
                self._host.counters.count("statements")
            return call(cursor)
        except (duckdb.Error, RuntimeError, OverflowError) as error:  # nanoarrow's are RuntimeErrors
            raise self._failed(translate(error, sql)) from error
        finally:
            with self._gate:
                self._running = False
                self._stopped = self._stopped and self._in_turn
            self._busy.release()

    def _failed(self, error: LivelakeError) -> LivelakeError:
        self._is_clean = False
        if not isinstance(error, Interrupted):
            self._host.counters.count("errors")
        if isinstance(error, FatalError | LostError):
            self._host.broke(error)
        return error


def _rows(
    cursor: duckdb.DuckDBPyConnection, statement: duckdb.Statement, params: Parameters
) -> list[tuple[Any, ...]]:
    cursor.execute(statement, params or None)
    return cursor.fetchall()
