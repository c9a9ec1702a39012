"""Results over HTTP: one named query, as JSON, with validators. The deciding half is pure.

HTTP semantics after RFC 9110 (conditional requests) and RFC 9211 (Cache-Status). By default nothing may be used
without asking again (``no-cache``): an unchanged answer costs a 304.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from livelake.cache import Status
from livelake.errors import (
    BusyError,
    ClosedError,
    EventError,
    LivelakeError,
    NotFoundError,
    QueryError,
    SourceError,
    UsageError,
)
from livelake.lake import Result

_JSON = msgspec.json.Encoder(decimal_format="number", enc_hook=str)
_PARTS = msgspec.json.Decoder(list[msgspec.Raw])
_ETAG = re.compile(r'(?:W/)?("[^"]*")')

# RFC 9211: how this cache treated the request.
_CACHE_STATUS: Mapping[Status, str] = {
    "hit": "hit",
    "miss": "fwd=miss; stored",
    "joined": "fwd=miss; collapsed",
    "stale": "hit; detail=stale",
    "bypass": "fwd=bypass",
}


def encode(value: object) -> bytes:
    """Rows, or a value of one, as JSON.

    DECIMAL and HUGEINT are numbers with all their digits, dates and intervals ISO 8601, bytes base64; what JSON
    has no number for (NaN, infinity) is null.
    """
    return _JSON.encode(value)


def parts(body: bytes) -> list[bytes] | None:
    """The elements of a JSON list, each as its own JSON; None if it is no list. Raises `EventError`."""
    if not body.lstrip(b" \t\r\n").startswith(b"["):
        return None
    try:
        return [bytes(each) for each in _PARTS.decode(body)]
    except RecursionError as error:
        raise EventError("the body is nested too deep.") from error
    except (msgspec.DecodeError, UnicodeError, ValueError) as error:
        raise EventError(f"the body is no JSON: {error}.") from error


def headers(result: Result, kind: str) -> dict[str, str]:
    """What HTTP caches and people may know of a result."""
    as_of = ", ".join(f"{name}={version}" for name, version in sorted(result.as_of.items()))
    return {
        "ETag": f'"{result.etag}-{kind}"',
        "Cache-Control": "no-cache",
        "Cache-Status": f"livelake; {_CACHE_STATUS[result.status]}",
        "Livelake-As-Of": _ascii(as_of),
        "Livelake-Computed-At": result.computed_at.isoformat(),
        "Vary": "Accept",
    }


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has this representation already (RFC 9110, 13.1.2: weak comparison)."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in _ETAG.findall(if_none_match)


def respond(request: Request, result: Result) -> Response:
    """200 with the rows, or 304 if the client has them."""
    fields = headers(result, "json")
    if is_known(request.headers.get("if-none-match"), fields["ETag"]):
        return Response(status_code=304, headers=fields)
    return Response(encode(result.rows()), media_type="application/json", headers=fields)


def status_of(error: LivelakeError) -> int:
    """Who can mend it, in HTTP's words."""
    match error:
        case NotFoundError():
            return 404
        case BusyError() | ClosedError():
            return 503
        case QueryError():  # the SQL is the server's own
            return 500
        case UsageError():
            return 400
        case SourceError():
            return 502
        case _:
            return 500


def problem(status: int, title: str, detail: str) -> Response:
    """An error as ``application/problem+json`` (RFC 9457)."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    extra = {"Retry-After": "1"} if status == 503 else {}
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type="application/problem+json",
        headers={"Cache-Control": "no-store", **extra},
    )


def _ascii(text: str) -> str:
    """A header's value: nothing but printable ASCII, other characters as escapes."""
    return text.encode("ascii", "backslashreplace").decode().replace("\r", "").replace("\n", "")
