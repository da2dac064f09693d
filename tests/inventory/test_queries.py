"""Stock and items over HTTP, as the event store has them."""

from collections.abc import AsyncIterator
from decimal import Decimal

import httpx
import pytest

from api.inventory import INVENTORY
from domain.inventory.item import ITEM_SERIES, Item, item_id
from domain.inventory.stock import Stock, stock_id
from domain.inventory.valuation import Valuation
from tests.api.world import TENANT, World
from tests.inventory.shelf import booking

ITEMS = "/v1/inventory/items"
STOCK = "/v1/inventory/stock/main/A1"


@pytest.fixture
def world() -> World:
    return World(contexts=[INVENTORY])


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client() as client:
        yield client


def an_item(sku: str = "A1", currency: str = "EUR") -> Item:
    item = Item.blank(item_id(TENANT, sku))
    item.register(
        sku=sku,
        name=f"Bolt {sku}",
        unit="pcs",
        valuation=Valuation.FIFO,
        currency=currency,
        reorder_point=Decimal("10.0"),
        weight_kg=Decimal("0.50"),
    )
    return item


async def test_an_item(client, world):
    """By its sku."""
    item = an_item("A 1")
    world.store.keep(item)
    answer = await client.get(f"{ITEMS}/A%201")
    assert answer.headers["etag"] == '"1"'
    assert answer.json() == {
        "id": str(item.id),
        "sku": "A 1",
        "name": "Bolt A 1",
        "unit": "pcs",
        "valuation": "fifo",
        "currency": "EUR",
        "reorder_point": "10",
        "weight_kg": "0.5",
        "version": 1,
    }


async def test_items_page_by_page(client, world):
    world.store.keep(*(an_item(sku) for sku in ("C3", "A1", "B2")), series=ITEM_SERIES)
    first = (await client.get(f"{ITEMS}?limit=2")).json()
    assert [each["sku"] for each in first["items"]] == ["C3", "A1"]
    rest = (await client.get(f"{ITEMS}?limit=2&cursor={first['next_cursor']}")).json()
    assert [each["sku"] for each in rest["items"]] == ["B2"]
    assert rest["next_cursor"] is None


async def test_the_stock_of_an_item(client, world):
    """What there is, what of it is free, what it is worth, and of which layers."""
    item, stock = an_item(), Stock.blank(stock_id(TENANT, "main", "A1"))
    shelf = item.shelf("main")
    stock.receive(shelf, booking(stock), Decimal("10.00"), Decimal(5))
    stock.receive(shelf, booking(stock), Decimal("2.5"), Decimal("6.01"))
    stock.reserve(shelf, "R-1", Decimal(3), order_id=None, expires_at=None)
    world.store.keep(item, stock)
    answer = await client.get(STOCK)
    assert answer.headers["etag"] == f'"{stock.version}"'
    assert answer.json() == {
        "id": str(stock.id),
        "warehouse": "main",
        "sku": "A1",
        "currency": "EUR",
        "on_hand": "12.5",
        "reserved": "3",
        "available": "9.5",
        "value": "65.02",
        "unit_cost": "5.20",
        "layers": [
            {"layer": 1, "quantity": "10", "unit_cost": "5.00", "value": "50.00"},
            {"layer": 2, "quantity": "2.5", "unit_cost": "6.01", "value": "15.02"},
        ],
        "version": stock.version,
    }


async def test_of_what_never_came_there_is_none(client, world):
    world.store.keep(an_item(currency="JPY"))
    told = (await client.get(STOCK)).json()
    assert (told["on_hand"], told["available"], told["value"], told["unit_cost"]) == ("0", "0", "0", None)
    assert (told["layers"], told["version"]) == ([], 0)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{ITEMS}/B2", "inventory.item_not_found"),
        (f"{ITEMS}/-", "not_found"),
        ("/v1/inventory/stock/main/B2", "inventory.item_not_found"),
        ("/v1/inventory/stock/main/-", "not_found"),
        ("/v1/inventory/stock/-/A1", "not_found"),
    ],
)
async def test_what_is_not_there(client, world, path, code):
    world.store.keep(an_item())
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, code)


@pytest.mark.parametrize("path", [ITEMS, f"{ITEMS}/A1", STOCK])
async def test_reading_takes_the_permission(world, path):
    world.store.keep(an_item())
    async with world.client("accountant") as client:
        assert (await client.get(path)).status_code == 403
    async with world.client("sales") as client:
        assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "location"),
    [
        (
            ITEMS,
            {"sku": "A1", "name": "Bolt", "unit": "pcs", "valuation": "fifo", "currency": "EUR"},
            201,
            f"{ITEMS}/A1",
        ),
        (f"{STOCK}/receive", {"quantity": "1", "unit_cost": "5.00"}, 200, STOCK),
        (f"{STOCK}/issue", {"quantity": "1"}, 200, STOCK),
        (f"{STOCK}/adjust", {"counted_quantity": "0", "reason": "stolen"}, 200, STOCK),
        (f"{STOCK}/reserve", {"reservation_id": "R-1", "quantity": "1"}, 200, STOCK),
        (f"{STOCK}/release", {"reservation_id": "R-1"}, 200, STOCK),
        (f"{STOCK}/ship", {"reservation_id": "R-1"}, 200, STOCK),
        (f"{STOCK}/return", {"reservation_id": "R-1", "quantity": "1"}, 200, STOCK),
        (
            "/v1/inventory/transfers",
            {"sku": "A1", "from": "main", "to": "annex", "quantity": "1"},
            201,
            STOCK,
        ),
    ],
)
async def test_every_command_has_a_route(client, world, *, path, body, status, location):
    """The answer says where to look."""
    answer = await client.post(path, json=body)
    assert (answer.status_code, answer.headers["location"]) == (status, location), answer.text
    ((command, _),) = world.bus.asked
    assert command.sku == "A1"
