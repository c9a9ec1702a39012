"""Configurations of Zenoh sessions and routers, as plain nested dictionaries that are valid JSON5 once dumped.

What stands here was measured (docs/bus.md says what for): no multicast, so that nothing is found by accident and
nothing waits for it; a short lease on every node, since a node announces *its* lease to others; quick retries; no
shared memory. A combination in which two nodes would silently not hear each other is refused. Only `load_config`
needs zenoh itself. Pure but for looking whether files are there; any thread.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from livelake.errors import SourceError, UsageError
from livelake.events.endpoints import Endpoint, parse_endpoint

__all__ = ["Credentials", "Mode", "load_config", "require_zenoh", "session_config", "session_warnings"]

_log: Final = logging.getLogger("livelake.events")

Mode = Literal["client", "peer"]

MAX_MESSAGE: Final = 4_194_304
"""Bytes of one message that a node takes in; an event has 1 MiB at most, Zenoh's own limit is 1 GiB."""
_RETRY: Final = {"period_init_ms": 100, "period_max_ms": 500, "period_increase_factor": 1.5}
_LEASES: Final = (0.1, 3_600.0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who a session is, and whom it believes. All paths are PEM files.

    ``user`` and ``password`` go together. ``ca`` vouches for the other side (None: the public authorities).
    ``certificate`` and ``private_key`` go together and prove who this side is: mutual TLS.

    Raises `UsageError` for half a pair, and for a file that cannot be read, by name.
    """

    user: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    ca: Path | str | None = None
    certificate: Path | str | None = None
    private_key: Path | str | None = None

    def __post_init__(self) -> None:
        if (self.user is None) != (self.password is None):
            given, missing = ("user", "password") if self.password is None else ("password", "user")
            raise UsageError(f"credentials have a {given} and no {missing}; give both, or neither")
        if self.user is not None:
            check_user(self.user)
        if self.password == "":
            raise UsageError(f"the password of user {self.user!r} is empty; give one")
        if (self.certificate is None) != (self.private_key is None):
            pair = ("certificate", "private_key")
            given, missing = pair if self.private_key is None else pair[::-1]
            raise UsageError(f"credentials have a {given} and no {missing}; give both, or neither")
        check_files(ca=self.ca, certificate=self.certificate, private_key=self.private_key)

    @property
    def has_files(self) -> bool:
        return self.ca is not None or self.certificate is not None


def session_config(
    connect: Sequence[str] = (),
    listen: Sequence[str] = (),
    mode: Mode | None = None,
    *,
    lease: float = 1.0,
    timeout: float = 2.0,
    credentials: Credentials | None = None,
) -> dict[str, object]:
    """The configuration of one session; what `session_warnings` has to say goes to the log.

    ``mode`` None: a client where there is somewhere to connect to and nowhere to listen, else a peer; a peer
    without endpoints is alone with its own process. ``timeout``: seconds that opening waits for a router.

    Raises `UsageError` for a malformed endpoint, and for modes, endpoints and credentials that do not go together.
    """
    to = endpoints("connect", connect, listening=False)
    at = endpoints("listen", listen, listening=True)
    known = credentials or Credentials()
    chosen = _mode(mode, to, at)
    _check_encryption(known, to, at)
    for warning in session_warnings(connect, listen, credentials):
        _log.warning("%s", warning)
    config = base_config(chosen, to, at, lease=lease, gossip=chosen == "peer" and bool(at))
    if chosen == "client":
        config["connect"] |= {"timeout_ms": milliseconds("timeout", timeout), "exit_on_failure": True}
    transport: dict[str, Any] = config["transport"]
    if known.user is not None:
        transport["auth"] = {"usrpwd": {"user": known.user, "password": known.password}}
    if tls := _session_tls(known, to, at):
        transport["link"]["tls"] = tls
    return config


def session_warnings(
    connect: Sequence[str] = (), listen: Sequence[str] = (), credentials: Credentials | None = None
) -> tuple[str, ...]:
    """What is allowed and yet unwise, a line each: open doors, passwords beside events in the clear."""
    known = credentials or Credentials()
    at = endpoints("listen", listen, listening=True)
    to = endpoints("connect", connect, listening=False)
    found = [
        f"listening on {each} lets every machine that reaches it read and publish events;"
        " listen on tls/… with a ca, or run `livelake router --users` and connect to it"
        for each in at
        if not each.is_local and not (each.is_encrypted and known.ca is not None)
    ]
    if known.user is not None:
        found += plaintext_warnings(to)
    return tuple(found)


def load_config(path: Path | str) -> dict[str, Any]:
    """A user's own JSON5 file, filled up with Zenoh's defaults (null where it decides later).

    Raises `UsageError` for text that is no Zenoh configuration, and `SourceError` for a file that cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise SourceError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}"
        ) from error
    require_zenoh()
    import zenoh

    try:
        config = json.loads(str(zenoh.Config.from_json5(text)))
    except zenoh.ZError as error:
        why = " ".join(str(error).partition(" at /")[0].split())
        raise UsageError(f"{path} is no Zenoh configuration: {why}") from error
    assert isinstance(config, dict)
    return config


def require_zenoh() -> None:
    """`UsageError` where the zenoh package is not installed; importing it is the caller's."""
    if importlib.util.find_spec("zenoh") is None:
        raise UsageError("Zenoh is not installed; run: pip install 'livelake[zenoh]'")


def base_config(
    mode: str, connect: Sequence[Endpoint], listen: Sequence[Endpoint], *, lease: float, gossip: bool
) -> dict[str, Any]:
    """What sessions and routers have in common."""
    if not _LEASES[0] <= lease <= _LEASES[1]:
        raise UsageError(f"lease {lease!r} is not between {_LEASES[0]:g} and {_LEASES[1]:,.0f} seconds")
    return {
        "mode": mode,
        "connect": {"endpoints": [each.text for each in connect], "retry": dict(_RETRY)},
        "listen": {"endpoints": [each.text for each in listen], "exit_on_failure": True},
        "scouting": {"delay": 0, "multicast": {"enabled": False}, "gossip": {"enabled": gossip}},
        "transport": {
            "link": {"tx": {"lease": milliseconds("lease", lease)}, "rx": {"max_message_size": MAX_MESSAGE}},
            "shared_memory": {"enabled": False},
        },
    }


def endpoints(what: str, texts: Sequence[str], *, listening: bool) -> tuple[Endpoint, ...]:
    """All of ``texts``, parsed; `UsageError` for the first that is none, and for one that stands there twice."""
    if isinstance(texts, str):
        raise UsageError(f"{what}={texts!r} is one text; write {what}=[{texts!r}]")
    parsed = tuple(parse_endpoint(text, listening=listening) for text in texts)
    for index, each in enumerate(parsed):
        if each.port != 0 and each in parsed[:index]:
            raise UsageError(f"{each.text!r} stands twice in {what}; name it once")
    return parsed


def check_files(**files: Path | str | None) -> None:
    """`UsageError` that names the first file which is not there, or may not be read."""
    for what, path in files.items():
        if path is None:
            continue
        try:
            with Path(path).open("rb") as file:
                file.read(1)
        except OSError as error:
            raise UsageError(f"the {what.replace('_', ' ')} {path} cannot be read: {error.strerror}") from error


def check_user(name: str) -> None:
    """`UsageError` for a user name that a line ``user:password`` cannot hold."""
    if not name or ":" in name or name != name.strip() or not name.isprintable():
        raise UsageError(f"{name!r} is no user name: it must be text without a colon, and no space around it")


def plaintext_warnings(places: Iterable[Endpoint]) -> list[str]:
    """A line for each of ``places`` where a password guards the door and the events go in the clear."""
    return [
        f"{each} is not encrypted: the password keeps strangers out, but whoever sees the network reads every event;"
        " use tls/…"
        for each in places
        if not each.is_encrypted and not each.is_local
    ]


def milliseconds(what: str, seconds: float) -> int:
    if not (math.isfinite(seconds) and 0 < seconds <= 86_400):
        raise UsageError(f"{what} {seconds!r} is no number of seconds; give one above 0")
    return max(1, round(seconds * 1_000))


def _mode(mode: str | None, connect: Sequence[Endpoint], listen: Sequence[Endpoint]) -> Mode:
    if mode not in (None, "client", "peer"):
        raise UsageError(f"mode {mode!r} is unknown; it is 'client' or 'peer'")
    if mode is None:
        mode = "client" if connect and not listen else "peer"
    if mode == "client":
        if not connect:
            raise UsageError("a client connects to a router, and none is named; give connect=['tcp/HOST:7447']")
        if listen:
            raise UsageError(
                f"a client does not listen, and listen names {listen[0]}; leave it out, or use mode='peer'"
            )
        return "client"
    if connect and not listen:
        raise UsageError(
            "two peers that both connect to a router and do not listen never hear each other;"
            " use mode='client', or let this peer listen too"
        )
    return "peer"


def _check_encryption(known: Credentials, connect: Sequence[Endpoint], listen: Sequence[Endpoint]) -> None:
    places = [*connect, *listen]
    if not places and known != Credentials():
        raise UsageError("credentials are for links, and there are none; give connect=['tls/HOST:7447']")
    if known.user is not None and listen:  # Zenoh then asks everybody for a password, and has no list to look in
        raise UsageError(
            f"{listen[0]} would refuse everybody: a session with a user has no list of users to let in;"
            " run `livelake router --users` and connect to it, or use mutual TLS"
        )
    if known.has_files:
        for each in places:
            if not each.is_encrypted and each.port is not None:
                raise UsageError(f"{each} uses no certificates, and some are given; write tls/… or leave them out")
    for each in listen:
        if each.is_encrypted and known.certificate is None:
            raise UsageError(f"{each} needs a certificate to listen with; give certificate and private_key")


def _session_tls(
    known: Credentials, connect: Sequence[Endpoint], listen: Sequence[Endpoint]
) -> Mapping[str, object] | None:
    if not any(each.is_encrypted for each in (*connect, *listen)):
        return None
    tls: dict[str, object] = {}
    if known.ca is not None:
        tls["root_ca_certificate"] = str(known.ca)
    if known.certificate is not None:
        pair = {"certificate": str(known.certificate), "private_key": str(known.private_key)}
        for side, used in (("connect", connect), ("listen", listen)):
            if used:
                tls |= {f"{side}_{name}": path for name, path in pair.items()}
        # A listener can only ask who is there if it has somebody to ask: without a ca it takes everyone.
        tls["enable_mtls"] = known.ca is not None or not listen
    return tls
