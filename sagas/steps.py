"""The steps of a saga, as its events keep them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

Steps = tuple["StepRecord", ...]


class StepStatus(StrEnum):
    """How a step stands."""

    ASKED = "asked"
    WAITING = "waiting"
    DONE = "done"
    REFUSED = "refused"
    DROPPED = "dropped"


OPEN = frozenset({StepStatus.ASKED, StepStatus.WAITING})


@dataclass(frozen=True, slots=True)
class Sent:
    """A command as it is recorded: its name and its fields as JSON has them."""

    command: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Looked:
    """An aggregate to look at when the step is done."""

    stream_type: str
    stream_id: UUID


@dataclass(frozen=True, slots=True)
class AskedStep:
    """A step that a saga has decided to take.

    Attributes:
        number: 1, 2, 3… within the saga.
        attempt: which time the cause leads to a step of that name.
        cause: the id of the event that it goes back to, or that of a timer.
        correlation_id: that of the request that it goes back to.
        tries_max: how often it is tried before what stands in its way counts as a refusal; None: for ever.
        compensates: the number of the step that it undoes.
        lane: steps of one cause wait for one another only in the same lane.
    """

    number: int
    name: str
    attempt: int
    cause: UUID
    correlation_id: str
    sent: Sent
    undo: Sent | None
    look: Looked | None
    tries_max: int | None
    compensates: int | None
    lane: str = ""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A step and what became of it. `code` and `detail`: why it was refused, or what it waits for."""

    asked: AskedStep
    asked_at: datetime
    status: StepStatus = StepStatus.ASKED
    tries: int = 0
    settled_at: datetime | None = None
    code: str | None = None
    detail: str | None = None
    data: Mapping[str, Any] | None = None
    position: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether its outcome is not known yet."""
        return self.status in OPEN

    @property
    def line(self) -> tuple[UUID, str]:
        """In which it waits for those before it."""
        return self.asked.cause, self.asked.lane

    def key(self, saga_id: UUID) -> str:
        """The idempotency key of its command: the same however often it is tried."""
        return str(uuid5(saga_id, f"{self.asked.cause}/{self.asked.name}/{self.asked.attempt}"))


def add(steps: Steps, asked: Iterable[AskedStep], at: datetime) -> Steps:
    """With steps that were asked for."""
    return (*steps, *(StepRecord(each, at) for each in asked))


def change(steps: Steps, number: int, **changes: Any) -> Steps:
    """With another standing of one of them."""
    return tuple(replace(each, **changes) if each.asked.number == number else each for each in steps)


def drop(steps: Steps, numbers: Collection[int], at: datetime) -> Steps:
    """Without waiting for these any more."""
    if not numbers:
        return steps
    return tuple(
        replace(each, status=StepStatus.DROPPED, settled_at=at) if each.asked.number in numbers else each
        for each in steps
    )


def find(steps: Steps, number: int) -> StepRecord:
    """The step of that number."""
    return steps[number - 1]


def open_behind(steps: Steps, step: StepRecord) -> list[int]:
    """The numbers of the open steps of the same cause and lane that come after it."""
    return [
        each.asked.number
        for each in steps
        if each.is_open and each.line == step.line and each.asked.number > step.asked.number
    ]


def heads(steps: Steps) -> list[StepRecord]:
    """Of each cause and lane the open step whose turn it is."""
    first: dict[tuple[UUID, str], StepRecord] = {}
    for each in steps:
        if each.is_open:
            first.setdefault(each.line, each)
    return list(first.values())


def attempts(steps: Steps, cause: UUID, name: str) -> int:
    """How often the cause has led to a step of that name."""
    return sum(each.asked.cause == cause and each.asked.name == name for each in steps)


def undoable(steps: Steps) -> Sequence[StepRecord]:
    """Steps that are done, can be undone and are not being undone, the last first."""
    undone = {
        each.asked.compensates
        for each in steps
        if each.status not in {StepStatus.DROPPED, StepStatus.REFUSED}
    }
    return [
        each
        for each in reversed(steps)
        if each.status is StepStatus.DONE and each.asked.undo is not None and each.asked.number not in undone
    ]
