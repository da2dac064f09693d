"""Who appears on the tour, what they remember on the way, and the requests that come up again."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from erp.tour import Answer, Tour

ACCOUNTS: Final = "/v1/finance/accounts"
ENTRIES: Final = "/v1/finance/journal-entries"
PERIODS: Final = "/v1/finance/periods"
POLICY: Final = "/v1/finance/approval-policy"
TRIAL_BALANCE: Final = "/v1/finance/trial-balance"

MAPPING: Final = "/v1/finance/account-mapping"
ITEMS: Final = "/v1/inventory/items"
STOCK: Final = "/v1/inventory/stock"
TRANSFERS: Final = "/v1/inventory/transfers"
VALUATION: Final = "/v1/inventory/valuation"
ORDERS: Final = "/v1/sales/orders"
PAYMENTS: Final = "/v1/payments"
SAGAS: Final = "/v1/sagas"

PEOPLE: Final[Mapping[str, str]] = {
    "alice": "accountant",
    "bob": "accountant",
    "carol": "controller",
    "dora": "storekeeper",
    "sam": "sales",
    "olga": "auditor",
}
"""Who appears, and in which role."""


@dataclass
class Story(Tour):
    """The tour through the books of a company."""

    posted: list[str] = field(default_factory=list)
    """Ids of all entries that were posted, to look at their numbers in the end."""
    written: dict[str, Any] = field(default_factory=dict)
    """Position and instant of what was posted last."""
    orders: dict[str, str] = field(default_factory=dict)
    """Ids of the shop's orders, by what became of them."""
    values: dict[str, Decimal] = field(default_factory=dict)
    """What goods came in for and went missing for, by account."""

    def entry(self, entry_id: str, who: str = "alice", *, expect: int = 200, code: str | None = None) -> Any:
        """The entry as it is now."""
        return self.ask(who, "GET", f"{ENTRIES}/{entry_id}", expect=expect, code=code).body

    def post(self, amount: str, **headers: str) -> Answer:
        """Alice posts a sale."""
        answer = self.ask("alice", "POST", ENTRIES, sale(amount), expect=201, **headers)
        self.posted.append(answer.body["id"])
        self.written = answer.body
        return answer

    def trial_balance(self, **asked: Any) -> Any:
        """Olga reads the trial balance as soon as it knows what was posted last."""
        query = {"as_of": "2026-12-31", "min_position": self.written["position"], **asked}
        path = f"{TRIAL_BALANCE}?{urlencode(query)}"
        return self.ask("olga", "GET", path, expect=200, Prefer="wait=30").body

    def order(self, name: str) -> Any:
        """The order of that name as it is now, without a word."""
        return self.send("sam", "GET", f"{ORDERS}/{self.orders[name]}").body

    def place(self, name: str, lines: Mapping[str, str], tier: str, card: str = "tok_ok") -> None:
        """Sam places an order."""
        answer = self.ask("sam", "POST", ORDERS, order(lines, tier, card), expect=201)
        self.orders[name] = answer.body["id"]

    def until_order(self, name: str, status: str, *shown: str) -> Any:
        """Sam looks at the order until it has that status."""
        return self.wait(
            "sam",
            f"{ORDERS}/{self.orders[name]}",
            lambda found: found["status"] == status,
            claim=f"it is {status}",
            show=("status", *shown),
        )

    def until_paid(self, name: str, claim: str, **amounts: Decimal) -> Any:
        """Sam looks at the payment of the order until it has these amounts."""
        payment = self.order(name)["payment_id"]
        return self.wait(
            "sam",
            f"{PAYMENTS}/{payment}",
            lambda found: all(Decimal(found[each]) == amount for each, amount in amounts.items()),
            claim=claim,
            show=("status", "authorised", "captured", "refunded"),
        )

    def until_stock(self, warehouse: str, sku: str, claim: str, **levels: str) -> Any:
        """Dora looks at the stock until it has these levels."""
        return self.wait(
            "dora",
            f"{STOCK}/{warehouse}/{sku}",
            lambda found: all(found[each] == level for each, level in levels.items()),
            claim=claim,
            show=("on_hand", "reserved", "available", "value"),
        )

    @contextmanager
    def posting(self) -> Iterator[list[Answer]]:
        """Meanwhile Alice posts one sale after the other, without a word; the answers."""
        over, answers = threading.Event(), list[Answer]()

        def post_on() -> None:
            while not over.is_set():
                answers.append(self.send("alice", "POST", ENTRIES, sale("1.00")))

        thread = threading.Thread(target=post_on, name="alice")
        thread.start()
        try:
            yield answers
        finally:
            over.set()
            thread.join()
        self.posted += [answer.body["id"] for answer in answers]
        self.written = answers[-1].body


def sale(amount: str, credit: str | None = None, day: str = "2026-01-15", **more: Any) -> dict[str, Any]:
    """The body of a journal entry: a sale on credit."""
    lines = [{"account": "1122", "debit": amount}, {"account": "6001", "credit": credit or amount}]
    return {"posting_date": day, "currency": "EUR", "memo": "Sale", "lines": lines, **more}


PRICES: Final[Mapping[str, str]] = {"LAMP": "39.90", "SHADE": "9.99"}
"""What the shop sells."""


def order(lines: Mapping[str, str], tier: str, card: str) -> dict[str, Any]:
    """The body of an order: so much of each sku, paid by that card."""
    return {
        "customer_id": f"customer-{tier}",
        "customer_tier": tier,
        "currency": "EUR",
        "warehouse": "main",
        "lines": [
            {"sku": sku, "name": sku.title(), "quantity": quantity, "unit_price": PRICES[sku]}
            for sku, quantity in lines.items()
        ],
        "shipping_address": {
            "name": "Erika Muster",
            "line1": "Hauptstraße 1",
            "city": "Köln",
            "postal_code": "50667",
            "country": "DE",
        },
        "payment": {"method": "card", "token": card},
    }


Chapter = Callable[[Story], None]
"""Its docstring is what it is about."""
