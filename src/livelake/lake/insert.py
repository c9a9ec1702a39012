"""Insertions: rows, Arrow data and data frames into one table, checked against its columns.

Data are

- anything with ``__arrow_c_stream__`` or ``__arrow_c_array__`` (pyarrow, polars, pandas 2.2, nanoarrow, a `Result`
  of livelake's): columns go by name;
- an iterable of mappings, each with the same keys; or of sequences, with ``columns=`` to name their values.

Columns that the data do not have take their default. Values are cast as an INSERT casts them. Rows travel as
Arrow in batches; several batches are put aside in a temporary table first, so that one insertion is one file of a
DuckLake, however it came.

`batches` is for whoever owns the data; `pour` and `add` are steps on the writer's lane, inside its transaction.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from livelake.engine import MisfitError, Session, identifier, lay, parse_type, stream, table
from livelake.errors import QueryError, UsageError
from livelake.lake.targets import Targets, written

BATCH_ROWS: Final = 10_000

_INTAKE: Final = "livelake_intake"
_NUMBERS: Final = itertools.count(1)
_OURS: Final = re.compile(r" \(in: (DESCRIBE|INSERT INTO) .*\)$", re.DOTALL)
_PART: Final = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')  # of a name with dots

Rows = Sequence[Any]


class Insertion:
    """One call of ``insert``. Raises `UsageError` for data that are none."""

    def __init__(self, into: str, data: Any, columns: Sequence[str] | None = None, *, plan: bool) -> None:
        self.targets = Targets()
        """What has been written, once a step has run."""
        self.is_arrow = hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")
        self._into = into
        self._target = self._named(into)
        self._data = data
        self._plan = plan
        if isinstance(columns, str) or not all(isinstance(name, str) for name in columns or ()):
            raise self._refused(f"columns={columns!r:.80} is no list of names; write columns=['region', 'amount']")
        self._given = None if columns is None else list(columns)
        self._types: dict[str, str] = {}  # of the columns that are given, in the order of the data
        self._done = 0
        self._staged = ""
        if self.is_arrow:
            if columns is not None:
                raise self._refused("columns= names the values of sequences; Arrow data have names of their own")
        elif isinstance(data, Mapping | str | bytes) or not isinstance(data, Iterable):
            raise self._refused(
                f"{type(data).__name__} is neither rows nor Arrow data; give a list of dicts, a list of tuples and "
                "columns=…, or an Arrow table"
            )

    def batches(self) -> Iterator[Rows]:
        """The rows, as they were given, some thousands at a time."""
        if isinstance(self._data, Sequence):
            for start in range(0, len(self._data), BATCH_ROWS):
                yield self._data[start : start + BATCH_ROWS]
            return
        iterator = iter(self._data)
        while rows := list(itertools.islice(iterator, BATCH_ROWS)):
            yield rows

    # ---------------------------------------------------------------- on the lane

    def pour(self, session: Session) -> int:
        """Insert Arrow data; how many rows."""
        capsule, names = stream(self._data)
        self._begin(session, names)
        with session.incoming(_INTAKE, capsule):
            return self._move(session, _INTAKE, self._target)

    def add(self, session: Session, *, rows: Rows, is_last: bool) -> int:
        """Insert one batch of rows, or put it aside until the last one; how many rows the table has gained."""
        if not self._types:
            self._begin(session, self._names(rows[0]))
        if not (is_last or self._staged):
            self._stage(session)
        columns = list(zip(*map(self._reader(), rows, itertools.count(self._done + 1)), strict=True))
        laid = []
        for (name, kind), values in zip(self._types.items(), columns, strict=True):
            try:
                laid.append(lay(values, parse_type(kind)))
            except MisfitError as error:
                raise self._misfit(error.row, name, kind, str(error)) from None
        arrow = table(list(self._types), [each.array for each in laid], len(rows))
        with session.incoming(_INTAKE, arrow):
            doubtful = [at for at, each in enumerate(laid) if not each.is_sure]
            if doubtful:
                self._check(session, doubtful, columns)
            count = self._move(session, _INTAKE, self._staged or self._target)
        self._done += len(rows)
        if not self._staged:
            return count
        return self._finish(session) if is_last else 0

    # ---------------------------------------------------------------- inside

    def _begin(self, session: Session, names: Sequence[str]) -> None:
        """Look at the table, and at whether it has the columns of the data."""
        known = {str(name).lower(): (str(name), str(kind)) for name, kind, *_ in self._described(session)}
        unknown = [name for name in names if name.lower() not in known]
        if unknown or not names:
            has = ", ".join(name for name, _ in known.values())
            what = f"it has no column {', '.join(map(repr, unknown))}" if unknown else "the data have no columns"
            raise self._refused(f"{what}; the columns of {self._into} are {has}")
        lowered = [name.lower() for name in names]
        twice = sorted({name for name in lowered if lowered.count(name) > 1})
        if twice:
            raise self._refused(f"the column {twice[0]!r} is given twice")
        self._types = {name: known[name.lower()][1] for name in names}
        values = ", ".join(["NULL"] * len(names))
        self.targets = written(
            session, f"INSERT INTO {self._target} ({self._list}) VALUES ({values})", plan=self._plan
        )

    def _named(self, into: Any) -> str:
        """The table as SQL. Its parts may be quoted, as in SQL, and need not be."""
        parts = [part for part in _PART.findall(into) if any(part)] if isinstance(into, str) else []
        whole = ".".join(f'"{quoted}"' if quoted else plain for quoted, plain in parts)
        if not 1 <= len(parts) <= 3 or whole != into:
            raise UsageError(f"{into!r:.80} names no table; write table, schema.table or catalog.schema.table")
        return ".".join(f'"{quoted}"' if quoted else identifier(plain) for quoted, plain in parts)

    def _described(self, session: Session) -> list[tuple[Any, ...]]:
        try:
            return session.fetchall(f"DESCRIBE {self._target}")
        except QueryError as error:
            raise self._failed(error) from error

    @property
    def _list(self) -> str:
        return ", ".join(map(identifier, self._types))

    def _names(self, first: Any) -> list[str]:
        if isinstance(first, Mapping):
            if self._given is not None:
                raise self._refused("columns= names the values of sequences; these rows are mappings")
            return list(map(str, first))
        if self._given is None:
            raise self._refused(f"rows that are no mappings need columns=[…]; the first row is {first!r:.80}")
        return self._given

    def _reader(self) -> Any:
        """From a row and its number to its values, in the order of the columns."""
        names = list(self._types)
        count = len(names)
        if self._given is not None:

            def values(row: Any, number: int) -> Sequence[Any]:
                if isinstance(row, Mapping | str | bytes) or not isinstance(row, Iterable):
                    raise self._refused(f"row {number:,} is not a sequence of {count} values: {row!r:.80}")
                found = row if isinstance(row, tuple | list) else tuple(row)
                if len(found) != count:
                    raise self._refused(f"row {number:,} has {len(found)} values for {count} columns: {row!r:.80}")
                return found

            return values
        pick = itemgetter(*names) if count > 1 else lambda row: (row[names[0]],)

        def named(row: Any, number: int) -> Sequence[Any]:
            if not isinstance(row, Mapping):
                raise self._refused(f"row {number:,} is not a mapping like the first: {row!r:.80}")
            try:
                if len(row) == count:
                    return pick(row)
            except KeyError:
                pass
            missing, more = [name for name in names if name not in row], [str(n) for n in row if n not in self._types]
            says = [f"{what} {', '.join(map(repr, n))}" for what, n in (("lacks", missing), ("has", more)) if n]
            raise self._refused(f"row {number:,} {' and '.join(says)}, unlike the first row; give None for no value")

        return named

    def _check(self, session: Session, doubtful: Sequence[int], columns: Sequence[Sequence[Any]]) -> None:
        """That every value can be cast to its column; else say which cannot."""
        named = list(self._types.items())
        number = identifier("row of " + " ".join(self._types))  # no column is called that
        tests = ", ".join(
            f"min({number}) FILTER (WHERE {identifier(named[at][0])} IS NOT NULL AND"
            f" TRY_CAST({identifier(named[at][0])} AS {named[at][1]}) IS NULL)"
            for at in doubtful
        )
        numbered = f"SELECT *, row_number() OVER () - 1 AS {number} FROM {_INTAKE}"
        found = session.fetchone(f"SELECT {tests} FROM ({numbered})")
        for at, row in zip(doubtful, found or (), strict=True):
            if row is not None:
                value = columns[at][row]
                raise self._misfit(row, *named[at], f"{value!r:.60} ({type(value).__name__}) does not fit")

    def _stage(self, session: Session) -> None:
        self._staged = f"temp.main.livelake_staged_{next(_NUMBERS)}"
        columns = ", ".join(f"{identifier(name)} {kind}" for name, kind in self._types.items())
        session.execute(f"CREATE TEMPORARY TABLE {self._staged} ({columns})")

    def _finish(self, session: Session) -> int:
        count = self._move(session, self._staged, self._target)
        session.execute(f"DROP TABLE {self._staged}")
        return count

    def _move(self, session: Session, source: str, target: str) -> int:
        try:
            row = session.fetchone(f"INSERT INTO {target} ({self._list}) SELECT {self._list} FROM {source}")
        except QueryError as error:
            raise self._failed(error) from error
        count = int(row[0]) if row else 0
        if not count and target == self._target:
            self.targets = Targets()  # nothing was written
        return count

    def _failed(self, error: QueryError) -> QueryError:
        """What DuckDB says, without the statement of ours that it quotes."""
        says = _OURS.sub("", str(error)).replace(_INTAKE, "the data")
        return type(error)(f"insert into {self._into}: {says}")

    def _misfit(self, row: int, column: str, kind: str, why: str) -> UsageError:
        return self._refused(f"row {self._done + row + 1:,}, column {column} ({kind}): {why}")

    def _refused(self, why: str) -> UsageError:
        return UsageError(f"insert into {self._into}: {why}")
