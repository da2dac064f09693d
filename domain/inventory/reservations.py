"""What is promised out of a stock, and what was delivered from it and may come back.

DomainError
├── ReservationExists       the id is taken by another reservation
├── ReservationNotFound     there is no reservation of this id, or none any more
├── ReservationNotExpired   its time has not run out
├── ReservationExceeded     more is to be shipped than is reserved
├── DeliveryNotFound        nothing was delivered under this reference
└── ReturnExceedsDelivery   more comes back than was delivered
"""

from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import ClassVar, Final

from domain.inventory.valuation import plain
from domain.shared.errors import DomainError

DELIVERIES_REMEMBERED_MAX: Final = 200
"""What comes back comes back soon: earlier deliveries are looked up in the log when they are returned."""


class ReservationExists(DomainError):
    """The id is taken by a reservation of something else, which may have been shipped."""

    code: ClassVar[str] = "inventory.reservation_exists"


class ReservationNotFound(DomainError):
    """There is no such reservation: it was never made, or shipped, released or expired."""

    code: ClassVar[str] = "inventory.reservation_not_found"


class ReservationNotExpired(DomainError):
    """A reservation does not expire before its time."""

    code: ClassVar[str] = "inventory.reservation_not_expired"


class ReservationExceeded(DomainError):
    """No more is shipped for a reservation than it reserves."""

    code: ClassVar[str] = "inventory.reservation_exceeded"


class DeliveryNotFound(DomainError):
    """Nothing was delivered that this could be the return of."""

    code: ClassVar[str] = "inventory.delivery_not_found"


class ReturnExceedsDelivery(DomainError):
    """No more comes back than was delivered."""

    code: ClassVar[str] = "inventory.return_exceeds_delivery"


@dataclass(frozen=True, slots=True)
class Reservation:
    """Goods that are promised.

    Attributes:
        quantity: what is still to be shipped of `quantity_reserved`.
        version: that of the stock when it had been reserved, which a repeat is answered with.
    """

    quantity: Decimal
    quantity_reserved: Decimal
    order_id: str | None
    expires_at: datetime | None
    version: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was shipped under one reference and has not come back, at the cost that it left with.

    Attributes:
        shipped_on: the first day on which some of it left.
        fulfils: the reservation, if nothing was left to be shipped of it.
    """

    reference: str
    reservation_id: str
    order_id: str | None
    shipped_on: date
    quantity: Decimal
    value: Decimal
    fulfils: Reservation | None = None

    def followed_by(self, more: "Delivery") -> "Delivery":
        """Both, under one reference."""
        return replace(
            more,
            shipped_on=min(self.shipped_on, more.shipped_on),
            quantity=plain(self.quantity + more.quantity),
            value=self.value + more.value,
        )

    def without(self, quantity: Decimal, value: Decimal) -> "Delivery":
        """The rest, when so much has come back."""
        return replace(self, quantity=plain(self.quantity - quantity), value=self.value - value)


Deliveries = tuple[Delivery, ...]


def fulfilled(deliveries: Deliveries, reservation_id: str) -> Reservation | None:
    """The reservation of this id, if they are all of it."""
    made = (each.fulfils for each in deliveries if each.reservation_id == reservation_id)
    return next(filter(None, made), None)


def found(deliveries: Deliveries, reference: str) -> Delivery | None:
    """The delivery of this reference, if it is among them."""
    return next((each for each in deliveries if each.reference == reference), None)


def shipped(deliveries: Deliveries, more: Delivery) -> Deliveries:
    """With another one, which may be a part of one of them."""
    if found(deliveries, more.reference) is None:
        return (*deliveries, more)
    return tuple(each.followed_by(more) if each.reference == more.reference else each for each in deliveries)


def returned(deliveries: Deliveries, reference: str, quantity: Decimal, value: Decimal) -> Deliveries:
    """With so much of the one of this reference come back, which need not be among them."""
    return tuple(
        each.without(quantity, value) if each.reference == reference else each for each in deliveries
    )
