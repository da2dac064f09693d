"""How a context declares its routes, and the ASGI endpoint that stands for one path."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import orjson
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from api.call import CALL, Call
from api.errors import InvalidRequest, MethodNotAllowed, NotFound
from api.ports import ApiSettings, Store
from api.reply import Answering, Reply
from api.report_routes import ReportRoute, SearchRoute
from api.strict_json import pointer
from commands.bus import Answer, Command, Context
from commands.permissions import Permissions
from commands.ports import Vault
from domain.shared.personal import Personal

Handler = Callable[[Call], Awaitable[Answering]]

PARAM: Final = re.compile(r"{(\w+)}")


@dataclass(frozen=True)
class CommandRoute:
    """A command that is asked for by `method` on `path`.

    Attributes:
        path: its `{parameters}` are fields of the command, all others come from the body.
        location: path of what was written, from fields of the command and the answer's `{id}`; None when
            there is nothing to be read.
        tells: the dataclass of what the answer says besides, if it always does.
    """

    method: str
    path: str
    command: type[Command]
    location: str | None = None
    tells: type | None = None

    @cached_property
    def params(self) -> tuple[str, ...]:
        """Names of the path parameters."""
        return tuple(PARAM.findall(self.path))

    @cached_property
    def body_required(self) -> bool:
        """Whether the command has fields that only a body can give."""
        fields = self.command.model_fields.items()
        return any(each.is_required() for name, each in fields if (each.alias or name) not in self.params)

    def from_body(self, params: Mapping[str, str], body: dict[str, Any], canonical: bytes) -> Command:
        """The command that path and body ask for.

        Raises:
            NotFound: nothing can have such a name as the path says.
            InvalidRequest: the body is not what the command needs.
        """
        if params:
            twice = [name for name in params if name in body]
            if twice:
                errors = [(pointer(name), "Extra inputs are not permitted") for name in twice]
                raise InvalidRequest("The path says this already.", errors)
            body = {**body, **params}
            canonical = orjson.dumps(body)
        try:
            return self._validated(canonical)
        except ValidationError as error:
            wrong = _errors(error)
            if any(loc and loc[0] in params for loc, _ in wrong):
                raise NotFound("Nothing can have that name.") from None
            raise invalid(wrong, body) from None

    def from_data(self, data: dict[str, Any]) -> tuple[Command, bytes]:
        """The command that a bulk line asks for, and the hash of the same request by path and body.

        Raises:
            InvalidRequest: the data is not what the command needs.
        """
        canonical = orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
        try:
            command = self._validated(canonical)
        except ValidationError as error:
            raise invalid(_errors(error), data, "data") from None
        if not self.params:
            return command, self.request_hash({}, canonical)
        body = {name: value for name, value in data.items() if name not in self.params}
        params = {name: data[name] for name in self.params}
        return command, self.request_hash(params, orjson.dumps(body, option=orjson.OPT_SORT_KEYS))

    def request_hash(self, params: Mapping[str, str], canonical_body: bytes) -> bytes:
        """SHA-256 of method, path and canonical body: what tells two requests under one key apart."""
        if not params:
            digest = self._fixed_hash.copy()
        else:
            digest = hashlib.sha256(f"{self.method} {self.path.format_map(params)}\n".encode())
        digest.update(canonical_body)
        hashed: bytes = digest.digest()
        return hashed

    def location_of(self, command: Command, answer: Answer) -> bytes | None:
        """Where that which was written can be read."""
        if self.location is None:
            return None
        filled = PARAM.sub(lambda match: _part(match[1], command, answer), self.location)
        return filled.encode()

    @cached_property
    def _fixed_hash(self) -> Any:
        return hashlib.sha256(f"{self.method} {self.path}\n".encode())

    def _validated(self, canonical: bytes) -> Command:
        # Strictly as JSON: "yes" is no boolean and "2026" no year, while dates and ids are strings.
        return self.command.model_validate_json(canonical, strict=True)


@dataclass(frozen=True, slots=True)
class Query:
    """What a query has to go by. `after` is where the last page ended, 0 at first."""

    store: Store
    vault: Vault
    tenant: UUID
    permissions: Permissions
    path: Mapping[str, str]
    limit: int = 0
    after: int = 0

    async def opened(self, personal: Personal[Any], permission: str) -> Mapping[str, str] | None:
        """Personal data, for callers with `permission`; None for others, and when its key is gone."""
        if not self.permissions.allow(permission):
            return None
        return await self.vault.open(self.tenant, personal)


@dataclass(frozen=True, slots=True)
class View:
    """One thing as it is now; its version becomes the ETag."""

    body: object
    version: int


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list; `next_after` is where it goes on, None at its end."""

    items: Sequence[object]
    next_after: int | None


@dataclass(frozen=True)
class ViewRoute:
    """GET of one thing. `answer` is the dataclass that describes it."""

    path: str
    permission: str
    answer: type
    view: Callable[[Query], Awaitable[View]]


@dataclass(frozen=True)
class ListRoute:
    """GET of a list. `item` is the dataclass of what is in it, `kind` what its cursors are good for."""

    path: str
    permission: str
    item: type
    kind: str
    page: Callable[[Query], Awaitable[Page]]


Run = Callable[[Command, Context], Awaitable[Answer]]
"""Hands a command to the bus."""


@dataclass(frozen=True)
class HookRoute:
    """POST of a message by somebody else's system. It brings no token: the handler sees to who it is from.

    Attributes:
        name: of the operation, `<context>.<name>`; its summary is the handler's.
    """

    path: str
    name: str
    handler: Callable[[Call, Run, ApiSettings], Awaitable[Reply]]


@dataclass(frozen=True)
class ContextRoutes:
    """All routes of a context."""

    name: str
    commands: Sequence[CommandRoute]
    views: Sequence[ViewRoute] = ()
    lists: Sequence[ListRoute] = ()
    reports: Sequence[ReportRoute] = ()
    searches: Sequence[SearchRoute] = ()
    hooks: Sequence[HookRoute] = ()


class Resource:
    """A path with its methods, as an ASGI endpoint."""

    def __init__(self, path: str, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        self._handlers = dict(handlers)
        if "GET" in handlers:
            self._handlers["HEAD"] = handlers["GET"]
        self._allow = ", ".join(sorted({*self._handlers, "OPTIONS"})).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - `Call` receives
        """Answer by the handler of the method; OPTIONS tells which there are."""
        call: Call = scope[CALL]
        call.template = self._path
        method: str = scope["method"]
        handler = self._handlers.get(method)
        if handler is None:
            if method != "OPTIONS":
                raise MethodNotAllowed(method, self._allow)
            handler = self._options
        reply = await handler(call)
        await reply.send(send, head=method == "HEAD")

    async def _options(self, _: Call) -> Reply:
        return Reply(204, b"", [(b"allow", self._allow)])


def invalid(errors: Sequence[tuple[tuple[str | int, ...], str]], value: Any, *prefix: str) -> InvalidRequest:
    """Bad fields of `value`, told with pointers to where they really are."""
    told = [(pointer(*prefix, *_real(loc, value)), why) for loc, why in errors]
    return InvalidRequest("The request is not what the schema asks for.", told)


def _errors(error: ValidationError) -> list[tuple[tuple[str | int, ...], str]]:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [(each["loc"], each["msg"].removeprefix("Value error, ")) for each in found]


def _real(loc: Sequence[str | int], value: Any) -> list[str | int]:
    """The steps of a pydantic location that are in the input; names of union branches are not."""
    steps: list[str | int] = []
    for index, step in enumerate(loc):
        in_object = isinstance(value, dict) and step in value
        if in_object or (isinstance(value, list) and isinstance(step, int) and step < len(value)):
            value = value[step]
        elif not isinstance(value, dict) or index < len(loc) - 1 or step == "[key]":
            continue
        steps.append(step)
    return steps


def _part(name: str, command: Command, answer: Answer) -> str:
    return str(answer.id) if name == "id" else quote(str(getattr(command, name)), safe="")
