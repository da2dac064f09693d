"""Sales: how its aggregates look from outside, as they are now."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, cast
from uuid import UUID

from api.errors import NotFound
from api.routing import Query, View
from commands.sales.priced import OrderStatusName, PricedLine, priced_order
from domain.sales.order import Order
from domain.sales.placement import Address, Placement
from domain.sales.pricing import Pricing
from domain.sales.pricing_policy import PricingPolicy, Tier, pricing_policy_id
from domain.sales.shipments import Shipment
from domain.shared.money import amount_text

PERSONAL: Final = "sales.personal_data:read"


@dataclass(frozen=True, slots=True)
class ShippedLineView:
    """So much of a line. `net` is `amount` less its part of the discount."""

    sku: str
    quantity: str
    amount: str
    net: str


@dataclass(frozen=True, slots=True)
class ShipmentView:
    """What left together, and what it is worth; those of an order add up to the order."""

    shipment: int
    shipped_on: date
    lines: tuple[ShippedLineView, ...]
    net: str
    tax: str
    shipping: str
    total: str


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order, at the terms that it was placed by.

    `shipping_address` is null for those who may not read it (`sales.personal_data:read`), and when it was
    deleted. `payment_id` is null until the order is confirmed.
    """

    id: UUID
    version: int
    status: OrderStatusName
    revision: int
    customer_id: str
    customer_tier: Tier
    currency: str
    warehouse: str
    placed_on: date
    lines: tuple[PricedLine, ...]
    discount_rate: str
    tax_rate: str
    weight_kg: str
    remote: bool
    subtotal: str
    discount: str
    tax: str
    shipping: str
    total: str
    shipments: tuple[ShipmentView, ...]
    shipping_address: Address | None
    payment_method: str
    payment_id: UUID | None
    cancel_reason: str | None
    cancel_code: str | None
    returned_on: date | None
    return_reason: str | None


@dataclass(frozen=True, slots=True)
class ShippingRatesView:
    """What delivering costs, in the currency of the order."""

    base: str
    free_weight_kg: str
    per_kg: str
    remote_surcharge: str
    remote_postal_codes: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class PricingPolicyView:
    """What orders are priced by that are placed now; the default at version 0. Rates are fractions."""

    version: int
    discounts: Mapping[str, str]
    tax_rate: str
    shipping: ShippingRatesView


async def order(query: Query) -> View:
    """One order."""
    try:
        order_id = UUID(query.path["id"])
    except ValueError:
        raise NotFound("No order can have such an id.") from None
    found = await query.store.load_current(Order, order_id, query.tenant)
    placement = found.require_placed()
    opened = await query.opened(placement.shipping_address, PERSONAL)
    return View(_order(found, placement, None if opened is None else Address(**opened)), found.version)


async def pricing_policy(query: Query) -> View:
    """What orders are priced by."""
    found = await query.store.load_current(PricingPolicy, pricing_policy_id(query.tenant), query.tenant)
    rates, shipping = found.rates, found.rates.shipping
    view = PricingPolicyView(
        version=found.version,
        discounts={tier.value: _plain(rates.discounts.get(tier, Decimal(0))) for tier in reversed(Tier)},
        tax_rate=_plain(rates.tax_rate),
        shipping=ShippingRatesView(
            base=_plain(shipping.base),
            free_weight_kg=_plain(shipping.free_weight_kg),
            per_kg=_plain(shipping.per_kg),
            remote_surcharge=_plain(shipping.remote_surcharge),
            remote_postal_codes=dict(shipping.remote_postal_codes),
        ),
    )
    return View(view, found.version)


def _order(found: Order, placement: Placement, address: Address | None) -> OrderView:
    currency, priced = placement.currency, priced_order(found)
    return OrderView(
        id=found.id,
        version=found.version,
        status=priced.status,
        revision=priced.revision,
        customer_id=placement.customer_id,
        customer_tier=placement.customer_tier,
        currency=currency,
        warehouse=placement.warehouse,
        placed_on=placement.placed_on,
        lines=priced.lines,
        discount_rate=priced.discount_rate,
        tax_rate=priced.tax_rate,
        weight_kg=priced.weight_kg,
        remote=cast("Pricing", found.pricing).remote,
        subtotal=priced.subtotal,
        discount=priced.discount,
        tax=priced.tax,
        shipping=priced.shipping,
        total=priced.total,
        shipments=tuple(_shipment(each, currency) for each in found.shipments),
        shipping_address=address,
        payment_method=placement.payment.method,
        payment_id=found.payment_id,
        cancel_reason=found.cancel_reason,
        cancel_code=found.cancel_code,
        returned_on=found.returned_on,
        return_reason=found.return_reason,
    )


def _shipment(found: Shipment, currency: str) -> ShipmentView:
    return ShipmentView(
        shipment=found.number,
        shipped_on=found.shipped_on,
        lines=tuple(
            ShippedLineView(
                line.sku,
                _plain(line.quantity),
                amount_text(line.amount, currency),
                amount_text(line.net, currency),
            )
            for line in found.lines
        ),
        net=amount_text(found.net, currency),
        tax=amount_text(found.tax, currency),
        shipping=amount_text(found.shipping, currency),
        total=amount_text(found.total, currency),
    )


def _plain(number: Decimal) -> str:
    return f"{number:f}"
