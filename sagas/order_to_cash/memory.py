"""What the process of an order remembers: what the order says, and how far goods and money have got.

What is to be done follows from it alone, however it came about: see `goods`, `money` and `decision`.
"""

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from domain.payments.payment import payment_id
from sagas.base import Memory

NOTHING_YET: Final = Decimal(0)
LAPSES_MAX: Final = 1
"""How often a hold may be lost and be asked for again."""


class Standing(StrEnum):
    """Where the order stands, as far as is known here. Completed ones are confirmed, too."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    RETURNED = "returned"


class _Part(BaseModel):
    """A part of the memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def but(self, **changes: Any) -> Self:
        """The same with these changes."""
        return self.model_copy(update=changes)


class Wanted(_Part):
    """So much of a sku."""

    sku: str
    quantity: Decimal


class Sent(_Part):
    """A shipment. `left`: the stock knows; `back`: it knows that it came back."""

    number: int
    lines: tuple[Wanted, ...]
    total: Decimal
    shipped_on: date
    left: bool = False
    back: bool = False


class Paid(_Part):
    """A payment for the order.

    Attributes:
        number: which attempt of ours it is; 0 for one that somebody else made.
        booked: what was posted of what was refunded.
        version: of its stream, up to which the amounts are known.
        expires_at: when it is to be looked at.
        ran_out: whether that time has come.
        doubtful: whether the gateway was asked and has not answered: it may hold money.
        bad: whether what is held cannot be had.
        stuck: whether what is held cannot even be released.
        kept: whether what was taken cannot be given back.
    """

    number: int
    payment_id: UUID
    held: Decimal = NOTHING_YET
    captured: Decimal = NOTHING_YET
    refunded: Decimal = NOTHING_YET
    booked: Decimal = NOTHING_YET
    version: int = 0
    expires_at: datetime | None = None
    ran_out: bool = False
    doubtful: bool = False
    bad: bool = False
    stuck: bool = False
    kept: bool = False


class OrderMemory(Memory):
    """Everything that the process goes by.

    Attributes:
        at_revision: which revision the last reservation was asked for, `confirming` the last confirmation.
        reserved: which revision is reserved; 0 for none.
        at_shipment, at_payment: which one the last step for goods or money is about.
        lapses: how often a hold was lost.
        asking_until: how long the gateway is asked again that could not be reached.
        unpaid: whether no more money can be had.
        refund_due: what is not owed any more for what came back on `returned_on`.
        settled: what was posted of what was captured.
        stale: a revision that could not be confirmed, because the order had moved on.
        giving_up: the code of why the order is to be cancelled; empty while it is not.
    """

    tenant: UUID | None = None
    order_id: UUID | None = None
    customer: str = ""
    currency: str = ""
    warehouse: str = ""
    method: str = ""
    token: str = ""

    standing: Standing = Standing.PENDING
    revision: int = 0
    lines: tuple[Wanted, ...] = ()
    total: Decimal = NOTHING_YET
    confirming: int = 0
    stale: int = 0
    giving_up: str = ""
    why: str = ""
    cannot_cancel: bool = False

    at_revision: int = 0
    reserved: int = 0
    skus: tuple[str, ...] = ()
    shipments: tuple[Sent, ...] = ()
    at_shipment: int = 0

    payments: tuple[Paid, ...] = ()
    at_payment: UUID | None = None
    lapses: int = 0
    asking_until: datetime | None = None
    unpaid: bool = False
    returned_on: date | None = None
    refund_due: Decimal = NOTHING_YET
    settled: Decimal = NOTHING_YET

    def but(self, **changes: Any) -> Self:
        """The same with these changes."""
        return self.model_copy(update=changes)

    # What follows

    @property
    def order(self) -> UUID:
        """The order's id."""
        assert self.order_id is not None
        return self.order_id

    @property
    def is_open(self) -> bool:
        """Whether goods are still to be delivered, or to be promised."""
        return self.standing in {Standing.PENDING, Standing.CONFIRMED}

    @property
    def is_reserved(self) -> bool:
        """Whether the goods of the order as it is are promised."""
        return self.reserved == self.revision

    @property
    def is_all_sent(self) -> bool:
        """Whether all of it has left, the stock knowing or not."""
        return _total(each.lines for each in self.shipments) == _total([self.lines])

    @property
    def hold(self) -> Paid | None:
        """The payment that holds money to be had."""
        usable = (each for each in reversed(self.payments) if not (each.bad or each.stuck))
        return next((each for each in usable if each.held > 0), None)

    @property
    def is_held(self) -> bool:
        """Whether what the whole order comes to is held, where it comes to anything."""
        return (NOTHING_YET if self.hold is None else self.hold.held) == self.to_hold

    @property
    def to_hold(self) -> Decimal:
        """What has to be held for the whole order to be paid."""
        return self.total - self.captured

    @property
    def expires_at(self) -> datetime | None:
        """When the first hold runs out."""
        holds = (each.expires_at for each in self.payments if each.held > 0 and each.expires_at is not None)
        return min(holds, default=None)

    @property
    def captured(self) -> Decimal:
        """What was taken in all."""
        return sum((each.captured for each in self.payments), NOTHING_YET)

    @property
    def refunded(self) -> Decimal:
        """What was given back in all."""
        return sum((each.refunded for each in self.payments), NOTHING_YET)

    @property
    def given_back(self) -> Decimal:
        """What was posted of what was refunded."""
        return sum((each.booked for each in self.payments), NOTHING_YET)

    @property
    def owed(self) -> Decimal:
        """What the customer has to pay: for what has left and not come back."""
        return sum((each.total for each in self.shipments), NOTHING_YET) - self.refund_due

    @property
    def charge_due(self) -> Decimal:
        """What is owed and was not taken."""
        return self.owed - self.captured

    @property
    def refund_left(self) -> Decimal:
        """What was taken and will not be owed any more, and is still to be given back."""
        is_known = not self.is_open or (self.standing is Standing.CONFIRMED and self.is_all_sent)
        return max(self.captured - self.refunded - self.owed, NOTHING_YET) if is_known else NOTHING_YET

    # How it changes

    def payment_of(self, number: int) -> UUID:
        """The id of an attempt of ours."""
        assert self.tenant is not None
        return payment_id(self.tenant, self.order, number)

    @property
    def attempt(self) -> int:
        """The number that no attempt has had, or that of the one which is asked for again."""
        last = max((each.number for each in self.payments), default=0)
        return last + 1 if self.asking_until is None else last

    def paid(self, payment: UUID) -> Paid:
        """What is known of a payment."""
        known = (each for each in self.payments if each.payment_id == payment)
        return next(known, Paid(number=0, payment_id=payment))

    def with_paid(self, paid: Paid) -> Self:
        """With this known of a payment."""
        if all(each.payment_id != paid.payment_id for each in self.payments):
            return self.but(payments=(*self.payments, paid))
        payments = tuple(paid if each.payment_id == paid.payment_id else each for each in self.payments)
        return self.but(payments=payments)

    def with_sent(self, number: int, **changes: bool) -> Self:
        """With this known of a shipment."""
        shipments = tuple(each.but(**changes) if each.number == number else each for each in self.shipments)
        return self.but(shipments=shipments)


def _total(many: Iterable[Iterable[Wanted]]) -> dict[str, Decimal]:
    quantities: dict[str, Decimal] = {}
    for lines in many:
        for line in lines:
            quantities[line.sku] = quantities.get(line.sku, NOTHING_YET) + line.quantity
    return quantities
