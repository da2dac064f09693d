"""What payments need of a gateway.

Unavailable
├── GatewayUnavailable   nothing was done; asking again, under the same operation, is harmless
└── GatewayTimeout       whether it was done is not known
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from domain.payments.operation import OperationKind, Standing
from domain.shared.errors import Unavailable


class GatewayUnavailable(Unavailable):
    """The gateway did nothing: it cannot be reached, is too busy, or does not let us in."""


class GatewayTimeout(Unavailable):
    """The gateway was asked and has not said what became of it. To be asked about, never guessed."""


@dataclass(frozen=True, slots=True)
class GatewayRequest:
    """An operation with all that a gateway may need for it.

    Attributes:
        operation: what it is done once under.
        amount: to be authorised, captured or refunded; of a void what is held.
        held: what could be captured before.
        captured: what had been captured before.
        reference: the gateway's name for the payment; None before it is authorised.
        requested_at: when it was asked for first, in UTC.
        reason: for people; may be empty.
    """

    operation: UUID
    kind: OperationKind
    tenant: UUID
    payment: UUID
    order: UUID
    amount: Decimal
    held: Decimal
    captured: Decimal
    currency: str
    method: str
    token: str
    reference: str | None
    several_captures: bool
    requested_at: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Approved:
    """The gateway did it. Of an authorisation it tells more.

    Attributes:
        reference: its name for the payment.
        expires_at: until when it holds the amount, if it says so.
        several_captures: whether what is not captured at first can be captured later.
    """

    reference: str
    expires_at: datetime | None = None
    several_captures: bool = True


@dataclass(frozen=True, slots=True)
class Declined:
    """The gateway did not do it, and will not under this operation. `code`: why, in its own words."""

    code: str


Outcome = Approved | Declined


class Gateway(Protocol):
    """Holds, takes and gives back money. Every method raises the two errors above."""

    async def perform(self, request: GatewayRequest) -> Outcome:
        """Have it done: once, however often it is asked for under one operation."""

    async def ask(self, request: GatewayRequest) -> Outcome | None:
        """What became of it; None when it was not done. Does nothing itself."""

    async def forestall(self, request: GatewayRequest) -> Outcome:
        """See that an authorisation that was not had never is; what became of it."""

    async def standing(self, reference: str, currency: str) -> Standing | None:
        """How the payment stands there; None from a gateway where nothing happens without our asking."""
