"""What is asked of a gateway for a payment, and what the gateway says when it is asked how things stand."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID


class OperationKind(StrEnum):
    """What a gateway can be asked to do."""

    AUTHORISE = "authorise"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"


class OperationOutcome(StrEnum):
    """How it ended."""

    APPROVED = "approved"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Operation:
    """One request to the gateway. Its id is the key under which the gateway does it once.

    Attributes:
        amount: in the payment's currency; of a void what was held then, 0 before the authorisation has ended.
        requested_at: None for what happened at the gateway without our asking.
        outcome: None while it is not known.
        code: why it was declined.
    """

    id: UUID
    kind: OperationKind
    amount: Decimal
    requested_at: datetime | None = None
    reason: str = ""
    outcome: OperationOutcome | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class GatewayRefund:
    """A refund as the gateway knows it.

    Attributes:
        id: the gateway's.
        operation: ours, None for a refund that was not made by us.
        failure: why no money went back; None while it has, or is on its way.
    """

    id: str
    operation: UUID | None
    amount: Decimal
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a payment stands at the gateway: what is captured, and what could still be."""

    captured: Decimal
    held: Decimal
    refunds: tuple[GatewayRefund, ...] = ()
