"""Finance: its routes."""

from typing import Final

from api.finance.current import (
    AccountMappingView,
    AccountView,
    JournalEntryView,
    PeriodView,
    account,
    account_mapping,
    accounts,
    journal_entry,
    periods,
)
from api.finance.reports import REPORTS, SEARCHES
from api.routing import CommandRoute, ContextRoutes, ListRoute, ViewRoute
from commands.finance import (
    CloseAccount,
    ClosePeriod,
    DiscardDraft,
    LockPeriod,
    OpenAccount,
    OpenFiscalYear,
    PostDraft,
    PostJournalEntry,
    ReopenPeriod,
    ReverseJournalEntry,
    SetAccountMapping,
    SetApprovalPolicy,
)

__all__ = ["FINANCE"]

ACCOUNTS: Final = "/v1/finance/accounts"
PERIODS: Final = "/v1/finance/periods"
ENTRIES: Final = "/v1/finance/journal-entries"
MAPPING: Final = "/v1/finance/account-mapping"
_ACCOUNT: Final = f"{ACCOUNTS}/{{code}}"
_PERIOD: Final = f"{PERIODS}/{{period}}"
_ENTRY: Final = f"{ENTRIES}/{{id}}"

FINANCE: Final = ContextRoutes(
    name="finance",
    commands=(
        CommandRoute("POST", ENTRIES, PostJournalEntry, location=_ENTRY),
        CommandRoute("POST", f"{_ENTRY}/post", PostDraft, location=_ENTRY),
        CommandRoute("POST", f"{_ENTRY}/reverse", ReverseJournalEntry, location=_ENTRY),
        CommandRoute("DELETE", _ENTRY, DiscardDraft),
        CommandRoute("POST", ACCOUNTS, OpenAccount, location=_ACCOUNT),
        CommandRoute("POST", f"{_ACCOUNT}/close", CloseAccount, location=_ACCOUNT),
        CommandRoute("POST", "/v1/finance/fiscal-years", OpenFiscalYear, location=PERIODS),
        CommandRoute("POST", f"{_PERIOD}/close", ClosePeriod, location=PERIODS),
        CommandRoute("POST", f"{_PERIOD}/reopen", ReopenPeriod, location=PERIODS),
        CommandRoute("POST", f"{_PERIOD}/lock", LockPeriod, location=PERIODS),
        CommandRoute("PUT", "/v1/finance/approval-policy", SetApprovalPolicy),
        CommandRoute("PUT", MAPPING, SetAccountMapping),
    ),
    views=(
        ViewRoute(_ACCOUNT, "finance.accounts:read", AccountView, account),
        ViewRoute(_ENTRY, "finance.journal_entries:read", JournalEntryView, journal_entry),
        ViewRoute(MAPPING, "finance.account_mapping:read", AccountMappingView, account_mapping),
    ),
    lists=(
        ListRoute(ACCOUNTS, "finance.accounts:read", AccountView, "finance.account", accounts),
        ListRoute(PERIODS, "finance.periods:read", PeriodView, "finance.period", periods),
    ),
    reports=REPORTS,
    searches=SEARCHES,
)
