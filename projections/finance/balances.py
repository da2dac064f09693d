"""What was booked on each account up to a day: the sums behind the trial balance, the statements and the
opening of a ledger.

Closed buckets of positions come from the daily balances, which never change, and only the lines after them
from the lines: exact at any position, without adding up the whole ledger.
"""

import asyncio
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from domain.finance.account import AccountType
from projections.finance.tables import BUCKET, DAILY_BALANCES
from projections.view import View

_ONE_DAY: Final = timedelta(days=1)

# Whole months as sums, and days of the month that is not over on the day that is asked about.
_CLOSED: Final = """
    finance_daily_balances
     WHERE bucket < {open:UInt64}
       AND (span = 'month' AND posting_date < {month:Date32}
            OR span = 'day' AND posting_date >= {month:Date32} AND posting_date <= {as_of:Date32})"""
_OPEN: Final = """
    finance_lines
     WHERE bucket >= {open:UInt64} AND bucket <= {last:UInt64} AND posting_date <= {as_of:Date32}"""
_SUMS: Final = "SELECT account, currency, sum(debit) AS debit, sum(credit) AS credit FROM"
_AMOUNTS: Final = "SELECT account, currency, debit, credit FROM"
# So few rows are cleared of repeats by one thread sooner than they are split among several.
_SETTINGS: Final = "SETTINGS max_final_threads = 1"


@dataclass(frozen=True, slots=True)
class Booked:
    """Debits and credits of an account in a currency."""

    account: str
    currency: str
    debit: Decimal = Decimal(0)
    credit: Decimal = Decimal(0)

    @property
    def balance(self) -> Decimal:
        """Debit minus credit."""
        return self.debit - self.credit


@dataclass(frozen=True, slots=True)
class AccountName:
    """What an account is called, and its type."""

    name: str
    type: AccountType


async def account_names(view: View, code: str | None = None) -> dict[str, AccountName]:
    """Name and type of each account by its code, or of the one with this code.

    An account is missing if the event that opened it was discarded for the read side.
    """
    sql = "SELECT code, name, type FROM finance_accounts"
    found = (
        await view.rows(sql)
        if code is None
        else await view.rows(f"{sql} WHERE code = {{code:String}}", code=code)
    )
    return {row["code"]: AccountName(row["name"], AccountType(row["type"])) for row in found}


async def booked_until(
    view: View, as_of: date, *, account: str | None = None, currency: str | None = None
) -> list[Booked]:
    """What was booked up to and including a day, in order of account and currency; nothing about accounts
    without postings by then.

    Args:
        view: of lines and daily balances.
        as_of: a business date.
        account: about no other than this one.
        currency: about no other than this one.
    """
    only = {
        name: value for name, value in (("account", account), ("currency", currency)) if value is not None
    }
    limits = "".join(f" AND {name} = {{{name}:String}}" for name in only)
    open_bucket = view.closed(DAILY_BALANCES) // BUCKET
    booked = _OPEN + limits
    if open_bucket:
        # Only then is it worth a subquery, which takes longer to plan than a small bucket to add up.
        booked = f"({_AMOUNTS} {_CLOSED + limits} UNION ALL {_AMOUNTS} {booked})"
    rows = await view.rows(
        f"{_SUMS} {booked} GROUP BY account, currency {_SETTINGS}",
        open=open_bucket,
        last=max(view.position - 1, 0) // BUCKET,
        month=_month_not_over(as_of),
        as_of=as_of,
        **only,
    )
    return sorted((Booked(**row) for row in rows), key=lambda each: (each.account, each.currency))


async def booked_before(
    view: View, day: date, *, account: str | None = None, currency: str | None = None
) -> list[Booked]:
    """What was booked up to the day before; see `booked_until`."""
    if day == date.min:
        return []
    return await booked_until(view, day - _ONE_DAY, account=account, currency=currency)


async def booked_between(view: View, first: date, last: date, *, currency: str | None = None) -> list[Booked]:
    """What was booked from one day to another, both included; nothing about accounts without postings in
    between. See `booked_until`.
    """
    if last < first:
        return []
    until, before = await asyncio.gather(
        booked_until(view, last, currency=currency), booked_before(view, first, currency=currency)
    )
    return less(until, before)


def less(until: list[Booked], before: list[Booked]) -> list[Booked]:
    """What was booked in between: amounts are above zero, so where there was any posting, the sums differ."""
    known = {(each.account, each.currency): each for each in before}
    between = []
    for each in until:
        earlier = known.get((each.account, each.currency))
        if earlier is None:
            between.append(each)
        elif (earlier.debit, earlier.credit) != (each.debit, each.credit):
            debit, credit = each.debit - earlier.debit, each.credit - earlier.credit
            between.append(Booked(each.account, each.currency, debit, credit))
    return between


def _month_not_over(as_of: date) -> date:
    """First day of the month that goes on after this day."""
    return (as_of if as_of == date.max else as_of + _ONE_DAY).replace(day=1)
