"""`Scout`: looks after one remote catalog, which nobody announces and DuckDB never looks at again.

Every ``interval`` seconds, in a thread of its own, the server is asked for the file's validators; a file that has
changed is copied and attached in place of the old one, and the commit log says what that changed. An ETag may be
made of a time in seconds, and Last-Modified is one: so a file that has just changed is copied once more when
that second is over.

A server that does not answer: for a while the copy stands for the file. Past that what was read from it is
dropped, and reads of it raise `SourceError`, until the server answers again.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Final

from livelake.clock import Clock
from livelake.errors import BusyError, LivelakeError, SourceError
from livelake.lake.attachment import PROBE_SECONDS, Attachment

log = logging.getLogger("livelake.lake")

_CONFIRM_AFTER: Final = 1.5
_BLIND_INTERVALS: Final = 4
_BLIND_AT_LEAST: Final = 2.0
_JOIN_SECONDS: Final = 1.0
_HOLD: Final = 0.5
"""Seconds for which reads are held back to let those that run end; twice as long after each time in vain."""
_HOLD_AT_MOST: Final = 2.0


class Scout:
    """Any thread may call. ``changed`` is called after a newer copy was attached, ``lost`` once what it vouched for
    is in doubt, ``seen`` after each answer of the server."""

    def __init__(self, attachment: Attachment, *, clock: Clock, interval: float) -> None:
        self.attachment = attachment
        self.name = attachment.catalog.name
        self.interval = interval
        self.failure: LivelakeError | None = None
        self.looks = 0
        self.changed: Callable[[], None] = _nothing
        self.lost: Callable[[Scout], None] = _nothing_of
        self.seen: Callable[[], None] = _nothing
        self._monotonic = clock.monotonic
        self._patience = max(_BLIND_INTERVALS * interval, _BLIND_AT_LEAST)
        self._seen_at = clock.monotonic()
        self._confirm_at = self._seen_at + _CONFIRM_AFTER
        self._is_lost = False
        self._hold = _HOLD
        self._lock = threading.Lock()  # one look at a time
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def blind_at(self) -> float:
        """When (monotonic) the copy stops vouching for the file; never once what depends on it was dropped."""
        return math.inf if self._is_lost else self._seen_at + self._patience

    @property
    def why_not(self) -> str | None:
        """Why answers from this catalog are not kept; None if its server tells when the file changes."""
        copied = self.attachment.copied
        if copied is None or copied.validator.is_known:
            return None
        return (
            f"{self.attachment.catalog.uri} has neither ETag nor Last-Modified, so only reading all of it shows a "
            "change; declare a ttl"
        )

    def vouch(self) -> None:
        """Raise `SourceError` unless the server was heard lately enough to read from the copy."""
        if self._is_lost or self._monotonic() >= self._seen_at + self._patience:
            silent = self._monotonic() - self._seen_at
            raise SourceError(
                f"{self.attachment.catalog.uri} has not been heard of for {silent:.0f} s, so what it holds is not "
                f"known ({self.failure or 'no answer yet'}); reads go on when its server answers"
            )

    def look(self) -> bool:
        """Ask now; whether another file was attached. Raises `SourceError`."""
        with self._lock:
            began = self._monotonic()
            self.looks += 1
            source, copied = self.attachment.source, self.attachment.copied
            state = source.probe(PROBE_SECONDS)
            is_new = False
            if copied is None or not state.is_known or state != copied.validator or began >= self._confirm_at:
                is_new = self._bring(began)
            self._seen_at = began
            was_lost, self._is_lost = self._is_lost, False
            if self.failure is not None or was_lost:
                log.warning("%s answers again", self.attachment.catalog.uri)
            self.failure = None
        self.seen()
        return is_new

    def start(self) -> None:
        """Begin to look. Starting twice is fine."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name=f"livelake-scout-{self.name}", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread. A server that does not answer delays this by a second at most."""
        self._stop.set()
        self.attachment.interrupt()
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)
            self._thread = None

    def _bring(self, began: float) -> bool:
        before = self.attachment.copied
        path, copied = self.attachment.bring()
        if before is not None and copied == before:
            path.unlink()
            self._confirm_at = math.inf
            return False
        if before is not None and copied.sha256 == before.sha256:  # touched, not changed
            path.unlink()
            self.attachment.copied = copied
        else:
            try:
                self.attachment.replace(path, copied, self._hold)
            except BusyError:
                path.unlink()
                self._hold = min(2 * self._hold, _HOLD_AT_MOST)
                raise
            self._hold = _HOLD
        self._confirm_at = self._monotonic() + _CONFIRM_AFTER
        self.changed()
        return True

    def _watch(self) -> None:
        while not self._stop.wait(self.interval):
            try:
                self.look()
            except LivelakeError as error:
                self._missed(error)
            except Exception as error:
                log.exception("looking after %s met an error that is not known; it goes on", self.name)
                self._missed(SourceError(str(error)))

    def _missed(self, error: LivelakeError) -> None:
        if self._stop.is_set():
            return
        if self.failure is None:
            log.warning("a remote catalog cannot be looked at: %s", error)
        self.failure = error
        if not self._is_lost and self._monotonic() >= self._seen_at + self._patience:
            self._is_lost = True
            self.lost(self)


def _nothing() -> None:
    pass


def _nothing_of(_scout: Scout) -> None:
    pass
