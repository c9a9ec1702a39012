"""Random faults by a seed: what happens, how long, and in which order."""

from __future__ import annotations

import random
from collections.abc import Callable

from faults.rig import Rig

Fault = Callable[[Rig, random.Random], None]


def _router_restarts(rig: Rig, rng: random.Random) -> None:
    rig.restart_router(rng.choice([0.0, 0.0, rng.uniform(0.1, 3.0)]))


def _router_freezes(rig: Rig, rng: random.Random) -> None:
    rig.freeze_router(rng.uniform(0.3, 3.0))


def _publisher_freezes(rig: Rig, rng: random.Random) -> None:
    rig.freeze_publisher(rng.randrange(2), rng.uniform(0.3, 3.0))


def _publisher_crashes(rig: Rig, rng: random.Random) -> None:
    after = rng.choice([0, 1, 10, 500])
    down = rng.choice([0.0, rng.uniform(0.0, 2.5)])
    rig.crash_publisher(rng.randrange(2), after=after, down=down, rate=_rate(rng))


def _messages_suffer(rig: Rig, rng: random.Random) -> None:
    how = {name: rng.choice([0.0, rng.uniform(0.0, 0.2)]) for name in ("drop", "duplicate", "reorder")}
    rig.faults.append("messages " + ", ".join(f"{name} {share:.0%}" for name, share in how.items()))
    rig.set(**how, rate=_rate(rng))


def _tail_is_lost(rig: Rig, rng: random.Random) -> None:
    rig.faults.append("the last event is lost, then silence")
    rig.set(rate=0, lose_next=1)
    rig.publishers[rng.randrange(2)].ask("emit", count=1)
    rig.run(rng.uniform(0.5, 1.0))
    rig.set(rate=_rate(rng), lose_next=0)


def _node_is_cut_off(rig: Rig, rng: random.Random) -> None:
    rig.cut(rng.choice(["p0", "reader"]), rng.uniform(0.3, 4.0), one_way=rng.random() < 0.3)


def _rate(rng: random.Random) -> float:
    """2 to 800 events a second of each publisher, as often slow as fast."""
    return float(2 * 400 ** rng.random())


def soak(rig: Rig, seed: int, faults: int) -> None:
    """Let ``faults`` of them happen, two at a time now and then. The rig is being watched."""
    rng = random.Random(seed)
    kinds: list[Fault] = [
        _router_restarts,
        _router_freezes,
        _publisher_freezes,
        _publisher_crashes,
        _messages_suffer,
        _messages_suffer,
        _tail_is_lost,
    ]
    if rig.network is not None:
        kinds.append(_node_is_cut_off)
    rig.set(rate=_rate(rng))
    for _ in range(faults):
        rng.choice(kinds)(rig, rng)
        rig.run(rng.uniform(0.1, 1.5))
