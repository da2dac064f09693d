"""A payment: what a gateway was asked to hold, to take and to give back, and what it did.

    pending → authorised → partially captured → captured → partially refunded → refunded
            ↘ declined   ↘ voided, expired

Whatever is asked of the gateway is recorded twice: that it was asked, before it is, and what became of it. In
between the operation is pending, and stays so until the gateway has told: the outcome is never guessed. There
is one pending operation at a time, except that a void may wait for the end of an authorisation or of a
capture.

authorised ≥ captured + released, and captured ≥ refunded, always.
"""

from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID, uuid5

from domain.payments import errors, events
from domain.payments.operation import GatewayRefund, Operation, OperationKind, OperationOutcome, Standing
from domain.payments.state import NOTHING, CardHolder, PaymentState
from domain.shared.aggregate import event
from domain.shared.ids import natural_id
from domain.shared.money import Money, in_minor_units
from domain.shared.personal import Personal

AT_THE_GATEWAY: Final = "refunded at the gateway"
"""Reason of a refund that was not made here."""
ALL_CAPTURED: Final = "captured"
"""Why a void failed that nothing is left for."""


class Payment(PaymentState):
    """One attempt to have an order paid."""

    TOPIC = "payments.payment"

    AuthorisationRequested = events.AuthorisationRequested
    Authorised = events.Authorised
    Declined = events.Declined
    CaptureRequested = events.CaptureRequested
    Captured = events.Captured
    CaptureFailed = events.CaptureFailed
    VoidRequested = events.VoidRequested
    Voided = events.Voided
    VoidFailed = events.VoidFailed
    RefundRequested = events.RefundRequested
    Refunded = events.Refunded
    RefundFailed = events.RefundFailed
    AuthorisationExpired = events.AuthorisationExpired

    # What is asked for

    def request_authorisation(
        self,
        amount: Money,
        *,
        order_id: UUID,
        attempt: int,
        method: str,
        token: str,
        operation: UUID,
        at: datetime,
        holder: Personal[CardHolder] | None = None,
    ) -> None:
        """Ask that the gateway hold `amount`.

        Raises:
            DomainError: it was asked before, or the amount is none.
        """
        if self.exists:
            detail = f"Attempt {self.attempt} to have order {self.order_id} paid was made before."
            raise errors.PaymentExists(detail, id=str(self.id))
        self._authorisation_requested(
            operation=operation,
            order_id=order_id,
            attempt=attempt,
            amount=_positive(amount.amount, amount.currency),
            currency=amount.currency,
            method=method,
            token=token,
            holder=holder,
            requested_at=at,
        )

    def request_capture(self, amount: Decimal, *, operation: UUID, at: datetime) -> None:
        """Ask that the gateway take `amount` of what it holds.

        Raises:
            DomainError: so much is not held, or not any more, or another operation is pending.
        """
        self._require_known()
        self._require_authorised()
        amount = _positive(amount, self.currency)
        if self.expires_at is not None and at >= self.expires_at:
            detail = f"The authorisation ran out at {self.expires_at.isoformat()}."
            raise errors.AuthorisationExpired(detail, expires_at=self.expires_at.isoformat())
        if self.captured and not self.several_captures:
            detail = f"The gateway takes one capture of a payment: of this one {self.captured} were captured."
            raise errors.SingleCaptureOnly(detail, captured=str(self.captured))
        if amount > self.held:
            detail = f"{amount} {self.currency} cannot be captured: {self.held} are held."
            raise errors.CaptureExceedsAuthorised(
                detail, requested=str(amount), available=str(self.held), currency=self.currency
            )
        self._capture_requested(operation, amount, at)

    def request_void(self, *, operation: UUID, at: datetime) -> None:
        """Ask that the gateway hold nothing more: while an authorisation or a capture is pending, once that
        has ended.

        Raises:
            DomainError: nothing is held, or another operation is pending.
        """
        self._require_exists()
        if [each.kind for each in self.pending] not in ([OperationKind.AUTHORISE], [OperationKind.CAPTURE]):
            self._require_known()
            self._require_held()
        self._void_requested(operation, at)

    def request_refund(self, amount: Decimal, *, reason: str, operation: UUID, at: datetime) -> None:
        """Ask that the gateway give back `amount` of what it took.

        Raises:
            DomainError: so much was not captured, or is refunded already, or another operation is pending.
        """
        self._require_known()
        self._require_authorised()
        amount = _positive(amount, self.currency)
        if amount > self.refundable:
            detail = f"{amount} {self.currency} cannot be refunded: {self.refundable} can."
            raise errors.RefundExceedsCaptured(
                detail, requested=str(amount), available=str(self.refundable), currency=self.currency
            )
        self._refund_requested(operation, amount, reason, at)

    # What became of it

    def approve(
        self,
        operation: UUID,
        *,
        reference: str = "",
        expires_at: datetime | None = None,
        several_captures: bool = True,
    ) -> None:
        """The gateway did what it was asked. No event if that is recorded already.

        Args:
            operation: what it was.
            reference: of an authorisation, like those below: the gateway's name for the payment.
            expires_at: until when it holds the amount, if it says so.
            several_captures: whether what is not captured at first can be captured later.

        Raises:
            OperationPending: another one has to end first.
        """
        asked = self._next(operation)
        if asked is None:
            return
        match asked.kind:
            case OperationKind.AUTHORISE:
                self._authorised(
                    operation, self.amount, reference, expires_at, several_captures=several_captures
                )
            case OperationKind.CAPTURE:
                released = NOTHING if self.several_captures else self.held - asked.amount
                self._captured(self._order(), operation, asked.amount, self.captured + asked.amount, released)
                if not self.held:
                    for waiting in self.pending:  # a void, which came too late
                        self._void_failed(waiting.id, ALL_CAPTURED)
            case OperationKind.VOID:
                self._voided(operation, self.held)
            case _:  # a refund
                self._refunded(
                    self._order(), operation, asked.amount, self.refunded + asked.amount, asked.reason
                )

    def decline(self, operation: UUID, code: str) -> None:
        """The gateway did not, and will not. No event if that is recorded already.

        Raises:
            OperationPending: another one has to end first.
        """
        asked = self._next(operation)
        if asked is None:
            return
        match asked.kind:
            case OperationKind.AUTHORISE:
                self._declined(operation, code)
                for waiting in self.pending:  # a void, which has nothing to do any more
                    self._voided(waiting.id, NOTHING)
            case OperationKind.CAPTURE:
                self._capture_failed(operation, asked.amount, code)
            case OperationKind.VOID:
                self._void_failed(operation, code)
            case _:  # a refund
                self._refund_failed(self._order(), operation, asked.amount, self.refunded, code)

    def expire(self, *, at: datetime) -> None:
        """The authorisation has run out.

        Raises:
            DomainError: nothing is held, it has not run out at `at`, or an operation is pending.
        """
        self._require_known()
        self._require_held()
        if self.expires_at is None or at < self.expires_at:
            until = None if self.expires_at is None else self.expires_at.isoformat()
            raise errors.AuthorisationNotExpired("The authorisation has not run out.", expires_at=until)
        self._authorisation_ended(self._order(), self.held)

    def agree(self, standing: Standing) -> None:
        """Record what happened at the gateway without our asking. No event if nothing did.

        Raises:
            DomainError: what the gateway says cannot be, or an operation is pending.
        """
        self._require_known()
        self._require_authorised()
        given_back = sum((each.amount for each in standing.refunds if each.failure is None), NOTHING)
        possible = self.captured <= standing.captured and standing.captured + standing.held <= self.authorised
        if not possible or given_back > standing.captured:
            detail = "The gateway's figures do not fit those that it told before."
            raise errors.StandingImpossible(
                detail, captured=str(standing.captured), held=str(standing.held), refunded=str(given_back)
            )
        captured = standing.captured - self.captured
        if captured:
            operation = uuid5(self.id, f"captured {standing.captured:f}")
            # What was captured cannot have been released: an expiry or a void came too late then.
            self._captured(
                self._order(), operation, captured, standing.captured, min(NOTHING, self.held - captured)
            )
        if standing.held < self.held:
            self._authorisation_ended(self._order(), self.held - standing.held)
        # Those that failed first, so that never more is refunded than captured.
        for refund in sorted(standing.refunds, key=lambda each: each.failure is None):
            self._agree_on(refund)

    def _agree_on(self, refund: GatewayRefund) -> None:
        operation = refund.operation or uuid5(self.id, refund.id)
        known = self.operation(operation)
        was_refunded = known is not None and known.outcome is OperationOutcome.APPROVED
        if refund.failure is not None and was_refunded:
            self._refund_failed(
                self._order(), operation, refund.amount, self.refunded - refund.amount, refund.failure
            )
        elif refund.failure is None and known is None:
            self._refunded(
                self._order(), operation, refund.amount, self.refunded + refund.amount, AT_THE_GATEWAY
            )

    def _order(self) -> UUID:
        assert self.order_id is not None
        return self.order_id

    # State

    @event(events.AuthorisationRequested)
    def _authorisation_requested(
        self,
        *,
        operation: UUID,
        order_id: UUID,
        attempt: int,
        amount: Decimal,
        currency: str,
        method: str,
        token: str,
        holder: Personal[CardHolder] | None,
        requested_at: datetime,
    ) -> None:
        self.order_id = order_id
        self.attempt = attempt
        self.amount = amount
        self.currency = currency
        self.method = method
        self.token = token
        self.holder = holder
        self._asked(Operation(operation, OperationKind.AUTHORISE, amount, requested_at))

    @event(events.Authorised)
    def _authorised(
        self,
        operation: UUID,
        amount: Decimal,
        reference: str,
        expires_at: datetime | None,
        *,
        several_captures: bool,
    ) -> None:
        self.authorised = amount
        self.reference = reference
        self.expires_at = expires_at
        self.several_captures = several_captures
        self._ended(operation, OperationKind.AUTHORISE, amount)

    @event(events.Declined)
    def _declined(self, operation: UUID, code: str) -> None:
        self.decline_code = code
        self._ended(operation, OperationKind.AUTHORISE, self.amount, code)

    @event(events.CaptureRequested)
    def _capture_requested(self, operation: UUID, amount: Decimal, requested_at: datetime) -> None:
        self._asked(Operation(operation, OperationKind.CAPTURE, amount, requested_at))

    @event(events.Captured)
    def _captured(
        self,
        order_id: UUID,  # noqa: ARG002 - for the reader of the log
        operation: UUID,
        amount: Decimal,
        captured_after: Decimal,
        released: Decimal,
    ) -> None:
        self.captured = captured_after
        self.released += released
        self._ended(operation, OperationKind.CAPTURE, amount)

    @event(events.CaptureFailed)
    def _capture_failed(self, operation: UUID, amount: Decimal, code: str) -> None:
        self._ended(operation, OperationKind.CAPTURE, amount, code)

    @event(events.VoidRequested)
    def _void_requested(self, operation: UUID, requested_at: datetime) -> None:
        self._asked(Operation(operation, OperationKind.VOID, self.held, requested_at))

    @event(events.Voided)
    def _voided(self, operation: UUID, amount: Decimal) -> None:
        self.released += amount
        self._ended(operation, OperationKind.VOID, amount)

    @event(events.VoidFailed)
    def _void_failed(self, operation: UUID, code: str) -> None:
        self._ended(operation, OperationKind.VOID, NOTHING, code)

    @event(events.RefundRequested)
    def _refund_requested(
        self, operation: UUID, amount: Decimal, reason: str, requested_at: datetime
    ) -> None:
        self._asked(Operation(operation, OperationKind.REFUND, amount, requested_at, reason))

    @event(events.Refunded)
    def _refunded(
        self,
        order_id: UUID,  # noqa: ARG002 - for the reader of the log
        operation: UUID,
        amount: Decimal,
        refunded_after: Decimal,
        reason: str,  # noqa: ARG002 - likewise
    ) -> None:
        self.refunded = refunded_after
        self._ended(operation, OperationKind.REFUND, amount)

    @event(events.RefundFailed)
    def _refund_failed(
        self,
        order_id: UUID,  # noqa: ARG002 - for the reader of the log
        operation: UUID,
        amount: Decimal,
        refunded_after: Decimal,
        code: str,
    ) -> None:
        self.refunded = refunded_after
        self._ended(operation, OperationKind.REFUND, amount, code)

    @event(events.AuthorisationExpired)
    def _authorisation_ended(self, order_id: UUID, amount: Decimal) -> None:  # noqa: ARG002 - the order is for the reader of the log
        self.released += amount
        self.expired = True


def payment_id(tenant: UUID, order_id: UUID, attempt: int) -> UUID:
    """The stream of the payment that is the order's `attempt`, from 1."""
    return natural_id(tenant, Payment.TOPIC, str(order_id), str(attempt))


def _positive(amount: Decimal, currency: str) -> Decimal:
    exact = in_minor_units(amount, currency)
    if exact <= 0:
        raise errors.AmountNotPositive(f"{exact} {currency} is no amount to ask for.", amount=str(exact))
    return exact
