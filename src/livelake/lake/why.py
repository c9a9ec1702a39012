"""`Why`: what an answer depends on, and why it was kept or dropped. As text for people, a dict for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from livelake.cache import Explanation
from livelake.engine import Reads
from livelake.lake.answer import Answer
from livelake.lake.files import key_of as file_key
from livelake.lake.footprint import Footprint, Logs, Verdict, verdicts
from livelake.lake.provenance import SourceKey
from livelake.lake.question import Query


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """One query, explained. ``state`` is what a read would meet now: fresh, stale, expired, flying or absent.

    ``tables``, ``as_of`` and ``valid_until`` are those of the answer that is kept, else what they would be.
    """

    sql: str
    state: str
    tables: Mapping[str, int]
    """Qualified name → the snapshot since which it is known to be as it is: the last that changed it, or a view."""
    files: tuple[str, ...]
    watched: Mapping[str, str]
    """Name of a file or pattern of this machine, as SQL has it → what it is."""
    functions: tuple[str, ...]
    """What makes the answer depend on the moment, the connection or chance."""
    as_of: Mapping[str, int]
    depends_on: tuple[str, ...]
    valid_until: str | None
    why_not: str | None
    dropped_by: str | None
    computed_at: str | None
    age: float | None
    """Seconds since the kept answer's computation began; ``cost``: seconds that it took."""
    cost: float | None
    rows: int | None
    nbytes: int | None
    keys: tuple[str, ...]
    """Where each table comes from, as `livelake.catalogs.keys` prints it."""
    commits: tuple[str, ...]
    """`verdicts` as text."""
    verdicts: tuple[Verdict, ...]
    """The latest commits of the catalogs that it reads, newest first, each with what it meant for this query."""

    def without_sources(self, name: str) -> Why:
        """The same for people who may know the answer and not what it is made of: no SQL, no path, no function."""
        why_not = self.why_not and "it reads what no commit log shows, or differs from one computation to the next"
        return replace(self, sql=name, files=(), functions=(), keys=(), why_not=why_not)

    def as_dict(self) -> dict[str, Any]:
        """Plain values: it can be written as JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join([self.sql.strip(), "", *self._fate(), *self._reading(), *self._commits()])

    def _fate(self) -> Iterator[str]:
        if self.why_not:
            yield f"never kept: {self.why_not}"
        elif self.state == "fresh":
            size = "" if self.rows is None else f", {_counted(self.rows, 'row')} in {_size(self.nbytes or 0)}"
            yield f"kept: fresh, {_span(self.age or 0)} old, took {_span(self.cost or 0)} to compute{size}"
            if self.as_of and self.computed_at:
                at = datetime.fromisoformat(self.computed_at).isoformat(sep=" ", timespec="seconds")
                yield f"computed at {at} from {_versions(self.as_of)}"
        elif self.dropped_by:
            yield self._dropped()
        elif self.state == "expired":
            yield "no answer is kept: the last one has expired"
        elif self.state == "flying":
            yield "no answer is kept yet: it is being computed"
        else:
            yield "no answer is kept: it was not asked for, or made room for others"

    def _dropped(self) -> str:
        """By a commit that we know, in its words; else by whatever the cache was told."""
        told = str(self.dropped_by)
        file = next((name for name in self.watched if told == str(file_key(name))), None)
        if file is not None:
            told = f"{file} changed"
        commits = (v for v in self.verdicts if not v.kept and told.endswith(f" at {v.catalog} {v.snapshot}"))
        by = next(commits, None)
        what = told if by is None else f"by {by.catalog} {by.snapshot}, which changed {by.because}"
        return f"dropped: {what}; computed {_span(self.age or 0)} ago, in {_span(self.cost or 0)}"

    def _reading(self) -> Iterator[str]:
        for name, version in sorted(self.tables.items()):
            yield f"reads {name}, unchanged since {version}"
        for key in self.keys:
            yield f"known as {key}"
        for file in self.files:
            yield f"reads {file}{self._seen(file)}"
        if not (self.tables or self.files or self.why_not):
            yield "reads no table"
        for function in self.functions:
            yield f"calls {function}"
        if self.valid_until:
            yield f"valid until {self.valid_until}"
        for expression in self.depends_on:
            if not expression.startswith("lake/"):
                yield f"depends on {expression}"

    def _seen(self, file: str) -> str:
        found = next((what for name, what in self.watched.items() if file.endswith(f"({name})")), None)
        return "" if found is None else f": {found}"

    def _commits(self) -> Iterator[str]:
        """Those that the kept answer has outlived, and those from before it."""
        if self.why_not:
            return
        before = [v for v in self.verdicts if self.state == "fresh" and v.snapshot <= self.as_of.get(v.catalog, -1)]
        since = [v for v in self.verdicts if v not in before]
        if since:
            yield "since then:" if before else "latest commits:"
            yield from (f"  {verdict}" for verdict in since)
        if before:
            yield "commits before it, and what they meant for earlier answers:"
            yield from (f"  {verdict}" for verdict in before)


def explain(
    question: Query,
    found: Reads,
    foreseen: Footprint,
    entry: Explanation,
    kept: Answer | None,
    logs: Logs,
    keys: Iterable[SourceKey],
) -> Why:
    """``foreseen`` is the footprint that a computation would have now; ``kept`` the answer that is fresh, if any."""
    footprint = foreseen if kept is None else kept.footprint
    until = footprint.valid_until
    latest = verdicts(footprint, logs)
    return Why(
        sql=question.sql,
        state=entry.state,
        tables=dict(footprint.tables),
        files=tuple(sorted(f"{file.function}({file.path})" for file in found.files)),
        watched={name: str(look) for name, look in footprint.files.items()},
        functions=tuple(sorted({*map(str, found.steps), *found.time, *found.volatile, *found.session})),
        as_of=dict(footprint.as_of),
        depends_on=tuple(sorted(map(str, footprint.depends_on))),
        valid_until=None if until is None else until.isoformat(),
        why_not=footprint.why_not,
        dropped_by=entry.dropped_by,
        computed_at=None if kept is None else kept.computed_at.isoformat(),
        age=entry.age,
        cost=entry.cost,
        rows=None if kept is None else kept.data.num_rows,
        nbytes=None if kept is None else kept.nbytes,
        keys=tuple(map(str, keys)),
        commits=tuple(map(str, latest)),
        verdicts=latest,
    )


def _versions(as_of: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {version}" for name, version in as_of.items())


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _span(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _size(count: int) -> str:
    return f"{count:,} bytes" if count < 10_000 else f"{count / 1e3:,.0f} kB"
