"""What becomes of orders and goods: shipped in parts and whole, returned and refunded, moved and counted."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from erp.demo.story import ORDERS, STOCK, TRANSFERS, Chapter, Story


def _shipped_in_part(tour: Story) -> None:
    """Five lamps and two shades leave. What they are worth of the order is taken from the card, no more."""
    parts = [{"sku": "LAMP", "quantity": "5"}, {"sku": "SHADE", "quantity": "2"}]
    tour.ask("sam", "POST", f"{ORDERS}/{tour.orders['good']}/ship", {"lines": parts}, expect=200)
    found = tour.until_order("good", "partially_shipped", "shipments")
    (shipment,) = found["shipments"]
    tour.until_paid("good", "just that is taken", captured=Decimal(shipment["total"]))
    tour.until_stock(
        "main", "LAMP", "five lamps of the first layer have left", on_hand="15", reserved="3", value="210.00"
    )


def _shipped_whole(tour: Story) -> None:
    """Then all that is open. The last shipment takes the rest of every amount."""
    tour.ask("sam", "POST", f"{ORDERS}/{tour.orders['good']}/ship", {}, expect=200)
    found = tour.until_order("good", "completed", "shipments", "total")
    total = sum((Decimal(each["total"]) for each in found["shipments"]), Decimal(0))
    tour.expect("the shipments add up to the order, to the cent", total == Decimal(found["total"]))
    tour.until_paid("good", "all of it is taken", captured=total)
    tour.until_stock(
        "main", "LAMP", "nothing is promised any more", on_hand="12", reserved="0", value="174.00"
    )


def _returned(tour: Story) -> None:
    """Another customer gets four lamps, and sends them back: they come in at what they left with, and the
    money is given back, without the shipping.
    """
    tour.place("returned", {"LAMP": "4"}, "bronze")
    tour.until_order("returned", "confirmed", "total")
    path = f"{ORDERS}/{tour.orders['returned']}"
    tour.ask("sam", "POST", f"{path}/ship", {}, expect=200)
    tour.until_stock("main", "LAMP", "two of each layer have left", on_hand="8", value="120.00")
    tour.ask("sam", "POST", f"{path}/return", {"reason": "The wrong colour"}, expect=200)
    found = tour.until_order("returned", "returned", "total", "shipping")
    refunded = Decimal(found["total"]) - Decimal(found["shipping"])
    tour.until_paid("returned", f"{refunded} was given back", refunded=refunded)
    tour.until_stock("main", "LAMP", "the stock is worth what it was before", on_hand="12", value="174.00")


def _transferred(tour: Story) -> None:
    """Three lamps go to the outlet: both warehouses change in one commit, and no cent gets lost."""
    transfer = {"sku": "LAMP", "from": "main", "to": "outlet", "quantity": "3"}
    tour.ask("dora", "POST", TRANSFERS, transfer, expect=201)
    main, outlet = (
        tour.ask("dora", "GET", f"{STOCK}/{warehouse}/LAMP", expect=200).body
        for warehouse in ("main", "outlet")
    )
    values = Decimal(main["value"]), Decimal(outlet["value"])
    tour.expect(f"{values[0]} here and {values[1]} there are 174.00", sum(values) == Decimal("174.00"))


def _counted(tour: Story) -> None:
    """Dora counts the shades. One is missing."""
    path = f"{STOCK}/main/SHADE"
    before = tour.ask("dora", "GET", path, expect=200).body
    count = {"counted_quantity": "6", "reason": "Counted on a Friday"}
    tour.ask("dora", "POST", f"{path}/adjust", count, expect=200)
    after = tour.ask("dora", "GET", path, expect=200).body
    tour.values["lost"] = Decimal(before["value"]) - Decimal(after["value"])
    tour.expect("there were seven, and are six", (before["on_hand"], after["on_hand"]) == ("7", "6"))


CHAPTERS: Final[Sequence[Chapter]] = (
    _shipped_in_part,
    _shipped_whole,
    _returned,
    _transferred,
    _counted,
)
