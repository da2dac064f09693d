"""The rules of orders."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest
from pydantic import TypeAdapter

from domain.sales.order import Order, OrderStatus
from domain.sales.pricing_policy import PricingPolicy, Rates, Tier
from domain.shared.aggregate import Aggregate, event_data
from domain.shared.errors import DomainError
from tests.finance.ledger import blank, replayed
from tests.sales.goods import (
    DAY,
    LATER,
    PAYMENT,
    SEALED,
    confirmed,
    placed,
    placement,
    shipped,
    terms,
    wanted,
)
from tests.sales.test_pricing_policy import CHEAP


def refused(attempt: Callable[[], object]) -> DomainError:
    with pytest.raises(DomainError) as refusal:
        attempt()
    return refusal.value


def cancelled() -> Order:
    order = placed()
    order.cancel("changed my mind")
    return order


def completed() -> Order:
    order = confirmed()
    order.ship(None, DAY)
    return order


def returned() -> Order:
    order = completed()
    order.take_back("broken", LATER)
    return order


MAKERS: dict[OrderStatus, Callable[[], Order]] = {
    OrderStatus.BLANK: lambda: blank(Order),
    OrderStatus.PENDING: placed,
    OrderStatus.CONFIRMED: confirmed,
    OrderStatus.PARTIALLY_SHIPPED: lambda: shipped([("A1", "1")]),
    OrderStatus.COMPLETED: completed,
    OrderStatus.CANCELLED: cancelled,
    OrderStatus.RETURNED: returned,
}

STEPS: dict[str, tuple[Callable[[Order], None], set[str], str]] = {
    "add": (lambda order: order.add_line(wanted("C3")), {"pending"}, "sales.order_not_pending"),
    "remove": (lambda order: order.remove_line("A1"), set(), "sales.order_not_pending"),
    "confirm": (lambda order: order.confirm(1, PAYMENT), {"pending", "confirmed"}, "sales.order_not_pending"),
    "cancel": (lambda order: order.cancel("why"), {"pending", "confirmed"}, "sales.order_not_cancellable"),
    "ship": (
        lambda order: order.ship(None, DAY),
        {"confirmed", "partially_shipped"},
        "sales.order_not_shippable",
    ),
    "return": (
        lambda order: order.take_back("", DAY),
        {"partially_shipped", "completed"},
        "sales.order_not_returnable",
    ),
}


@pytest.mark.parametrize("status", MAKERS)
@pytest.mark.parametrize("step", STEPS)
def test_each_step_starts_from_its_statuses_only(step: str, status: OrderStatus):
    order = MAKERS[status]()
    assert order.status is status
    act, allowed, code = STEPS[step]
    if status in allowed:
        act(order)
        return
    version = order.version
    refusal = refused(lambda: act(order))
    if status is OrderStatus.BLANK:
        assert (refusal.code, refusal.data) == ("sales.order_not_found", {"id": str(order.id)})
    elif (step, status) == ("remove", OrderStatus.PENDING):
        assert refusal.code == "sales.no_lines"  # it is the last one
    else:
        assert (refusal.code, refusal.data) == (code, {"id": str(order.id), "order_status": status.value})
    assert order.version == version


def test_a_placed_order_is_priced_and_pending():
    order = placed(wanted("A1", "3"), by=terms(Tier.GOLD))
    (event,) = order.pending_events
    assert isinstance(event, Order.Placed)
    assert (event.customer_id, event.currency, event.warehouse) == ("c-1", "EUR", "main")
    assert (event.revision, event.placed_on, event.shipping_address) == (1, DAY, SEALED)
    assert str(event.pricing.total) == "42.40"
    assert event.terms == terms(Tier.GOLD)
    assert order.placement == placement()
    assert (order.status, order.payment_id, order.shipments) == (OrderStatus.PENDING, None, ())


def test_lines_come_and_go_while_it_is_pending():
    order = placed(wanted("A1"))
    order.add_line(wanted("B2", "1", "5"))
    order.remove_line("A1")
    _, added, removed = order.pending_events
    assert isinstance(added, Order.LineAdded)
    assert isinstance(removed, Order.LineRemoved)
    assert (added.line.sku, [each.sku for each in added.lines], added.revision) == ("B2", ["A1", "B2"], 2)
    assert (str(added.pricing.subtotal), str(added.pricing.total)) == ("25.00", "40.00")
    assert (removed.sku, [each.sku for each in removed.lines], removed.revision) == ("A1", ["B2"], 3)
    assert str(removed.pricing.total) == "16.00"
    assert (order.revision, order.lines, order.pricing) == (3, removed.lines, removed.pricing)


def test_a_changed_policy_changes_no_order_that_is_there():
    """Not even a line that is added later: the terms of the order are kept for its life."""
    policy = blank(PricingPolicy)
    old = policy.terms(Tier.GOLD, country="GB", postal_code="ZE1")
    order = placed(wanted("A1", "1", "100"), by=old)
    policy.set(Rates({}, Decimal(0), CHEAP))
    assert policy.terms(Tier.GOLD, country="GB", postal_code="ZE1") != old
    order.add_line(wanted("B2", "1", "100", "100"))
    assert order.terms == old
    pricing = order.pricing
    assert pricing is not None
    assert [str(each) for each in (pricing.discount, pricing.tax, pricing.shipping, pricing.total)] == [
        "20.00",
        "36.00",
        "50.25",
        "266.25",
    ]


@pytest.mark.parametrize(
    ("act", "code", "data"),
    [
        (lambda order: order.add_line(wanted("A1")), "sales.duplicate_line", {"sku": "A1"}),
        (lambda order: order.add_line(wanted("B2", "0")), "sales.quantity_not_positive", None),
        (
            lambda order: order.add_line(wanted("B2", currency="USD")),
            "sales.currency_mismatch",
            {"sku": "B2", "currency": "EUR", "item_currency": "USD"},
        ),
        (lambda order: order.remove_line("B2"), "sales.line_not_found", None),
        (lambda order: order.remove_line("A1"), "sales.no_lines", {}),
    ],
)
def test_lines_that_do_not_come_or_go(act: Callable[[Order], None], code: str, data: dict[str, str] | None):
    order = placed()
    refusal = refused(lambda: act(order))
    assert refusal.code == code
    assert data is None or refusal.data == data
    assert (order.version, order.revision) == (1, 1)


def test_an_order_of_nothing_is_none():
    order = blank(Order)
    assert refused(lambda: order.place(placement(), [], terms())).code == "sales.no_lines"
    assert not order.exists


def test_only_the_present_revision_is_confirmed():
    order = placed()
    order.add_line(wanted("B2"))
    refusal = refused(lambda: order.confirm(1, PAYMENT))
    assert refusal.code == "sales.order_changed"
    assert refusal.data == {"id": str(order.id), "revision": 2, "asked": 1}
    order.confirm(2, PAYMENT)
    assert (order.status, order.payment_id) == (OrderStatus.CONFIRMED, PAYMENT)


def test_a_confirmation_said_again_changes_nothing():
    order = confirmed()
    version = order.version
    order.confirm(1, PAYMENT)
    assert order.version == version
    assert refused(lambda: order.confirm(1, UUID(int=18))).code == "sales.order_not_pending"


@pytest.mark.parametrize("status", [OrderStatus.PENDING, OrderStatus.CONFIRMED])
def test_a_cancellation_says_why_and_what_it_was(status: OrderStatus):
    order = MAKERS[status]()
    order.cancel("card refused", "payments.declined")
    event = order.pending_events[-1]
    assert isinstance(event, Order.Cancelled)
    assert (event.reason, event.code, event.was) == ("card refused", "payments.declined", status)
    assert (order.cancel_reason, order.cancel_code) == ("card refused", "payments.declined")


def test_a_cancellation_is_the_customers_unless_it_says_otherwise():
    assert cancelled().cancel_code == "customer"


def test_a_parcel_is_not_yet_the_order():
    order = shipped([("A1", "4")])
    event = order.pending_events[-1]
    assert isinstance(event, Order.Shipped)
    assert (event.shipment, event.shipped_on) == (1, DAY)
    assert order.status is OrderStatus.PARTIALLY_SHIPPED


def test_with_the_last_parcel_it_is_complete():
    order = shipped([("A1", "10")], [("B2", "5.0")])
    topics = [event.TOPIC for event in order.pending_events]  # type: ignore[attr-defined]
    assert topics[-3:] == [
        "sales.order.shipped",
        "sales.order.shipped",
        "sales.order.completed",
    ]
    assert order.status is OrderStatus.COMPLETED


def test_what_left_comes_back_and_is_worth_what_it_was_without_shipping():
    order = shipped([("A1", "4")], [("A1", "1"), ("B2", "1")])
    order.take_back("wrong colour", LATER)
    event = order.pending_events[-1]
    assert isinstance(event, Order.Returned)
    assert [(each.sku, str(each.quantity), each.shipment) for each in event.lines] == [
        ("A1", "4", 1),
        ("A1", "1", 2),
        ("B2", "1", 2),
    ]
    assert (str(event.net), str(event.tax), str(event.total)) == ("53.28", "10.66", "63.94")
    assert event.total == sum(each.total - each.shipping for each in order.shipments)
    assert (order.returned_on, order.return_reason) == (LATER, "wrong colour")


def lives() -> list[Aggregate]:
    """One of each kind, with every event in its life."""
    policy = blank(PricingPolicy)
    policy.set(Rates({"gold": Decimal("0.5")}, Decimal("0.07"), CHEAP))
    changed = placed(wanted("A1"), wanted("B2"))
    changed.add_line(wanted("C3"))
    changed.remove_line("A1")
    changed.confirm(3, PAYMENT)
    changed.cancel("too late")
    return [policy, changed, returned(), shipped([("A1", "1")])]


def test_every_event_type_is_in_those_lives():
    seen = {happened.TOPIC for live in lives() for happened in live.pending_events}  # type: ignore[attr-defined]
    assert seen == {event.TOPIC for kind in (Order, PricingPolicy) for event in kind.event_types()}


@pytest.mark.parametrize("index", range(4))
def test_replay_equals_live(index: int):
    live = lives()[index]
    assert replayed(live) == live
    assert live.version > 0


@pytest.mark.parametrize("index", range(4))
def test_events_survive_the_log(index: int):
    for happened in lives()[index].pending_events:
        header = {
            "originator_id": happened.originator_id,
            "originator_version": happened.originator_version,
            "timestamp": happened.timestamp,
        }
        data = orjson.loads(orjson.dumps(event_data(happened), default=str))  # type: ignore[arg-type]
        assert TypeAdapter(type(happened)).validate_python({**data, **header}) == happened


def test_the_names_in_the_log_are_frozen():
    names: dict[str, Any] = {
        kind.TOPIC: sorted(event.TOPIC.rpartition(".")[2] for event in kind.event_types())
        for kind in (Order, PricingPolicy)
    }
    assert names == {
        "sales.order": [
            "cancelled",
            "completed",
            "confirmed",
            "line_added",
            "line_removed",
            "placed",
            "returned",
            "shipped",
        ],
        "sales.pricing_policy": ["set"],
    }
