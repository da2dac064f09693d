"""Commands that make up a small shop's past."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from commands.bus import Answer, Command
from commands.inventory import RegisterItem
from commands.sales import (
    AddOrderLine,
    CancelOrder,
    ConfirmOrder,
    PlaceOrder,
    RemoveOrderLine,
    ReturnOrder,
    SetPricingPolicy,
    ShipOrder,
)

PAYMENT = UUID(int=17)
ADDRESS = {
    "name": "Erika Mustermann",
    "line1": "Heidestraße 17",
    "city": "Köln",
    "postal_code": "51147",
    "country": "DE",
}


def item(sku: str, currency: str = "EUR", weight_kg: str = "0.5") -> RegisterItem:
    """Something to sell."""
    return RegisterItem.model_validate(
        {
            "sku": sku,
            "name": f"Item {sku}",
            "unit": "pcs",
            "valuation": "fifo",
            "currency": currency,
            "reorder_point": "0",
            "weight_kg": weight_kg,
        }
    )


SHELF: tuple[Command, ...] = (item("A1"), item("B2", weight_kg="20"), item("U9", "USD"))

ORDER: dict[str, Any] = {
    "customer_id": "c-1",
    "customer_tier": "gold",
    "currency": "EUR",
    "warehouse": "main",
    "lines": [
        {"sku": "A1", "name": "Item A1", "quantity": "10", "unit_price": "9.99"},
        {"sku": "B2", "name": "Item B2", "quantity": "3", "unit_price": "3.33"},
    ],
    "shipping_address": ADDRESS,
    "payment": {"method": "card", "token": "tok_ok"},
}

POLICY: dict[str, Any] = {
    "discounts": {"platinum": "0.5", "gold": "0.4", "silver": "0.3", "bronze": "0.2"},
    "tax_rate": "0.07",
    "shipping": {
        "base": "1",
        "free_weight_kg": "1",
        "per_kg": "0.1",
        "remote_surcharge": "2",
        "remote_postal_codes": {"DE": ["51"]},
    },
}

Then = Callable[[Answer], Command]


def order(**changes: Any) -> PlaceOrder:
    """Ten A1 and three B2 for a gold customer: 109.89, 10.99 off, 19.78 tax, 17.50 shipping, 136.18."""
    return PlaceOrder.model_validate({**ORDER, **changes})


def one_line(sku: str = "A1", quantity: str = "10", unit_price: str = "9.99") -> list[dict[str, str]]:
    """Lines of an order: one."""
    return [{"sku": sku, "name": "", "quantity": quantity, "unit_price": unit_price}]


def policy(**changes: Any) -> SetPricingPolicy:
    """Other rates than those of the default."""
    return SetPricingPolicy.model_validate({**POLICY, **changes})


def add(sku: str = "U9", quantity: str = "1") -> Then:
    return lambda last: AddOrderLine(id=last.id, sku=sku, name="", quantity=quantity, unit_price="1.00")


def remove(sku: str = "B2") -> Then:
    return lambda last: RemoveOrderLine(id=last.id, sku=sku)


def confirm(revision: int = 1) -> Then:
    return lambda last: ConfirmOrder(id=last.id, revision=revision, payment_id=PAYMENT)


def cancel(**said: str) -> Then:
    return lambda last: CancelOrder.model_validate({"id": last.id, "reason": "changed my mind", **said})


def ship(*parts: tuple[str, str], **said: str) -> Then:
    lines = [{"sku": sku, "quantity": quantity} for sku, quantity in parts] or None
    return lambda last: ShipOrder.model_validate({"id": last.id, "lines": lines, **said})


def give_back(**said: str) -> Then:
    return lambda last: ReturnOrder.model_validate({"id": last.id, **said})
