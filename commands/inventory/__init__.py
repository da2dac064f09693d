"""Inventory: what can be asked of the warehouse, and who carries it out."""

from collections.abc import Mapping
from typing import Final

from commands.bus import Command, Handler
from commands.inventory import items, movements, orders, reservations
from commands.inventory.items import RegisterItem
from commands.inventory.movements import AdjustStock, IssueStock, ReceiveStock, TransferStock
from commands.inventory.orders import OrderLine, ReleaseOrder, ReserveOrder, ReturnOrder, ShipOrder
from commands.inventory.reservations import (
    ExpireReservation,
    ReleaseReservation,
    ReserveStock,
    ReturnStock,
    ShipReservation,
)

__all__ = [
    "HANDLERS",
    "AdjustStock",
    "ExpireReservation",
    "IssueStock",
    "OrderLine",
    "ReceiveStock",
    "RegisterItem",
    "ReleaseOrder",
    "ReleaseReservation",
    "ReserveOrder",
    "ReserveStock",
    "ReturnOrder",
    "ReturnStock",
    "ShipOrder",
    "ShipReservation",
    "TransferStock",
]

HANDLERS: Final[Mapping[type[Command], Handler]] = {
    **items.HANDLERS,
    **movements.HANDLERS,
    **reservations.HANDLERS,
    **orders.HANDLERS,
}
