"""Sales: its routes."""

from typing import Final

from api.routing import CommandRoute, ContextRoutes, ViewRoute
from api.sales.current import OrderView, PricingPolicyView, order, pricing_policy
from api.sales.reports import REPORTS, SEARCHES
from commands.sales import (
    AddOrderLine,
    CancelOrder,
    PlaceOrder,
    RemoveOrderLine,
    ReturnOrder,
    SetPricingPolicy,
    ShipOrder,
)
from commands.sales.priced import PricedOrder

__all__ = ["SALES"]

ORDERS: Final = "/v1/sales/orders"
PRICING_POLICY: Final = "/v1/sales/pricing-policy"
_ORDER: Final = f"{ORDERS}/{{id}}"

SALES: Final = ContextRoutes(
    name="sales",
    commands=(
        CommandRoute("POST", ORDERS, PlaceOrder, location=_ORDER, tells=PricedOrder),
        CommandRoute("POST", f"{_ORDER}/lines", AddOrderLine, location=_ORDER, tells=PricedOrder),
        CommandRoute(
            "DELETE", f"{_ORDER}/lines/{{sku}}", RemoveOrderLine, location=_ORDER, tells=PricedOrder
        ),
        CommandRoute("POST", f"{_ORDER}/cancel", CancelOrder, location=_ORDER),
        CommandRoute("POST", f"{_ORDER}/ship", ShipOrder, location=_ORDER),
        CommandRoute("POST", f"{_ORDER}/return", ReturnOrder, location=_ORDER),
        CommandRoute("PUT", PRICING_POLICY, SetPricingPolicy, location=PRICING_POLICY),
    ),
    views=(
        ViewRoute(_ORDER, "sales.orders:read", OrderView, order),
        ViewRoute(PRICING_POLICY, "sales.orders:read", PricingPolicyView, pricing_policy),
    ),
    reports=REPORTS,
    searches=SEARCHES,
)
