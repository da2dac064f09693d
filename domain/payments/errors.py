"""The rules of payments.

DomainError
├── PaymentNotFound, PaymentExists     there is no such payment, or there is one already
├── AmountNotPositive                  nothing, or less, is no amount to ask for
├── OperationPending                   the outcome of another operation has to be known first
├── NotAuthorised                      the gateway holds nothing for it, and never did
├── NothingHeld                        the gateway holds nothing for it any more
├── CaptureExceedsAuthorised, RefundExceedsCaptured    authorised ≥ captured ≥ refunded
├── SingleCaptureOnly                  the gateway released the rest with the first capture
├── AuthorisationExpired, AuthorisationNotExpired      the hold has run out, or not yet
└── StandingImpossible                 what the gateway says of a payment cannot be
"""

from typing import ClassVar

from domain.shared.errors import DomainError


class PaymentNotFound(DomainError):
    """There is no payment of this id."""

    code: ClassVar[str] = "payments.payment_not_found"


class PaymentExists(DomainError):
    """This attempt to have the order paid was made before."""

    code: ClassVar[str] = "payments.payment_exists"


class AmountNotPositive(DomainError):
    """Only an amount above zero can be authorised, captured or refunded."""

    code: ClassVar[str] = "payments.amount_not_positive"


class OperationPending(DomainError):
    """Something was asked of the gateway, and what became of it is not known yet."""

    code: ClassVar[str] = "payments.operation_pending"


class NotAuthorised(DomainError):
    """The payment was declined, so there is nothing to be taken or given back."""

    code: ClassVar[str] = "payments.not_authorised"


class NothingHeld(DomainError):
    """All that was authorised is captured, voided or expired."""

    code: ClassVar[str] = "payments.nothing_held"


class CaptureExceedsAuthorised(DomainError):
    """More is to be captured than is still held."""

    code: ClassVar[str] = "payments.capture_exceeds_authorised"


class RefundExceedsCaptured(DomainError):
    """More is to be refunded than was captured and not refunded yet."""

    code: ClassVar[str] = "payments.refund_exceeds_captured"


class SingleCaptureOnly(DomainError):
    """The gateway takes one capture of this payment, which has been made; it released the rest with it."""

    code: ClassVar[str] = "payments.single_capture_only"


class AuthorisationExpired(DomainError):
    """The gateway holds the money no longer: the authorisation has run out."""

    code: ClassVar[str] = "payments.authorisation_expired"


class AuthorisationNotExpired(DomainError):
    """The authorisation still holds."""

    code: ClassVar[str] = "payments.authorisation_not_expired"


class StandingImpossible(DomainError):
    """The gateway reports more captured than authorised, or more refunded than captured."""

    code: ClassVar[str] = "payments.standing_impossible"
