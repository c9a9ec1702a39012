"""``GET /queries/{name}``: one query's answer, in the form that the client takes, for HTTP caches to keep.

What to send is decided by pure parts: the form (`negotiate`), the page (`paging`), what caches are told (`caching`).
Here they are put together around one awaited `lake.query`. Bodies are written in threads, once for all who ask
(`representations`); a hit of the cache whose body is kept does no work that grows with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from livelake.clock import SYSTEM
from livelake.engine import ArrowData, sliced
from livelake.errors import BusyError, LivelakeError, NotFoundError, QueryError, UsageError
from livelake.lake import Result
from livelake.live import LiveLake
from livelake.web import caching
from livelake.web.events import not_before
from livelake.web.folder import Query
from livelake.web.formats import TooLarge, compressed, encode, written
from livelake.web.metrics import Tally
from livelake.web.negotiate import (
    MEDIA_TYPES,
    OFFERS,
    Coding,
    Format,
    choose,
    choose_coding,
    choose_format,
    split_suffix,
)
from livelake.web.paging import LIMIT, OFFSET, Asked, ask, links
from livelake.web.problems import Unacceptable, failure, problem, status_of
from livelake.web.representations import Representations

__all__ = ["ApiSettings", "Results", "problem", "status_of", "validated"]

_CONTENT_TYPES: Final[Mapping[Format, str]] = {**MEDIA_TYPES, "csv": "text/csv; charset=utf-8; header=present"}
_WORTH_PACKING: Final = 2_048  # bytes of Arrow; below that gzip gains nothing that matters
_HASHED_HERE: Final = 262_144  # bytes that are hashed faster than a thread is had (1 GB/s)
_NOT_REACHED: Final = (
    "what Livelake-Not-Before demands has not arrived here in time, or there was no time to read it; "
    "try again, or ask without it and take what there is"
)
_MOST_POSITIONS: Final = 64  # in a header; each is some dozens of bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """What one response may hold, and what is kept to answer faster."""

    max_rows: int = 100_000
    """Rows of one response; more come in pages."""
    max_bytes: int = 32 << 20
    """Bytes of one response, before it is packed."""
    kept_bytes: int = 64 << 20
    """Bytes of bodies that are kept ready."""
    compress: bool = True
    """Pack bodies with gzip for who takes it. Not where a secret and an attacker's text share a body (BREACH)."""
    details: bool | None = None
    """Whether everybody is told what went wrong in SQL and data. None: on loopback only."""


class Results:
    """The endpoint. ``queries``: by name, as they are now. Used on one event loop."""

    def __init__(
        self, lake: LiveLake, queries: Callable[[], Mapping[str, Query]], settings: ApiSettings, *, details: bool
    ) -> None:
        self.lake = lake
        self.settings = settings
        self.tally = Tally()
        self.bodies = Representations(settings.kept_bytes)
        self.details = details
        self._queries = queries

    def named(self, name: str) -> Query:
        """Raises `NotFoundError`, which lists those there are."""
        try:
            return self._queries()[name]
        except KeyError:
            raise NotFoundError(f"there is no query of that name; there is {', '.join(self._queries())}") from None

    async def get(self, request: Request) -> Response:
        """200, 304, or a problem that says why not."""
        began = SYSTEM.monotonic()
        query: Query | None = None
        form: Format | None = None
        try:
            name, suffix = split_suffix(request.path_params["name"])
            query = self.named(name)
            form = suffix or choose_format(_listed(request, "accept"))
            if form is None:
                raise _not_acceptable(query)
            pairs = request.query_params.multi_items() if request.scope["query_string"] else ()
            asked = ask(pairs, query.params, self.settings.max_rows)
            # Before the read: a fresh answer includes at least this.
            heard = self.lake.bus.heard().positions if query.depends_on else {}
            result = await self._read(request, query, asked)
            answer = await self._answer(request, query, asked, result, form, bool(suffix), heard, began)
        except LivelakeError as error:
            if query is not None:
                self.tally.count(query.name, form or "none", "error", SYSTEM.monotonic() - began)
            return failure(error, details=self.details, what=f"/queries/{query.name}" if query else "/queries/?")
        self.tally.count(query.name, form, result.status, SYSTEM.monotonic() - began)
        return answer

    async def why(self, request: Request) -> Response:
        """What the query's answer depends on: text for people, JSON for programs."""
        try:
            query = self.named(request.path_params["name"])
            values = query.bind(request.query_params.multi_items())
            kind = choose(_listed(request, "accept"), {"text": "text/plain", "json": "application/json"})
            if kind is None:
                raise Unacceptable(406, "an explanation is text/plain or application/json; Accept one of them")
            told = await self.lake.why(query.sql, values, depends_on=query.depends_on)
        except LivelakeError as error:
            return failure(error, details=self.details, what=f"/why/{request.path_params['name']!r}")
        fields = {"Cache-Control": "no-store", "Vary": "Accept", "X-Content-Type-Options": "nosniff"}
        if not self.details:
            told = told.without_sources(query.name)
        if kind == "json":
            return Response(encode(told.as_dict()), media_type="application/json", headers=fields)
        return Response(f"{told}\n", media_type="text/plain", headers=fields)

    # ---------------------------------------------------------------- one answer

    async def _read(self, request: Request, query: Query, asked: Asked) -> Result:
        values = query.bind(asked.own)
        demanded = not_before(request, self.lake)
        try:
            return await self.lake.query(query.sql, values, not_before=demanded, depends_on=query.depends_on)
        except BusyError:
            if demanded is None or self.details:
                raise
            raise Unacceptable(503, _NOT_REACHED) from None

    async def _answer(
        self,
        request: Request,
        query: Query,
        asked: Asked,
        result: Result,
        form: Format,
        by_suffix: bool,
        heard: Mapping[str, int],
        began: float,
    ) -> Response:
        data = result.answer.data
        self._check_rows(query, asked, data)
        packs = self.settings.compress and form != "parquet" and data.nbytes >= _WORTH_PACKING
        coding = choose_coding(_listed(request, "accept-encoding")) if packs else "identity"
        content = data.etag if data.nbytes <= _HASHED_HERE else await asyncio.to_thread(lambda: data.etag)
        etag = caching.etag_of(content, form, coding, asked.page)
        fields = self._fields(request, query, asked, result, heard)
        fields["ETag"] = etag
        fields["Vary"] = _VARY_SUFFIX if by_suffix else _VARY
        if caching.is_known(_listed(request, "if-none-match"), etag):
            self.tally.unchanged[query.name] += 1
            fields["Server-Timing"] = _timing(result, began, None)
            return Response(status_code=304, headers=fields)
        read = SYSTEM.monotonic()
        body = self.bodies.find(etag)
        if body is None:
            body = await self._write(query, asked, data, form, coding, etag)
        fields["Server-Timing"] = _timing(result, began, read)
        fields["Content-Type"] = _CONTENT_TYPES[form]
        fields["Content-Length"] = str(len(body))
        if coding != "identity":
            fields["Content-Encoding"] = coding
        if by_suffix and form != "json":
            fields["Content-Disposition"] = f'attachment; filename="{query.name}.{form}"'
        if request.method == "HEAD":
            return Response(headers=fields)
        self.tally.nbytes[query.name] += len(body)
        return Response(body, headers=fields)

    def _fields(
        self, request: Request, query: Query, asked: Asked, result: Result, heard: Mapping[str, int]
    ) -> dict[str, str]:
        """What a 200 and a 304 say alike, but for the validator."""
        left = None if result.valid_until is None else (result.valid_until - SYSTEM.now()).total_seconds()
        if len(heard) > _MOST_POSITIONS:
            heard = {}
        fields = {
            "Cache-Control": caching.cache_control(
                query.http,
                private=request.scope.get("livelake.identity") is not None,
                permanent=False,
                status=result.status,
                left=left,
            ),
            "Cache-Status": caching.cache_status(query.name, result.status, left, result.age),
            "Livelake-As-Of": caching.as_of_header(result.as_of, heard),
            "Livelake-Computed-At": result.computed_at.isoformat(),
            "Livelake-Total": str(len(result)),
            "X-Content-Type-Options": "nosniff",
        }
        if asked.page is not None and (link := links(_path(request), asked, len(result))):
            fields["Link"] = link
        return fields

    # ---------------------------------------------------------------- bodies

    async def _write(
        self, query: Query, asked: Asked, data: ArrowData, form: Format, coding: Coding, etag: str
    ) -> bytes:
        most, page = self.settings.max_bytes, asked.page

        def write() -> bytes:
            rows = data if page is None else sliced(data, page.offset, page.limit)
            return compressed(written(rows, form, most=most), coding)

        try:
            return await self.bodies.get(etag, write)
        except TooLarge:
            detail = f"this answer is larger than the {most:,} bytes that one response may hold"
            raise Unacceptable(413, f"{detail}; {_remedy(asked)}", total=len(data)) from None
        except (QueryError, UsageError) as error:
            raise Unacceptable(406, f"this answer cannot be written as {form}: {error}; {_offers(query)}") from error

    def _check_rows(self, query: Query, asked: Asked, data: ArrowData) -> None:
        most = self.settings.max_rows
        if asked.page is None and len(data) > most:
            detail = f"this answer has {len(data):,} rows, and one response holds at most {most:,}"
            raise Unacceptable(413, f"{detail}; {_remedy(asked, most)}", total=len(data))


def validated(request: Request, value: object) -> Response:
    """JSON that seldom changes: 200, or 304 for who has it."""
    body = encode(value)
    etag = f'"{blake2b(body, digest_size=16).hexdigest()}"'
    fields = {"ETag": etag, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    if caching.is_known(_listed(request, "if-none-match"), etag):
        return Response(status_code=304, headers=fields)
    return Response(body, media_type="application/json", headers=fields)


_VARY_SUFFIX: Final = "Accept-Encoding, Livelake-Not-Before"
_VARY: Final = f"Accept, {_VARY_SUFFIX}"


def _listed(request: Request, name: str) -> str | None:
    """A header that is a list; several of them are one (RFC 9110, 5.3). Read from the scope: it is on every path."""
    sought = name.encode()
    found = [value for key, value in request.scope["headers"] if key == sought]
    if not found:
        return None
    return b", ".join(found).decode("latin-1")


def _path(request: Request) -> str:
    """How the client asked, below the host."""
    return f"{request.scope.get('root_path', '')}/queries/{request.path_params['name']}"


def _timing(result: Result, began: float, read: float | None) -> str:
    """``Server-Timing``: the read, and then the writing."""
    now = SYSTEM.monotonic()
    query = f"query;desc={result.status};dur={((read or now) - began) * 1e3:.2f}"
    return query if read is None else f"{query}, write;dur={(now - read) * 1e3:.2f}"


def _remedy(asked: Asked, most: int | None = None) -> str:
    if not asked.pages:
        return f"its parameters are its own ({LIMIT} or {OFFSET} among them): narrow it by those"
    if asked.page is not None:
        return f"ask for fewer rows at a time than {LIMIT}={asked.page.limit}"
    return f"ask for pages: ?{urlencode({LIMIT: str(most or 10_000), OFFSET: '0'})}, and on by the Link header"


def _offers(query: Query) -> str:
    return f"there is {', '.join(f'{MEDIA_TYPES[form]} (/queries/{query.name}.{form})' for form in OFFERS)}"


def _not_acceptable(query: Query) -> Unacceptable:
    offers = [{"type": MEDIA_TYPES[form], "url": f"/queries/{query.name}.{form}"} for form in OFFERS]
    return Unacceptable(406, f"no form of this answer is one that Accept takes; {_offers(query)}", offers=offers)
