"""What the bench of orders trades in: items, their stock, and the order that it places.

Every item has more stock than any run sells, so that no order has to be given up for want of goods.
"""

import random
from typing import Any, Final

import orjson

WAREHOUSE: Final = "main"
ITEMS: Final = 500
LINES_PER_ORDER: Final = 2
CUSTOMERS: Final = 1000
ORDERS_PATH: Final = "/v1/sales/orders"
BULK_PATH: Final = "/v1/commands"

_QUANTITY: Final = "1000000"
_TIERS: Final = ("bronze", "silver", "gold", "platinum")


def skus() -> list[str]:
    """The items of the shop."""
    return [f"ITEM-{number:04}" for number in range(ITEMS)]


def registering(wanted: list[str]) -> bytes:
    """A bulk request that registers these items."""
    fields = {"unit": "pcs", "valuation": "fifo", "currency": "EUR", "weight_kg": "0.5"}
    return b"".join(
        _line("inventory.register_item", {"sku": sku, "name": f"Item {sku}", **fields}) for sku in wanted
    )


def receiving(wanted: list[str]) -> bytes:
    """A bulk request that takes in their stock. Lines of one request may overtake one another."""
    fields = {"warehouse": WAREHOUSE, "quantity": _QUANTITY, "unit_cost": "5.00"}
    return b"".join(_line("inventory.receive_stock", {"sku": sku, **fields}) for sku in wanted)


def _line(command: str, data: dict[str, Any]) -> bytes:
    return orjson.dumps({"command": command, "data": data}) + b"\n"


def order(among: list[str], hot: str | None) -> bytes:
    """What a client sends to order one each of two items, drawn at random; one of them the hot one if any."""
    others = random.sample(among, LINES_PER_ORDER - (hot is not None))
    wanted = others if hot is None else [hot, *others]
    customer = random.randrange(CUSTOMERS)
    body = {
        "customer_id": f"customer-{customer:04}",
        "customer_tier": _TIERS[customer % len(_TIERS)],
        "currency": "EUR",
        "warehouse": WAREHOUSE,
        "lines": [
            {"sku": sku, "name": f"Item {sku}", "quantity": "1", "unit_price": "19.99"} for sku in wanted
        ],
        "shipping_address": {
            "name": "A. Customer",
            "line1": "Main Street 1",
            "city": "Springfield",
            "postal_code": "12345",
            "country": "DE",
        },
        "payment": {"method": "card", "token": "tok_ok"},
    }
    return orjson.dumps(body)
