"""Every report, for random histories at random days and positions, says what plain sums say."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from domain.shared.money import CURRENCIES
from projections.inventory import INVENTORY_PROJECTIONS
from projections.inventory.movements import movements
from projections.inventory.stock_levels import stock_levels
from projections.inventory.valuation import stock_valuation
from projections.reading import View
from tests.projections.inventory.model import ITEMS, WAREHOUSES, Stocks
from tests.projections.shelf import Shelf, splits

TENANTS = (UUID(int=1), UUID(int=2))
DAYS = st.dates(date(2025, 12, 25), date(2026, 1, 5))
STOCKS = st.tuples(st.sampled_from(WAREHOUSES), st.sampled_from(sorted(ITEMS)))
QUANTITIES = (
    st.integers(1, 20).map(Decimal)
    | st.integers(1, 10**9).map(lambda count: Decimal(count).scaleb(-6))
    | st.just(Decimal("999999999999.999999"))
)
UNITS = st.integers(0, 10**6) | st.just(10**15)
KINDS = [
    *("received", "received", "issued", "shipped", "counted", "returned", "transferred_out"),
    *("transferred_in", "revalued", "reserved", "reserved", "released", "reservation_expired"),
]
INCOMING = {"received", "returned", "transferred_in"}
STEPS = st.tuples(
    st.integers(0, 1),
    st.sampled_from(KINDS),
    STOCKS,
    DAYS,
    QUANTITIES,
    UNITS,
    st.booleans(),
    st.integers(0, 3),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[UUID, Stocks], int]:
    """Stocks of two tenants whose events are mixed, and the last position. Some items come late."""
    stocks = {tenant: Stocks(tenant) for tenant in TENANTS}
    position = 0
    for each in stocks.values():
        for sku in ITEMS:
            position += 1
            each.register(sku, position)
    for whose, kind, stock, day, quantity, units, up, gap in draw(st.lists(STEPS, max_size=30)):
        position += gap + 1
        kept = stocks[TENANTS[whose]]
        if kind in {"reserved", "released", "reservation_expired"}:
            kept.promise(position, kind, stock, quantity)
            continue
        sign = 1 if kind in INCOMING or (up and kind in {"counted", "revalued"}) else -1
        value = sign * units * Decimal(1).scaleb(-CURRENCIES[ITEMS[stock[1]][0]])
        moved = Decimal(0) if kind == "revalued" else sign * quantity
        kept.move(position, kind, stock, day=day, quantity=moved, value=value)
    return stocks, position


# An example takes a second, and shrinking many of them.
@settings(max_examples=20, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_reports_are_what_the_sums_say(shelf: Shelf, runner: asyncio.Runner, data: st.DataObject) -> None:
    stocks, end = data.draw(histories())
    ranges = [(each, data.draw(splits(end))) for each in INVENTORY_PROJECTIONS]
    at = data.draw(st.integers(0, end) | st.just(end))
    since, as_of = sorted((data.draw(DAYS), data.draw(DAYS)))
    warehouse, sku = data.draw(STOCKS)
    low = data.draw(st.booleans())
    questions: list[dict[str, Any]] = [{}, {"sku": sku}, {"sku": sku, "warehouse": warehouse}]

    async def compare() -> None:
        await shelf.clear()
        await shelf.record(event for each in stocks.values() for event in each.events)
        for projection, chosen in ranges:
            for after, up_to in chosen:
                await shelf.project(projection, after, up_to)
        for tenant, kept in stocks.items():
            view = shelf.view(tenant, at)
            for wanted in [*questions, {"below_reorder": low}]:
                assert await pages(stock_levels, view, **wanted) == kept.stock_levels(at, **wanted)
            for wanted in [*questions, {"last": as_of}, {"sku": sku, "first": since}]:
                assert await pages(movements, view, **wanted) == kept.movements(at, **wanted)
            assert await stock_valuation(view, as_of=as_of) == kept.valuation(at, as_of)

    runner.run(compare())


async def pages(ask: Callable[..., Awaitable[Any]], view: View, **wanted: Any) -> list[Any]:
    """All of them, one after the other."""
    items: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = await ask(view, limit=3, after=after, **wanted)
        items += page.items
        after = page.next_after
    return items
