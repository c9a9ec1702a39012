"""The door to Zenoh: one session, opened and closed so that nothing hangs, its errors mapped to ours.

What is guarded here, each seen to happen: a session that is inherited over ``fork`` swallows what is put, and
opening one in a child of a process that ever had one hangs; a panic of the Rust core is a `BaseException`; `close`
in a callback deadlocks. Callbacks are called in threads of Zenoh's, one for each declaration: they are O(1).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import zenoh

from livelake.errors import SourceError, UsageError

__all__ = ["Sample", "ZenohSession", "check_process", "open_session"]

Sample = zenoh.Sample

_log: Final = logging.getLogger("livelake.events")
_BLOCK: Final = zenoh.CongestionControl.BLOCK  # with DROP a burst is lost within a millisecond
_REMOTE: Final = zenoh.Locality.REMOTE


class _Process:
    """Whether a session was ever opened here, and whether this is a fork of such a process."""

    opened = False
    inherited = False


def _after_fork() -> None:
    _Process.inherited = _Process.inherited or _Process.opened


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def check_process() -> None:
    """`UsageError` in a child that was forked after a session had been opened. Cheap."""
    if _Process.inherited:
        raise UsageError(
            "this process was forked from one that had opened a Zenoh session, which does not survive that;"
            " start workers by spawn (multiprocessing.set_start_method('spawn')) and open a ZenohBus in each."
        )


async def open_session(config: Mapping[str, object], endpoints: str, timeout: float) -> ZenohSession:
    """A session; `SourceError` if it cannot be opened within ``timeout`` seconds. Cancellable: then it is closed."""
    check_process()
    _Process.opened = True
    opening = asyncio.ensure_future(asyncio.to_thread(_open, json.dumps(config), endpoints))
    try:
        return await asyncio.wait_for(asyncio.shield(opening), timeout + 1.0)
    except TimeoutError as error:
        opening.add_done_callback(_close_late)
        raise SourceError(f"opening Zenoh at {endpoints} took more than {timeout:g} s; is a router there?") from error
    except asyncio.CancelledError:
        opening.add_done_callback(_close_late)
        raise


def _open(config: str, endpoints: str) -> ZenohSession:
    try:
        return ZenohSession(zenoh.open(zenoh.Config.from_json5(config)))
    except BaseException as error:
        if not _is_foreign(error):
            raise
        why = str(error).partition(" at /")[0]  # the rest is a path of whoever built the wheel
        raise SourceError(
            f"cannot open Zenoh at {endpoints}: {why}. Check that a router listens there (`livelake router`,"
            " or zenohd), that the address is free if it is one to listen at, and certificates, user and"
            " password: a router refuses without giving a reason."
        ) from error


def _close_late(opening: asyncio.Future[ZenohSession]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _is_foreign(error: BaseException) -> bool:
    return isinstance(error, zenoh.ZError) or type(error).__name__ == "PanicException"


class ZenohSession:
    """An open session. Any thread, but for ``close``, which is not for callbacks. Closing twice is fine."""

    def __init__(self, session: zenoh.Session) -> None:
        self._session = session
        self._declared: dict[int, Any] = {}
        self._token: Any = None
        self._closed = False

    def put(self, key: str, payload: bytes, attachment: bytes) -> None:
        """Put on the wire; may block for seconds when that is full. `SourceError` if Zenoh refuses.

        Returning says nothing: what is put while there is no link is lost without an error.
        """
        try:
            self._session.put(key, payload, attachment=attachment, congestion_control=_BLOCK)
        except BaseException as error:
            if not _is_foreign(error):
                raise
            raise SourceError(f"Zenoh did not take {key[:80]!r}: {error}") from error

    def subscribe(self, key: str, callback: Callable[[Sample], None]) -> Callable[[], None]:
        """Have ``callback`` called with what others put under ``key``; returns what ends it."""
        return self._keep(self._session.declare_subscriber(key, callback, allowed_origin=_REMOTE))

    def watch_sources(self, key: str, callback: Callable[[str, bool], None]) -> None:
        """``callback(token key, whether it is there)``: now for each that is, then for each change."""

        def told(sample: Sample) -> None:
            callback(str(sample.key_expr), sample.kind == zenoh.SampleKind.PUT)

        self._keep(self._session.liveliness().declare_subscriber(key, told, history=True))

    def watch_links(self, callback: Callable[[str, bool], None]) -> None:
        """``callback(id of the other end, whether it is linked)``: now for each that is, then for each change."""

        def told(event: zenoh.TransportEvent) -> None:
            callback(str(event.transport.zid), event.kind == zenoh.SampleKind.PUT)

        self._keep(self._session.info.declare_transport_events_listener(told, history=True))

    def links(self) -> set[str]:
        """The ids of those whom this session is linked with now."""
        return {str(transport.zid) for transport in self._session.info.transports()}

    def announce(self, key: str) -> None:
        """Hold a liveliness token until `retract` or the end of the session."""
        self._token = self._session.liveliness().declare_token(key)

    def retract(self) -> None:
        """Take the token back."""
        if self._token is not None:
            self._token.undeclare()
            self._token = None

    def close(self) -> None:
        """End it, and with it the threads of its callbacks. Not in a callback."""
        if self._closed or _Process.inherited:
            return
        self._closed = True
        for declared in list(self._declared.values()):
            self._quietly(declared.undeclare)
        self._declared.clear()
        self._quietly(self._session.close)

    def _keep(self, declared: Any) -> Callable[[], None]:
        number = id(declared)
        self._declared[number] = declared

        def end() -> None:
            if self._declared.pop(number, None) is not None:
                self._quietly(declared.undeclare)

        return end

    @staticmethod
    def _quietly(end: Callable[[], object]) -> None:
        try:
            end()
        except BaseException as error:
            if not _is_foreign(error):
                raise
            _log.warning("Zenoh did not end cleanly: %s", error)
