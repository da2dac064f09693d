"""A company that sells lamps over HTTP, and what must be true of it when nothing is under way any more."""

import asyncio
from collections import Counter, defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Self
from uuid import UUID

import httpx
import orjson

from erp.contexts import aggregates
from erp.stock_books import add_up
from eventstore.codec import Codec
from sagas.inventory_voucher import InventoryVoucher
from sagas.order_to_cash import OrderToCash
from tests.e2e.load import POSTED
from tests.e2e.shop import ADDRESS, ORDERS
from tests.e2e.system import Books
from tests.faults.system import System, head
from tests.waiting import until

PERIODS: Final = "/v1/finance/periods"
STOCK: Final = "/v1/inventory/stock/main/LAMP"
SKU: Final = "LAMP"
COST: Final = Decimal("12.00")

CASH, RECEIVABLE, INVENTORY, NOT_INVOICED = "1002", "1122", "1405", "2203"
TAX, REVENUE, SHIPPING, COST_OF_SALES, ADJUSTMENTS = "2221", "6001", "6002", "6401", "6402"
_PARTS: Final = {
    "cash": CASH,
    "receivable": RECEIVABLE,
    "inventory": INVENTORY,
    "goods_received_not_invoiced": NOT_INVOICED,
    "tax": TAX,
    "revenue": REVENUE,
    "shipping_revenue": SHIPPING,
    "cost_of_goods_sold": COST_OF_SALES,
    "inventory_adjustments": ADJUSTMENTS,
}
_TYPES: Final = {"1": "asset", "2": "liability", "60": "income", "64": "expense"}
_STANDING: Final = """
    SELECT DISTINCT ON (stream_id) stream_id, stream_type, convert_from(data, 'UTF8')
      FROM erp.events WHERE tenant = %s AND stream_type LIKE 'sagas.%%' ORDER BY stream_id, version DESC"""
_FLOOR: Final = (
    "SELECT position FROM erp.partition_positions WHERE consumer_group = 'erp-saga' AND topic = ''"
)
_HAPPENED: Final = """
    SELECT type, convert_from(data, 'UTF8') FROM erp.events
     WHERE tenant = %s AND tenant_seq > %s AND stream_type NOT LIKE 'sagas.%%' ORDER BY position"""
_LETTERS: Final = "SELECT count(*) FROM erp.dead_letters WHERE tenant = %s"


class Shop:
    """Opened with so many lamps, all of it booked."""

    def __init__(self, system: System, lamps: int = 10) -> None:
        self.system = system
        self.books = Books.new(system.home, system.url)
        self._open(lamps)
        self.until_at_rest()
        self._opened_at = self.books.last

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.books.close()

    def _open(self, lamps: int) -> None:
        books, year = self.books, datetime.now(UTC).year
        books.ok("POST", "/v1/finance/fiscal-years", json={"year": year, "start": f"{year}-01-01"})
        for part, code in _PARTS.items():
            (kind,) = (kind for start, kind in _TYPES.items() if code.startswith(start))
            books.ok("POST", "/v1/finance/accounts", json={"code": code, "name": part, "type": kind})
        books.ok("PUT", "/v1/finance/account-mapping", json={"accounts": _PARTS})
        lamp = {"sku": SKU, "name": "Lamp", "unit": "pcs", "valuation": "fifo", "currency": "EUR"}
        books.ok("POST", "/v1/inventory/items", json=lamp)
        books.ok("POST", f"{STOCK}/receive", json={"quantity": str(lamps), "unit_cost": str(COST)})

    # What customers do

    def place(self, card: str = "tok_ok", quantity: int = 3) -> UUID:
        """An order."""
        return UUID(self.books.ok("POST", ORDERS, json=order(card, quantity))["id"])

    def ship(self, order_id: UUID) -> None:
        self.books.ok("POST", f"{ORDERS}/{order_id}/ship")

    def cancel(self, order_id: UUID) -> None:
        self.books.ok("POST", f"{ORDERS}/{order_id}/cancel", json={"reason": "Changed their mind"})

    def send_back(self, order_id: UUID) -> None:
        self.books.ok("POST", f"{ORDERS}/{order_id}/return", json={"reason": "The wrong colour"})

    async def place_at_once(self, count: int) -> list[UUID]:
        """As many orders for one lamp, by as many customers at the same time."""
        options: dict[str, Any] = {"verify": False, "timeout": 60, "limits": httpx.Limits()}
        async with httpx.AsyncClient(
            base_url=self.books.base_url, headers=self.books.headers, **options
        ) as clients:
            wanted = order("tok_ok", 1)
            told = await asyncio.gather(*[clients.post(ORDERS, json=wanted) for _ in range(count)])
        assert {each.status_code for each in told} == {201}
        return [UUID(each.json()["id"]) for each in told]

    def close_months(self) -> str:
        """All up to this one, which is named."""
        today = datetime.now(UTC)
        names = [f"{today.year}-{month:02}" for month in range(1, today.month + 1)]
        for name in names:
            self.books.ok("POST", f"{PERIODS}/{name}/close")
        return names[-1]

    # How it stands

    def order(self, order_id: UUID) -> Any:
        return self.books.get(f"{ORDERS}/{order_id}")

    def stock(self) -> Any:
        return self.books.get(STOCK)

    def payment(self, order_id: UUID) -> Any:
        """The only one that the order has, also where it was not confirmed."""
        asked = self.books.events("payments.payment.authorisation_requested")
        (found,) = [each["stream_id"] for each in asked if each["data"]["order_id"] == str(order_id)]
        return self.books.get(f"/v1/payments/{found}")

    def cost_voucher(self) -> str:
        """The id of the process that posts the cost of the only shipment."""
        (shipped,) = self.books.events("inventory.stock.shipped")
        key = f"{shipped['stream_id']}/{shipped['version']}"
        return str(InventoryVoucher.id_of(self.books.tenant, key))

    def saga(self, order_id: UUID) -> Any:
        """The process that sees to the order."""
        return self.books.get(f"/v1/sagas/{OrderToCash.id_of(self.books.tenant, str(order_id))}")

    def until_at_rest(self) -> None:
        """Everything was heard of, and nobody is at anything: what is not done waits for a person or time."""
        until(self._is_at_rest, f"nothing is under way\n{self.system.output[-2000:]}")

    def _is_at_rest(self) -> bool:
        end = head(self.books)
        heard = self.books.home.rows(_FLOOR)
        standings = set(self.standings())
        return bool(heard) and heard[0][0] >= end and not standings & {"not_started", "running"}

    def standings(self) -> list[str]:
        """That of each saga."""
        rows = self.books.home.rows(_STANDING, self.books.tenant)
        return [str(orjson.loads(data)["status"]) for _, _, data in rows]

    def happened(self) -> Counter[str]:
        """How often what has happened since the opening: types of events, vouchers with their journal."""
        found: Counter[str] = Counter()
        for name, data in self.books.home.rows(_HAPPENED, self.books.tenant, self._opened_at):
            found[f"voucher: {orjson.loads(data)['journal']}" if name == POSTED else name] += 1
        return found

    def balances(self) -> dict[str, Decimal]:
        """What is on each account: debits above zero."""
        found: dict[str, Decimal] = defaultdict(Decimal)
        for posted in self.books.events(POSTED):
            for each in posted["data"]["lines"]:
                found[each["account"]] += Decimal(each["debit"] or 0) - Decimal(each["credit"] or 0)
        return {code: amount for code, amount in found.items() if amount}

    # What must be true

    def require_agreement(self) -> None:
        """Stock, orders, money and books say the same, as `erp verify` has it and by their own events."""
        home, codec = self.books.home, Codec(aggregates())
        assert home.verified().misfit is None
        compared = add_up(home.url("erp_reader"), codec, head(self.books))
        assert [each for each in compared.differences() if each.tenant == self.books.tenant] == []
        assert home.rows(_LETTERS, self.books.tenant) == [(0,)]
        on, stock = self.balances(), self.stock()
        assert on.get(INVENTORY, 0) == Decimal(stock["value"]) == Decimal(stock["on_hand"]) * COST
        assert on.get(CASH, 0) == self._sum("payments.payment.captured", "amount") - self._sum(
            "payments.payment.refunded", "amount"
        )
        sold, back = "sales.order.shipped", "sales.order.returned"
        assert -on.get(REVENUE, 0) == self._sum(sold, "net") - self._sum(back, "net")
        assert -on.get(TAX, 0) == self._sum(sold, "tax") - self._sum(back, "tax")
        assert -on.get(SHIPPING, 0) == self._sum(sold, "shipping")
        assert RECEIVABLE not in on, "all is paid"

    def _sum(self, of_type: str, name: str) -> Decimal:
        return sum((Decimal(each["data"][name]) for each in self.books.events(of_type)), Decimal(0))


def order(card: str, quantity: int) -> dict[str, Any]:
    """The body of an order for lamps."""
    return {
        "customer_id": "c-1",
        "customer_tier": "gold",
        "currency": "EUR",
        "warehouse": "main",
        "lines": [{"sku": SKU, "name": "Lamp", "quantity": str(quantity), "unit_price": "39.90"}],
        "shipping_address": ADDRESS,
        "payment": {"method": "card", "token": card},
    }
