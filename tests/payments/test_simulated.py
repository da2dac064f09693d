"""The simulated gateway: what each token does, by itself and through the commands."""

from uuid import UUID

import pytest

from commands.payments import GatewayTimeout, SettlePayment, Till, VoidPayment
from commands.payments.gateway import Approved, Declined
from domain.payments.operation import OperationKind
from domain.payments.payment import Payment, payment_id
from domain.payments.state import PaymentStatus
from erp.gateways import gateway_of
from erp.gateways.simulated import HOLD, SimulatedGateway
from erp.settings import PaymentsSettings
from tests.dsl import Company
from tests.payments.history import AUTHORISE, ORDER, capture, refund
from tests.payments.requests import request

GATEWAY = SimulatedGateway()


async def test_a_good_card() -> None:
    asked = request()
    approved = Approved(f"sim_{asked.payment.hex}", asked.requested_at + HOLD)
    assert await GATEWAY.perform(asked) == await GATEWAY.ask(asked) == approved
    assert await GATEWAY.standing(approved.reference, "EUR") is None


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("tok_declined", "card_declined"),
        ("tok_insufficient_funds", "insufficient_funds"),
        ("tok_made_up", "invalid_token"),
    ],
)
async def test_bad_cards(token: str, code: str) -> None:
    asked = request(token=token)
    assert await GATEWAY.perform(asked) == await GATEWAY.ask(asked) == Declined(code)


async def test_a_card_that_times_out_once() -> None:
    """The authorisation alone; asking about it tells that it was done, as often as one asks."""
    asked = request(token="tok_timeout_once")
    with pytest.raises(GatewayTimeout):
        await GATEWAY.perform(asked)
    for _ in range(2):
        assert isinstance(await GATEWAY.ask(asked), Approved)
    taken = request(OperationKind.CAPTURE, token="tok_timeout_once", reference="sim_1")
    assert isinstance(await GATEWAY.perform(taken), Approved)


async def test_a_card_that_always_times_out() -> None:
    asked = request(token="tok_timeout_always")
    for call in (GATEWAY.perform, GATEWAY.ask):
        with pytest.raises(GatewayTimeout):
            await call(asked)


# Through bus and store


@pytest.fixture
def till() -> Till:
    """With the gateway that nobody has to set."""
    return Till(gateway_of(PaymentsSettings()))


def by(token: str) -> object:
    return AUTHORISE.model_copy(update={"token": token})


async def the_payment(company: Company) -> Payment:
    return await company.load(Payment, payment_id(company.tenant, ORDER, 1))


@pytest.mark.integration
async def test_a_payment_from_its_authorisation_to_its_refund(company: Company) -> None:
    await company.given(AUTHORISE, capture("60"), capture("40")).when(refund("100")).repeated()
    payment = await the_payment(company)
    assert payment.status is PaymentStatus.REFUNDED
    assert payment.reference == f"sim_{UUID(str(payment.id)).hex}"


@pytest.mark.integration
async def test_a_time_out_that_is_asked_about(company: Company) -> None:
    """Within the command itself: nobody outside hears of it."""
    answer = await company.execute(by("tok_timeout_once"))  # type: ignore[arg-type]
    assert (answer.version, answer.extra) == (2, {"outcome": "approved"})


@pytest.mark.integration
async def test_time_outs_without_end(company: Company) -> None:
    """The outcome stays unknown, whoever asks; the payment is marked to be voided when it is known."""
    for _ in range(2):
        with pytest.raises(GatewayTimeout):
            await company.execute(by("tok_timeout_always"), key="k")  # type: ignore[arg-type]
    payment = await the_payment(company)
    assert payment.status is PaymentStatus.PENDING
    for _ in range(2):
        with pytest.raises(GatewayTimeout):
            await company.execute(VoidPayment(id=payment.id), key="v")
    with pytest.raises(GatewayTimeout):
        await company.execute(SettlePayment(id=payment.id))
    payment = await the_payment(company)
    assert [each.kind for each in payment.pending] == ["authorise", "void"]
