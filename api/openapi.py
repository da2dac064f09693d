"""The OpenAPI 3.1 description, made from the very models that requests are validated with."""

from collections.abc import Callable, Sequence
from typing import Final

from api.bulk import PATH as BULK_PATH
from api.bulk import BulkLine
from api.events import EVENT_STREAM
from api.events import PATH as EVENTS_PATH
from api.openapi_parts import (
    BULK_PROBLEMS,
    COMMAND_PROBLEMS,
    COMMON_SCHEMAS,
    EVENT_STREAM_PARAMETERS,
    EVENT_STREAM_PROBLEMS,
    HEADERS,
    HOOK_PROBLEMS,
    PARAMETERS,
    QUERY_PROBLEMS,
    RESPONSES,
    SERVICE_PATHS,
    Json,
    headers,
    path_parameter,
    problems,
    refs,
    summary,
)
from api.openapi_reports import page, report_operation, search_operation
from api.openapi_schemas import Schemas
from api.routing import PARAM, CommandRoute, ContextRoutes, HookRoute, ListRoute, ViewRoute

_BULK: Final = """\
One command a line (`BulkLine`), one answer a line (`BulkAnswer`), in the same order. Each line stands
alone: a bad one never takes others with it. Lines are started in order and run at the same time, so a line
that builds on another one belongs into a later request. A key used here and on the command's own route is
the same key. The body is at most 10 MB and is read whole before answers start."""

_EVENTS: Final[Json] = {
    "operationId": "audit.follow_events",
    "summary": "The tenant's events in commit order: those that there are, then those that come.",
    "description": """\
Server-sent events: each has the position in the log as its `id`, and as its data a CloudEvent 1.0 in JSON. To
be asked for with `Accept: text/event-stream`. The stream ends when the token expires or the server is told to
end; a client goes on with `Last-Event-ID`, as browsers do by themselves.""",
    "tags": ["audit"],
    "parameters": [*EVENT_STREAM_PARAMETERS, *refs("parameters", "CorrelationId", "TraceParent")],
    "responses": {
        "200": {
            "description": "One CloudEvent each; comments keep the connection alive.",
            "headers": headers(),
            "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
        },
        **problems(EVENT_STREAM_PROBLEMS),
    },
}


def openapi(contexts: Sequence[ContextRoutes], *, version: str) -> Json:
    """The description of these contexts and the service endpoints."""
    paths: dict[str, Json] = {}
    schemas = Schemas(contexts)
    for context in contexts:
        for command in context.commands:
            paths.setdefault(command.path, {})[command.method.lower()] = _command(command, context, schemas)
        for view in context.views:
            paths.setdefault(view.path, {})["get"] = _view(view, context, schemas)
        for each in context.lists:
            paths.setdefault(each.path, {})["get"] = _list(each, context, schemas)
        for report in context.reports:
            paths.setdefault(report.path, {})["get"] = report_operation(report, context, schemas)
        for search in context.searches:
            paths.setdefault(search.path, {})["get"] = search_operation(search, context, schemas)
        for hook in context.hooks:
            paths.setdefault(hook.path, {})["post"] = _hook(hook, context)
    paths[EVENTS_PATH] = {"get": _EVENTS}
    paths[BULK_PATH] = {"post": _bulk(contexts, schemas)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "KILLER ERP",
            "version": version,
            "description": "Books, stock and orders, event-sourced. Money is a decimal string.",
            "license": {"name": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [{"name": context.name} for context in contexts]
        + [{"name": "audit"}, {"name": "bulk"}, {"name": "service"}],
        "paths": {**paths, **SERVICE_PATHS},
        "components": {
            "schemas": {**schemas.definitions, **COMMON_SCHEMAS},
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "responses": RESPONSES,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _command(route: CommandRoute, context: ContextRoutes, schemas: Schemas) -> Json:
    body, params = schemas.body(route)
    status = "201" if route.command.creates else "200"
    operation: Json = {
        "operationId": route.command.TOPIC,
        "summary": summary(route.command),
        "tags": [context.name],
        "parameters": [
            *(path_parameter(name, schema) for name, schema in params.items()),
            *refs("parameters", "IdempotencyKey", "IfMatch", "CorrelationId", "TraceParent"),
        ],
        "responses": {
            status: {
                "description": "Done, now or under the same Idempotency-Key before.",
                "headers": headers("ETag", "IdempotencyReplayed", *(["Location"] if route.location else [])),
                "content": {"application/json": {"schema": schemas.answer(route)}},
            },
            # 404 too where the path has no parameters: a body may name what is not there.
            **problems(COMMAND_PROBLEMS),
        },
    }
    if body.get("properties") != {}:
        required = route.body_required
        operation["requestBody"] = {"required": required, "content": {"application/json": {"schema": body}}}
    return operation


def _view(route: ViewRoute, context: ContextRoutes, schemas: Schemas) -> Json:
    operation = _query(route.view, context, schemas.of(route.answer), headers("ETag"))
    params = [path_parameter(name, schemas.param(context, name)) for name in PARAM.findall(route.path)]
    return {
        **operation,
        "parameters": [*params, *refs("parameters", "MinPosition", "CorrelationId", "TraceParent")],
    }


def _list(route: ListRoute, context: ContextRoutes, schemas: Schemas) -> Json:
    operation = _query(route.page, context, page(schemas.of(route.item)), headers())
    names = ("Limit", "Cursor", "MinPosition", "CorrelationId", "TraceParent")
    return {
        **operation,
        "operationId": f"{context.name}.list_{route.page.__name__}",
        "parameters": refs("parameters", *names),
    }


def _query(query: Callable[..., object], context: ContextRoutes, schema: Json, answered: Json) -> Json:
    return {
        "operationId": f"{context.name}.{query.__name__}",
        "summary": summary(query),
        "tags": [context.name],
        "responses": {
            "200": {
                "description": "As it is now.",
                "headers": answered,
                "content": {"application/json": {"schema": schema}},
            },
            **problems(QUERY_PROBLEMS),
        },
    }


def _hook(route: HookRoute, context: ContextRoutes) -> Json:
    return {
        "operationId": f"{context.name}.{route.name}",
        "summary": summary(route.handler),
        "tags": [context.name],
        # Whoever sends it signs it instead.
        "security": [],
        "parameters": refs("parameters", "CorrelationId"),
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
        "responses": {
            "200": {
                "description": "It was taken, or is of no interest.",
                "headers": headers(),
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            **problems(HOOK_PROBLEMS),
        },
    }


def _bulk(contexts: Sequence[ContextRoutes], schemas: Schemas) -> Json:
    names = [route.command.TOPIC for context in contexts for route in context.commands]
    line = schemas.resolved(BulkLine)
    line["properties"]["command"]["enum"] = names
    return {
        "operationId": "commands.bulk",
        "summary": "Carry out commands in bulk.",
        "description": _BULK,
        "tags": ["bulk"],
        "parameters": refs("parameters", "CorrelationId", "TraceParent"),
        "requestBody": {
            "required": True,
            # A line is a `BulkLine`; OpenAPI 3.1 has no word for a sequence of JSON texts.
            "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
        },
        "responses": {
            "200": {
                "description": "One answer a line; see `BulkAnswer`.",
                "headers": headers(),
                "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
            },
            **problems(BULK_PROBLEMS),
        },
    }
