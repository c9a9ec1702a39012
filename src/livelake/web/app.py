"""The web application: dashboards, live streams and results of one lake. A plain ASGI app, mountable anywhere.

What is listed here lies under the path at which it is mounted.

GET /                      the dashboards
GET /d/{dashboard}         a live page; query parameters are the queries' parameters
GET /live/{dashboard}      its stream: Datastar events, the current state first, then each change
GET /live?query={name}     the same for single queries, of any dashboard; repeat ``query`` for several on one stream
GET /queries/{name}        a result as JSON, CSV, Arrow or Parquet, by ``Accept`` or suffix; see `api`
GET /why/{name}            what it depends on, and why it was kept or dropped
POST /events               publishes an event, or a list of them; needs a bearer token
GET /openapi.json          all of this for programs
GET /metrics               counters for Prometheus
GET /healthz               whether answers can be vouched for; more to who may read
GET, POST /login           a token is typed once where reading needs one; POST /logout
GET /static/{file}         the page's own script and style
"""

from __future__ import annotations

import asyncio
import http
import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote, urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from livelake import __version__
from livelake.clock import SYSTEM, Clock
from livelake.errors import LivelakeError, NotFoundError, ParameterError
from livelake.live import LiveLake
from livelake.web import metrics
from livelake.web.admission import MAX_VIEWERS, Admission
from livelake.web.api import ApiSettings, Results, validated
from livelake.web.asked import IGNORED, Asked, read
from livelake.web.caller import Hosts
from livelake.web.channel import Channels
from livelake.web.controls import Offers, controls
from livelake.web.datastar import RELOAD
from livelake.web.draw import waiting
from livelake.web.events import bus_health, publish
from livelake.web.folder import Dashboard, Query
from livelake.web.guard import Guard, fortified
from livelake.web.html import EMPTY
from livelake.web.identity import claims_of, identity_of
from livelake.web.login import Login
from livelake.web.offers import offered
from livelake.web.openapi import document
from livelake.web.pages import DashboardCard, Link, PanelView, Site, dashboard_page, error_page, index_page
from livelake.web.problems import failure, problem, status_of
from livelake.web.sessions import SessionSettings
from livelake.web.stream import HEADERS, HEARTBEAT, STREAM, Pulse, Stream
from livelake.web.tokens import Tokens

log = logging.getLogger("livelake.web")

# How long a page waits for its panels before it shows them as loading, in seconds.
_PATIENCE = 1.5
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_PAGE_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
# What a page says in its stream's address when files are followed; no parameter can have such a name.
REVISION = "livelake-revision"
_STATIC = {
    "theme.js": "text/javascript",
    "livelake.js": "text/javascript",
    "page.js": "text/javascript",
    "livelake.css": "text/css",
    "icon.svg": "image/svg+xml",
}


class App:
    """Made by `app`. ``close`` ends every stream, so that a server can stop.

    ``hosts``: the host names by which it may be asked for, None for any. A server on loopback names its own:
    else any web site could have its visitor's browser read from it, under a name that it makes lead here (DNS
    rebinding). ``heartbeat``: seconds between the signs of life of a stream. ``compress``: streams
    in gzip for viewers who take it. ``max_viewers``, ``max_viewers_per_address``: streams at once; one more is
    answered with 503. ``tokens``: who may read and publish; without any, everybody reads and nobody publishes.
    ``sessions``: what workers of one server share of log-ins.
    """

    def __init__(
        self,
        lake: LiveLake,
        dashboards: tuple[Dashboard, ...],
        *,
        hosts: Hosts | Collection[str] | None = None,
        heartbeat: float = HEARTBEAT,
        compress: bool = True,
        max_viewers: int | None = MAX_VIEWERS,
        max_viewers_per_address: int | None = None,
        tokens: Tokens | None = None,
        sessions: SessionSettings | None = None,
        api: ApiSettings | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.lake = lake
        self.pulse = Pulse(SYSTEM.now, heartbeat)
        self.compress = compress
        self.admission = Admission(max_viewers, max_viewers_per_address)
        self.dashboards: Mapping[str, Dashboard] = {each.name: each for each in dashboards}
        self.queries: Mapping[str, Query] = {q.name: q for each in dashboards for q in each.queries.values()}
        self.follows_files = False
        """Whether pages are told to load themselves again when their files have changed; see `reload`."""
        api = replace(api or ApiSettings(), compress=compress and (api is None or api.compress))
        names = hosts if hosts is None or isinstance(hosts, Hosts) else Hosts(frozenset(hosts))
        self.details = (names is not None and names.is_loopback) if api.details is None else api.details
        self.channels = Channels(lake, details=self.details)
        self.results = Results(lake, lambda: self.queries, api, details=self.details)
        self._site = Site(version=__version__)
        self.guard = Guard(self._routed, tokens=tokens, hosts=names, sessions=sessions, clock=clock)
        login = Login(self.guard, self._site_at, _PAGE_HEADERS)
        self._asgi = Starlette(
            routes=[
                Route("/", self._index),
                Route("/d/{dashboard}", self._page),
                Route("/live", _Endpoint(self._live), methods=["GET"]),
                Route("/live/{dashboard}", _Endpoint(self._live), methods=["GET"]),
                Route("/queries/{name}", self.results.get),
                Route("/why/{name}", self.results.why),
                Route("/metrics", self._metrics),
                Route("/openapi.json", self._openapi),
                Route("/events", self._publish, methods=["POST"]),
                Route("/healthz", self._health),
                Route("/login", login.login, methods=["GET", "POST"]),
                Route("/logout", login.logout, methods=["POST"]),
                Route("/static/{file}", self._static),
            ],
            exception_handlers={HTTPException: self._http_error, Exception: self._crash},
        )
        self._asgi.router.redirect_slashes = False  # it would send people to the host that the client wrote

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.guard(scope, receive, send)

    async def _routed(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._asgi(scope, receive, send)
        if (stream := scope.get(STREAM)) is not None:
            await stream(scope, receive, send)

    async def replace(self, dashboards: tuple[Dashboard, ...]) -> None:
        """Serve these from now on. The streams of what is not the same any more end, and come back to what is new."""
        self.dashboards = {each.name: each for each in dashboards}
        self.queries = {q.name: q for each in dashboards for q in each.queries.values()}
        await self.channels.end(lambda channel: not self._still_has(channel.dashboard))

    def _still_has(self, dashboard: Dashboard) -> bool:
        if dashboard.name in self.dashboards:
            return dashboard == self.dashboards[dashboard.name]
        return all(self.queries.get(name) == query for name, query in dashboard.queries.items())

    async def close(self) -> None:
        """End every stream. Closing twice is fine; the lake stays open."""
        await self.channels.close()
        self.guard.close()

    # ---------------------------------------------------------------- pages

    async def _index(self, request: Request) -> Response:
        cards = [
            DashboardCard(
                title=each.title,
                url=f"{_root(request)}/d/{each.name}",
                description=each.description or None,
                panel_titles=tuple(query.title for query in each.queries.values()),
            )
            for each in self.dashboards.values()
        ]
        return HTMLResponse(index_page(cards, site=self._site_at(request)), headers=_PAGE_HEADERS)

    async def _page(self, request: Request) -> Response:
        try:
            dashboard = self._dashboard(request)
            given = request.query_params.multi_items()
            asked = read(dashboard, given, claims_of(request.scope), ignored=IGNORED | {REVISION})
            offers = await offered(self.lake, asked, _PATIENCE)
            if asked.wrong is not None:
                page = self._dashboard_page(request, dashboard, asked, offers, waiting(dashboard, asked), None)
                return HTMLResponse(page, 200 if asked.is_waiting else 400, headers=_PAGE_HEADERS)
            channel = self.channels.enter(dashboard, asked.values, asked.views)
        except LivelakeError as error:
            return self._failure(status_of(error), str(error), request)
        try:
            await channel.ready(_PATIENCE)
            pairs = [*asked.given, (REVISION, dashboard.revision)] if self.follows_files else asked.given
            url = f"{_root(request)}/live/{dashboard.name}" + (f"?{urlencode(pairs)}" if pairs else "")
            views = [each.view for each in channel.panels]
            page = self._dashboard_page(request, dashboard, asked, offers, views, url)
        finally:
            self.channels.leave(channel)
        return HTMLResponse(page, headers=_PAGE_HEADERS)

    def _dashboard_page(
        self,
        request: Request,
        shown: Dashboard,
        asked: Asked,
        offers: Mapping[str, Offers],
        panels: list[PanelView],
        url: str | None,
    ) -> str:
        root = _root(request)
        links = [Link(each.title, f"{root}/d/{each.name}", each is shown) for each in self.dashboards.values()]
        return dashboard_page(
            shown.title,
            shown.description or None,
            panels,
            url,
            nav=links if len(links) > 1 else (),
            controls=controls(asked, offers),
            notice=self.channels.notice if self.follows_files else EMPTY,
            site=self._site_at(request),
        )

    async def _static(self, request: Request) -> Response:
        name = request.path_params["file"]
        kind = _STATIC.get(name)
        if kind is None:
            raise HTTPException(404, "there is no such file")
        body = await asyncio.to_thread((files("livelake.web") / "static" / name).read_bytes)
        kept = "public, max-age=31536000, immutable" if request.query_params.get("v") == __version__ else "no-cache"
        return Response(body, media_type=kind, headers={"Cache-Control": kept, "X-Content-Type-Options": "nosniff"})

    # ---------------------------------------------------------------- data

    async def _live(self, request: Request) -> ASGIApp:
        try:
            dashboard = self._dashboard(request) if "dashboard" in request.path_params else self._some(request)
            if self.follows_files and request.query_params.get(REVISION, dashboard.revision) != dashboard.revision:
                return Response(RELOAD, headers=HEADERS)
            given = request.query_params.multi_items()
            asked = read(dashboard, given, claims_of(request.scope), ignored=IGNORED | {REVISION, "query"})
            values = asked.bound()
            if request.method == "HEAD":
                return Response(headers=HEADERS)
            out = self.admission.enter(request.client.host if request.client else None)
            try:
                channel = self.channels.enter(dashboard, values, asked.views)
            except LivelakeError:
                out()
                raise
        except LivelakeError as error:
            return failure(error, details=self.details, what=request.url.path)
        last = request.headers.get("last-event-id") or request.query_params.get("last_event_id")

        def left() -> None:
            self.channels.leave(channel)
            out()

        stream = Stream(channel.broadcast, last, self.pulse, left, compress=self.compress)
        return self.guard.leased(stream, identity_of(request.scope), stream.end)

    async def _metrics(self, _request: Request) -> Response:
        lake, names = self.lake, self.queries
        found = [
            *metrics.of_server(__version__, os.getpid(), self.channels.viewers, self.results.bodies),
            *metrics.of_watcher(lake.watcher.looks, lake.watcher.lag, lake.watcher.is_blind, lake.watcher.heads()),
            *metrics.of_cache(lake.cache.stats()),
            *metrics.of_engine(lake.engine.stats()),
            *metrics.of_bus(lake.bus.stats(), len(lake.bus.blind())),
            *metrics.of_queries(self.results.tally, names),
        ]
        return Response(metrics.text(found), media_type=metrics.CONTENT_TYPE, headers={"Cache-Control": "no-store"})

    async def _openapi(self, request: Request) -> Response:
        root, most = request.scope.get("root_path", ""), self.results.settings.max_rows
        return validated(request, document(self.queries.values(), version=__version__, root=root, max_rows=most))

    async def _publish(self, request: Request) -> Response:
        return await publish(request, self.lake.bus, self.guard.tokens, self.guard.clock.now())

    async def _health(self, request: Request) -> Response:
        """``degraded``: events are in doubt, and what depends on them is computed for each read; the rest is well."""
        lake, stats = self.lake, self.lake.engine.stats()
        blind = lake.watcher.is_blind
        status = {"status": "blind" if blind else "degraded" if lake.bus.blind() else "ok"}
        code, kept = 503 if blind else 200, {"Cache-Control": "no-store"}
        if self.guard.tokens.guards_reading and identity_of(request.scope) is None:
            return JSONResponse(status, status_code=code, headers=kept)
        body = status | {
            "version": __version__,
            "process": os.getpid(),
            "bus": bus_health(lake.bus),
            "heads": dict(lake.watcher.heads()),
            "failure": self._told(lake.watcher.failure),
            "viewers": self.channels.viewers,
            "reads": stats.reads,
            "cache": lake.cache.stats().as_dict(),
        }
        return JSONResponse(body, status_code=code, headers=kept)

    def _told(self, error: LivelakeError | None) -> str | None:
        if error is None or self.details:
            return None if error is None else str(error)
        return "the commit log cannot be read; the server's log says why"

    # ---------------------------------------------------------------- finding

    def _dashboard(self, request: Request) -> Dashboard:
        name = request.path_params["dashboard"]
        try:
            return self.dashboards[name]
        except KeyError:
            raise NotFoundError("there is no dashboard of that name; / lists them") from None

    def _some(self, request: Request) -> Dashboard:
        """The queries that a stream names, as a dashboard of their own; no folder has such a name."""
        names = list(dict.fromkeys(request.query_params.getlist("query")))
        if not names:
            raise ParameterError("name what to watch: /live?query=NAME, or /live/DASHBOARD for all of a dashboard")
        queries = {query.name: query for query in map(self.results.named, names)}
        return Dashboard(name=f"query={'&query='.join(queries)}", title="", queries=queries, path=Path())

    # ---------------------------------------------------------------- failing

    def _failure(self, status: int, detail: str, request: Request | None = None) -> Response:
        title = http.HTTPStatus(status).phrase
        page = error_page(status, title, detail[:1].upper() + detail[1:], site=self._site_at(request))
        return HTMLResponse(page, status, headers=_PAGE_HEADERS)

    def _site_at(self, request: Request | None) -> Site:
        """The site under the path at which somebody mounted it."""
        root = "" if request is None else _root(request)
        identity = None if request is None else identity_of(request.scope)
        logout = f"{root}/logout" if identity is not None and identity.session else None
        return replace(self._site, home_url=f"{root}/", static_url=f"{root}/static", logout_url=logout)

    async def _http_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if "text/html" in request.headers.get("accept", ""):
            answer = self._failure(error.status_code, error.detail, request)
        else:
            answer = problem(error.status_code, http.HTTPStatus(error.status_code).phrase, error.detail)
        answer.headers.update(error.headers or {})  # which methods are allowed
        return answer

    async def _crash(self, request: Request, error: Exception) -> Response:
        path = request.scope["path"].encode("unicode_escape").decode()  # nobody writes lines of the log from outside
        log.error("%s %s failed", request.method, path, exc_info=error)
        return problem(500, "Internal Server Error", "the server met an error of its own; its log says which")


class _Endpoint:
    """A route whose handler returns a response, or a stream for `App` to begin."""

    def __init__(self, handler: object) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: ASGIApp = await self._handler(Request(scope, receive, send))  # type: ignore[operator]
        if isinstance(answer, Response):  # a stream has its headers already
            await answer(scope, receive, fortified(send, identity_of(scope) is not None))
        else:
            scope[STREAM] = answer


def _root(request: Request) -> str:
    """Where the application is mounted, as the beginning of links; nothing where it is by itself."""
    return quote(request.scope.get("root_path", "").rstrip("/"))
