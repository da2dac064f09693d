"""A small business for the saga runtime to be tried on: parcels are sent, a courier has each loaded on a
lorry, rings at the door, and takes it back when it was recalled or nobody opened in time.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid5

from commands.bus import Bus, Command, Work
from domain.shared.aggregate import Aggregate, event
from domain.shared.errors import DomainError
from sagas.base import (
    NOTHING,
    Happened,
    Input,
    Memory,
    Reaction,
    Saga,
    Step,
    StepDone,
    StepRefused,
    TimedOut,
)

SPACE = UUID("6f3c35f0-54fb-4d0e-9f6c-0d5c6a3f0c11")


class LorryFull(DomainError):
    """It takes no more."""

    code: ClassVar[str] = "test.lorry_full"


class GateClosed(DomainError):
    """Somebody has to open it first."""

    code: ClassVar[str] = "test.gate_closed"


class Parcel(Aggregate):
    """Something that was sent."""

    TOPIC = "test.parcel"

    recalled: bool = False

    class Sent(Aggregate.Event):
        TOPIC = "test.parcel.sent"
        lorry: str
        patience_s: float | None

    class Recalled(Aggregate.Event):
        TOPIC = "test.parcel.recalled"

    class Labelled(Aggregate.Event):
        """Nobody listens to it."""

        TOPIC = "test.parcel.labelled"

    @event(Sent)
    def sent(self, lorry: str, patience_s: float | None) -> None:
        """It is on its way."""

    @event(Recalled)
    def recall(self) -> None:
        """It is to come back."""
        self.recalled = True

    @event(Labelled)
    def label(self) -> None:
        """It has a label."""


class Receipt(Aggregate):
    """What the receiver has signed: a stream of its own, so that it may come before the parcel."""

    TOPIC = "test.receipt"

    class Signed(Aggregate.Event):
        TOPIC = "test.receipt.signed"
        parcel: UUID

    @event(Signed)
    def signed(self, parcel: UUID) -> None:
        """The receiver has it."""


class Lorry(Aggregate):
    """Takes so many parcels, while its gate is open."""

    TOPIC = "test.lorry"

    places: int = 1000
    gate_is_closed: bool = False
    loaded: tuple[str, ...] = ()

    class Loaded(Aggregate.Event):
        TOPIC = "test.lorry.loaded"
        parcel: str

    class Unloaded(Aggregate.Event):
        TOPIC = "test.lorry.unloaded"
        parcel: str

    class Changed(Aggregate.Event):
        TOPIC = "test.lorry.changed"
        places: int
        gate_is_closed: bool

    def load(self, parcel: str) -> None:
        """Put it on.

        Raises:
            GateClosed, LorryFull: not now; not at all.
        """
        if self.gate_is_closed:
            raise GateClosed("The gate is closed.")
        if len(self.loaded) >= self.places:
            raise LorryFull("The lorry is full.", places=self.places)
        self._loaded(parcel)

    @event(Loaded)
    def _loaded(self, parcel: str) -> None:
        self.loaded = (*self.loaded, parcel)

    @event(Unloaded)
    def unload(self, parcel: str) -> None:
        """Take it off."""
        self.loaded = tuple(each for each in self.loaded if each != parcel)

    @event(Changed)
    def change(self, places: int, gate_is_closed: bool) -> None:
        """Other rules hold."""
        self.places = places
        self.gate_is_closed = gate_is_closed


class Door(Aggregate):
    """Where somebody rings."""

    TOPIC = "test.door"

    rung: int = 0

    class Rung(Aggregate.Event):
        TOPIC = "test.door.rung"
        parcel: str

    @event(Rung)
    def ring(self, parcel: str) -> None:
        """Once more."""
        self.rung += 1


def lorry_id(tenant: UUID, name: str) -> UUID:
    """The lorry of that name."""
    return uuid5(tenant, f"lorry {name}")


def door_id(parcel: str) -> UUID:
    """The door that the parcel goes to."""
    return uuid5(SPACE, parcel)


class _Permitted(Command):
    @property
    def permission(self) -> str:
        return "test.parcels:write"


class Load(_Permitted):
    TOPIC: ClassVar[str] = "test.load"
    lorry: str
    parcel: str


class Unload(_Permitted):
    TOPIC: ClassVar[str] = "test.unload"
    lorry: str
    parcel: str


class Ring(_Permitted):
    TOPIC: ClassVar[str] = "test.ring"
    parcel: str


async def _load(command: Load, work: Work) -> Aggregate:
    lorry = await work.edit(Lorry, lorry_id(work.tenant, command.lorry))
    lorry.load(command.parcel)
    return lorry


async def _unload(command: Unload, work: Work) -> Aggregate:
    lorry = await work.edit(Lorry, lorry_id(work.tenant, command.lorry))
    lorry.unload(command.parcel)
    return lorry


async def _ring(command: Ring, work: Work) -> Aggregate:
    door = await work.edit(Door, door_id(command.parcel))
    door.ring(command.parcel)
    return door


HANDLERS: dict[type[Command], Any] = {Load: _load, Unload: _unload, Ring: _ring}
COMMANDS = list(HANDLERS)


class CourierMemory(Memory):
    """What the courier knows."""

    lorry: str = ""
    rung: int = 0
    signed: bool = False


class Courier(Saga):
    """Loads a parcel, rings, waits for the receipt; recalled or never signed for, it goes back."""

    TOPIC = "sagas.test_courier"
    STARTS = (Parcel.Sent,)
    HEARS = (Parcel.Recalled, Receipt.Signed)
    MEMORY = CourierMemory
    WAITS_FOR = frozenset({GateClosed.code})

    @classmethod
    def keys(cls, happened: Happened) -> Iterable[str]:
        match happened.event:
            case Receipt.Signed(parcel=parcel):
                return [str(parcel)]
        return [str(happened.stream_id)]

    def react(self, memory: CourierMemory, heard: Input) -> Reaction:
        match heard:
            case Happened(event=Parcel.Sent() as sent):
                parcel = str(heard.stream_id)
                load = Load(lorry=sent.lorry, parcel=parcel)
                timers = {}
                if sent.patience_s is not None:
                    timers["patience"] = heard.at + timedelta(seconds=sent.patience_s)
                return Reaction(
                    memory=CourierMemory(lorry=sent.lorry),
                    steps=[
                        Step("load", load, undo=Unload(lorry=sent.lorry, parcel=parcel)),
                        Step("ring", Ring(parcel=parcel), look=(Door, door_id(parcel))),
                    ],
                    timers=timers,
                )
            case StepDone(step="ring", seen=Door() as door):
                return Reaction(memory=memory.model_copy(update={"rung": door.rung}))
            case StepRefused(step="load"):
                return Reaction(timers={"patience": None}, end="no room")
            case Happened(event=Receipt.Signed()):
                signed = memory.model_copy(update={"signed": True})
                return Reaction(memory=signed, timers={"patience": None}, end="delivered")
            case Happened(event=Parcel.Recalled()) if not memory.signed:
                steps = self.undo()
                return Reaction(steps=steps, timers={"patience": None}, drop=["load", "ring"], end="recalled")
            case TimedOut(timer="patience"):
                return Reaction(steps=self.undo(), end="nobody opened")
        return NOTHING


AGGREGATES: list[type[Aggregate]] = [Parcel, Receipt, Lorry, Door, Courier]


def new_bus(store: Any) -> Bus:
    """The commands of this business."""
    from uuid_utils.compat import uuid7

    return Bus(store, HANDLERS, new_id=uuid7)
