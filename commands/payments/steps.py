"""The steps that procedures of payments consist of: commands of their own, and their handlers."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final
from uuid import UUID

from commands.bus import Command, Handler, Work
from commands.payments.commands import (
    AuthorisePayment,
    CapturePayment,
    ExpireAuthorisation,
    PaymentCommand,
    RefundPayment,
    VoidPayment,
)
from commands.payments.gateway import Declined, Outcome
from domain.payments.errors import PaymentNotFound
from domain.payments.operation import Standing
from domain.payments.payment import Payment
from domain.payments.state import CardHolder
from domain.shared.personal import Personal


class RequestAuthorisation(AuthorisePayment):
    """Record that the gateway is to hold an amount."""

    TOPIC = "payments.request_authorisation"

    operation: UUID


class RequestCapture(CapturePayment):
    """Record that the gateway is to take some of it."""

    TOPIC = "payments.request_capture"

    operation: UUID


class RequestVoid(VoidPayment):
    """Record that the gateway is to release it."""

    TOPIC = "payments.request_void"

    operation: UUID


class RequestRefund(RefundPayment):
    """Record that the gateway is to give some of it back."""

    TOPIC = "payments.request_refund"

    operation: UUID


class RecordOutcome(PaymentCommand):
    """Record what the gateway did, or that it did not."""

    TOPIC = "payments.record_outcome"

    id: UUID
    operation: UUID
    outcome: Outcome


class RecordStanding(PaymentCommand):
    """Record what happened at the gateway without our asking, if the payment is still what it was then."""

    TOPIC = "payments.record_standing"

    id: UUID
    version: int
    standing: Standing


class LookUp(PaymentCommand):
    """See how the payment stands."""

    TOPIC = "payments.look_up"

    id: UUID


async def request_authorisation(command: RequestAuthorisation, work: Work) -> Payment:
    """See `Payment.request_authorisation`."""
    payment = await work.edit(Payment, command.payment(work.tenant))
    holder: Personal[CardHolder] | None = None
    if command.holder is not None:
        holder = await work.seal(command.holder.subject, {"name": command.holder.name})
    payment.request_authorisation(
        command.money,
        order_id=command.order_id,
        attempt=command.attempt,
        method=command.method,
        token=command.token,
        holder=holder,
        operation=command.operation,
        at=work.now,
    )
    return payment


async def request_capture(command: RequestCapture, work: Work) -> Payment:
    """See `Payment.request_capture`."""
    payment = await work.edit(Payment, command.id)
    payment.request_capture(Decimal(command.amount), operation=command.operation, at=work.now)
    return payment


async def request_void(command: RequestVoid, work: Work) -> Payment:
    """See `Payment.request_void`."""
    payment = await work.edit(Payment, command.id)
    payment.request_void(operation=command.operation, at=work.now)
    return payment


async def request_refund(command: RequestRefund, work: Work) -> Payment:
    """See `Payment.request_refund`."""
    payment = await work.edit(Payment, command.id)
    payment.request_refund(
        Decimal(command.amount), reason=command.reason, operation=command.operation, at=work.now
    )
    return payment


async def record_outcome(command: RecordOutcome, work: Work) -> Payment:
    """See `Payment.approve` and `Payment.decline`."""
    payment = await work.edit(Payment, command.id)
    outcome = command.outcome
    if isinstance(outcome, Declined):
        payment.decline(command.operation, outcome.code)
    else:
        payment.approve(
            command.operation,
            reference=outcome.reference,
            expires_at=outcome.expires_at,
            several_captures=outcome.several_captures,
        )
    return payment


async def record_standing(command: RecordStanding, work: Work) -> Payment:
    """See `Payment.agree`. Of a payment that has moved on, the gateway is to be asked again."""
    payment = await work.edit(Payment, command.id)
    if payment.version == command.version:
        payment.agree(command.standing)
    return payment


async def expire_authorisation(command: ExpireAuthorisation, work: Work) -> Payment:
    """See `Payment.expire`."""
    payment = await work.edit(Payment, command.id)
    payment.expire(at=work.now)
    return payment


async def look_up(command: LookUp, work: Work) -> Payment:
    """The payment as it is."""
    payment = await work.read(Payment, command.id)
    if not payment.exists:
        raise PaymentNotFound(f"There is no payment {command.id}.", id=str(command.id))
    return payment


HANDLERS: Final[Mapping[type[Command], Handler]] = {
    RequestAuthorisation: request_authorisation,
    RequestCapture: request_capture,
    RequestVoid: request_void,
    RequestRefund: request_refund,
    RecordOutcome: record_outcome,
    RecordStanding: record_standing,
    LookUp: look_up,
    ExpireAuthorisation: expire_authorisation,
}
