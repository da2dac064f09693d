"""Sales: what can be asked of orders and prices, and who carries it out."""

from collections.abc import Mapping
from typing import Final

from commands.bus import Command, Handler
from commands.sales import fulfilment, orders, pricing
from commands.sales.fulfilment import CancelOrder, ConfirmOrder, ReturnOrder, ShipOrder
from commands.sales.orders import AddOrderLine, PlaceOrder, RemoveOrderLine
from commands.sales.pricing import SetPricingPolicy

__all__ = [
    "HANDLERS",
    "AddOrderLine",
    "CancelOrder",
    "ConfirmOrder",
    "PlaceOrder",
    "RemoveOrderLine",
    "ReturnOrder",
    "SetPricingPolicy",
    "ShipOrder",
]

HANDLERS: Final[Mapping[type[Command], Handler]] = {
    **orders.HANDLERS,
    **fulfilment.HANDLERS,
    **pricing.HANDLERS,
}
