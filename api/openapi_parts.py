"""What every route has in common, in the words of OpenAPI 3.1."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from api.call import IDEMPOTENCY_KEY, IF_MATCH
from api.params import LIMIT_DEFAULT, LIMIT_MAX, POSITION_MAX, WAIT_S_MAX

Json = dict[str, Any]

PROBLEMS: Final[Mapping[int, str]] = {
    400: "The request is malformed, or not what the schema allows: `errors` name the fields.",
    401: "No bearer token, or one that does not hold.",
    403: "The permission is missing, or the token's tenant is unknown.",
    404: "What the path names does not exist.",
    406: "The answer has no form that `Accept` allows.",
    409: "It exists already, or others kept changing it.",
    412: "It is not at the version in If-Match.",
    413: "The body is larger than 10 MB.",
    415: "The body is of another media type.",
    422: "A rule forbids it, and `code` says which; or the Idempotency-Key belongs to another request.",
    429: "Too many requests are in flight.",
    503: "Something the system stands on cannot be reached right now. Nothing that was acknowledged is lost.",
}
COMMAND_PROBLEMS: Final = tuple(status for status in PROBLEMS if status != 406)  # noqa: PLR2004
QUERY_PROBLEMS: Final = (400, 401, 403, 404, 429, 503)
REPORT_PROBLEMS: Final = (400, 401, 403, 404, 406, 422, 429, 503)
EVENT_STREAM_PROBLEMS: Final = (400, 401, 403, 406, 429, 503)
HOOK_PROBLEMS: Final = (400, 404, 409, 413, 415, 422, 429, 503)
BULK_PROBLEMS: Final = (400, 401, 403, 413, 415, 429, 503)

_RETRY_AFTER: Final = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
_CHALLENGE: Final = {"WWW-Authenticate": {"$ref": "#/components/headers/WWWAuthenticate"}}
_PROBLEM_HEADERS: Final = {401: _CHALLENGE, 429: _RETRY_AFTER, 503: _RETRY_AFTER}


def refs(kind: str, *names: str) -> list[Json]:
    """References to components of a kind."""
    return [{"$ref": f"#/components/{kind}/{name}"} for name in names]


def headers(*names: str) -> Json:
    """Headers of a good answer; every answer has the correlation id."""
    spelt = {
        "IdempotencyReplayed": "Idempotency-Replayed",
        "CorrelationId": "X-Correlation-ID",
        "ProjectionPosition": "X-Projection-Position",
        "DiscardedEvents": "X-Discarded-Events",
        "PreferenceApplied": "Preference-Applied",
    }
    return {
        spelt.get(name, name): {"$ref": f"#/components/headers/{name}"} for name in (*names, "CorrelationId")
    }


def problems(statuses: Iterable[int]) -> Json:
    """References to the problem answers."""
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def path_parameter(name: str, schema: Json) -> Json:
    """A parameter in the path."""
    return {"name": name, "in": "path", "required": True, "schema": schema}


def query_parameter(name: str, schema: Json) -> Json:
    """An optional parameter in the query string."""
    described = {key: value for key, value in schema.items() if key != "description"}
    return _query_parameter(name, schema.get("description", ""), described)


def summary(described: object) -> str:
    """The first line of its docstring."""
    return (described.__doc__ or "").strip().partition("\n")[0]


def _header_parameter(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _query_parameter(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


PARAMETERS: Final[Json] = {
    "IdempotencyKey": _header_parameter(
        "Idempotency-Key",
        "A repeat of the same request under the same key gets the first answer again. Refusals are not kept.",
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": IDEMPOTENCY_KEY},
    ),
    "IfMatch": _header_parameter(
        "If-Match",
        "The version, in quotes, that what is to be changed must have. `*`: any.",
        {"type": "string", "pattern": IF_MATCH},
    ),
    "CorrelationId": _header_parameter(
        "X-Correlation-ID",
        "Echoed, and kept with the events. One not of 1 to 128 of `A-Za-z0-9._~:/+=@-` is replaced.",
        {"type": "string"},
    ),
    "TraceParent": _header_parameter(
        "traceparent",
        "W3C Trace Context, kept with the events. Ignored when not well-formed.",
        {"type": "string"},
    ),
    "MinPosition": _query_parameter(
        "min_position",
        "See at least what was recorded up to this position. This query always does.",
        {"type": "integer", "minimum": 0, "maximum": POSITION_MAX},
    ),
    "ReportPosition": _query_parameter(
        "min_position",
        "See at least what was recorded up to this position; 503 where the read side is not there yet.",
        {"type": "integer", "minimum": 0, "maximum": POSITION_MAX},
    ),
    "Prefer": _header_parameter(
        "Prefer",
        f"RFC 7240: `wait=5` waits so many seconds for the read side, {WAIT_S_MAX} at most.",
        {"type": "string"},
    ),
    "Limit": _query_parameter(
        "limit",
        "How many at most.",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
    ),
    "Cursor": _query_parameter(
        "cursor", "`next_cursor` of the page before. Opaque; made up ones are refused.", {"type": "string"}
    ),
}

EVENT_STREAM_PARAMETERS: Final = (
    _query_parameter(
        "after",
        "Only what was recorded after this position.",
        {"type": "integer", "minimum": 0, "maximum": POSITION_MAX, "default": 0},
    ),
    _query_parameter(
        "types",
        "Only events of these types, such as `finance.journal_entry.posted`, with commas between them.",
        {"type": "string"},
    ),
    _header_parameter(
        "Last-Event-ID",
        "The `id` of the last event that the client has; wins over `after`.",
        {"type": "string", "pattern": "^[0-9]{1,19}$"},
    ),
)

HEADERS: Final[Json] = {
    "ProjectionPosition": {
        "description": "The answer has everything that was recorded up to this position, and nothing else.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "DiscardedEvents": {
        "description": "How many events of the tenant were taken out of what the answer is made of, if any.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "PreferenceApplied": {
        "description": "RFC 7240: how long it would have waited.",
        "schema": {"type": "string", "pattern": "^wait=[0-9]+$"},
    },
    "Link": {
        "description": "RFC 8288: where a list as CSV goes on, if it does.",
        "schema": {"type": "string"},
    },
    "CorrelationId": {
        "description": "That of the request, or one made for it.",
        "schema": {"type": "string"},
    },
    "ETag": {"description": "The version, in quotes.", "schema": {"type": "string", "pattern": '^"[0-9]+"$'}},
    "Location": {"description": "Where it can be read.", "schema": {"type": "string"}},
    "IdempotencyReplayed": {
        "description": "Present when this is the first answer again.",
        "schema": {"type": "string", "const": "true"},
    },
    "RetryAfter": {"description": "Seconds to wait.", "schema": {"type": "string", "pattern": "^[0-9]+$"}},
    "WWWAuthenticate": {"description": "RFC 6750.", "schema": {"type": "string"}},
}

INSTANT: Final[Json] = {"type": "string", "format": "date-time", "description": "UTC, with microseconds."}
_ID: Final[Json] = {"type": "string", "format": "uuid"}
_TRANSFER_ID: Final[Json] = {**_ID, "description": "Of a transfer, which changes two stocks: its own id."}
_COUNT: Final[Json] = {"type": "integer", "minimum": 1}
_ERRORS: Final[Json] = {
    "type": "array",
    "description": "The bad fields.",
    "items": {
        "type": "object",
        "required": ["pointer", "detail"],
        "properties": {
            "pointer": {"type": "string", "description": "JSON pointer (RFC 6901)."},
            "detail": {"type": "string"},
        },
    },
}
_STATUS: Final[Json] = {"type": "integer", "minimum": 200, "maximum": 599}

COMMON_SCHEMAS: Final[Json] = {
    "CommandAnswer": {
        "type": "object",
        "description": "Version and position are those of the last event that the command recorded.",
        "required": ["id", "version", "position", "recorded_at"],
        "properties": {
            "id": _ID,
            "version": _COUNT,
            "position": _COUNT,
            "recorded_at": INSTANT,
            "transfer_id": _TRANSFER_ID,
        },
    },
    "BulkAnswer": {
        "type": "object",
        "description": (
            "What became of one line: id, version and position, and what else the command's own route "
            "answers (but `status` is that of HTTP); or code and detail."
        ),
        "required": ["line", "status"],
        "properties": {
            "line": _COUNT,
            "status": _STATUS,
            "id": _ID,
            "version": _COUNT,
            "position": _COUNT,
            "transfer_id": _TRANSFER_ID,
            "replayed": {"type": "boolean", "const": True},
            "code": {"type": "string"},
            "detail": {"type": "string"},
            "errors": _ERRORS,
        },
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457. A broken rule may add members that say more.",
        "required": ["type", "title", "status", "detail", "instance", "code"],
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": {"type": "string"},
            "status": _STATUS,
            "detail": {"type": "string"},
            "instance": {"type": "string"},
            "code": {"type": "string", "description": "Stable; programs go by this."},
            "errors": _ERRORS,
        },
    },
    "Readiness": {
        "type": "object",
        "required": ["status", "dependencies"],
        "properties": {
            "status": {"type": "string", "enum": ["ready", "degraded", "not_ready"]},
            "dependencies": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "required": ["ok", "required", "latency_ms"],
                    "properties": {
                        "ok": {"type": "boolean"},
                        "required": {"type": "boolean", "description": "Nothing can be done without it."},
                        "latency_ms": {"type": "number", "minimum": 0},
                    },
                },
            },
        },
    },
}


def _response(status: int) -> Json:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "description": PROBLEMS[status],
        "headers": {**headers(), **_PROBLEM_HEADERS.get(status, {})},
        "content": content,
    }


RESPONSES: Final[Json] = {str(status): _response(status) for status in PROBLEMS}


def _service(name: str, does: str, answers: Mapping[str, Json]) -> Json:
    responses = {status: {**answer, "headers": headers()} for status, answer in answers.items()}
    operation = {
        "operationId": name,
        "summary": does,
        "tags": ["service"],
        "security": [],
        "responses": responses,
    }
    return {"get": operation}


def _json(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_LIVE: Final[Json] = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"type": "string", "const": "live"}},
}
_READY: Final[Json] = {"$ref": "#/components/schemas/Readiness"}

SERVICE_PATHS: Final[Json] = {
    "/health/live": _service("health.live", "Whether the process runs.", {"200": _json("It does.", _LIVE)}),
    "/health/ready": _service(
        "health.ready",
        "Whether all that it stands on can be reached.",
        {"200": _json("Ready, or degraded: commands are taken.", _READY), "503": _json("Not ready.", _READY)},
    ),
    "/metrics": _service(
        "metrics",
        "What the process counts, for Prometheus.",
        {"200": {"description": "Counters.", "content": {"text/plain": {"schema": {"type": "string"}}}}},
    ),
}
