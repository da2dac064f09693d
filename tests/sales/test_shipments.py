"""What leaves at a time, and that it all adds up."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sales.order import Order, OrderStatus
from domain.sales.pricing_policy import Tier
from domain.shared.errors import DomainError
from tests.sales.goods import DAY, LATER, confirmed, orders, placed, shipped, terms, wanted


def parcel(order: Order, index: int = -1) -> dict[str, str]:
    found = order.shipments[index]
    return {name: str(getattr(found, name)) for name in ("net", "tax", "shipping", "total")}


def test_all_at_once_is_the_order_itself():
    order = confirmed(wanted("A1", "10"), wanted("B2", "1", "0.05"), by=terms(Tier.PLATINUM))
    order.ship(None, LATER)
    pricing = order.pricing
    assert pricing is not None
    (shipment,) = order.shipments
    assert (shipment.net, shipment.tax) == (pricing.net, pricing.tax)
    assert (shipment.shipping, shipment.total) == (pricing.shipping, pricing.total)
    assert (shipment.number, shipment.shipped_on) == (1, LATER)
    assert [(each.sku, str(each.quantity), str(each.amount), str(each.net)) for each in shipment.lines] == [
        ("A1", "10", "100.00", "85.00"),
        ("B2", "1", "0.05", "0.04"),
    ]


def test_a_third_three_times_leaves_nothing_over():
    order = confirmed(wanted("A1", "3", "3.33"), by=terms(Tier.SILVER))  # 9.99, 9.49 net, 1.90 tax, 21.39
    for _ in range(3):
        order.ship([("A1", Decimal(1))], DAY)
    assert [parcel(order, index) for index in range(3)] == [
        {"net": "3.16", "tax": "0.63", "shipping": "3.33", "total": "7.12"},
        {"net": "3.17", "tax": "0.64", "shipping": "3.34", "total": "7.15"},
        {"net": "3.16", "tax": "0.63", "shipping": "3.33", "total": "7.12"},
    ]
    assert order.status is OrderStatus.COMPLETED


def test_gifts_pay_their_shipping_with_the_last_parcel():
    order = confirmed(wanted("A1", "2", "0"), wanted("B2", "1", "0"))
    order.ship([("A1", Decimal(2))], DAY)
    assert parcel(order) == {"net": "0.00", "tax": "0.00", "shipping": "0.00", "total": "0.00"}
    order.ship(None, DAY)
    assert parcel(order) == {"net": "0.00", "tax": "0.00", "shipping": "10.00", "total": "10.00"}


def test_what_is_given_away_altogether_still_pays_its_shipping():
    free = replace(terms(), discount_rate=Decimal(1), shipping_base=Decimal(2))
    order = confirmed(wanted("A1", "4"), by=free)
    order.ship([("A1", Decimal(1))], DAY)
    assert parcel(order) == {"net": "0.00", "tax": "0.00", "shipping": "0.50", "total": "0.50"}
    order.ship(None, DAY)
    assert parcel(order) == {"net": "0.00", "tax": "0.00", "shipping": "1.50", "total": "1.50"}


def test_what_has_left_and_what_is_open():
    order = shipped([("A1", "4")], [("A1", "1"), ("B2", "5")])
    assert order.sold().shipped() == {"A1": 5, "B2": 5}
    assert order.sold().open_quantities() == {"A1": 5}
    assert [each.number for each in order.shipments] == [1, 2]


@pytest.mark.parametrize(
    ("quantities", "code", "data"),
    [
        ([("C3", "1")], "sales.line_unknown", {"sku": "C3"}),
        ([("A1", "7")], "sales.more_than_ordered", {"sku": "A1", "open": "6", "requested": "7"}),
        (
            [("B2", "0.000001")],
            "sales.more_than_ordered",
            {"sku": "B2", "open": "0", "requested": "0.000001"},
        ),
        ([("A1", "0")], "sales.quantity_not_positive", {"sku": "A1", "quantity": "0"}),
        ([("A1", "-1")], "sales.quantity_not_positive", {"sku": "A1", "quantity": "-1"}),
        ([("A1", "1"), ("A1", "1")], "sales.duplicate_line", {"sku": "A1"}),
        ([], "sales.no_lines", {}),
    ],
)
def test_what_cannot_leave(quantities: list[tuple[str, str]], code: str, data: dict[str, str]):
    order = shipped([("A1", "4"), ("B2", "5")])
    version = order.version
    with pytest.raises(DomainError) as refusal:
        order.ship([(sku, Decimal(quantity)) for sku, quantity in quantities], DAY)
    assert (refusal.value.code, refusal.value.data) == (code, data)
    assert order.version == version


def test_what_is_not_there_cannot_be_sold():
    with pytest.raises(DomainError) as refusal:
        placed().blank(placed().id).sold()
    assert refusal.value.code == "sales.order_not_found"


@given(orders(), st.data())
def test_shipments_add_up_to_the_order_however_it_is_cut(order: Order, data: st.DataObject):
    """To the last minor unit, none below zero; and each line by itself."""
    for _ in range(4):
        left = order.sold().open_quantities()
        if not left:
            break
        some = data.draw(st.lists(st.sampled_from(sorted(left)), min_size=1, unique=True))
        parts = [
            (sku, left[sku] if data.draw(st.booleans()) else left[sku] * data.draw(st.integers(1, 9)) / 10)
            for sku in some
        ]
        order.ship(parts, DAY)
    if order.status is not OrderStatus.COMPLETED:
        order.ship(None, DAY)
    assert order.status is OrderStatus.COMPLETED
    pricing = order.pricing
    assert pricing is not None
    assert sum(each.net for each in order.shipments) == pricing.net
    assert sum(each.tax for each in order.shipments) == pricing.tax
    assert sum(each.shipping for each in order.shipments) == pricing.shipping
    assert sum(each.total for each in order.shipments) == pricing.total
    for each in order.shipments:
        assert each.net == sum(line.net for line in each.lines)
        assert each.total == each.net + each.tax + each.shipping
        assert min(each.net, each.tax, each.shipping, *(line.net for line in each.lines)) >= 0
    for line in order.lines:
        gone = [part for each in order.shipments for part in each.lines if part.sku == line.sku]
        assert sum(part.quantity for part in gone) == line.quantity
        assert sum(part.amount for part in gone) == line.amount
        assert all(0 <= part.net <= line.amount for part in gone)
        assert all(part.amount >= 0 for part in gone)
