"""Reservations end when their time has run out."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from commands.inventory import ExpireReservation
from domain.inventory.stock import Stock
from sagas.base import NOTHING, Happened, Input, Memory, Reaction, Saga, Step, StepDone, StepRefused, TimedOut

EXPIRE: Final = "expire"
TIMER: Final = "expiry"
AGAIN_AFTER: Final = timedelta(seconds=1)
NOT_EXPIRED: Final = "inventory.reservation_not_expired"


class ReservationMemory(Memory):
    """The reservation."""

    warehouse: str = ""
    sku: str = ""
    reservation_id: str = ""
    expires_at: datetime | None = None


class ReservationExpiry(Saga):
    """One process a reservation that has a time."""

    TOPIC = "sagas.reservation_expiry"
    STARTS = (Stock.Reserved,)
    MEMORY = ReservationMemory

    @classmethod
    def keys(cls, happened: Happened) -> Iterable[str]:
        """The reservation: its stock's stream and version, for an id may be used again."""
        if isinstance(happened.event, Stock.Reserved) and happened.event.expires_at is not None:
            return [f"{happened.stream_id}/{happened.version}"]
        return []

    def react(self, memory: ReservationMemory, heard: Input) -> Reaction:
        """Wait, and end the reservation if it is still there."""
        match heard:
            case Happened(event=Stock.Reserved() as reserved):
                assert reserved.expires_at is not None
                remembered = ReservationMemory(
                    warehouse=reserved.warehouse,
                    sku=reserved.sku,
                    reservation_id=reserved.reservation_id,
                    expires_at=reserved.expires_at,
                )
                return Reaction(memory=remembered, timers={TIMER: reserved.expires_at})
            case TimedOut():
                command = ExpireReservation(
                    warehouse=memory.warehouse, sku=memory.sku, reservation_id=memory.reservation_id
                )
                return Reaction(steps=[Step(EXPIRE, command)])
            case StepDone():
                return Reaction(end="expired")
            case StepRefused(code="inventory.reservation_not_expired") if _is_ours(memory, heard):
                # The clock of whoever carries it out goes behind that of whoever woke us.
                return Reaction(timers={TIMER: heard.at + AGAIN_AFTER})
            case StepRefused():
                return Reaction(end="gone before")
        return NOTHING


def _is_ours(memory: ReservationMemory, refused: StepRefused) -> bool:
    """Whether it is this reservation that has not expired, and not another one under its id."""
    told = refused.data.get("expires_at")
    return told is not None and datetime.fromisoformat(told) == memory.expires_at
