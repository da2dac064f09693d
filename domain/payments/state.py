"""What is known of a payment: how it stands, and the rules that go by that alone."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypedDict
from uuid import UUID

from domain.payments.errors import NotAuthorised, NothingHeld, OperationPending, PaymentNotFound
from domain.payments.operation import Operation, OperationKind, OperationOutcome
from domain.shared.aggregate import Aggregate
from domain.shared.personal import Personal

NOTHING: Final = Decimal(0)


class CardHolder(TypedDict):
    """Whom a card belongs to."""

    name: str


class PaymentStatus(StrEnum):
    """Where a payment stands. `pending`: whether it is authorised is not known."""

    PENDING = "pending"
    DECLINED = "declined"
    AUTHORISED = "authorised"
    PARTIALLY_CAPTURED = "partially_captured"
    CAPTURED = "captured"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    VOIDED = "voided"
    EXPIRED = "expired"


class PaymentState(Aggregate):
    """The state of a payment, without what changes it."""

    order_id: UUID | None = None
    attempt: int = 0
    currency: str = ""
    amount: Decimal = NOTHING
    """What was to be authorised."""
    method: str = ""
    token: str = ""
    """The gateway's name for the customer's card; no card data ever comes here."""
    holder: Personal[CardHolder] | None = None
    reference: str | None = None
    """The gateway's name for the payment."""
    expires_at: datetime | None = None
    several_captures: bool = True
    authorised: Decimal = NOTHING
    captured: Decimal = NOTHING
    refunded: Decimal = NOTHING
    released: Decimal = NOTHING
    """Authorised once, and held no longer without having been captured."""
    expired: bool = False
    decline_code: str | None = None
    operations: tuple[Operation, ...] = ()
    """In the order in which they were asked for."""

    @property
    def status(self) -> PaymentStatus:
        """Where it stands: by what is held first, then by what is captured."""
        if self.decline_code is not None:
            return PaymentStatus.DECLINED
        if not self.authorised:
            return PaymentStatus.PENDING
        if self.held:
            return PaymentStatus.PARTIALLY_CAPTURED if self.captured else PaymentStatus.AUTHORISED
        if not self.captured:
            return PaymentStatus.EXPIRED if self.expired else PaymentStatus.VOIDED
        if not self.refunded:
            return PaymentStatus.CAPTURED
        whole = self.refunded == self.captured
        return PaymentStatus.REFUNDED if whole else PaymentStatus.PARTIALLY_REFUNDED

    @property
    def held(self) -> Decimal:
        """What can still be captured, or voided."""
        return self.authorised - self.captured - self.released

    @property
    def refundable(self) -> Decimal:
        """What can still be refunded."""
        return self.captured - self.refunded

    @property
    def pending(self) -> tuple[Operation, ...]:
        """What was asked for and has no known outcome, in the order in which it is to be had."""
        return tuple(each for each in self.operations if each.outcome is None)

    def operation(self, operation: UUID) -> Operation | None:
        """The operation of this id."""
        return next((each for each in self.operations if each.id == operation), None)

    def _require_exists(self) -> None:
        if not self.exists:
            raise PaymentNotFound(f"There is no payment {self.id}.", id=str(self.id))

    def _require_known(self) -> None:
        self._require_exists()
        if self.pending:
            first = self.pending[0]
            detail = f"What became of operation {first.id} ({first.kind}) is not known yet."
            raise OperationPending(detail, operation=str(first.id), kind=str(first.kind))

    def _require_authorised(self) -> None:
        if not self.authorised:
            detail = f"The payment was declined: {self.decline_code}."
            raise NotAuthorised(detail, decline_code=self.decline_code)

    def _require_held(self) -> None:
        if not self.held:
            raise NothingHeld("The gateway holds nothing for this payment.", status=str(self.status))

    def _next(self, operation: UUID) -> Operation | None:
        """The operation if it is the next to end; None if it has ended."""
        pending = self.pending
        if all(each.id != operation for each in pending):
            return None
        if pending[0].id != operation:
            self._require_known()
        return pending[0]

    def _asked(self, operation: Operation) -> None:
        self.operations = (*self.operations, operation)

    def _ended(self, operation: UUID, kind: OperationKind, amount: Decimal, code: str | None = None) -> None:
        outcome = OperationOutcome.APPROVED if code is None else OperationOutcome.DECLINED
        if self.operation(operation) is None:
            self._asked(Operation(operation, kind, amount))
        self.operations = tuple(
            replace(each, amount=amount, outcome=outcome, code=code) if each.id == operation else each
            for each in self.operations
        )
