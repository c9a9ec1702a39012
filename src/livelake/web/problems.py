"""Errors over HTTP: ``application/problem+json`` (RFC 9457), and how much of an error a stranger is told.

What the client can mend is told as it is: such a message speaks of the request. The message of any other error may
hold SQL, paths and host names; it is told to whoever sits at the machine (a server that answers to loopback only).
Everybody else gets a number, under which the log has the message.
"""

from __future__ import annotations

import http
import logging
import secrets
from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.responses import Response

from livelake.errors import (
    BusyError,
    ClosedError,
    ConfigError,
    ForbiddenError,
    InternalError,
    LivelakeError,
    NotFoundError,
    QueryError,
    SnapshotGoneError,
    SourceError,
    UsageError,
)

__all__ = ["Unacceptable", "failure", "problem", "status_of"]

log = logging.getLogger("livelake.web")

_STATUS: Final[tuple[tuple[type[LivelakeError], int], ...]] = (  # the first that matches
    (SnapshotGoneError, 410),
    (NotFoundError, 404),  # also a snapshot that is still to come
    (ForbiddenError, 403),
    (BusyError, 503),
    (ClosedError, 503),
    (QueryError, 500),  # the SQL is the server's own
    (ConfigError, 500),
    (UsageError, 400),
    (SourceError, 502),
)
_VAGUE: Final[Mapping[int, str]] = {
    502: "the data cannot be read now",
    503: "the server is busy or about to stop; try again",
}
_FAILED: Final = "the query failed"
_TITLES: Final[Mapping[int, str]] = {413: "Answer Too Large"}  # Python's word speaks of the request


class Unacceptable(LivelakeError):  # noqa: N818 - a request that is right and cannot be met
    """What was asked for is there, and not in this way. ``headers`` tell what is."""

    def __init__(self, status: int, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.status, self.members = status, members


def status_of(error: LivelakeError) -> int:
    """Who can mend it, in HTTP's words."""
    if isinstance(error, Unacceptable):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def is_the_clients(error: LivelakeError) -> bool:
    """Whether the client can mend it, and its message speaks of the request alone."""
    return status_of(error) < 500 or isinstance(error, Unacceptable)


def failure(error: LivelakeError, *, details: bool, what: str = "") -> Response:
    """The response for an error. Without ``details`` only the client's own errors are told.

    ``what`` is for the log: the route, or the query.
    """
    status = status_of(error)
    members = error.members if isinstance(error, Unacceptable) else {}
    if details or is_the_clients(error):
        return problem(status, phrase(status), str(error), **members)
    number = secrets.token_hex(6)
    log.log(
        logging.ERROR if isinstance(error, InternalError) else logging.WARNING, "%s [%s]: %s", what, number, error
    )
    detail = f"{_VAGUE.get(status, _FAILED)}; the server's log says more under {number}"
    return problem(status, phrase(status), detail, instance=f"urn:livelake:error:{number}")


def problem(status: int, title: str, detail: str, **members: object) -> Response:
    """An error as ``application/problem+json``, with ``members`` beside the four that all have."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **members}
    extra = {"Retry-After": "1"} if status == 503 else {}
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type="application/problem+json",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **extra},
    )


def phrase(status: int) -> str:
    """The title of a problem that is no more than its status."""
    return _TITLES.get(status) or http.HTTPStatus(status).phrase
