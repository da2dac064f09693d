"""Four eyes: above an amount, whoever drafted an entry may not post it. One stream per currency.

DomainError
├── ThresholdNegative   no amount lies below it
└── ApprovalRequired    another user has to post this
"""

from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from domain.shared.aggregate import Aggregate, event
from domain.shared.errors import DomainError
from domain.shared.ids import natural_id
from domain.shared.money import Money, in_minor_units


class ThresholdNegative(DomainError):
    """A threshold is an amount of at least zero."""

    code: ClassVar[str] = "finance.threshold_negative"


class ApprovalRequired(DomainError):
    """The amount is above the threshold, so a user other than the preparer has to approve."""

    code: ClassVar[str] = "finance.approval_required"


class ApprovalPolicy(Aggregate):
    """Up to which amount one user may both prepare and post, in one currency. No threshold: any."""

    TOPIC = "finance.approval_policy"

    currency: str = ""
    threshold: Decimal | None = None

    class Set(Aggregate.Event):
        """The threshold took a new value."""

        TOPIC = "finance.approval_policy.set"
        currency: str
        threshold: Decimal

    def set(self, threshold: Money) -> None:
        """Let one user prepare and post up to `threshold`, itself included.

        Raises:
            ThresholdNegative: it is below zero.
        """
        if threshold.amount < 0:
            raise ThresholdNegative(
                f"The threshold {threshold} is below zero.", threshold=str(threshold.amount)
            )
        self._set(threshold.currency, threshold.amount)

    def require_approved(self, amount: Decimal, *, prepared_by: str, approved_by: str) -> None:
        """Make sure that two users stand behind an amount above the threshold.

        Raises:
            ApprovalRequired: it is only one.
        """
        if self.threshold is None or amount <= self.threshold or prepared_by != approved_by:
            return
        shown = in_minor_units(amount, self.currency)
        detail = (
            f"{shown} {self.currency} is above {self.threshold}: a user other than {prepared_by} has to post."
        )
        raise ApprovalRequired(
            detail,
            amount=str(shown),
            threshold=str(self.threshold),
            currency=self.currency,
            prepared_by=prepared_by,
        )

    @event(Set)
    def _set(self, currency: str, threshold: Decimal) -> None:
        self.currency = currency
        self.threshold = threshold


def approval_policy_id(tenant: UUID, currency: str) -> UUID:
    """The stream of the policy for amounts of this currency."""
    return natural_id(tenant, ApprovalPolicy.TOPIC, currency)
