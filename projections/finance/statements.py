"""Balance sheet and income statement."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from domain.finance.account import AccountType
from domain.shared.money import amount_text
from projections.finance.balances import (
    AccountName,
    Booked,
    account_names,
    booked_before,
    booked_between,
    booked_until,
    less,
)
from projections.view import View

ByCurrency = Mapping[str, str]
"""Amounts by currency, in order of the currencies."""

_ZERO: Final = Decimal(0)
_SECTIONS: Final = (AccountType.ASSET, AccountType.LIABILITY, AccountType.EQUITY)
_RESULT: Final = (AccountType.INCOME, AccountType.EXPENSE)


@dataclass(frozen=True, slots=True)
class BalanceSheetRow:
    """An account in a currency; the balance is debit minus credit."""

    account: str
    name: str
    currency: str
    balance: str


@dataclass(frozen=True, slots=True)
class BalanceSheetSection:
    """Accounts of one type, and the totals of their balances."""

    type: AccountType
    rows: tuple[BalanceSheetRow, ...]
    totals: ByCurrency


@dataclass(frozen=True, slots=True)
class BalanceSheet:
    """Assets, liabilities and equity. The totals of the sections add up to the two results.

    Attributes:
        current_year_result: what the fiscal year of the day has earned so far; a profit is positive.
        prior_years_result: what years before it have earned and no closing entry has carried to equity.
    """

    sections: tuple[BalanceSheetSection, ...]
    current_year_result: ByCurrency
    prior_years_result: ByCurrency


@dataclass(frozen=True, slots=True)
class IncomeStatementRow:
    """An account in a currency: what came in on an income account, what was spent on an expense account."""

    account: str
    name: str
    type: AccountType
    currency: str
    amount: str


@dataclass(frozen=True, slots=True)
class IncomeStatement:
    """Income and expense accounts with postings; `result` is income less expense. Sums by currency."""

    rows: tuple[IncomeStatementRow, ...]
    income: ByCurrency
    expense: ByCurrency
    result: ByCurrency


async def balance_sheet(view: View, *, as_of: date) -> BalanceSheet:
    """Where the company stands at the end of `as_of`."""
    year_start = await _start_of_fiscal_year(view, as_of)
    names, booked, earlier = await asyncio.gather(
        account_names(view),
        booked_until(view, as_of),
        booked_until(view, as_of) if year_start is None else booked_before(view, year_start),
    )
    currencies = sorted({each.currency for each in booked})
    prior = _result(earlier, names)
    current = _result(less(booked, earlier), names)
    return BalanceSheet(
        tuple(_section(kind, _of_type(booked, names, kind), names, currencies) for kind in _SECTIONS),
        _texts(current, currencies),
        _texts(prior, currencies),
    )


async def income_statement(view: View, *, first: date, last: date) -> IncomeStatement:
    """What the company earned from one day to another, both included."""
    names, booked = await asyncio.gather(account_names(view), booked_between(view, first, last))
    income = _of_type(booked, names, AccountType.INCOME)
    expense = _of_type(booked, names, AccountType.EXPENSE)
    shown = sorted((*income, *expense), key=lambda each: (each.account, each.currency))
    currencies = sorted({each.currency for each in shown})
    return IncomeStatement(
        tuple(_earned(each, names[each.account]) for each in shown),
        _texts(_result(income, names), currencies),
        _texts(_balance(expense), currencies),
        _texts(_result(shown, names), currencies),
    )


async def _start_of_fiscal_year(view: View, day: date) -> date | None:
    """First day of the fiscal year that holds the day; None: no such year was opened."""
    rows = await view.rows(
        """SELECT start FROM finance_fiscal_years
            WHERE start <= {day:Date32} AND end >= {day:Date32} ORDER BY start DESC LIMIT 1""",
        day=day,
    )
    return rows[0]["start"] if rows else None


def _section(
    kind: AccountType, booked: Iterable[Booked], names: Mapping[str, AccountName], currencies: Iterable[str]
) -> BalanceSheetSection:
    booked = tuple(booked)
    rows = (
        BalanceSheetRow(
            each.account,
            names[each.account].name,
            each.currency,
            amount_text(each.balance, each.currency),
        )
        for each in booked
    )
    return BalanceSheetSection(kind, tuple(rows), _texts(_balance(booked), currencies))


def _earned(booked: Booked, named: AccountName) -> IncomeStatementRow:
    amount = -booked.balance if named.type is AccountType.INCOME else booked.balance
    return IncomeStatementRow(
        booked.account, named.name, named.type, booked.currency, amount_text(amount, booked.currency)
    )


def _of_type(
    booked: Iterable[Booked], names: Mapping[str, AccountName], kind: AccountType
) -> tuple[Booked, ...]:
    return tuple(each for each in booked if each.account in names and names[each.account].type is kind)


def _balance(booked: Iterable[Booked]) -> dict[str, Decimal]:
    """Debit minus credit by currency."""
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for each in booked:
        sums[each.currency] += each.balance
    return sums


def _result(booked: Iterable[Booked], names: Mapping[str, AccountName]) -> dict[str, Decimal]:
    """Income less expense by currency."""
    earned = (each for each in booked if each.account in names and names[each.account].type in _RESULT)
    return {currency: -balance for currency, balance in _balance(earned).items()}


def _texts(sums: Mapping[str, Decimal], currencies: Iterable[str]) -> ByCurrency:
    return {currency: amount_text(sums.get(currency, _ZERO), currency) for currency in currencies}
