"""What an order comes to, as it is told: in the answer to whoever prices it, and to whoever asks."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, cast

from domain.sales.order import Order
from domain.sales.pricing import OrderLine, Pricing
from domain.shared.money import amount_text

OrderStatusName = Literal["pending", "confirmed", "partially_shipped", "completed", "cancelled", "returned"]


@dataclass(frozen=True, slots=True)
class PricedLine:
    """A line. `amount` is before discount and tax, `weight_kg` that of one unit."""

    sku: str
    name: str
    quantity: str
    unit_price: str
    amount: str
    weight_kg: str
    shipped_quantity: str


@dataclass(frozen=True, slots=True)
class PricedOrder:
    """An order as far as its price goes. Nothing in it is personal: it is kept with the command's key."""

    status: OrderStatusName
    revision: int
    currency: str
    lines: tuple[PricedLine, ...]
    discount_rate: str
    tax_rate: str
    weight_kg: str
    subtotal: str
    discount: str
    tax: str
    shipping: str
    total: str


def priced_order(order: Order) -> PricedOrder:
    """What an order that was placed comes to."""
    currency = order.require_placed().currency
    pricing = cast("Pricing", order.pricing)
    shipped = order.sold().shipped()
    return PricedOrder(
        status=cast("OrderStatusName", order.status.value),
        revision=order.revision,
        currency=currency,
        lines=tuple(_line(line, shipped[line.sku], currency) for line in order.lines),
        discount_rate=f"{pricing.discount_rate:f}",
        tax_rate=f"{pricing.tax_rate:f}",
        weight_kg=f"{pricing.weight_kg:f}",
        subtotal=amount_text(pricing.subtotal, currency),
        discount=amount_text(pricing.discount, currency),
        tax=amount_text(pricing.tax, currency),
        shipping=amount_text(pricing.shipping, currency),
        total=amount_text(pricing.total, currency),
    )


def _line(line: OrderLine, shipped: Decimal, currency: str) -> PricedLine:
    return PricedLine(
        sku=line.sku,
        name=line.name,
        quantity=f"{line.quantity:f}",
        unit_price=amount_text(line.unit_price, currency),
        amount=amount_text(line.amount, currency),
        weight_kg=f"{line.weight_kg:f}",
        shipped_quantity=f"{shipped:f}",
    )
