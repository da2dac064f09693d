"""What a saga makes of what it heard: what it remembers, what is to be done, and what it waits for."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from commands.bus import Command
from domain.shared.aggregate import Aggregate
from sagas.steps import Sent

_NO_TIMERS: Final[Mapping[str, datetime | None]] = MappingProxyType({})


class Memory(BaseModel):
    """What a saga remembers: a frozen model whose fields have defaults."""

    # Old ones may remember what is not asked for any more.
    model_config = ConfigDict(frozen=True, extra="ignore")


@dataclass(frozen=True, slots=True)
class Step:
    """A command to be sent.

    Attributes:
        name: tells it from the other steps of its saga; stays as it is for ever.
        undo: the command that compensates it.
        look: an aggregate that `react` wants to see as it is after the command, in `seen` of what it hears.
        tries_max: after so many tries (a few in quick succession count as one) what stands in its way counts
            as a refusal; None: never.
        lane: steps that go back to the same event wait for one another only in the same lane.
    """

    name: str
    command: Command | Sent
    undo: Command | None = None
    look: tuple[type[Aggregate], UUID] | None = None
    tries_max: int | None = None
    compensates: int | None = None
    lane: str = ""


@dataclass(frozen=True, slots=True)
class Reaction:
    """What a saga makes of what it heard.

    Attributes:
        memory: what it remembers from now on; None: as before.
        steps: what is to be done, in this order.
        timers: set to an instant, or cleared with None, by name.
        drop: names of open steps that are not wanted any more, whatever they go back to. A command that is
            under way may be carried out all the same: `react` does not hear of it.
        end: the outcome, if this is the end: a word or two for people.
    """

    memory: Memory | None = None
    steps: Sequence[Step] = ()
    timers: Mapping[str, datetime | None] = field(default_factory=lambda: _NO_TIMERS)
    drop: Collection[str] = ()
    end: str | None = None


NOTHING: Final = Reaction()
