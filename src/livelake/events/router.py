"""A Zenoh router in this process, from the same wheel as the bus: what joins many processes and hosts.

It is Zenoh's own routing code, that of ``zenohd`` without plugins. The session is closed on every way out. Runs on
one event loop; Zenoh's threads do the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from livelake.errors import SourceError, UsageError
from livelake.events.endpoints import Endpoint, parse_endpoint
from livelake.events.router_config import listening
from livelake.events.zenoh_config import require_zenoh

if TYPE_CHECKING:
    import zenoh

__all__ = ["config_json", "run_router"]

_log: Final = logging.getLogger("livelake.events")

_TAKEN: Final = "Address already in use"
_CANNOT_LISTEN: Final = re.compile(r"(?P<place>[a-z]+/\S+): \[?\S+: (?P<why>[^(]+) \(os error")
_CLOSING: Final = 1.0  # seconds
_PORT_TRIES: Final = 20  # a free port may be taken between our look and Zenoh's


async def run_router(config: Mapping[str, Any], *, on_ready: Callable[[Sequence[str]], None]) -> None:
    """Run a router until cancelled. ``on_ready`` hears the endpoints once it listens, with the ports it really has.

    ``config`` is that of `router_config` or `load_config`; its ``mode`` is ``router``.

    Raises `SourceError` if it cannot listen (the port is taken, the address is not of this machine), and
    `UsageError` for a configuration that Zenoh refuses. A router that it is to join may come later.
    """
    if config.get("mode") not in (None, "router"):
        raise UsageError(
            f"the configuration is of mode {config['mode']!r}, and this runs a router; set mode 'router'"
        )
    session, places = await _open(dict(config) | {"mode": "router"})
    try:
        on_ready(places)
        await asyncio.Event().wait()
    finally:
        await _close(session)


def config_json(config: Mapping[str, Any]) -> str:
    """The configuration as JSON, which is JSON5: what ``zenohd --config`` reads, too."""
    return json.dumps(config, indent=2)


async def _open(config: dict[str, Any]) -> tuple[zenoh.Session, tuple[str, ...]]:
    """A session of ``config`` with port 0 replaced by free ports, and where it listens."""
    asked = listening(config)
    if not asked:
        raise UsageError(
            "the configuration names no place to listen; set listen: { endpoints: ['tcp/127.0.0.1:7447'] }"
        )
    for attempt in range(_PORT_TRIES):
        places = tuple(_with_free_port(text) for text in asked)
        config["listen"] = {**(config.get("listen") or {}), "endpoints": list(places)}
        try:
            return await _open_in_thread(config), places
        except SourceError as error:
            if places == tuple(asked) or attempt == _PORT_TRIES - 1 or _TAKEN not in str(error):
                raise
    raise AssertionError("unreachable")


async def _open_in_thread(config: dict[str, Any]) -> zenoh.Session:
    """`_open_session` beside the loop, so that a signal is heard; a session that comes too late is closed."""
    opening = asyncio.ensure_future(asyncio.to_thread(_open_session, config))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        with contextlib.suppress(SourceError, UsageError):
            await _close(await opening)
        raise


def _open_session(config: dict[str, Any]) -> zenoh.Session:
    require_zenoh()
    import zenoh

    zenoh.try_init_log_from_env()  # type: ignore[no-untyped-call]  # RUST_LOG=zenoh=debug says who was refused
    try:
        ready = zenoh.Config.from_json5(json.dumps(config))
    except zenoh.ZError as error:
        raise UsageError(f"Zenoh refuses the configuration of the router: {_reason(error)}") from error
    try:
        return zenoh.open(ready)
    except zenoh.ZError as error:
        raise SourceError(f"the router cannot start: {_reason(error)}{_advice(str(error))}") from error


async def _close(session: zenoh.Session) -> None:
    """Close, which takes some 5 ms, or 10 s and an error where a client is frozen: so at most `_CLOSING` of it.

    A daemon thread, since nobody shall wait for the rest; the process is about to end.
    """
    closing = threading.Thread(target=_close_quietly, args=(session,), name="livelake-router-close", daemon=True)
    closing.start()
    await asyncio.to_thread(closing.join, _CLOSING)
    if closing.is_alive():
        _log.warning("the router ends without waiting for a client that does not answer")


def _close_quietly(session: zenoh.Session) -> None:
    import zenoh

    with contextlib.suppress(zenoh.ZError):
        session.close()  # type: ignore[no-untyped-call]


def _with_free_port(text: str) -> str:
    endpoint = parse_endpoint(text, listening=True)
    return text if endpoint.port != 0 else endpoint.with_port(_free_port(endpoint)).text


def _free_port(endpoint: Endpoint) -> int:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    kind = socket.SOCK_DGRAM if endpoint.is_datagram else socket.SOCK_STREAM
    with socket.socket(family, kind) as probe:
        try:
            probe.bind((endpoint.host, 0))
        except OSError as error:
            raise SourceError(f"the router cannot listen on {endpoint}: {error.strerror or error}") from error
        return int(probe.getsockname()[1])


def _reason(error: Exception) -> str:
    """Zenoh's words, without the paths of its source; an address of ours that cannot be had, in fewer of them."""
    text = " ".join(str(error).split())
    if found := _CANNOT_LISTEN.search(text):
        return f"{found['place']}: {found['why']}"
    text = text.partition(" at /")[0]
    return text if "]" in text else text.replace("[", "")


def _advice(text: str) -> str:
    if _TAKEN in text or "EAGAIN" in text:  # the latter: of a Unix socket's lock file
        return "; another process listens there: stop it, or listen elsewhere"
    if "Cannot assign requested address" in text:
        return "; that is no address of this machine"
    return ""
