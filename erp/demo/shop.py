"""A shop: items, their stock, and orders that go well and that do not."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from erp.demo.story import ACCOUNTS, ITEMS, MAPPING, ORDERS, STOCK, Chapter, Story


def _a_shop(tour: Story) -> None:
    """A second company is made, a shop, with the books that come along: a chart of accounts, this year's
    periods, and which accounts stock, sales and payments are booked on. Carol gives the outlet an inventory
    account of its own.
    """
    tour.tenant = f"{tour.tenant}-shop"
    tour.command("tenant", "create", tour.tenant)
    account = {"code": "1406", "name": "Inventory, outlet", "type": "asset", "parent": "1000"}
    tour.ask("carol", "POST", ACCOUNTS, account, expect=201)
    mapping = tour.ask("carol", "GET", MAPPING, expect=200).body
    changed = {"accounts": mapping["accounts"], "warehouses": {"outlet": "1406"}}
    tour.ask("carol", "PUT", MAPPING, changed, expect=200)


def _items(tour: Story) -> None:
    """Dora, the storekeeper, registers two items: one valued layer by layer, one at its average cost."""
    common = {"unit": "pcs", "currency": "EUR"}
    lamp = {"sku": "LAMP", "name": "Lamp", "valuation": "fifo", "reorder_point": "4", "weight_kg": "2.5"}
    shade = {"sku": "SHADE", "name": "Shade", "valuation": "moving_average", "weight_kg": "0.4"}
    for item in (lamp, shade):
        tour.ask("dora", "POST", ITEMS, {**item, **common}, expect=201)


def _goods_in(tour: Story) -> None:
    """Goods come in, at what they cost: ten lamps, ten more that are dearer, and twelve shades."""
    for sku, quantity, cost in (
        ("LAMP", "10", "12.00"),
        ("LAMP", "10", "15.00"),
        ("SHADE", "7", "3.33"),
        ("SHADE", "5", "4.00"),
    ):
        goods = {"quantity": quantity, "unit_cost": cost}
        tour.ask("dora", "POST", f"{STOCK}/main/{sku}/receive", goods, expect=200)
    lamps = tour.ask("dora", "GET", f"{STOCK}/main/LAMP", expect=200).body
    shades = tour.ask("dora", "GET", f"{STOCK}/main/SHADE", expect=200).body
    tour.values["received"] = Decimal("313.31")
    tour.expect(
        "the lamps are in two layers", [each["value"] for each in lamps["layers"]] == ["120.00", "150.00"]
    )
    tour.expect("the shades are in one", [each["value"] for each in shades["layers"]] == ["43.31"])


def _ordered(tour: Story) -> None:
    """Sam sells eight lamps and five shades to a gold customer. Nobody does anything more: a saga has the
    goods reserved, the money held, and the order confirmed.
    """
    tour.place("good", {"LAMP": "8", "SHADE": "5"}, "gold")
    amounts = ("subtotal", "discount", "tax", "shipping", "total")
    found = tour.until_order("good", "confirmed", *amounts)
    tour.expect(
        "369.15 less 10 %, plus 20 % tax, plus 10 for shipping, each rounded half-even, is 408.68",
        [found[each] for each in amounts] == ["369.15", "36.92", "66.45", "10.00", "408.68"],
    )
    tour.until_stock("main", "LAMP", "eight of twenty lamps are promised", reserved="8", available="12")
    tour.until_paid(
        "good", "just that is held, and nothing taken", authorised=Decimal("408.68"), captured=Decimal(0)
    )


def _declined(tour: Story) -> None:
    """The next customer's card is declined. The order is given up, and the lamps are free again."""
    tour.place("declined", {"LAMP": "2"}, "silver", card="tok_declined")
    found = tour.until_order("declined", "cancelled", "cancel_code", "cancel_reason")
    tour.expect("it says that the payment was declined", found["cancel_code"] == "payments.declined")
    tour.until_stock("main", "LAMP", "nothing is promised to it", reserved="8", available="12")


def _out_of_stock(tour: Story) -> None:
    """Somebody wants thirteen lamps and a shade: twelve are left. All or nothing, so it is given up."""
    tour.place("too_much", {"SHADE": "1", "LAMP": "13"}, "bronze")
    found = tour.until_order("too_much", "cancelled", "cancel_code", "cancel_reason")
    tour.expect("it says that there is not enough", found["cancel_code"] == "inventory.insufficient_stock")
    tour.expect("no money was asked for", found["payment_id"] is None)
    tour.until_stock("main", "SHADE", "no shade is promised to it either", reserved="5", available="7")


def _killed_saga(tour: Story) -> None:
    """The worker that runs the sagas is killed (kill -9) as an order comes in. The next one carries on."""
    tour.kill("saga")
    tour.place("cancelled", {"LAMP": "3"}, "silver")
    tour.expect("it is started again", tour.is_back("saga"))
    tour.until_order("cancelled", "confirmed", "total")
    tour.until_stock("main", "LAMP", "three more lamps are promised, once", reserved="11", available="9")


def _cancelled(tour: Story) -> None:
    """The customer thinks better of it: the lamps are free again, and the money is not held any more."""
    path = f"{ORDERS}/{tour.orders['cancelled']}/cancel"
    tour.ask("sam", "POST", path, {"reason": "Changed their mind"}, expect=200)
    tour.until_order("cancelled", "cancelled", "cancel_code", "cancel_reason")
    tour.until_stock("main", "LAMP", "they are free", reserved="8", available="12")
    tour.until_paid(
        "cancelled", "nothing is held, and nothing was taken", capturable=Decimal(0), captured=Decimal(0)
    )


CHAPTERS: Final[Sequence[Chapter]] = (
    _a_shop,
    _items,
    _goods_in,
    _ordered,
    _declined,
    _out_of_stock,
    _killed_saga,
    _cancelled,
)
