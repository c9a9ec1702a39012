"""A disk that is really full: a small file system of its own, and something that fills it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lake.faults.rig import ROWS, TOTAL, fill, opened, recovered, total
from livelake.errors import LivelakeError

SIZE = 16 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", mount], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", mount], check=True, capture_output=True)


def fill_up(disk: Path) -> Path:
    """Until not a byte more goes onto it; remove the file to have room again."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    return filler


@pytest.mark.parametrize("kind", ["ducklake", "sqlite", "duckdb"])
async def test_a_full_disk_costs_the_write_and_nothing_else(kind: str, disk: Path) -> None:
    async with opened(kind, disk) as lake:
        await fill(lake)
        before = total(await lake.query(TOTAL))
        filler = fill_up(disk)
        with pytest.raises(LivelakeError) as caught:
            await lake.execute("INSERT INTO orders SELECT hash(range) % 1000 FROM range(3000000)")
        assert "please report" not in str(caught.value)  # it is the disk's fault, not ours
        try:
            after = total(await lake.query(TOTAL, fresh=True))
        except LivelakeError:  # DuckDB may have given the database up: then nothing is answered, but nothing wrong
            kept = await lake.query(TOTAL, fresh=True, stale_if_error=3600)
            after = total(kept)
        assert after == before
        filler.unlink()
        assert total(await recovered(lake)) == before == (499_500, ROWS)
        token = await lake.execute("INSERT INTO orders SELECT 1 FROM range(50000)")
        assert total(await lake.query(TOTAL, not_before=token)) == (before[0] + 50_000, ROWS + 50_000)
    async with opened(kind, disk) as lake:  # and it is on the disk
        assert total(await lake.query(TOTAL)) == (before[0] + 50_000, ROWS + 50_000)


async def test_no_room_to_spill_costs_the_query_and_nothing_else(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(disk))
    from livelake import Limits

    async with opened("sqlite", disk.parent, limits=Limits(memory_limit="60MB")) as lake:
        await fill(lake)
        filler = fill_up(disk)
        with pytest.raises(LivelakeError):
            await lake.query("SELECT count(DISTINCT hash(i)::VARCHAR) AS n FROM range(3000000) t(i)")
        assert total(await lake.query(TOTAL)) == (499_500, ROWS)
        filler.unlink()
        assert total(await lake.query(TOTAL, fresh=True)) == (499_500, ROWS)
