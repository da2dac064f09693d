"""The OpenAPI 3.1 description, made from the very models that requests are validated with."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

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
from api.routing import PARAM, CommandRoute, ContextRoutes, ListRoute, ViewRoute

_REF: Final = "#/components/schemas/{model}"
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
    schemas = _Schemas(contexts)
    for context in contexts:
        for command in context.commands:
            paths.setdefault(command.path, {})[command.method.lower()] = _command(command, context, schemas)
        for view in context.views:
            paths.setdefault(view.path, {})["get"] = _view(view, context, schemas)
        for each in context.lists:
            paths.setdefault(each.path, {})["get"] = _list(each, context, schemas)
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


class _Schemas:
    """JSON schemas of everything the routes mention, made in one go so that names are unique."""

    def __init__(self, contexts: Sequence[ContextRoutes]) -> None:
        wanted: dict[type, JsonSchemaMode] = {BulkLine: "validation"}
        for context in contexts:
            wanted |= {route.command: "validation" for route in context.commands}
            wanted |= {route.answer: "serialization" for route in context.views}
            wanted |= {route.item: "serialization" for route in context.lists}
        adapters: list[tuple[type, JsonSchemaMode, TypeAdapter[Any]]] = [
            (each, mode, TypeAdapter(each)) for each, mode in wanted.items()
        ]
        made, found = TypeAdapter.json_schemas(adapters, ref_template=_REF, schema_generator=_Schema)
        self.definitions: Json = found.get("$defs", {})
        self._made = {each: schema for (each, _), schema in made.items()}

    def of(self, each: type) -> Json:
        """A reference to the schema."""
        return self._made[each]

    def resolved(self, each: type) -> Json:
        """The schema itself."""
        schema = self._made[each]
        name = schema.get("$ref", "").rpartition("/")[2]
        return self.definitions[name] if name else schema

    def param(self, context: ContextRoutes, name: str) -> Json:
        """What a path parameter is like: the same in queries as in commands."""
        for route in context.commands:
            if name in route.params:
                schema: Json = self.body(route)[1][name]
                return schema
        return {"type": "string"}

    def body(self, route: CommandRoute) -> tuple[Json, Json]:
        """What the body holds, and what the path parameters are like."""
        schema = self.resolved(route.command)
        if not route.params:
            return self.of(route.command), {}
        properties = dict(schema["properties"])
        params = {name: properties.pop(name) for name in route.params}
        required = [name for name in schema.get("required", []) if name not in params]
        rest = {**schema, "title": f"{schema['title']}Body", "properties": properties}
        rest.pop("required", None)
        return {**rest, **({"required": required} if required else {})}, params


class _Schema(GenerateJsonSchema):
    """Titles made of field names say nothing that the names do not."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def _command(route: CommandRoute, context: ContextRoutes, schemas: _Schemas) -> Json:
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
                "content": {"application/json": {"schema": {"$ref": _REF.format(model="CommandAnswer")}}},
            },
            **problems(each for each in COMMAND_PROBLEMS if each != 404 or route.params),  # noqa: PLR2004
        },
    }
    if body.get("properties") != {}:
        required = route.body_required
        operation["requestBody"] = {"required": required, "content": {"application/json": {"schema": body}}}
    return operation


def _view(route: ViewRoute, context: ContextRoutes, schemas: _Schemas) -> Json:
    operation = _query(route.view, context, schemas.of(route.answer), headers("ETag"))
    params = [path_parameter(name, schemas.param(context, name)) for name in PARAM.findall(route.path)]
    return {
        **operation,
        "parameters": [*params, *refs("parameters", "MinPosition", "CorrelationId", "TraceParent")],
    }


def _list(route: ListRoute, context: ContextRoutes, schemas: _Schemas) -> Json:
    page = {
        "type": "object",
        "required": ["items", "next_cursor"],
        "properties": {
            "items": {"type": "array", "items": schemas.of(route.item)},
            "next_cursor": {
                "anyOf": [{"type": "string"}, {"type": "null"}],
                "description": "Null on the last page.",
            },
        },
    }
    operation = _query(route.page, context, page, headers())
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


def _bulk(contexts: Sequence[ContextRoutes], schemas: _Schemas) -> Json:
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
