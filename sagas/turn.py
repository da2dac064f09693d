"""One turn of a saga: it hears of something, and all that can be done about it is done and recorded.

Promises: a decision is in the log before the first of its commands is sent. What became of commands is
recorded with the next decision, or at the end of the turn: whoever takes over after a crash sends them again,
under the same keys, and gets the same answers. Whoever was only slow, and was taken over from, stores nothing
any more: a command is stored only while its saga is as it was when it decided.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from commands.bus import Answer, Bus, Command, Context
from commands.errors import CommandError, ConcurrencyConflict, Superseded
from commands.permissions import Permissions
from domain.shared.aggregate import Aggregate
from domain.shared.errors import DomainError, Unavailable
from eventstore.store import EventStore
from sagas import steps
from sagas.base import Saga
from sagas.status import SagaWorkerStatus
from sagas.steps import StepRecord, StepStatus
from sagas.timers import RETRY, Timers

log = logging.getLogger(__name__)

ACTOR: Final = "erp-saga"

_EVERYTHING: Final = Permissions(["*"])
_NO_HASH: Final = bytes(32)


class Moved(Exception):
    """Somebody else has written to the saga meanwhile."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What turns are taken with.

    Attributes:
        commands: the command classes by name; `aggregates` likewise.
        pauses_s: before what passes by itself is tried again at once.
        retry_s: before it is tried again later.
        wait_s: before what a person must mend is tried again.
    """

    store: EventStore
    bus: Bus
    timers: Timers
    commands: Mapping[str, type[Command]]
    aggregates: Mapping[str, type[Aggregate]]
    clock: Callable[[], datetime]
    status: SagaWorkerStatus
    pauses_s: tuple[float, ...] = (0.05, 0.2, 0.5)
    retry_s: float = 5.0
    wait_s: float = 30.0


@dataclass(frozen=True, slots=True)
class _Refused:
    code: str
    detail: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Waits(_Refused):
    again_s: float


class Turn:
    """A turn of one saga.

    Args:
        saga: a copy of its own; `tenant`: in whose books it acts.
    """

    def __init__(self, tools: Tools, saga: Saga, tenant: UUID) -> None:
        self._tools = tools
        self._saga = saga
        self._tenant = tenant
        self._durable = len(saga.steps)
        self._timers = dict(saga.timers)
        self._waited = _waits(saga)
        self._tried: set[int] = set()
        self._again_s: float | None = None
        self._causation_id: str | None = None

    async def take(self, tell: Callable[[Saga], bool], *, causation_id: str | None, retry: bool) -> None:
        """Tell the saga, and carry out its steps as far as they go.

        Args:
            tell: returns whether the saga has not known it yet.
            causation_id: of the event that it hears of.
            retry: also steps that wait.

        Raises:
            Moved: begin again with what the log has now.
            Unavailable: the store cannot be reached; nothing is known about the last append.
        """
        self._causation_id = causation_id
        is_news = tell(self._saga)
        while (step := self._next(retry=retry)) is not None:
            if step.asked.number > self._durable:
                await self._save()
            self._tried.add(step.asked.number)
            await self._carry_out(step)
        await self._save()
        await self._set_timers(is_news=is_news)

    def _next(self, *, retry: bool) -> StepRecord | None:
        """The step that is to be tried, if there is one."""
        for step in steps.heads(self._saga.steps):
            if step.asked.number not in self._tried and (retry or step.status is not StepStatus.WAITING):
                return step
        return None

    async def _save(self) -> None:
        saga = self._saga
        if not saga.pending_events:
            return
        metadata = {
            "actor": ACTOR,
            "command": saga.TOPIC,
            "correlation_id": saga.correlation_id or str(saga.id),
        }
        if self._causation_id is not None:
            metadata["causation_id"] = self._causation_id
        receipt = await self._tools.store.append(
            tenant=self._tenant,
            changed=[saga],
            reads=[],
            # The expected version alone decides: a key of its own makes each append a new request.
            idempotency_key=str(uuid7()),
            request_hash=_NO_HASH,
            answer={},
            metadata=metadata,
        )
        if receipt.outcome == "conflict":
            self._tools.status.conflicts += 1
            raise Moved
        saga.collect_events()
        # What was appended is shared by way of the cache.
        self._saga = saga.editable_copy()
        self._durable = len(saga.steps)

    # Commands

    async def _carry_out(self, step: StepRecord) -> None:
        saga, status = self._saga, self._tools.status
        outcome = await self._try(step)
        if isinstance(outcome, Answer):
            status.done += 1
            saga.step_done(
                step,
                stream_id=outcome.id,
                version=outcome.version,
                position=outcome.position,
                at=outcome.recorded_at,
                extra=outcome.extra,
                seen=await self._look(step, is_ours=not outcome.replayed),
            )
            return
        why: dict[str, Any] = {"code": outcome.code, "detail": outcome.detail, "data": outcome.data}
        tries_max = step.asked.tries_max
        if isinstance(outcome, _Waits) and (tries_max is None or step.tries + 1 < tries_max):
            status.waits += 1
            self._again_s = min(outcome.again_s, self._again_s or outcome.again_s)
            saga.step_waits(step, at=self._tools.clock(), **why)
        else:
            status.refused += 1
            # Why it was refused may be that things are not what the saga took them for.
            seen = await self._look(step, is_ours=False)
            saga.step_refused(step, at=self._tools.clock(), seen=seen, **why)

    async def _try(self, step: StepRecord) -> Answer | _Refused:
        tools, asked = self._tools, step.asked
        command = tools.commands[asked.sent.command].model_validate_json(orjson.dumps(asked.sent.data))
        context = Context(
            tenant=self._tenant,
            actor=ACTOR,
            permissions=_EVERYTHING,
            idempotency_key=step.key(self._saga.id),
            request_hash=_request_hash(step),
            correlation_id=asked.correlation_id,
            causation_id=str(asked.cause),
            led_by=self._saga,
        )
        for pause_s in (*tools.pauses_s, None):
            try:
                return await tools.bus.execute(command, context)
            except Superseded as error:
                tools.status.conflicts += 1
                raise Moved from error
            except (Unavailable, ConcurrencyConflict) as error:
                # Whoever gives such an error a class of its own has been patient already.
                is_ours = type(error) in {Unavailable, ConcurrencyConflict}
                if pause_s is None or not is_ours:
                    return _Waits(_code(error), str(error), {}, tools.retry_s)
                await asyncio.sleep(pause_s)
            except (DomainError, CommandError) as error:
                if error.code in self._saga.WAITS_FOR or asked.name in self._saga.NEVER_REFUSED:
                    return _Waits(error.code, error.detail, error.data, tools.wait_s)
                return _Refused(error.code, error.detail, error.data)
            except Exception as error:
                log.exception("step %s of %s %s", asked.name, self._saga.TOPIC, self._saga.id)
                return _Waits("internal_error", type(error).__name__, {}, tools.wait_s)
        raise AssertionError

    async def _look(self, step: StepRecord, *, is_ours: bool) -> Aggregate | None:
        """What the step wanted to see, as it is after the command: which was carried out here, or not."""
        look = step.asked.look
        if look is None:
            return None
        store, seen = self._tools.store, self._tools.aggregates[look.stream_type]
        load = store.load if is_ours else store.load_current
        return await load(seen, look.stream_id, self._tenant)

    # Timers

    async def _set_timers(self, *, is_news: bool) -> None:
        """What the saga is to be woken for."""
        saga, timers, waits = self._saga, self._tools.timers, _waits(self._saga)
        if waits and (self._again_s is not None or not is_news):
            await timers.set_retry(saga, self._tenant, after_s=self._again_s or self._tools.wait_s)
        if saga.timers and (saga.timers != self._timers or not is_news):
            await timers.set(saga, self._tenant)
        if not is_news:
            # The turn in which this was news may have been cut off here.
            await timers.clear_others(saga, [*saga.timers, *([RETRY] if waits else [])])
            return
        cleared = self._timers.keys() - saga.timers.keys()
        if self._waited and not waits:
            cleared.add(RETRY)
        if cleared:
            await timers.clear(saga, cleared)


def _waits(saga: Saga) -> bool:
    return any(each.status is StepStatus.WAITING for each in saga.steps)


def _code(error: Exception) -> str:
    """The error's code; of one without, its name: `gateway_timeout`."""
    code: str | None = getattr(error, "code", None)
    return code or re.sub(r"(?<!^)([A-Z])", r"_\1", type(error).__name__).lower()


def _request_hash(step: StepRecord) -> bytes:
    """Of what was recorded: it stays the same when the code that reads it changes."""
    sent = step.asked.sent
    return sha256(orjson.dumps([sent.command, sent.data], option=orjson.OPT_SORT_KEYS)).digest()
