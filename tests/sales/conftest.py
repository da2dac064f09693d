"""A company that sells out of the real store."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from commands.finance import HANDLERS as FINANCE_HANDLERS
from commands.inventory import HANDLERS as INVENTORY_HANDLERS
from commands.sales import HANDLERS
from domain.finance.fiscal_calendar import FiscalCalendar
from domain.inventory.item import Item
from domain.sales.order import Order
from domain.sales.pricing_policy import PricingPolicy
from tests.dsl import Company


@pytest.fixture
async def company(postgres_url: str) -> AsyncIterator[Company]:
    """A company with nothing on its shelves and nothing sold."""
    from erp.embedded.address import with_user
    from eventstore.codec import Codec
    from eventstore.store import EventStore
    from eventstore.tenants import register_tenant
    from eventstore.vault import Vault

    made, _ = register_tenant(postgres_url, f"t{uuid4().hex}", base_currency="EUR", time_zone="UTC")
    codec = Codec([FiscalCalendar, Item, Order, PricingPolicy])
    async with EventStore(with_user(postgres_url, "erp_app"), codec) as store:
        vault = Vault(store.rows, bytes(range(32)))
        handlers = {**FINANCE_HANDLERS, **INVENTORY_HANDLERS, **HANDLERS}
        yield Company(store, handlers, made.tenant, vault=vault)
