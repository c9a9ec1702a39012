"""``router``: a Zenoh router from the same wheel, so that many processes and hosts share one bus."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import click

from livelake.cli.ending import run, stoppable
from livelake.errors import UsageError
from livelake.events.router import config_json, run_router
from livelake.events.router_config import (
    RouterTLS,
    config_warnings,
    is_open_to_others,
    router_config,
    router_warnings,
)
from livelake.events.zenoh_config import Credentials, load_config

_log = logging.getLogger("livelake.router")

_FILE = click.Path(path_type=Path, resolve_path=True)
_DEFAULT = "tcp/127.0.0.1:7447"
_LOGIN_VARIABLE = "LIVELAKE_PASSWORD"


@click.command(short_help="Run a Zenoh router that joins processes and hosts.")
@click.option(
    "--listen",
    multiple=True,
    metavar="ENDPOINT",
    help=f"Where, such as tls/0.0.0.0:7447; may be repeated. Port 0 takes a free one. [default: {_DEFAULT}]",
)
@click.option("--connect", multiple=True, metavar="ENDPOINT", help="Another router to join; may be repeated.")
@click.option(
    "--tls-certificate", metavar="FILE", type=_FILE, help="This router's certificate (PEM), for tls/ and quic/."
)
@click.option("--tls-key", metavar="FILE", type=_FILE, help="Its private key (PEM).")
@click.option("--tls-ca", metavar="FILE", type=_FILE, help="The authority that vouches for the other side (PEM).")
@click.option("--mutual-tls", is_flag=True, help="Let in only who shows a certificate of --tls-ca.")
@click.option("--users", metavar="FILE", type=_FILE, help="Let in only these users: a file of lines user:password.")
@click.option(
    "--publisher",
    multiple=True,
    metavar="NAME",
    help="Only NAME may publish; may be repeated. A user of --users, else the common name of a certificate.",
)
@click.option(
    "--user", metavar="NAME", help=f"Who this router is at those of --connect; the password is in ${_LOGIN_VARIABLE}."
)
@click.option(
    "--lease", default=1.0, show_default=True, type=float, help="Seconds after which a silent link is lost."
)
@click.option("--insecure", is_flag=True, help="Allow other machines to read and publish everything.")
@click.option("--config", "config_file", metavar="FILE", type=_FILE, help="A Zenoh configuration (JSON5) instead.")
@click.option("--print-config", is_flag=True, help="Print the configuration, as zenohd takes it, and do not run.")
def router(
    listen: tuple[str, ...],
    connect: tuple[str, ...],
    tls_certificate: Path | None,
    tls_key: Path | None,
    tls_ca: Path | None,
    mutual_tls: bool,
    users: Path | None,
    publisher: tuple[str, ...],
    user: str | None,
    lease: float,
    insecure: bool,
    config_file: Path | None,
    print_config: bool,
) -> None:
    """Run a Zenoh router until Ctrl-C or SIGTERM: what joins many processes and hosts into one bus.

    It listens on this machine only, unless told otherwise. `--print-config` shows what zenohd would be given.
    """
    if config_file is not None:
        if any((listen, connect, tls_certificate, tls_key, tls_ca, mutual_tls, users, publisher, user)):
            raise UsageError(f"--config {config_file.name} says everything by itself; leave the other options out")
        config = load_config(config_file)
        _warn(config_warnings(config))
    else:
        listen = listen or (_DEFAULT,)
        tls = _tls(tls_certificate, tls_key, tls_ca, mutual_tls)
        config = router_config(
            listen, connect=connect, tls=tls, users=users, login=_login(user), publishers=publisher, lease=lease
        )
        _check_doors(listen, tls, users, insecure)
    if print_config:
        click.echo(config_json(config))
        return
    with stoppable():
        run(run_router(config, on_ready=_ready))


def _ready(listening: Sequence[str]) -> None:
    click.echo(f"livelake router listens on {', '.join(listening)} (Ctrl-C ends it)")


def _tls(certificate: Path | None, key: Path | None, ca: Path | None, mutual: bool) -> RouterTLS | None:
    if not mutual and all(each is None for each in (certificate, key, ca)):
        return None
    return RouterTLS(certificate=certificate, private_key=key, ca=ca, mutual=mutual)


def _login(user: str | None) -> Credentials | None:
    if user is None:
        return None
    password = os.environ.get(_LOGIN_VARIABLE)
    if not password:
        raise UsageError(
            f"--user {user} needs a password, and ${_LOGIN_VARIABLE} is not set; a command line shows it to all"
        )
    return Credentials(user=user, password=password)


def _check_doors(listen: Sequence[str], tls: RouterTLS | None, users: Path | None, insecure: bool) -> None:
    """`UsageError` where other machines would get in unasked, unless that is meant; a warning for lesser risks."""
    found = is_open_to_others(listen, tls=tls, users=users)
    if found is not None and not insecure:
        raise UsageError(
            f"--listen {found} would let other machines read and publish everything;"
            " add --users or TLS, or --insecure if that is meant"
        )
    _warn(router_warnings(listen, tls=tls, users=users))


def _warn(found: Sequence[str]) -> None:
    for warning in found:
        _log.warning("%s", warning)
