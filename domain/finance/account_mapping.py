"""Which accounts stock, sales and payments are booked on. One mapping per tenant.

DomainError
├── MappingNotSet   nobody has said so far
└── AccountUnknown, AccountClosed, AccountNotLeaf of `account`
"""

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import ClassVar
from uuid import UUID

from domain.finance.account import Account, AccountUnknown
from domain.shared.aggregate import Aggregate, event
from domain.shared.errors import DomainError
from domain.shared.ids import natural_id


class MappingNotSet(DomainError):
    """The tenant's account mapping has not been set."""

    code: ClassVar[str] = "finance.account_mapping_not_set"


@dataclass(frozen=True, slots=True)
class RoleAccounts:
    """The code of the account that plays each part."""

    inventory: str
    goods_received_not_invoiced: str
    cost_of_goods_sold: str
    receivable: str
    revenue: str
    shipping_revenue: str
    tax: str
    cash: str
    inventory_adjustments: str


class AccountMapping(Aggregate):
    """Who plays which part in the books."""

    TOPIC = "finance.account_mapping"

    accounts: RoleAccounts | None = None
    warehouses: Mapping[str, str] | None = None
    """The inventory account of warehouses that have one of their own."""

    class Set(Aggregate.Event):
        """From now on these accounts are used."""

        TOPIC = "finance.account_mapping.set"
        accounts: RoleAccounts
        warehouses: Mapping[str, str]

    def set(
        self, accounts: RoleAccounts, warehouses: Mapping[str, str], chart: Mapping[str, Account]
    ) -> None:
        """Use these accounts from now on.

        Args:
            accounts: the account of each part.
            warehouses: warehouses whose stock is on an account of its own.
            chart: the accounts that are named, by code.

        Raises:
            DomainError: one of them does not exist, is closed or a parent.
        """
        for code in codes(accounts, warehouses):
            account = chart.get(code)
            if account is None or not account.exists:
                raise AccountUnknown(f"There is no account {code}.", account=code)
            account.require_leaf()
        self._set(accounts, warehouses)

    def require_set(self) -> RoleAccounts:
        """The account of each part.

        Raises:
            MappingNotSet: there is none yet.
        """
        if self.accounts is None:
            raise MappingNotSet("The account mapping has not been set.")
        return self.accounts

    def account(self, part: str, warehouse: str | None = None) -> str:
        """The account that plays a part, one of the names in `RoleAccounts`; `inventory` in a warehouse.

        Raises:
            MappingNotSet: nobody has said so far.
        """
        if part == "inventory" and warehouse is not None:
            return self.inventory_account(warehouse)
        code: str = getattr(self.require_set(), part)
        return code

    def inventory_account(self, warehouse: str) -> str:
        """Where the stock of this warehouse stands in the books.

        Raises:
            MappingNotSet: nobody has said so far.
        """
        accounts = self.require_set()
        return (self.warehouses or {}).get(warehouse, accounts.inventory)

    @event(Set)
    def _set(self, accounts: RoleAccounts, warehouses: Mapping[str, str]) -> None:
        self.accounts = accounts
        self.warehouses = warehouses


def codes(accounts: RoleAccounts, warehouses: Mapping[str, str]) -> Iterator[str]:
    """Every account that is named, once."""
    yield from dict.fromkeys((*astuple(accounts), *warehouses.values()))


def account_mapping_id(tenant: UUID) -> UUID:
    """The stream of the tenant's mapping."""
    return natural_id(tenant, AccountMapping.TOPIC)
