"""The configuration of a router: where it listens, who may come in, and who may publish. ``zenohd`` takes the same.

The access-control section answers one question, who may publish, and allows nothing that a bus does not need.
Everybody who was let in may read. Keys of the bus: events, changes by wildcard, heartbeats, and the liveliness
tokens of sources. A reader may put on none of them: a heartbeat of a reader's making could claim numbers that its
owner never sent, and with that drop caches everywhere, or hide a gap. A bus needs none to read: a source is
announced by the process that publishes first.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from livelake.errors import UsageError
from livelake.events.endpoints import Endpoint
from livelake.events.zenoh_config import (
    Credentials,
    base_config,
    check_files,
    check_user,
    endpoints,
    plaintext_warnings,
)

__all__ = [
    "RouterTLS",
    "config_warnings",
    "is_open_to_others",
    "listening",
    "router_config",
    "router_warnings",
]

_DATA_KEYS: Final = ("events/**", "livelake/change/*", "livelake/heartbeat/*")
_LIVE_KEYS: Final = ("livelake/source/*/*",)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RouterTLS:
    """The router's own certificate and key, PEM files that go together. ``ca`` vouches for the other side.

    ``mutual``: who connects shows a certificate of ``ca`` too, and is known by its common name.

    Raises `UsageError` for half a pair, a file that cannot be read, and for ``mutual`` without all the rest.
    """

    certificate: Path | str | None = None
    private_key: Path | str | None = None
    ca: Path | str | None = None
    mutual: bool = False

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.private_key is None):
            raise UsageError("a certificate and its key go together, and one is missing; name both files")
        if self.mutual and self.ca is None:
            raise UsageError("mutual TLS needs a ca, whose certificates are let in; name its file")
        if self.mutual and self.certificate is None:
            raise UsageError("mutual TLS needs the router's own certificate and key too; name both files")
        check_files(certificate=self.certificate, private_key=self.private_key, ca=self.ca)


def router_config(
    listen: Sequence[str],
    *,
    connect: Sequence[str] = (),
    tls: RouterTLS | None = None,
    users: Path | str | None = None,
    login: Credentials | None = None,
    publishers: Sequence[str] = (),
    lease: float = 1.0,
    adminspace: bool = False,
) -> dict[str, Any]:
    """The configuration of one router.

    ``users`` is a file of lines ``user:password``; who connects must be one of them. ``login`` is the user and
    password with which this router joins others at ``connect``, which then have users too; its certificate there is
    that of ``tls``.
    ``publishers`` are the only ones who may publish: names of ``users`` where there are some, else common names of
    certificates (mutual TLS). Without any, everybody who is let in may. ``adminspace`` lets everybody who is let
    in read the router's state under ``@/*/router``; access control has no rule for that, so not with ``publishers``.

    Raises `UsageError` for what is malformed, missing, or does not go together.
    """
    at = endpoints("listen", listen, listening=True)
    to = endpoints("connect", connect, listening=False)
    if not at:
        raise UsageError("a router listens somewhere, and listen is empty; give listen=['tcp/127.0.0.1:7447']")
    _check(at, to, tls=tls, users=users, login=login)
    names = _user_names(Path(users)) if users is not None else None
    # Gossip tells peers about one another, and they link up: past the router, and so past its access control.
    config = base_config("router", to, at, lease=lease, gossip=not publishers)
    config["scouting"]["gossip"]["autoconnect"] = {"router": [], "peer": []}  # this router is told where to connect
    transport: dict[str, Any] = config["transport"]
    if tls is not None:
        transport["link"]["tls"] = _tls(tls, to)
    password: dict[str, str] = {}
    if users is not None:
        password["dictionary_file"] = str(users)
    if login is not None and login.user is not None and login.password is not None:
        password |= {"user": login.user, "password": login.password}
    if password:
        transport["auth"] = {"usrpwd": password}
    if publishers:
        if adminspace:
            raise UsageError("the admin space would be closed by the access control of publishers; use one of them")
        config["access_control"] = _access_control(publishers, names, mutual=tls is not None and tls.mutual)
    config["adminspace"] = {"enabled": adminspace}
    return config


def router_warnings(
    listen: Sequence[str], *, tls: RouterTLS | None = None, users: Path | str | None = None
) -> tuple[str, ...]:
    """What is allowed and yet unwise, a line each: open doors, passwords that others on this machine can read."""
    at = endpoints("listen", listen, listening=True)
    found = [
        _open_door(each)
        for each in at
        if not each.is_local and users is None and not (each.is_encrypted and tls is not None and tls.mutual)
    ]
    if users is not None:
        found += plaintext_warnings(at)
        mode = Path(users).stat().st_mode if Path(users).exists() else 0
        if mode & 0o077:
            found.append(f"{users} holds passwords, and others on this machine can read it; run chmod 600 {users}")
    return tuple(found)


def config_warnings(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The same for somebody's own configuration, a line for each open door. Without ``listen`` Zenoh opens one."""
    transport = config.get("transport") or {}
    password = (transport.get("auth") or {}).get("usrpwd") or {}
    tls = (transport.get("link") or {}).get("tls") or {}
    if password.get("dictionary_file") or config.get("mode") not in (None, "router"):
        return ()
    at = endpoints("listen", listening(config), listening=True)
    mutual = bool(tls.get("enable_mtls"))
    return tuple(_open_door(each) for each in at if not each.is_local and not (each.is_encrypted and mutual))


def listening(config: Mapping[str, Any]) -> list[str]:
    """Where a router of this configuration listens, also where it is written by mode as Zenoh's defaults are."""
    found = (config.get("listen") or {}).get("endpoints")
    if isinstance(found, Mapping):
        found = found.get("router")
    return [found] if isinstance(found, str) else [str(each) for each in found or ()]


def is_open_to_others(listen: Sequence[str], *, tls: RouterTLS | None, users: Path | str | None) -> Endpoint | None:
    """The first place that other machines reach with neither TLS nor users in the way; None: there is none."""
    if users is not None:
        return None
    at = endpoints("listen", listen, listening=True)
    return next((each for each in at if not each.is_local and not (each.is_encrypted and tls is not None)), None)


def _open_door(place: Endpoint) -> str:
    return f"everybody who reaches {place} can read and publish events; ask for users, or for mutual TLS"


def _check(
    listen: Sequence[Endpoint],
    connect: Sequence[Endpoint],
    *,
    tls: RouterTLS | None,
    users: Path | str | None,
    login: Credentials | None,
) -> None:
    for each in listen:
        if each.is_encrypted and (tls is None or tls.certificate is None):
            raise UsageError(f"{each} needs a certificate to listen with; name its file and that of its key")
        if tls is not None and tls.mutual and not each.is_encrypted and each.port is not None:
            raise UsageError(f"{each} shows no certificates, and mutual TLS asks for them; listen on tls/… only")
    if tls is not None and not any(each.is_encrypted for each in (*listen, *connect)):
        raise UsageError(f"{listen[0]} uses no certificates, and some are given; write tls/… or leave them out")
    if login is not None and login.has_files:
        raise UsageError("a router shows others its own certificate; give user and password only")
    if login is not None and users is None:  # Zenoh then asks everybody for a password, and has no list to look in
        raise UsageError("a router with a login and no users refuses everybody; give it a file of users too")
    if login is not None and not connect:
        raise UsageError("a login is for other routers, and none is named; give connect=['tls/HOST:7447']")


def _tls(tls: RouterTLS, connect: Sequence[Endpoint]) -> dict[str, object]:
    found: dict[str, object] = {"enable_mtls": tls.mutual}
    for side in ("listen", "connect") if connect and tls.mutual else ("listen",):
        if tls.certificate is not None:
            found |= {f"{side}_certificate": str(tls.certificate), f"{side}_private_key": str(tls.private_key)}
    if tls.ca is not None:
        found["root_ca_certificate"] = str(tls.ca)
    return found


def _user_names(path: Path) -> frozenset[str]:
    """Who may come in. Zenoh would skip what is no ``user:password`` without a word; here it is refused by line."""
    check_files(users=path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeError as error:
        raise UsageError(f"the users {path} are not UTF-8 text") from error
    names: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        user, colon, password = line.partition(":")
        if not colon or not password or password != password.strip():
            raise UsageError(f"{path}:{number}: this is no line user:password, without spaces around either")
        try:
            check_user(user)
        except UsageError as error:
            raise UsageError(f"{path}:{number}: {error}") from error
        if user in names:
            raise UsageError(f"{path}:{number}: user {user!r} has two passwords; keep one line")
        names.add(user)
    if not names:
        raise UsageError(f"the users {path} are none, so nobody could connect; write lines user:password")
    return frozenset(names)


def _access_control(publishers: Sequence[str], users: frozenset[str] | None, *, mutual: bool) -> dict[str, object]:
    if users is None and not mutual:
        raise UsageError(
            f"publisher {publishers[0]!r} cannot be told from others: with neither users nor mutual TLS nobody has a"
            " name; give a file of users, or use mutual TLS"
        )
    if users is not None:
        for name in publishers:
            if name not in users:
                raise UsageError(f"publisher {name!r} is not among the users; there are {_some(users)}")
    elif not all(publishers):
        raise UsageError("a publisher is the common name of a certificate, and one is empty")
    kind = "cert_common_names" if users is None else "usernames"
    data, live = list(_DATA_KEYS), list(_LIVE_KEYS)
    return {
        "enabled": True,
        "default_permission": "deny",
        "rules": [
            _rule("publish", ["put", "delete"], ["ingress"], data),
            _rule("announce", ["liveliness_token"], ["ingress"], live),
            _rule("receive", ["put", "delete"], ["egress"], data),
            _rule("subscribe", ["declare_subscriber"], ["ingress", "egress"], data),
            _rule("sources", ["liveliness_token"], ["egress"], live),
            _rule("watch", ["liveliness_query", "declare_liveliness_subscriber"], ["ingress", "egress"], live),
        ],
        "subjects": [{"id": "publishers", kind: list(dict.fromkeys(publishers))}, {"id": "everybody"}],
        "policies": [
            {"rules": ["publish", "announce"], "subjects": ["publishers"]},
            {"rules": ["receive", "subscribe", "sources", "watch"], "subjects": ["everybody"]},
        ],
    }


def _rule(name: str, messages: list[str], flows: list[str], keys: list[str]) -> dict[str, object]:
    return {"id": name, "messages": messages, "flows": flows, "permission": "allow", "key_exprs": keys}


def _some(names: frozenset[str]) -> str:
    shown = ", ".join(itertools.islice(sorted(names), 5))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5:,} more"
