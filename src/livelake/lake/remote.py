"""A file on a server: has it changed, and a private copy of it.

A catalog that DuckDB reads over the network in place is frozen at attach and read block by block, so a file that is
replaced under it is a mixture of two. So it is copied as a whole (catalogs are small), and the copy is attached:
readers of the old one end in peace. Between copies the server is asked for the file's validators: ETag,
Last-Modified and length.

Blocking; call it in a thread. Every call ends within about ``timeout`` seconds, or raises `SourceError`.
"""

from __future__ import annotations

import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from livelake.engine import Session
from livelake.errors import LivelakeError, SourceError
from livelake.lake.credentials import printable

MAX_CATALOG_BYTES = 1 << 30
_CHUNK = 1 << 18
_NO_HEAD = frozenset({405, 501})
_REFUSED = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class Validator:
    """What a server says about a file's state. Without `is_known` only the bytes themselves can tell."""

    etag: str | None = None
    modified: str | None = None
    length: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether equal validators mean an equal file; a length alone does not."""
        return bool(self.etag or self.modified)


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy: the file's state when it was made, and the SHA-256 of its bytes."""

    validator: Validator
    sha256: str


class Source(Protocol):
    """A file somewhere else."""

    def probe(self, timeout: float) -> Validator:
        """Its state now, without its bytes."""
        ...

    def copy(self, into: Path, timeout: float) -> str:
        """Write the whole file to ``into``, which must not exist; the SHA-256 of what was written."""
        ...


def bring(source: Source, into: Path, timeout: float) -> Copy:
    """A copy of one state of the file. Raises `SourceError`, also if it is replaced meanwhile, and leaves nothing."""
    try:
        before = source.probe(timeout)
        sha256 = source.copy(into, timeout)
        if source.probe(timeout) != before:
            raise SourceError("the file was replaced while it was copied; it is tried again")
    except BaseException:
        into.unlink(missing_ok=True)
        raise
    return Copy(before, sha256)


def web_address(url: str) -> str:
    """The https address of a ``hf://`` URL, as the Hugging Face Hub resolves it; any other URL as it is.

    ``hf://datasets/owner/name[@revision]/path`` → ``https://huggingface.co/datasets/owner/name/resolve/main/path``.
    Raises `SourceError` for one that names no file.
    """
    scheme, _, rest = url.partition("://")
    if scheme != "hf":
        return url
    parts = rest.split("/")
    kind = parts.pop(0) if parts[0] in ("datasets", "spaces", "models") else "models"
    if len(parts) < 3 or not all(parts):
        raise SourceError(f"{url} names no file of the Hub; write hf://datasets/owner/name/path/space.db")
    owner, (name, _, revision), path = parts[0], parts[1].partition("@"), "/".join(parts[2:])
    prefix = "" if kind == "models" else f"{kind}/"
    revision = quote(revision.replace("~", "refs/", 1) if revision.startswith("~") else revision or "main", safe="")
    return f"https://huggingface.co/{prefix}{owner}/{name}/resolve/{revision}/{quote(path)}"


class HttpSource:
    """A file behind ``http(s)://`` or ``hf://``, asked with HEAD and GET."""

    def __init__(self, url: str, environment: Mapping[str, str] = os.environ) -> None:
        self._url = web_address(url)
        self._shown = printable(url)
        token = environment.get("HF_TOKEN")
        self._headers = {"User-Agent": "livelake", "Accept-Encoding": "identity", "Cache-Control": "no-cache"}
        if token and urlsplit(self._url).hostname == "huggingface.co":
            self._headers["Authorization"] = f"Bearer {token}"

    def probe(self, timeout: float) -> Validator:
        try:
            with self._open("HEAD", timeout) as response:
                return _validator(response.headers)
        except StatusError as error:
            if error.status in _NO_HEAD:
                return Validator()
            raise

    def copy(self, into: Path, timeout: float) -> str:
        deadline = time.monotonic() + 10 * timeout  # a copy takes longer than a probe, but not for ever
        digest, size = hashlib.sha256(), 0
        try:
            with self._open("GET", timeout) as response, into.open("xb") as file:
                expected = _validator(response.headers).length
                while chunk := response.read(_CHUNK):
                    size += len(chunk)
                    if size > MAX_CATALOG_BYTES:
                        raise SourceError(_too_large(self._shown))
                    if time.monotonic() > deadline:
                        raise SourceError(
                            f"{self._shown} did not arrive within {10 * timeout:g} s; is the server slow?"
                        )
                    digest.update(chunk)
                    file.write(chunk)
        except OSError as error:
            raise _lost(self._shown, error) from None
        if expected is not None and expected != size:
            raise SourceError(f"{self._shown} ended after {size} of {expected} bytes; it is tried again")
        return digest.hexdigest()

    def _open(self, method: str, timeout: float) -> _Response:
        request = urllib.request.Request(self._url, headers=self._headers, method=method)  # noqa: S310
        try:
            answer: _Response = urllib.request.urlopen(request, timeout=timeout)  # noqa: S310 - http and https only
        except urllib.error.HTTPError as error:
            error.close()
            raise StatusError(self._shown, error.code) from None
        except (OSError, ValueError) as error:
            raise _lost(self._shown, error) from None
        return answer


class EngineSource:
    """A file that DuckDB can read, with the secrets that it has: ``s3://``, and what needs a login.

    ``timeout`` is DuckDB's own setting here (``http_timeout``, 30 s, and its retries).
    """

    def __init__(self, session: Session, url: str) -> None:
        self._session = session
        self._url = url
        self._shown = printable(url)

    def probe(self, timeout: float) -> Validator:
        # Neither column needs the content: DuckDB asks with HEAD.
        size, modified = self._row("size, epoch_us(last_modified)")
        return Validator(modified=None if modified is None else str(modified), length=int(size))

    def copy(self, into: Path, timeout: float) -> str:
        if int(self._row("size")[0]) > MAX_CATALOG_BYTES:
            raise SourceError(_too_large(self._shown))
        content: bytes = self._row("content")[0]
        with into.open("xb") as file:
            file.write(content)
        return hashlib.sha256(content).hexdigest()

    def _row(self, columns: str) -> tuple[Any, ...]:
        row = None
        try:
            self._session.refresh()  # the databases may have been opened anew
            row = self._session.fetchone(f"SELECT {columns} FROM read_blob(?)", [self._url])
        except LivelakeError as error:
            said = printable(str(error))
        else:
            said = "there is no such file"
        if row is None:
            raise SourceError(f"{self._shown} cannot be read: {said}")
        return row


class WithLogin:
    """A file behind ``http(s)://`` that turns strangers away: DuckDB asks instead, with the secrets that it has."""

    def __init__(self, plain: Source, trusted: Callable[[], Source]) -> None:
        self._source = plain
        self._trusted: Callable[[], Source] | None = trusted

    def probe(self, timeout: float) -> Validator:
        try:
            return self._source.probe(timeout)
        except StatusError as error:
            if self._trusted is None or not error.wants_login:
                raise
        self._source, self._trusted = self._trusted(), None
        return self._source.probe(timeout)

    def copy(self, into: Path, timeout: float) -> str:
        return self._source.copy(into, timeout)


class _Response(Protocol):
    headers: Message

    def read(self, amount: int = -1, /) -> bytes: ...

    def __enter__(self) -> _Response: ...

    def __exit__(self, *_: object) -> None: ...


class StatusError(SourceError):
    """The server answered, and not with the file."""

    def __init__(self, shown: str, status: int) -> None:
        super().__init__(f"{shown}: the server answers {status}; check the address, and that it may be read")
        self.status = status

    @property
    def wants_login(self) -> bool:
        """Whether DuckDB, which may have a secret for it, should ask instead."""
        return self.status in _REFUSED


def _validator(headers: Message) -> Validator:
    length = headers.get("Content-Length", "")
    return Validator(headers.get("ETag"), headers.get("Last-Modified"), int(length) if length.isdigit() else None)


def _lost(shown: str, error: Exception) -> SourceError:
    reason = getattr(error, "reason", None) or error
    return SourceError(
        f"{shown} cannot be reached: {printable(str(reason)) or type(reason).__name__}; is the server up?"
    )


def _too_large(shown: str) -> str:
    return (
        f"{shown} is larger than {MAX_CATALOG_BYTES >> 20} MB; a catalog is copied as a whole: expire its snapshots"
    )
