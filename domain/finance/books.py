"""What a posting is judged by: the chart, the calendar and the approval policy, as they are at that moment.

DomainError: those of `account`, `fiscal_calendar` and `approval_policy`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from domain.finance.account import Account, AccountUnknown
from domain.finance.approval_policy import ApprovalPolicy
from domain.finance.double_entry import EntryContent
from domain.finance.fiscal_calendar import FiscalCalendar, Period


@dataclass(frozen=True, slots=True)
class Books:
    """The books that an entry is to be posted to.

    Attributes:
        accounts: those that the lines name, by code.
        policy: that of the entry's currency.
    """

    accounts: Mapping[str, Account]
    calendar: FiscalCalendar
    policy: ApprovalPolicy

    def require_taken(self, content: EntryContent) -> Period:
        """The open period that the entry falls into.

        Raises:
            DomainError: there is none, or a line names an account that takes no such posting.
        """
        for account_code in dict.fromkeys(line.account for line in content.lines):
            account = self.accounts.get(account_code)
            if account is None or not account.exists:
                raise AccountUnknown(f"There is no account {account_code}.", account=account_code)
            account.require_postable(content.currency)
        return self.calendar.require_open(content.posting_date)
