"""Which bus a command uses: options that several commands share, and what they come to."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from livelake.errors import UsageError
from livelake.events.zenoh import Credentials, ZenohBus

__all__ = ["DEFAULT_ENDPOINT", "BusSettings", "connect_options", "credentials", "login_options"]

C = TypeVar("C", bound=Callable[..., Any])

DEFAULT_ENDPOINT = "tcp/127.0.0.1:7447"
"""Where ``livelake router`` listens unless it is told otherwise."""
_PASSWORD = "LIVELAKE_PASSWORD"  # noqa: S105 - the name of a variable
_FILE = click.Path(path_type=Path, resolve_path=True)


@dataclass(frozen=True, kw_only=True)
class BusSettings:
    """Where a process meets the others. Can be sent to a process that was spawned."""

    connect: tuple[str, ...] = ()
    listen: tuple[str, ...] = ()
    credentials: Credentials | None = None
    timeout: float = 5.0
    quiet: bool = False
    """Somebody else has told already what is unwise about this."""

    def bus(self) -> ZenohBus:
        """One that is not open yet. Raises `UsageError` for endpoints and credentials that do not go together."""
        log = logging.getLogger("livelake.events")
        level = log.level
        if self.quiet:
            log.setLevel(logging.ERROR)
        try:
            return ZenohBus(self.connect, listen=self.listen, credentials=self.credentials, timeout=self.timeout)
        finally:
            log.setLevel(level)


def login_options(command: C) -> C:
    """Who this process is at a router, and whom it believes."""
    for option in (
        click.option("--tls-key", metavar="FILE", type=_FILE, help="Its private key (PEM)."),
        click.option("--tls-certificate", metavar="FILE", type=_FILE, help="Our certificate (PEM), for mutual TLS."),
        click.option("--tls-ca", metavar="FILE", type=_FILE, help="The authority that vouches for the router (PEM)."),
        click.option("--user", metavar="NAME", help=f"Who we are at the router; the password is in ${_PASSWORD}."),
    ):
        command = option(command)
    return command


def connect_options(command: C) -> C:
    """For commands that do nothing but talk to a router."""
    for option in (
        click.option(
            "--timeout",
            default=5.0,
            show_default=True,
            type=click.FloatRange(0.05, 3_600),
            help="Seconds to wait for the router.",
        ),
        login_options,
        click.option(
            "--connect",
            multiple=True,
            default=(DEFAULT_ENDPOINT,),
            show_default=True,
            metavar="ENDPOINT",
            help="A router, such as tls/bus.example.org:7447; more than one, to fail over.",
        ),
    ):
        command = option(command)
    return command


def credentials(
    user: str | None, tls_ca: Path | None, tls_certificate: Path | None, tls_key: Path | None
) -> Credentials | None:
    """What `login_options` came to; None if nothing was said. Raises `UsageError` for half of a pair."""
    if user is None and tls_ca is None and tls_certificate is None and tls_key is None:
        return None
    password = os.environ.get(_PASSWORD) or None
    if user is not None and password is None:
        raise UsageError(
            f"--user {user} needs a password, and ${_PASSWORD} is not set; a command line shows it to all"
        )
    return Credentials(
        user=user,
        password=password if user is not None else None,
        ca=tls_ca,
        certificate=tls_certificate,
        private_key=tls_key,
    )
