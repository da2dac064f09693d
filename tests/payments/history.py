"""Commands that make up a payment's past, and payments in memory for tests of pure rules."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from commands.bus import Answer
from commands.payments import AuthorisePayment, CapturePayment, RefundPayment, VoidPayment
from domain.payments.payment import Payment
from domain.shared.money import Money

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
ORDER = UUID("00000000-0000-4000-8000-00000000000a")
AUTHORISE = AuthorisePayment(order_id=ORDER, amount="100.00", currency="EUR", method="card", token="tok_ok")


def capture(amount: str) -> Any:
    """A step that captures of the payment before it."""
    return lambda last: CapturePayment(id=last.id, amount=amount)


def refund(amount: str, reason: str = "broken") -> Any:
    """A step that refunds."""
    return lambda last: RefundPayment(id=last.id, amount=amount, reason=reason)


def void(last: Answer) -> VoidPayment:
    """A step that voids."""
    return VoidPayment(id=last.id)


def requested(amount: str = "100.00", currency: str = "EUR") -> Payment:
    """A payment whose authorisation is pending."""
    payment = Payment.blank(uuid4())
    payment.request_authorisation(
        Money(Decimal(amount), currency),
        order_id=ORDER,
        attempt=1,
        method="card",
        token="tok_ok",
        operation=uuid4(),
        at=NOON,
    )
    return payment


def approve(payment: Payment, **told: Any) -> None:
    """What is pending first is approved."""
    payment.approve(payment.pending[0].id, **told)


def authorised(amount: str = "100.00", **told: Any) -> Payment:
    """An authorised payment, for a week from noon."""
    payment = requested(amount)
    approve(payment, **{"reference": "r-1", "expires_at": NOON + WEEK, **told})
    return payment


def captured(amount: str = "100.00", of: str = "100.00", **told: Any) -> Payment:
    """One with a capture."""
    payment = authorised(of, **told)
    payment.request_capture(Decimal(amount), operation=uuid4(), at=NOON)
    approve(payment)
    return payment


def refunded(amount: str, of: str = "100.00") -> Payment:
    """One with a refund."""
    payment = captured(of)
    payment.request_refund(Decimal(amount), reason="broken", operation=uuid4(), at=NOON)
    approve(payment)
    return payment


def names(payment: Payment) -> list[str]:
    """What has happened, briefly."""
    return [each.TOPIC.rpartition(".")[2] for each in payment.pending_events]  # type: ignore[attr-defined]
