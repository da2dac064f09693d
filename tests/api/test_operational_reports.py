"""Reports of stock, orders and sagas: what is asked of the read side, and what clients are told."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.inventory import INVENTORY
from api.routing import ContextRoutes
from api.saga_list import SEARCHES as SAGA_SEARCHES
from api.sales import SALES
from domain.finance.fiscal_calendar import FiscalCalendar, calendar_id
from projections.inventory.movements import Movement, Movements
from projections.inventory.stock_levels import StockLevel, StockLevels
from projections.inventory.valuation import StockValuation, ValuationRow
from projections.sagas.listed import ListedSaga, ListedSagas
from projections.sales.orders import ListedOrder, ListedOrders
from projections.sales.revenue import Revenue, RevenueRow, RevenueSums
from tests.api.world import TENANT, World

STOCK = "/v1/inventory/stock"
MOVEMENTS = "/v1/inventory/movements"
VALUATION = "/v1/inventory/valuation"
ORDERS = "/v1/sales/orders"
REVENUE = "/v1/sales/revenue"
SAGAS = "/v1/sagas"
CSV = {"Accept": "text/csv"}
DAY = date(2026, 2, 3)
NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)
ID = UUID("22222222-2222-4222-8222-222222222222")

LEVELS = StockLevels(
    (StockLevel("main", "A1", "Bolt", "pcs", "EUR", "10", "4", "6", "50.00", "5.00", "8"),), None
)
MOVED = Movements(
    (
        Movement(
            *(7, "issued", "main", "A1", "EUR", DAY, NOON, "-2", "-10.00", "8", "40.00", "R-1"),
            order_id=None,
            counterpart=None,
            reason=None,
        ),
    ),
    7,
)
VALUES = StockValuation((ValuationRow("main", "A1", "Bolt", "EUR", "8", "40.00", "5.00"),), {"EUR": "40.00"})
ORDER = ListedOrder(
    *(ID, "cancelled", "c-1", "gold", "EUR", "main", DAY, ("A1",), "31.60"),
    payment_id=None,
    cancel_reason="late",
    cancel_code="customer",
)
EARNED = Revenue(
    "sku",
    (RevenueRow("A1", "EUR", "18.00", "9.00", "9.00"),),
    {"EUR": RevenueSums("18.00", "9.00", "9.00")},
)


@pytest.fixture
def world() -> World:
    sagas = ContextRoutes(name="sagas", commands=(), searches=SAGA_SEARCHES)
    return World(contexts=(INVENTORY, SALES, sagas))


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client("storekeeper", "sales") as client:
        yield client


def asked(world: World) -> dict[str, Any]:
    """What the last question was asked with, besides where it is to stand."""
    given = world.read_side.asked[-1][1]
    return {name: value for name, value in given.items() if name not in {"min_position", "wait_s"}}


async def test_stock_levels(world, client):
    world.read_side.answer = LEVELS
    answer = await client.get(STOCK, params={"sku": "A1", "warehouse": "main", "below_reorder": "true"})
    assert answer.json() == {
        "items": [
            {
                "warehouse": "main",
                "sku": "A1",
                "name": "Bolt",
                "unit": "pcs",
                "currency": "EUR",
                "on_hand": "10",
                "reserved": "4",
                "available": "6",
                "value": "50.00",
                "unit_cost": "5.00",
                "reorder_point": "8",
            }
        ],
        "next_cursor": None,
    }
    wanted = {"sku": "A1", "warehouse": "main", "below_reorder": True}
    assert asked(world) == {"known_at": None, "limit": 100, "after": 0, **wanted}
    await client.get(STOCK, params={"below_reorder": "false"})
    assert (asked(world)["below_reorder"], asked(world)["sku"]) == (False, None)
    await client.get(STOCK)
    assert asked(world)["below_reorder"] is None
    assert (await client.get(STOCK, headers=CSV)).text == (
        "warehouse,sku,name,unit,currency,on_hand,reserved,available,value,unit_cost,reorder_point\r\n"
        "main,A1,Bolt,pcs,EUR,10,4,6,50.00,5.00,8\r\n"
    )


async def test_movements(world, client):
    world.read_side.answer = MOVED
    answer = await client.get(MOVEMENTS, params={"sku": "A1", "from": "2026-02-01", "to": "2026-02-28"})
    (item,) = answer.json()["items"]
    assert (item["effective_at"], item["recorded_at"]) == ("2026-02-03", "2026-02-03T12:00:00Z")
    assert (item["quantity_change"], item["value_change"], item["order_id"]) == ("-2", "-10.00", None)
    wanted = {"sku": "A1", "warehouse": None, "first": date(2026, 2, 1), "last": date(2026, 2, 28)}
    assert asked(world) == {"known_at": None, "limit": 100, "after": 0, **wanted}
    await client.get(MOVEMENTS, params={"cursor": answer.json()["next_cursor"], "limit": 1})
    assert (asked(world)["after"], asked(world)["limit"]) == (7, 1)
    # A cursor is good for its own list only.
    assert (await client.get(STOCK, params={"cursor": answer.json()["next_cursor"]})).status_code == 400


async def test_the_valuation(world, client):
    """Without a day: that of the trial balance without one, so that the two agree."""
    world.read_side.answer = VALUES
    answer = await client.get(f"{VALUATION}?as_of=2026-02-28&known_at=2026-03-01T00:00:00Z")
    assert answer.json() == {
        "as_of": "2026-02-28",
        "known_at": "2026-03-01T00:00:00.000000Z",
        "position": 7,
        "rows": [
            {
                "warehouse": "main",
                "sku": "A1",
                "name": "Bolt",
                "currency": "EUR",
                "on_hand": "8",
                "value": "40.00",
                "unit_cost": "5.00",
            }
        ],
        "totals": {"EUR": "40.00"},
    }
    calendar = FiscalCalendar.blank(calendar_id(TENANT))
    calendar.open_year(year=1999, start=date(1998, 7, 1))
    world.store.keep(calendar)
    assert (await client.get(VALUATION)).json()["as_of"] == "1999-06-30"
    assert (await client.get(VALUATION, headers=CSV)).text == (
        "warehouse,sku,name,currency,on_hand,value,unit_cost\r\nmain,A1,Bolt,EUR,8,40.00,5.00\r\n"
    )


async def test_orders(world, client):
    world.read_side.answer = ListedOrders((ORDER,), None)
    query = {"status": "cancelled", "customer_id": "c-1", "from": "2026-02-01", "to": "2026-02-28"}
    (item,) = (await client.get(ORDERS, params=query)).json()["items"]
    assert (item["id"], item["status"], item["placed_on"]) == (str(ID), "cancelled", "2026-02-03")
    assert (item["total"], item["payment_id"], item["cancel_code"]) == ("31.60", None, "customer")
    wanted = {
        "status": "cancelled",
        "customer_id": "c-1",
        "first": date(2026, 2, 1),
        "last": date(2026, 2, 28),
    }
    assert asked(world) == {"known_at": None, "limit": 100, "after": 0, **wanted}


async def test_revenue(world, client):
    world.read_side.answer = EARNED
    answer = await client.get(REVENUE, params={"group_by": "sku", "from": "2026-02-01"})
    sums = {"shipped": "18.00", "returned": "9.00", "revenue": "9.00"}
    assert answer.json() == {
        "from": "2026-02-01",
        "to": None,
        "position": 7,
        "group_by": "sku",
        "rows": [{"group": "A1", "currency": "EUR", **sums}],
        "totals": {"EUR": sums},
    }
    assert asked(world) == {"known_at": None, "group_by": "sku", "first": date(2026, 2, 1), "last": None}
    await client.get(REVENUE)
    assert asked(world)["group_by"] == "day"
    csv = await client.get(REVENUE, headers=CSV)
    assert csv.text == "group,currency,shipped,returned,revenue\r\nA1,EUR,18.00,9.00,9.00\r\n"


@pytest.mark.parametrize("type_", ["sagas.order_to_cash", "order_to_cash"])
async def test_sagas(world, type_):
    """Their types with and without what all of them begin with."""
    waiting = ListedSaga(
        *(ID, "sagas.order_to_cash", "o-1", "waiting", None, "book", "finance.period_closed", "It is."),
        started_at=NOON,
        updated_at=NOON,
    )
    world.read_side.answer = ListedSagas((waiting,), None)
    async with world.client("auditor") as client:
        answer = await client.get(SAGAS, params={"type": type_, "status": "waiting"})
        assert (await client.get(f"{SAGAS}?type=Order")).status_code == 400
        assert (await client.get(f"{SAGAS}?status=open")).status_code == 400
    assert answer.json()["items"] == [
        {
            "id": str(ID),
            "type": "sagas.order_to_cash",
            "key": "o-1",
            "status": "waiting",
            "outcome": None,
            "step": "book",
            "code": "finance.period_closed",
            "detail": "It is.",
            "started_at": "2026-02-03T12:00:00Z",
            "updated_at": "2026-02-03T12:00:00Z",
        }
    ]
    wanted = {"type": "sagas.order_to_cash", "status": "waiting"}
    assert asked(world) == {"known_at": None, "limit": 100, "after": 0, **wanted}


@pytest.mark.parametrize(
    "query",
    [
        f"{STOCK}?below_reorder=yes",
        f"{STOCK}?below_reorder=",
        f"{STOCK}?sku=-",
        f"{STOCK}?known_at=2026-01-01T00:00:00Z",
        f"{MOVEMENTS}?from=2026-02-02&to=2026-02-01",
        f"{MOVEMENTS}?warehouse=",
        f"{VALUATION}?as_of=2026-02-30",
        f"{ORDERS}?status=open",
        f"{ORDERS}?customer_id=",
        f"{REVENUE}?group_by=year",
        f"{REVENUE}?from=1899-12-31",
    ],
)
async def test_bad_parameters(client, query):
    answer = await client.get(query)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("role", "readable"),
    [
        ("storekeeper", {STOCK, MOVEMENTS, VALUATION}),
        ("sales", {STOCK, MOVEMENTS, VALUATION, ORDERS, REVENUE}),
        ("auditor", {STOCK, MOVEMENTS, VALUATION, ORDERS, REVENUE, SAGAS}),
        ("cashier", set()),
    ],
)
async def test_who_may_read_them(world, role, readable):
    answers = {
        STOCK: LEVELS,
        MOVEMENTS: MOVED,
        VALUATION: VALUES,
        ORDERS: ListedOrders((), None),
        REVENUE: EARNED,
        SAGAS: ListedSagas((), None),
    }
    async with world.client(role) as client:
        for path, answer in answers.items():
            world.read_side.answer = answer
            assert (await client.get(path)).status_code == (200 if path in readable else 403), path
