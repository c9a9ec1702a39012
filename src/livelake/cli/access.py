"""Who may do what on a server that is started here: tokens, sessions, and the names it answers to."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from livelake.errors import SourceError, UsageError

if TYPE_CHECKING:
    from livelake.web.caller import Hosts
    from livelake.web.sessions import SessionSettings
    from livelake.web.tokens import Tokens

__all__ = ["access_options", "allowed_hosts", "is_loopback", "sessions", "tokens"]

_READ = "LIVELAKE_TOKEN"
_PUBLISH = "LIVELAKE_PUBLISH_TOKEN"
_SECRET = "LIVELAKE_SESSION_SECRET"  # noqa: S105 - the name of a variable
_SHORTEST_SECRET = 32


def access_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say who may do what."""
    options = [
        click.option(
            "--token", metavar="TOKEN", help=f"Who shows it may read; better in ${_READ}. [default: all may]"
        ),
        click.option(
            "--publish-token", metavar="TOKEN", help=f"Who shows it may POST /events; better in ${_PUBLISH}."
        ),
        click.option(
            "--tokens",
            "token_file",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Several: lines `read TOKEN`, `publish TOKEN`, with claims; read again when it changes.",
        ),
        click.option(
            "--session-hours",
            default=12.0,
            show_default=True,
            type=click.FloatRange(0.01, 8_760),
            help="How long a log-in lasts.",
        ),
        click.option(
            "--allowed-host", "names", multiple=True, metavar="NAME", help="Answer to it too: that of a proxy, say."
        ),
        click.option("--insecure", is_flag=True, help="Let other machines read everything, without a token."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def tokens(token: str | None, publish_token: str | None, file: Path | None) -> Tokens:
    """Those of the command line, of the environment, and of a file."""
    from livelake.web.tokens import Tokens

    given = Tokens.of(publish=_given(publish_token, _PUBLISH), read=_given(token, _READ))
    return given if file is None else given | Tokens.from_file(file.absolute())


def _given(option: str | None, variable: str) -> list[str]:
    found = option if option is not None else os.environ.get(variable) or None
    return [] if found is None else [found]


@contextlib.contextmanager
def sessions(hours: float, *, shared: bool) -> Iterator[SessionSettings]:
    """How people stay logged in; ``shared`` between workers, by a private file that goes when the server ends."""
    from livelake.web.sessions import SessionSettings

    secret = os.environ.get(_SECRET, "").encode()
    if secret and len(secret) < _SHORTEST_SECRET:
        raise UsageError(
            f"${_SECRET} has fewer than {_SHORTEST_SECRET} characters; `openssl rand -hex 32` makes one that nobody"
            " guesses, and without one each start of the server makes its own"
        )
    known: dict[str, Any] = {"secret": secret} if secret else {}
    with contextlib.ExitStack() as stack:
        if shared:
            try:
                folder = tempfile.TemporaryDirectory(prefix="livelake-sessions-", ignore_cleanup_errors=True)
            except OSError as error:
                raise SourceError(
                    f"no folder for the workers' sessions: {error.strerror}; set TMPDIR to one"
                ) from error
            known["ended"] = Path(stack.enter_context(folder)) / "ended"
        yield SessionSettings(seconds=hours * 3600, **known)


def allowed_hosts(host: str, insecure: bool, *, guarded: bool | None = None, names: Iterable[str] = ()) -> Hosts:
    """The names that a server on ``host`` answers to.

    Raises `UsageError` for an address that other machines reach, unless reading needs a token there (``guarded``;
    None where it never does) or that is meant.
    Other machines find it by its addresses and by its own name; further ones must be told, because any name can be
    made to lead anywhere by whoever owns it (DNS rebinding).
    """
    from livelake.web.caller import Hosts

    loopback = is_loopback(host)
    if not loopback and not guarded and not insecure:
        guard = "" if guarded is None else f"set ${_READ} (or --tokens FILE), so that reading needs a token, or "
        raise UsageError(
            f"--host {host} would let other machines read everything; {guard}add --insecure if that is meant"
        )
    own = {"localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host}
    if not loopback:
        own |= {socket.gethostname(), f"{socket.gethostname()}.local"}
    return Hosts(frozenset(name.lower() for name in {*own, *names}), any_address=not loopback)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
