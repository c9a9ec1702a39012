"""The guard: what stands before the application and decides who may come in. An ASGI app around an ASGI app.

In this order, and what is refused is refused before a byte of a body is read or a route is looked up:

1. the name that the server was asked for is one of its own (against DNS rebinding);
2. no page of another site asks: on writes, streams and reads alike. A person who follows a link is not a page;
3. whoever shows a token shows a known one, and has not failed too often;
4. where reading needs a token, everything needs it but the way in (`Asked.is_open`): a new route is closed.

Then ``scope["livelake.identity"]`` says who asks (None: nobody is asked, everybody may read). Every answer leaves
with the headers that keep browsers from reading more into it than it says, and ``private`` where somebody was asked.
No GET changes anything, so there is nothing that a link or an image could do.
"""

from __future__ import annotations

import http
import logging
import math
from collections.abc import Callable, Container, Iterable
from typing import Final

from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livelake.clock import SYSTEM, Clock
from livelake.web.attempts import Attempts
from livelake.web.caller import Asked, is_answered
from livelake.web.identity import SCOPE_KEY, Identity, identity_of
from livelake.web.leases import Leases
from livelake.web.problems import problem
from livelake.web.sessions import Sessions, SessionSettings
from livelake.web.tokens import Tokens

__all__ = ["Guard", "cookie_name", "fortified"]

log = logging.getLogger("livelake.web")

_CHALLENGE: Final = 'Bearer realm="livelake"'
_LOOK_EVERY: Final = 1.0  # seconds between looks at the file of tokens
_TELL_EVERY: Final = 60.0  # seconds between lines in the log: nobody fills it from outside
_MOST_COOKIES: Final = 4  # of our name: a neighbouring site may have set more of them

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


class Guard:
    """See the module. ``tokens`` and ``hosts`` may be replaced while it serves.

    ``hosts``: the names by which it may be asked for, None for any.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: Tokens | None = None,
        hosts: Container[str] | None = None,
        sessions: SessionSettings | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.tokens = tokens or Tokens()
        self.hosts = hosts
        self.sessions = Sessions(sessions)
        self.attempts = Attempts()
        self.leases = Leases(self._renew, self.holds)
        self.clock = clock
        self._app = app
        self._looked = self._tell_at = -math.inf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self.clock.monotonic() >= self._looked + _LOOK_EVERY:
            self._renew()
        asked = Asked.of(scope)
        refusal = self._enter(scope, asked)
        is_private = scope[SCOPE_KEY] is not None and not asked.path.startswith("/static/")
        if refusal is not None:
            await refusal(scope, receive, fortified(send, is_private))
        elif asked.is_stream:  # sends more than it answers; what is no stream there is fortified by its route
            await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, fortified(send, is_private))

    def holds(self, identity: Identity) -> bool:
        """Whether what let somebody in still does."""
        return self.tokens.vouch(identity, self.clock.now()) and self.sessions.holds(identity)

    def leased(self, stream: ASGIApp, identity: Identity | None, end: Callable[[], None]) -> ASGIApp:
        """``stream``, and ``end()`` when its viewer may no longer see it."""
        if identity is None:
            return stream

        async def leasing(scope: Scope, receive: Receive, send: Send) -> None:
            give_back = self.leases.hold(identity, end)
            try:
                await stream(scope, receive, send)
            finally:
                give_back()

        return leasing

    def close(self) -> None:
        """Closing twice is fine."""
        self.leases.close()
        self.sessions.close()

    # ---------------------------------------------------------------- deciding

    def _enter(self, scope: Scope, asked: Asked) -> Response | None:
        """Why this request is not let in; sets who asks if it is."""
        given = identity_of(scope)  # by the application around ours
        scope[SCOPE_KEY] = given
        if not is_answered(self.hosts, asked):
            return _problem(
                421, "this server does not go by that name; if it should, start it with --allowed-host NAME"
            )
        if asked.is_foreign and not asked.is_visit:
            return _problem(
                403, "a page of another site asks for this; ask from a program, or from this server's pages"
            )
        if given is not None:
            return None if given.may("read") else _not_for_reading()
        if asked.path == "/events":
            return self._slow_down(asked, self._shown(asked))  # who publishes is asked there
        return self._identify(scope, asked) if self.tokens.guards_reading else None

    def _identify(self, scope: Scope, asked: Asked) -> Response | None:
        """Who reads: by the token that is shown, else by the session."""
        shows = bool(asked.bearers)
        found = self._shown(asked) if shows else self.session(asked)
        if shows and (refusal := self._slow_down(asked, found)):
            return refusal
        if found is None and (shows or not asked.is_open):
            return _log_in(asked, shows)
        scope[SCOPE_KEY] = found
        return None if found is None or found.may("read") or asked.is_open else _not_for_reading()

    def _shown(self, asked: Asked) -> Identity | None:
        return self.tokens.bearer(asked.bearers, self.clock.now())

    def _slow_down(self, asked: Asked, found: Identity | None) -> Response | None:
        """Whether this token is even looked at: not from where too many came that are none."""
        if not asked.bearers:
            return None
        if wait := self.attempts.wait(asked.address, self.clock.monotonic()):
            return too_many(wait)
        if found is None:
            self.note_failure(asked.address)
        return None

    def session(self, asked: Asked) -> Identity | None:
        """Whose session this browser has."""
        name, now = cookie_name(asked), self.clock.now()
        for value in _cookies(asked.cookies, name):
            if found := self.sessions.read(value, self.tokens, now):
                return found
        return None

    def note_failure(self, address: str) -> None:
        """A token was shown that is none."""
        now = self.clock.monotonic()
        if self.attempts.failed(address, now) and now >= self._tell_at:
            self._tell_at = now + _TELL_EVERY
            log.warning("too many tokens that are none were shown, last from %a; who shows them must wait", address)

    def _renew(self) -> None:
        self._looked = self.clock.monotonic()
        self.tokens = self.tokens.renewed()
        self.sessions.look(self.clock.now())


def cookie_name(asked: Asked) -> str:
    """Cookies know hosts and no ports: each server of a machine has its own. ``__Host-`` keeps neighbours out."""
    return ("__Host-" if asked.is_secure and not asked.root else "") + f"livelake{asked.port and '-' + asked.port}"


def too_many(wait: float) -> Response:
    seconds = math.ceil(wait)
    answer = _problem(429, f"too many tokens that are none came from there; try again in {seconds} s")
    answer.headers["Retry-After"] = str(seconds)
    return answer


def fortified(send: Send, is_private: bool) -> Send:
    """``send``, with the headers that every answer has."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": _fortify(message.get("headers", ()), is_private)}
        await send(message)

    return sending


# ---------------------------------------------------------------- answers


def _problem(status: int, detail: str) -> Response:
    return problem(status, http.HTTPStatus(status).phrase, detail)


def _not_for_reading() -> Response:
    answer = _problem(403, "this token may publish and not read; use one with the role read")
    answer.headers["WWW-Authenticate"] = f'{_CHALLENGE}, error="insufficient_scope"'
    return answer


def _log_in(asked: Asked, shows: bool) -> Response:
    """To a person, the way to the log-in; to a program, a challenge."""
    if asked.is_visit and not shows:
        return RedirectResponse(asked.login, 303, headers={"Cache-Control": "no-store"})
    if shows:
        answer = _problem(401, "that is no token of this server, or one that has ended; send one of its own")
        answer.headers["WWW-Authenticate"] = f'{_CHALLENGE}, error="invalid_token"'
    else:
        answer = _problem(401, "reading needs a token: send `Authorization: Bearer TOKEN`, or log in at /login")
        answer.headers["WWW-Authenticate"] = _CHALLENGE
    return answer


def _cookies(headers: Iterable[str], name: str) -> list[str]:
    """The values of a cookie, of which there should be one."""
    found = [
        value.strip().strip('"')
        for header in headers
        for each, _, value in (pair.partition("=") for pair in header.split(";"))
        if each.strip() == name
    ]
    return found[:_MOST_COOKIES]


def _fortify(headers: Iterable[tuple[bytes, bytes]], is_private: bool) -> list[tuple[bytes, bytes]]:
    given = [(name.lower(), value) for name, value in headers]
    names = {name for name, _ in given}
    given += [(name, value) for name, value in _HEADERS if name not in names]
    return _kept_private(given) if is_private else given


def _kept_private(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """For whoever asked, and for nobody whom a shared cache might show it to, nor for who logs in after them."""
    found = dict(headers)
    said = [part.strip() for part in found.get(b"cache-control", b"no-store").split(b",")]
    if b"no-store" not in said:
        said = [b"private", *(part for part in said if part not in (b"public", b"private"))]
    vary = [part for part in (found.get(b"vary", b""), b"Cookie, Authorization") if part]
    kept = [(name, value) for name, value in headers if name not in (b"cache-control", b"vary")]
    return [*kept, (b"cache-control", b", ".join(said)), (b"vary", b", ".join(vary))]
