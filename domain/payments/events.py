"""What happens to payments. `operation` is the request to the gateway that an event is about.

What moves money, or lets it go unasked, says for which order: whoever carries that through hears of it.
"""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from domain.payments.state import CardHolder
from domain.shared.aggregate import Aggregate
from domain.shared.personal import Personal


class AuthorisationRequested(Aggregate.Event):
    """The gateway is to hold an amount."""

    TOPIC = "payments.payment.authorisation_requested"
    operation: UUID
    order_id: UUID
    attempt: int
    amount: Decimal
    currency: str
    method: str
    token: str
    holder: Personal[CardHolder] | None
    requested_at: datetime


class Authorised(Aggregate.Event):
    """The gateway holds the amount."""

    TOPIC = "payments.payment.authorised"
    operation: UUID
    amount: Decimal
    reference: str
    expires_at: datetime | None
    several_captures: bool


class Declined(Aggregate.Event):
    """The amount is not to be had."""

    TOPIC = "payments.payment.declined"
    operation: UUID
    code: str


class CaptureRequested(Aggregate.Event):
    """The gateway is to take part of what it holds, or all."""

    TOPIC = "payments.payment.capture_requested"
    operation: UUID
    amount: Decimal
    requested_at: datetime


class Captured(Aggregate.Event):
    """The gateway took it. `released` is what it holds no longer since then; below zero it was taken out of
    what had been recorded as released.
    """

    TOPIC = "payments.payment.captured"
    order_id: UUID
    operation: UUID
    amount: Decimal
    captured_after: Decimal
    released: Decimal


class CaptureFailed(Aggregate.Event):
    """The gateway did not take it."""

    TOPIC = "payments.payment.capture_failed"
    operation: UUID
    amount: Decimal
    code: str


class VoidRequested(Aggregate.Event):
    """The gateway is to hold nothing more."""

    TOPIC = "payments.payment.void_requested"
    operation: UUID
    requested_at: datetime


class Voided(Aggregate.Event):
    """The gateway released what it still held; 0 when the authorisation was declined."""

    TOPIC = "payments.payment.voided"
    operation: UUID
    amount: Decimal


class VoidFailed(Aggregate.Event):
    """The gateway did not release it."""

    TOPIC = "payments.payment.void_failed"
    operation: UUID
    code: str


class RefundRequested(Aggregate.Event):
    """The gateway is to give back part of what it took, or all."""

    TOPIC = "payments.payment.refund_requested"
    operation: UUID
    amount: Decimal
    reason: str
    requested_at: datetime


class Refunded(Aggregate.Event):
    """The gateway gave it back."""

    TOPIC = "payments.payment.refunded"
    order_id: UUID
    operation: UUID
    amount: Decimal
    refunded_after: Decimal
    reason: str


class RefundFailed(Aggregate.Event):
    """The gateway did not give it back, or it came back to the gateway later."""

    TOPIC = "payments.payment.refund_failed"
    order_id: UUID
    operation: UUID
    amount: Decimal
    refunded_after: Decimal
    code: str


class AuthorisationExpired(Aggregate.Event):
    """The gateway released the amount by itself: the authorisation ran out, or was cancelled there."""

    TOPIC = "payments.payment.authorisation_expired"
    order_id: UUID
    amount: Decimal
