"""The list of orders and the revenue, for random histories at random days and positions, say what a plain
shop says.
"""

import asyncio
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from domain.shared.money import CURRENCIES
from projections.reading import View
from projections.sales import SALES_PROJECTIONS
from projections.sales.orders import ListedOrder, orders
from projections.sales.revenue import RevenueGroup, revenue
from tests.projections.sales.model import Nets, Order, Shop
from tests.projections.shelf import Shelf, splits

TENANTS = (UUID(int=1), UUID(int=2))
DAYS = st.dates(date(2025, 12, 28), date(2026, 2, 2))
SKUS = ("A1", "B 2", "C-3.x")
CUSTOMERS = ("c-1", "c-2", "Müller & Söhne")
UNITS = st.integers(0, 10**6) | st.just(10**15)
STATUSES = ("pending", "confirmed", "partially_shipped", "completed", "cancelled", "returned")
GROUPS: tuple[RevenueGroup, ...] = ("day", "month", "customer", "sku")
STEPS = st.tuples(
    st.integers(0, 1),
    st.sampled_from(["place", "place", "change", "confirm", "confirm", "ship", "ship", "return", "cancel"]),
    st.integers(0, 100),
    DAYS,
    st.lists(st.tuples(st.sampled_from(SKUS), UNITS), min_size=1, max_size=3, unique_by=lambda each: each[0]),
    st.booleans(),
    st.sampled_from(CUSTOMERS),
    st.sampled_from(["EUR", "JPY", "BHD"]),
    st.integers(0, 2),
)
POSSIBLE = {
    "change": {"pending"},
    "confirm": {"pending"},
    "ship": {"confirmed", "partially_shipped"},
    "return": {"partially_shipped", "completed"},
    "cancel": {"pending", "confirmed"},
}


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[UUID, Shop], int]:
    """Shops of two tenants whose events are mixed, and the last position."""
    shops = {tenant: Shop(tenant) for tenant in TENANTS}
    position = 0
    steps = draw(st.lists(STEPS, max_size=30))
    for number, (whose, step, which, day, units, yes, customer, currency, gap) in enumerate(steps, start=100):
        shop = shops[TENANTS[whose]]
        position += gap + 1
        fit = [each for each in shop.orders if each.status in POSSIBLE.get(step, ())]
        if not fit:
            order = Order(UUID(int=number), customer, currency, day)
            shop.place(order, in_units(units, currency), position)
        else:
            order = fit[which % len(fit)]
            position += _act(
                shop, step, order, in_units(units, order.currency), day=day, position=position, yes=yes
            )
    return shops, position


def in_units(units: list[tuple[str, int]], currency: str) -> Nets:
    return [(sku, count * Decimal(1).scaleb(-CURRENCIES[currency])) for sku, count in units]


def _act(shop: Shop, step: str, order: Order, nets: Nets, *, day: date, position: int, yes: bool) -> int:
    """Do the step; returns how many positions it took beyond the one."""
    match step:
        case "change":
            shop.change(order, nets, position)
        case "confirm":
            shop.confirm(order, position)
        case "ship":
            shop.ship(order, nets, day, position, last=yes)
            return int(yes)
        case "return":
            shop.take_back(order, day, position)
        case _:
            shop.cancel(order, position)
    return 0


# An example takes a second, and shrinking many of them.
@settings(max_examples=20, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_reports_are_what_the_shop_says(shelf: Shelf, runner: asyncio.Runner, data: st.DataObject) -> None:
    shops, end = data.draw(histories())
    ranges = [(each, data.draw(splits(end))) for each in SALES_PROJECTIONS]
    at = data.draw(st.integers(0, end) | st.just(end))
    first, last = sorted((data.draw(DAYS), data.draw(DAYS)))
    customer = data.draw(st.sampled_from(CUSTOMERS))
    questions: list[dict[str, Any]] = [{"status": status} for status in STATUSES]
    questions += [{}, {"customer_id": customer, "first": first}, {"last": last}]
    asked = data.draw(st.lists(st.sampled_from(questions), min_size=3, max_size=4, unique_by=str))
    groups = data.draw(st.lists(st.sampled_from(GROUPS), min_size=2, max_size=2, unique=True))
    days = data.draw(st.sampled_from([{}, {"first": first, "last": last}]))

    async def compare() -> None:
        await shelf.clear()
        await shelf.record(event for each in shops.values() for event in each.events)
        for projection, chosen in ranges:
            for after, up_to in chosen:
                await shelf.project(projection, after, up_to)
        for tenant, shop in shops.items():
            view = shelf.view(tenant, at)
            for wanted in asked:
                assert await listed(view, **wanted) == shop.listed(at, **wanted)
            for group in groups:
                assert await revenue(view, group_by=group, **days) == shop.revenue(at, group, **days)

    runner.run(compare())


async def listed(view: View, **wanted: Any) -> list[ListedOrder]:
    """All pages."""
    items: list[ListedOrder] = []
    after: int | None = 0
    while after is not None:
        page = await orders(view, limit=3, after=after, **wanted)
        items += page.items
        after = page.next_after
    return items
