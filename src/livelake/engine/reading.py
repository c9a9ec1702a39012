"""What a SQL text reads, decided from DuckDB's own plan and syntax tree.

Pure: JSON in, `Reads` out. The *unoptimised* plan sees through views, macros, CTEs and subqueries, and keeps the
tables that an optimised plan loses to statistics. The syntax tree adds what binding folds away: ``getvariable``,
the moment of an ``AT`` clause, the patterns behind file names.

It fails closed. A plan node, table function or scan that is not known by name lands in ``unknown``; what cannot
be planned is ``planned=False`` with DuckDB's reason. What views and macros hide by folding (a LIMIT made of
``now()``) is told by their definitions, see `hidden`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from livelake.engine import functions
from livelake.engine.moments import Present, Step, present
from livelake.engine.statement import nodes
from livelake.engine.written import FileRef, Written, decoded, texts

Hidden = Callable[[frozenset[str], frozenset[str]], frozenset[str]]
Obstacle = Literal["planned", "changes", "volatile", "session", "time", "files", "unknown"]

_BOUND: Final = frozenset({"BOUND_FUNCTION", "BOUND_AGGREGATE", "BOUND_WINDOW"})
_TEXT_FILES: Final = "it reads CSV or JSON files otherwise than by constant names, which DuckDB's plan does not show"
_FOLDED: Final = "DuckDB cannot plan it before its parameters are known; write their values into the SQL"


@dataclass(frozen=True, slots=True, order=True)
class TableRef:
    """A table as it was scanned. ``snapshot`` is DuckLake's, None elsewhere; ``pinned`` if the query itself asked
    for a past one (``AT``, or the change feed), so that no later commit can change what it sees."""

    catalog: str
    schema: str
    table: str
    snapshot: int | None = None
    pinned: bool = False


@dataclass(frozen=True)
class Reads:
    """Everything that an answer follows from, besides the SQL text and its parameters.

    ``catalogs`` are those on which it depends as a whole (a query of their snapshots). ``steps`` is what it makes
    of the present that stands still for a while. ``volatile``, ``time`` (which does not stand still) and
    ``session`` are function names; ``changes`` what it would change. ``targets`` are the tables that a writing
    statement names. ``unknown`` says what we did not recognise. ``given`` are the functions that parameters go into,
    and "AT": among them is what decides by value which table is meant (``query_table($t)``, a macro that calls it).
    ``all_files``: nothing else is read from disk than ``files``, each as the text names it.
    """

    tables: frozenset[TableRef] = frozenset()
    catalogs: frozenset[str] = frozenset()
    files: frozenset[FileRef] = frozenset()
    steps: frozenset[Step] = frozenset()
    time: frozenset[str] = frozenset()
    volatile: frozenset[str] = frozenset()
    session: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    targets: frozenset[TableRef] = frozenset()
    given: frozenset[str] = frozenset()
    all_files: bool = False
    planned: bool = True
    reason: str | None = None

    @property
    def obstacles(self) -> dict[Obstacle, str]:
        """Why the answer does not follow from tables and catalogs alone, one sentence a kind.

        A caller that has an answer to a kind (an expiry for ``time``, a watch for ``files``) may accept it:
        ``reads.obstacles.keys() <= {"time"}``.
        """
        found: dict[Obstacle, str] = {}
        if not self.planned:
            found["planned"] = f"it cannot be planned: {self.reason}"
        for kind, says in _SAYS.items():
            names = sorted(map(_shown, getattr(self, kind)))
            if names:
                found[kind] = f"{says} {', '.join(names)}"
        return found

    @property
    def cacheable(self) -> bool:
        """Whether it stays right until one of ``tables`` (not pinned) or ``catalogs`` changes, or a step is over."""
        return not self.obstacles

    @property
    def why_not(self) -> str | None:
        """Why it is not `cacheable`, for people."""
        return "; ".join(self.obstacles.values()) or None


_SAYS: Final[dict[Obstacle, str]] = {
    "changes": "it changes state:",
    "volatile": "it differs at every run:",
    "session": "it depends on the connection:",
    "time": "it depends on the moment:",
    "files": "it reads files:",
    "unknown": "livelake cannot tell what it reads:",
}


def reads(
    plan_json: str,
    parse_json: str,
    *,
    heads: Mapping[str, int] | None = None,
    hidden: Hidden | None = None,
    files: frozenset[FileRef] | None = None,
) -> Reads:
    """What the statement behind `Session.plan` and `Session.parse` reads.

    ``heads`` gives the snapshot at which each DuckLake catalog was planned. With it a scan of any other snapshot,
    or one that the text names by number, is ``pinned``, and one that the text does not explain (an ``AT`` inside
    a view may move with time) is ``unknown``. Without it only the change feed counts as pinned. ``hidden`` is asked
    where the text names what the plan does not show, views and macros that is: given these names and what the plan
    calls, it says what else may be in them (`Definitions.hidden`). ``files``: those that were taken out of the plan
    (`filenames.masked`), so that any that are in it are hidden.
    """
    plan, written = decoded(plan_json), Written.of(parse_json)
    if plan.get("error") or not plan.get("plans"):
        return _unplanned(written, _reason(plan))
    bound = _Bound(heads)
    if files is not None:
        written.files, written.scanned, bound.is_masked = set(files), Counter(), True
    for node in nodes(plan, _PLAIN):
        bound.take(node)
    # The walks that look at the shapes around now() are worth their time only where there is one.
    shown = present(plan) if bound.called & functions.TIME else _NO_TIME
    if (written.called | written.words) & functions.TIME:
        shown = written.join(present(decoded(parse_json), frozenset(bound.columns)), shown)
    elsewhere = (written.tables - bound.named) | (written.called - bound.called)
    if hidden is not None and elsewhere:
        bound.unknown |= hidden(frozenset(elsewhere), frozenset(bound.called))
    return bound.reads(written, shown)


# What lies under these keys of a plan is a type, a name or a value: most of it, and none of interest.
_PLAIN: Final = frozenset(
    {"return_type", "returned_types", "arguments", "names", "column_indexes", "value", "snapshot"}
)
_NO_TIME: Final = Present(frozenset(), frozenset())


def _unplanned(written: Written, reason: str) -> Reads:
    """As much as the text alone tells."""
    return Reads(
        files=frozenset(written.files),
        time=frozenset((written.called | written.moments) & functions.TIME),
        volatile=frozenset(written.called & functions.VOLATILE),
        session=frozenset(written.called & functions.SESSION),
        changes=frozenset(written.called & functions.CHANGING),
        given=frozenset(written.given),
        planned=False,
        reason=reason,
    )


def _reason(plan: dict[str, Any]) -> str:
    message = str(plan.get("error_message", "there is no statement"))
    if "CSVReaderSerialize" in message or "JSONScan Serialize" in message:
        return _TEXT_FILES
    return _FOLDED if "unique_ptr that is NULL" in message else message.splitlines()[0]


def _shown(item: object) -> str:
    return f"{item.function}({item.path})" if isinstance(item, FileRef) else str(item)


class _Bound:
    """What the plan says, collected node by node."""

    def __init__(self, heads: Mapping[str, int] | None) -> None:
        self._heads = heads
        self.scans: Counter[tuple[TableRef, bool]] = Counter()  # (table, whether it is the change feed)
        self.targets: set[TableRef] = set()
        self.catalogs: set[str] = set()
        self.called: set[str] = set()
        self.named: set[str] = set()  # the tables, in lower case
        self.files: set[FileRef] = set()
        self.file_functions: set[str] = set()
        self.is_masked = False
        self.unknown: set[str] = set()
        self.columns: set[str] = set()
        self.folded: Counter[str] = Counter()  # table functions whose arguments are constants by now
        self.is_sampled = False
        self.ages = False
        self.temporary: set[str] = set()
        self.changes: set[str] = set()

    def take(self, node: dict[str, Any]) -> None:
        expression = node.get("expression_class")
        if expression is None:
            kind = node.get("type")
            if type(kind) is str and kind.startswith("LOGICAL_"):
                self._operator(kind.removeprefix("LOGICAL_"), node)
        elif expression in _BOUND and node.get("name"):
            name = node["name"].lower()
            self.called.add(name)
            self.ages |= name == "age" and len(node.get("children", ())) == 1

    def reads(self, written: Written, shown: Present) -> Reads:
        tables = {self._table(ref, is_feed, written) for ref, is_feed in self.scans}
        called = self.called | written.called
        words = (written.words & functions.SESSION_WORDS) - self.columns
        # What a view or macro passes to a table function may have been now() before it was folded.
        hidden = {name for name, count in self.folded.items() if count > written.scanned[name]}
        hidden |= self.file_functions if self.is_masked or not written.files else set()
        self.unknown |= {f"{name} inside a view or macro" for name in hidden}
        return Reads(
            tables=frozenset(tables),
            catalogs=frozenset(self.catalogs),
            files=frozenset(written.files or self.files),
            steps=shown.steps,
            time=shown.free | ({"age"} if self.ages else set()),
            volatile=frozenset((called & functions.VOLATILE) | ({"SAMPLE"} if self.is_sampled else set())),
            session=frozenset((called & functions.SESSION) | words | self.temporary),
            changes=frozenset((called & functions.CHANGING) | self.changes),
            unknown=frozenset(self.unknown),
            targets=frozenset(self.targets),
            given=frozenset(written.given),
            all_files=self.is_masked and not self.file_functions,
        )

    def _operator(self, kind: str, node: dict[str, Any]) -> None:
        if kind == "GET":
            self._scan(node)
        elif kind in functions.WRITERS:
            self.changes.add(kind)
            info = node.get("table_info") or node.get("info") or {}
            self.targets.add(TableRef(info.get("catalog", ""), info.get("schema", ""), info.get("table", "")))
        elif kind not in functions.OPERATORS:
            self.unknown.add(kind)
        self.is_sampled |= kind == "SAMPLE"

    def _scan(self, node: dict[str, Any]) -> None:
        name, data = node["name"].lower(), node.get("function_data") or {}
        self.columns |= {column.lower() for column in node.get("names", ())}
        self.is_sampled |= bool((node.get("extra_info") or {}).get("sample_options"))
        if name == "ducklake_scan":
            is_feed = data.get("scan_type", 0) != 0
            if not is_feed and any(_is_virtual(each.get("index", 0)) for each in node.get("column_indexes", ())):
                self.unknown.add(f"how the rows of {data['table_name']} are stored (filename, rowid and their like)")
            ref = TableRef(
                data["catalog_name"], data["schema_name"], data["table_name"], data["snapshot"].get("snapshot_id", 0)
            )
            self.scans[ref, is_feed] += 1
            self.named.add(ref.table.lower())
        elif name == "seq_scan" and data.get("table"):
            self._plain(TableRef(data["catalog"], data["schema"], data["table"]))
        elif name in functions.CATALOG:
            self.catalogs |= set(texts(node.get("parameters", [])[:1])) or self._unknown(name)
        elif name in functions.FILES:
            self.file_functions.add(name)
            self.files |= {FileRef(name, path) for path in data.get("files", ())}
        elif name in functions.CHANGING:
            self.changes.add(name)
        elif name not in functions.HARMLESS:
            self.unknown.add(name)
        elif node.get("parameters"):
            self.folded[name] += 1

    def _plain(self, ref: TableRef) -> None:
        if ref.catalog == "temp":
            self.temporary.add(f"temporary table {ref.table}")
        else:
            self.scans[ref, False] += 1
            self.named.add(ref.table.lower())

    def _unknown(self, name: str) -> set[str]:
        self.unknown.add(name)
        return set()

    def _table(self, ref: TableRef, is_feed: bool, written: Written) -> TableRef:
        head = None if self._heads is None else self._heads.get(ref.catalog)
        is_past = is_feed or (head is not None and ref.snapshot is not None and ref.snapshot != head)
        if not is_past:
            return ref  # also one pinned to the present: the text may ask for it where the plan does not
        if not written.explains(ref.table):
            self.unknown.add(past_state(ref))
        return replace(ref, pinned=True)


def past_state(ref: TableRef) -> str:
    """What is ``unknown`` of a query that reads a past state which its text does not name."""
    return f"a past state of {ref.catalog}.{ref.schema}.{ref.table} inside a view or macro"


def _is_virtual(index: int) -> bool:
    """Whether a column is none of the table's: a compaction may change it. The last but one stands for no column."""
    return index >= 2**63 and index != 2**64 - 2
