"""Stock: an item in a warehouse, and what of it is promised. One stream per warehouse and sku."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from domain.inventory import stock_events as happened
from domain.inventory.days import require_left
from domain.inventory.goods import Booking, Goods
from domain.inventory.item import Shelf
from domain.inventory.reservations import (
    DeliveryNotFound,
    Reservation,
    ReservationExceeded,
    ReservationExists,
    ReservationNotExpired,
    ReservationNotFound,
    ReturnExceedsDelivery,
    found,
    fulfilled,
)
from domain.inventory.valuation import quantity_text, require_positive, share
from domain.shared.ids import natural_id

CLOCKS_DIFFER: Final = timedelta(seconds=1)
"""Who made a reservation and who ends it may be different processes."""


class Stock(Goods):
    """An item in a warehouse."""

    TOPIC = "inventory.stock"
    STATE_VERSION = 3

    Received = happened.Received
    Issued = happened.Issued
    Shipped = happened.Shipped
    Counted = happened.Counted
    Returned = happened.Returned
    TransferredOut = happened.TransferredOut
    TransferredIn = happened.TransferredIn
    Revalued = happened.Revalued
    Reserved = happened.Reserved
    Released = happened.Released
    ReservationExpired = happened.ReservationExpired
    ReorderPointReached = happened.ReorderPointReached

    def reserve(
        self,
        shelf: Shelf,
        reservation_id: str,
        quantity: Decimal,
        *,
        order_id: str | None,
        expires_at: datetime | None,
    ) -> Reservation:
        """Promise goods; nothing happens when the same was promised already, also when it has been shipped.

        Raises:
            DomainError: so much is not available, or the id is taken by another promise.
        """
        quantity = require_positive(quantity)
        made = self.reservations.get(reservation_id) or fulfilled(self.deliveries, reservation_id)
        if made is not None:
            told = (made.quantity_reserved, made.order_id, made.expires_at is None)
            if told != (quantity, order_id, expires_at is None):
                detail = f"Reservation {reservation_id} exists already, and is another one."
                raise ReservationExists(detail, reservation_id=reservation_id)
            return made
        self._require_available(shelf, quantity, self.available)
        before = self.available
        self.trigger_event(
            happened.Reserved,
            warehouse=shelf.warehouse,
            sku=shelf.sku,
            reservation_id=reservation_id,
            quantity=quantity,
            order_id=order_id,
            expires_at=expires_at,
        )
        self._watch(shelf, before)
        return self.reservation(reservation_id)

    def release(self, reservation_id: str, reason: str) -> None:
        """Take the rest of a promise back.

        Raises:
            ReservationNotFound: there is no such promise.
        """
        self._end(happened.Released, reservation_id, self.reservation(reservation_id), reason)

    def expire(self, reservation_id: str, now: datetime) -> None:
        """End a promise whose time has run out.

        Raises:
            DomainError: there is no such promise, or its time has not run out.
        """
        made = self.reservation(reservation_id)
        if made.expires_at is None or now + CLOCKS_DIFFER < made.expires_at:
            expires_at = None if made.expires_at is None else made.expires_at.isoformat()
            detail = f"Reservation {reservation_id} has not expired."
            raise ReservationNotExpired(detail, reservation_id=reservation_id, expires_at=expires_at)
        self._end(happened.ReservationExpired, reservation_id, made, "expired")

    def ship(
        self, shelf: Shelf, booking: Booking, reservation_id: str, quantity: Decimal | None = None
    ) -> None:
        """Deliver what is promised, or a part of it; the booking's reference becomes that of the delivery.

        Raises:
            DomainError: there is no such promise, it is of less, or less is there.
        """
        made = self.reservation(reservation_id)
        wanted = made.quantity if quantity is None else quantity
        if wanted > made.quantity:
            told = {"reserved": quantity_text(made.quantity), "requested": quantity_text(wanted)}
            detail = f"Reservation {reservation_id} is of {told['reserved']}, not {told['requested']}."
            raise ReservationExceeded(detail, sku=shelf.sku, reservation_id=reservation_id, **told)
        self._remove(
            happened.Shipped,
            shelf,
            booking,
            wanted,
            self.on_hand,
            reservation_id=reservation_id,
            order_id=made.order_id,
        )

    def take_back(self, shelf: Shelf, booking: Booking, quantity: Decimal) -> None:
        """Take goods back, at the cost of the delivery that the booking's reference names.

        Raises:
            DomainError: there was no such delivery by then, or of less, or too much would be there.
        """
        quantity = require_positive(quantity)
        delivery = found(self.deliveries, booking.reference) or happened.delivery(
            booking.past, booking.reference
        )
        if delivery is None:
            detail = f"No delivery {booking.reference} of {shelf.sku} left {shelf.warehouse}."
            raise DeliveryNotFound(detail, delivery=booking.reference, sku=shelf.sku)
        if quantity > delivery.quantity:
            detail = f"Of delivery {booking.reference}, {quantity_text(delivery.quantity)} can come back."
            returnable, requested = quantity_text(delivery.quantity), quantity_text(quantity)
            raise ReturnExceedsDelivery(
                detail,
                delivery=booking.reference,
                sku=shelf.sku,
                returnable=returnable,
                requested=requested,
            )
        require_left(delivery.shipped_on, booking.effective_at)
        value = share(delivery.value, quantity, delivery.quantity, shelf.currency)
        self._add(
            happened.Returned,
            shelf,
            booking,
            [(quantity, value)],
            order_id=delivery.order_id,
            reservation_id=delivery.reservation_id,
        )

    def remembers(self, delivery: str) -> bool:
        """Whether all that can come back of the delivery is known without the past."""
        return not self.deliveries_forgotten or found(self.deliveries, delivery) is not None

    def reservation(self, reservation_id: str) -> Reservation:
        """The promise of this id.

        Raises:
            ReservationNotFound: there is none.
        """
        made = self.reservations.get(reservation_id)
        if made is None:
            detail = f"There is no reservation {reservation_id}."
            raise ReservationNotFound(detail, reservation_id=reservation_id)
        return made

    def _end(
        self,
        event: type[happened.Released | happened.ReservationExpired],
        reservation_id: str,
        made: Reservation,
        reason: str,
    ) -> None:
        self.trigger_event(
            event,
            warehouse=self.warehouse,
            sku=self.sku,
            reservation_id=reservation_id,
            quantity=made.quantity,
            order_id=made.order_id,
            reason=reason,
        )


def stock_id(tenant: UUID, warehouse: str, sku: str) -> UUID:
    """The stream of this sku in this warehouse."""
    return natural_id(tenant, Stock.TOPIC, warehouse, sku)
