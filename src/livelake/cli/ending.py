"""How a command ends that runs until it is stopped: Ctrl-C and SIGTERM are its normal end, status 0."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

_STOPS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Within, either signal ends the block quietly, whenever it comes: what ``finally`` clears up is cleared up."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` to its end, within `stoppable`. The first signal cancels it, and it may close what it opened.

    A second one does not wait for that.
    """
    asyncio.run(_until_stopped(main))


async def _until_stopped(main: Coroutine[Any, Any, None]) -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(main)

    def stop() -> None:
        for each in _STOPS:
            loop.remove_signal_handler(each)
        if sys.stdout.isatty():
            print()  # the terminal has written ^C, and the prompt would follow on its line
        task.cancel()

    with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # Windows; not the main thread
        for each in _STOPS:
            loop.add_signal_handler(each, stop)
    try:
        await asyncio.wait((task,))
    finally:
        task.cancel()
    if not task.cancelled():
        task.result()
