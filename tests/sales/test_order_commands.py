"""Orders and the pricing policy through bus and store."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from commands.bus import Answer, Command
from commands.errors import CommandError
from commands.finance import ClosePeriod, LockPeriod, OpenFiscalYear
from commands.sales import ConfirmOrder, ShipOrder
from domain.sales.order import Order, OrderStatus
from domain.sales.placement import PaymentChoice
from domain.sales.pricing_policy import PricingPolicy, pricing_policy_id
from domain.sales.shipments import ReturnedLine
from domain.shared.errors import DomainError
from tests.dsl import Company, Step, happened
from tests.sales.history import (
    ADDRESS,
    PAYMENT,
    POLICY,
    SHELF,
    add,
    cancel,
    confirm,
    give_back,
    item,
    one_line,
    order,
    policy,
    remove,
    ship,
)

pytestmark = pytest.mark.integration

LATE = datetime(2026, 2, 3, 23, 59, 59, tzinfo=UTC)
DAY = date(2026, 2, 3)


@pytest.fixture
def company(company: Company) -> Company:
    """It is a certain day."""
    company.now = LATE
    return company


async def test_an_order_is_placed_and_priced(company: Company):
    answer = (
        await company.given(*SHELF)
        .when(order())
        .then(
            happened(
                Order.Placed,
                customer_id="c-1",
                customer_tier="gold",
                currency="EUR",
                warehouse="main",
                revision=1,
                payment=PaymentChoice("card", "tok_ok"),
                placed_on=DAY,
            )
        )
    )
    placed = await company.load(Order, answer.id)
    assert placed.pricing is not None
    assert {name: str(value) for name, value in asdict(placed.pricing).items()} == {
        "discount_rate": "0.10",
        "tax_rate": "0.20",
        "weight_kg": "65",
        "remote": "False",
        "subtotal": "109.89",
        "discount": "10.99",
        "tax": "19.78",
        "shipping": "17.50",
        "total": "136.18",
    }
    assert [(line.sku, str(line.amount), str(line.weight_kg)) for line in placed.lines] == [
        ("A1", "99.90", "0.5"),
        ("B2", "9.99", "20"),
    ]
    assert answer.version == 1
    assert answer.extra == {
        "status": "pending",
        "revision": 1,
        "currency": "EUR",
        "lines": (
            {
                "sku": "A1",
                "name": "Item A1",
                "quantity": "10",
                "unit_price": "9.99",
                "amount": "99.90",
                "weight_kg": "0.5",
                "shipped_quantity": "0",
            },
            {
                "sku": "B2",
                "name": "Item B2",
                "quantity": "3",
                "unit_price": "3.33",
                "amount": "9.99",
                "weight_kg": "20",
                "shipped_quantity": "0",
            },
        ),
        "discount_rate": "0.10",
        "tax_rate": "0.20",
        "weight_kg": "65",
        "subtotal": "109.89",
        "discount": "10.99",
        "tax": "19.78",
        "shipping": "17.50",
        "total": "136.18",
    }


async def test_where_it_goes_is_nowhere_to_be_read(company: Company, postgres_url: str):
    """Neither in the log, nor in the key under which the command was kept."""
    answer = await company.given(*SHELF).when(order()).then(happened(Order.Placed))
    placed = await company.load(Order, answer.id)
    assert placed.placement is not None
    assert placed.placement.shipping_address.subject == "c-1"
    with psycopg.connect(postgres_url) as owner:
        ((stored,),) = owner.execute(
            "SELECT convert_from(data, 'UTF8') || convert_from(metadata, 'UTF8') || answer "
            "FROM erp.events JOIN erp.commands USING (position) WHERE stream_id = %s",
            [answer.id],
        ).fetchall()
    assert str(answer.id) in stored
    for said in ADDRESS.values():
        assert said == "DE" or said not in stored


async def test_a_remote_place_costs_more(company: Company):
    remote = order(shipping_address={**ADDRESS, "country": "gb", "postal_code": "ze1 0aa"})
    answer = await company.given(*SHELF).when(remote).then(happened(Order.Placed))
    pricing = (await company.load(Order, answer.id)).pricing
    assert pricing is not None
    assert (pricing.remote, str(pricing.shipping)) == (True, "32.50")


@pytest.mark.parametrize(
    ("changes", "code", "data"),
    [
        ({"lines": one_line("Z0")}, "sales.item_unknown", {"sku": "Z0"}),
        (
            {"lines": one_line("U9")},
            "sales.currency_mismatch",
            {"sku": "U9", "currency": "EUR", "item_currency": "USD"},
        ),
        ({"currency": "USD"}, "sales.currency_mismatch", None),
        ({"lines": one_line() * 2}, "sales.duplicate_line", {"sku": "A1"}),
        ({"lines": one_line(quantity="999999999999", unit_price="10000")}, "money.out_of_range", None),
    ],
)
async def test_an_order_is_refused(
    company: Company, changes: dict[str, Any], code: str, data: dict[str, str] | None
):
    refusal = await company.given(*SHELF).when(order(**changes)).refused(code)
    assert data is None or refusal.data == data


async def test_an_order_placed_twice_under_a_key_is_one(company: Company):
    """Although the address is sealed anew each time. What it comes to is told again."""
    again = await company.given(*SHELF).when(order()).repeated()
    assert (again.extra["total"], len(again.extra["lines"])) == ("136.18", 2)


async def test_a_line_is_added(company: Company):
    answer = (
        await company.given(*SHELF, item("C3"), order())
        .when(add("C3"))
        .then(happened(Order.LineAdded, revision=2))
    )
    changed = await company.load(Order, answer.id)
    assert [line.sku for line in changed.lines] == ["A1", "B2", "C3"]
    assert changed.pricing is not None
    assert str(changed.pricing.total) == "137.51"  # 110.89, 11.09 off, 19.96 tax, 17.75 shipping
    assert (answer.extra["revision"], answer.extra["total"]) == (2, "137.51")


async def test_a_line_is_added_at_the_terms_of_the_order(company: Company):
    """A policy that was set since does not come into it; an order that is placed by now goes by it."""
    old = await company.given(*SHELF, item("C3")).when(order()).then(happened(Order.Placed))
    await company.execute(policy())
    new = await company.execute(order())
    totals = []
    for placed in (old, new):
        await company.execute(add("C3")(placed))
        pricing = (await company.load(Order, placed.id)).pricing
        assert pricing is not None
        totals.append(str(pricing.total))
    # As above; and 110.89, 44.36 off, 4.66 tax, shipping 1 + 64.5 * 0.1 + 2.
    assert totals == ["137.51", "80.64"]


@pytest.mark.parametrize(
    ("history", "step", "code"),
    [
        ((order(),), add("A1"), "sales.duplicate_line"),
        ((order(),), add("Z0"), "sales.item_unknown"),
        ((order(),), add("U9"), "sales.currency_mismatch"),
        ((order(), confirm()), add("C3"), "sales.order_not_pending"),
        ((order(), confirm()), add("Z0"), "sales.order_not_pending"),
        ((), lambda _: add("A1")(an_answer()), "sales.order_not_found"),
    ],
)
async def test_a_line_is_not_added(company: Company, history: Sequence[Step], step: Step, code: str):
    await company.given(*SHELF, item("C3"), *history).when(step).refused(code)


async def test_a_line_added_twice_under_a_key_is_one(company: Company):
    await company.given(*SHELF, item("C3"), order()).when(add("C3")).repeated()


async def test_a_line_is_removed(company: Company):
    answer = (
        await company.given(*SHELF, order())
        .when(remove("B2"))
        .then(happened(Order.LineRemoved, sku="B2", revision=2))
    )
    assert ([each["sku"] for each in answer.extra["lines"]], answer.extra["subtotal"]) == (["A1"], "99.90")


@pytest.mark.parametrize(
    ("history", "step", "code"),
    [
        ((order(),), remove("C3"), "sales.line_not_found"),
        ((order(), remove("B2")), remove("A1"), "sales.no_lines"),
        ((order(), cancel()), remove("A1"), "sales.order_not_pending"),
        ((), lambda _: remove()(an_answer()), "sales.order_not_found"),
    ],
)
async def test_a_line_is_not_removed(company: Company, history: Sequence[Step], step: Step, code: str):
    await company.given(*SHELF, *history).when(step).refused(code)


async def test_a_line_removed_twice_under_a_key_is_removed_once(company: Company):
    await company.given(*SHELF, order()).when(remove("B2")).repeated()


async def test_an_order_is_confirmed(company: Company):
    await (
        company.given(*SHELF, order(), remove())
        .when(confirm(2))
        .then(happened(Order.Confirmed, revision=2, payment_id=PAYMENT))
    )


@pytest.mark.parametrize(
    ("history", "step", "code"),
    [
        ((order(), remove()), confirm(1), "sales.order_changed"),
        ((order(), cancel()), confirm(1), "sales.order_not_pending"),
        ((), lambda _: confirm()(an_answer()), "sales.order_not_found"),
    ],
)
async def test_an_order_is_not_confirmed(company: Company, history: Sequence[Step], step: Step, code: str):
    await company.given(*SHELF, *history).when(step).refused(code)


async def test_a_confirmation_is_given_once(company: Company):
    """Under its key, and also under another."""
    again = await company.given(*SHELF, order()).when(confirm()).repeated()
    same = await company.execute(confirm()(again))
    assert (same.version, same.position) == (again.version, again.position)
    other = ConfirmOrder(id=again.id, revision=1, payment_id=uuid4())
    with pytest.raises(DomainError):
        await company.execute(other)


@pytest.mark.parametrize(("history", "was"), [((), "pending"), ((confirm(),), "confirmed")])
async def test_an_order_is_cancelled(company: Company, history: Sequence[Step], was: str):
    answer = (
        await company.given(*SHELF, order(), *history)
        .when(cancel(code="payments.declined"))
        .then(happened(Order.Cancelled, reason="changed my mind", code="payments.declined", was=was))
    )
    assert (await company.load(Order, answer.id)).status is OrderStatus.CANCELLED


@pytest.mark.parametrize(
    ("history", "step", "code"),
    [
        ((order(), cancel()), cancel(), "sales.order_not_cancellable"),
        ((order(), confirm(), ship(("A1", "1"))), cancel(), "sales.order_not_cancellable"),
        ((), lambda _: cancel()(an_answer()), "sales.order_not_found"),
    ],
)
async def test_an_order_is_not_cancelled(company: Company, history: Sequence[Step], step: Step, code: str):
    await company.given(*SHELF, *history).when(step).refused(code)


async def test_a_cancellation_under_a_key_is_one(company: Company):
    await company.given(*SHELF, order()).when(cancel()).repeated()


async def test_an_order_is_shipped_whole(company: Company):
    await (
        company.given(*SHELF, order(), confirm())
        .when(ship())
        .then(
            happened(
                Order.Shipped,
                shipment=1,
                net=Decimal("98.90"),
                tax=Decimal("19.78"),
                shipping=Decimal("17.50"),
                total=Decimal("136.18"),
                shipped_on=DAY,
            ),
            happened(Order.Completed),
        )
    )


async def test_an_order_is_shipped_in_parts(company: Company):
    parts = ship(("A1", "4"), ("B2", "1"))
    answer = (
        await company.given(*SHELF, order(), confirm())
        .when(parts)
        .then(happened(Order.Shipped, shipment=1, total=Decimal("53.64")))
    )
    await company.execute(ship()(answer))
    shipped = await company.load(Order, answer.id)
    assert shipped.status is OrderStatus.COMPLETED
    assert shipped.pricing is not None
    assert sum(each.total for each in shipped.shipments) == shipped.pricing.total


@pytest.mark.parametrize(
    ("history", "step", "code"),
    [
        ((order(),), ship(), "sales.order_not_shippable"),
        ((order(), confirm(), ship()), ship(), "sales.order_not_shippable"),
        ((order(), confirm()), ship(("A1", "11")), "sales.more_than_ordered"),
        ((order(), confirm()), ship(("C3", "1")), "sales.line_unknown"),
        ((order(), confirm()), ship(("A1", "1"), ("A1", "1")), "sales.duplicate_line"),
        ((), lambda _: ship()(an_answer()), "sales.order_not_found"),
    ],
)
async def test_an_order_is_not_shipped(company: Company, history: Sequence[Step], step: Step, code: str):
    await company.given(*SHELF, *history).when(step).refused(code)


async def test_a_shipment_under_a_key_leaves_once(company: Company):
    await company.given(*SHELF, order(), confirm()).when(ship(("A1", "1"))).repeated()


async def test_goods_come_back(company: Company):
    history: tuple[Step, ...] = (*SHELF, order(), confirm(), ship(("A1", "4")))
    await (
        company.given(*history)
        .when(give_back(reason="broken"))
        .then(
            happened(
                Order.Returned,
                lines=(ReturnedLine("A1", Decimal(4), 1),),
                net=Decimal("35.96"),
                tax=Decimal("7.19"),
                total=Decimal("43.15"),
                returned_on=DAY,
                reason="broken",
            )
        )
    )


@pytest.mark.parametrize(
    ("history", "step", "code"),
    [
        ((order(),), give_back(), "sales.order_not_returnable"),
        ((order(), confirm()), give_back(), "sales.order_not_returnable"),
        ((order(), confirm(), ship(), give_back()), give_back(), "sales.order_not_returnable"),
        ((), lambda _: give_back()(an_answer()), "sales.order_not_found"),
    ],
)
async def test_goods_do_not_come_back(company: Company, history: Sequence[Step], step: Step, code: str):
    await company.given(*SHELF, *history).when(step).refused(code)


async def test_what_is_told_later_keeps_its_day(company: Company):
    """In the year before, as when books are taken over."""
    history: tuple[Step, ...] = (*SHELF, order(placed_on="2025-12-01"), confirm())
    sent = ship(shipped_on="2025-12-02")
    answer = (
        await company.given(*history)
        .when(sent)
        .then(happened(Order.Shipped, shipped_on=date(2025, 12, 2)), happened(Order.Completed))
    )
    await company.execute(give_back(returned_on="2025-12-24")(answer))
    told = await company.load(Order, answer.id)
    assert told.placement is not None
    assert (told.placement.placed_on, told.returned_on) == (date(2025, 12, 1), date(2025, 12, 24))


@pytest.mark.parametrize(
    ("history", "step", "code"),
    [
        ((), order(placed_on="2026-02-04"), "sales.day_in_future"),
        ((order(), confirm()), ship(shipped_on="2026-02-04"), "sales.day_in_future"),
        ((order(), confirm()), ship(shipped_on="2026-02-02"), "sales.day_too_early"),
        ((order(), confirm(), ship()), give_back(returned_on="2026-02-04"), "sales.day_in_future"),
        ((order(), confirm(), ship()), give_back(returned_on="2026-02-02"), "sales.day_too_early"),
    ],
)
async def test_a_day_that_cannot_be_is_refused(
    company: Company, history: Sequence[Step], step: Step, code: str
):
    await company.given(*SHELF, *history).when(step).refused(code)


JANUARY_CLOSED: tuple[Command, ...] = (
    OpenFiscalYear(year=2026, start=date(2026, 1, 1)),
    ClosePeriod(period="2026-01"),
)


async def test_nothing_leaves_on_a_day_that_the_books_never_take(company: Company):
    locked = LockPeriod(period="2026-01")
    placed = company.given(*JANUARY_CLOSED, locked, *SHELF, order(placed_on="2026-01-05"), confirm())
    await placed.when(ship(shipped_on="2026-01-07")).refused("finance.period_closed")


async def test_a_day_that_the_books_may_take_one_day_is_waited_for(company: Company):
    answer = (
        await company.given(*JANUARY_CLOSED, *SHELF, order(placed_on="2026-01-05"), confirm())
        .when(ship(shipped_on="2026-01-07"))
        .then(happened(Order.Shipped, shipped_on=date(2026, 1, 7)), happened(Order.Completed))
    )
    await company.execute(LockPeriod(period="2026-01"))
    with pytest.raises(DomainError) as refusal:
        await company.execute(give_back(returned_on="2026-01-08")(answer))
    assert refusal.value.code == "finance.period_closed"


async def test_a_return_under_a_key_is_one(company: Company):
    await company.given(*SHELF, order(), confirm(), ship()).when(give_back()).repeated()


async def test_a_policy_is_set(company: Company):
    await company.when(policy()).then(
        happened(
            PricingPolicy.Set,
            discounts={
                "platinum": Decimal("0.5"),
                "gold": Decimal("0.4"),
                "silver": Decimal("0.3"),
                "bronze": Decimal("0.2"),
            },
            tax_rate=Decimal("0.07"),
        )
    )
    found = await company.load(PricingPolicy, pricing_policy_id(company.tenant))
    assert found.rates.shipping.remote_postal_codes == {"DE": ("51",)}
    assert found.rates.shipping.per_kg == Decimal(POLICY["shipping"]["per_kg"])


async def test_a_policy_set_twice_under_a_key_is_set_once(company: Company):
    await company.when(policy()).repeated()


@pytest.mark.parametrize("granted", [(), ("sales.orders:read",), ("inventory.*",)])
async def test_without_the_permission_nothing_is_sold(company: Company, granted: Sequence[str]):
    await company.given(*SHELF).when(order(), permissions=granted).refused("permission_denied")


async def test_who_sells_does_not_set_prices(company: Company):
    await company.when(policy(), permissions=("sales.orders:write",)).refused("permission_denied")


async def test_the_version_that_was_seen_is_kept_to(company: Company):
    await (
        company.given(*SHELF, order(), remove())
        .when(cancel(), expected_version=1)
        .refused("version_mismatch")
    )


async def test_of_shipments_at_the_same_time_no_more_leaves_than_was_ordered(company: Company):
    placed = await company.given(*SHELF, order()).when(confirm()).then(happened(Order.Confirmed))
    one = ShipOrder.model_validate({"id": placed.id, "lines": [{"sku": "A1", "quantity": "3"}]})
    ended = await asyncio.gather(*(company.execute(one) for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(each, Answer) for each in ended) == 3
    assert not [each for each in ended if not isinstance(each, Answer | DomainError | CommandError)]
    shipped = await company.load(Order, placed.id)
    assert shipped.sold().open_quantities() == {"A1": 1, "B2": 3}


def an_answer() -> Answer:
    """About nothing that there is."""
    return Answer(uuid4(), 1, 1, LATE)
