"""What a customer wants: commands and handlers."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, model_validator

from commands.bus import Command, Handler, Work
from commands.fields import (
    BusinessDate,
    CostText,
    CurrencyCode,
    FixedPermission,
    NaturalKey,
    QuantityText,
    ShortText,
    require_decimals_of,
)
from commands.sales.fields import LINES_COUNT, NOT_EMPTY, NamedText, Token
from commands.sales.priced import priced_order
from domain.inventory.item import Item, item_id
from domain.sales.days import day_of
from domain.sales.order import Order
from domain.sales.placement import PaymentChoice, Placement
from domain.sales.pricing import WantedLine
from domain.sales.pricing_policy import PricingPolicy, Tier, pricing_policy_id
from domain.sales.refusals import ItemUnknown


class OrderedLine(BaseModel):
    """So much of an item, at a price."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sku: NaturalKey
    name: ShortText
    quantity: QuantityText
    unit_price: CostText


class ShippingAddress(BaseModel):
    """Where to. It is sealed before anything is kept of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: NamedText
    line1: NamedText
    city: NamedText
    postal_code: ShortText
    """Empty where there are none."""
    country: NamedText
    """Two letters of ISO 3166-1, by which remote places are known."""


class Payment(BaseModel):
    """How the customer pays."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["card"]
    token: Token
    """What the payment gateway calls the card; it is never shown again."""


class PlaceOrder(FixedPermission):
    """Take a customer's order. It is priced at once, and fulfilled from then on by itself."""

    TOPIC = "sales.place_order"
    needs = "sales.orders:write"
    creates = True

    customer_id: NamedText
    """Pseudonym of the customer, never a name."""
    customer_tier: Tier
    currency: CurrencyCode
    warehouse: NaturalKey
    lines: Annotated[tuple[OrderedLine, ...], LINES_COUNT, NOT_EMPTY]
    shipping_address: ShippingAddress
    payment: Payment
    placed_on: BusinessDate | None = None
    """The day on which it was ordered, when that is told later; today when left out."""

    @model_validator(mode="after")
    def _decimals_of_currency(self) -> Self:
        require_decimals_of(self.currency, self._prices())
        return self

    def _prices(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        for index, line in enumerate(self.lines):
            yield ("lines", index, "unit_price"), line.unit_price


class AddOrderLine(FixedPermission):
    """Add a line to a pending order, at the terms that it was placed by."""

    TOPIC = "sales.add_order_line"
    needs = "sales.orders:write"

    id: UUID
    sku: NaturalKey
    name: ShortText
    quantity: QuantityText
    unit_price: CostText


class RemoveOrderLine(FixedPermission):
    """Take a line out of a pending order, which must not be the last."""

    TOPIC = "sales.remove_order_line"
    needs = "sales.orders:write"

    id: UUID
    sku: NaturalKey


async def place_order(command: PlaceOrder, work: Work) -> Order:
    """See `Order.place`; the answer tells what it comes to."""
    order = work.new(Order)
    policy = await work.read(PricingPolicy, pricing_policy_id(work.tenant))
    wanted = [await _wanted(line, work) for line in command.lines]
    address = command.shipping_address
    placement = Placement(
        customer_id=command.customer_id,
        customer_tier=command.customer_tier,
        currency=command.currency,
        warehouse=command.warehouse,
        shipping_address=await work.seal(command.customer_id, address.model_dump()),
        payment=PaymentChoice(command.payment.method, command.payment.token),
        placed_on=day_of(command.placed_on, work.today),
    )
    terms = policy.terms(command.customer_tier, country=address.country, postal_code=address.postal_code)
    order.place(placement, wanted, terms)
    return _told(order, work)


async def add_order_line(command: AddOrderLine, work: Work) -> Order:
    """See `Order.add_line`; the answer tells what the order comes to by now."""
    order = await work.edit(Order, command.id)
    order.require_pending()
    order.add_line(await _wanted(command, work))
    return _told(order, work)


async def remove_order_line(command: RemoveOrderLine, work: Work) -> Order:
    """See `Order.remove_line`; the answer tells what the order comes to by now."""
    order = await work.edit(Order, command.id)
    order.remove_line(command.sku)
    return _told(order, work)


def _told(order: Order, work: Work) -> Order:
    work.told.update(asdict(priced_order(order)))
    return order


async def _wanted(line: OrderedLine | AddOrderLine, work: Work) -> WantedLine:
    """The line with what is known of its item, which has to be there."""
    item = await work.read(Item, item_id(work.tenant, line.sku))
    if not item.exists:
        raise ItemUnknown(f"There is no item {line.sku}.", sku=line.sku)
    return WantedLine(
        line.sku, line.name, Decimal(line.quantity), Decimal(line.unit_price), item.weight_kg, item.currency
    )


HANDLERS: Final[Mapping[type[Command], Handler]] = {
    PlaceOrder: place_order,
    AddOrderLine: add_order_line,
    RemoveOrderLine: remove_order_line,
}
