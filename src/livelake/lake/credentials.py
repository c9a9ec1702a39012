"""Secrets: how a password reaches a server without ever being part of a SQL statement, a message or a `repr`.

DuckDB repeats a connection string in its errors and shows it in ``duckdb_databases()``; so a password is taken out
of the string before DuckDB sees it, and libpq finds it in a password file that only this process can read. Keys
of object stores come from the environment, or lie in DuckDB's secret manager already (``CREATE PERSISTENT SECRET``).
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from livelake.engine import Session, literal
from livelake.errors import LivelakeError, SourceError, UsageError

_IN_PAIRS = re.compile(r"(?:^|(?<=\s))password\s*=\s*('(?:[^'\\]|\\.)*'|\S*)\s*", re.IGNORECASE)
_IN_URL = re.compile(r"(?P<user>\w+://[^/@:?#]*):(?P<password>[^@/?#]*)@")
_IN_QUERY = re.compile(r"(?<=[?&])password=([^&#]*)&?", re.IGNORECASE)
# What a URL may carry besides a path: signatures (S3, Azure), tokens.
_QUERY = re.compile(r"(?P<url>https?://[^\s?#'\"]*)[?#][^\s'\"]*")


def printable(text: str) -> str:
    """``text`` as it may be shown: without passwords, without the query of a URL."""
    shown = _IN_PAIRS.sub("password=… ", _IN_URL.sub(r"\g<user>:…@", text))
    return _QUERY.sub(r"\g<url>?…", _IN_QUERY.sub("password=…&", shown)).rstrip(" &")


def without_password(dsn: str) -> tuple[str, str | None]:
    """A PostgreSQL connection string, either form, and the password that was in it."""
    if "://" in dsn.split(" ", 1)[0]:
        if found := _IN_URL.search(dsn):
            return _IN_URL.sub(r"\g<user>@", dsn), unquote(found["password"])
        if found := _IN_QUERY.search(dsn):
            return _IN_QUERY.sub("", dsn).rstrip("?&"), unquote(found[1])
        return dsn, None
    found = _IN_PAIRS.search(dsn)
    if not found:
        return dsn, None
    value = found[1]
    if value.startswith("'"):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    return _IN_PAIRS.sub("", dsn).strip(), value


class PasswordFile:
    """A password where libpq looks for one. In memory where the system can, else a file of mode 0600."""

    def __init__(self, password: str, environment: Mapping[str, str] = os.environ) -> None:
        if "\n" in password or "\0" in password:
            raise UsageError("a PostgreSQL password cannot hold a line break here; change it, or use PGPASSWORD")
        if environment.get("PGPASSWORD", password) != password:
            raise UsageError(
                "the connection string and PGPASSWORD give two passwords, and PostgreSQL would take the second; "
                "give one of them"
            )
        line = "*:*:*:*:" + password.replace("\\", "\\\\").replace(":", "\\:") + "\n"
        if hasattr(os, "memfd_create"):
            self._fd = os.memfd_create("livelake")
            os.fchmod(self._fd, 0o600)
            self.path = f"/proc/self/fd/{self._fd}"
            self._on_disk = False
        else:
            self._fd, self.path = tempfile.mkstemp(prefix="livelake-")
            self._on_disk = True
        os.write(self._fd, line.encode())

    def close(self) -> None:
        """Forget it. Closing twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if self._on_disk:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path)


def from_environment(session: Session, url: str, environment: Mapping[str, str] = os.environ) -> None:
    """Give DuckDB the keys for ``url`` that the environment holds, unless its secret manager has some.

    For ``s3://`` the variables of AWS's own tools, ``AWS_ENDPOINT_URL`` included; for ``hf://`` ``HF_TOKEN``.
    """
    scheme = urlsplit(url).scheme
    kind, options = {"s3": ("s3", _s3), "hf": ("huggingface", _hf)}.get(scheme, ("", _nothing))
    given = options(environment)
    if not given or session.fetchone("SELECT 1 FROM duckdb_secrets() WHERE type = ?", [kind]):
        return
    written = ", ".join(f"{key} {value}" for key, value in given.items())
    try:
        session.execute(f"CREATE SECRET __livelake_{kind} (TYPE {kind}, {written})")
        return
    except LivelakeError:
        pass  # raised outside: neither the message nor the chain of errors may repeat the statement
    raise SourceError(f"DuckDB does not take the {kind} credentials of the environment; check {', '.join(given)}")


def _s3(environment: Mapping[str, str]) -> dict[str, str]:
    names = {
        "KEY_ID": "AWS_ACCESS_KEY_ID",
        "SECRET": "AWS_SECRET_ACCESS_KEY",
        "SESSION_TOKEN": "AWS_SESSION_TOKEN",
    }
    given = {key: literal(environment[name]) for key, name in names.items() if environment.get(name)}
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if region:
        given["REGION"] = literal(region)
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    if endpoint:
        parts = urlsplit(endpoint)
        given |= {
            "ENDPOINT": literal(parts.netloc + parts.path.rstrip("/")),
            "USE_SSL": "false" if parts.scheme == "http" else "true",
            "URL_STYLE": "'path'",
        }
    return given


def _hf(environment: Mapping[str, str]) -> dict[str, str]:
    token = environment.get("HF_TOKEN")
    return {"TOKEN": literal(token)} if token else {}


def _nothing(_environment: Mapping[str, str]) -> dict[str, str]:
    return {}
