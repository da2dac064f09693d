"""The chart of accounts: commands and handlers."""

from collections.abc import Mapping
from typing import Annotated, Final, cast

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from commands.bus import Command, Handler, Work
from commands.fields import CurrencyCode, FixedPermission, NaturalKey, Reason, ShortText
from domain.finance.account import Account, AccountType, account_id


def _all_different(currencies: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(currencies)) < len(currencies):
        raise PydanticCustomError("unique", "Input should name each currency once")
    return currencies


AccountName = Annotated[ShortText, StringConstraints(min_length=1)]
Currencies = Annotated[
    tuple[CurrencyCode, ...],
    Field(min_length=1, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_all_different),
]


class OpenAccount(FixedPermission):
    """Add an account to the chart."""

    TOPIC = "finance.open_account"
    needs = "finance.accounts:write"
    creates = True

    code: NaturalKey
    name: AccountName
    type: AccountType
    parent: NaturalKey | None = None
    currencies: Currencies | None = None
    """Those it may be posted in; null allows every one."""


class CloseAccount(FixedPermission):
    """End all postings to an account."""

    TOPIC = "finance.close_account"
    needs = "finance.accounts:write"

    code: NaturalKey
    reason: Reason | None = None


async def open_account(command: OpenAccount, work: Work) -> Account:
    """The parent takes no postings from now on, so its stream is written too."""
    codes = dict.fromkeys(code for code in (command.code, command.parent) if code is not None)
    edited = await work.edit_all(*((Account, account_id(work.tenant, code)) for code in codes))
    accounts = dict(zip(codes, cast("list[Account]", edited), strict=True))
    account = accounts[command.code]
    account.open(
        code=command.code,
        name=command.name,
        type=command.type,
        currencies=command.currencies,
        parent_code=command.parent,
        parent=accounts.get(command.parent) if command.parent is not None else None,
    )
    return account


async def close_account(command: CloseAccount, work: Work) -> Account:
    """See `Account.close`."""
    account = await work.edit(Account, account_id(work.tenant, command.code))
    account.close(command.code)
    return account


HANDLERS: Final[Mapping[type[Command], Handler]] = {OpenAccount: open_account, CloseAccount: close_account}
