"""Payments: how one looks from outside, as it is now."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from api.errors import NotFound
from api.reply import instant
from api.routing import Query, View
from domain.payments.errors import PaymentNotFound
from domain.payments.operation import Operation, OperationKind, OperationOutcome
from domain.payments.payment import Payment
from domain.payments.state import PaymentStatus
from domain.shared.money import amount_text

PERSONAL_DATA: Final = "payments.personal_data:read"


@dataclass(frozen=True, slots=True)
class OperationView:
    """A request to the gateway. `outcome` null: it is not known yet."""

    operation: UUID
    kind: OperationKind
    amount: str
    outcome: OperationOutcome | None
    decline_code: str | None


@dataclass(frozen=True, slots=True)
class PaymentView:
    """A payment. `amount` was to be authorised; `capturable` and `refundable` are what is left of it.

    `holder` is the name on the card, for those who may read personal data.
    """

    id: UUID
    version: int
    status: PaymentStatus
    order_id: UUID
    attempt: int
    method: str
    holder: str | None
    currency: str
    amount: str
    authorised: str
    captured: str
    refunded: str
    capturable: str
    refundable: str
    several_captures: bool
    expires_at: str | None
    decline_code: str | None
    reference: str | None
    operations: tuple[OperationView, ...]


async def payment(query: Query) -> View:
    """One payment."""
    try:
        payment_id = UUID(query.path["id"])
    except ValueError:
        raise NotFound("No payment can have such an id.") from None
    found = await query.store.load_current(Payment, payment_id, query.tenant)
    if found.order_id is None:
        raise PaymentNotFound(f"There is no payment {payment_id}.", id=str(payment_id))
    holder = None if found.holder is None else await query.opened(found.holder, PERSONAL_DATA)
    return View(_payment(found, found.order_id, None if holder is None else holder["name"]), found.version)


def _payment(found: Payment, order_id: UUID, holder: str | None) -> PaymentView:
    def text(amount: Decimal) -> str:
        return amount_text(amount, found.currency)

    return PaymentView(
        id=found.id,
        version=found.version,
        status=found.status,
        order_id=order_id,
        attempt=found.attempt,
        method=found.method,
        holder=holder,
        currency=found.currency,
        amount=text(found.amount),
        authorised=text(found.authorised),
        captured=text(found.captured),
        refunded=text(found.refunded),
        capturable=text(found.held),
        refundable=text(found.refundable),
        several_captures=found.several_captures,
        expires_at=_instant(found.expires_at),
        decline_code=found.decline_code,
        reference=found.reference,
        operations=tuple(_operation(each, found.currency) for each in found.operations),
    )


def _operation(found: Operation, currency: str) -> OperationView:
    amount = amount_text(found.amount, currency)
    return OperationView(found.id, found.kind, amount, found.outcome, found.code)


def _instant(moment: datetime | None) -> str | None:
    return None if moment is None else instant(moment)
