"""What a voucher waits for: a person to put the books in order. It is never given up."""

from typing import Final

BOOKS_ARE_MENDED: Final = frozenset(
    {
        "finance.account_closed",
        "finance.account_mapping_not_set",
        "finance.account_not_leaf",
        "finance.account_unknown",
        "finance.currency_not_allowed",
        "finance.no_period",
        "finance.period_closed",
    }
)
"""The period is closed or missing, an account takes no postings, or nobody has said which it is."""
