"""Interrupts that arrive: repeated, with a growing pause, until the statement has ended.

DuckDB forgets an interrupt that lands before execution starts, so one is not enough. `Interrupter` owns one thread
that lives only while something is being interrupted. Whoever is poked says whether it needs more.
"""

from __future__ import annotations

import threading
from typing import Final, Protocol

_FIRST: Final = 0.0005
_LONGEST: Final = 0.05


class Interruptible(Protocol):
    def poke(self) -> bool:
        """Interrupt what runs, if it is still to be stopped. Returns False once there is nothing to stop."""
        ...


class Interrupter:
    """Repeats interrupts. `add` may be called from any thread, event loops included: it never waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._pending: list[Interruptible] = []
        self._fresh = False  # something was added: begin again with the shortest pause
        self._thread: threading.Thread | None = None

    def add(self, target: Interruptible) -> None:
        """Poke ``target`` now and again until it says that it is done."""
        with self._lock:
            if not any(target is known for known in self._pending):
                self._pending.append(target)
            self._fresh = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="livelake-interrupt", daemon=True)
                self._thread.start()
            self._wake.notify()

    def _work(self) -> None:
        pause = _FIRST
        while True:
            with self._lock:
                if self._fresh:
                    self._fresh, pause = False, _FIRST
                pending = list(self._pending)
            done = [target for target in pending if not target.poke()]
            with self._lock:
                # A target that was added again while it was poked is poked once more; that is harmless.
                self._pending = [t for t in self._pending if self._fresh or not any(t is d for d in done)]
                if not self._pending:
                    self._thread = None
                    return
                self._wake.wait(pause)
            pause = min(2 * pause, _LONGEST)
