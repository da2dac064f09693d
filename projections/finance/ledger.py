"""The ledger of one account: where it stood, what was booked, where it stands."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar, Final
from uuid import UUID

from domain.finance.account import AccountType
from domain.shared.errors import DomainError
from domain.shared.money import amount_text
from projections.finance.balances import booked_before
from projections.finance.tables import BUCKET
from projections.finance.trial_balance import required_account
from projections.view import View

_ZERO: Final = Decimal(0)
LINES_MAX: Final = 100_000
"""A ledger of so many lines takes some 30 MB to tell, and several times that to make."""
# A long ledger does not keep other requests waiting.
_LINES_AT_ONCE: Final = 1000

# `bucket`: what was booked later than the view stands need not be looked at.
_LINES: Final = """
    SELECT posting_date, entry, series, number, journal, memo, reference, party, dimensions, currency,
           debit, credit, position,
           sum(debit - credit) OVER (PARTITION BY currency ORDER BY posting_date, position, line) AS moved
      FROM finance_lines
     WHERE bucket <= {last_bucket:UInt64} AND account = {account:String}
       AND posting_date >= {first:Date32} AND posting_date <= {last:Date32}
     ORDER BY posting_date, position, line
     LIMIT {lines_max:UInt64} + 1"""


class LedgerTooLong(DomainError):
    """There are more lines than one answer tells."""

    code: ClassVar[str] = "finance.ledger_too_long"


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """A debit or a credit, the other one is null, and the balance after it in its currency.

    Attributes:
        memo: the line's own, else that of the entry.
        position: of the event that posted it, in the log.
    """

    posting_date: date
    entry_id: UUID
    document_no: str
    journal: str
    memo: str
    reference: str
    party: str | None
    dimensions: Mapping[str, str]
    currency: str
    debit: str | None
    credit: str | None
    balance: str
    position: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """An account from one day to another: balances by currency before, lines in order of their days, balances
    after. Balances are debit minus credit.
    """

    account: str
    name: str
    type: AccountType
    opening: Mapping[str, str]
    lines: tuple[LedgerLine, ...]
    closing: Mapping[str, str]


async def ledger(view: View, *, account: str, first: date | None = None, last: date | None = None) -> Ledger:
    """What was booked on an account from one day to another, both included; None: from the beginning, to the
    end.

    Raises:
        AccountNotFound: there was no account of this code.
        LedgerTooLong: fewer days at once would do.
    """
    first, last = first or date.min, last or date.max
    named, before, rows = await asyncio.gather(
        required_account(view, account),
        booked_before(view, first, account=account),
        view.rows(
            _LINES,
            last_bucket=max(view.position - 1, 0) // BUCKET,
            account=account,
            first=first,
            last=last,
            lines_max=LINES_MAX,
        ),
    )
    if len(rows) > LINES_MAX:
        detail = f"There are more than {LINES_MAX} lines: ask for fewer days at once."
        raise LedgerTooLong(detail, lines_max=LINES_MAX)
    opening = {each.currency: each.balance for each in before}
    closing = dict(opening)
    lines = []
    for number, row in enumerate(rows, start=1):
        if number % _LINES_AT_ONCE == 0:
            await asyncio.sleep(0)
        closing[row["currency"]] = opening.get(row["currency"], _ZERO) + row["moved"]
        lines.append(_line(row, closing[row["currency"]]))
    currencies = sorted(closing)
    return Ledger(
        account,
        named.name,
        named.type,
        {each: amount_text(opening.get(each, _ZERO), each) for each in currencies},
        tuple(lines),
        {each: amount_text(closing[each], each) for each in currencies},
    )


def _line(row: Mapping[str, Any], balance: Decimal) -> LedgerLine:
    currency = row["currency"]
    is_credit = row["debit"] == 0
    amount = amount_text(row["credit"] if is_credit else row["debit"], currency)
    return LedgerLine(
        posting_date=row["posting_date"],
        entry_id=row["entry"],
        document_no=document_no(row["series"], row["number"]),
        journal=row["journal"],
        memo=row["memo"],
        reference=row["reference"],
        party=row["party"],
        dimensions=row["dimensions"],
        currency=currency,
        debit=None if is_credit else amount,
        credit=amount if is_credit else None,
        balance=amount_text(balance, currency),
        position=row["position"],
    )


def document_no(series: str, number: int) -> str:
    """The number for people, such as `general/2026/000123`."""
    return f"{series}/{number:06}"
