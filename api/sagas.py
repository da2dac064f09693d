"""Sagas over HTTP, as they are now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from api.errors import NotFound
from api.routing import ContextRoutes, Query, View, ViewRoute
from api.saga_list import SEARCHES
from sagas.base import Saga
from sagas.process import Process, SagaStatus
from sagas.steps import StepRecord, StepStatus

_READ: Final = "sagas.sagas:read"


@dataclass(frozen=True, slots=True)
class SagaStepView:
    """A command that the saga has sent or is going to send.

    `cause` is the event that it goes back to (or its timer), `code` and `detail` say why it was refused or
    what it waits for, `position` is where its last event stands, `compensates` the number of the step that it
    undoes.
    """

    number: int
    name: str
    attempt: int
    command: str
    cause: UUID
    status: StepStatus
    asked_at: datetime
    settled_at: datetime | None
    code: str | None
    detail: str | None
    position: int | None
    compensates: int | None


@dataclass(frozen=True, slots=True)
class SagaTimerView:
    """What it will be woken for."""

    name: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class SagaView:
    """A business process. `key` is what it is about, `outcome` how it ended."""

    id: UUID
    type: str
    key: str
    status: SagaStatus
    outcome: str | None
    correlation_id: str
    steps: list[SagaStepView]
    timers: list[SagaTimerView]
    version: int


def saga_routes(sagas: Sequence[type[Saga]]) -> ContextRoutes:
    """Their routes."""

    async def saga(query: Query) -> View:
        try:
            saga_id = UUID(query.path["id"])
        except ValueError:
            raise NotFound("Nothing can have that name.") from None
        for saga_class in sagas:
            found = await query.store.load_current(saga_class, saga_id, query.tenant)
            if found.exists:
                return View(_view(found), found.version)
        raise NotFound("There is no such saga.")

    return ContextRoutes(
        name="sagas",
        commands=(),
        views=(ViewRoute("/v1/sagas/{id}", _READ, SagaView, saga),),
        searches=SEARCHES,
    )


def _view(saga: Process) -> SagaView:
    return SagaView(
        id=saga.id,
        type=saga.TOPIC,
        key=saga.key,
        status=saga.status,
        outcome=saga.ended,
        correlation_id=saga.correlation_id,
        steps=[_step(each) for each in saga.steps],
        timers=[SagaTimerView(*each) for each in sorted(saga.timers.items(), key=lambda item: item[1])],
        version=saga.version,
    )


def _step(step: StepRecord) -> SagaStepView:
    asked = step.asked
    return SagaStepView(
        number=asked.number,
        name=asked.name,
        attempt=asked.attempt,
        command=asked.sent.command,
        cause=asked.cause,
        status=step.status,
        asked_at=step.asked_at,
        settled_at=step.settled_at,
        code=step.code,
        detail=step.detail,
        position=step.position,
        compensates=asked.compensates,
    )
