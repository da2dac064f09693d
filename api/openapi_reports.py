"""How reports and lists out of the read side are described."""

from dataclasses import fields
from typing import Final

from api.openapi_parts import INSTANT, REPORT_PROBLEMS, Json, headers, problems, refs, summary
from api.openapi_schemas import Schemas
from api.report_routes import ReportParams, ReportRoute, SearchRoute
from api.reports import CSV_TYPE, JSON_TYPE
from api.routing import PARAM, ContextRoutes

_DAY: Final[Json] = {"type": "string", "format": "date"}
_TOLD: Final[Json] = {
    "as_of": _DAY,
    "from": {"anyOf": [_DAY, {"type": "null"}]},
    "to": {"anyOf": [_DAY, {"type": "null"}]},
    "known_at": {"anyOf": [INSTANT, {"type": "null"}]},
}
_POSITION: Final[Json] = {"type": "integer", "minimum": 0}
_DISCARDED: Final[Json] = {
    "type": "array",
    "items": {"type": "integer", "minimum": 1},
    "description": "Positions of events that were taken out of what this is made of, if any.",
}


def page(item: Json) -> Json:
    """Part of a list of such items."""
    return {
        "type": "object",
        "required": ["items", "next_cursor"],
        "properties": {
            "items": {"type": "array", "items": item},
            "next_cursor": {
                "anyOf": [{"type": "string"}, {"type": "null"}],
                "description": "Null on the last page.",
            },
        },
    }


def report_operation(route: ReportRoute, context: ContextRoutes, schemas: Schemas) -> Json:
    """A report."""
    content = {
        JSON_TYPE: {"schema": {"allOf": [_standing(route.params), schemas.of(route.answer)]}},
        CSV_TYPE: _table(route.row),
    }
    answered = headers("ProjectionPosition", "DiscardedEvents", "PreferenceApplied")
    return _asked(route, context, schemas, content, answered)


def search_operation(route: SearchRoute, context: ContextRoutes, schemas: Schemas) -> Json:
    """A list."""
    content = {JSON_TYPE: {"schema": page(schemas.of(route.item))}, CSV_TYPE: _table(route.item)}
    answered = headers("ProjectionPosition", "DiscardedEvents", "PreferenceApplied", "Link")
    return _asked(route, context, schemas, content, answered, "Limit", "Cursor")


def _table(row: type) -> Json:
    """Rows of this dataclass as CSV."""
    columns = ", ".join(each.name for each in fields(row))
    return {"schema": {"type": "string", "description": f"RFC 4180, with the columns {columns}."}}


def _asked(
    route: ReportRoute | SearchRoute,
    context: ContextRoutes,
    schemas: Schemas,
    content: Json,
    answered: Json,
    *more: str,
) -> Json:
    common = (*more, "ReportPosition", "Prefer", "CorrelationId", "TraceParent")
    statuses = (each for each in REPORT_PROBLEMS if each != 404 or PARAM.search(route.path))  # noqa: PLR2004
    return {
        "operationId": route.query.name,
        "summary": summary(route.query.ask),
        "tags": [context.name],
        "parameters": [*schemas.params(route), *refs("parameters", *common)],
        "responses": {
            "200": {
                "description": "As it stands at X-Projection-Position.",
                "headers": answered,
                "content": content,
            },
            **problems(statuses),
        },
    }


def _standing(params: type[ReportParams]) -> Json:
    """What a report tells of the question, and of where the answer stands."""
    told = {name: _TOLD[name] for name in params.told_names}
    return {
        "type": "object",
        "required": [*told, "position"],
        "properties": {**told, "position": _POSITION, "discarded_events": _DISCARDED},
    }
