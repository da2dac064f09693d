"""Stock, orders, payments, sagas and books say the same, to the cent. Each is asked by itself."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from erp.demo.story import ENTRIES, PAYMENTS, SAGAS, TRIAL_BALANCE, VALUATION, Chapter, Story
from erp.tour import BrokenPromise, say

_ORDER_TO_CASH: Final = "sagas.order_to_cash"
_POSTINGS: Final = {"sales": "post_sale", "cash": "post_settlement"}


def _stock_and_books(tour: Story) -> None:
    """Nobody has posted anything in the shop: sagas have, for every movement of goods and money. Olga holds
    the trial balance against the valuation of the stock, and against orders and payments.
    """
    today = datetime.now(UTC).date()
    stock = tour.wait(
        "olga",
        f"{VALUATION}?as_of={today}",
        lambda found: _worth(found, "outlet") > 0 and found["totals"] == {"EUR": _at_rest(tour)},
        claim="it says what the stock says",
    )
    expected = _expected(tour, stock)
    books = tour.wait(
        "olga",
        f"{TRIAL_BALANCE}?as_of={today}",
        lambda found: _balances(found) == {code: amount for code, (_, amount) in expected.items() if amount},
        claim="it says what stock, orders and payments say, and nothing else",
        show=("totals",),
    )
    found = _balances(books)
    for code, (what, amount) in expected.items():
        say(f"    {code}  {found.get(code, Decimal(0)):>9.2f}  {what}: {amount:.2f}")
    totals = books["totals"]["EUR"]
    tour.expect("debits and credits are the same", totals["debit"] == totals["credit"])


def _steps(tour: Story) -> None:
    """What the saga of the first order did: every step, when, why, and what came of it."""
    order = tour.order("good")
    code, said = tour.run("sagas", "list", "--type", _ORDER_TO_CASH, "--limit", "1000", "--json")
    known = {each["key"]: each["id"] for each in json.loads(said)} if code == 0 else {}
    saga_id = known.get(order["id"])
    if saga_id is None:
        raise BrokenPromise(f"the order {order['id']} was promised to have a saga")
    tour.command("sagas", "show", saga_id)
    saga = tour.wait(
        "olga",
        f"{SAGAS}/{saga_id}",
        lambda found: found["status"] == "ended",
        claim="it has ended",
        show=("key", "status", "outcome"),
    )
    tour.expect("every step is done", {each["status"] for each in saga["steps"]} == {"done"})
    entries = tour.ask("olga", "GET", f"{ENTRIES}?reference={order['id']}", expect=200).body["items"]
    payment = tour.send("sam", "GET", f"{PAYMENTS}/{order['payment_id']}").body
    for journal, step in _POSTINGS.items():
        posted = [Decimal(each["total"]) for each in entries if each["journal"] == journal]
        done = sum(each["name"] == step for each in saga["steps"])
        tour.expect(
            f"{step}: {done} steps, {len(posted)} entries, {sum(posted)}, as order and payment say",
            done == len(posted) and {sum(posted)} == {Decimal(order["total"]), Decimal(payment["captured"])},
        )


def _expected(tour: Story, stock: Any) -> Mapping[str, tuple[str, Decimal]]:
    """What the books have to say, by account: debit minus credit, and who says so."""
    orders = [tour.order(name) for name in tour.orders]
    payments = [
        tour.send("sam", "GET", f"{PAYMENTS}/{each['payment_id']}").body
        for each in orders
        if each["payment_id"]
    ]
    kept = [shipment for each in orders if each["status"] == "completed" for shipment in each["shipments"]]
    sent = [shipment for each in orders for shipment in each["shipments"]]
    received, lost = tour.values["received"], tour.values["lost"]
    worth = Decimal(stock["totals"]["EUR"])
    return {
        "1002": ("cash, taken less given back", _sum(payments, "captured") - _sum(payments, "refunded")),
        "1122": ("receivable, all is paid", Decimal(0)),
        "1405": ("inventory, what main is worth", _worth(stock, "main")),
        "1406": ("inventory, what the outlet is worth", _worth(stock, "outlet")),
        "2203": ("goods received, not invoiced", -received),
        "2221": ("tax of what was kept", -_sum(kept, "tax")),
        "6001": ("revenue, what was kept", -_sum(kept, "net")),
        "6002": ("shipping, also of what came back", -_sum(sent, "shipping")),
        "6401": ("cost of goods sold, received less lost and left", received - lost - worth),
        "6402": ("inventory adjustments, what was lost", lost),
    }


def _at_rest(tour: Story) -> str:
    """What the stock is worth in all, asked stock by stock."""
    stocks = [("main", "LAMP"), ("main", "SHADE"), ("outlet", "LAMP")]
    values = [tour.send("dora", "GET", f"/v1/inventory/stock/{w}/{sku}").body["value"] for w, sku in stocks]
    return f"{sum(map(Decimal, values)):.2f}"


def _worth(stock: Any, warehouse: str) -> Decimal:
    return _sum([each for each in stock["rows"] if each["warehouse"] == warehouse], "value")


def _balances(books: Any) -> dict[str, Decimal]:
    found = {each["account"]: Decimal(each["balance"]) for each in books["rows"]}
    return {code: balance for code, balance in found.items() if balance}


def _sum(many: Sequence[Any], name: str) -> Decimal:
    return sum((Decimal(each[name]) for each in many), Decimal(0))


CHAPTERS: Final[Sequence[Chapter]] = (_stock_and_books, _steps)
