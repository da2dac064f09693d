"""Finance: what can be asked of the general ledger, and who carries it out."""

from collections.abc import Mapping
from typing import Final

from commands.bus import Command, Handler
from commands.finance import calendar, chart, journal, mapping, vouchers
from commands.finance.calendar import ClosePeriod, LockPeriod, OpenFiscalYear, ReopenPeriod
from commands.finance.chart import CloseAccount, OpenAccount
from commands.finance.journal import (
    DiscardDraft,
    Line,
    PostDraft,
    PostJournalEntry,
    ReverseJournalEntry,
    SetApprovalPolicy,
)
from commands.finance.mapping import Accounts, SetAccountMapping
from commands.finance.vouchers import PostVoucher, VoucherLine

__all__ = [
    "HANDLERS",
    "Accounts",
    "CloseAccount",
    "ClosePeriod",
    "DiscardDraft",
    "Line",
    "LockPeriod",
    "OpenAccount",
    "OpenFiscalYear",
    "PostDraft",
    "PostJournalEntry",
    "PostVoucher",
    "ReopenPeriod",
    "ReverseJournalEntry",
    "SetAccountMapping",
    "SetApprovalPolicy",
    "VoucherLine",
]

HANDLERS: Final[Mapping[type[Command], Handler]] = {
    **chart.HANDLERS,
    **calendar.HANDLERS,
    **journal.HANDLERS,
    **mapping.HANDLERS,
    **vouchers.HANDLERS,
}
