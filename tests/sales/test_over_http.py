"""Orders and prices over HTTP: routes, and how they look as they are now."""

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.auth import issue_token
from api.sales import SALES
from commands.bus import Command
from commands.sales import (
    AddOrderLine,
    CancelOrder,
    PlaceOrder,
    RemoveOrderLine,
    ReturnOrder,
    SetPricingPolicy,
    ShipOrder,
)
from domain.sales.order import Order
from domain.sales.pricing_policy import PricingPolicy, Rates, Tier, pricing_policy_id
from tests.api.world import AUTH, TENANT, World
from tests.finance.ledger import blank
from tests.sales.goods import DAY, LATER, PAYMENT, placement, terms, wanted
from tests.sales.history import ADDRESS, ORDER, POLICY
from tests.sales.test_pricing_policy import CHEAP

ORDERS = "/v1/sales/orders"
PRICES = "/v1/sales/pricing-policy"
ID = UUID(int=7)


@pytest.fixture
def world() -> World:
    return World(contexts=(SALES,))


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client() as client:
        yield client


async def an_order(world: World) -> Order:
    """Of ten A1 and five B2, of which four A1 have left."""
    order = blank(Order)
    sealed = await world.vault.seal(TENANT, "c-1", ADDRESS)
    lines = [wanted("A1", "10", "9.99"), wanted("B2", "5", "3.3", "0.25")]
    order.place(replace(placement(tier=Tier.GOLD), shipping_address=sealed), lines, terms(Tier.GOLD))
    order.confirm(1, PAYMENT)
    order.ship([("A1", Decimal("4.0"))], DAY)
    world.store.keep(order)
    return order


async def test_an_order(client, world):
    """All that it says, with its version as ETag; and nothing of its token."""
    order = await an_order(world)
    answer = await client.get(f"{ORDERS}/{order.id}")
    assert answer.status_code == 200
    assert answer.headers["etag"] == '"3"'
    assert "tok_ok" not in answer.text
    assert answer.json() == {
        "id": str(order.id),
        "version": 3,
        "status": "partially_shipped",
        "revision": 1,
        "customer_id": "c-1",
        "customer_tier": "gold",
        "currency": "EUR",
        "warehouse": "main",
        "placed_on": "2026-02-03",
        "lines": [
            {
                "sku": "A1",
                "name": "Item A1",
                "quantity": "10",
                "unit_price": "9.99",
                "amount": "99.90",
                "weight_kg": "0.5",
                "shipped_quantity": "4",
            },
            {
                "sku": "B2",
                "name": "Item B2",
                "quantity": "5",
                "unit_price": "3.30",
                "amount": "16.50",
                "weight_kg": "0.25",
                "shipped_quantity": "0",
            },
        ],
        "discount_rate": "0.10",
        "tax_rate": "0.20",
        "weight_kg": "6.25",
        "remote": False,
        "subtotal": "116.40",
        "discount": "11.64",
        "tax": "20.95",
        "shipping": "10.00",
        "total": "135.71",
        "shipments": [
            {
                "shipment": 1,
                "shipped_on": "2026-02-03",
                "lines": [{"sku": "A1", "quantity": "4", "amount": "39.96", "net": "35.96"}],
                "net": "35.96",
                "tax": "7.19",
                "shipping": "3.43",
                "total": "46.58",
            }
        ],
        "shipping_address": ADDRESS,
        "payment_method": "card",
        "payment_id": str(PAYMENT),
        "cancel_reason": None,
        "cancel_code": None,
        "returned_on": None,
        "return_reason": None,
    }


async def test_an_order_that_ended(client, world):
    """It says how."""
    cancelled = blank(Order)
    sealed = await world.vault.seal(TENANT, "c-1", ADDRESS)
    cancelled.place(replace(placement(), shipping_address=sealed), [wanted()], terms())
    cancelled.cancel("card refused", "payments.declined")
    returned = await an_order(world)
    returned.take_back("broken", LATER)
    world.store.keep(cancelled)
    told = (await client.get(f"{ORDERS}/{cancelled.id}")).json()
    assert (told["status"], told["payment_id"]) == ("cancelled", None)
    assert (told["cancel_reason"], told["cancel_code"]) == ("card refused", "payments.declined")
    told = (await client.get(f"{ORDERS}/{returned.id}")).json()
    assert (told["status"], told["returned_on"], told["return_reason"]) == (
        "returned",
        "2026-02-05",
        "broken",
    )


@pytest.mark.parametrize(
    ("granted", "address"),
    [
        (["sales.orders:read"], None),
        (["sales.orders:read", "sales.personal_data:read"], ADDRESS),
        (["*"], ADDRESS),
    ],
)
async def test_where_it_goes_is_for_those_who_may_know(world, granted: list[str], address: Any):
    """Others see the rest."""
    order = await an_order(world)
    token = issue_token(AUTH, tenant="demo", user="bob", roles=(), permissions=granted, ttl_s=60)
    async with world.client(token=token) as client:
        answer = await client.get(f"{ORDERS}/{order.id}")
    assert answer.status_code == 200
    assert answer.json()["shipping_address"] == address


async def test_an_address_whose_key_is_gone_is_gone(client, world):
    """For everybody; amounts and quantities stay."""
    order = await an_order(world)
    assert order.placement is not None
    world.vault.gone.add(order.placement.shipping_address.key)
    told = (await client.get(f"{ORDERS}/{order.id}")).json()
    assert (told["shipping_address"], told["total"]) == (None, "135.71")


@pytest.mark.parametrize(("role", "status"), [("sales", 200), ("auditor", 200), ("storekeeper", 403)])
async def test_who_may_see_orders(world, role: str, status: int):
    """And the prices that they are made by."""
    order = await an_order(world)
    async with world.client(role) as client:
        assert (await client.get(f"{ORDERS}/{order.id}")).status_code == status
        assert (await client.get(PRICES)).status_code == status


@pytest.mark.parametrize(
    ("path", "code"), [(f"{ORDERS}/{UUID(int=7)}", "sales.order_not_found"), (f"{ORDERS}/7", "not_found")]
)
async def test_what_is_not_there(client, path: str, code: str):
    """404, with the domain's code when such an order could be there."""
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, code)


async def test_the_policy_until_it_is_set(client):
    """The default, at version 0."""
    answer = await client.get(PRICES)
    assert answer.headers["etag"] == '"0"'
    told = answer.json()
    assert told["shipping"].pop("remote_postal_codes").keys() == {"ES", "FR", "GB", "PT", "US"}
    assert told == {
        "version": 0,
        "discounts": {"platinum": "0.15", "gold": "0.10", "silver": "0.05", "bronze": "0"},
        "tax_rate": "0.20",
        "shipping": {"base": "10", "free_weight_kg": "50", "per_kg": "0.5", "remote_surcharge": "15"},
    }


async def test_the_policy_as_it_was_set(client, world):
    """What is read can be sent again, without its version."""
    policy = PricingPolicy.blank(pricing_policy_id(TENANT))
    policy.set(Rates({"gold": Decimal("0.5")}, Decimal("0.07"), CHEAP))
    world.store.keep(policy)
    told = (await client.get(PRICES)).json()
    assert told.pop("version") == 1
    assert told["discounts"] == {"platinum": "0", "gold": "0.5", "silver": "0", "bronze": "0"}
    again = {**told, "shipping": {**told["shipping"], "remote_postal_codes": {"DE": ["999 9"]}}}
    assert (await client.put(PRICES, json=again)).status_code == 200


@pytest.mark.parametrize(
    ("request_line", "body", "command"),
    [
        (f"POST {ORDERS}", ORDER, PlaceOrder),
        (
            f"POST {ORDERS}/{ID}/lines",
            {"sku": "A1", "name": "Tea", "quantity": "1", "unit_price": "1.00"},
            AddOrderLine,
        ),
        (f"DELETE {ORDERS}/{ID}/lines/A%201", None, RemoveOrderLine),
        (f"POST {ORDERS}/{ID}/cancel", {"reason": "why"}, CancelOrder),
        (f"POST {ORDERS}/{ID}/ship", None, ShipOrder),
        (f"POST {ORDERS}/{ID}/ship", {"lines": [{"sku": "A1", "quantity": "1"}]}, ShipOrder),
        (f"POST {ORDERS}/{ID}/return", None, ReturnOrder),
        (f"POST {ORDERS}/{ID}/return", {"reason": "broken"}, ReturnOrder),
        (f"PUT {PRICES}", POLICY, SetPricingPolicy),
    ],
)
async def test_routes(client, world, request_line: str, body: Any, command: type[Command]):
    """Each asks for its command, and tells where to look."""
    method, path = request_line.split(" ")
    answer = await client.request(method, path, json=body)
    assert answer.status_code == (201 if command.creates else 200), answer.text
    ((asked, _),) = world.bus.asked
    assert type(asked) is command
    assert getattr(asked, "id", ID) == ID
    where = PRICES if path == PRICES else f"{ORDERS}/{answer.json()['id']}"
    assert answer.headers["location"] == where


async def test_a_sku_that_cannot_be_is_not_found(client):
    """404, not 400: it is in the path."""
    answer = await client.delete(f"{ORDERS}/{ID}/lines/%2F")
    assert answer.status_code == 404


async def test_the_description_has_every_route(client):
    """Of the command that only sagas send there is none."""
    told = (await client.get("/openapi.json")).json()
    named = {operation["operationId"] for path in told["paths"].values() for operation in path.values()}
    assert {"sales.place_order", "sales.return_order", "sales.order", "sales.pricing_policy"} <= named
    assert "sales.confirm_order" not in named


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        (ORDERS, "post", "201"),
        (f"{ORDERS}/{{id}}/lines", "post", "200"),
        (f"{ORDERS}/{{id}}/lines/{{sku}}", "delete", "200"),
    ],
)
async def test_what_an_order_comes_to_is_described(client, path: str, method: str, status: str):
    """In the answer to the commands that price it, word for word as in that of the query."""
    told = (await client.get("/openapi.json")).json()
    schemas = told["components"]["schemas"]
    answered = told["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"]
    assert answered == {
        "allOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("CommandAnswer", "PricedOrder")]
    }
    priced, shown = (schemas[name]["properties"] for name in ("PricedOrder", "OrderView"))
    assert priced == {name: shown[name] for name in priced}
