"""How a saga hears and records: its state, and the events by which it changes. `sagas.base` is what authors
see of it.
"""

import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any, ClassVar, Self
from uuid import UUID, uuid5

from commands.bus import Command
from domain.shared.aggregate import Aggregate
from sagas import events, steps
from sagas.inputs import Happened, Input, StepDone, StepRefused, TimedOut
from sagas.reaction import Memory, Reaction, Step
from sagas.steps import AskedStep, Looked, Sent, StepRecord, Steps, StepStatus


class SagaStatus(StrEnum):
    """How a saga stands: not started (it holds events that came early), running, waiting for what a person or
    time must mend, resting until something comes, ended, aborted.
    """

    NOT_STARTED = "not_started"
    RUNNING = "running"
    WAITING = "waiting"
    RESTING = "resting"
    ENDED = "ended"
    ABORTED = "aborted"


class Process(Aggregate):
    """The state of a saga, which changes by events alone."""

    MEMORY: ClassVar[type[Memory]] = Memory
    """What it remembers."""

    key: str = ""
    started: bool = False
    aborted: bool = False
    ended: str | None = None
    correlation_id: str = ""
    remembered: Mapping[str, Any] = field(default_factory=dict)
    steps: Steps = ()
    timers: Mapping[str, datetime] = field(default_factory=dict)
    noticed: Mapping[str, int] = field(default_factory=dict)
    """The last version of each stream that was noticed."""
    held: tuple[events.HeldEvent, ...] = ()

    # Each saga class has its own of these.
    Noticed: ClassVar[type[events.Noticed]]
    Held: ClassVar[type[events.Held]]
    StepDone: ClassVar[type[events.StepDone]]
    StepRefused: ClassVar[type[events.StepRefused]]
    StepWaits: ClassVar[type[events.StepWaits]]
    TimedOut: ClassVar[type[events.TimedOut]]
    Aborted: ClassVar[type[events.Aborted]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give each saga class events of its own, under its own names."""
        for of_all in events.OF_ALL if cls.TOPIC else ():
            name = of_all.__name__
            body = {"TOPIC": f"{cls.TOPIC}.{_snake(name)}", "__module__": cls.__module__}
            setattr(cls, name, types.new_class(name, (of_all,), exec_body=partial(_fill, body)))
        super().__init_subclass__(**kwargs)

    @classmethod
    def blank(cls, stream_id: UUID) -> Self:
        """The state before the first event, at version 0."""
        saga = super().blank(stream_id)
        saga.remembered, saga.timers, saga.noticed = {}, {}, {}
        return saga

    @property
    def status(self) -> SagaStatus:
        """How it stands."""
        if self.aborted:
            return SagaStatus.ABORTED
        if any(each.status is StepStatus.WAITING for each in self.steps):
            return SagaStatus.WAITING
        if any(each.is_open for each in self.steps):
            return SagaStatus.RUNNING
        if self.ended is not None:
            return SagaStatus.ENDED
        return SagaStatus.RESTING if self.started else SagaStatus.NOT_STARTED

    def react(self, memory: Any, heard: Input) -> Reaction:
        """What is to be done about it. Pure: the same for the same saga and input, and nothing is changed."""
        raise NotImplementedError

    # What the runner tells it; each returns whether anything has changed

    def has_noticed(self, happened: Happened) -> bool:
        """Whether this event has come before, or later ones of its stream have."""
        return happened.version <= self.noticed.get(str(happened.stream_id), 0)

    def notice(self, happened: Happened, key: str) -> bool:
        """Hear of an event."""
        if self.aborted or self.has_noticed(happened):
            return False
        cause = _cause(happened)
        self.correlation_id = self.correlation_id or cause.correlation_id
        self._reacts(self.Noticed, happened, cause.event_id, cause.correlation_id, key=key, cause=cause)
        return True

    def hold(self, happened: Happened, stored: events.HeldEvent, key: str) -> bool:
        """Keep an event that came before the one that starts the saga."""
        if self.aborted or self.has_noticed(happened):
            return False
        self._record(self.Held, at=happened.at, key=key, held=stored)
        return True

    def notice_held(self, happened: Happened) -> None:
        """Hear of the first of the events that were kept."""
        cause = _cause(happened)
        self._reacts(self.Noticed, happened, cause.event_id, cause.correlation_id, key=self.key, cause=cause)

    def step_done(
        self, step: StepRecord, *, stream_id: UUID, version: int, position: int, at: datetime, **told: Any
    ) -> bool:
        """Hear that the command of an open step was carried out. `told`: `extra` and `seen` of the input."""
        if not self._is_open(step):
            return False
        asked = step.asked
        heard = StepDone(asked.name, asked.attempt, stream_id, version, position, at, **told)
        self.steps = steps.change(self.steps, asked.number, status=StepStatus.DONE)
        fields = {**_about(step), "stream_id": stream_id, "version": version, "position": position}
        self._reacts(self.StepDone, heard, asked.cause, asked.correlation_id, **fields)
        return True

    def step_refused(
        self,
        step: StepRecord,
        *,
        code: str,
        detail: str,
        data: Mapping[str, Any],
        at: datetime,
        seen: Aggregate | None = None,
    ) -> bool:
        """Hear that the command of an open step was refused; those behind it are dropped."""
        if not self._is_open(step):
            return False
        asked = step.asked
        heard = StepRefused(asked.name, asked.attempt, code, detail, at, data, seen)
        behind = steps.open_behind(self.steps, step)
        self.steps = steps.drop(steps.change(self.steps, asked.number, status=StepStatus.REFUSED), behind, at)
        fields = {**_about(step), "code": code, "detail": detail, "data": data}
        self._reacts(self.StepRefused, heard, asked.cause, asked.correlation_id, behind, **fields)
        return True

    def step_waits(
        self, step: StepRecord, *, code: str, detail: str, data: Mapping[str, Any], at: datetime
    ) -> bool:
        """Note that a step was tried and has to wait; the same reason is news only if tries count."""
        if not self._is_open(step):
            return False
        is_known = step.status is StepStatus.WAITING and (step.code, step.detail) == (code, detail)
        if is_known and step.asked.tries_max is None:
            return False
        self._record(self.StepWaits, at=at, code=code, detail=detail, data=data, **_about(step))
        return True

    def time_out(self, timer: str, due_at: datetime, at: datetime) -> bool:
        """Hear that a timer has come, if it is still set to that instant."""
        if self.aborted or self.timers.get(timer) != due_at:
            return False
        self.timers = {name: due for name, due in self.timers.items() if name != timer}
        cause = uuid5(self.id, f"{timer}@{due_at.isoformat()}")
        heard = TimedOut(timer, due_at, at)
        self._reacts(self.TimedOut, heard, cause, self.correlation_id, timer=timer, due_at=due_at)
        return True

    def abort(self, *, by: str, reason: str, at: datetime) -> bool:
        """Put an end to it."""
        if self.aborted:
            return False
        dropped = tuple(each.asked.number for each in self.steps if each.is_open)
        self._record(self.Aborted, at=at, by=by, reason=reason, dropped=dropped)
        return True

    def _is_open(self, step: StepRecord) -> bool:
        """Whether the step still waits for its outcome: another worker may have come first."""
        number = step.asked.number
        return number <= len(self.steps) and steps.find(self.steps, number).is_open

    def _reacts(
        self,
        event_class: type[events.Reacted],
        heard: Input,
        origin: UUID,
        correlation_id: str,
        dropped: Sequence[int] = (),
        **fields: Any,
    ) -> None:
        """Record what came in, and what the saga makes of it."""
        memory = self.MEMORY.model_validate(self.remembered)
        reaction = self.react(memory, heard)
        unwanted = [
            each.asked.number for each in self.steps if each.is_open and each.asked.name in reaction.drop
        ]
        self._record(
            event_class,
            at=heard.at,
            remembered=_changes(memory, reaction.memory),
            steps=tuple(self._asked(reaction.steps, origin, correlation_id)),
            dropped=(*dropped, *unwanted),
            timers=_with_offsets(reaction.timers),
            ended=reaction.end,
            **fields,
        )

    def _asked(self, wanted: Iterable[Step], cause: UUID, correlation_id: str) -> Iterable[AskedStep]:
        known = self.steps
        again: dict[str, int] = {}
        for number, step in enumerate(wanted, len(known) + 1):
            again[step.name] = again.get(step.name, steps.attempts(known, cause, step.name)) + 1
            yield AskedStep(
                number=number,
                name=step.name,
                attempt=again[step.name],
                cause=cause,
                correlation_id=correlation_id,
                sent=_sent(step.command),
                undo=None if step.undo is None else _sent(step.undo),
                look=None if step.look is None else Looked(step.look[0].TOPIC, step.look[1]),
                tries_max=step.tries_max,
                compensates=step.compensates,
                lane=step.lane,
            )

    def _record(self, event_class: type[events.SagaEvent], **fields: Any) -> None:
        """Record an event that tells how the saga stands after it."""
        self.trigger_event(event_class, status="", **fields)
        # Known once it is applied, and nobody has seen the event yet.
        object.__setattr__(self.pending_events[-1], "status", str(self.status))


def _fill(body: Mapping[str, Any], namespace: dict[str, Any]) -> None:
    namespace.update(body)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def _cause(happened: Happened) -> events.Cause:
    return events.Cause(
        event_id=happened.event_id,
        type=happened.event.TOPIC,
        stream_type=happened.stream_type,
        stream_id=happened.stream_id,
        version=happened.version,
        position=happened.position,
        recorded_at=happened.at,
        correlation_id=happened.correlation_id,
    )


def _about(step: StepRecord) -> dict[str, Any]:
    asked = step.asked
    return {"step": asked.number, "name": asked.name, "attempt": asked.attempt, "tries": step.tries + 1}


def _sent(command: Command | Sent) -> Sent:
    if isinstance(command, Sent):
        return command
    return Sent(command.TOPIC, command.model_dump(mode="json"))


def _changes(before: Memory, after: Memory | None) -> dict[str, Any]:
    """The fields of the memory that changed, as JSON has them."""
    if after is None:
        return {}
    names = {name for name in type(after).model_fields if getattr(after, name) != getattr(before, name)}
    return after.model_dump(mode="json", include=names) if names else {}


def _with_offsets(timers: Mapping[str, datetime | None]) -> dict[str, datetime | None]:
    for name, due_at in timers.items():
        if due_at is not None and due_at.tzinfo is None:
            detail = f"the timer {name} is set to an instant without an offset"
            raise ValueError(detail)
    return dict(timers)
