"""What does an invalidation cost that hits 10 of N entries, against a bare dictionary of sets?

N entries in groups of ten; one key hits exactly one group. 80 % depend on ``events/T/id/**``, 15 % on
``events/T/**`` and 5 % on an expression with `*` or `$*` (of five forms; in two the wildcard stands before what
is concrete). Each group has a type T of its own: an event hits everything that depends on its whole type, so
"10 of N" leaves at most ten such entries a type.

The baseline is what an index can do that is told the exact text: ``groups: dict[str, set[str]]`` maps the same
key to the ten cache keys, ``entries: dict[str, value]`` holds the values, and one invalidation is

    for name in groups.pop(key): del entries[name]

It knows no wildcard, no flight, no deadline, no lock, no watcher. Both get the same keys in the same (shuffled)
order, a hundred a round (every group only once); what was hit is put back between rounds, outside of the timing.
Only the calls to ``apply`` are timed, one by one, and the cost of the clock itself is in both.
"""

from __future__ import annotations

import gc
import random
import statistics
from time import perf_counter_ns
from typing import Any

from benchmarks.harness import Bar, Report, Settings, collected, duration
from livelake import AnalyticsCache

SIZES = (1_000, 10_000, 100_000, 1_000_000)
BAR = 3.0
_VALUE = object()


def run(settings: Settings) -> Report:
    report = Report(
        question="What does an invalidation cost that hits 10 of N entries? (ratio to a bare dictionary of sets)",
        columns=("N", "apply", "dict of sets", "ratio", "rounds"),
        notes=["the baseline is told the exact text and pops it: `for name in groups.pop(key): del entries[name]`"],
    )
    for size in SIZES[:3] if settings.quick else SIZES:
        ours, theirs = measure(size, settings)
        ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
        ratio = statistics.median(ratios)
        medians = duration(statistics.median(ours)), duration(statistics.median(theirs))
        report.rows.append((f"{size:,}", *medians, f"{ratio:.1f}", f"{ratios[0]:.1f}–{ratios[-1]:.1f}"))
        report.bars.append(Bar(f"apply / dict of sets, 10 of {size:,}", ratio, BAR))
        report.raw[str(size)] = {"apply_ns": ours, "dict_of_sets_ns": theirs, "keys_per_round": keys_in(size)}
        gc.collect()
    return report


def keys_in(size: int) -> int:
    return min(100, size // 10)


def measure(size: int, settings: Settings) -> tuple[list[float], list[float]]:
    """Nanoseconds per invalidation, one number a round, for both."""
    ours, theirs = Ours(size), Theirs(size)
    rng = random.Random(size)
    rounds: tuple[list[float], list[float]] = ([], [])
    for each in range(settings.rounds + 1):
        groups = rng.sample(range(size // 10), keys_in(size))
        pairs = [(ours, rounds[0]), (theirs, rounds[1])]
        for contender, spent in pairs if each % 2 else reversed(pairs):
            with collected():
                nanoseconds = contender.invalidate([event(group) for group in groups])
            if each:  # the first round only warms up
                spent.append(nanoseconds / len(groups))
            for group in groups:
                contender.fill(group)
    return rounds


def event(group: int) -> str:
    return f"events/T{group:06}/id{group:06}/{group % 97}"


def dependencies(group: int) -> list[str]:
    """What the ten entries of a group depend on: 8 + 2 + 0 and 8 + 1 + 1 in turn."""
    kind, id_ = f"T{group:06}", f"id{group:06}"
    whole, wild = f"events/{kind}/**", _WILD[group // 2 % len(_WILD)].format(kind=kind, id=id_, seq=group % 97)
    return [f"events/{kind}/{id_}/**"] * 8 + [whole, wild if group % 2 else whole]


_WILD = (
    "events/{kind}/*/{seq}",
    "events/{kind}/id$*/**",
    "events/{kind}/{id}/*",
    "events/*/{id}/**",  # the wildcard before what is concrete: one branch for all of these
    "events/{kind}$*/{id}/**",  # 2 % of N beside each other, told apart by their beginning
)


class Ours:
    def __init__(self, size: int) -> None:
        self.cache = AnalyticsCache(max_capacity=2 * size, time_to_live=None, time_to_idle=None)
        for group in range(size // 10):
            self.fill(group)

    def fill(self, group: int) -> None:
        for at, expression in enumerate(dependencies(group)):
            self.cache.insert(f"{group}.{at}", _VALUE, depends_on=expression)

    def invalidate(self, keys: list[str]) -> int:
        apply, spent = self.cache.apply, 0
        for key in keys:
            began = perf_counter_ns()
            count = apply(key)
            spent += perf_counter_ns() - began
            assert count == 10, (key, count)
        return spent


class Theirs:
    def __init__(self, size: int) -> None:
        self.groups: dict[str, set[str]] = {}
        self.entries: dict[str, Any] = {}
        for group in range(size // 10):
            self.fill(group)

    def fill(self, group: int) -> None:
        names = [f"{group}.{at}" for at in range(10)]
        self.groups[event(group)] = set(names)
        self.entries.update(dict.fromkeys(names, _VALUE))

    def invalidate(self, keys: list[str]) -> int:
        groups, entries, spent = self.groups, self.entries, 0
        for key in keys:
            began = perf_counter_ns()
            for name in groups.pop(key):
                del entries[name]
            spent += perf_counter_ns() - began
        return spent
