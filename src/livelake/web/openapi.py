"""The OpenAPI 3.1 document of a folder's queries, and of what stands beside them. Pure.

What JSON Schema can say of a parameter is said (types, bounds, choices, defaults); bounds of dates, and defaults
without an offset, are words. Rows are objects: which columns they have is the SQL's matter, and known only when it
runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any, Final

from livelake.events.event import MAX_SEQUENCE
from livelake.web.events import MOST_BYTES, MOST_EVENTS
from livelake.web.folder import Query
from livelake.web.negotiate import MEDIA_TYPES
from livelake.web.paging import AS_OF, LIMIT, OFFSET
from livelake.web.parameters import LONGEST_TEXT, Parameter, Value, shown

__all__ = ["document"]

Json = dict[str, Any]

_TEXT_FORMATS: Final = {"date": "date", "timestamp": "date-time"}
_NUMBERS: Final = {"integer": "integer", "number": "number"}
_MOST_OFFSET: Final = 2**63 - 1

_PROBLEM: Final[Json] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "description": "Under which number the server's log says more."},
    },
}
_EVENT: Final[Json] = {
    "type": "object",
    "required": ["aggregate_type", "aggregate_id", "event_type"],
    "properties": {
        "aggregate_type": {"type": "string", "minLength": 1},
        "aggregate_id": {"type": "string", "minLength": 1},
        "event_type": {"type": "string", "minLength": 1},
        "sequence": {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_SEQUENCE},
        "payload": {},
        "time": {"type": ["string", "null"], "format": "date-time"},
        "origin": {"type": ["string", "null"], "minLength": 1},
    },
}
_EVENTS: Final[Json] = {
    "type": "array",
    "items": {"$ref": "#/components/schemas/Event"},
    "minItems": 1,
    "maxItems": MOST_EVENTS,
}
_PUBLISHED: Final[Json] = {
    "type": "object",
    "required": ["token", "published"],
    "properties": {"token": {"type": "string"}, "published": {"type": "integer", "minimum": 1}},
}
_HEALTH: Final[Json] = {
    "type": "object",
    "required": ["status", "version"],
    "properties": {"status": {"enum": ["ok", "degraded", "blind"]}, "version": {"type": "string"}},
}
_HEADERS: Final[Json] = {
    name: {"description": description, "schema": {"type": kind}}
    for name, description, kind in (
        ("ETag", "A strong validator: send it back as If-None-Match.", "string"),
        ("Cache-Control", "What caches may do without asking.", "string"),
        ("Cache-Status", "How our own cache took part (RFC 9211).", "string"),
        ("Livelake-As-Of", "What the answer includes: send it back as Livelake-Not-Before.", "string"),
        ("Livelake-Computed-At", "When the computation began to read.", "string"),
        ("Livelake-Total", "Rows of the whole answer.", "integer"),
    )
}
_ERRORS: Final = {
    "400": "A parameter is missing, unknown, or not what it must be",
    "401": "A token is needed, or it is not known",
    "403": "The token may not do this, or a page of another site asked",
    "404": "There is nothing of that name",
    "406": "No form of it is one that Accept takes",
    "408": "The body did not come in time",
    "409": "The state that was asked for is not there yet",
    "410": "The state that was asked for is not kept any more",
    "413": "Too large: ask for pages",
    "415": "Another content type",
    "421": "The server does not go by this host name",
    "500": "The query failed",
    "502": "The data cannot be read now",
    "503": "Busy: try again",
}


def document(queries: Iterable[Query], *, version: str, root: str, max_rows: int, title: str = "livelake") -> Json:
    """The document, as JSON's values. ``root``: under which path the application is mounted."""
    paths: Json = {f"/queries/{query.name}": {"get": _query(query, max_rows)} for query in queries}
    paths |= {f"/why/{query.name}": {"get": _why(query)} for query in queries}
    paths |= _BESIDE
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": _ABOUT},
        "servers": [{"url": root or "/"}],
        "paths": paths,
        "components": {
            "schemas": {"Problem": _PROBLEM, "Event": _EVENT, "Published": _PUBLISHED, "Health": _HEALTH},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


_ABOUT: Final = (
    "Answers of queries, cached until what they read has changed. Instead of `Accept`, a suffix may say the form: "
    "`.json`, `.csv`, `.arrow`, `.parquet`."
)


def _query(query: Query, max_rows: int) -> Json:
    declared = set(query.open_params)
    parameters = [_parameter(each) for each in query.open_params.values()]
    if not {LIMIT, OFFSET} & declared:
        parameters += _pages(max_rows)
    if AS_OF not in declared:
        parameters.append(_STATE)
    rows = {"type": "array", "items": {"type": "object"}}
    content: Json = {media_type: {} for media_type in MEDIA_TYPES.values()}
    content[MEDIA_TYPES["json"]] = {"schema": rows}
    return {
        "operationId": f"query_{query.name}",
        "summary": query.title,
        **({"description": query.description} if query.description else {}),
        "tags": ["queries"],
        "parameters": [*parameters, *_DEMANDS],
        "responses": {
            "200": {"description": "The rows", "headers": _HEADERS, "content": content},
            "304": {"description": "As in If-None-Match", "headers": _HEADERS},
            **_errors("400", "404", "406", "409", "410", "413", "421", "500", "502", "503"),
        },
    }


def _why(query: Query) -> Json:
    return {
        "operationId": f"why_{query.name}",
        "summary": f"{query.title}: what it depends on, and why its answer was kept or dropped",
        "tags": ["insight"],
        "parameters": [_parameter(each) for each in query.open_params.values()],
        "responses": {
            "200": {
                "description": "The explanation",
                "content": {"text/plain": {}, "application/json": {"schema": {"type": "object"}}},
            },
            **_errors("400", "404", "406", "421", "500", "502", "503"),
        },
    }


def _parameter(parameter: Parameter) -> Json:
    described = parameter.title
    if parameter.type in _TEXT_FORMATS:
        bounds = (("not before", parameter.min), ("not after", parameter.max))
        described += "".join(f"; {word} {shown(bound)}" for word, bound in bounds if bound is not None)
    if parameter.default is not None and _is_wall_clock(parameter.default):
        described += f"; {shown(parameter.default)} by the session's clock if it is not given"
    if parameter.step is not None:
        described += f"; in steps of {shown(parameter.step)}"
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": described,
        "schema": _schema(parameter),
    }


def _schema(parameter: Parameter) -> Json:
    schema: Json
    match parameter.type:
        case "choice" if parameter.choices:
            schema = {"enum": [*parameter.choices]}
        case "integer" | "number":
            schema = {"type": _NUMBERS[parameter.type]}
            schema |= _bounds(parameter, "minimum", "maximum")
            if type(step := parameter.step) is int and _plain(parameter.low or 0) % step == 0:
                schema["multipleOf"] = step
        case "string" | "choice":
            schema = {"type": "string", "maxLength": LONGEST_TEXT} | _bounds(parameter, "minLength", "maxLength")
        case "boolean":
            schema = {"type": "boolean"}
        case "date" | "timestamp":
            schema = {"type": "string", "format": _TEXT_FORMATS[parameter.type]}
    if parameter.default is not None and not _is_wall_clock(parameter.default):
        schema["default"] = _plain(parameter.default)
    return schema


def _is_wall_clock(value: Value) -> bool:
    """Whether it is a moment without an offset, which is no ``date-time``."""
    return isinstance(value, datetime) and value.tzinfo is None


def _bounds(parameter: Parameter, low: str, high: str) -> Json:
    found = {low: parameter.min, high: parameter.max}
    return {word: _plain(bound) for word, bound in found.items() if bound is not None}


def _plain(value: Value) -> int | float | str | bool:
    return value.isoformat() if isinstance(value, date | datetime) else value


def _pages(max_rows: int) -> list[Json]:
    bounds = {"type": "integer", "minimum": 1, "maximum": max_rows}
    offsets = {"type": "integer", "minimum": 0, "maximum": _MOST_OFFSET}
    return [
        {"name": LIMIT, "in": "query", "description": "Rows of a page.", "schema": bounds},
        {"name": OFFSET, "in": "query", "description": "Rows before the page.", "schema": offsets},
    ]


def _errors(*statuses: str) -> Json:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _ERRORS[status], "content": content} for status in statuses}


_STATE: Final[Json] = {
    "name": AS_OF,
    "in": "query",
    "description": "The state to read: as in Content-Location of an answer, or catalog:snapshot,…",
    "schema": {"type": "string"},
}
_DEMANDS: Final[list[Json]] = [
    {
        "name": "Livelake-Not-Before",
        "in": "header",
        "description": "A token that an answer or a publication gave: never older than that.",
        "schema": {"type": "string"},
    },
    {
        "name": "If-None-Match",
        "in": "header",
        "description": "ETags that the client has.",
        "schema": {"type": "string"},
    },
]
_BESIDE: Final[Mapping[str, Json]] = {
    "/events": {
        "post": {
            "operationId": "publish",
            "summary": "Tell that something happened, after its data was committed",
            "tags": ["events"],
            "security": [{"token": []}],
            "requestBody": {
                "required": True,
                "description": f"One event, or a list of them; at most {MOST_BYTES:,} bytes.",
                "content": {
                    "application/json": {
                        "schema": {
                            "anyOf": [
                                {"$ref": "#/components/schemas/Event"},
                                _EVENTS,
                            ]
                        }
                    }
                },
            },
            "responses": {
                "202": {
                    "description": "Published",
                    "headers": {"Livelake-As-Of": _HEADERS["Livelake-As-Of"]},
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Published"}}},
                },
                **_errors("400", "401", "403", "408", "413", "415", "421", "503"),
            },
        }
    },
    "/healthz": {
        "get": {
            "operationId": "health",
            "summary": "Whether answers can be vouched for",
            "tags": ["insight"],
            "responses": {
                status: {
                    "description": description,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Health"}}},
                }
                for status, description in (("200", "They can"), ("503", "They cannot"))
            },
        }
    },
    "/metrics": {
        "get": {
            "operationId": "metrics",
            "summary": "Counters of this process, for Prometheus",
            "tags": ["insight"],
            "responses": {"200": {"description": "Text format 0.0.4", "content": {"text/plain": {}}}},
        }
    },
}
