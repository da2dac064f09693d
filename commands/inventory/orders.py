"""What an order does to the stock of all its skus at once, in one append: commands and handlers.

No route leads here: these are steps of the processes that carry an order through. An order's reservation
bears the order's id in the stock of each sku, and its deliveries are named `<order>/<shipment>`. Days are not
held against today: whoever told the order of them did that, maybe by a clock that is ahead.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Final, cast

from pydantic import BaseModel, ConfigDict, Field

from commands.bus import Command, Handler, Work
from commands.fields import BusinessDate, FixedPermission, NaturalKey, QuantityText, Reason
from commands.inventory.booking import book_on, find_shelf
from commands.inventory.reservations import ExpiresIn, as_answered
from domain.inventory.reservations import ReservationNotFound
from domain.inventory.stock import Stock, stock_id

LINES_MAX: Final = 1000
"""As many as an order may have, and some."""

Shipment = Annotated[int, Field(strict=True, ge=1)]


class OrderLine(BaseModel):
    """So much of a sku. One that is named twice counts together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sku: NaturalKey
    quantity: QuantityText


Lines = Annotated[tuple[OrderLine, ...], Field(min_length=1, max_length=LINES_MAX)]


class OrderCommand(FixedPermission):
    """A command about the stock of an order's skus in a warehouse."""

    needs = "inventory.stock:write"

    order_id: NaturalKey
    warehouse: NaturalKey


class ReserveOrder(OrderCommand):
    """Promise all lines of an order, or none."""

    TOPIC = "inventory.reserve_order"

    lines: Lines
    expires_in_s: ExpiresIn | None = None


class ReleaseOrder(OrderCommand):
    """Take back what is still promised to an order."""

    TOPIC = "inventory.release_order"

    skus: Annotated[tuple[NaturalKey, ...], Field(min_length=1, max_length=LINES_MAX)]
    reason: Reason


class ShipOrder(OrderCommand):
    """Deliver a shipment of an order."""

    TOPIC = "inventory.ship_order"

    shipment: Shipment
    lines: Lines
    effective_at: BusinessDate | None = None
    """The day on which it happened; today when left out."""


class ReturnOrder(OrderCommand):
    """Take back what came with a shipment of an order, at the cost that it left with."""

    TOPIC = "inventory.return_order"

    shipment: Shipment
    lines: Lines
    effective_at: BusinessDate | None = None
    """The day on which it happened; today when left out."""


async def reserve_order(command: ReserveOrder, work: Work) -> Stock:
    """See `Stock.reserve`; the answer is about the stock of the first line."""
    quantities = _by_sku(command.lines)
    stocks = await _stocks(work, command.warehouse, quantities)
    expires_in_s = command.expires_in_s
    expires_at = None if expires_in_s is None else work.now + timedelta(seconds=expires_in_s)
    promises = []
    for sku, stock in stocks.items():
        shelf = await find_shelf(work, command.warehouse, sku)
        made = stock.reserve(
            shelf, command.order_id, quantities[sku], order_id=command.order_id, expires_at=expires_at
        )
        promises.append(made)
    return as_answered(next(iter(stocks.values())), promises[0])


async def release_order(command: ReleaseOrder, work: Work) -> Stock:
    """See `Stock.release`. A sku of which nothing is promised to the order is as it should be."""
    stocks = await _stocks(work, command.warehouse, command.skus)
    for stock in stocks.values():
        if command.order_id in stock.reservations:
            stock.release(command.order_id, command.reason)
    known = [stock for stock in stocks.values() if stock.exists]
    if not known:
        detail = f"Nothing was ever reserved of the order's skus in {command.warehouse}."
        raise ReservationNotFound(detail, reservation_id=command.order_id)
    return known[0]


async def ship_order(command: ShipOrder, work: Work) -> Stock:
    """See `Stock.ship`."""
    quantities = _by_sku(command.lines)
    stocks = await _stocks(work, command.warehouse, quantities)
    delivery = f"{command.order_id}/{command.shipment}"
    for sku, stock in stocks.items():
        shelf = await find_shelf(work, command.warehouse, sku)
        booking = await book_on(work, stock, command.effective_at or work.today, delivery)
        stock.ship(shelf, booking, command.order_id, quantities[sku])
    return next(iter(stocks.values()))


async def return_order(command: ReturnOrder, work: Work) -> Stock:
    """See `Stock.take_back`."""
    quantities = _by_sku(command.lines)
    stocks = await _stocks(work, command.warehouse, quantities)
    delivery = f"{command.order_id}/{command.shipment}"
    for sku, stock in stocks.items():
        shelf = await find_shelf(work, command.warehouse, sku)
        day = command.effective_at or work.today
        booking = await book_on(work, stock, day, delivery, delivery=delivery)
        stock.take_back(shelf, booking, quantities[sku])
    return next(iter(stocks.values()))


async def _stocks(work: Work, warehouse: str, skus: Iterable[str]) -> dict[str, Stock]:
    """The stock of each sku, to be changed."""
    wanted = list(dict.fromkeys(skus))
    edited = await work.edit_all(*((Stock, stock_id(work.tenant, warehouse, sku)) for sku in wanted))
    return dict(zip(wanted, cast("list[Stock]", edited), strict=True))


def _by_sku(lines: Iterable[OrderLine]) -> dict[str, Decimal]:
    quantities: dict[str, Decimal] = {}
    for line in lines:
        quantities[line.sku] = quantities.get(line.sku, Decimal(0)) + Decimal(line.quantity)
    return quantities


HANDLERS: Final[Mapping[type[Command], Handler]] = {
    ReserveOrder: reserve_order,
    ReleaseOrder: release_order,
    ShipOrder: ship_order,
    ReturnOrder: return_order,
}
