"""What happens to a stock, and what each of it does to the stock's state.

A movement says everything about itself: how much of what moved, at which value, out of which layers, and what
there is after it. Readers need no arithmetic.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from domain.inventory.backdating import Step, step_in, step_out
from domain.inventory.reservations import (
    DELIVERIES_REMEMBERED_MAX,
    Deliveries,
    Delivery,
    Reservation,
    found,
    returned,
    shipped,
)
from domain.inventory.valuation import Layers, joined, plain, without
from domain.shared.aggregate import Aggregate


class Movement(Aggregate.Event):
    """Goods, or their value, moved. `layers`: those that it added or, when goods left, used."""

    warehouse: str
    sku: str
    currency: str
    quantity_change: Decimal
    value_change: Decimal
    layers: Layers
    effective_at: date
    reference: str
    on_hand_after: Decimal
    value_after: Decimal

    def apply(self, aggregate: Any) -> None:
        """Move the goods."""
        stock = aggregate
        stock.warehouse, stock.sku, stock.currency = self.warehouse, self.sku, self.currency
        stock.on_hand = self.on_hand_after
        stock.value = self.value_after
        if self.quantity_change < 0:
            stock.layers = without(stock.layers, self.layers)
        elif self.layers:
            stock.layers = joined(stock.layers, self.layers)
            if stock.newest_at is None or stock.newest_at <= self.effective_at:
                stock.newest, stock.newest_at = self.layers[-1], self.effective_at
            stock.layers_made = max(stock.layers_made, self.layers[-1].layer)
            if stock.reorder_reported is not None and stock.available > stock.reorder_reported:
                stock.reorder_reported = None
        if not stock.is_backdated(self.effective_at):
            stock.last_effective_at = self.effective_at


class Received(Movement):
    """Goods came in from outside."""

    TOPIC = "inventory.stock.received"
    unit_cost: Decimal


class Issued(Movement):
    """Goods left for use."""

    TOPIC = "inventory.stock.issued"


class Shipped(Movement):
    """Goods that were reserved left; `reference` names the delivery."""

    TOPIC = "inventory.stock.shipped"
    reservation_id: str
    order_id: str | None

    def apply(self, aggregate: Any) -> None:
        """Fulfil the reservation, and remember at what cost."""
        super().apply(aggregate)
        stock = aggregate
        left = _reduce(stock, self.reservation_id, -self.quantity_change)
        this = self.delivery(left if left.quantity == 0 else None)
        deliveries = shipped(stock.deliveries, this)
        stock.deliveries = deliveries[-DELIVERIES_REMEMBERED_MAX:]
        stock.deliveries_forgotten |= len(deliveries) > DELIVERIES_REMEMBERED_MAX

    def delivery(self, fulfils: Reservation | None = None) -> Delivery:
        """What is to be remembered of it. `fulfils`: the reservation, if this was the last of it."""
        return Delivery(
            self.reference,
            self.reservation_id,
            self.order_id,
            self.effective_at,
            -self.quantity_change,
            -self.value_change,
            fulfils,
        )


class Counted(Movement):
    """Somebody counted, and the books follow what is really there."""

    TOPIC = "inventory.stock.counted"
    counted_quantity: Decimal
    reason: str


class Returned(Movement):
    """Goods came back, at the cost of the delivery that `reference` names."""

    TOPIC = "inventory.stock.returned"
    order_id: str | None
    reservation_id: str

    def apply(self, aggregate: Any) -> None:
        """No more than the rest of the delivery may come back after this."""
        super().apply(aggregate)
        aggregate.deliveries = returned(
            aggregate.deliveries, self.reference, self.quantity_change, self.value_change
        )


class TransferredOut(Movement):
    """Goods left for another warehouse."""

    TOPIC = "inventory.stock.transferred_out"
    transfer_id: UUID
    counterpart: str


class TransferredIn(Movement):
    """Goods came from another warehouse, at the value that they left it with."""

    TOPIC = "inventory.stock.transferred_in"
    transfer_id: UUID
    counterpart: str


class Revalued(Movement):
    """What is there is worth something else, because of a movement that was dated back."""

    TOPIC = "inventory.stock.revalued"
    layers_after: Layers
    cause: str

    def apply(self, aggregate: Any) -> None:
        """Take the layers as they are told. Its day is not one on which goods moved."""
        aggregate.value = self.value_after
        aggregate.layers = self.layers_after


class Reserved(Aggregate.Event):
    """Goods are promised."""

    TOPIC = "inventory.stock.reserved"
    warehouse: str
    sku: str
    reservation_id: str
    quantity: Decimal
    order_id: str | None
    expires_at: datetime | None

    def apply(self, aggregate: Any) -> None:
        """Keep the promise."""
        stock = aggregate
        stock.warehouse, stock.sku = self.warehouse, self.sku
        made = Reservation(
            self.quantity, self.quantity, self.order_id, self.expires_at, self.originator_version
        )
        stock.reservations = {**stock.reservations, self.reservation_id: made}
        stock.reserved = plain(stock.reserved + self.quantity)


class Released(Aggregate.Event):
    """Goods are no longer promised."""

    TOPIC = "inventory.stock.released"
    warehouse: str
    sku: str
    reservation_id: str
    quantity: Decimal
    order_id: str | None
    reason: str

    def apply(self, aggregate: Any) -> None:
        """Forget the promise."""
        _reduce(aggregate, self.reservation_id, self.quantity)


class ReservationExpired(Aggregate.Event):
    """The time for which goods were promised has run out."""

    TOPIC = "inventory.stock.reservation_expired"
    warehouse: str
    sku: str
    reservation_id: str
    quantity: Decimal
    order_id: str | None
    reason: str

    def apply(self, aggregate: Any) -> None:
        """Forget the promise."""
        _reduce(aggregate, self.reservation_id, self.quantity)


class ReorderPointReached(Aggregate.Event):
    """What is available fell to the reorder point; told once until goods come in that lift it above."""

    TOPIC = "inventory.stock.reorder_point_reached"
    warehouse: str
    sku: str
    available: Decimal
    reorder_point: Decimal

    def apply(self, aggregate: Any) -> None:
        """Say it once."""
        stock = aggregate
        stock.reorder_reported = self.reorder_point
        # Told with the reservation that caused it: whoever repeats that is answered with both.
        for reservation_id in list(stock.reservations)[-1:]:
            made = stock.reservations[reservation_id]
            if made.version == stock.version:
                made = Reservation(
                    made.quantity,
                    made.quantity_reserved,
                    made.order_id,
                    made.expires_at,
                    self.originator_version,
                )
                stock.reservations = {**stock.reservations, reservation_id: made}


def _reduce(stock: Any, reservation_id: str, quantity: Decimal) -> Reservation:
    """Promise so much less under this id, and return what is left; a promise of nothing is none."""
    made: Reservation = stock.reservations[reservation_id]
    others = dict(stock.reservations)
    left = replace(made, quantity=plain(made.quantity - quantity))
    if left.quantity == 0:
        del others[reservation_id]
    else:
        others[reservation_id] = left
    stock.reservations = others
    stock.reserved = plain(stock.reserved - quantity)
    return left


def steps(past: Iterable[Aggregate.Event]) -> Iterator[Step]:
    """The movements of goods among these events, as a timeline takes them."""
    for each in past:
        # A revaluation follows from the movements, and will again.
        if isinstance(each, Movement) and not isinstance(each, Revalued):
            if each.quantity_change < 0:
                yield step_out(each.effective_at, -each.quantity_change)
            else:
                yield step_in(each.effective_at, each.layers)


def delivery(past: Iterable[Aggregate.Event], reference: str) -> Delivery | None:
    """What these events tell of the delivery of this reference."""
    told: Deliveries = ()
    for each in past:
        if isinstance(each, Shipped) and each.reference == reference:
            told = shipped(told, each.delivery())
        elif isinstance(each, Returned):
            told = returned(told, each.reference, each.quantity_change, each.value_change)
    return found(told, reference)
