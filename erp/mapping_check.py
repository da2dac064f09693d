"""What companies lack for their sagas to post vouchers: said when a saga worker starts."""

from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

from domain.finance.account import Account, account_id
from domain.finance.account_mapping import AccountMapping, account_mapping_id, codes
from domain.shared.errors import DomainError
from eventstore.store import EventStore
from eventstore.tenants import Tenant


class Lack(NamedTuple):
    """What a company lacks, in words for its controller."""

    tenant: str
    what: str


async def lacks(store: EventStore, tenants: Iterable[Tenant]) -> AsyncIterator[Lack]:
    """What keeps these companies' vouchers from being posted, company by company."""
    for tenant in tenants:
        mapping = await store.load_current(AccountMapping, account_mapping_id(tenant.tenant), tenant.tenant)
        if mapping.accounts is None:
            yield Lack(tenant.name, "it has no account mapping")
            continue
        for code in codes(mapping.accounts, mapping.warehouses or {}):
            account = await store.load_current(Account, account_id(tenant.tenant, code), tenant.tenant)
            try:
                account.require_leaf()
            except DomainError as refusal:
                yield Lack(tenant.name, refusal.detail)
