"""Commands over HTTP: one generic endpoint for all that have a route.

Who asks → what exactly → hand it to the bus → answer. A client that hangs up does not cancel what it asked
for; what the bus has handed to the store is stored whole or not at all, whoever is cancelled.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import orjson

from api.auth import Caller, Gate
from api.call import Call
from api.metrics import Metrics
from api.ports import ApiSettings, CommandBus
from api.reply import JSON, Header, Reply, instant
from api.routing import CommandRoute
from api.strict_json import parse_object
from commands.bus import Answer, Command, Context

T = TypeVar("T")

_BODY_BYTES_INLINE_MAX: Final = 64 * 1024
_REPLAYED: Final[Header] = (b"idempotency-replayed", b"true")


class Runner:
    """Hands commands to the bus, and sees each through to its end."""

    def __init__(self, bus: CommandBus, metrics: Metrics) -> None:
        self._bus = bus
        self._metrics = metrics
        # The event loop itself holds tasks weakly.
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """`work` as a task that `drain` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def run(self, command: Command, context: Context) -> Answer:
        """Carry out the command, and count how it ended."""
        try:
            answer = await self._bus.execute(command, context)
        except Exception as error:
            self._metrics.command_ended(command.TOPIC, str(getattr(error, "code", type(error).__name__)))
            raise
        self._metrics.command_ended(command.TOPIC, "replayed" if answer.replayed else "done")
        return answer

    async def drain(self) -> None:
        """Return when everything that was started has ended."""
        while self._running:
            await asyncio.wait(self._running)


class CommandEndpoint:
    """The handler of one command's route."""

    def __init__(self, route: CommandRoute, gate: Gate, runner: Runner, settings: ApiSettings) -> None:
        self._route = route
        self._gate = gate
        self._runner = runner
        self._body_bytes_max = settings.body_bytes_max
        self._status = 201 if route.command.creates else 200

    async def __call__(self, call: Call) -> Reply:
        """Carry out the command that the request asks for."""
        caller = await self._gate.caller(call)
        call.require_no_query()
        key, expected_version = call.idempotency_key(), call.expected_version()
        raw = await call.json_body(self._body_bytes_max, optional=not self._route.body_required)
        if len(raw) > _BODY_BYTES_INLINE_MAX:
            # A body this large takes its time, which others need not wait for.
            command, request_hash = await asyncio.to_thread(self._decoded, raw, call.path_params)
        else:
            command, request_hash = self._decoded(raw, call.path_params)
        context = context_of(call, caller, key, request_hash, expected_version)
        answer = await self._runner.run(command, context)
        return self._reply(command, answer)

    def _decoded(self, raw: bytes, params: dict[str, str]) -> tuple[Command, bytes]:
        body, canonical = parse_object(raw)
        command = self._route.from_body(params, body, canonical)
        return command, self._route.request_hash(params, canonical)

    def _reply(self, command: Command, answer: Answer) -> Reply:
        headers = [JSON, (b"etag", b'"%d"' % answer.version)]
        location = self._route.location_of(command, answer)
        if location is not None:
            headers.append((b"location", location))
        if answer.replayed:
            headers.append(_REPLAYED)
        told = {
            "id": answer.id,
            "version": answer.version,
            "position": answer.position,
            "recorded_at": instant(answer.recorded_at),
            **answer.extra,
        }
        return Reply(self._status, orjson.dumps(told), headers)


def context_of(
    call: Call, caller: Caller, key: str, request_hash: bytes, expected_version: int | None = None
) -> Context:
    """Under which circumstances a command is asked for."""
    return Context(
        tenant=caller.tenant,
        actor=caller.actor,
        permissions=caller.permissions,
        idempotency_key=key,
        request_hash=request_hash,
        correlation_id=call.correlation_id,
        traceparent=call.traceparent(),
        expected_version=expected_version,
    )
