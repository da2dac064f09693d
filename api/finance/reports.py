"""Finance: its reports and lists out of the read side.

A report is about days of the business (`as_of`, `from`, `to`), as they were known at an instant (`known_at`).
Days that the client leaves out follow from the fiscal year that goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator

from api.ports import Store
from api.report_routes import KnownAtParams, ReportParams, ReportRoute, SearchRoute
from commands.fields import BusinessDate, CurrencyCode, NaturalKey, ShortText
from domain.finance.account import AccountType
from domain.finance.fiscal_calendar import FiscalCalendar, calendar_id
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
_YEARS: Final = (1900, 2299)
"""Those that fiscal years can be opened for, and ClickHouse can keep days of."""


def _of_those_years(day: date) -> date:
    if not _YEARS[0] <= day.year <= _YEARS[1]:
        raise ValueError(f"Input should be a day of the years {_YEARS[0]} to {_YEARS[1]}")
    return day


_Day = Annotated[BusinessDate, AfterValidator(_of_those_years)]


class _AsOf(KnownAtParams):
    told_names = ("as_of", "known_at")

    as_of: _Day | None = Field(
        default=None,
        description="The last day that counts. Without it the last one of the fiscal year that goes on.",
    )

    async def completed(self, store: Store, tenant: UUID) -> Self:
        if self.as_of is not None:
            return self
        _, end = await _fiscal_year(store, tenant, _today())
        return self.model_copy(update={"as_of": end})


class _TrialBalanceParams(_AsOf):
    currency: CurrencyCode | None = Field(default=None, description="Only what is booked in it.")


class _BalanceParams(_AsOf):
    code: NaturalKey

    def arguments(self) -> dict[str, Any]:
        return {"account": self.code, "as_of": self.as_of}


class _FromTo(KnownAtParams):
    told_names = ("from", "to", "known_at")

    from_: _Day | None = Field(default=None, alias="from", description="The first day that counts.")
    to: _Day | None = Field(default=None, description="The last day that counts.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.from_ is not None and self.to is not None and self.from_ > self.to:
            raise ValueError("`from` is after `to`")
        return self

    def arguments(self) -> dict[str, Any]:
        return {"first": self.from_, "last": self.to}


class _LedgerParams(_FromTo):
    code: NaturalKey

    def arguments(self) -> dict[str, Any]:
        return {"account": self.code, **super().arguments()}


class _IncomeParams(_FromTo):
    async def completed(self, store: Store, tenant: UUID) -> Self:
        if self.from_ is not None and self.to is not None:
            return self
        start, end = await _fiscal_year(store, tenant, self.to or self.from_ or _today())
        first = self.from_ or (start if self.to is None else min(start, self.to))
        return self.model_copy(update={"from_": first, "to": self.to or max(end, first)})


class _EntriesParams(ReportParams):
    account: NaturalKey | None = Field(default=None, description="Only entries that book on it.")
    from_: _Day | None = Field(default=None, alias="from", description="Posting date, the first one.")
    to: _Day | None = Field(default=None, description="Posting date, the last one.")
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


def _today() -> date:
    return datetime.now(UTC).date()


async def _fiscal_year(store: Store, tenant: UUID, day: date) -> tuple[date, date]:
    """First and last day of the fiscal year that holds the day, else of the last; without any, the day."""
    calendar = await store.load_current(FiscalCalendar, calendar_id(tenant), tenant)
    if not calendar.periods:
        return day, day
    number = next(
        (each.year for each in calendar.periods if each.start <= day <= each.end), calendar.periods[-1].year
    )
    year = [each for each in calendar.periods if each.year == number]
    return year[0].start, year[-1].end


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
        params=_AsOf,
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
    ),
)
