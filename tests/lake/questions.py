"""Questions for the oracle: SQL over two tables a catalog, and what the right answer is, computed in Python."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
Rows = list[Row]
Tables = Mapping[str, Rows | None]
"""``a.t`` → its rows; None where there is no such table."""


class Missing(Exception):
    """The tables do not have what the question asks for."""


@dataclass(frozen=True)
class Source:
    """What a question reads: a table, a view, or a macro with an argument. ``sql`` stands after FROM."""

    catalog: str
    kind: str
    name: str
    argument: int = 0

    @property
    def sql(self) -> str:
        call = f"({self.argument})" if self.kind == "macro" else ""
        return f"{self.catalog}.main.{self.name}{call}"

    def rows(self, tables: Tables, defined: Mapping[str, Any]) -> Rows:
        if self.kind == "table":
            found = tables[f"{self.catalog}.{self.name}"]
            if found is None:
                raise Missing(self.name)
            return found
        definition = defined.get(f"{self.catalog}.{self.name}")
        if definition is None:
            raise Missing(self.name)
        table, least = definition
        found = tables[f"{self.catalog}.{table}"]
        if found is None:
            raise Missing(table)
        shown = [{"k": row["k"], "v": row["v"]} for row in found]
        if self.kind == "view":
            return [row for row in shown if row["v"] >= least]
        return [row for row in shown if row["k"] < self.argument + least]


@dataclass(frozen=True)
class Question:
    """One text, its parameters, and what it makes of rows."""

    kind: str
    source: Source
    second: Source
    low: int = 0

    @property
    def sql(self) -> str:
        first, second = self.source.sql, self.second.sql
        return {
            "total": f"SELECT count(*) AS n, sum(v) AS s FROM {first} WHERE k >= $low",
            "rows": f"SELECT k, v FROM {first} WHERE v % 3 = $low % 3 ORDER BY ALL",
            "groups": f"SELECT k, count(*) AS n FROM {first} WHERE v > $low GROUP BY k ORDER BY k",
            "extra": f"SELECT sum(c) AS s FROM {first} WHERE k >= $low",
            "both": f"SELECT (SELECT count(*) FROM {first} WHERE k >= $low) AS n, (SELECT max(v) FROM {second}) AS m",
            "join": f"SELECT count(*) AS n FROM {first} AS x JOIN {second} AS y USING (k) WHERE k >= $low",
            "folded": f"SELECT count(*) AS n FROM {first} WHERE v = 1000000 + $low",
        }[self.kind]

    @property
    def parameters(self) -> dict[str, int]:
        return {"low": self.low}

    @property
    def sources(self) -> tuple[Source, ...]:
        return (self.source, self.second) if self.kind in ("both", "join") else (self.source,)

    def answer(self, tables: Tables, defined: Mapping[str, Any]) -> Rows:
        """What is right. Raises `Missing` where DuckDB would refuse."""
        rows = self.source.rows(tables, defined)
        return getattr(self, f"_{self.kind}")(rows, tables, defined)  # type: ignore[no-any-return]

    def _total(self, rows: Rows, *_: Any) -> Rows:
        values = [row["v"] for row in rows if row["k"] >= self.low]
        return [{"n": len(values), "s": sum(values) if values else None}]

    def _rows(self, rows: Rows, *_: Any) -> Rows:
        kept = [{"k": row["k"], "v": row["v"]} for row in rows if row["v"] % 3 == self.low % 3]
        return sorted(kept, key=lambda row: (row["k"], row["v"]))

    def _groups(self, rows: Rows, *_: Any) -> Rows:
        counts = Counter(row["k"] for row in rows if row["v"] > self.low)
        return [{"k": key, "n": counts[key]} for key in sorted(counts)]

    def _extra(self, rows: Rows, tables: Tables, defined: Mapping[str, Any]) -> Rows:
        if self.source.kind == "table" and not rows:
            raise Missing("the columns of an empty table are not known here")
        if self.source.kind != "table" or "c" not in rows[0]:
            raise Missing("c")
        values = [row["c"] for row in rows if row["k"] >= self.low and row["c"] is not None]
        return [{"s": sum(values) if values else None}]

    def _both(self, rows: Rows, tables: Tables, defined: Mapping[str, Any]) -> Rows:
        values = [row["v"] for row in self.second.rows(tables, defined)]
        return [{"n": sum(row["k"] >= self.low for row in rows), "m": max(values, default=None)}]

    def _join(self, rows: Rows, tables: Tables, defined: Mapping[str, Any]) -> Rows:
        counts = Counter(row["k"] for row in self.second.rows(tables, defined))
        return [{"n": sum(counts[row["k"]] for row in rows if row["k"] >= self.low)}]

    def _folded(self, rows: Rows, *_: Any) -> Rows:
        return [{"n": sum(row["v"] == 1_000_000 + self.low for row in rows)}]


def any_source(chance: random.Random) -> Source:
    catalog, kind = chance.choice("ab"), chance.choices(["table", "view", "macro"], [6, 2, 1])[0]
    name = {"table": chance.choice("tu"), "view": "w", "macro": "m"}[kind]
    return Source(catalog, kind, name, chance.randrange(2) if kind == "macro" else 0)


def any_question(chance: random.Random) -> Question:
    kinds = ["total", "rows", "groups", "extra", "both", "join", "folded"]
    kind = chance.choices(kinds, [5, 3, 3, 1, 3, 2, 1])[0]
    source = any_source(chance)
    if kind == "extra" and source.kind != "table":
        kind = "total"
    return Question(kind, source, any_source(chance), chance.randrange(2))
