"""What generated requests are about when they are about stock."""

from typing import Any
from uuid import uuid4

import schemathesis

from tests.e2e.system import Books

STOCK = "/v1/inventory/stock/{warehouse}/{sku}"
TRANSFERS = "/v1/inventory/transfers"


class Stockroom:
    """Lets a request name goods that are there, all of them moved today."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def fit(self, case: schemathesis.Case[Any]) -> None:
        """Make it a request that can be carried out, if it is one about stock."""
        path = case.operation.path
        if not path.startswith("/v1/inventory/"):
            return
        sku = self._stocked()
        if "sku" in case.path_parameters:
            case.path_parameters["sku"] = sku
        if "warehouse" in case.path_parameters:
            case.path_parameters["warehouse"] = "main"
        if not isinstance(case.body, dict):
            return
        body = case.body
        if path == TRANSFERS:
            body |= {"sku": sku, "from": "main", "to": "annex"}
        # Days are made up.
        body.pop("effective_at", None)
        for name, value in (("quantity", "1"), ("unit_cost", "5.00")):
            if name in body:
                body[name] = value
        if path.endswith(("/release", "/ship", "/return")):
            body["reservation_id"] = self._promised(sku, shipped=path.endswith("/return"))

    def _stocked(self) -> str:
        sku = f"own {uuid4().hex}"
        item = {"sku": sku, "name": "Bolt", "unit": "pcs", "valuation": "fifo", "currency": "EUR"}
        self._books.ok("POST", "/v1/inventory/items", json=item)
        goods = {"quantity": "100", "unit_cost": "5.00"}
        self._books.ok("POST", f"{STOCK.format(warehouse='main', sku=sku)}/receive", json=goods)
        return sku

    def _promised(self, sku: str, *, shipped: bool) -> str:
        at = STOCK.format(warehouse="main", sku=sku)
        promise = {"reservation_id": "R-1", "quantity": "2"}
        self._books.ok("POST", f"{at}/reserve", json=promise)
        if shipped:
            self._books.ok("POST", f"{at}/ship", json={"reservation_id": "R-1"})
        return "R-1"
