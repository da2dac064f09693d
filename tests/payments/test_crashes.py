"""Crashes between the steps: wherever a procedure ends, the same request goes on, and money moves once."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest

from commands.bus import Answer, Command, Context, Desk, Procedure
from commands.payments import (
    HANDLERS,
    CapturePayment,
    RefundPayment,
    SettlePayment,
    Till,
    VoidPayment,
)
from commands.payments.gateway import GatewayRequest, GatewayTimeout, Outcome
from domain.payments.operation import OperationKind
from domain.payments.payment import Payment, payment_id
from domain.shared.aggregate import Aggregate
from tests.dsl import Company
from tests.payments.bank import Bank
from tests.payments.history import AUTHORISE, ORDER

pytestmark = pytest.mark.integration


class Crash(BaseException):
    """The process ends here. Nothing catches it."""


class Fuse:
    """Ends the process at the n-th thing that is about to happen, or has just happened."""

    def __init__(self) -> None:
        self.left: int | None = None

    def passed(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Crash


class FusedDesk(Desk):
    """A desk that may crash before and after each step."""

    def __init__(self, desk: Desk, fuse: Fuse) -> None:
        self._desk, self._fuse = desk, fuse

    @property
    def tenant(self) -> UUID:
        return self._desk.tenant

    async def execute(self, command: Command, step: str = "") -> Answer:
        self._fuse.passed()
        answer = await self._desk.execute(command, step)
        self._fuse.passed()
        return answer

    async def answered(self, step: str) -> Answer | None:
        return await self._desk.answered(step)

    async def load(self, aggregate_class: type[Aggregate], stream_id: UUID) -> Any:
        return await self._desk.load(aggregate_class, stream_id)

    async def seen(self, aggregate_class: type[Aggregate], stream_id: UUID) -> Any:
        return await self._desk.seen(aggregate_class, stream_id)


class FusedBank(Bank):
    """A bank that one may crash on the way to and from."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    async def perform(self, request: GatewayRequest) -> Outcome:
        self._fuse.passed()
        outcome = await super().perform(request)
        self._fuse.passed()
        return outcome


def fused(procedures: Mapping[type[Command], Procedure], fuse: Fuse) -> dict[type[Command], Procedure]:
    def around(inner: Procedure) -> Procedure:
        async def run(command: Command, context: Context, desk: Desk) -> Answer:
            return await inner(command, context, FusedDesk(desk, fuse))

        return run

    return {command: around(procedure) for command, procedure in procedures.items()}


@pytest.fixture
def fuse() -> Fuse:
    return Fuse()


@pytest.fixture
def bank(fuse: Fuse) -> FusedBank:
    return FusedBank(fuse)


@pytest.fixture
async def company(company: Company, bank: FusedBank, fuse: Fuse) -> Company:
    return Company(company.store._store, HANDLERS, company.tenant, fused(Till(bank).procedures(), fuse))


async def crashed_everywhere(
    fuse: Fuse, carry_out: Callable[[str], Awaitable[Answer]], since: Callable[[], Awaitable[None]]
) -> int:
    """Crash at each point in turn, and ask again under the same key; how many points there are."""
    for point in range(20):
        await since()
        fuse.left, key = point, str(uuid4())
        try:
            await carry_out(key)
        except Crash:
            again = await carry_out(key)
            assert (await carry_out(key)).position == again.position
        else:
            fuse.left = None
            return point
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("kind", list(OperationKind))
async def test_one_operation_at_the_gateway(
    company: Company, bank: FusedBank, fuse: Fuse, kind: OperationKind
) -> None:
    """Six points: before and after the request is recorded, the gateway acts, the outcome is recorded."""
    orders = iter(range(1, 100))
    attempt = 0

    async def since() -> None:
        """The past that the command needs, for an attempt of its own."""
        nonlocal attempt
        attempt = next(orders)
        bank.done.clear()
        if kind is not OperationKind.AUTHORISE:
            await company.execute(AUTHORISE.model_copy(update={"attempt": attempt}))
        if kind is OperationKind.REFUND:
            await company.execute(CapturePayment(id=payment(), amount="60"))

    def payment() -> UUID:
        return payment_id(company.tenant, ORDER, attempt)

    async def carry_out(key: str) -> Answer:
        command: Command = {
            OperationKind.AUTHORISE: AUTHORISE.model_copy(update={"attempt": attempt}),
            OperationKind.CAPTURE: CapturePayment(id=payment(), amount="40"),
            OperationKind.VOID: VoidPayment(id=payment()),
            OperationKind.REFUND: RefundPayment(id=payment(), amount="40", reason="x"),
        }[kind]
        answer = await company.execute(command, key=key)
        if fuse.left is None:
            assert answer.extra == {"outcome": "approved"}
            assert bank.kinds.count(kind) == 1
            found = await company.load(Payment, payment())
            assert found.pending == ()
            assert [each.kind for each in found.operations].count(kind) == 1
        return answer

    assert await crashed_everywhere(fuse, carry_out, since) == 6


@pytest.mark.parametrize("point", range(6))
async def test_what_a_crash_left_pending_is_ended_by_others(
    company: Company, bank: FusedBank, fuse: Fuse, point: int
) -> None:
    """By a message of the gateway, say; who comes back under the first key is told how it ended."""
    payment = (await company.execute(AUTHORISE)).id
    fuse.left, key = point, str(uuid4())
    capture = CapturePayment(id=payment, amount="40")
    with pytest.raises(Crash):
        await company.execute(capture, key=key)
    fuse.left = None
    await company.execute(SettlePayment(id=payment))
    answer = await company.execute(capture, key=key)
    assert answer.extra == {"outcome": "approved"}
    found = await company.load(Payment, payment)
    assert (answer.version, str(found.captured)) == (4, "40.00")
    assert bank.kinds == ["authorise", "capture"]


async def test_a_gateway_that_said_nothing_is_asked_before_it_is_told_again(
    company: Company, bank: FusedBank, fuse: Fuse
) -> None:
    """The first time as well as after each crash on the way."""
    bank.after.append(GatewayTimeout())
    with pytest.raises(GatewayTimeout):
        await company.execute(AUTHORISE, key="k")
    fuse.left = 2  # the record of what the question told
    with pytest.raises(Crash):
        await company.execute(AUTHORISE, key="k")
    answer = await company.execute(AUTHORISE, key="k")
    assert (answer.version, len(bank.done), len(bank.asked)) == (2, 1, 2)
