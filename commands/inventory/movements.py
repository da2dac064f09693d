"""Goods that come in, go out, are counted, and move between warehouses: commands and handlers."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, cast

from pydantic import Field

from commands.bus import Command, Handler, Work
from commands.fields import (
    BusinessDate,
    CostText,
    FixedPermission,
    LevelText,
    NaturalKey,
    QuantityText,
    Reason,
    ShortText,
)
from commands.inventory.booking import book, find_shelf
from domain.inventory.stock import Stock, stock_id


class StockCommand(FixedPermission):
    """A command about the stock of an item in a warehouse."""

    needs = "inventory.stock:write"

    warehouse: NaturalKey
    sku: NaturalKey


class ReceiveStock(StockCommand):
    """Take goods in, at what they cost."""

    TOPIC = "inventory.receive_stock"

    quantity: QuantityText
    unit_cost: CostText
    """In the item's currency."""
    reference: ShortText = ""
    effective_at: BusinessDate | None = None
    """The day on which they came; today when left out."""


class IssueStock(StockCommand):
    """Hand goods out for use."""

    TOPIC = "inventory.issue_stock"

    quantity: QuantityText
    reference: ShortText = ""
    effective_at: BusinessDate | None = None
    """The day on which they left; today when left out."""


class AdjustStock(StockCommand):
    """Set the stock to what somebody counted."""

    TOPIC = "inventory.adjust_stock"

    counted_quantity: LevelText
    reason: Reason
    reference: ShortText = ""
    effective_at: BusinessDate | None = None
    """The day at whose end it was counted; today when left out."""


class TransferStock(FixedPermission):
    """Send goods to another warehouse."""

    TOPIC = "inventory.transfer_stock"
    needs = "inventory.stock:write"
    creates = True

    sku: NaturalKey
    from_: NaturalKey = Field(alias="from")
    to: NaturalKey
    quantity: QuantityText
    reference: ShortText = ""
    effective_at: BusinessDate | None = None
    """The day on which they were sent; today when left out."""


async def receive_stock(command: ReceiveStock, work: Work) -> Stock:
    """See `Stock.receive`."""
    stock = await work.edit(Stock, stock_id(work.tenant, command.warehouse, command.sku))
    shelf = await find_shelf(work, command.warehouse, command.sku)
    booking = await book(work, stock, command.effective_at, command.reference)
    stock.receive(shelf, booking, Decimal(command.quantity), Decimal(command.unit_cost))
    return stock


async def issue_stock(command: IssueStock, work: Work) -> Stock:
    """See `Stock.issue`."""
    stock = await work.edit(Stock, stock_id(work.tenant, command.warehouse, command.sku))
    shelf = await find_shelf(work, command.warehouse, command.sku)
    booking = await book(work, stock, command.effective_at, command.reference)
    stock.issue(shelf, booking, Decimal(command.quantity))
    return stock


async def adjust_stock(command: AdjustStock, work: Work) -> Stock:
    """See `Stock.count`."""
    stock = await work.edit(Stock, stock_id(work.tenant, command.warehouse, command.sku))
    shelf = await find_shelf(work, command.warehouse, command.sku)
    booking = await book(work, stock, command.effective_at, command.reference)
    stock.count(shelf, booking, Decimal(command.counted_quantity), command.reason)
    return stock


async def transfer_stock(command: TransferStock, work: Work) -> Stock:
    """See `Stock.transfer`; the answer is about the warehouse that sends, and tells the transfer's own id."""
    warehouses = list(dict.fromkeys((command.from_, command.to)))
    wanted = ((Stock, stock_id(work.tenant, warehouse, command.sku)) for warehouse in warehouses)
    stocks = cast("list[Stock]", await work.edit_all(*wanted))
    shelves = [await find_shelf(work, warehouse, command.sku) for warehouse in (command.from_, command.to)]
    bookings = [await book(work, stock, command.effective_at, command.reference) for stock in stocks]
    transfer_id = work.new_id()
    stocks[0].transfer(
        stocks[-1],
        (shelves[0], shelves[1]),
        (bookings[0], bookings[-1]),
        Decimal(command.quantity),
        transfer_id,
    )
    work.told["transfer_id"] = str(transfer_id)
    return stocks[0]


HANDLERS: Final[Mapping[type[Command], Handler]] = {
    ReceiveStock: receive_stock,
    IssueStock: issue_stock,
    AdjustStock: adjust_stock,
    TransferStock: transfer_stock,
}
