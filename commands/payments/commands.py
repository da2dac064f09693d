"""What can be asked of payments. All but the expiry is for the gateway to do, see `procedures`."""

from decimal import Decimal
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from commands.fields import AmountText, CurrencyCode, FixedPermission, Reason, ShortText, require_decimals_of
from domain.payments.payment import payment_id
from domain.shared.money import Money

Token = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,255}$")]
"""The gateway's name for a customer's card."""

Method = Literal["card"]

Version = Annotated[int, Field(strict=True, ge=0)]
"""That of the payment's stream."""


class Holder(BaseModel):
    """Whom the card belongs to: a pseudonym, under which the name is sealed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: Annotated[ShortText, StringConstraints(min_length=1)]
    name: Annotated[ShortText, StringConstraints(min_length=1)]


class PaymentCommand(FixedPermission):
    """Something that changes a payment."""

    needs = "payments.payments:write"


class AuthorisePayment(PaymentCommand):
    """Have the gateway hold an amount for an order."""

    TOPIC = "payments.authorise"
    creates = True

    order_id: UUID
    attempt: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1
    """The same attempt twice is one payment; another one is another."""
    amount: AmountText
    currency: CurrencyCode
    method: Method
    token: Token
    holder: Holder | None = None

    @model_validator(mode="after")
    def _decimals_of_currency(self) -> Self:
        require_decimals_of(self.currency, [(("amount",), self.amount)])
        return self

    def payment(self, tenant: UUID) -> UUID:
        """The id that the payment has or will have."""
        return payment_id(tenant, self.order_id, self.attempt)

    @property
    def money(self) -> Money:
        """The amount to be held."""
        return Money(Decimal(self.amount), self.currency)


class CapturePayment(PaymentCommand):
    """Have the gateway take some of what it holds."""

    TOPIC = "payments.capture"

    id: UUID
    amount: AmountText


class CaptureAsKnown(CapturePayment):
    """The same of a payment to which nobody has done more than is known, for those who work amounts out."""

    TOPIC = "payments.capture_as_known"

    version: Version


class VoidPayment(PaymentCommand):
    """Have the gateway release what it holds and has not taken."""

    TOPIC = "payments.void"

    id: UUID
    reason: Reason | None = None


class RefundPayment(PaymentCommand):
    """Have the gateway give back some of what it took."""

    TOPIC = "payments.refund"

    id: UUID
    amount: AmountText
    reason: Reason


class RefundAsKnown(RefundPayment):
    """The same of a payment to which nobody has done more than is known."""

    TOPIC = "payments.refund_as_known"

    version: Version


class ExpireAuthorisation(PaymentCommand):
    """Record that an authorisation has run out."""

    TOPIC = "payments.expire_authorisation"

    id: UUID


class SettlePayment(PaymentCommand):
    """Learn what became of pending operations, and what happened at the gateway besides."""

    TOPIC = "payments.settle"

    id: UUID
