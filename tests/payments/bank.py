"""A gateway in memory that does what a test tells it, and remembers what it did."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from commands.payments.gateway import Approved, Declined, GatewayRequest, GatewayTimeout, Outcome
from domain.payments.operation import OperationKind, Standing


@dataclass
class Bank:
    """Does each operation once, and approves unless told otherwise.

    Attributes:
        done: every operation that was carried out, with how it ended.
        asked: the operations that were asked about.
        declines: codes by which operations are declined.
        before: exceptions raised instead of carrying out, one a call.
        after: the same once it was carried out.
        is_silent: questions time out.
        stands: what is said of every payment.
    """

    done: dict[UUID, tuple[GatewayRequest, Outcome]] = field(default_factory=dict)
    asked: list[UUID] = field(default_factory=list)
    declines: dict[OperationKind, str] = field(default_factory=dict)
    before: deque[Exception] = field(default_factory=deque)
    after: deque[Exception] = field(default_factory=deque)
    is_silent: bool = False
    stands: Standing | None = None
    several_captures: bool = True
    expires_at: datetime | None = None

    async def perform(self, request: GatewayRequest) -> Outcome:
        if self.before:
            raise self.before.popleft()
        if request.operation not in self.done:
            code = self.declines.get(request.kind)
            approved = Approved(f"bank_{request.payment}", self.expires_at, self.several_captures)
            self.done[request.operation] = (request, approved if code is None else Declined(code))
        if self.after:
            raise self.after.popleft()
        return self.done[request.operation][1]

    async def ask(self, request: GatewayRequest) -> Outcome | None:
        self.asked.append(request.operation)
        if self.is_silent:
            raise GatewayTimeout
        found = self.done.get(request.operation)
        return None if found is None else found[1]

    async def forestall(self, request: GatewayRequest) -> Outcome:
        told = await self.ask(request)
        if told is None:
            told = Declined("forestalled")
            self.done[request.operation] = (request, told)
        return told

    async def standing(self, reference: str, currency: str) -> Standing | None:
        assert reference.startswith("bank_")
        assert currency == "EUR"
        return self.stands

    @property
    def kinds(self) -> list[OperationKind]:
        """What was carried out, in order."""
        return [request.kind for request, _ in self.done.values()]

    def total(self, kind: OperationKind) -> Decimal:
        """How much money it moved."""
        return sum(
            (
                request.amount
                for request, outcome in self.done.values()
                if request.kind is kind and isinstance(outcome, Approved)
            ),
            Decimal(0),
        )
