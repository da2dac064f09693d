"""Finance, as it is asked about: five tables, and the reports that are queries over them.

A report answers for a business date and a position of the log: what was posted with a date up to the one, and
recorded up to the other. Amounts are decimal text with exactly the currency's decimals.
"""

from typing import Final

from projections.declaration import ProjectionQuery
from projections.finance.journal_entries import journal_entries
from projections.finance.ledger import ledger
from projections.finance.statements import balance_sheet, income_statement
from projections.finance.tables import (
    ACCOUNTS,
    DAILY_BALANCES,
    ENTRIES,
    FINANCE_PROJECTIONS,
    FISCAL_YEARS,
    LINES,
)
from projections.finance.trial_balance import account_balance, trial_balance

__all__ = [
    "ACCOUNT_BALANCE",
    "BALANCE_SHEET",
    "FINANCE_PROJECTIONS",
    "FINANCE_QUERIES",
    "INCOME_STATEMENT",
    "JOURNAL_ENTRIES",
    "LEDGER",
    "TRIAL_BALANCE",
]

_BALANCES: Final = (LINES, DAILY_BALANCES, ACCOUNTS)

TRIAL_BALANCE: Final = ProjectionQuery("finance.trial_balance", _BALANCES, trial_balance)
ACCOUNT_BALANCE: Final = ProjectionQuery("finance.account_balance", _BALANCES, account_balance)
LEDGER: Final = ProjectionQuery("finance.ledger", _BALANCES, ledger)
BALANCE_SHEET: Final = ProjectionQuery("finance.balance_sheet", (*_BALANCES, FISCAL_YEARS), balance_sheet)
INCOME_STATEMENT: Final = ProjectionQuery("finance.income_statement", _BALANCES, income_statement)
JOURNAL_ENTRIES: Final = ProjectionQuery("finance.journal_entries", (ENTRIES,), journal_entries)

FINANCE_QUERIES: Final = (
    TRIAL_BALANCE,
    ACCOUNT_BALANCE,
    LEDGER,
    BALANCE_SHEET,
    INCOME_STATEMENT,
    JOURNAL_ENTRIES,
)
