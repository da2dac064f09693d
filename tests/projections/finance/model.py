"""The books in plain Python: a history of journal entries, and what each report has to say about it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from domain.finance.account import AccountType
from domain.shared.money import amount_text
from projections.finance.journal_entries import ListedEntry
from projections.finance.ledger import Ledger, LedgerLine
from projections.finance.statements import (
    BalanceSheet,
    BalanceSheetRow,
    BalanceSheetSection,
    IncomeStatement,
    IncomeStatementRow,
)
from projections.finance.trial_balance import (
    AccountBalance,
    CurrencyBalance,
    Sums,
    TrialBalance,
    TrialBalanceRow,
)
from tests.projections.shelf import Happened

TYPES = {
    "1000": AccountType.ASSET,
    "1100": AccountType.ASSET,
    "2000": AccountType.LIABILITY,
    "3000": AccountType.EQUITY,
    "4000": AccountType.INCOME,
    "5000": AccountType.EXPENSE,
}
NAMES = {code: f"Account {code}, Köln" for code in TYPES}
# A gap in between, and a year that is not the calendar's.
YEARS = {2025: (date(2025, 1, 1), date(2025, 12, 31)), 2026: (date(2026, 2, 1), date(2027, 1, 31))}


class Line(NamedTuple):
    """A line of an entry; the amount is negative on the credit side."""

    account: str
    amount: Decimal


class PostedLine(NamedTuple):
    """A line in the books."""

    day: date
    position: int
    line: int
    account: str
    currency: str
    amount: Decimal
    entry: "Entry"


@dataclass
class Entry:
    """What happened to a journal entry, and at which positions; 0: it did not."""

    id: UUID
    day: date
    currency: str
    reference: str
    lines: Sequence[Line]
    drafted: int = 0
    posted: int = 0
    reversed: int = 0
    discarded: int = 0
    number: int = 0
    reverses: UUID | None = None
    reversed_by: UUID | None = None

    @property
    def first(self) -> int:
        return self.drafted or self.posted

    def happened(self, position: int, at: int) -> bool:
        return 0 < position <= at


@dataclass
class Books:
    """Of one tenant."""

    tenant: UUID
    events: list[Happened] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    opened: dict[str, int] = field(default_factory=dict)
    """Accounts, and the positions of their opening."""
    years: dict[int, int] = field(default_factory=dict)

    # What happens

    def open_account(self, code: str, position: int) -> None:
        self.opened[code] = position
        data = {"code": code, "name": NAMES[code], "type": TYPES[code], "parent": None, "currencies": None}
        self._happened(position, UUID(int=int(code)), 1, "finance.account.opened", data)

    def open_year(self, year: int, position: int) -> None:
        self.years[year] = position
        data = {"year": year, "start": YEARS[year][0]}
        version = len(self.years)
        self._happened(position, UUID(int=1), version, "finance.fiscal_calendar.year_opened", data)

    def draft(self, entry: Entry, position: int) -> None:
        self.entries.append(entry)
        entry.drafted = position
        self._happened(position, entry.id, 1, "finance.journal_entry.drafted", _content(entry))

    def post(self, entry: Entry, position: int) -> None:
        if not entry.drafted:
            self.entries.append(entry)
        entry.posted = position
        entry.number = sum(1 for each in self.entries if each.posted)
        data = {**_content(entry), "reverses": entry.reverses}
        version = 2 if entry.drafted else 1
        numbered = {"series": "general/2026", "number": entry.number}
        self._happened(position, entry.id, version, "finance.journal_entry.posted", data, **numbered)

    def reverse(self, entry: Entry, reversal: Entry, position: int) -> None:
        """Two events: the reversal is posted, then the entry is reversed."""
        reversal.reverses = entry.id
        self.post(reversal, position)
        entry.reversed, entry.reversed_by = position + 1, reversal.id
        data = {"reversed_by": reversal.id, "reason": "wrong"}
        version = 3 if entry.drafted else 2
        self._happened(position + 1, entry.id, version, "finance.journal_entry.reversed", data)

    def discard(self, entry: Entry, position: int) -> None:
        entry.discarded = position
        self._happened(position, entry.id, 2, "finance.journal_entry.discarded", {})

    def _happened(
        self, position: int, stream: UUID, version: int, kind: str, data: dict[str, Any], **numbered: Any
    ) -> None:
        self.events.append(Happened(position, self.tenant, stream, version, kind, data, **numbered))

    # What the reports say

    def _lines(self, at: int, *, first: date = date.min, last: date = date.max) -> Iterator[PostedLine]:
        for entry in self.entries:
            if entry.happened(entry.posted, at) and first <= entry.day <= last:
                for number, line in enumerate(entry.lines, start=1):
                    yield PostedLine(
                        entry.day, entry.posted, number, line.account, entry.currency, line.amount, entry
                    )

    def _sums(
        self, at: int, *, first: date = date.min, last: date = date.max
    ) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
        sums: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
        for line in self._lines(at, first=first, last=last):
            debit, credit = sums.get((line.account, line.currency), (Decimal(0), Decimal(0)))
            sums[line.account, line.currency] = (
                debit + max(line.amount, Decimal(0)),
                credit + max(-line.amount, Decimal(0)),
            )
        return dict(sorted(sums.items()))

    def trial_balance(self, at: int, as_of: date, currency: str | None = None) -> TrialBalance:
        rows = []
        totals: defaultdict[str, list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
        for (account, each), (debit, credit) in self._sums(at, last=as_of).items():
            if currency in {None, each}:
                texts = _texts(each, debit, credit, debit - credit)
                rows.append(TrialBalanceRow(account, NAMES[account], TYPES[account], each, *texts))
                totals[each][0] += debit
                totals[each][1] += credit
        return TrialBalance(
            tuple(rows),
            {each: Sums(*_texts(each, *sums, sums[0] - sums[1])) for each, sums in sorted(totals.items())},
        )

    def account_balance(self, at: int, account: str, as_of: date) -> AccountBalance:
        balances = tuple(
            CurrencyBalance(currency, *_texts(currency, debit, credit, debit - credit))
            for (code, currency), (debit, credit) in self._sums(at, last=as_of).items()
            if code == account
        )
        return AccountBalance(account, NAMES[account], TYPES[account], balances)

    def ledger(self, at: int, account: str, first: date | None, last: date | None) -> Ledger:
        opening: dict[str, Decimal] = {}
        closing: dict[str, Decimal] = {}
        lines = []
        booked = sorted(
            (each for each in self._lines(at, last=last or date.max) if each.account == account),
            key=lambda each: (each.day, each.position, each.line),
        )
        for each in booked:
            closing[each.currency] = closing.get(each.currency, Decimal(0)) + each.amount
            if first is not None and each.day < first:
                opening[each.currency] = closing[each.currency]
                continue
            amount = amount_text(abs(each.amount), each.currency)
            lines.append(
                LedgerLine(
                    posting_date=each.day,
                    entry_id=each.entry.id,
                    document_no=f"general/2026/{each.entry.number:06}",
                    journal="general",
                    memo=f"line {each.line}" if each.line > 1 else "Entry",
                    reference=each.entry.reference,
                    party="c-1" if each.line == 1 else None,
                    dimensions={"cost_centre": account} if each.line == 1 else {},
                    currency=each.currency,
                    debit=amount if each.amount > 0 else None,
                    credit=amount if each.amount < 0 else None,
                    balance=amount_text(closing[each.currency], each.currency),
                    position=each.position,
                )
            )
        currencies = sorted(closing)
        return Ledger(
            account,
            NAMES[account],
            TYPES[account],
            {each: amount_text(opening.get(each, Decimal(0)), each) for each in currencies},
            tuple(lines),
            {each: amount_text(closing[each], each) for each in currencies},
        )

    def balance_sheet(self, at: int, as_of: date) -> BalanceSheet:
        sums = self._sums(at, last=as_of)
        currencies = sorted({currency for _, currency in sums})
        sections = []
        for kind in (AccountType.ASSET, AccountType.LIABILITY, AccountType.EQUITY):
            balances = {key: debit - credit for key, (debit, credit) in sums.items() if TYPES[key[0]] is kind}
            sections.append(
                BalanceSheetSection(
                    kind,
                    tuple(
                        BalanceSheetRow(account, NAMES[account], currency, amount_text(balance, currency))
                        for (account, currency), balance in balances.items()
                    ),
                    {each: amount_text(_of(balances, each), each) for each in currencies},
                )
            )
        starts = [
            YEARS[year][0]
            for year, position in self.years.items()
            if position <= at and YEARS[year][0] <= as_of <= YEARS[year][1]
        ]
        first = starts[0] if starts else None
        current = {} if first is None else self._earned(at, first, as_of)
        every = self._earned(at, date.min, as_of)
        prior = {each: every.get(each, Decimal(0)) - current.get(each, Decimal(0)) for each in currencies}
        return BalanceSheet(
            tuple(sections),
            {each: amount_text(current.get(each, Decimal(0)), each) for each in currencies},
            {each: amount_text(prior[each], each) for each in currencies},
        )

    def _earned(self, at: int, first: date, last: date) -> dict[str, Decimal]:
        earned: defaultdict[str, Decimal] = defaultdict(Decimal)
        for each in self._lines(at, first=first, last=last):
            if TYPES[each.account] in {AccountType.INCOME, AccountType.EXPENSE}:
                earned[each.currency] -= each.amount
        return earned

    def income_statement(self, at: int, first: date, last: date) -> IncomeStatement:
        rows = []
        sums: dict[AccountType, dict[str, Decimal]] = {
            kind: defaultdict(Decimal) for kind in (AccountType.INCOME, AccountType.EXPENSE)
        }
        for (account, currency), (debit, credit) in self._sums(at, first=first, last=last).items():
            kind = TYPES[account]
            if kind in sums:
                amount = credit - debit if kind is AccountType.INCOME else debit - credit
                sums[kind][currency] += amount
                rows.append(
                    IncomeStatementRow(account, NAMES[account], kind, currency, amount_text(amount, currency))
                )
        currencies = sorted({row.currency for row in rows})
        income, expense = sums[AccountType.INCOME], sums[AccountType.EXPENSE]
        return IncomeStatement(
            tuple(rows),
            {each: amount_text(income[each], each) for each in currencies},
            {each: amount_text(expense[each], each) for each in currencies},
            {each: amount_text(income[each] - expense[each], each) for each in currencies},
        )

    def journal_entries(self, at: int, **wanted: Any) -> list[ListedEntry]:
        listed = []
        for entry in sorted(self.entries, key=lambda each: each.first):
            if entry.happened(entry.first, at) and not entry.happened(entry.discarded, at):
                shown = _listed(entry, at)
                if _matches(shown, **wanted):
                    listed.append(shown)
        return listed


def _listed(entry: Entry, at: int) -> ListedEntry:
    is_posted, is_reversed = entry.happened(entry.posted, at), entry.happened(entry.reversed, at)
    total = sum((each.amount for each in entry.lines if each.amount > 0), Decimal(0))
    return ListedEntry(
        id=entry.id,
        status="reversed" if is_reversed else "posted" if is_posted else "draft",
        journal="general",
        number=entry.number if is_posted else None,
        document_no=f"general/2026/{entry.number:06}" if is_posted else None,
        posting_date=entry.day,
        currency=entry.currency,
        memo="Entry",
        reference=entry.reference,
        total=amount_text(total, entry.currency),
        accounts=sorted({each.account for each in entry.lines}),
        drafted_by="alice",
        reverses=entry.reverses,
        reversed_by=entry.reversed_by if is_reversed else None,
    )


def _matches(
    entry: ListedEntry,
    *,
    status: str | None = None,
    account: str | None = None,
    first: date | None = None,
    last: date | None = None,
    reference: str | None = None,
) -> bool:
    return (
        status in {None, entry.status}
        and (account is None or account in entry.accounts)
        and (first or date.min) <= entry.posting_date <= (last or date.max)
        and reference in {None, entry.reference}
    )


def _content(entry: Entry) -> dict[str, Any]:
    return {
        "journal": "general",
        "posting_date": entry.day,
        "currency": entry.currency,
        "memo": "Entry",
        "reference": entry.reference,
        "lines": [_line(number, each, entry.currency) for number, each in enumerate(entry.lines, start=1)],
        "drafted_by": "alice",
    }


def _line(number: int, line: Line, currency: str) -> dict[str, Any]:
    amount = amount_text(abs(line.amount), currency)
    return {
        "account": line.account,
        "debit": amount if line.amount > 0 else None,
        "credit": amount if line.amount < 0 else None,
        "memo": f"line {number}" if number > 1 else "",
        "dimensions": {"cost_centre": line.account} if number == 1 else {},
        "party": "c-1" if number == 1 else None,
    }


def _texts(currency: str, *amounts: Decimal) -> tuple[str, str, str]:
    debit, credit, balance = (amount_text(each, currency) for each in amounts)
    return debit, credit, balance


def _of(balances: dict[tuple[str, str], Decimal], currency: str) -> Decimal:
    return sum((each for (_, code), each in balances.items() if code == currency), Decimal(0))
