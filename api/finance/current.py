"""Finance: how its aggregates look from outside, as they are now."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, Literal
from uuid import UUID

from api.errors import NotFound
from api.routing import Page, Query, View
from domain.finance.account import CHART_SERIES, Account, AccountNotFound, AccountType, account_id
from domain.finance.account_mapping import AccountMapping, RoleAccounts, account_mapping_id
from domain.finance.double_entry import JournalLine
from domain.finance.fiscal_calendar import FiscalCalendar, Period, PeriodStatus, calendar_id
from domain.finance.journal_entry import EntryStatus, JournalEntry
from domain.shared.money import amount_text

_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
# One reader of a long list does not get to fill the queue to the database.
_LOADS_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account of the chart. `currencies` null: every one is taken. Only an open leaf takes postings."""

    id: UUID
    code: str
    name: str
    type: AccountType
    parent: str | None
    currencies: tuple[str, ...] | None
    status: Literal["open", "closed"]
    is_leaf: bool
    version: int


@dataclass(frozen=True, slots=True)
class PeriodView:
    """One month of a fiscal year, from `start` to `end`, both included."""

    period: str
    fiscal_year: int
    start: date
    end: date
    status: PeriodStatus


@dataclass(frozen=True, slots=True)
class LineView:
    """A debit or a credit; the other one is null."""

    account: str
    debit: str | None
    credit: str | None
    memo: str
    dimensions: Mapping[str, str]
    party: str | None


@dataclass(frozen=True, slots=True)
class TotalsView:
    """Both sums, which are the same."""

    debit: str
    credit: str


@dataclass(frozen=True, slots=True)
class JournalEntryView:
    """A journal entry. A draft has no number yet."""

    id: UUID
    version: int
    status: Literal["draft", "posted", "reversed"]
    journal: str
    number: int | None
    document_no: str | None
    posting_date: date
    currency: str
    memo: str
    reference: str
    lines: tuple[LineView, ...]
    totals: TotalsView
    drafted_by: str
    reverses: UUID | None
    reversed_by: UUID | None


@dataclass(frozen=True, slots=True)
class AccountMappingView:
    """Which accounts stock, sales and payments are booked on; `warehouses` name inventory accounts."""

    accounts: RoleAccounts
    warehouses: Mapping[str, str]
    version: int


async def account(query: Query) -> View:
    """One account, by its code."""
    code = query.path["code"]
    if not _CODE.fullmatch(code):
        raise NotFound("No account can have such a code.")
    found = await query.store.load_current(Account, account_id(query.tenant, code), query.tenant)
    if not found.exists:
        raise AccountNotFound(f"There is no account {code}.", account=code)
    return View(_account(found), found.version)


async def accounts(query: Query) -> Page:
    """The chart of accounts, in the order in which they were opened."""
    listed = await query.store.register_page(
        query.tenant, series=CHART_SERIES, after_number=query.after, limit=query.limit + 1
    )
    shown = listed[: query.limit]
    found: list[Account] = []
    for start in range(0, len(shown), _LOADS_AT_ONCE):
        loads = (
            query.store.load_current(Account, stream_id, query.tenant)
            for _, stream_id in shown[start : start + _LOADS_AT_ONCE]
        )
        found.extend(await asyncio.gather(*loads))
    return Page([_account(each) for each in found], shown[-1][0] if len(listed) > query.limit else None)


async def periods(query: Query) -> Page:
    """The periods of all fiscal years, in order of time."""
    calendar = await query.store.load_current(FiscalCalendar, calendar_id(query.tenant), query.tenant)
    end = query.after + query.limit
    shown = [_period(each) for each in calendar.periods[query.after : end]]
    return Page(shown, end if end < len(calendar.periods) else None)


async def journal_entry(query: Query) -> View:
    """One journal entry, draft or posted."""
    try:
        entry_id = UUID(query.path["id"])
    except ValueError:
        raise NotFound("No journal entry can have such an id.") from None
    entry = await query.store.load_current(JournalEntry, entry_id, query.tenant)
    return View(_journal_entry(entry), entry.version)


async def account_mapping(query: Query) -> View:
    """The account mapping, once it was set."""
    stream = account_mapping_id(query.tenant)
    found = await query.store.load_current(AccountMapping, stream, query.tenant)
    view = AccountMappingView(found.require_set(), found.warehouses or {}, found.version)
    return View(view, found.version)


def _account(found: Account) -> AccountView:
    return AccountView(
        id=found.id,
        code=found.code,
        name=found.name,
        type=found.type,
        parent=found.parent,
        currencies=found.currencies,
        status="closed" if found.closed else "open",
        is_leaf=not found.has_children,
        version=found.version,
    )


def _period(found: Period) -> PeriodView:
    return PeriodView(found.name, found.year, found.start, found.end, found.status)


def _journal_entry(entry: JournalEntry) -> JournalEntryView:
    content = entry.require_written()
    total = amount_text(content.total, content.currency)
    return JournalEntryView(
        id=entry.id,
        version=entry.version,
        status=_SHOWN[entry.status],
        journal=content.journal,
        number=entry.number,
        document_no=entry.document_no,
        posting_date=content.posting_date,
        currency=content.currency,
        memo=content.memo,
        reference=content.reference,
        lines=tuple(_line(line, content.currency) for line in content.lines),
        totals=TotalsView(debit=total, credit=total),
        drafted_by=entry.drafted_by,
        reverses=entry.reverses,
        reversed_by=entry.reversed_by,
    )


def _line(line: JournalLine, currency: str) -> LineView:
    debit, credit = _amount(line.debit, currency), _amount(line.credit, currency)
    return LineView(line.account, debit, credit, line.memo, line.dimensions, line.party)


def _amount(amount: Decimal | None, currency: str) -> str | None:
    return None if amount is None else amount_text(amount, currency)


_SHOWN: Final[dict[EntryStatus, Literal["draft", "posted", "reversed"]]] = {
    EntryStatus.DRAFT: "draft",
    EntryStatus.POSTED: "posted",
    EntryStatus.REVERSED: "reversed",
}
