"""The tables of finance, each made by the SELECT in the file of its name."""

from pathlib import Path
from typing import Final

from projections.declaration import Projection

_FOLDER: Final = Path(__file__).parent
_POSTED: Final = {"finance.journal_entry.posted": 1}

BUCKET: Final = 65_536
"""Positions per bucket of daily balances; the SELECTs name it too."""

LINES: Final = Projection.of("finance_lines", _FOLDER / "lines.sql", version=1, reads=_POSTED)
DAILY_BALANCES: Final = Projection.of(
    "finance_daily_balances", _FOLDER / "daily_balances.sql", version=1, reads=_POSTED, step=BUCKET
)
ENTRIES: Final = Projection.of(
    "finance_entries",
    _FOLDER / "entries.sql",
    version=1,
    reads={
        "finance.journal_entry.drafted": 1,
        "finance.journal_entry.posted": 1,
        "finance.journal_entry.reversed": 1,
        "finance.journal_entry.discarded": 1,
    },
)
ACCOUNTS: Final = Projection.of(
    "finance_accounts", _FOLDER / "accounts.sql", version=1, reads={"finance.account.opened": 1}
)
FISCAL_YEARS: Final = Projection.of(
    "finance_fiscal_years",
    _FOLDER / "fiscal_years.sql",
    version=1,
    reads={"finance.fiscal_calendar.year_opened": 1},
)

FINANCE_PROJECTIONS: Final = (LINES, DAILY_BALANCES, ENTRIES, ACCOUNTS, FISCAL_YEARS)
