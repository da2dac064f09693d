"""Items through bus and store."""

from decimal import Decimal

import pytest

from domain.inventory.item import Item, item_id
from domain.inventory.valuation import Valuation
from tests.dsl import Company, happened
from tests.inventory.history import item

pytestmark = pytest.mark.integration


async def test_an_item_is_registered(company: Company):
    answer = await company.when(item(reorder_point="10.50", valuation="moving_average")).then(
        happened(
            Item.Registered,
            series="inventory.item",
            sku="A1",
            name="Bolt A1",
            unit="pcs",
            valuation=Valuation.MOVING_AVERAGE,
            currency="EUR",
            reorder_point=Decimal("10.5"),
            weight_kg=Decimal("0.5"),
        )
    )
    assert answer.id == item_id(company.tenant, "A1")
    loaded = await company.load(Item, answer.id)
    assert (loaded.sku, loaded.name, loaded.unit, loaded.weight_kg) == (
        "A1",
        "Bolt A1",
        "pcs",
        Decimal("0.5"),
    )


async def test_a_sku_is_taken_once(company: Company):
    refusal = await company.given(item()).when(item(name="Another")).refused("inventory.item_exists")
    assert refusal.data == {"sku": "A1"}


async def test_registering_twice_under_one_key_registers_once(company: Company):
    await company.when(item()).repeated()


async def test_registering_takes_the_permission(company: Company):
    await company.when(item(), permissions=["inventory.items:read"]).refused("permission_denied")
