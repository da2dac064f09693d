"""What generated requests are about when they are about orders."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import schemathesis

from commands.bus import Bus, Context
from commands.permissions import Permissions
from commands.sales import HANDLERS, ConfirmOrder
from domain.sales.order import Order
from eventstore.codec import Codec
from eventstore.store import EventStore
from tests.e2e.system import Books

ORDERS = "/v1/sales/orders"
ADDRESS = {
    "name": "Erika Mustermann",
    "line1": "Heidestraße 17",
    "city": "Köln",
    "postal_code": "51147",
    "country": "DE",
}


class Shop:
    """Lets a request name items and orders that are there."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._skus = [self._item(), self._item()]
        # Ahead of time: no route confirms an order, and generating requests allows for nothing random.
        secured = [self._placed() for _ in range(40)]
        asyncio.run(self._confirm(secured))
        # Many of each: the generator learns ids from lists, and cancels one or the other.
        self._to_ship, self._to_return = secured[:20], secured[20:]
        for order in self._to_return:
            self._books.ok("POST", f"{ORDERS}/{order}/ship")

    def fit(self, case: schemathesis.Case[Any]) -> None:
        """Make it a request that can be carried out, if it is one about orders."""
        path = case.operation.path
        if not path.startswith(ORDERS):
            return
        if "id" in case.path_parameters:
            case.path_parameters["id"] = str(self._order_for(path))
        if "sku" in case.path_parameters:
            case.path_parameters["sku"] = self._skus[0]
        if not isinstance(case.body, dict):
            return
        # Days are made up, and a currency comes from whoever fits journal entries.
        for name in ("placed_on", "shipped_on", "returned_on", "currency"):
            case.body.pop(name, None)
        if path == ORDERS:
            case.body |= {"currency": "EUR", "lines": [self._line(self._skus[0])]}
        if path.endswith("/lines"):
            case.body |= self._line(self._item())
        if path.endswith("/ship"):
            case.body["lines"] = [{"sku": self._skus[0], "quantity": "1"}]

    def _order_for(self, path: str) -> UUID:
        if path.endswith("/ship") and self._to_ship:
            return self._to_ship.pop()
        if path.endswith("/return") and self._to_return:
            return self._to_return.pop()
        return self._placed()

    def _item(self) -> str:
        sku = f"own {uuid4().hex}"
        item = {"sku": sku, "name": "Tea", "unit": "pcs", "valuation": "fifo", "currency": "EUR"}
        self._books.ok("POST", "/v1/inventory/items", json=item)
        return sku

    def _placed(self) -> UUID:
        order: dict[str, Any] = {
            "customer_id": "c-1",
            "customer_tier": "gold",
            "currency": "EUR",
            "warehouse": "main",
            "lines": [self._line(sku) for sku in self._skus],
            "shipping_address": ADDRESS,
            "payment": {"method": "card", "token": "tok_ok"},
        }
        return UUID(self._books.ok("POST", ORDERS, json=order)["id"])

    def _line(self, sku: str) -> dict[str, Any]:
        return {"sku": sku, "name": "Tea", "quantity": "1000", "unit_price": "3.50"}

    async def _confirm(self, orders: Sequence[UUID]) -> None:
        async with EventStore(self._books.home.url("erp_app"), Codec([Order])) as store:
            bus = Bus(store, HANDLERS, new_id=uuid4)
            for order in orders:
                key = str(uuid4())
                who = Context(self._books.tenant, "shop", Permissions(["*"]), key, key.encode()[:32], key)
                await bus.execute(ConfirmOrder(id=order, revision=1, payment_id=uuid4()), who)
