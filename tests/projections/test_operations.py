"""Stock and orders as the store has them, and as the read side tells of them: commands of every kind are
carried out, and both say the same.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from commands.finance import OpenFiscalYear
from commands.inventory import AdjustStock, ReleaseReservation, ReturnStock, ShipReservation
from commands.sales import (
    AddOrderLine,
    CancelOrder,
    ConfirmOrder,
    PlaceOrder,
    RemoveOrderLine,
    ReturnOrder,
    ShipOrder,
)
from domain.inventory.stock import Stock, stock_id
from domain.inventory.valuation import quantity_text
from domain.sales.order import Order
from domain.shared.money import amount_text
from erp.contexts import aggregates
from projections.inventory import MOVEMENTS, STOCK_LEVELS, STOCK_VALUATION
from projections.inventory.tables import CHANGES, ITEMS
from projections.sagas.tables import EVENTS
from projections.sales import LISTED_ORDERS, REVENUE
from projections.sales.tables import ORDERS
from tests.dsl import Company
from tests.inventory.history import issue, item, receive, reserve, transfer
from tests.projections.companies import Companies, companies
from tests.sales.history import ORDER

pytestmark = pytest.mark.integration

PAYMENT = UUID(int=17)
PLACES = [("main", "A1"), ("annex", "A1"), ("main", "B2")]


@pytest.fixture
async def shared(own_url: str, clickhouse_url: str) -> AsyncIterator[Companies]:
    async with companies(own_url, clickhouse_url) as made:
        yield made


@pytest.fixture
async def company(shared: Companies) -> Company:
    """With two items, one of each method, and nothing in its warehouses."""
    made = shared.company()
    await made.execute(OpenFiscalYear(year=2026, start=date(2026, 1, 1)))
    for each in (item("A1"), item("B2", valuation="moving_average", reorder_point="0.25")):
        await made.execute(each)
    return made


async def ask(shared: Companies, company: Company, query: Any, **asked: Any) -> Any:
    """The answer, from where the whole log is in it."""
    head = await shared.store.head()
    answered = await shared.read_side.ask(query, company.tenant, min_position=head, wait_s=60, **asked)
    return answered.answer


async def move_goods(company: Company) -> None:
    """Every kind of movement, one of them dated back so that what left since is worth something else."""
    at = {"warehouse": "main", "sku": "A1"}
    for command in (
        receive("10", "5.00", "2026-01-10"),
        receive("10", "6.00", "2026-01-20"),
        issue("4", "2026-01-25"),
        receive("3", "1.11", "2026-01-05"),
        transfer("5", "2026-02-01"),
        receive("7", "3.33", sku="B2"),
        reserve("3", "R-1"),
        reserve("2", "R-2", order_id="o-2"),
        reserve("1", "R-3"),
        reserve("1", "R-4", sku="B2"),
        ShipReservation.model_validate({**at, "reservation_id": "R-1"}),
        ReturnStock.model_validate({**at, "reservation_id": "R-1", "quantity": "1"}),
        ReleaseReservation.model_validate({**at, "reservation_id": "R-3", "reason": "no more"}),
        AdjustStock.model_validate({**at, "counted_quantity": "11", "reason": "spring"}),
        issue("5.5", sku="B2"),
    ):
        await company.execute(command)


async def test_stock_is_what_the_store_says(shared: Companies, company: Company) -> None:
    await move_goods(company)
    stocks = {
        (warehouse, sku): await company.load(Stock, stock_id(company.tenant, warehouse, sku))
        for warehouse, sku in PLACES
    }
    levels = (await ask(shared, company, STOCK_LEVELS, limit=100)).items
    assert [(each.warehouse, each.sku) for each in levels] == PLACES
    for each in levels:
        kept = stocks[each.warehouse, each.sku]
        assert (each.on_hand, each.reserved, each.available, each.value) == (
            quantity_text(kept.on_hand),
            quantity_text(kept.reserved),
            quantity_text(kept.available),
            amount_text(kept.value, "EUR"),
        )
    low = (await ask(shared, company, STOCK_LEVELS, limit=100, below_reorder=True)).items
    assert [(each.warehouse, each.sku) for each in low] == [
        place
        for place, kept in stocks.items()
        if kept.available <= Decimal({"A1": "10", "B2": "0.25"}[place[1]])
    ]
    assert 0 < len(low) < len(levels)
    valuation = await ask(shared, company, STOCK_VALUATION, as_of=date(2026, 12, 31))
    assert {(each.warehouse, each.sku): each.value for each in valuation.rows} == {
        place: amount_text(kept.value, "EUR") for place, kept in stocks.items()
    }
    total = sum((each.value for each in stocks.values()), Decimal(0))
    assert valuation.totals == {"EUR": amount_text(total, "EUR")}


async def test_movements_tell_how_it_came_to_that(shared: Companies, company: Company) -> None:
    """All of them, with what was there after each; also that what was dated back counts on its day."""
    await move_goods(company)
    moved = (await ask(shared, company, MOVEMENTS, limit=1000)).items
    assert {each.kind for each in moved} == {
        *("received", "issued", "shipped", "counted", "returned", "transferred_out", "transferred_in"),
        "revalued",
    }
    for warehouse, sku in PLACES:
        of_it = [each for each in moved if (each.warehouse, each.sku) == (warehouse, sku)]
        on_hand = value = Decimal(0)
        for each in of_it:
            on_hand += Decimal(each.quantity_change)
            value += Decimal(each.value_change)
            assert (Decimal(each.on_hand_after), Decimal(each.value_after)) == (on_hand, value)
    (dated_back,) = await ask_for(shared, company, "2026-01-05")
    assert (dated_back.kind, dated_back.value_change) == ("received", "3.33")
    early = await ask(shared, company, STOCK_VALUATION, as_of=date(2026, 1, 10))
    assert early.totals == {"EUR": "53.33"}


async def ask_for(shared: Companies, company: Company, day: str) -> Sequence[Any]:
    """The movements of a day."""
    wanted = date.fromisoformat(day)
    page = await ask(shared, company, MOVEMENTS, limit=100, first=wanted, last=wanted)
    items: Sequence[Any] = page.items
    return items


async def test_orders_and_revenue_are_what_the_store_says(shared: Companies, company: Company) -> None:
    """Orders of every status; what they make is the sum of what left less what came back."""
    orders = []
    for number in range(6):
        placed = PlaceOrder.model_validate({**ORDER, "customer_id": f"c-{number % 2}"})
        orders.append((await company.execute(placed)).id)
    _, confirmed, cancelled, partly, completed, returned = orders
    added = AddOrderLine(id=confirmed, sku="A1", name="", quantity="1", unit_price="1.00")
    for command in (
        RemoveOrderLine(id=confirmed, sku="A1"),
        added,
        ConfirmOrder(id=confirmed, revision=3, payment_id=PAYMENT),
        CancelOrder(id=cancelled, reason="changed my mind"),
        *(ConfirmOrder(id=each, revision=1, payment_id=PAYMENT) for each in (partly, completed, returned)),
        ShipOrder.model_validate({"id": partly, "lines": [{"sku": "A1", "quantity": "3"}]}),
        ShipOrder(id=completed),
        ShipOrder.model_validate({"id": returned, "lines": [{"sku": "A1", "quantity": "1"}]}),
        ShipOrder.model_validate({"id": returned, "lines": [{"sku": "A1", "quantity": "2"}]}),
    ):
        await company.execute(command)
    company.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    await company.execute(ReturnOrder(id=returned))

    kept = {each: await company.load(Order, each) for each in orders}
    listed = (await ask(shared, company, LISTED_ORDERS, limit=100)).items
    assert [each.id for each in listed] == orders
    for each in listed:
        order = kept[each.id]
        assert order.pricing is not None
        assert (each.status, each.payment_id, each.cancel_reason) == (
            order.status,
            order.payment_id,
            order.cancel_reason,
        )
        assert each.skus == [line.sku for line in order.lines]
        assert Decimal(each.total) == order.pricing.total
        one = await ask(shared, company, LISTED_ORDERS, limit=100, status=each.status)
        assert [found.id for found in one.items] == [each.id]

    shipped = sum((each.net for order in kept.values() for each in order.shipments), Decimal(0))
    back = sum((each.net for each in kept[returned].shipments), Decimal(0))
    for group in ("day", "month", "customer", "sku"):
        revenue = await ask(shared, company, REVENUE, group_by=group)
        sums = revenue.totals["EUR"]
        assert (Decimal(sums.shipped), Decimal(sums.returned)) == (shipped, back)
    months = await ask(shared, company, REVENUE, group_by="month")
    assert [(each.group, each.revenue) for each in months.rows] == [
        ("2026-02", f"{shipped}"),
        ("2026-03", f"{-back}"),
    ]


def test_every_event_that_tells_of_stock_orders_or_sagas_is_read() -> None:
    """A type that is added and not read would be missing in every sum."""
    told = {
        event.TOPIC
        for aggregate in aggregates()
        if aggregate.TOPIC in {"inventory.item", "inventory.stock", "sales.order"}
        or aggregate.TOPIC.startswith("sagas.")
        for event in aggregate.event_types()
    }
    read = {name for each in (ITEMS, CHANGES, ORDERS, EVENTS) for name in each.definition.reads}
    assert told - read == {"inventory.stock.reorder_point_reached"}
    assert read <= told
