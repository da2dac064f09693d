"""A company whose general ledger is kept in the real store."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from commands.finance import HANDLERS
from domain.finance.account import Account
from domain.finance.account_mapping import AccountMapping
from domain.finance.approval_policy import ApprovalPolicy
from domain.finance.fiscal_calendar import FiscalCalendar
from domain.finance.journal_entry import JournalEntry
from tests.dsl import Company


@pytest.fixture
async def company(postgres_url: str) -> AsyncIterator[Company]:
    """A company with nothing in its books."""
    from erp.embedded.address import with_user
    from eventstore.codec import Codec
    from eventstore.store import EventStore
    from eventstore.tenants import register_tenant

    made, _ = register_tenant(postgres_url, f"t{uuid4().hex}", base_currency="EUR", time_zone="UTC")
    codec = Codec([Account, AccountMapping, ApprovalPolicy, FiscalCalendar, JournalEntry])
    async with EventStore(with_user(postgres_url, "erp_app"), codec) as store:
        yield Company(store, HANDLERS, made.tenant)
