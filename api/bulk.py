"""Commands in bulk: NDJSON in, NDJSON out, line by line.

The body is read whole, then answers stream in the order of the lines. A bounded window of commands is in
flight: its head is answered when it is done, and only when the client has taken the answer does the window
move on. So a slow reader costs a window of memory, never more. Every line stands alone, whatever is wrong
with it.

Lines are started in order and run at the same time. A line that builds on another one belongs into a later
request.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from uuid_utils import uuid4

from api.auth import Caller, Gate
from api.call import IDEMPOTENCY_KEY, Call
from api.commands import Runner, context_of
from api.errors import Fault, InvalidRequest
from api.ports import ApiSettings
from api.reply import NDJSON, NO_STORE, Stream
from api.routing import CommandRoute, invalid
from api.strict_json import parse_object

PATH: Final = "/v1/commands"

# Between so many lines the event loop gets to serve others.
_LINES_PER_TURN: Final = 32
_LINE: Final = re.compile(rb"[^\n]*\n?")


class BulkLine(BaseModel):
    """A command by its name. `data` is what its route takes as body and path parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: str
    idempotency_key: Annotated[str, StringConstraints(pattern=IDEMPOTENCY_KEY)] | None = None
    data: dict[str, Any]


class BulkEndpoint:
    """The handler of `POST /v1/commands`."""

    def __init__(
        self, routes: Sequence[CommandRoute], gate: Gate, runner: Runner, settings: ApiSettings
    ) -> None:
        self._routes: Mapping[str, CommandRoute] = {route.command.TOPIC: route for route in routes}
        self._gate = gate
        self._runner = runner
        self._settings = settings

    async def __call__(self, call: Call) -> Stream:
        """Read the body, then answer while the commands are carried out."""
        caller = await self._gate.caller(call)
        call.require_no_query()
        body = await call.ndjson_body(self._settings.body_bytes_max)
        return Stream(self._answers(call, caller, body), [NDJSON, NO_STORE])

    async def _answers(self, call: Call, caller: Caller, body: bytes) -> AsyncIterator[bytes]:
        hung_up = asyncio.ensure_future(call.gone())
        window: deque[asyncio.Task[bytes]] = deque()
        try:
            for number, line in _lines(body):
                if number % _LINES_PER_TURN == 0:
                    await asyncio.sleep(0)
                if hung_up.done():
                    break
                if not line:
                    continue
                while len(window) >= self._settings.bulk_window:
                    yield await _head(window)
                window.append(self._runner.start(self._answer(call, caller, number, line)))
            while window:
                yield await _head(window)
        finally:
            # Whatever is in the window was started by the runner, which sees it through.
            hung_up.cancel()
            with suppress(asyncio.CancelledError):
                await hung_up

    async def _answer(self, call: Call, caller: Caller, number: int, line: bytes) -> bytes:
        """What became of one line; never an exception, which would end the other lines too."""
        try:
            told = {"line": number, **await self._carried_out(call, caller, line)}
        except Exception as error:  # noqa: BLE001 - see above; `Fault` logs what is not foreseen
            fault = Fault.of(error, call.correlation_id)
            standard = {"line": number, "status": fault.status, "code": fault.code, "detail": fault.detail}
            # A broken rule may know of a `line` too, one of the entry; here it means the line of the request.
            told = {**standard, **fault.members, **standard}
        return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE, default=str)

    async def _carried_out(self, call: Call, caller: Caller, line: bytes) -> dict[str, Any]:
        asked = _asked(line)
        route = self._routes.get(asked.command)
        if route is None:
            raise InvalidRequest("There is no such command.", [("/command", "not the name of a command")])
        command, request_hash = route.from_data(asked.data)
        key = asked.idempotency_key or str(uuid4())
        answer = await self._runner.run(command, context_of(call, caller, key, request_hash))
        standard = {
            "status": 201 if command.creates else 200,
            "id": answer.id,
            "version": answer.version,
            "position": answer.position,
            **({"replayed": True} if answer.replayed else {}),
        }
        # What was changed may have a `status` too; here it means that of HTTP.
        return {**standard, **answer.extra, **standard}


async def _head(window: deque[asyncio.Task[bytes]]) -> bytes:
    """The next answer, and those after it that are done too."""
    # Shielded: a cancelled reader must not cancel a command.
    answers = [await asyncio.shield(window.popleft())]
    while window and window[0].done():
        answers.append(window.popleft().result())
    return b"".join(answers)


def _lines(body: bytes) -> Iterator[tuple[int, bytes]]:
    for number, match in enumerate(_LINE.finditer(body), start=1):
        yield number, match[0].strip(b" \t\r\n")


def _asked(line: bytes) -> BulkLine:
    value, _ = parse_object(line)
    try:
        return BulkLine.model_validate(value, strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise invalid([(each["loc"], each["msg"]) for each in found], value) from None
