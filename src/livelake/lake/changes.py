"""Commit rows of a DuckLake → what each commit changed. Pure.

The log is ``ducklake_snapshot_changes.changes_made``: comma-joined ``key:value``, where a value is a table's id,
or a quoted ``"schema"."name"`` for things just created. What compaction does is known and changes no answer;
a key that is not known may have changed anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Rows of a table, and what a table is.
_TABLE_BY_ID = frozenset(
    {
        "inserted_into_table",
        "deleted_from_table",
        "inlined_insert",
        "inlined_delete",
        "altered_table",
        "dropped_table",
    }
)
# Files are rewritten; the rows stay.
_COMPACTION = frozenset({"inline_flush", "flushed_inlined", "merge_adjacent", "rewrite_delete", "compacted_table"})

_ITEM = re.compile(r'(?P<key>[a-z_]+):(?P<value>(?:"(?:[^"]|"")*"(?:\.|(?=,|$)))+|[^,"]*)(?:,|$)')
_NAME = re.compile(r'"((?:[^"]|"")*)"')


@dataclass(frozen=True, slots=True)
class Commit:
    """One snapshot of the log, decoded. ``everything`` gives the reason why all answers are in doubt, or None."""

    snapshot: int
    schema_version: int
    tables: frozenset[int] = frozenset()
    created: frozenset[tuple[str, str]] = frozenset()
    everything: str | None = None
    compacts: bool = False
    doubtful: frozenset[int] = frozenset()
    """Tables whose inlined deletes were flushed: their rows may be untouched; the change feed can tell."""
    deletes: frozenset[int] = frozenset()
    """Tables that got a file of deletes, which takes the place of an older one; with those of a flush."""

    @property
    def changes_nothing(self) -> bool:
        """A compaction, an empty commit, a comment: no answer differs."""
        return not (self.tables or self.created or self.everything or self.doubtful)


@dataclass(frozen=True, slots=True)
class Names:
    """Which names each table id has had, as of some snapshot."""

    by_id: Mapping[int, frozenset[tuple[str, str]]]

    @classmethod
    def of(cls, rows: Iterable[tuple[int, str, str]]) -> Names:
        """From rows of (table id, schema, table), past names included."""
        by_id: dict[int, set[tuple[str, str]]] = {}
        for table_id, schema, table in rows:
            by_id.setdefault(table_id, set()).add((schema, table))
        return cls({table_id: frozenset(names) for table_id, names in by_id.items()})

    def of_commit(self, commit: Commit) -> frozenset[tuple[str, str]] | None:
        """Every (schema, table) that ``commit`` touched; None if a table in it is unknown here."""
        touched: set[tuple[str, str]] = set(commit.created)
        for table_id in commit.tables:
            names = self.by_id.get(table_id)
            if names is None:
                return None
            touched |= names
        if commit.created:  # a rename shows only as a creation: the old names of that table changed as well
            for names in self.by_id.values():
                if names & commit.created:
                    touched |= names
        return frozenset(touched)


def decode(snapshot: int, schema_version: int, changes_made: str | None) -> Commit:
    """Decode one row. Never raises: what is not understood is a change to everything."""
    tables: set[int] = set()
    created: set[tuple[str, str]] = set()
    flushed: set[int] = set()
    deleted: set[int] = set()
    compacts = False
    text, position = changes_made or "", 0
    while position < len(text):
        item = _ITEM.match(text, position)
        if item is None:
            return Commit(snapshot, schema_version, everything=f"a change that cannot be read: {text[position:]!r}")
        position = item.end()
        key, value = item["key"], item["value"]
        if key in _COMPACTION:
            compacts = True
            if value.isdigit():
                flushed.add(int(value))
        elif key in _TABLE_BY_ID and value.isdigit():
            (deleted if key == "deleted_from_table" else tables).add(int(value))
        elif key == "created_table":
            parts = [name.replace('""', '"') for name in _NAME.findall(value)]
            if len(parts) != 2:
                return Commit(snapshot, schema_version, everything=f"{key}:{value}")
            created.add((parts[0], parts[1]))
        else:  # views, macros, schemas, and what later versions of DuckLake will think of
            return Commit(snapshot, schema_version, everything=f"{key}:{value}")
    doubtful = (deleted & flushed) - tables
    return Commit(
        snapshot,
        schema_version,
        tables=frozenset(tables | (deleted - doubtful)),
        created=frozenset(created),
        compacts=compacts,
        doubtful=frozenset(doubtful),
        deletes=frozenset(deleted),
    )
