"""Requests to gateways."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from commands.payments.gateway import GatewayRequest
from domain.payments.operation import OperationKind

TENANT = UUID("00000000-0000-4000-8000-000000000001")
ORDER = UUID("00000000-0000-4000-8000-00000000000a")


def request(
    kind: OperationKind = OperationKind.AUTHORISE, amount: str = "100.00", **more: Any
) -> GatewayRequest:
    """A request of now, to authorise unless told otherwise."""
    return GatewayRequest(
        **{
            "operation": uuid4(),
            "kind": kind,
            "tenant": TENANT,
            "payment": uuid4(),
            "order": ORDER,
            "amount": Decimal(amount),
            "held": Decimal(0),
            "captured": Decimal(0),
            "currency": "EUR",
            "method": "card",
            "token": "tok_ok",
            "reference": None,
            "several_captures": True,
            "requested_at": datetime.now(UTC),
            **more,
        }
    )
