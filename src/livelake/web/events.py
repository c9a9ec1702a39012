"""``POST /events``: publishing over HTTP. What a request must be is decided here, one reason at a time.

Refused before its body is read: a request without a token that may publish, one that is no JSON or too long; and, by
the guard, one that another site had a browser make. Published is all of it or nothing, unless the bus gets stuck half
way.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Final, Protocol, runtime_checkable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from livelake.errors import BusyError, EventError, LivelakeError, ParameterError
from livelake.events import Bus, Event
from livelake.events.codec import MAX_BYTES, decode
from livelake.events.codec import encode as write
from livelake.events.event import MAX_SEQUENCE
from livelake.live import LiveLake
from livelake.token import Token
from livelake.web.formats import encode, parts
from livelake.web.problems import problem, status_of
from livelake.web.tokens import Tokens

__all__ = ["MOST_BYTES", "MOST_EVENTS", "bus_health", "not_before", "publish"]

MOST_BYTES: Final = MAX_BYTES - 64  # the bus adds a sequence
"""The longest body: as much as one event may have."""
MOST_EVENTS: Final = 1_000
"""The longest list of events."""
_PATIENCE: Final = 10.0  # seconds for a body to come, and then for a bus to take what was in it
_CHALLENGE: Final = 'Bearer realm="livelake"'


class _Refusal(Exception):  # noqa: N818 - it is no error of ours
    """A request that is not answered as it wished."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


@runtime_checkable
class _Telling(Protocol):
    """A bus that can say how it fares."""

    def health(self) -> Mapping[str, object]: ...


async def publish(request: Request, bus: Bus, tokens: Tokens, now: datetime) -> Response:
    """202 with a token for ``Livelake-Not-Before``, or a problem that says why not."""
    try:
        _check_authority(request, tokens, now)
        _check_kind(request)
        events = _events(await _body(request))
        reached = await _publish_all(bus, events)
    except _Refusal as refusal:
        answer = problem(refusal.status, HTTPStatus(refusal.status).phrase, refusal.detail)
        answer.headers.update({name.replace("_", "-"): value for name, value in refusal.headers.items()})
        return answer
    except LivelakeError as error:
        return problem(status_of(error), HTTPStatus(status_of(error)).phrase, str(error))
    token = str(reached)
    return Response(
        encode({"token": token, "published": len(events)}),
        status_code=202,
        media_type="application/json",
        headers={"Livelake-As-Of": token, "Cache-Control": "no-store"},
    )


def not_before(request: Request, lake: LiveLake) -> Token | None:
    """What the answer must include: the token in ``Livelake-Not-Before``. Raises `UsageError` for what is none."""
    given = request.headers.getlist("livelake-not-before")
    if not given:
        return None
    token = Token()
    for each in given:
        token |= Token.parse(each)
    unknown = sorted(token.versions.keys() - lake.catalogs.keys())
    if unknown:
        raise ParameterError(
            f"Livelake-Not-Before speaks of {', '.join(unknown)}, which is not attached here; ask where it is"
        )
    return token


def bus_health(bus: Bus) -> dict[str, object]:
    """What ``/healthz`` tells of a bus."""
    stats = bus.stats()
    told = (
        dict(bus.health()) if isinstance(bus, _Telling) else {"mode": "local", "open": not stats.closed, "blind": []}
    )
    return told | {"published": stats.published, "delivered": stats.delivered, "doubts": stats.doubts}


# ---------------------------------------------------------------- who asks


def _check_authority(request: Request, tokens: Tokens, now: datetime) -> None:
    match tokens.judge(request.headers.getlist("authorization"), now):
        case "allowed":
            return
        case "off":
            raise _Refusal(
                403, "publishing is off: no token for it was configured; start with LIVELAKE_PUBLISH_TOKEN set"
            )
        case "missing":
            raise _Refusal(
                401, "publishing needs a token: send `Authorization: Bearer TOKEN`", WWW_Authenticate=_CHALLENGE
            )
        case "unknown":
            raise _Refusal(
                401,
                "that is no token of this server; send `Authorization: Bearer TOKEN` with one of its own",
                WWW_Authenticate=f'{_CHALLENGE}, error="invalid_token"',
            )
        case "read only":
            raise _Refusal(
                403,
                "this token may read and not publish; use one with the role publish",
                WWW_Authenticate=f'{_CHALLENGE}, error="insufficient_scope"',
            )


# ---------------------------------------------------------------- what is sent


def _check_kind(request: Request) -> None:
    kind = request.headers.get("content-type", "")
    charset = re.search(r";\s*charset\s*=\s*\"?([^\s;\"]*)", kind, re.IGNORECASE)
    if kind.partition(";")[0].strip().lower() != "application/json" or (
        charset is not None and charset[1].lower() not in ("utf-8", "utf8")
    ):
        raise _Refusal(415, "an event is sent as `Content-Type: application/json`", Accept_Post="application/json")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise _Refusal(415, "an event is sent as it is, without a Content-Encoding", Accept_Encoding="identity")


async def _body(request: Request) -> bytes:
    """All of it; refused as soon as it is known to be too long, or when it does not come."""
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told[:20]) > MOST_BYTES:
        raise _too_long()
    body = bytearray()
    try:
        async with asyncio.timeout(_PATIENCE):
            async for piece in request.stream():
                body += piece
                if len(body) > MOST_BYTES:
                    raise _too_long()
    except TimeoutError:
        raise _Refusal(408, f"the body did not come within {_PATIENCE:g} s", Connection="close") from None
    except ClientDisconnect:
        raise _Refusal(400, "the body ended too early", Connection="close") from None
    return bytes(body)


def _too_long() -> _Refusal:
    return _Refusal(
        413,
        f"a body has at most {MOST_BYTES:,} bytes; publish where to find the data, or several times",
        Connection="close",  # what is left of it is not read
    )


def _events(body: bytes) -> list[Event]:
    """The events that a body is: one, or a list of them. Raises `EventError`, which says of which."""
    found = parts(body)
    if found is None:
        return [_event(body)]
    if not 0 < len(found) <= MOST_EVENTS:
        raise EventError(f"a list has 1 to {MOST_EVENTS:,} events, and this has {len(found):,}")
    events = []
    for number, each in enumerate(found, 1):
        try:
            events.append(_event(each))
        except EventError as error:
            raise EventError(f"event {number} of {len(found):,}: {error} Nothing was published.") from error
    return events


def _event(data: bytes | memoryview) -> Event:
    """One event that can also be written for the wire: of a list all can, or none is published."""
    event = decode(data, max_bytes=MOST_BYTES)
    write(event if event.sequence is not None else event.numbered(MAX_SEQUENCE))
    return event


async def _publish_all(bus: Bus, events: list[Event]) -> Token:
    reached, done = Token(), 0
    try:
        async with asyncio.timeout(_PATIENCE):
            for event in events:
                reached |= await bus.publish(event)
                done += 1
    except TimeoutError:
        raise BusyError(
            f"the bus took {done} of {len(events)} events within {_PATIENCE:g} s; send the rest again"
        ) from None
    return reached
