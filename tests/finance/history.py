"""Commands that make up a small company's past."""

from datetime import date
from typing import Any

from commands.bus import Command
from commands.finance import OpenAccount, OpenFiscalYear, PostJournalEntry, SetApprovalPolicy
from domain.finance.account import AccountType

CASH = OpenAccount(code="1000", name="Cash", type=AccountType.ASSET)
RECEIVABLE = OpenAccount(code="1122", name="Accounts receivable", type=AccountType.ASSET)
SALES = OpenAccount(code="6001", name="Sales", type=AccountType.INCOME)
YEAR_2026 = OpenFiscalYear(year=2026, start=date(2026, 1, 1))
POLICY = SetApprovalPolicy(currency="EUR", threshold="1000")

BOOKS: tuple[Command, ...] = (YEAR_2026, CASH, RECEIVABLE, SALES)


def invoice(amount: str = "1130.00", day: str = "2026-02-03", **changes: Any) -> PostJournalEntry:
    """Receivable to sales."""
    return PostJournalEntry.model_validate(
        {
            "posting_date": day,
            "currency": "EUR",
            "memo": "Invoice 1",
            "reference": "INV-1",
            "lines": [
                {"account": "1122", "debit": amount, "dimensions": {"cost_centre": "4711"}, "party": "c-1"},
                {"account": "6001", "credit": amount},
            ],
            **changes,
        }
    )


def draft(amount: str = "1130.00", **changes: Any) -> PostJournalEntry:
    """The same, not posted."""
    return invoice(amount, post=False, **changes)


def lines(*sides: tuple[str, str, str]) -> list[dict[str, str]]:
    """Lines from (account, side, amount)."""
    return [{"account": account, side: amount} for account, side, amount in sides]
