"""Goods that are promised, delivered and come back, one sku at a time: commands and handlers."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Final

from pydantic import Field

from commands.bus import Command, Handler, Work
from commands.fields import BusinessDate, NaturalKey, QuantityText, Reason
from commands.inventory.booking import book, find_shelf
from commands.inventory.movements import StockCommand
from domain.inventory.reservations import Reservation
from domain.inventory.stock import Stock, stock_id

YEAR_S: Final = 366 * 24 * 60 * 60

ExpiresIn = Annotated[int, Field(strict=True, ge=1, le=YEAR_S)]
"""Seconds; a year at most."""


class ReserveStock(StockCommand):
    """Promise goods to somebody."""

    TOPIC = "inventory.reserve_stock"

    reservation_id: NaturalKey
    """Chosen by the client: the same once more is the same reservation."""
    quantity: QuantityText
    order_id: NaturalKey | None = None
    expires_in_s: ExpiresIn | None = None
    """Without it the reservation stays until it is released or shipped."""


class ReleaseReservation(StockCommand):
    """Take a promise back."""

    TOPIC = "inventory.release_reservation"

    reservation_id: NaturalKey
    reason: Reason | None = None


class ExpireReservation(StockCommand):
    """End a promise whose time has run out."""

    TOPIC = "inventory.expire_reservation"

    reservation_id: NaturalKey


class ShipReservation(StockCommand):
    """Deliver what is promised."""

    TOPIC = "inventory.ship_reservation"

    reservation_id: NaturalKey
    effective_at: BusinessDate | None = None
    """The day on which it left; today when left out."""


class ReturnStock(StockCommand):
    """Take back what was shipped for a reservation, at the cost that it left with."""

    TOPIC = "inventory.return_stock"

    reservation_id: NaturalKey
    quantity: QuantityText
    effective_at: BusinessDate | None = None
    """The day on which it came back; today when left out."""


async def reserve_stock(command: ReserveStock, work: Work) -> Stock:
    """See `Stock.reserve`; the answer to a repeat is that to the first time."""
    stock = await work.edit(Stock, stock_id(work.tenant, command.warehouse, command.sku))
    shelf = await find_shelf(work, command.warehouse, command.sku)
    expires_in_s = command.expires_in_s
    made = stock.reserve(
        shelf,
        command.reservation_id,
        Decimal(command.quantity),
        order_id=command.order_id,
        expires_at=None if expires_in_s is None else work.now + timedelta(seconds=expires_in_s),
    )
    return as_answered(stock, made)


async def release_reservation(command: ReleaseReservation, work: Work) -> Stock:
    """See `Stock.release`."""
    stock = await work.edit(Stock, stock_id(work.tenant, command.warehouse, command.sku))
    stock.release(command.reservation_id, command.reason or "")
    return stock


async def expire_reservation(command: ExpireReservation, work: Work) -> Stock:
    """See `Stock.expire`."""
    stock = await work.edit(Stock, stock_id(work.tenant, command.warehouse, command.sku))
    stock.expire(command.reservation_id, work.now)
    return stock


async def ship_reservation(command: ShipReservation, work: Work) -> Stock:
    """See `Stock.ship`; the delivery bears the id of the reservation."""
    stock = await work.edit(Stock, stock_id(work.tenant, command.warehouse, command.sku))
    shelf = await find_shelf(work, command.warehouse, command.sku)
    booking = await book(work, stock, command.effective_at, command.reservation_id)
    stock.ship(shelf, booking, command.reservation_id)
    return stock


async def return_stock(command: ReturnStock, work: Work) -> Stock:
    """See `Stock.take_back`."""
    stock = await work.edit(Stock, stock_id(work.tenant, command.warehouse, command.sku))
    shelf = await find_shelf(work, command.warehouse, command.sku)
    delivery = command.reservation_id
    booking = await book(work, stock, command.effective_at, delivery, delivery=delivery)
    stock.take_back(shelf, booking, Decimal(command.quantity))
    return stock


def as_answered(stock: Stock, made: Reservation) -> Stock:
    """The stock at the version that whoever made this reservation was told, for the answer."""
    told = stock.editable_copy()
    told.version = made.version
    return told


HANDLERS: Final[Mapping[type[Command], Handler]] = {
    ReserveStock: reserve_stock,
    ReleaseReservation: release_reservation,
    ExpireReservation: expire_reservation,
    ShipReservation: ship_reservation,
    ReturnStock: return_stock,
}
