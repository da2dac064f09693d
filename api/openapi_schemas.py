"""The JSON schemas of everything that routes mention."""

from collections.abc import Sequence
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from api.bulk import BulkLine
from api.openapi_parts import Json, path_parameter, query_parameter
from api.report_routes import ReportParams, ReportRoute, SearchRoute
from api.routing import PARAM, CommandRoute, ContextRoutes

REF: Final = "#/components/schemas/{model}"


class Schemas:
    """JSON schemas of everything the routes mention, made in one go so that names are unique."""

    def __init__(self, contexts: Sequence[ContextRoutes]) -> None:
        wanted: dict[type, JsonSchemaMode] = {BulkLine: "validation"}
        for context in contexts:
            wanted |= {route.command: "validation" for route in context.commands}
            wanted |= {route.tells: "serialization" for route in context.commands if route.tells is not None}
            wanted |= {route.answer: "serialization" for route in context.views}
            wanted |= {route.item: "serialization" for route in context.lists}
            wanted |= {route.answer: "serialization" for route in context.reports}
            wanted |= {route.item: "serialization" for route in context.searches}
            wanted |= {route.params: "validation" for route in context.reports}
            wanted |= {route.params: "validation" for route in context.searches}
        adapters: list[tuple[type, JsonSchemaMode, TypeAdapter[Any]]] = [
            (each, mode, TypeAdapter(each)) for each, mode in wanted.items()
        ]
        made, found = TypeAdapter.json_schemas(adapters, ref_template=REF, schema_generator=_Schema)
        self.definitions: Json = found.get("$defs", {})
        self._made = {each: schema for (each, _), schema in made.items()}
        self._params = {
            each: self.definitions.pop(self._made[each]["$ref"].rpartition("/")[2])["properties"]
            for each in wanted
            if issubclass(each, ReportParams)
        }

    def of(self, each: type) -> Json:
        """A reference to the schema."""
        return self._made[each]

    def answer(self, route: CommandRoute) -> Json:
        """What a command answers."""
        common = {"$ref": REF.format(model="CommandAnswer")}
        return common if route.tells is None else {"allOf": [common, self.of(route.tells)]}

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

    def params(self, route: ReportRoute | SearchRoute) -> list[Json]:
        """The parameters of a report, those in the path first."""
        in_path = PARAM.findall(route.path)
        properties: Json = self._params[route.params]
        return [
            *(path_parameter(name, properties[name]) for name in in_path),
            *(
                query_parameter(name, _without_null(schema))
                for name, schema in properties.items()
                if name not in in_path
            ),
        ]

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


def _without_null(schema: Json) -> Json:
    """The schema of a parameter that may be left out: null is how we say so, not how clients do."""
    branches = schema.get("anyOf", [])
    kept = [each for each in branches if each != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    return {**kept[0], **rest} if len(kept) == 1 else schema
