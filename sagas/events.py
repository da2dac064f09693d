"""The events that every saga has; a saga class gets its own of each, named `<its TOPIC>.noticed` and so on.

Each tells what came in, and in the fields of `Reacted` what the saga made of it, so that readers need no
arithmetic and a replay runs no rules. Published in docs/reference/sagas.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from domain.shared.aggregate import Aggregate
from sagas import steps
from sagas.steps import AskedStep, StepStatus


@dataclass(frozen=True, slots=True)
class Cause:
    """An event of the log that a saga noticed."""

    event_id: UUID
    type: str
    stream_type: str
    stream_id: UUID
    version: int
    position: int
    recorded_at: datetime
    correlation_id: str


@dataclass(frozen=True, slots=True)
class HeldEvent:
    """An event that came before the one that starts the saga, kept until then."""

    cause: Cause
    schema_version: int
    series: str | None
    number: int | None
    data: Mapping[str, Any]
    actor: str


class SagaEvent(Aggregate.Event):
    """What all have: when, and how the saga stands after it."""

    at: datetime
    status: str

    def _settle(self, saga: Any, **changes: Any) -> None:
        """Change the step that the event is about."""
        number = vars(self)["step"]
        saga.steps = steps.change(saga.steps, number, settled_at=self.at, **changes)


class Reacted(SagaEvent):
    """What the saga made of what it heard.

    `remembered` has the fields of its memory that changed, `timers` those set (an instant) and cleared
    (null), `dropped` the steps that it does not want any more, `ended` the outcome if it came to an end.
    """

    remembered: Mapping[str, Any]
    steps: tuple[AskedStep, ...]
    dropped: tuple[int, ...]
    timers: Mapping[str, datetime | None]
    ended: str | None

    def apply(self, aggregate: Any) -> None:
        """What was decided becomes the saga's state."""
        saga = aggregate
        saga.remembered = {**saga.remembered, **self.remembered}
        saga.steps = steps.add(steps.drop(saga.steps, self.dropped, self.at), self.steps, self.at)
        timers = {**saga.timers, **self.timers}
        saga.timers = {name: due_at for name, due_at in timers.items() if due_at is not None}
        if self.ended is not None:
            saga.ended = self.ended


class Noticed(Reacted):
    """An event of the log that concerns it."""

    key: str
    cause: Cause

    def apply(self, aggregate: Any) -> None:
        """It is not held any more, and known."""
        super().apply(aggregate)
        saga, cause = aggregate, self.cause
        saga.key, saga.started = self.key, True
        saga.correlation_id = saga.correlation_id or cause.correlation_id
        saga.held = tuple(each for each in saga.held if each.cause.event_id != cause.event_id)
        saga.noticed = _with_latest(saga.noticed, cause)


class Held(SagaEvent):
    """An event that concerns it, but came too early."""

    key: str
    held: HeldEvent

    def apply(self, aggregate: Any) -> None:
        """Kept until the saga starts."""
        saga, cause = aggregate, self.held.cause
        saga.key = self.key
        saga.held = (*saga.held, self.held)
        saga.noticed = _with_latest(saga.noticed, cause)


class StepDone(Reacted):
    """The command was carried out: it wrote `version` of `stream_id`, last at `position`."""

    step: int
    name: str
    attempt: int
    tries: int
    stream_id: UUID
    version: int
    position: int

    def apply(self, aggregate: Any) -> None:
        """The step is done."""
        self._settle(aggregate, status=StepStatus.DONE, tries=self.tries, position=self.position)
        super().apply(aggregate)


class StepRefused(Reacted):
    """A rule forbids the command, or it was tried often enough."""

    step: int
    name: str
    attempt: int
    tries: int
    code: str
    detail: str
    data: Mapping[str, Any]

    def apply(self, aggregate: Any) -> None:
        """The step is refused."""
        why = {"code": self.code, "detail": self.detail, "data": self.data}
        self._settle(aggregate, status=StepStatus.REFUSED, tries=self.tries, **why)
        super().apply(aggregate)


class StepWaits(SagaEvent):
    """The command cannot be carried out now; it is tried again. Recorded when that begins and whenever the
    reason changes.
    """

    step: int
    name: str
    attempt: int
    tries: int
    code: str
    detail: str
    data: Mapping[str, Any]

    def apply(self, aggregate: Any) -> None:
        """The step waits."""
        why = {"code": self.code, "detail": self.detail, "data": self.data}
        self._settle(aggregate, status=StepStatus.WAITING, tries=self.tries, **why)


class TimedOut(Reacted):
    """A timer that it had set has come."""

    timer: str
    due_at: datetime

    def apply(self, aggregate: Any) -> None:
        """It is not set any more, unless it was set anew."""
        saga = aggregate
        saga.timers = {name: due for name, due in saga.timers.items() if name != self.timer}
        super().apply(aggregate)


class Aborted(SagaEvent):
    """Somebody has put an end to it: no step and no timer is left, and nothing that comes is noticed."""

    by: str
    reason: str
    dropped: tuple[int, ...]

    def apply(self, aggregate: Any) -> None:
        """Nothing is left to be done."""
        saga = aggregate
        saga.aborted = True
        saga.steps = steps.drop(saga.steps, self.dropped, self.at)
        saga.timers, saga.held = {}, ()


OF_ALL: Final[tuple[type[SagaEvent], ...]] = (
    Noticed,
    Held,
    StepDone,
    StepRefused,
    StepWaits,
    TimedOut,
    Aborted,
)
"""Of each of these every saga class has its own."""


def _with_latest(noticed: Mapping[str, int], cause: Cause) -> dict[str, int]:
    stream = str(cause.stream_id)
    return {**noticed, stream: max(cause.version, noticed.get(stream, 0))}
