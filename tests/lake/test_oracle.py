"""The differential oracle over random steps: differences = 0 (issue 5, "How it is proved").

Small lakes in processes of their own, two at a time, each with its seed. A difference is printed with the steps that
led to it. Seeds fix what is done; how it interleaves is the machine's own, so a seed may need several runs.
"""

from __future__ import annotations

import multiprocessing
import re
from collections import Counter
from typing import Any

import pytest

from lake import oracle

WORLDS, STEPS = 10, 2_000
WORLD_SECONDS = 800.0


def search(seeds: range, steps: int) -> tuple[int, Counter[str]]:
    """(steps done, what happened in them). Fails on the first difference."""
    done, happened = 0, Counter[str]()
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=1) as pool:
        worlds = [pool.apply_async(oracle.run, (seed, steps)) for seed in seeds]
        for world in worlds:
            count, counts, difference = world.get(WORLD_SECONDS)  # a process that DuckDB ended gives no answer
            print(f"{count} steps: {dict(counts)}")
            if difference is not None:
                pytest.fail(difference, pytrace=False)
            done += count
            happened += counts
    return done, happened


def each_kind_happened(happened: Counter[str], least: int) -> None:
    kinds = ("hit", "miss", "joined", "writes", "elsewhere", "redefinitions", "maintenance", "cancelled", "checked")
    rare = {kind: happened[kind] for kind in kinds if happened[kind] < least}
    assert not rare, f"too few to prove anything: {rare}"


@pytest.mark.timeout(900)
def test_i1_every_fresh_answer_equals_time_travel() -> None:
    """20,000 steps."""
    done, happened = search(range(1, WORLDS + 1), STEPS)
    assert done >= WORLDS * STEPS
    each_kind_happened(happened, 30)


@pytest.mark.stress
@pytest.mark.timeout(9_000)
def test_i1_every_fresh_answer_equals_time_travel_for_long() -> None:
    """200,000 steps."""
    done, happened = search(range(1_000, 1_040), 5_000)
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
