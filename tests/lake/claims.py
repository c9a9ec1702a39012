"""What the oracle was told, and whether it is so: claims about answers, against time travel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lake.questions import Missing, Question, Rows
from livelake.engine import Session
from livelake.errors import QueryError
from livelake.lake import Lake

NAMES = tuple(f"{catalog}.{table}" for catalog in "ab" for table in "tu")


@dataclass(frozen=True)
class Claim:
    """An answer that was served as fresh, or an error in its place."""

    step: int
    question: Question
    begun: Mapping[str, int]
    """The newest acknowledged commits when it began."""
    ended: Mapping[str, int]
    as_of: Mapping[str, int]
    rows: Rows | None
    status: str

    @property
    def newest(self) -> dict[str, int]:
        """Up to where it claims to hold."""
        return {name: max(version, self.begun[name]) for name, version in self.as_of.items()}


class Differs(AssertionError):
    """The oracle found a difference."""


@dataclass
class Ledger:
    """Claims not yet checked, and what is needed to check them. ``lake`` is for cursors of its engine."""

    lake: Lake
    story: list[str]
    claims: list[Claim] = field(default_factory=list)
    defined: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)
    """``a.w`` → (since which snapshot, what)."""
    floors: dict[str, int] = field(default_factory=lambda: {"a": 0, "b": 0})
    """The first snapshot of each catalog that has not expired."""
    right: dict[tuple[Any, ...], Rows] = field(default_factory=dict)
    checked: int = 0

    def check(self) -> None:
        """Compare every claim with time travel. Raises `Differs`."""
        wanted: set[tuple[str, int]] = set()
        for claim in self.claims:
            for name in NAMES:
                catalog = name[0]
                if claim.rows is None:
                    wanted |= {(name, at) for at in range(claim.begun[catalog], claim.ended[catalog] + 1)}
                elif catalog in claim.as_of:
                    wanted |= {(name, claim.newest[catalog])}
                    if claim.as_of[catalog] >= self.floors[catalog]:
                        wanted |= {(name, claim.as_of[catalog])}
        held = self.travel(wanted)
        for claim in self.claims:
            if claim.rows is None:
                self._check_refused(claim, held)
            else:
                self._check_at(claim, claim.newest, held, "the newest commit acknowledged when it began")
                self._check_as_of(claim, held)
        self.checked += len(self.claims)
        self.claims.clear()

    def travel(self, wanted: set[tuple[str, int]]) -> dict[tuple[str, int], Rows | None]:
        """What the tables held: (``a.t``, snapshot) → rows; None where there was no such table."""
        held: dict[tuple[str, int], Rows | None] = {}
        why: QueryError | None = None
        for _ in range(5):
            renewals = self.lake.attached.renewals()
            try:
                with self.lake.engine.cursor() as session, session.transaction():
                    for name, at in sorted(wanted - held.keys()):
                        held[name, at] = _rows(session, name, at)
            except QueryError as error:  # what DuckLake remembers of inlined rows, another process has flushed
                if not self.lake.attached.heal(error, renewals, past=True):
                    raise
                why = error
            else:
                return held
        raise Differs(f"the past cannot be read: {why}, {why and why.__cause__}")

    def defined_at(self, versions: Mapping[str, int]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, history in self.defined.items():
            known = [what for since, what in history if since <= versions.get(name[0], -1)]
            if known:
                found[name] = known[-1]
        return found

    def _answer(self, question: Question, at: Mapping[str, int], held: Mapping[tuple[str, int], Rows | None]) -> Rows:
        tables = {name: held[name, at[name[0]]] for name in NAMES if name[0] in at}
        return question.answer(tables, self.defined_at(at))

    def _check_at(self, claim: Claim, at: Mapping[str, int], held: Any, when: str) -> None:
        if not {source.catalog for source in claim.question.sources} <= at.keys():
            raise self._differs(claim, f"its as_of names {sorted(at)} only")
        try:
            right = self._answer(claim.question, at, held)
        except Missing as missing:
            if "empty table" in str(missing):
                return
            raise self._differs(claim, f"at {dict(at)}, {when}, there was no {missing}") from None
        if claim.rows != right:
            raise self._differs(claim, f"at {dict(at)}, {when}, it was {right}")

    def _check_as_of(self, claim: Claim, held: Any) -> None:
        """Once for each answer; a later hit must be the same rows, also when its snapshot has expired."""
        key = (claim.question, tuple(sorted(claim.as_of.items())))
        if all(version >= self.floors[name] for name, version in claim.as_of.items()):
            self._check_at(claim, claim.as_of, held, "its own as_of")
            self.right[key] = claim.rows or []
        elif key in self.right and self.right[key] != claim.rows:
            raise self._differs(claim, f"it was {self.right[key]} before")

    def _check_refused(self, claim: Claim, held: Any) -> None:
        """There must be a moment at which DuckDB would have refused."""
        for a in range(claim.begun["a"], claim.ended["a"] + 1):
            for b in range(claim.begun["b"], claim.ended["b"] + 1):
                try:
                    self._answer(claim.question, {"a": a, "b": b}, held)
                except Missing:
                    return
        raise self._differs(claim, "it was refused, and there was no reason to")

    def _differs(self, claim: Claim, why: str) -> Differs:
        """With the story from the computation of the answer on."""
        label = f" {claim.question.sql} {claim.question.parameters}"
        first = next(
            (
                at
                for at, line in enumerate(self.story)
                if label in line and str(dict(claim.as_of)) in "".join(self.story[at : at + 40])
            ),
            max(0, len(self.story) - 60),
        )
        last = next(
            (at for at, line in enumerate(self.story) if line.startswith(f"       {claim.step} ")), len(self.story)
        )
        tail = "\n".join(self.story[max(0, first - 10, last - 120) : last + 1])
        since = [line for line in self.story[last + 1 :] if " tidy " in line or " elsewhere " in line]
        return Differs(
            f"step {claim.step}: {claim.status} {claim.question.sql} {claim.question.parameters}\n"
            f"  gave {claim.rows} as of {dict(claim.as_of)}, begun at {dict(claim.begun)}\n  {why}\n"
            f"  definitions: {self.defined}\n{tail}\nSince then, what DuckLake may have lost rows by:\n"
            + "\n".join(since)
        )


def _rows(session: Session, name: str, at: int) -> Rows | None:
    catalog, table = name.split(".")
    try:
        found = session.fetchall(
            f"SELECT to_json(x)::VARCHAR FROM (FROM {catalog}.main.{table} AT (VERSION => {at})) AS x"
        )
    except QueryError as error:
        if "No snapshot found" in str(error):
            raise Differs(f"an answer names a snapshot that is not there: {error}") from None
        if f"Table with name {table} does not exist" not in str(error):
            raise
        return None
    return [json.loads(row[0]) for row in found]
