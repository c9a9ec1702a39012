"""The differential oracle over random steps: differences = 0 (issue 5, "How it is proved").

Small lakes in processes of their own, two at a time, each with its seed. A difference is printed with the steps that
led to it. Seeds fix what is done; how it interleaves is the machine's own, so a seed may need several runs.
"""

from __future__ import annotations

import itertools
import multiprocessing
import re
from collections import Counter, deque
from typing import Any

import pytest

from lake import oracle

MOST_GIVEN_UP = 3
WORLD_SECONDS = 800.0


def search(first: int, steps: int, wanted: int) -> tuple[int, Counter[str]]:
    """(steps done, what happened in them). Fails on the first difference. A world that DuckDB gave up is made good
    by another."""
    done, happened, seeds = 0, Counter[str](), itertools.count(first)
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=1) as pool:
        worlds = deque(pool.apply_async(oracle.run, (next(seeds), steps)) for _ in range(wanted // steps))
        while worlds:
            count, counts, difference = worlds.popleft().get(WORLD_SECONDS)  # none from a process that died
            print(f"{count} steps: {dict(counts)}")
            if difference is not None:
                pytest.fail(difference, pytrace=False)
            done += count
            happened += counts
            if not worlds and done < wanted and happened["gave up"] <= MOST_GIVEN_UP:
                worlds.append(pool.apply_async(oracle.run, (next(seeds), steps)))
    return done, happened


def each_kind_happened(happened: Counter[str], least: int) -> None:
    kinds = ("hit", "miss", "joined", "writes", "elsewhere", "redefinitions", "maintenance", "cancelled", "checked")
    rare = {kind: happened[kind] for kind in kinds if happened[kind] < least}
    assert not rare, f"too few to prove anything: {rare}"


@pytest.mark.timeout(900)
def test_i1_every_fresh_answer_equals_time_travel() -> None:
    """20,000 steps."""
    done, happened = search(1, 2_000, 20_000)
    assert done >= 20_000
    each_kind_happened(happened, 30)


@pytest.mark.stress
@pytest.mark.timeout(9_000)
def test_i1_every_fresh_answer_equals_time_travel_for_long() -> None:
    """200,000 steps."""
    done, happened = search(1_000, 5_000, 200_000)
    assert done >= 200_000
    each_kind_happened(happened, 300)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("bug", "shows"),
    [
        ("an invalidation is dropped", "the newest commit acknowledged when it began"),
        ("the snapshot is not the one that is read", "its own as_of|the newest commit|a snapshot that is not there"),
    ],
)
def test_the_oracle_finds_a_planted_bug(bug: str, shows: str) -> None:
    """The negative controls, in a process of their own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found: list[Any] = [pool.apply(oracle.run, (seed, 1_000, bug)) for seed in (1, 2)]
    differences = [difference for _, _, difference in found if difference is not None]
    assert differences
    assert any(re.search(shows, each) for each in differences), differences[0]
