"""Payments: what can be asked of a gateway, and who carries it out."""

from commands.payments.commands import (
    AuthorisePayment,
    CaptureAsKnown,
    CapturePayment,
    ExpireAuthorisation,
    RefundAsKnown,
    RefundPayment,
    SettlePayment,
    VoidPayment,
)
from commands.payments.gateway import Gateway, GatewayTimeout, GatewayUnavailable
from commands.payments.procedures import Till
from commands.payments.steps import HANDLERS

__all__ = [
    "HANDLERS",
    "AuthorisePayment",
    "CaptureAsKnown",
    "CapturePayment",
    "ExpireAuthorisation",
    "Gateway",
    "GatewayTimeout",
    "GatewayUnavailable",
    "RefundAsKnown",
    "RefundPayment",
    "SettlePayment",
    "Till",
    "VoidPayment",
]
