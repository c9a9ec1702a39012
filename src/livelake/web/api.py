"""``GET /queries/{name}``: one query's answer, in the form that the client takes, for HTTP caches to keep.

What to send is decided by pure parts: the form (`negotiate`), the page (`paging`), what caches are told (`caching`).
Here they are put together around one awaited `lake.query`. Bodies are written in threads, once for all who ask
(`representations`); a hit of the cache whose body is kept does no work that grows with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from livelake.clock import SYSTEM
from livelake.engine import ArrowData, sliced
from livelake.errors import BusyError, LivelakeError, NotFoundError, ParameterError, QueryError, UsageError
from livelake.events import LocalBus
from livelake.lake import Result
from livelake.live import LiveLake
from livelake.token import Token
from livelake.web import caching, permanent
from livelake.web.events import not_before
from livelake.web.folder import Query
from livelake.web.formats import TooLarge, compressed, encode, written
from livelake.web.identity import claims_of, identity_of
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
from livelake.web.paging import LIMIT, OFFSET, Asked, ask, links, location
from livelake.web.parameters import Value
from livelake.web.permanent import Seals
from livelake.web.problems import Unacceptable, failure, problem, status_of
from livelake.web.representations import Representations

__all__ = ["ApiSettings", "Results", "problem", "status_of", "validated"]

_CONTENT_TYPES: Final[Mapping[Format, str]] = {**MEDIA_TYPES, "csv": "text/csv; charset=utf-8; header=present"}
_WORTH_PACKING: Final = 2_048  # bytes of Arrow; below that gzip gains nothing that matters
_HASHED_HERE: Final = 262_144  # bytes that are hashed faster than a thread is had (1 GB/s)
_LONGEST_LOCATION: Final = 2_000
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


@dataclass(frozen=True, slots=True)
class _Call:
    """One request that makes sense: which query, which form, what of it."""

    request: Request
    query: Query
    asked: Asked
    form: Format
    by_suffix: bool
    began: float
    """Monotonic seconds."""

    @property
    def root(self) -> str:
        """Under which path the application is mounted."""
        return str(self.request.scope.get("root_path", ""))


@dataclass(frozen=True, slots=True)
class _Read:
    """A result, its seal if it can be had again, and whether it was asked for by that."""

    result: Result
    seal: str | None
    heard: Mapping[str, int]
    """How far the bus had been heard before the read, where that matters."""
    permanent: bool = False


class Results:
    """The endpoint. ``queries``: by name, as they are now. Used on one event loop."""

    def __init__(
        self, lake: LiveLake, queries: Callable[[], Mapping[str, Query]], settings: ApiSettings, *, details: bool
    ) -> None:
        self.lake = lake
        self.settings = settings
        self.tally = Tally()
        self.seals = Seals(lake)
        self.bodies = Representations(settings.kept_bytes)
        self.details = details
        self._queries = queries
        self._present_only: set[str] = set()  # queries that have refused to be asked as of the past

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
            call = _Call(request, query, asked, form, bool(suffix), began)
            read = await self._read(call)
            answer = await self._answer(call, read)
        except LivelakeError as error:
            if query is not None:
                self.tally.count(query.name, form or "none", "error", SYSTEM.monotonic() - began)
            return failure(error, details=self.details, what=f"/queries/{query.name}" if query else "/queries/?")
        self.tally.count(query.name, form, read.result.status, SYSTEM.monotonic() - began)
        return answer

    async def why(self, request: Request) -> Response:
        """What the query's answer depends on: text for people, JSON for programs."""
        try:
            query = self.named(request.path_params["name"])
            values = query.bind(request.query_params.multi_items(), claims_of(request.scope))
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

    async def _read(self, call: _Call) -> _Read:
        query = call.query
        values = query.bind(call.asked.own, claims_of(call.request.scope))
        demanded = not_before(call.request, self.lake)
        if call.asked.as_of is not None:
            return await self._read_past(query, values, call.asked.as_of, demanded)
        heard = self._heard(query)
        try:
            result = await self.lake.query(query.sql, values, not_before=demanded, depends_on=query.depends_on)
        except BusyError:
            if demanded is None or self.details:
                raise
            raise Unacceptable(503, _NOT_REACHED) from None
        seal = None
        if call.asked.states and query.name not in self._present_only:
            with contextlib.suppress(LivelakeError):  # the answer is there; its address can wait
                seal = await self.seals.of(query.sql, values, result)
        return _Read(result, seal, heard)

    def _heard(self, query: Query) -> Mapping[str, int]:
        """What an answer that is fresh includes at least, of what other processes publish.

        Of a bus of our own nobody else hears, and after a restart nobody could meet such a demand.
        """
        if not query.depends_on or isinstance(self.lake.bus, LocalBus):
            return {}
        heard = self.lake.bus.heard().positions
        return heard if len(heard) <= _MOST_POSITIONS else {}

    async def _read_past(
        self, query: Query, values: Mapping[str, Value], as_of: str, demanded: Token | None
    ) -> _Read:
        """At the state that was asked for. What its seal does not fit is gone: nobody can be given it any more."""
        if demanded is not None:
            raise ParameterError("as_of names a state, and Livelake-Not-Before demands another; send one of them")
        state = permanent.parse(as_of)
        try:
            result = await self.lake.query(query.sql, values, as_of=state.versions, depends_on=query.depends_on)
        except QueryError as error:
            if str(error).startswith(("as_of ", "as of ")):  # travel's own words: no state of it can be had
                self._present_only.add(query.name)
            why = f": {error}" if self.details else ""
            raise Unacceptable(400, f"query {query.name!r} cannot be asked as of the past{why}") from error
        seal = await self.seals.of(query.sql, values, result)
        if state.seal is not None and (seal != state.seal or dict(result.as_of) != dict(state.versions)):
            detail = "this address is of another text of the query, or of another lake, or of other settings"
            raise Unacceptable(410, f"{detail}; ask /queries/{query.name} for the present answer")
        return _Read(result, seal, {}, permanent=state.seal is not None)

    async def _answer(self, call: _Call, read: _Read) -> Response:
        data, query = read.result.answer.data, call.query
        self._check_rows(call.asked, data)
        packs = self.settings.compress and call.form != "parquet" and data.nbytes >= _WORTH_PACKING
        coding = choose_coding(_listed(call.request, "accept-encoding")) if packs else "identity"
        content = data.etag if data.nbytes <= _HASHED_HERE else await asyncio.to_thread(lambda: data.etag)
        etag = caching.etag_of(content, call.form, coding, call.asked.page)
        fields = self._fields(call, read, etag)
        if caching.is_known(_listed(call.request, "if-none-match"), etag):
            self.tally.unchanged[query.name] += 1
            fields["Server-Timing"] = _timing(read.result, call.began, None)
            return Response(status_code=304, headers=fields)
        since = SYSTEM.monotonic()
        body = self.bodies.find(etag)
        if body is None:
            body = await self._write(call, data, coding, etag)
        fields["Server-Timing"] = _timing(read.result, call.began, since)
        fields |= _of_body(call, coding, body)
        if call.request.method == "HEAD":
            return Response(headers=fields)
        self.tally.nbytes[query.name] += len(body)
        return Response(body, headers=fields)

    def _fields(self, call: _Call, read: _Read, etag: str) -> dict[str, str]:
        """What a 200 and a 304 say alike."""
        result, query = read.result, call.query
        left = None if result.valid_until is None else (result.valid_until - SYSTEM.now()).total_seconds()
        fields = {
            "ETag": etag,
            "Cache-Control": caching.cache_control(
                query.http,
                private=identity_of(call.request.scope) is not None,
                permanent=read.permanent,
                status=result.status,
                left=left,
                by_hand=call.asked.as_of is not None,
            ),
            "Vary": _VARY_SUFFIX if call.by_suffix else _VARY,
            "Cache-Status": caching.cache_status(query.name, result.status, left, result.age),
            "Livelake-As-Of": caching.as_of_header(result.as_of, read.heard),
            "Livelake-Computed-At": result.computed_at.isoformat(),
            "Livelake-Total": str(len(result)),
            "X-Content-Type-Options": "nosniff",
        }
        if read.seal is not None:
            as_of = permanent.spell(result.as_of, read.seal)
            where = location(f"{call.root}/queries/{query.name}.{call.form}", call.asked, as_of)
            if len(where) <= _LONGEST_LOCATION:
                fields["Content-Location"] = where
        path = f"{call.root}/queries/{call.request.path_params['name']}"  # as the client asked
        if call.asked.page is not None and (link := links(path, call.asked, len(result))):
            fields["Link"] = link
        return fields

    # ---------------------------------------------------------------- bodies

    async def _write(self, call: _Call, data: ArrowData, coding: Coding, etag: str) -> bytes:
        most, page, form = self.settings.max_bytes, call.asked.page, call.form

        def write() -> bytes:
            rows = data if page is None else sliced(data, page.offset, page.limit)
            return compressed(written(rows, form, most=most), coding)

        try:
            return await self.bodies.get(etag, write)
        except TooLarge:
            detail = f"this answer is larger than the {most:,} bytes that one response may hold"
            raise Unacceptable(413, f"{detail}; {_remedy(call.asked)}", total=len(data)) from None
        except (QueryError, UsageError) as error:
            why = f"this answer cannot be written as {form}: {error}"
            raise Unacceptable(406, f"{why}; {_offers(call.query)}") from error

    def _check_rows(self, asked: Asked, data: ArrowData) -> None:
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


def _of_body(call: _Call, coding: Coding, body: bytes) -> dict[str, str]:
    """What is said of the body itself."""
    fields = {"Content-Type": _CONTENT_TYPES[call.form], "Content-Length": str(len(body))}
    if coding != "identity":
        fields["Content-Encoding"] = coding
    if call.by_suffix and call.form != "json":
        fields["Content-Disposition"] = f'attachment; filename="{call.query.name}.{call.form}"'
    return fields


def _timing(result: Result, began: float, since: float | None) -> str:
    """``Server-Timing``: the read, and then the writing."""
    now = SYSTEM.monotonic()
    query = f"query;desc={result.status};dur={((since or now) - began) * 1e3:.2f}"
    return query if since is None else f"{query}, write;dur={(now - since) * 1e3:.2f}"


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
