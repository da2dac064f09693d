"""What a journal entry says, and what makes it a double entry.

DomainError
├── TooFewLines         there is no counterpart
├── LineNotOneSided     a line is either a debit or a credit
├── AmountNotPositive   the side says the direction, not the sign
└── EntryUnbalanced     debits and credits differ
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import ClassVar, Final

from domain.shared.errors import DomainError
from domain.shared.money import amount_text, in_minor_units

LINES_MIN: Final = 2

_ZERO: Final = Decimal(0)


class TooFewLines(DomainError):
    """A double entry has at least two lines."""

    code: ClassVar[str] = "finance.too_few_lines"


class LineNotOneSided(DomainError):
    """A line is either a debit or a credit."""

    code: ClassVar[str] = "finance.line_not_one_sided"


class AmountNotPositive(DomainError):
    """Amounts are above zero; the side says the direction."""

    code: ClassVar[str] = "finance.amount_not_positive"


class EntryUnbalanced(DomainError):
    """Debits and credits differ."""

    code: ClassVar[str] = "finance.entry_unbalanced"


@dataclass(frozen=True, slots=True)
class JournalLine:
    """An amount on one side of one account, in the currency of the entry."""

    account: str
    debit: Decimal | None = None
    credit: Decimal | None = None
    memo: str = ""
    dimensions: Mapping[str, str] = field(default_factory=dict)
    """What else the amount is analysed by, such as `cost_centre`."""
    party: str | None = None
    """Pseudonym of the customer or supplier."""

    def swapped(self) -> "JournalLine":
        """The line that takes this one back."""
        return JournalLine(self.account, self.credit, self.debit, self.memo, self.dimensions, self.party)


@dataclass(frozen=True, slots=True)
class EntryContent:
    """What a journal entry says."""

    journal: str
    posting_date: date
    currency: str
    memo: str
    reference: str
    lines: tuple[JournalLine, ...]

    @property
    def total(self) -> Decimal:
        """The sum of the debits, which is that of the credits."""
        return sum((line.debit for line in self.lines if line.debit is not None), Decimal(0))

    def as_double_entry(self) -> "EntryContent":
        """The same with amounts in the currency's minor units, known to be a balanced double entry.

        Raises:
            DomainError: it is none.
        """
        if len(self.lines) < LINES_MIN:
            detail = f"A journal entry has at least {LINES_MIN} lines, not {len(self.lines)}."
            raise TooFewLines(detail, lines=len(self.lines))
        lines = tuple(
            _sound_line(number, line, self.currency) for number, line in enumerate(self.lines, start=1)
        )
        difference = sum(((line.debit or _ZERO) - (line.credit or _ZERO) for line in lines), _ZERO)
        if difference:
            shown = amount_text(difference, self.currency)
            detail = f"Debits minus credits are {shown} {self.currency}, not zero."
            raise EntryUnbalanced(detail, differences={self.currency: shown})
        return replace(self, lines=lines)


def _sound_line(number: int, line: JournalLine, currency: str) -> JournalLine:
    if (line.debit is None) == (line.credit is None):
        detail = f"Line {number} on account {line.account} has to be either a debit or a credit."
        raise LineNotOneSided(detail, entry_line=number, account=line.account)
    debit = None if line.debit is None else in_minor_units(line.debit, currency)
    credit = None if line.credit is None else in_minor_units(line.credit, currency)
    amount = credit if debit is None else debit
    assert amount is not None
    if amount <= 0:
        detail = f"Line {number} on account {line.account} has the amount {amount}, which is not above zero."
        raise AmountNotPositive(detail, entry_line=number, account=line.account, amount=str(amount))
    return JournalLine(line.account, debit, credit, line.memo, line.dimensions, line.party)
