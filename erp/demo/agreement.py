"""Stock, orders, payments, sagas and books say the same, to the cent. Each is asked by itself."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from operator import itemgetter
from typing import Any, Final

from erp.demo.story import ENTRIES, PAYMENTS, SAGAS, STOCK, TRIAL_BALANCE, VALUATION, Chapter, Story
from erp.tour import BrokenPromise, say

_ORDER_TO_CASH: Final = "sagas.order_to_cash"
_POSTINGS: Final = {"post_sale": "sales", "post_settlement": "cash"}
_POSTED: Final = 4


def _stock_and_books(tour: Story) -> None:
    """Nobody has posted anything in the shop: sagas have, for every movement of goods and money. Olga holds
    the trial balance against the valuation of the stock, and against orders and payments.
    """
    today = datetime.now(UTC).date()
    at_rest = _at_rest(tour)
    stock = tour.wait(
        "olga",
        f"{VALUATION}?as_of={today}",
        lambda found: found["totals"] == {"EUR": at_rest} and _worth(found, "outlet") > 0,
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
    """What the saga of the first order did, step by step, and what it posted: the amounts of the order, and
    of its payment.
    """
    order = tour.order("good")
    saga = tour.wait(
        "olga",
        f"{SAGAS}/{_saga_of(tour, order['id'])}",
        lambda found: found["status"] == "ended",
        claim="it has ended",
        show=("type", "key", "status", "outcome"),
    )
    path = f"{ENTRIES}?reference={order['id']}"
    entries = tour.wait(
        "olga", path, lambda found: len(found["items"]) == _POSTED, claim="it has posted four entries"
    )["items"]
    posted = {
        step: [each for each in entries if each["journal"] == journal] for step, journal in _POSTINGS.items()
    }
    left = {step: iter(sorted(found, key=itemgetter("number"))) for step, found in posted.items()}
    for step in saga["steps"]:
        entry = next(left.get(step["name"], iter(())), None)
        booked = f"{entry['document_no']} {entry['total']:>9}" if entry else ""
        say(f"    {step['number']:>2}  {step['name']:<16} {step['status']}  {step['settled_at']}  {booked}")
    tour.expect("every step is done", {each["status"] for each in saga["steps"]} == {"done"})
    payment = tour.send("sam", "GET", f"{PAYMENTS}/{order['payment_id']}").body
    for step, found in posted.items():
        total = _sum(found, "total")
        steps = sum(each["name"] == step for each in saga["steps"])
        tour.expect(
            f"{step}: {steps} steps, {len(found)} entries, {total} in all, as order and payment say",
            steps == len(found) and {total} == {Decimal(order["total"]), Decimal(payment["captured"])},
        )


def _saga_of(tour: Story, order_id: str) -> str:
    """The id of the saga that sees to the order."""
    code, said = tour.run("sagas", "list", "--type", _ORDER_TO_CASH, "--limit", "1000", "--json")
    known = {each["key"]: str(each["id"]) for each in json.loads(said.splitlines()[-1])} if code == 0 else {}
    if order_id not in known:
        raise BrokenPromise(f"the order {order_id} was promised to have a saga")
    return known[order_id]


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
    values = [tour.send("dora", "GET", f"{STOCK}/{where}/{sku}").body["value"] for where, sku in stocks]
    return f"{sum(map(Decimal, values)):.2f}"


def _worth(stock: Any, warehouse: str) -> Decimal:
    return _sum([each for each in stock["rows"] if each["warehouse"] == warehouse], "value")


def _balances(books: Any) -> dict[str, Decimal]:
    found = {each["account"]: Decimal(each["balance"]) for each in books["rows"]}
    return {code: balance for code, balance in found.items() if balance}


def _sum(many: Sequence[Any], name: str) -> Decimal:
    return sum((Decimal(each[name]) for each in many), Decimal(0))


CHAPTERS: Final[Sequence[Chapter]] = (_stock_and_books, _steps)
