"""Inventory: its routes."""

from typing import Final

from api.inventory.current import ItemView, StockView, item, items, stock
from api.inventory.reports import REPORTS, SEARCHES
from api.routing import CommandRoute, ContextRoutes, ListRoute, ViewRoute
from commands.inventory import (
    AdjustStock,
    IssueStock,
    ReceiveStock,
    RegisterItem,
    ReleaseReservation,
    ReserveStock,
    ReturnStock,
    ShipReservation,
    TransferStock,
)

__all__ = ["INVENTORY"]

ITEMS: Final = "/v1/inventory/items"
_ITEM: Final = f"{ITEMS}/{{sku}}"
_STOCK: Final = "/v1/inventory/stock/{warehouse}/{sku}"

INVENTORY: Final = ContextRoutes(
    name="inventory",
    commands=(
        CommandRoute("POST", ITEMS, RegisterItem, location=_ITEM),
        CommandRoute("POST", f"{_STOCK}/receive", ReceiveStock, location=_STOCK),
        CommandRoute("POST", f"{_STOCK}/issue", IssueStock, location=_STOCK),
        CommandRoute("POST", f"{_STOCK}/adjust", AdjustStock, location=_STOCK),
        CommandRoute("POST", f"{_STOCK}/reserve", ReserveStock, location=_STOCK),
        CommandRoute("POST", f"{_STOCK}/release", ReleaseReservation, location=_STOCK),
        CommandRoute("POST", f"{_STOCK}/ship", ShipReservation, location=_STOCK),
        CommandRoute("POST", f"{_STOCK}/return", ReturnStock, location=_STOCK),
        CommandRoute(
            "POST",
            "/v1/inventory/transfers",
            TransferStock,
            location="/v1/inventory/stock/{from_}/{sku}",
        ),
    ),
    views=(
        ViewRoute(_ITEM, "inventory.items:read", ItemView, item),
        ViewRoute(_STOCK, "inventory.stock:read", StockView, stock),
    ),
    lists=(ListRoute(ITEMS, "inventory.items:read", ItemView, "inventory.item", items),),
    reports=REPORTS,
    searches=SEARCHES,
)
