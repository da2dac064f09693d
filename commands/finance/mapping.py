"""The account mapping: command and handler."""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from commands.bus import Command, Handler, Work
from commands.fields import FixedPermission, NaturalKey
from domain.finance.account import Account, account_id
from domain.finance.account_mapping import AccountMapping, RoleAccounts, account_mapping_id, codes

WAREHOUSES_MAX: Final = 1000


class Accounts(BaseModel):
    """The code of the account for each part; all have to be open and without children."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inventory: NaturalKey
    goods_received_not_invoiced: NaturalKey
    cost_of_goods_sold: NaturalKey
    receivable: NaturalKey
    revenue: NaturalKey
    shipping_revenue: NaturalKey
    tax: NaturalKey
    cash: NaturalKey
    inventory_adjustments: NaturalKey

    def to_domain(self) -> RoleAccounts:
        """The same, as the books know it."""
        return RoleAccounts(**self.model_dump())


class SetAccountMapping(FixedPermission):
    """Say which accounts stock, sales and payments are booked on."""

    TOPIC = "finance.set_account_mapping"
    needs = "finance.account_mapping:write"

    accounts: Accounts
    warehouses: Annotated[
        dict[NaturalKey, NaturalKey],
        Field(max_length=WAREHOUSES_MAX, json_schema_extra={"additionalProperties": False}),
    ] = Field(default_factory=dict)
    """Warehouses whose stock is on an inventory account of its own, with its code."""


async def set_account_mapping(command: SetAccountMapping, work: Work) -> AccountMapping:
    """See `AccountMapping.set`."""
    accounts, warehouses = command.accounts.to_domain(), command.warehouses
    mapping = await work.edit(AccountMapping, account_mapping_id(work.tenant))
    chart = {
        code: await work.read(Account, account_id(work.tenant, code)) for code in codes(accounts, warehouses)
    }
    mapping.set(accounts, warehouses, chart)
    return mapping


HANDLERS: Final[Mapping[type[Command], Handler]] = {SetAccountMapping: set_account_mapping}
