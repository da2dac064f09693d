"""Orders: what a customer wants, what it comes to, and what has left.

    pending → confirmed → partially_shipped → completed → returned
    pending, confirmed → cancelled            partially_shipped → returned

Lines change while the order is pending. Each change makes a new revision; only the present one is confirmed.
The terms that it was placed by are kept for its life: a changed policy changes no order that is there.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from domain.sales.days import require_not_before
from domain.sales.placement import Address, PaymentChoice, Placement
from domain.sales.pricing import (
    NoLines,
    OrderLine,
    Pricing,
    Terms,
    WantedLine,
    price,
    priced,
    require_different,
)
from domain.sales.pricing_policy import Tier
from domain.sales.refusals import (
    LineNotFound,
    OrderChanged,
    OrderNotCancellable,
    OrderNotFound,
    OrderNotPending,
    OrderNotReturnable,
    OrderNotShippable,
)
from domain.sales.shipments import ReturnedLine, Shipment, ShippedLine, Sold
from domain.shared.aggregate import Aggregate, event
from domain.shared.personal import Personal

BY_CUSTOMER: Final = "customer"
"""The code of a cancellation that somebody asked for."""


class OrderStatus(StrEnum):
    """Where an order stands. `blank`: nothing has happened yet."""

    BLANK = "blank"
    PENDING = "pending"
    CONFIRMED = "confirmed"
    PARTIALLY_SHIPPED = "partially_shipped"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    RETURNED = "returned"


class Order(Aggregate):
    """An order of a customer."""

    TOPIC = "sales.order"

    status: OrderStatus = OrderStatus.BLANK
    placement: Placement | None = None
    lines: tuple[OrderLine, ...] = ()
    terms: Terms | None = None
    pricing: Pricing | None = None
    revision: int = 0
    """Which version of the lines this is, from 1."""
    payment_id: UUID | None = None
    """What pays for it; None until it is confirmed."""
    shipments: tuple[Shipment, ...] = ()
    cancel_reason: str | None = None
    cancel_code: str | None = None
    returned_on: date | None = None
    return_reason: str | None = None

    class Placed(Aggregate.Event):
        """A customer ordered; it is priced, and nothing is promised yet."""

        TOPIC = "sales.order.placed"
        customer_id: str
        customer_tier: Tier
        currency: str
        warehouse: str
        lines: tuple[OrderLine, ...]
        terms: Terms
        pricing: Pricing
        revision: int
        shipping_address: Personal[Address]
        payment: PaymentChoice
        placed_on: date

    class LineAdded(Aggregate.Event):
        """The customer wants this too. `lines` and `pricing` are those of the whole order after it."""

        TOPIC = "sales.order.line_added"
        line: OrderLine
        lines: tuple[OrderLine, ...]
        pricing: Pricing
        revision: int

    class LineRemoved(Aggregate.Event):
        """The customer wants this no more. `lines` and `pricing` are those of the whole order after it."""

        TOPIC = "sales.order.line_removed"
        sku: str
        lines: tuple[OrderLine, ...]
        pricing: Pricing
        revision: int

    class Confirmed(Aggregate.Event):
        """The goods are reserved and the money is held: it will be delivered."""

        TOPIC = "sales.order.confirmed"
        revision: int
        payment_id: UUID

    class Cancelled(Aggregate.Event):
        """It will not be delivered. `was` is the status before."""

        TOPIC = "sales.order.cancelled"
        reason: str
        code: str
        was: OrderStatus

    class Shipped(Aggregate.Event):
        """Goods left. The amounts of all shipments add up to those of the order."""

        TOPIC = "sales.order.shipped"
        shipment: int
        lines: tuple[ShippedLine, ...]
        net: Decimal
        tax: Decimal
        shipping: Decimal
        total: Decimal
        shipped_on: date

    class Completed(Aggregate.Event):
        """All goods have left."""

        TOPIC = "sales.order.completed"

    class Returned(Aggregate.Event):
        """All that had left came back, and is to be paid back: all but the shipping."""

        TOPIC = "sales.order.returned"
        lines: tuple[ReturnedLine, ...]
        net: Decimal
        tax: Decimal
        total: Decimal
        returned_on: date
        reason: str

    def place(self, placement: Placement, wanted: Sequence[WantedLine], terms: Terms) -> None:
        """Take an order, priced by these terms.

        Raises:
            DomainError: there is nothing in it, or it has no price.
        """
        lines = tuple(priced(line, placement.currency) for line in wanted)
        pricing = price(lines, terms, placement.currency)
        self._placed(
            customer_id=placement.customer_id,
            customer_tier=placement.customer_tier,
            currency=placement.currency,
            warehouse=placement.warehouse,
            lines=lines,
            terms=terms,
            pricing=pricing,
            revision=1,
            shipping_address=placement.shipping_address,
            payment=placement.payment,
            placed_on=placement.placed_on,
        )

    def add_line(self, wanted: WantedLine) -> None:
        """Take one more line, at the terms that the order has.

        Raises:
            DomainError: it is not pending, or has such a line already.
        """
        currency = self.require_pending().currency
        line = priced(wanted, currency)
        lines = (*self.lines, line)
        self._line_added(line, lines, price(lines, self._terms(), currency), self.revision + 1)

    def remove_line(self, sku: str) -> None:
        """Leave a line out, which must not be the last.

        Raises:
            DomainError: it is not pending, has no such line, or no other.
        """
        currency = self.require_pending().currency
        lines = tuple(line for line in self.lines if line.sku != sku)
        if len(lines) == len(self.lines):
            raise LineNotFound(f"Order {self.id} has no line of {sku}.", id=str(self.id), sku=sku)
        self._line_removed(sku, lines, price(lines, self._terms(), currency), self.revision + 1)

    def confirm(self, revision: int, payment_id: UUID) -> None:
        """Promise what stands in this revision. Said again of the same payment, nothing happens.

        Raises:
            DomainError: it is not pending, or its lines have changed since.
        """
        if self.status is OrderStatus.CONFIRMED and (self.revision, self.payment_id) == (
            revision,
            payment_id,
        ):
            return
        self.require_pending()
        if revision != self.revision:
            detail = f"Order {self.id} is at revision {self.revision}, not {revision}."
            raise OrderChanged(detail, id=str(self.id), revision=self.revision, asked=revision)
        self._confirmed(revision, payment_id)

    def cancel(self, reason: str, code: str = BY_CUSTOMER) -> None:
        """Give the order up. `code` tells programs why.

        Raises:
            DomainError: goods have left, or it has ended already.
        """
        self.require_placed()
        if self.status not in {OrderStatus.PENDING, OrderStatus.CONFIRMED}:
            raise OrderNotCancellable(f"Order {self.id} is {self.status}.", **self._stand())
        self._cancelled(reason, code, self.status)

    def ship(self, quantities: Sequence[tuple[str, Decimal]] | None, on: date) -> None:
        """Send so much of each sku, or all that is open; with the last of it the order is complete.

        Raises:
            DomainError: it is not confirmed, not as much is open, or it was not placed by then.
        """
        placement = self.require_placed()
        if self.status not in {OrderStatus.CONFIRMED, OrderStatus.PARTIALLY_SHIPPED}:
            raise OrderNotShippable(f"Order {self.id} is {self.status}.", **self._stand())
        require_not_before(on, placement.placed_on, "it was ordered on")
        left = self.sold().open_quantities()
        if quantities is None:
            quantities = tuple(left.items())
        if not quantities:
            raise NoLines("A shipment has at least one line.")
        require_different([sku for sku, _ in quantities])
        sent = dict(quantities)
        shipment = self.sold().next_shipment(sent, on)
        self._shipped(
            shipment=shipment.number,
            lines=shipment.lines,
            net=shipment.net,
            tax=shipment.tax,
            shipping=shipment.shipping,
            total=shipment.total,
            shipped_on=on,
        )
        if sent == left:
            self._completed()

    def take_back(self, reason: str, on: date) -> None:
        """Take back all that has left. What has not left never will.

        Raises:
            DomainError: nothing has left, or not by then, or it came back already.
        """
        self.require_placed()
        if self.status not in {OrderStatus.PARTIALLY_SHIPPED, OrderStatus.COMPLETED}:
            raise OrderNotReturnable(f"Order {self.id} is {self.status}.", **self._stand())
        require_not_before(on, max(each.shipped_on for each in self.shipments), "the last of it left on")
        net = sum((each.net for each in self.shipments), Decimal(0))
        tax = sum((each.tax for each in self.shipments), Decimal(0))
        self._returned(
            lines=tuple(
                ReturnedLine(line.sku, line.quantity, each.number)
                for each in self.shipments
                for line in each.lines
            ),
            net=net,
            tax=tax,
            total=net + tax,
            returned_on=on,
            reason=reason,
        )

    def require_placed(self) -> Placement:
        """What the order says, if there is one.

        Raises:
            OrderNotFound: there is none.
        """
        if self.placement is None:
            raise OrderNotFound(f"There is no order {self.id}.", id=str(self.id))
        return self.placement

    def require_pending(self) -> Placement:
        """What the order says, if its lines may still change.

        Raises:
            DomainError: there is none, or it is decided already.
        """
        placement = self.require_placed()
        if self.status is not OrderStatus.PENDING:
            raise OrderNotPending(f"Order {self.id} is {self.status}.", **self._stand())
        return placement

    def sold(self) -> Sold:
        """The order, as far as shipping it goes.

        Raises:
            OrderNotFound: there is none.
        """
        placement = self.require_placed()
        assert self.pricing is not None
        return Sold(placement.currency, self.lines, self.pricing, self.shipments)

    def _terms(self) -> Terms:
        assert self.terms is not None
        return self.terms

    def _stand(self) -> dict[str, str]:
        # Not `status`: a problem's status is that of HTTP.
        return {"id": str(self.id), "order_status": self.status.value}

    @event(Placed)
    def _placed(
        self,
        *,
        customer_id: str,
        customer_tier: Tier,
        currency: str,
        warehouse: str,
        lines: tuple[OrderLine, ...],
        terms: Terms,
        pricing: Pricing,
        revision: int,
        shipping_address: Personal[Address],
        payment: PaymentChoice,
        placed_on: date,
    ) -> None:
        self.status = OrderStatus.PENDING
        self.placement = Placement(
            customer_id, customer_tier, currency, warehouse, shipping_address, payment, placed_on
        )
        self.lines = lines
        self.terms = terms
        self.pricing = pricing
        self.revision = revision

    @event(LineAdded)
    def _line_added(
        self,
        line: OrderLine,  # noqa: ARG002 - for the reader of the log
        lines: tuple[OrderLine, ...],
        pricing: Pricing,
        revision: int,
    ) -> None:
        self.lines = lines
        self.pricing = pricing
        self.revision = revision

    @event(LineRemoved)
    def _line_removed(self, sku: str, lines: tuple[OrderLine, ...], pricing: Pricing, revision: int) -> None:  # noqa: ARG002 - `sku` is for the reader of the log
        self.lines = lines
        self.pricing = pricing
        self.revision = revision

    @event(Confirmed)
    def _confirmed(self, revision: int, payment_id: UUID) -> None:  # noqa: ARG002 - it is the present one
        self.status = OrderStatus.CONFIRMED
        self.payment_id = payment_id

    @event(Cancelled)
    def _cancelled(self, reason: str, code: str, was: OrderStatus) -> None:  # noqa: ARG002 - `was` is for the reader of the log
        self.status = OrderStatus.CANCELLED
        self.cancel_reason = reason
        self.cancel_code = code

    @event(Shipped)
    def _shipped(
        self,
        *,
        shipment: int,
        lines: tuple[ShippedLine, ...],
        net: Decimal,
        tax: Decimal,
        shipping: Decimal,
        total: Decimal,
        shipped_on: date,
    ) -> None:
        self.status = OrderStatus.PARTIALLY_SHIPPED
        self.shipments = (
            *self.shipments,
            Shipment(shipment, lines, net, tax, shipping, total, shipped_on),
        )

    @event(Completed)
    def _completed(self) -> None:
        self.status = OrderStatus.COMPLETED

    @event(Returned)
    def _returned(
        self,
        *,
        lines: tuple[ReturnedLine, ...],  # noqa: ARG002 - for the reader of the log, and so are the amounts
        net: Decimal,  # noqa: ARG002
        tax: Decimal,  # noqa: ARG002
        total: Decimal,  # noqa: ARG002
        returned_on: date,
        reason: str,
    ) -> None:
        self.status = OrderStatus.RETURNED
        self.returned_on = returned_on
        self.return_reason = reason
