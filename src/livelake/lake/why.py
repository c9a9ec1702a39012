"""`Why`: what an answer depends on, and why it was kept or dropped. As text for people, a dict for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """One query, explained. ``state`` is what a read would meet now; ``tables`` maps names to versions."""

    sql: str
    state: str
    tables: Mapping[str, int]
    as_of: Mapping[str, int]
    depends_on: tuple[str, ...]
    why_not: str | None
    dropped_by: str | None
    computed_at: str | None
    age: float | None
    cost: float | None
    commits: tuple[str, ...]
    """The latest commits of the catalogs that it reads, newest first, each with what it meant for this query."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = [self.sql.strip(), ""]
        if self.why_not:
            lines.append(f"never kept: {self.why_not}")
        elif self.state == "fresh":
            lines.append(f"kept: fresh, {self.age or 0:.1f} s old, took {(self.cost or 0) * 1e3:.1f} ms to compute")
        elif self.dropped_by:
            lines.append(f"dropped: {self.dropped_by}")
        else:
            lines.append(f"no answer is kept ({self.state})")
        lines += [f"reads {name}, last changed at {version}" for name, version in sorted(self.tables.items())]
        if not self.tables and not self.why_not:
            lines.append("reads no table")
        lines += [f"depends on {expression}" for expression in self.depends_on if not expression.startswith("lake/")]
        lines += self.commits
        return "\n".join(lines)
