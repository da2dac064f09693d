"""Patience: what is tried again, what is asked about, and when a gateway is left in peace."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from commands.payments import GatewayTimeout, GatewayUnavailable
from commands.payments.gateway import Approved, Declined, GatewayRequest, Outcome
from domain.payments.operation import Standing
from erp.gateways.resilient import Breaker, Patience, Resilient
from tests.payments.bank import Bank
from tests.payments.requests import request

QUICK = Patience(timeout_s=0.05, attempts_max=3, pause_s=0.001)
REQUEST = request()


class Scripted(Bank):
    """Says what it was told to say, call by call; `hang` never comes back."""

    def __init__(self, *perform: Any, **says: tuple[Any, ...]) -> None:
        super().__init__()
        self.calls: list[str] = []
        self._says = {"perform": list(perform), **{call: list(said) for call, said in says.items()}}

    async def _next(self, call: str) -> Any:
        self.calls.append(call)
        said = self._says[call].pop(0)
        if said == "hang":
            await asyncio.Event().wait()
        if isinstance(said, Exception):
            raise said
        return said

    async def perform(self, request: GatewayRequest) -> Outcome:
        said: Outcome = await self._next("perform")
        return said

    async def ask(self, request: GatewayRequest) -> Outcome | None:
        said: Outcome | None = await self._next("ask")
        return said

    async def forestall(self, request: GatewayRequest) -> Outcome:
        said: Outcome = await self._next("forestall")
        return said

    async def standing(self, reference: str, currency: str) -> Standing | None:
        said: Standing | None = await self._next("standing")
        return said


BUSY, SILENT = GatewayUnavailable("busy"), GatewayTimeout("silent")
YES, NO = Approved("r"), Declined("no")


@pytest.mark.parametrize("outcome", [YES, NO])
async def test_what_the_gateway_says_at_once_is_the_end(outcome: Outcome) -> None:
    gateway = Scripted(outcome)
    assert await Resilient(gateway, QUICK).perform(REQUEST) == outcome
    assert gateway.calls == ["perform"]


async def test_what_was_not_done_is_asked_for_again() -> None:
    gateway = Scripted(BUSY, BUSY, YES)
    assert await Resilient(gateway, QUICK).perform(REQUEST) == YES
    assert gateway.calls == ["perform"] * 3


async def test_patience_ends() -> None:
    gateway = Scripted(BUSY, BUSY, BUSY, YES)
    with pytest.raises(GatewayUnavailable):
        await Resilient(gateway, QUICK).perform(REQUEST)
    assert gateway.calls == ["perform"] * 3


@pytest.mark.parametrize("unknown", [SILENT, "hang"])
async def test_what_may_have_been_done_is_asked_about(unknown: Any) -> None:
    gateway = Scripted(unknown, ask=(BUSY, SILENT, NO))
    assert await Resilient(gateway, QUICK).perform(REQUEST) == NO
    assert gateway.calls == ["perform", "ask", "ask", "ask"]


async def test_what_turns_out_not_to_have_been_done_is_asked_for_again() -> None:
    gateway = Scripted(SILENT, YES, ask=(None,))
    assert await Resilient(gateway, QUICK).perform(REQUEST) == YES
    assert gateway.calls == ["perform", "ask", "perform"]


async def test_an_outcome_that_nobody_tells_stays_unknown() -> None:
    """Not even a gateway that cannot be reached for the question makes it known."""
    for says in ((SILENT, SILENT, SILENT), (BUSY, BUSY, BUSY), (BUSY, "hang", SILENT)):
        gateway = Scripted(SILENT, ask=says)
        with pytest.raises(GatewayTimeout):
            await Resilient(gateway, QUICK).perform(REQUEST)
        assert gateway.calls == ["perform", "ask", "ask", "ask"]
    gateway = Scripted(SILENT, SILENT, SILENT, ask=(None, None, None))
    with pytest.raises(GatewayTimeout):
        await Resilient(gateway, QUICK).perform(REQUEST)


async def test_questions_are_asked_again() -> None:
    stands = Standing(Decimal(1), Decimal(0))
    gateway = Scripted(ask=(SILENT, None), forestall=(SILENT, NO), standing=(BUSY, "hang", stands))
    resilient = Resilient(gateway, QUICK)
    assert await resilient.ask(REQUEST) is None
    assert await resilient.forestall(REQUEST) == NO
    assert await resilient.standing("r", "EUR") == stands
    gateway = Scripted(standing=(BUSY, BUSY, SILENT))
    with pytest.raises(GatewayTimeout):
        await Resilient(gateway, QUICK).standing("r", "EUR")


async def test_pauses_grow_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doubled each time, never above two seconds, and shortened by up to a half at random."""
    slept: list[float] = []

    async def sleep(s: float) -> None:
        slept.append(s)

    monkeypatch.setattr("erp.gateways.resilient.asyncio.sleep", sleep)
    gateway = Scripted(*[BUSY] * 8)
    with pytest.raises(GatewayUnavailable):
        await Resilient(gateway, Patience(attempts_max=8, pause_s=0.1)).perform(REQUEST)
    longest = [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert all(most / 2 <= s <= most for s, most in zip(slept, longest, strict=True))


class Time:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


async def fails(call: Callable[[], Awaitable[object]]) -> bool:
    try:
        await call()
    except (GatewayUnavailable, GatewayTimeout):
        return True
    return False


async def test_a_gateway_that_fails_too_often_is_left_in_peace() -> None:
    """Until the pause is over; then one call is let through, and decides."""
    time = Time()
    gateway = Scripted(BUSY, SILENT, BUSY, YES, NO, ask=(SILENT,))
    once = Patience(timeout_s=1, attempts_max=1)
    resilient = Resilient(gateway, once, Breaker(3, 10, clock=time))

    def call() -> Awaitable[object]:
        return resilient.perform(REQUEST)

    for _ in range(2):  # busy; silent, and silent when asked: three failures
        assert await fails(call)
    made = len(gateway.calls)
    time.s = 9.9
    assert await fails(call)
    assert len(gateway.calls) == made
    time.s = 10
    assert await fails(call)  # let through, and busy again
    assert len(gateway.calls) == made + 1
    time.s = 19.9
    assert await fails(call)
    assert len(gateway.calls) == made + 1
    time.s = 20
    assert [await call(), await call()] == [YES, NO]


async def test_while_one_call_tries_the_others_wait() -> None:
    time = Time()
    breaker = Breaker(1, 10, clock=time)
    breaker.failed()
    time.s = 10
    breaker.require_closed()
    with pytest.raises(GatewayUnavailable):
        breaker.require_closed()
    breaker.succeeded()
    breaker.require_closed()


async def test_failures_count_in_a_row_only() -> None:
    time = Time()
    breaker = Breaker(2, 10, clock=time)
    for _ in range(5):
        breaker.failed()
        breaker.succeeded()
    breaker.require_closed()


async def test_a_decline_is_no_failure() -> None:
    gateway = Scripted(*[NO] * 5)
    resilient = Resilient(gateway, QUICK, Breaker(1, 10))
    assert [await resilient.perform(REQUEST) for _ in range(5)] == [NO] * 5
