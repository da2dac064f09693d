"""Goods: how much of an item there is in a warehouse, what it is worth, and how that changes.

This is the part of a stock that moves; `stock` adds what is promised. The state is as large as what there is
(layers and reservations) and does not grow with what has been: what a movement needs of the past is handed in
with its `Booking`.

DomainError
├── InsufficientStock    more is asked for than is available
├── SameWarehouse        a transfer goes from one warehouse to another
├── money.OutOfRange     all that is there would be worth more than any ledger books
└── and those of `valuation`
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from domain.inventory import stock_events as happened
from domain.inventory.backdating import Timeline
from domain.inventory.item import Shelf
from domain.inventory.reservations import Deliveries, Reservation
from domain.inventory.stock_events import Movement
from domain.inventory.valuation import (
    NOTHING,
    Layer,
    Layers,
    cost,
    joined,
    numbered,
    plain,
    quantity_of,
    quantity_text,
    require_positive,
    surplus_value,
    taken,
    value_of,
    without,
)
from domain.shared.aggregate import Aggregate
from domain.shared.errors import DomainError
from domain.shared.money import in_minor_units, within_range


class InsufficientStock(DomainError):
    """More is asked for than is available."""

    code: ClassVar[str] = "inventory.insufficient_stock"


class SameWarehouse(DomainError):
    """A transfer goes from one warehouse to another."""

    code: ClassVar[str] = "inventory.same_warehouse"


@dataclass(frozen=True, slots=True)
class Booking:
    """How a movement is booked.

    Attributes:
        effective_at: the day on which goods moved.
        revalued_on: the first open day, for a difference in value that comes to light.
        past: everything recorded of the stock, where goods have moved since that day, or a delivery comes
            back that the stock does not remember.
    """

    effective_at: date
    reference: str
    revalued_on: date
    past: Sequence[Aggregate.Event] = ()


class _NoReservations(dict[str, Reservation]):
    """Immutable by custom, as all state: events replace it."""

    # The default of a state's attribute has to be hashable.
    __hash__ = object.__hash__  # type: ignore[assignment]


class Goods(Aggregate):
    """An item in a warehouse, as far as it can be touched."""

    warehouse: str = ""
    sku: str = ""
    currency: str = ""
    on_hand: Decimal = NOTHING
    reserved: Decimal = NOTHING
    value: Decimal = NOTHING
    layers: Layers = ()
    layers_made: int = 0
    newest: Layer | None = None
    """The layer that came in last by its day, as it was then."""
    newest_at: date | None = None
    """That day."""
    last_effective_at: date | None = None
    """The last day on which goods moved."""
    reservations: Mapping[str, Reservation] = _NoReservations()
    deliveries: Deliveries = ()
    """The latest ones, oldest first."""
    deliveries_forgotten: bool = False
    """Whether there are more than those."""
    reorder_reported: Decimal | None = None
    """The reorder point that was reached and not left since by goods that came in."""

    @property
    def available(self) -> Decimal:
        """What can be promised. Below zero when a count found less than had been promised."""
        return plain(self.on_hand - self.reserved)

    def is_backdated(self, day: date) -> bool:
        """Whether goods have moved since."""
        return self.last_effective_at is not None and day < self.last_effective_at

    def receive(self, shelf: Shelf, booking: Booking, quantity: Decimal, unit_cost: Decimal) -> None:
        """Take goods in from outside.

        Raises:
            DomainError: quantity or cost cannot be, or too much would be there.
        """
        quantity = require_positive(quantity)
        value = cost(quantity, unit_cost, shelf.currency)
        unit_cost = in_minor_units(unit_cost, shelf.currency)
        self._add(happened.Received, shelf, booking, [(quantity, value)], unit_cost=unit_cost)

    def issue(self, shelf: Shelf, booking: Booking, quantity: Decimal) -> None:
        """Hand goods out for use.

        Raises:
            DomainError: so much is not available, now or at any time since the day.
        """
        self._remove(happened.Issued, shelf, booking, quantity, self.available)

    def count(self, shelf: Shelf, booking: Booking, counted: Decimal, reason: str) -> None:
        """Follow what somebody counted at the end of the day.

        Raises:
            DomainError: more was taken since than was counted, or too much would be there.
        """
        timeline = self._timeline(shelf, booking)
        layers, newest = (
            (self.layers, self.newest) if timeline is None else (timeline.layers, timeline.newest)
        )
        surplus = plain(counted - (self.on_hand if timeline is None else timeline.on_hand))
        told: dict[str, Any] = {"counted_quantity": plain(counted), "reason": reason}
        if surplus < 0:
            # What is promised has to stand back behind what is there.
            self._remove(happened.Counted, shelf, booking, -surplus, self.on_hand, **told)
        elif surplus > 0:
            value = surplus_value(layers, newest, surplus, shelf.currency)
            self._add(happened.Counted, shelf, booking, [(surplus, value)], **told)
        else:
            self._moved(happened.Counted, shelf, booking, (), **told)

    def transfer(
        self,
        to: "Goods",
        shelves: tuple[Shelf, Shelf],
        bookings: tuple[Booking, Booking],
        quantity: Decimal,
        transfer_id: UUID,
    ) -> None:
        """Send goods to another warehouse, which takes them in at the value that they leave with.

        Raises:
            DomainError: so much is not available, too much would be there, or it is the same warehouse.
        """
        here, there = shelves
        if here.warehouse == there.warehouse:
            raise SameWarehouse(f"{here.warehouse} cannot send to itself.", warehouse=here.warehouse)
        used = self._remove(
            happened.TransferredOut,
            here,
            bookings[0],
            quantity,
            self.available,
            transfer_id=transfer_id,
            counterpart=there.warehouse,
        )
        to._add(  # noqa: SLF001 - of the same class
            happened.TransferredIn,
            there,
            bookings[1],
            [(each.quantity, each.value) for each in used],
            transfer_id=transfer_id,
            counterpart=here.warehouse,
        )

    def _add(
        self,
        event: type[Movement],
        shelf: Shelf,
        booking: Booking,
        goods: Sequence[tuple[Decimal, Decimal]],
        **told: Any,
    ) -> None:
        """Take in `goods`, given as quantities with their values.

        No amount of a movement is more than the stock was worth on one of its days, and what leaves never
        makes it worth more on any. So this is the one place to keep all of them within what ledgers book,
        and nothing is kept from leaving.
        """
        added = numbered(goods, shelf.valuation, self.layers_made)
        timeline = self._timeline(shelf, booking)
        if timeline is None:
            within_range(self.value + value_of(added))
            self._moved(event, shelf, booking, added, **told)
            return
        layers, value_max = timeline.today(joined(timeline.layers, added))
        within_range(value_max)
        self._moved(event, shelf, booking, added, **told)
        self._revalue(event, shelf, booking, layers)

    def _remove(
        self,
        event: type[Movement],
        shelf: Shelf,
        booking: Booking,
        quantity: Decimal,
        limit: Decimal,
        **told: Any,
    ) -> Layers:
        """Hand out `quantity`, at most `limit`; the layers that it is taken from are returned."""
        quantity = require_positive(quantity)
        timeline = self._timeline(shelf, booking)
        if timeline is not None:
            limit = min(limit, timeline.least_on_hand)
        self._require_available(shelf, quantity, limit)
        before = self.available
        if timeline is None:
            used = taken(self.layers, quantity, shelf.currency)
        else:
            used = taken(timeline.layers, quantity, shelf.currency)
            left, _ = timeline.today(without(timeline.layers, used))
            # Revalued first: what it uses may be gone since, and is among the layers again then.
            self._revalue(event, shelf, booking, joined(used, left))
        self._moved(event, shelf, booking, used, out=True, **told)
        self._watch(shelf, before)
        return used

    def _moved(
        self,
        event: type[Movement],
        shelf: Shelf,
        booking: Booking,
        layers: Layers,
        *,
        out: bool = False,
        **told: Any,
    ) -> None:
        quantity, value = quantity_of(layers), value_of(layers)
        if out:
            quantity, value = -quantity, -value
        self.trigger_event(
            event,
            warehouse=shelf.warehouse,
            sku=shelf.sku,
            currency=shelf.currency,
            quantity_change=quantity,
            value_change=in_minor_units(value, shelf.currency),
            layers=layers,
            effective_at=booking.effective_at,
            reference=booking.reference,
            on_hand_after=plain(self.on_hand + quantity),
            value_after=in_minor_units(self.value + value, shelf.currency),
            **told,
        )

    def _revalue(self, cause: type[Movement], shelf: Shelf, booking: Booking, layers: Layers) -> None:
        """Let the stock be `layers`, of as much as there is."""
        if layers == self.layers:
            return
        value = in_minor_units(value_of(layers), shelf.currency)
        self.trigger_event(
            happened.Revalued,
            warehouse=shelf.warehouse,
            sku=shelf.sku,
            currency=shelf.currency,
            quantity_change=NOTHING,
            value_change=in_minor_units(value - self.value, shelf.currency),
            layers=(),
            effective_at=booking.revalued_on,
            reference=booking.reference,
            on_hand_after=self.on_hand,
            value_after=value,
            layers_after=layers,
            cause=cause.TOPIC,
        )

    def _watch(self, shelf: Shelf, before: Decimal) -> None:
        """Tell once that what is available, `before` a moment ago, has fallen to the reorder point."""
        if (
            self.reorder_reported is None
            and self.available < before
            and self.available <= shelf.reorder_point
        ):
            self.trigger_event(
                happened.ReorderPointReached,
                warehouse=shelf.warehouse,
                sku=shelf.sku,
                available=self.available,
                reorder_point=shelf.reorder_point,
            )

    def _require_available(self, shelf: Shelf, quantity: Decimal, available: Decimal) -> None:
        if quantity > available:
            told = {"available": quantity_text(available), "requested": quantity_text(quantity)}
            detail = f"Of {shelf.sku}, {told['available']} is available in {shelf.warehouse}."
            raise InsufficientStock(detail, warehouse=shelf.warehouse, sku=shelf.sku, **told)

    def _timeline(self, shelf: Shelf, booking: Booking) -> Timeline | None:
        if not self.is_backdated(booking.effective_at):
            return None
        return Timeline(happened.steps(booking.past), booking.effective_at, shelf.currency)
