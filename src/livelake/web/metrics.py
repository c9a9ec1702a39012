"""What a server has done, counted; and ``/metrics``, the text format of Prometheus (0.0.4).

The counts are of this process: behind one address of several workers, each scrape meets one of them, and
``livelake_info`` says which. Labels come from what was declared (queries, forms, statuses), never from a request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from livelake.cache import CacheStats
from livelake.engine import EngineStats
from livelake.events.bus import BusStats
from livelake.web.representations import Representations

__all__ = ["CONTENT_TYPE", "Metric", "Tally", "text"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge"]
Sample = tuple[Mapping[str, str], float]


@dataclass(slots=True)
class Tally:
    """Requests for queries. Used on one event loop."""

    requests: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By query, form, and how it was answered: the cache's word for it, or ``error``."""
    unchanged: Counter[str] = field(default_factory=Counter)
    """304, by query."""
    nbytes: Counter[str] = field(default_factory=Counter)
    """Of bodies as they travelled, by query."""
    seconds: dict[str, float] = field(default_factory=dict)
    """From the request's arrival to its answer, summed by query."""

    def count(self, query: str, form: str, outcome: str, seconds: float) -> None:
        self.requests[query, form, outcome] += 1
        self.seconds[query] = self.seconds.get(query, 0.0) + seconds


@dataclass(frozen=True, slots=True)
class Metric:
    """One family of samples. ``name`` without the prefix that all have."""

    name: str
    kind: Kind
    help: str
    samples: tuple[Sample, ...]

    @classmethod
    def one(cls, name: str, kind: Kind, what: str, value: float) -> Metric:
        return cls(name, kind, what, (({}, value),))


def text(metrics: Iterable[Metric]) -> str:
    """The exposition of all of them."""
    return "".join(line + "\n" for metric in metrics for line in _lines(metric))


def of_server(version: str, process: int, viewers: int, bodies: Representations) -> Iterator[Metric]:
    yield Metric("info", "gauge", "This process.", (({"version": version, "process": str(process)}, 1),))
    yield Metric.one("viewers", "gauge", "Streams that are open.", viewers)
    yield Metric.one("bodies_kept", "gauge", "Bodies that are kept ready.", len(bodies))
    yield Metric.one("bodies_bytes", "gauge", "Their bytes.", bodies.nbytes)
    yield Metric.one("bodies_hits_total", "counter", "Bodies that were ready.", bodies.hits)
    yield Metric.one("bodies_written_total", "counter", "Bodies that were written.", bodies.written)


def of_watcher(looks: int, lag: float, blind: bool, heads: Mapping[str, int]) -> Iterator[Metric]:
    yield Metric.one("watcher_looks_total", "counter", "Looks at the commit logs.", looks)
    yield Metric.one("watcher_lag_seconds", "gauge", "Since the last look that succeeded began.", lag)
    yield Metric.one("watcher_blind", "gauge", "1 while commits may have happened that nobody saw.", blind)
    snapshots = tuple(({"catalog": name}, float(head)) for name, head in sorted(heads.items()))
    yield Metric("catalog_snapshot", "gauge", "The newest state that was applied.", snapshots)


def of_cache(stats: CacheStats) -> Iterator[Metric]:
    """The cache of answers: every field of its counters, under its own name."""
    now = {"entries": "Answers kept.", "bytes": "Their bytes.", "flights": "Computations under way."}
    for name, value in stats.as_dict().items():
        if name in now:
            yield Metric.one(f"cache_{name}", "gauge", now[name], value)
        else:
            yield Metric.one(f"cache_{name}_total", "counter", f"CacheStats.{name}.", value)


def of_engine(stats: EngineStats) -> Iterator[Metric]:
    for name in ("reads", "writes", "statements", "errors", "interrupts"):
        yield Metric.one(f"engine_{name}_total", "counter", f"EngineStats.{name}.", getattr(stats, name))
    yield Metric.one("engine_running", "gauge", "Queries that run.", stats.running)
    yield Metric.one("engine_waiting", "gauge", "Queries that wait for a worker.", stats.waiting)
    yield Metric.one("engine_workers", "gauge", "Queries that may run at once.", stats.workers)


def of_bus(stats: BusStats, blind: int) -> Iterator[Metric]:
    for name in ("published", "delivered", "failed", "doubts"):
        yield Metric.one(f"bus_{name}_total", "counter", f"BusStats.{name}.", getattr(stats, name))
    yield Metric.one("bus_subscriptions", "gauge", "Subscriptions that are open.", stats.subscriptions)
    yield Metric.one("bus_blind_scopes", "gauge", "Scopes of events that cannot be vouched for.", blind)


def of_queries(tally: Tally, names: Iterable[str]) -> Iterator[Metric]:
    """A query that nobody asked for is there with zeros: a rate needs a beginning."""
    known = list(names)
    asked = tuple(
        ({"query": query, "format": form, "cache": outcome}, float(count))
        for (query, form, outcome), count in sorted(tally.requests.items())
    )
    yield Metric("query_requests_total", "counter", "Requests for results.", asked)
    for name, what, counts in (
        ("query_not_modified_total", "Requests that were answered by 304.", tally.unchanged),
        ("query_bytes_total", "Bytes of bodies, as they travelled.", tally.nbytes),
        ("query_seconds_total", "Seconds from requests to their answers.", tally.seconds),
    ):
        yield Metric(name, "counter", what, tuple(({"query": each}, float(counts.get(each, 0))) for each in known))


def _lines(metric: Metric) -> Iterator[str]:
    name = f"livelake_{metric.name}"
    yield f"# HELP {name} {_escaped(metric.help, quotes=False)}"
    yield f"# TYPE {name} {metric.kind}"
    for labels, value in metric.samples:
        inside = ",".join(f'{label}="{_escaped(of)}"' for label, of in labels.items())
        yield f"{name}{{{inside}}} {_number(value)}" if inside else f"{name} {_number(value)}"


def _escaped(label: str, *, quotes: bool = True) -> str:
    escaped = label.replace("\\", r"\\").replace("\n", r"\n")
    return escaped.replace('"', r"\"") if quotes else escaped


def _number(value: float) -> str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(value)
