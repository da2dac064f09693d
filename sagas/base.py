'''The base of every saga: a process that hears of events and answers with commands, over hours or weeks.

A saga is an event-sourced aggregate, and pure: `react` gets what happened and returns what is to be done. It
asks no clock and no database; all it may go by is its memory, its own steps and the input.

    class Greeting(Saga):
        """Everybody who comes in is greeted, and sent home after an hour."""

        TOPIC = "sagas.greeting"
        STARTS = (Visitor.Arrived,)
        HEARS = (Visitor.Left,)
        MEMORY = GreetingMemory                     # a frozen pydantic model; every field has a default

        @classmethod
        def keys(cls, happened: Happened) -> Iterable[str]:
            return [str(happened.stream_id)]        # one saga a visitor

        def react(self, memory: GreetingMemory, heard: Input) -> Reaction:
            match heard:
                case Happened(event=Visitor.Arrived() as arrived):
                    return Reaction(
                        memory=GreetingMemory(name=arrived.name),
                        steps=[Step("greet", Greet(name=arrived.name)), Step("seat", OfferSeat(...))],
                        timers={"home": heard.at + timedelta(hours=1)},
                    )
                case StepRefused(step="seat", code="hall.full"):
                    return Reaction(steps=[Step("apologise", Apologise(name=memory.name))])
                case TimedOut(timer="home"):
                    return Reaction(steps=[Step("send_home", SendHome(...))], end="sent home")
                case Happened(event=Visitor.Left()):
                    return Reaction(timers={"home": None}, end="left")
            return NOTHING

What holds:

- The steps of one reaction are carried out in order. Once one is done the next is; one that is refused drops
  those behind it, and `react` hears of the refusal. `react` hears of each outcome, so a saga that cannot know
  the next step yet returns it then. Steps that another cause has led to, or that are in another lane, go on
  independently.
- What a person or time must mend (a code in `WAITS_FOR`, any code of a step in `NEVER_REFUSED`), and what
  passes by itself (the store or a gateway cannot be reached), is no refusal: the step waits, visibly, holds
  up those behind it, and is tried again. With `tries_max` it is given up after so many tries, and `react`
  hears `StepRefused` with its code: that of the error, or of one without its name (`unavailable`,
  `gateway_timeout`).
- Every command has an idempotency key made of the saga, the causing event, the step's name and its attempt. A
  decision is in the log before its first command is sent, so after a crash the same commands are sent again.
- An event that was noticed changes nothing when it comes again; events of one stream come in order, those of
  different streams in any order. One that comes before the event that starts the saga is held, and reacted to
  right after it. Until a saga is aborted it hears of everything, also when it has ended.
- `undo` on a step is the command that compensates it. `self.undo()` returns the steps that compensate
  everything done so far, the last first; which of them are wanted, the saga decides.
- A timer is due within two seconds of its instant, and heard of once; set anew it takes the new instant.
'''

from collections.abc import Iterable, Sequence
from typing import ClassVar
from uuid import UUID

from domain.shared.aggregate import Aggregate
from domain.shared.ids import natural_id
from sagas import steps
from sagas.inputs import Happened, Input, StepDone, StepRefused, TimedOut
from sagas.process import Process, SagaStatus
from sagas.reaction import NOTHING, Memory, Reaction, Step

__all__ = [
    "NOTHING",
    "Happened",
    "Input",
    "Memory",
    "Reaction",
    "Saga",
    "SagaStatus",
    "Step",
    "StepDone",
    "StepRefused",
    "TimedOut",
]


class Saga(Process):
    """A process. Subclasses say what it hears and how it reacts; its state changes by events alone."""

    STARTS: ClassVar[Sequence[type[Aggregate.Event]]] = ()
    """The events that begin one."""
    HEARS: ClassVar[Sequence[type[Aggregate.Event]]] = ()
    """The other events that it wants to hear of."""
    WAITS_FOR: ClassVar[frozenset[str]] = frozenset(
        {"finance.period_closed", "finance.account_mapping_not_set"}
    )
    """Codes of refusals that a person or time will mend: the step waits."""
    NEVER_REFUSED: ClassVar[frozenset[str]] = frozenset()
    """Names of steps that record what has happened already: they wait, whatever stands in their way."""

    @classmethod
    def id_of(cls, tenant: UUID, key: str) -> UUID:
        """The id of the saga of that key."""
        return natural_id(tenant, cls.TOPIC, key)

    @classmethod
    def keys(cls, happened: Happened) -> Iterable[str]:
        """Which sagas an event concerns, by key; none: it concerns no saga."""
        raise NotImplementedError

    def undo(self) -> list[Step]:
        """The steps that compensate all that is done and was not compensated yet, the last first."""
        found = []
        for each in steps.undoable(self.steps):
            asked = each.asked
            assert asked.undo is not None, "it is undoable"
            found.append(Step(f"undo_{asked.name}", asked.undo, compensates=asked.number))
        return found
