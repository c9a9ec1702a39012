"""``/login`` and ``/logout``: a token is typed once, and a session stands for it from then on.

The cookie is HttpOnly, SameSite=Strict, and Secure with the prefix ``__Host-`` under TLS. Because it is strict, a
link from another site arrives without it: the page that asks for the token then looks once more by itself, this time
from this site, and whoever has a session goes on to where the link led.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from livelake.web.caller import Asked, local_path
from livelake.web.guard import Guard, cookie_name, too_many
from livelake.web.identity import identity_of
from livelake.web.pages import Site, login_page
from livelake.web.problems import problem

__all__ = ["Login"]

_MOST_BYTES: Final = 8_192
_PATIENCE: Final = 10.0  # seconds for a form to come
_FORM: Final = re.compile(r"application/x-www-form-urlencoded(\s*;.*)?", re.IGNORECASE)
_UNKNOWN: Final = "That is no token of this server, or one that has ended."
_NO_READING: Final = "This token may publish and not read; ask for one with the role read."


class Login:
    """The two endpoints. ``site`` says what the page looks like, ``headers`` what it is sent with."""

    def __init__(self, guard: Guard, site: Callable[[Request], Site], headers: dict[str, str]) -> None:
        self._guard = guard
        self._site = site
        self._headers = headers

    async def login(self, request: Request) -> Response:
        """GET shows the form, POST takes it. Where reading is open, or one is logged in, straight on."""
        asked = Asked.of(request.scope)
        if not self._guard.tokens.guards_reading:
            return _on(asked, request.query_params.get("next", ""))
        if request.method == "POST":
            return await self._enter(request, asked)
        if identity_of(request.scope) is not None:
            return _on(asked, request.query_params.get("next", ""))
        answer = self._page(request, asked, request.query_params.get("next", ""))
        if asked.is_foreign:
            answer.headers["Refresh"] = f"0;url={_again(asked)}"
        return answer

    async def logout(self, request: Request) -> Response:
        """Ends the session, its streams, and the cookie."""
        guard, asked = self._guard, Asked.of(request.scope)
        identity = guard.session(asked)
        if identity is not None:
            guard.sessions.end(identity, guard.clock.now())
            guard.leases.look()
        answer = RedirectResponse(f"{asked.root}/login", 303, headers={"Cache-Control": "no-store"})
        _set_cookie(answer, asked, "", 0)
        return answer

    async def _enter(self, request: Request, asked: Asked) -> Response:
        guard = self._guard
        if wait := guard.attempts.wait(asked.address, guard.clock.monotonic()):
            answer = self._page(request, asked, "", "Too many attempts. Try again in a moment.", 429)
            answer.headers["Retry-After"] = too_many(wait).headers["Retry-After"]
            return answer
        form = await _form(request)
        if isinstance(form, Response):
            return form
        token, back = form.get("token", [""])[0].strip(), form.get("next", [""])[0]
        now = guard.clock.now()
        identity = guard.tokens.whose(token, now)
        if identity is None:
            guard.note_failure(asked.address)
            return self._page(request, asked, back, _UNKNOWN, 401)
        if not identity.may("read"):
            return self._page(request, asked, back, _NO_READING, 403)
        answer = _on(asked, back)
        _set_cookie(answer, asked, *guard.sessions.begin(identity, now))
        return answer

    def _page(
        self, request: Request, asked: Asked, back: str, message: str | None = None, status: int = 200
    ) -> Response:
        page = login_page(f"{asked.root}/login", local_path(back), message, site=self._site(request))
        answer = HTMLResponse(page, status, headers=self._headers)
        if status == 401:
            answer.headers["WWW-Authenticate"] = 'Bearer realm="livelake"'
        return answer


def _on(asked: Asked, back: str) -> Response:
    """To where one came from; never to another site, whatever the address says."""
    return RedirectResponse(asked.root + local_path(back), 303, headers={"Cache-Control": "no-store"})


def _again(asked: Asked) -> str:
    """This very page, asked for by itself."""
    here = f"{asked.root}/login" + (f"?{asked.query}" if asked.query else "")
    return here if local_path(here) == here else f"{asked.root}/login"


async def _form(request: Request) -> dict[str, list[str]] | Response:
    """What was sent, or why it is not read."""
    if not _FORM.fullmatch(request.headers.get("content-type", "")):
        return problem(415, "Unsupported Media Type", "a log-in is sent as a form: application/x-www-form-urlencoded")
    body = bytearray()
    try:
        async with asyncio.timeout(_PATIENCE):
            async for piece in request.stream():
                body += piece
                if len(body) > _MOST_BYTES:
                    return _closing(problem(413, "Content Too Large", f"a log-in has at most {_MOST_BYTES:,} bytes"))
        return parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=10)
    except TimeoutError:
        return _closing(problem(408, "Request Timeout", f"the form did not come within {_PATIENCE:g} s"))
    except ClientDisconnect:
        return _closing(problem(400, "Bad Request", "the form ended too early"))
    except ValueError:
        return problem(400, "Bad Request", "this is no form of the log-in page")


def _closing(answer: Response) -> Response:
    answer.headers["Connection"] = "close"  # what is left of the body is not read
    return answer


def _set_cookie(answer: Response, asked: Asked, value: str, seconds: int) -> None:
    answer.set_cookie(
        cookie_name(asked),
        value,
        max_age=seconds,
        path=asked.root or "/",
        secure=asked.is_secure,
        httponly=True,
        samesite="strict",
    )
