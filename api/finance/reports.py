"""Finance: its reports and lists out of the read side.

A report is about days of the business (`as_of`, `from`, `to`), as they were known at an instant (`known_at`).
Days that the client leaves out follow from the fiscal year that goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self
from uuid import UUID

from pydantic import Field

from api.business_days import AsOfParams, Day, FromToParams, fiscal_year, today
from api.ports import Store
from api.report_routes import KnownAtParams, ReportParams, ReportRoute, SearchRoute
from commands.fields import CurrencyCode, NaturalKey, ShortText
from domain.finance.account import AccountType
from projections.finance import (
    ACCOUNT_BALANCE,
    BALANCE_SHEET,
    INCOME_STATEMENT,
    JOURNAL_ENTRIES,
    LEDGER,
    TRIAL_BALANCE,
)
from projections.finance.journal_entries import ListedEntry
from projections.finance.ledger import Ledger, LedgerLine
from projections.finance.statements import BalanceSheet, IncomeStatement, IncomeStatementRow
from projections.finance.trial_balance import AccountBalance, CurrencyBalance, TrialBalance, TrialBalanceRow

_READ: Final = "finance.reports:read"


class _TrialBalanceParams(AsOfParams):
    currency: CurrencyCode | None = Field(default=None, description="Only what is booked in it.")


class _BalanceParams(AsOfParams):
    code: NaturalKey

    def arguments(self) -> dict[str, Any]:
        return {"account": self.code, "as_of": self.as_of}


class _FromTo(FromToParams, KnownAtParams):
    told_names = ("from", "to", "known_at")


class _LedgerParams(_FromTo):
    code: NaturalKey

    def arguments(self) -> dict[str, Any]:
        return {"account": self.code, **super().arguments()}


class _IncomeParams(_FromTo):
    async def completed(self, store: Store, tenant: UUID) -> Self:
        if self.from_ is not None and self.to is not None:
            return self
        start, end = await fiscal_year(store, tenant, self.to or self.from_ or today())
        first = self.from_ or (start if self.to is None else min(start, self.to))
        return self.model_copy(update={"from_": first, "to": self.to or max(end, first)})


class _EntriesParams(ReportParams):
    account: NaturalKey | None = Field(default=None, description="Only entries that book on it.")
    from_: Day | None = Field(default=None, alias="from", description="Posting date, the first one.")
    to: Day | None = Field(default=None, description="Posting date, the last one.")
    status: Literal["draft", "posted", "reversed"] | None = None
    reference: ShortText | None = Field(default=None, description="Only entries with just this reference.")

    def arguments(self) -> dict[str, Any]:
        return {
            "account": self.account,
            "first": self.from_,
            "last": self.to,
            "status": self.status,
            "reference": self.reference,
        }


@dataclass(frozen=True, slots=True)
class BalanceSheetLine:
    """A row of a balance sheet as a table."""

    type: AccountType
    account: str
    name: str
    currency: str
    balance: str


def _sheet_lines(sheet: BalanceSheet) -> Sequence[BalanceSheetLine]:
    return [
        BalanceSheetLine(section.type, row.account, row.name, row.currency, row.balance)
        for section in sheet.sections
        for row in section.rows
    ]


REPORTS: Final = (
    ReportRoute(
        path="/v1/finance/trial-balance",
        permission=_READ,
        query=TRIAL_BALANCE,
        params=_TrialBalanceParams,
        answer=TrialBalance,
        row=TrialBalanceRow,
        rows=lambda answer: answer.rows,
        file_name="trial-balance",
    ),
    ReportRoute(
        path="/v1/finance/accounts/{code}/balance",
        permission=_READ,
        query=ACCOUNT_BALANCE,
        params=_BalanceParams,
        answer=AccountBalance,
        row=CurrencyBalance,
        rows=lambda answer: answer.balances,
        file_name="balance",
    ),
    ReportRoute(
        path="/v1/finance/accounts/{code}/ledger",
        permission=_READ,
        query=LEDGER,
        params=_LedgerParams,
        answer=Ledger,
        row=LedgerLine,
        rows=lambda answer: answer.lines,
        file_name="ledger",
    ),
    ReportRoute(
        path="/v1/finance/balance-sheet",
        permission=_READ,
        query=BALANCE_SHEET,
        params=AsOfParams,
        answer=BalanceSheet,
        row=BalanceSheetLine,
        rows=_sheet_lines,
        file_name="balance-sheet",
    ),
    ReportRoute(
        path="/v1/finance/income-statement",
        permission=_READ,
        query=INCOME_STATEMENT,
        params=_IncomeParams,
        answer=IncomeStatement,
        row=IncomeStatementRow,
        rows=lambda answer: answer.rows,
        file_name="income-statement",
    ),
)
SEARCHES: Final = (
    SearchRoute(
        path="/v1/finance/journal-entries",
        permission="finance.journal_entries:read",
        query=JOURNAL_ENTRIES,
        params=_EntriesParams,
        item=ListedEntry,
        kind="finance.journal_entry",
        file_name="journal-entries",
    ),
)
