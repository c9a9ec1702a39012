"""The rig for a long time, at random, by seed: nothing is stale for longer than the bound, nor for ever (I4).

LIVELAKE_SOAK_SEEDS=11,12 LIVELAKE_SOAK_FAULTS=16 make stress
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("zenoh", reason="the extra livelake[zenoh] is not installed")

from faults.network import Network, network
from faults.rig import Rig, rigged
from faults.soak import soak
from faults.verdict import Verdict

BOUND = 0.55  # what docs/bus.md promises with the defaults
FAULTS = int(os.environ.get("LIVELAKE_SOAK_FAULTS", "16"))
SEEDS = [int(seed) for seed in os.environ.get("LIVELAKE_SOAK_SEEDS", "11,12,13,14,15").split(",")]
STARVED = 0.3  # share of the time; then the run proves little

pytestmark = [pytest.mark.stress, pytest.mark.timeout(600)]


def told(rig: Rig, verdict: Verdict, seed: int) -> str:
    return f"seed {seed}: {len(rig.faults)} faults {verdict.row()}"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("place", ["loopback", "namespaces"])
def test_i4_random_faults_leave_nothing_stale_past_the_bound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int, place: str
) -> None:
    if place == "namespaces":
        with network("p0", "reader") as made:
            verdict, rig = run(tmp_path, seed, made)
    else:
        verdict, rig = run(tmp_path, seed, None)
    with capsys.disabled():
        print(f"\n{place}, {told(rig, verdict, seed)}")
    if verdict.stalled > STARVED * verdict.seconds:
        pytest.skip(f"this machine starved the rig for {verdict.stalled:.0f} of {verdict.seconds:.0f} s")
    assert verdict.late == [], rig.faults
    assert verdict.noticed_at(1.0) <= BOUND, rig.faults


def run(folder: Path, seed: int, made: Network | None) -> tuple[Verdict, Rig]:
    with rigged(folder, seed=seed, bound=BOUND, network=made) as rig, rig.watched() as found:
        soak(rig, seed, FAULTS)
    shutil.rmtree(folder, ignore_errors=True)
    return found[0], rig


def test_negative_control_without_detection_the_soak_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with rigged(tmp_path, seed=SEEDS[0], bound=BOUND, blindfold=True) as rig:
        try:
            with rig.watched():
                soak(rig, SEEDS[0], FAULTS)
        except AssertionError:
            pass  # stale for ever, too; maybe not, since later events cover earlier ones
        verdict = rig.verdict()
    with capsys.disabled():
        print(f"\nwithout detection, {told(rig, verdict, SEEDS[0])}")
    assert verdict.late
    assert verdict.noticed_at(1.0) > BOUND
