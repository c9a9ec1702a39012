"""`Interlude`: a moment without a transaction, in which a database may be replaced under its name.

DuckDB 1.5.5 lets a transaction go on with the database that it began with. But when one of its statements looks at
all databases afterwards (``duckdb_tables()``, ``information_schema``), DuckDB finds two under one name, calls it an
internal error and gives up the whole instance: `tests/engine/test_stranded.py` shows it. So transactions are let in
here, and held back for as long as one who replaces waits for those that run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from livelake.errors import BusyError


class Interlude:
    """Any thread may use it. Beginning a transaction costs 1 µs here, or the patience of one who wants to be alone.

    Who is in a transaction may begin another on another session: nobody waits for longer than that patience.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()  # one at a time is alone
        self._changed = threading.Condition()  # guards the next two
        self._running = 0
        self._is_wanted = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What runs within is not run beside `alone`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_wanted)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self, patience: float) -> Iterator[None]:
        """Run without any transaction. Raises `BusyError` when some still run after ``patience`` seconds."""
        with self._turn:
            with self._changed:
                self._is_wanted = True
                is_quiet = self._changed.wait_for(lambda: not self._running, patience)
            try:
                if not is_quiet:
                    raise BusyError(f"queries have been running for {patience:g} s without a moment between them")
                yield
            finally:
                with self._changed:
                    self._is_wanted = False
                    self._changed.notify_all()
