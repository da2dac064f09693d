"""The reference says what the code says: no more, and no less."""

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

import click
import pytest
from pydantic import BaseModel

from api import events as stream
from api.errors import STATUS_BY_CODE, RequestError
from api.payments.current import PERSONAL_DATA
from api.sales.current import PERSONAL
from commands.bus import Command
from commands.errors import CommandError
from commands.fields import FixedPermission
from commands.permissions import ROLES
from domain.shared.aggregate import NumberedEvent
from domain.shared.errors import DomainError
from erp.cli import cli
from erp.contexts import CONTEXTS, SAGAS, aggregates, handlers, procedures
from erp.settings import AuthKey, Settings
from sagas.base import Saga
from sagas.events import OF_ALL as SAGA_EVENTS
from tests.docs.pages import REFERENCE, code, rows

# Told by `api.errors.Fault` and `erp.wire`, of errors that are not ours to raise.
FAULTS = {"unavailable": 503, "internal_error": 500, "head_too_large": 431}


def subclasses(base: type[Any]) -> Iterator[type[Any]]:
    for each in base.__subclasses__():
        if each.__module__.split(".")[0] in {
            "domain",
            "commands",
            "projections",
            "api",
        }:  # not those made up in tests
            yield each
            yield from subclasses(each)


def errors() -> dict[str, int]:
    """Every code with its status."""
    handled = {each.code: each.status for each in subclasses(RequestError)}
    refused = [
        each.code for base in (CommandError, DomainError) for each in subclasses(base) if "code" in vars(each)
    ]
    return FAULTS | handled | {each: STATUS_BY_CODE.get(each, 422) for each in refused}


def test_every_error_is_there_and_no_other() -> None:
    documented = {code(row[0]): int(row[1]) for row in rows(REFERENCE / "errors.md")}
    assert documented == errors()


def settings(model: type[BaseModel] = Settings, prefix: str = "ERP") -> dict[str, Any]:
    """Every variable with its default."""
    found: dict[str, Any] = {}
    for name, setting in model.model_fields.items():
        inner, separator = setting.annotation, "_" if model is Settings else "__"
        variable = f"{prefix}{separator}{name.upper()}"
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= settings(inner, variable)
        else:
            found[variable] = setting.default
    return found


def test_every_setting_is_there_with_its_default_and_no_other() -> None:
    documented = {
        name: row[1]
        for row in rows(REFERENCE / "settings.md")
        if (name := code(row[0])) and name.startswith("ERP_")
    }
    real = settings()
    assert documented.keys() == real.keys()
    for name, default in real.items():
        if isinstance(default, int | str) and not isinstance(default, bool):
            assert (code(documented[name]) or "") == str(default), name


def test_every_field_of_a_key_is_there() -> None:
    fields = {code(row[0]) for row in rows(REFERENCE / "settings.md") if len(row) == 2}
    assert fields == set(AuthKey.model_fields)


def events() -> dict[str, list[str]]:
    """Every event type with the fields of its data."""
    header = {"originator_id", "originator_version", "timestamp"}
    columns = {field.name for field in dataclasses.fields(NumberedEvent)}
    return {
        event.TOPIC: [
            field.name
            for field in dataclasses.fields(event)
            if field.name not in (columns if issubclass(event, NumberedEvent) else header)
        ]
        for aggregate in aggregates()
        if not issubclass(aggregate, Saga)
        for event in aggregate.event_types()
    }


def test_the_events_of_sagas_are_there_with_their_fields_and_no_other() -> None:
    header = {"originator_id", "originator_version", "timestamp"}
    text = (REFERENCE / "sagas.md").read_text("utf-8")
    sections = re.split(r"^### `…\.(.+)`$", text, flags=re.MULTILINE)[1:]
    documented = {
        name: re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE)
        for name, body in zip(sections[::2], sections[1::2], strict=True)
    }
    always = re.findall(r"^\| `(\w+)` \|", re.split(r"^###? ", text, flags=re.MULTILINE)[1], re.MULTILINE)
    real = {
        re.sub(r"(?<!^)([A-Z])", r"_\1", each.__name__).lower(): {
            field.name for field in dataclasses.fields(each) if field.name not in header
        }
        for each in SAGA_EVENTS
    }
    assert {name: {*fields, *always} & real[name] for name, fields in documented.items()} == real
    assert all(set(fields) <= real[name] for name, fields in documented.items())
    for saga in SAGAS:
        assert f"`{saga.TOPIC}`" in text


def test_every_event_is_there_with_its_fields_and_no_other() -> None:
    text = (REFERENCE / "events.md").read_text("utf-8")
    sections = re.split(r"^### `(.+)`$", text, flags=re.MULTILINE)[1:]
    documented = {
        topic: re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE)
        for topic, body in zip(sections[::2], sections[1::2], strict=True)
    }
    assert documented == events()


@pytest.mark.parametrize(
    "aggregate",
    [each for each in aggregates() if not issubclass(each, Saga)],
    ids=lambda each: each.TOPIC,
)
def test_every_stream_is_there_and_every_schema_version_is_one(aggregate: Any) -> None:
    assert f"## Stream `{aggregate.TOPIC}`" in (REFERENCE / "events.md").read_text("utf-8")
    assert {event.SCHEMA_VERSION for event in aggregate.event_types()} == {1}


def commands() -> list[type[Command]]:
    """Every command that the bus takes."""
    return [*handlers(), *procedures(Settings())]


def needed() -> set[str]:
    """Every permission that something asks for."""
    fixed = {command.needs for command in commands() if issubclass(command, FixedPermission)}
    posting = {"finance.journal_entries:post", "finance.journal_entries:write"}
    queries = {each.permission for context in CONTEXTS for each in context.routes.views}
    lists = {each.permission for context in CONTEXTS for each in context.routes.lists}
    reports = {each.permission for context in CONTEXTS for each in context.routes.reports}
    searches = {each.permission for context in CONTEXTS for each in context.routes.searches}
    personal = {PERSONAL_DATA, PERSONAL}
    return personal | fixed | posting | queries | lists | reports | searches | {stream.PERMISSION}


def test_every_permission_and_role_is_there_and_no_other() -> None:
    table = {name: row[1] for row in rows(REFERENCE / "permissions.md") if (name := code(row[0]))}
    assert {name for name in table if ":" in name} == needed()
    roles = {name: set(re.findall(r"`([^`]+)`", cell)) for name, cell in table.items() if ":" not in name}
    assert roles == {name: set(granted) for name, granted in ROLES.items()}


def test_every_route_is_there_and_no_other() -> None:
    routes = {
        f"{each.method} {each.path}": each.command.TOPIC
        for context in CONTEXTS
        for each in context.routes.commands
    }
    views = {f"GET {each.path}" for context in CONTEXTS for each in context.routes.views}
    lists = {f"GET {each.path}" for context in CONTEXTS for each in context.routes.lists}
    reports = {f"GET {each.path}" for context in CONTEXTS for each in context.routes.reports}
    searches = {f"GET {each.path}" for context in CONTEXTS for each in context.routes.searches}
    hooks = {f"POST {each.path}" for context in CONTEXTS for each in context.routes.hooks}
    queries = views | lists | reports | searches | hooks | {f"GET {stream.PATH}"}
    table = {
        name: row[1]
        for row in rows(REFERENCE / "http.md")
        if (name := code(row[0])) and re.match(r"[A-Z]+ /v1/", name)
    }
    assert {name: code(cell) for name, cell in table.items() if name not in queries} == routes
    assert queries <= table.keys()


def verbs(group: click.Group, prefix: str = "erp") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from verbs(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def test_every_verb_is_there_with_its_options_and_no_other() -> None:
    documented = {
        name: set(re.findall(r"--[\w-]+", row[2]))
        for row in rows(REFERENCE / "cli.md")
        if (name := code(row[0])) and name.startswith("erp ")
    }
    real = {}
    for name, command in verbs(cli):
        shown = [each for each in command.params if not getattr(each, "hidden", False)]
        arguments = "".join(
            f" {(each.metavar or each.name or '').upper()}"
            for each in shown
            if isinstance(each, click.Argument)
        )
        real[name + arguments] = {
            option
            for each in shown
            if isinstance(each, click.Option)
            for option in each.opts
            if option != "--help"
        }
    assert documented == real


def bulk_lines() -> list[dict[str, Any]]:
    text = (REFERENCE / "http.md").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines() if line.startswith('{"command"')]


@pytest.mark.parametrize("line", bulk_lines(), ids=lambda line: line["command"])
def test_bulk_lines_are_commands(line: dict[str, Any]) -> None:
    known = {each.TOPIC: each for each in commands()}
    known[line["command"]].model_validate_json(json.dumps(line["data"]), strict=True)
