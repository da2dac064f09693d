"""What becomes of an order: commands and handlers."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from commands.bus import Command, Handler, Work
from commands.fields import BusinessDate, FixedPermission, NaturalKey, QuantityText, Reason
from commands.sales.fields import LINES_COUNT, NOT_EMPTY, Code
from domain.finance.fiscal_calendar import FiscalCalendar, calendar_id
from domain.sales.days import day_of
from domain.sales.order import BY_CUSTOMER, Order

Revision = Annotated[int, Field(strict=True, ge=1)]


class ConfirmOrder(FixedPermission):
    """Promise an order as it stands in this revision, now that its goods and its money are secured."""

    TOPIC = "sales.confirm_order"
    needs = "sales.orders:write"

    id: UUID
    revision: Revision
    payment_id: UUID


class CancelOrder(FixedPermission):
    """Give an order up, as long as nothing of it has left."""

    TOPIC = "sales.cancel_order"
    needs = "sales.orders:write"

    id: UUID
    reason: Reason
    code: Code = BY_CUSTOMER
    """Why, for programs."""


class ShippedPart(BaseModel):
    """So much of a line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sku: NaturalKey
    quantity: QuantityText


class ShipOrder(FixedPermission):
    """Ship some of a confirmed order, or all that is open."""

    TOPIC = "sales.ship_order"
    needs = "sales.orders:write"

    id: UUID
    lines: Annotated[tuple[ShippedPart, ...], LINES_COUNT, NOT_EMPTY] | None = None
    """Null: all that is open."""
    shipped_on: BusinessDate | None = None
    """The day on which it left, when that is told later; today when left out."""


class ReturnOrder(FixedPermission):
    """Take back all that has left, to pay back all but the shipping."""

    TOPIC = "sales.return_order"
    needs = "sales.orders:write"

    id: UUID
    reason: Reason | None = None
    returned_on: BusinessDate | None = None
    """The day on which it came back, when that is told later; today when left out."""


async def confirm_order(command: ConfirmOrder, work: Work) -> Order:
    """See `Order.confirm`."""
    order = await work.edit(Order, command.id)
    order.confirm(command.revision, command.payment_id)
    return order


async def cancel_order(command: CancelOrder, work: Work) -> Order:
    """See `Order.cancel`."""
    order = await work.edit(Order, command.id)
    order.cancel(command.reason, command.code)
    return order


async def ship_order(command: ShipOrder, work: Work) -> Order:
    """See `Order.ship`."""
    order = await work.edit(Order, command.id)
    lines = command.lines
    parts = None if lines is None else [(each.sku, Decimal(each.quantity)) for each in lines]
    order.ship(parts, await _day(command.shipped_on, work))
    return order


async def return_order(command: ReturnOrder, work: Work) -> Order:
    """See `Order.take_back`."""
    order = await work.edit(Order, command.id)
    order.take_back(command.reason or "", await _day(command.returned_on, work))
    return order


async def _day(said: date | None, work: Work) -> date:
    """When it happened: a day that stock and books can take, if only when its period is opened again."""
    day = day_of(said, work.today)
    (await work.read(FiscalCalendar, calendar_id(work.tenant))).require_not_locked(day)
    return day


HANDLERS: Final[Mapping[type[Command], Handler]] = {
    ConfirmOrder: confirm_order,
    CancelOrder: cancel_order,
    ShipOrder: ship_order,
    ReturnOrder: return_order,
}
