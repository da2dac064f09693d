"""The general ledger: chart of accounts, fiscal calendar, approval policy, journal entries."""
