"""Commands that make up a small warehouse's past."""

from datetime import date
from typing import Any

from commands.bus import Command
from commands.finance import OpenFiscalYear
from commands.inventory import (
    IssueStock,
    ReceiveStock,
    RegisterItem,
    ReserveOrder,
    ReserveStock,
    ReturnOrder,
    ShipOrder,
    TransferStock,
)
from domain.inventory.valuation import Valuation

YEAR_2026 = OpenFiscalYear(year=2026, start=date(2026, 1, 1))


def item(sku: str = "A1", **changes: Any) -> RegisterItem:
    """Bolts, by FIFO in EUR, to be reordered at 10."""
    return RegisterItem.model_validate(
        {
            "sku": sku,
            "name": f"Bolt {sku}",
            "unit": "pcs",
            "valuation": Valuation.FIFO,
            "currency": "EUR",
            "reorder_point": "10",
            "weight_kg": "0.5",
            **changes,
        }
    )


def at(sku: str = "A1", warehouse: str = "main") -> dict[str, Any]:
    """Where stock is."""
    return {"warehouse": warehouse, "sku": sku}


def receive(quantity: str, unit_cost: str = "5.00", day: str | None = None, **changes: Any) -> ReceiveStock:
    """Goods that come in."""
    told = {**at(), "quantity": quantity, "unit_cost": unit_cost, "effective_at": day, **changes}
    return ReceiveStock.model_validate(told)


def issue(quantity: str, day: str | None = None, **changes: Any) -> IssueStock:
    """Goods that go out."""
    return IssueStock.model_validate({**at(), "quantity": quantity, "effective_at": day, **changes})


def transfer(quantity: str, day: str | None = None, **changes: Any) -> TransferStock:
    """Goods that go to the annex."""
    told = {"sku": "A1", "from": "main", "to": "annex", "quantity": quantity, "effective_at": day}
    return TransferStock.model_validate({**told, **changes})


def reserve(quantity: str, reservation_id: str = "R-1", **changes: Any) -> ReserveStock:
    """Goods that are promised."""
    told = {**at(), "reservation_id": reservation_id, "quantity": quantity, **changes}
    return ReserveStock.model_validate(told)


def lines(**quantities: str) -> list[dict[str, str]]:
    """Lines of an order."""
    return [{"sku": sku, "quantity": quantity} for sku, quantity in quantities.items()]


def reserve_order(**quantities: str) -> ReserveOrder:
    """An order's goods are promised."""
    return ReserveOrder.model_validate({"order_id": "O-1", "warehouse": "main", "lines": lines(**quantities)})


def ship_order(shipment: int = 1, **quantities: str) -> ShipOrder:
    """A shipment leaves."""
    told = {"order_id": "O-1", "warehouse": "main", "shipment": shipment, "lines": lines(**quantities)}
    return ShipOrder.model_validate(told)


def return_order(shipment: int = 1, **quantities: str) -> ReturnOrder:
    """A shipment comes back."""
    told = {"order_id": "O-1", "warehouse": "main", "shipment": shipment, "lines": lines(**quantities)}
    return ReturnOrder.model_validate(told)


WAREHOUSE: tuple[Command, ...] = (YEAR_2026, item())
STOCKED: tuple[Command, ...] = (*WAREHOUSE, receive("10", "5.00"), receive("10", "6.00"))
"""Twenty: ten at 5 and ten at 6."""
