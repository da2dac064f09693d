"""A company whose warehouses are kept in the real store."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from commands.finance import HANDLERS as FINANCE_HANDLERS
from commands.inventory import HANDLERS
from domain.finance.fiscal_calendar import FiscalCalendar
from domain.inventory.item import Item
from domain.inventory.stock import Stock
from tests.dsl import Company


@pytest.fixture
async def company(postgres_url: str) -> AsyncIterator[Company]:
    """A company with nothing in its warehouses, on the tenth of February 2026."""
    from erp.embedded.address import with_user
    from eventstore.codec import Codec
    from eventstore.store import EventStore
    from eventstore.tenants import register_tenant

    made, _ = register_tenant(postgres_url, f"t{uuid4().hex}", base_currency="EUR", time_zone="UTC")
    codec = Codec([FiscalCalendar, Item, Stock])
    async with EventStore(with_user(postgres_url, "erp_app"), codec) as store:
        kept = Company(store, {**FINANCE_HANDLERS, **HANDLERS}, made.tenant)
        kept.now = datetime(2026, 2, 10, 12, tzinfo=UTC)
        yield kept
