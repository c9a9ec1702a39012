"""Thousands of viewers, some of whom stall or come and go: nobody misses the last state, and nothing stays behind."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from livelake import web
from livelake.live import LiveLake

PATIENCE = 240.0
ROWS = 95


@pytest.fixture
def descriptors() -> Iterator[int]:
    """As many as this process may have; the number that it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who stalls for a minute is given up; on a busy machine these tests take longer."""
    monkeypatch.setitem(web.listen.__globals__, "_USER_TIMEOUT_MS", 3_600_000)


@pytest.mark.timeout(900)
async def test_two_thousand_viewers_see_the_last_state_and_leave_nothing(
    lake: LiveLake, folder: Path, descriptors: int
) -> None:
    await load(lake, folder, descriptors, viewers=2_000, odd=200, updates=500)


@pytest.mark.stress
@pytest.mark.timeout(3_000)
async def test_ten_thousand_viewers_see_the_last_state_and_leave_nothing(
    lake: LiveLake, folder: Path, descriptors: int
) -> None:
    await load(lake, folder, descriptors, viewers=10_000, odd=1_000, updates=500)


async def load(lake: LiveLake, folder: Path, descriptors: int, *, viewers: int, odd: int, updates: int) -> None:
    """``odd`` of the viewers stall, and as many come and go."""
    if descriptors < viewers + 500:
        pytest.skip(f"{viewers} viewers need more descriptors than {descriptors} (ulimit -Hn)")
    await lake.execute(f"CREATE TABLE states AS SELECT i, i * 1001 AS amount FROM range({ROWS}) r(i)")
    (folder / "wide").mkdir()
    (folder / "wide" / "states.sql").write_text(
        "SELECT i, amount, repeat('x', 60) AS text FROM shop.main.states ORDER BY i"
    )
    app = await web.app(lake, folder, max_viewers=None)
    with web.listen("127.0.0.1", 0) as listener:
        serving = asyncio.create_task(web.serve(app, listener))
        tasks, files = len(asyncio.all_tasks()), open_files()
        port = listener.getsockname()[1]
        async with looking(port, viewers - 2 * odd, odd, odd, packed=viewers // 5) as ask:
            for number in range(1, updates + 1):
                # Twelve rows, of which one says which state this is.
                await lake.execute(f"UPDATE states SET amount = {number} * 1000000 + i WHERE i % 8 = 0")
                if number % 50 == 0:
                    assert held_back() <= 65_536, "a viewer who stalls is kept little"
            (channel,) = app.channels._living
            last = f"{updates * 1_000_000 + 88:,}"
            await until(lambda: last in channel.panels[0].frame.decode())
            assert held_back() <= 65_536
            assert (await ask("resume")).split() == ["resume", str(viewers)]
            assert (await ask(f"last {last}")).split() == ["last", str(viewers)]
            assert app.channels.viewers == app.admission.total == viewers
        await until(lambda: app.channels.viewers == app.admission.total == 0)
        await until(lambda: len(asyncio.all_tasks()) <= tasks + 2)  # the panel's, and the look of a query's watch
        await until(lambda: open_files() <= files + 8)
        assert app.pulse._timer is None
        await app.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def held_back() -> int:
    """The most that this process keeps for any one connection, beside the kernel's 16 kB of unsent bytes."""
    sizes = [each.get_write_buffer_size() for each in gc.get_objects() if isinstance(each, asyncio.Transport)]
    return max(sizes, default=0)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0


async def until(condition: object) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)


@asynccontextmanager
async def looking(port: int, steady: int, stalled: int, flapping: int, *, packed: int) -> AsyncIterator[object]:
    numbers = map(str, (steady, stalled, flapping, packed))
    command = [sys.executable, str(Path(__file__).parent / "viewers.py"), str(port), "/live/wide", *numbers]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None

    async def answer() -> str:
        async with asyncio.timeout(PATIENCE):
            line = (await process.stdout.readline()).decode().strip()  # type: ignore[union-attr]
        assert line, "the viewers ended; see what they wrote"
        return line

    async def ask(order: str) -> str:
        process.stdin.write(f"{order}\n".encode())  # type: ignore[union-attr]
        return await answer()

    try:
        assert await answer() == "ready"
        yield ask
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
