"""A gateway in memory that keeps accounts, and can be out of order in several ways."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from commands.payments.gateway import (
    Approved,
    Declined,
    GatewayRequest,
    GatewayTimeout,
    GatewayUnavailable,
    Outcome,
)
from domain.payments.operation import OperationKind, Standing

HOLD = timedelta(days=7)
FOREVER = datetime.max.replace(tzinfo=UTC)


class Mood(StrEnum):
    """How the gateway is."""

    FINE = "fine"
    DOWN = "down"
    """It does nothing, and says so."""
    SILENT = "silent"
    """It does what it is asked, and tells nobody."""
    MUTE = "mute"
    """It does nothing, and says nothing."""


@dataclass
class Account:
    """What it holds and has taken of one payment."""

    held: Decimal = Decimal(0)
    taken: Decimal = Decimal(0)
    until: datetime = FOREVER


@dataclass
class Teller:
    """Declines authorisations of the token `tok_declined`, and what `refuses` names; once an operation."""

    mood: Mood = Mood.FINE
    several_captures: bool = True
    refuses: set[OperationKind] = field(default_factory=set)
    accounts: dict[UUID, Account] = field(default_factory=dict)
    outcomes: dict[UUID, Outcome] = field(default_factory=dict)

    async def perform(self, request: GatewayRequest) -> Outcome:
        await asyncio.sleep(0)
        if self.mood is Mood.DOWN:
            raise GatewayUnavailable("down")
        if self.mood is Mood.MUTE:
            raise GatewayTimeout("mute")
        if request.operation not in self.outcomes:
            self.outcomes[request.operation] = self._do(request)
        if self.mood is Mood.SILENT:
            raise GatewayTimeout("silent")
        return self.outcomes[request.operation]

    async def ask(self, request: GatewayRequest) -> Outcome | None:
        await asyncio.sleep(0)
        if self.mood is Mood.DOWN:
            raise GatewayUnavailable("down")
        if self.mood is not Mood.FINE:
            raise GatewayTimeout("not now")
        return self.outcomes.get(request.operation)

    async def forestall(self, request: GatewayRequest) -> Outcome:
        return await self.ask(request) or self.outcomes.setdefault(request.operation, Declined("forestalled"))

    async def standing(self, reference: str, currency: str) -> Standing | None:
        del reference, currency
        return None

    def _do(self, request: GatewayRequest) -> Outcome:
        if request.kind in self.refuses or (
            request.kind is OperationKind.AUTHORISE and request.token == "tok_declined"
        ):
            return Declined("refused")
        account = self.accounts.setdefault(request.payment, Account())
        assert request.requested_at is not None
        if request.requested_at >= account.until:
            account.held = Decimal(0)
            if request.kind is OperationKind.CAPTURE:
                return Declined("expired")
        match request.kind:
            case OperationKind.AUTHORISE:
                account.held += request.amount
                account.until = request.requested_at + HOLD
            case OperationKind.CAPTURE:
                account.held -= request.amount
                account.taken += request.amount
                account.held = account.held if self.several_captures else Decimal(0)
            case OperationKind.VOID:
                account.held = Decimal(0)
            case _:
                account.taken -= request.amount
        assert account.held >= 0
        assert account.taken >= 0
        return Approved(f"ref-{request.payment}", account.until, self.several_captures)

    def expire(self, payment: UUID) -> None:
        """What it holds is let go."""
        self.accounts[payment].held = Decimal(0)

    def held(self, now: datetime) -> Decimal:
        """What it holds of all."""
        return sum((each.held for each in self.accounts.values() if now < each.until), Decimal(0))

    @property
    def taken(self) -> Decimal:
        return sum((each.taken for each in self.accounts.values()), Decimal(0))
