"""The trial balance, and the balance of one account."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from domain.finance.account import AccountNotFound, AccountType
from domain.shared.money import amount_text
from projections.finance.balances import AccountName, Booked, account_names, booked_until
from projections.view import View


@dataclass(frozen=True, slots=True)
class TrialBalanceRow:
    """An account in a currency: all its debits, all its credits, and debit minus credit.

    A type of null: the event that opened the account was discarded for the read side.
    """

    account: str
    name: str
    type: AccountType | None
    currency: str
    debit: str
    credit: str
    balance: str


@dataclass(frozen=True, slots=True)
class Sums:
    """Debits, credits, and debit minus credit."""

    debit: str
    credit: str
    balance: str


@dataclass(frozen=True, slots=True)
class TrialBalance:
    """Every account with postings, in order of account and currency; totals by currency."""

    rows: tuple[TrialBalanceRow, ...]
    totals: Mapping[str, Sums]


@dataclass(frozen=True, slots=True)
class CurrencyBalance:
    """What was booked in one currency."""

    currency: str
    debit: str
    credit: str
    balance: str


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """The balance of an account, in each currency it was posted in."""

    account: str
    name: str
    type: AccountType
    balances: tuple[CurrencyBalance, ...]


async def trial_balance(view: View, *, as_of: date, currency: str | None = None) -> TrialBalance:
    """What was booked on every account up to and including `as_of`, in one currency or in all."""
    booked, names = await asyncio.gather(booked_until(view, as_of, currency=currency), account_names(view))
    sums: defaultdict[str, list[Booked]] = defaultdict(list)
    for each in booked:
        sums[each.currency].append(each)
    return TrialBalance(
        tuple(_row(each, names.get(each.account)) for each in booked),
        {code: _total(code, sums[code]) for code in sorted(sums)},
    )


async def account_balance(view: View, *, account: str, as_of: date) -> AccountBalance:
    """What was booked on an account up to and including `as_of`.

    Raises:
        AccountNotFound: there was no account of this code.
    """
    booked, named = await asyncio.gather(
        booked_until(view, as_of, account=account), required_account(view, account)
    )
    return AccountBalance(
        account,
        named.name,
        named.type,
        tuple(CurrencyBalance(each.currency, *_texts(each)) for each in booked),
    )


async def required_account(view: View, code: str) -> AccountName:
    """What the account is called.

    Raises:
        AccountNotFound: there was no account of this code.
    """
    found = await account_names(view, code)
    if code not in found:
        raise AccountNotFound(f"There is no account {code}.", account=code)
    return found[code]


def _row(booked: Booked, named: AccountName | None) -> TrialBalanceRow:
    name, kind = ("", None) if named is None else (named.name, named.type)
    return TrialBalanceRow(booked.account, name, kind, booked.currency, *_texts(booked))


def _total(currency: str, booked: Iterable[Booked]) -> Sums:
    total = Booked("", currency)
    for each in booked:
        total = Booked("", currency, total.debit + each.debit, total.credit + each.credit)
    return Sums(*_texts(total))


def _texts(booked: Booked) -> tuple[str, str, str]:
    return (
        amount_text(booked.debit, booked.currency),
        amount_text(booked.credit, booked.currency),
        amount_text(booked.balance, booked.currency),
    )
