"""A small ledger in memory, for tests of pure rules."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar
from uuid import uuid4

from domain.finance.account import Account, AccountType
from domain.finance.account_mapping import AccountMapping, RoleAccounts, codes
from domain.finance.approval_policy import ApprovalPolicy
from domain.finance.books import Books
from domain.finance.double_entry import EntryContent, JournalLine
from domain.finance.fiscal_calendar import FiscalCalendar
from domain.finance.journal_entry import JournalEntry
from domain.shared.aggregate import Aggregate
from domain.shared.money import Money

A = TypeVar("A", bound=Aggregate)

DAY = date(2026, 2, 3)


def blank(aggregate_class: type[A]) -> A:
    """One that nothing has happened to."""
    return aggregate_class.blank(uuid4())


def account(code: str = "1122", **opening: Any) -> Account:
    """An open account."""
    opened = blank(Account)
    opened.open(**{"code": code, "name": f"Account {code}", "type": AccountType.ASSET, **opening})
    return opened


def calendar(*years: int) -> FiscalCalendar:
    """Calendar years."""
    opened = blank(FiscalCalendar)
    for year in years:
        opened.open_year(year, date(year, 1, 1))
    return opened


def policy(threshold: str | None = None) -> ApprovalPolicy:
    """A policy in EUR."""
    made = blank(ApprovalPolicy)
    if threshold is not None:
        made.set(Money(Decimal(threshold), "EUR"))
    return made


ROLES = RoleAccounts(*(str(1000 + n) for n in range(9)))
"""An account for each part: 1000 is that of inventory."""


def mapped(warehouses: Mapping[str, str], *more: Account) -> AccountMapping:
    """A mapping to accounts that are there; those given take the place of theirs."""
    chart = {code: account(code) for code in codes(ROLES, {})} | {kept.code: kept for kept in more}
    made = blank(AccountMapping)
    made.set(ROLES, warehouses, chart)
    return made


def books(*accounts: Account, threshold: str | None = None) -> Books:
    """Books of 2026 with two accounts, and those given."""
    chart = {kept.code: kept for kept in (account("1122"), account("6001"), *accounts)}
    return Books(chart, calendar(2026), policy(threshold))


def line(code: str, debit: str | None = None, credit: str | None = None) -> JournalLine:
    """A line with one amount, both, or none."""
    return JournalLine(
        code, None if debit is None else Decimal(debit), None if credit is None else Decimal(credit)
    )


def content(*lines: JournalLine, day: date = DAY, currency: str = "EUR") -> EntryContent:
    """What an entry says; 100 from 6001 to 1122 unless lines are given."""
    lines = lines or (line("1122", debit="100"), line("6001", credit="100"))
    return EntryContent("general", day, currency, "Rent", "R-1", lines)


def posted(ledger: Books, said: EntryContent | None = None, by: str = "alice") -> JournalEntry:
    """A posted entry."""
    entry = blank(JournalEntry)
    entry.post(said or content(), ledger, by=by)
    return entry


def drafted(said: EntryContent | None = None, by: str = "alice") -> JournalEntry:
    """A draft."""
    entry = blank(JournalEntry)
    entry.draft(said or content(), by=by)
    return entry


def replayed(live: A) -> A:
    """The aggregate that its pending events, applied to a blank one, make; the live one forgets them."""
    twin = type(live).blank(live.id)
    for happened in live.collect_events():
        happened.mutate(twin)
    return twin
