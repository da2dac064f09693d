"""Payments: its routes."""

from typing import Final

from api.payments.current import PaymentView, payment
from api.payments.webhooks import PATH as STRIPE_PATH
from api.payments.webhooks import stripe_event
from api.routing import CommandRoute, ContextRoutes, HookRoute, ViewRoute
from commands.payments import CapturePayment, RefundPayment, VoidPayment

__all__ = ["PAYMENTS"]

_PAYMENT: Final = "/v1/payments/{id}"

PAYMENTS: Final = ContextRoutes(
    name="payments",
    commands=(
        CommandRoute("POST", f"{_PAYMENT}/capture", CapturePayment, location=_PAYMENT),
        CommandRoute("POST", f"{_PAYMENT}/void", VoidPayment, location=_PAYMENT),
        CommandRoute("POST", f"{_PAYMENT}/refund", RefundPayment, location=_PAYMENT),
    ),
    views=(ViewRoute(_PAYMENT, "payments.payments:read", PaymentView, payment),),
    hooks=(HookRoute(STRIPE_PATH, "stripe_event", stripe_event),),
)
