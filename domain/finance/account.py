"""The chart of accounts: one stream per account, found by its code.

A parent account groups others and takes no postings, so opening a child is written to the parent's stream
too: whoever posts to the parent at that moment notices at commit.

DomainError
├── AccountExists        the code is taken
├── AccountNotFound      the account to change is not there
├── AccountUnknown       an account that a line or a child names is not there
├── AccountClosed        a closed account takes neither postings nor children, and closes once
├── AccountNotLeaf       a parent takes no postings
├── CurrencyNotAllowed   the account is kept in other currencies
└── ParentTypeDiffers    an expense does not belong under an asset
"""

from enum import StrEnum
from typing import ClassVar, Final
from uuid import UUID

from domain.shared.aggregate import Aggregate, NumberedEvent, event
from domain.shared.errors import DomainError
from domain.shared.ids import natural_id

CHART_SERIES: Final = "finance.account"
"""The register in which every account gets its number when it opens, so that all can be listed."""


class AccountType(StrEnum):
    """What kind of thing an account records."""

    ASSET = "asset"
    LIABILITY = "liability"
    EQUITY = "equity"
    INCOME = "income"
    EXPENSE = "expense"


class AccountExists(DomainError):
    """An account of this code was opened before."""

    code: ClassVar[str] = "finance.account_exists"


class AccountNotFound(DomainError):
    """The account that was to be changed does not exist."""

    code: ClassVar[str] = "finance.account_not_found"


class AccountUnknown(DomainError):
    """An account that was referred to does not exist."""

    code: ClassVar[str] = "finance.account_unknown"


class AccountClosed(DomainError):
    """The account is closed."""

    code: ClassVar[str] = "finance.account_closed"


class AccountNotLeaf(DomainError):
    """The account has children and takes no postings."""

    code: ClassVar[str] = "finance.account_not_leaf"


class CurrencyNotAllowed(DomainError):
    """The account is not kept in this currency."""

    code: ClassVar[str] = "finance.currency_not_allowed"


class ParentTypeDiffers(DomainError):
    """Parent and child are of different types."""

    code: ClassVar[str] = "finance.parent_type_differs"


class Account(Aggregate):
    """An account of the chart."""

    TOPIC = "finance.account"

    code: str = ""
    name: str = ""
    type: AccountType = AccountType.ASSET
    parent: str | None = None
    currencies: tuple[str, ...] | None = None
    """Those it may be posted in; None allows every one."""
    has_children: bool = False
    closed: bool = False

    class Opened(NumberedEvent):
        """The account joined the chart."""

        TOPIC = "finance.account.opened"
        code: str
        name: str
        type: AccountType
        parent: str | None
        currencies: tuple[str, ...] | None

    class ChildOpened(Aggregate.Event):
        """Another account was opened under this one, which takes no postings from now on."""

        TOPIC = "finance.account.child_opened"
        child: str

    class Closed(Aggregate.Event):
        """The account takes no more postings."""

        TOPIC = "finance.account.closed"

    def open(
        self,
        *,
        code: str,
        name: str,
        type: AccountType,  # noqa: A002 - what an accountant calls it
        currencies: tuple[str, ...] | None = None,
        parent_code: str | None = None,
        parent: "Account | None" = None,
    ) -> None:
        """Add the account to the chart, under `parent` if there is a `parent_code`.

        Raises:
            DomainError: the code is taken, or the parent is unknown, closed or of another type.
        """
        if self.exists:
            raise AccountExists(f"Account {code} exists already.", account=code)
        if parent_code is not None:
            if parent is None or not parent.exists:
                raise AccountUnknown(
                    f"There is no account {parent_code} to be the parent.", account=parent_code
                )
            parent.adopt(code, type)
        self._opened(
            series=CHART_SERIES, code=code, name=name, type=type, parent=parent_code, currencies=currencies
        )

    def adopt(self, child: str, child_type: AccountType) -> None:
        """Become the parent of a new account.

        Raises:
            DomainError: this account is closed, or of another type.
        """
        self._require_open()
        if child_type != self.type:
            detail = f"Account {child} of type {child_type} cannot be under {self.code} of type {self.type}."
            raise ParentTypeDiffers(detail, account=self.code, type=child_type, parent_type=self.type)
        self._child_opened(child)

    def close(self, code: str) -> None:
        """End its use.

        Raises:
            DomainError: there is no account of this code, or it is closed already.
        """
        if not self.exists:
            raise AccountNotFound(f"There is no account {code}.", account=code)
        self._require_open()
        self._closed()

    def require_postable(self, currency: str) -> None:
        """Make sure that an existing account takes postings in this currency.

        Raises:
            DomainError: it is closed, a parent, or kept in other currencies.
        """
        self.require_leaf()
        if self.currencies is not None and currency not in self.currencies:
            detail = f"Account {self.code} takes {', '.join(self.currencies)}, not {currency}."
            raise CurrencyNotAllowed(
                detail, account=self.code, currency=currency, allowed=list(self.currencies)
            )

    def require_leaf(self) -> None:
        """Make sure that an existing account takes postings at all.

        Raises:
            DomainError: it is closed, or a parent.
        """
        self._require_open()
        if self.has_children:
            raise AccountNotLeaf(
                f"Account {self.code} has child accounts and takes no postings.", account=self.code
            )

    def _require_open(self) -> None:
        if self.closed:
            raise AccountClosed(f"Account {self.code} is closed.", account=self.code)

    @event(Opened)
    def _opened(
        self,
        *,
        series: str,  # noqa: ARG002 - the store keeps it with the number
        code: str,
        name: str,
        type: AccountType,  # noqa: A002
        parent: str | None,
        currencies: tuple[str, ...] | None,
    ) -> None:
        self.code = code
        self.name = name
        self.type = type
        self.parent = parent
        self.currencies = currencies

    @event(ChildOpened)
    def _child_opened(self, child: str) -> None:  # noqa: ARG002 - which one is for the reader of the log
        self.has_children = True

    @event(Closed)
    def _closed(self) -> None:
        self.closed = True


def account_id(tenant: UUID, code: str) -> UUID:
    """The stream of the account with this code."""
    return natural_id(tenant, Account.TOPIC, code)
