"""What a saga hears of: events, how its own steps went, and its timers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.shared.aggregate import Aggregate


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of the log. `event` is it, in today's shape; the rest is where and when it was recorded."""

    event: Aggregate.Event
    event_id: UUID
    tenant: UUID
    stream_type: str
    stream_id: UUID
    version: int
    position: int
    at: datetime
    correlation_id: str
    actor: str = ""


@dataclass(frozen=True, slots=True)
class StepDone:
    """A command of ours was carried out.

    Attributes:
        id: the stream that it wrote, at `version`.
        extra: what the command's answer says besides.
        seen: the aggregate that the step asked to look at, as it is after the command.
    """

    step: str
    attempt: int
    id: UUID
    version: int
    position: int
    at: datetime
    extra: Mapping[str, Any] = field(default_factory=dict)
    seen: Aggregate | None = None


@dataclass(frozen=True, slots=True)
class StepRefused:
    """A command of ours was refused: by a rule, with the rule's code and data; or it was tried as often as
    the step allows, with the code of what went wrong at last.

    Attributes:
        seen: the aggregate that the step asked to look at, as it is now.
    """

    step: str
    attempt: int
    code: str
    detail: str
    at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)
    seen: Aggregate | None = None


@dataclass(frozen=True, slots=True)
class TimedOut:
    """A timer of ours that was set to `due_at`."""

    timer: str
    due_at: datetime
    at: datetime


Input = Happened | StepDone | StepRefused | TimedOut
