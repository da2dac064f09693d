"""Payments through bus, store and gateway: each command accepted, refused, and repeated."""

import asyncio
from decimal import Decimal
from uuid import uuid4

import pytest
from pydantic import ValidationError

from commands.bus import Answer
from commands.errors import VersionMismatch
from commands.payments import (
    AuthorisePayment,
    CaptureAsKnown,
    CapturePayment,
    ExpireAuthorisation,
    GatewayTimeout,
    GatewayUnavailable,
    RefundAsKnown,
    RefundPayment,
    SettlePayment,
    Till,
    VoidPayment,
)
from domain.payments.errors import CaptureExceedsAuthorised
from domain.payments.operation import GatewayRefund, OperationKind, Standing
from domain.payments.payment import Payment, payment_id
from domain.payments.state import PaymentStatus
from tests.dsl import Company, happened
from tests.payments.bank import Bank
from tests.payments.history import AUTHORISE, NOON, ORDER, WEEK, capture, refund, void

pytestmark = pytest.mark.integration

D = Decimal
NOBODY = uuid4()


async def the_payment(company: Company) -> Payment:
    return await company.load(Payment, payment_id(company.tenant, ORDER, 1))


# Authorise


async def test_an_amount_is_held(company: Company, bank: Bank) -> None:
    company.now, bank.expires_at = NOON, NOON + WEEK
    answer = await company.when(AUTHORISE).then(
        happened(
            Payment.AuthorisationRequested,
            order_id=ORDER,
            attempt=1,
            amount=D("100.00"),
            currency="EUR",
            method="card",
            token="tok_ok",
            holder=None,
            requested_at=NOON,
        ),
        happened(Payment.Authorised, amount=D("100.00"), expires_at=NOON + WEEK, several_captures=True),
    )
    assert answer.id == payment_id(company.tenant, ORDER, 1)
    assert (answer.version, answer.extra) == (2, {"outcome": "approved"})
    assert bank.asked == []


async def test_a_decline_is_recorded_and_no_refusal(company: Company, bank: Bank) -> None:
    bank.declines[OperationKind.AUTHORISE] = "insufficient_funds"
    answer = await company.when(AUTHORISE).then(
        happened(Payment.AuthorisationRequested), happened(Payment.Declined, code="insufficient_funds")
    )
    assert answer.extra == {"outcome": "declined", "decline_code": "insufficient_funds"}


async def test_the_same_attempt_is_the_same_payment(company: Company, bank: Bank) -> None:
    """Under another key too: it is answered as it ended."""
    first = await company.execute(AUTHORISE)
    again = await company.execute(AUTHORISE)
    assert (again.id, again.position, again.extra) == (first.id, first.position, first.extra)
    assert again.replayed
    assert bank.kinds == ["authorise"]


async def test_the_same_attempt_on_other_terms_is_refused(company: Company) -> None:
    other = AUTHORISE.model_copy(update={"amount": "100.01"})
    await company.given(AUTHORISE).when(other).refused("payments.payment_exists")


async def test_another_attempt_is_another_payment(company: Company, bank: Bank) -> None:
    second = AUTHORISE.model_copy(update={"attempt": 2})
    answer = (
        await company.given(AUTHORISE)
        .when(second)
        .then(happened(Payment.AuthorisationRequested, attempt=2), happened(Payment.Authorised))
    )
    assert answer.id == payment_id(company.tenant, ORDER, 2)
    assert len(bank.done) == 2


async def test_authorising_twice_under_one_key_authorises_once(company: Company, bank: Bank) -> None:
    again = await company.when(AUTHORISE).repeated()
    assert again.extra == {"outcome": "approved"}
    assert len(bank.done) == 1


async def test_the_holders_name_is_sealed(company: Company) -> None:
    named = AuthorisePayment.model_validate(
        {**AUTHORISE.model_dump(), "holder": {"subject": "c-1", "name": "Erika"}}
    )
    await company.execute(named)
    payment = await the_payment(company)
    assert payment.holder is not None
    assert payment.holder.subject == "c-1"
    assert "Erika" not in repr(payment)


@pytest.mark.parametrize(
    "wrong", [{"amount": "1.001"}, {"amount": 1}, {"method": "cash"}, {"attempt": 0}, {"token": "a b"}]
)
def test_what_cannot_be_asked_for(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AuthorisePayment.model_validate({**AUTHORISE.model_dump(), **wrong})


# Capture


async def test_part_of_it_is_captured(company: Company, bank: Bank) -> None:
    answer = await (
        company.given(AUTHORISE, capture("10.5"))
        .when(capture("40.00"))
        .then(
            happened(Payment.CaptureRequested, amount=D("40.00")),
            happened(Payment.Captured, amount=D("40.00"), captured_after=D("50.50"), released=D(0)),
        )
    )
    assert answer.extra == {"outcome": "approved"}
    assert bank.total(OperationKind.CAPTURE) == D("50.50")


async def test_no_more_is_captured_than_is_held(company: Company, bank: Bank) -> None:
    refusal = await (
        company.given(AUTHORISE, capture("60"))
        .when(capture("40.01"))
        .refused("payments.capture_exceeds_authorised")
    )
    assert refusal.data == {"requested": "40.01", "available": "40.00", "currency": "EUR"}
    assert bank.total(OperationKind.CAPTURE) == D(60)


async def test_a_capture_that_the_gateway_declines(company: Company, bank: Bank) -> None:
    bank.declines[OperationKind.CAPTURE] = "expired_card"
    answer = await (
        company.given(AUTHORISE)
        .when(capture("40"))
        .then(happened(Payment.CaptureRequested), happened(Payment.CaptureFailed, code="expired_card"))
    )
    assert answer.extra == {"outcome": "declined", "decline_code": "expired_card"}


async def test_capturing_twice_under_one_key_captures_once(company: Company, bank: Bank) -> None:
    await company.given(AUTHORISE).when(capture("40")).repeated()
    assert bank.total(OperationKind.CAPTURE) == D(40)


async def test_a_payment_that_is_not_there(company: Company) -> None:
    for command in (
        CapturePayment(id=NOBODY, amount="1"),
        VoidPayment(id=NOBODY),
        RefundPayment(id=NOBODY, amount="1", reason="x"),
        SettlePayment(id=NOBODY),
        ExpireAuthorisation(id=NOBODY),
    ):
        await company.when(command).refused("payments.payment_not_found")


async def test_captures_side_by_side_take_turns(company: Company, bank: Bank) -> None:
    """Each asks about what it finds pending first, so that all are made, once each."""
    payment = (await company.execute(AUTHORISE)).id
    await asyncio.gather(*(company.execute(CapturePayment(id=payment, amount="20")) for _ in range(5)))
    assert (await the_payment(company)).captured == D(100)
    assert bank.total(OperationKind.CAPTURE) == D(100)


async def test_a_permission_is_needed(company: Company) -> None:
    payment = (await company.execute(AUTHORISE)).id
    scenario = company.when(CapturePayment(id=payment, amount="1"), permissions=["payments.payments:read"])
    await scenario.refused("permission_denied")


# Void


async def test_what_is_held_is_released(company: Company, bank: Bank) -> None:
    await (
        company.given(AUTHORISE, capture("40"))
        .when(void)
        .then(happened(Payment.VoidRequested), happened(Payment.Voided, amount=D("60.00")))
    )
    assert bank.total(OperationKind.VOID) == D(60)


async def test_what_is_captured_is_not_voided(company: Company, bank: Bank) -> None:
    await company.given(AUTHORISE, capture("100")).when(void).refused("payments.nothing_held")
    assert OperationKind.VOID not in bank.kinds


async def test_a_void_that_the_gateway_declines(company: Company, bank: Bank) -> None:
    bank.declines[OperationKind.VOID] = "already_captured"
    await (
        company.given(AUTHORISE)
        .when(void)
        .then(happened(Payment.VoidRequested), happened(Payment.VoidFailed, code="already_captured"))
    )


async def test_voiding_twice_under_one_key_voids_once(company: Company, bank: Bank) -> None:
    await company.given(AUTHORISE).when(void).repeated()
    assert bank.kinds == ["authorise", "void"]


async def test_an_authorisation_without_an_outcome_is_voided_when_it_has_one(
    company: Company, bank: Bank
) -> None:
    """The void is recorded while the gateway is silent, and done as soon as it speaks."""
    bank.after.append(GatewayTimeout())
    bank.is_silent = True
    with pytest.raises(GatewayTimeout):
        await company.execute(AUTHORISE)
    payment = await the_payment(company)
    with pytest.raises(GatewayTimeout):
        await company.execute(VoidPayment(id=payment.id))
    assert [each.kind for each in (await the_payment(company)).pending] == ["authorise", "void"]
    bank.is_silent = False
    await company.execute(SettlePayment(id=payment.id))
    assert (await the_payment(company)).status is PaymentStatus.VOIDED
    assert bank.kinds == ["authorise", "void"]


async def test_a_void_has_nothing_to_do_when_the_authorisation_turns_out_declined(
    company: Company, bank: Bank
) -> None:
    bank.declines[OperationKind.AUTHORISE] = "card_declined"
    bank.after.append(GatewayTimeout())
    with pytest.raises(GatewayTimeout):
        await company.execute(AUTHORISE)
    answer = await company.execute(VoidPayment(id=payment_id(company.tenant, ORDER, 1)))
    assert answer.extra == {"outcome": "approved"}
    assert (await the_payment(company)).status is PaymentStatus.DECLINED
    assert bank.kinds == ["authorise"]


async def test_what_is_for_a_payment_as_it_is_known_is_for_no_other(company: Company, bank: Bank) -> None:
    payment = payment_id(company.tenant, ORDER, 1)
    known = (await company.execute(AUTHORISE)).version
    await company.execute(CapturePayment(id=payment, amount="20.00"))
    with pytest.raises(VersionMismatch):
        await company.execute(CaptureAsKnown(id=payment, amount="40.00", version=known))
    known = (await the_payment(company)).version
    known = (await company.execute(CaptureAsKnown(id=payment, amount="40.00", version=known))).version
    await company.execute(RefundPayment(id=payment, amount="5.00", reason="goodwill"))
    with pytest.raises(VersionMismatch):
        await company.execute(RefundAsKnown(id=payment, amount="50.00", reason="late", version=known))
    known = (await the_payment(company)).version
    await company.execute(RefundAsKnown(id=payment, amount="50.00", reason="late", version=known))
    assert (bank.total(OperationKind.CAPTURE), bank.total(OperationKind.REFUND)) == (D(60), D(55))


async def test_a_void_forestalls_an_authorisation_that_was_not_had(company: Company, bank: Bank) -> None:
    """Nobody asks a card because somebody wants to let go of it."""
    bank.before.append(GatewayUnavailable())
    with pytest.raises(GatewayUnavailable):
        await company.execute(AUTHORISE)
    answer = await company.execute(VoidPayment(id=payment_id(company.tenant, ORDER, 1)))
    assert answer.extra == {"outcome": "approved"}
    found = await the_payment(company)
    assert (found.decline_code, found.authorised, found.pending) == ("forestalled", D(0), ())
    assert bank.kinds == ["authorise"]
    assert bank.total(OperationKind.AUTHORISE) == 0


async def test_a_void_overtakes_a_capture_that_was_not_done(company: Company, bank: Bank) -> None:
    """Nobody takes money because somebody wants to let go of it."""
    payment = payment_id(company.tenant, ORDER, 1)
    await company.execute(AUTHORISE)
    bank.before.append(GatewayUnavailable())
    with pytest.raises(GatewayUnavailable):
        await company.execute(CapturePayment(id=payment, amount="60.00"))
    answer = await company.execute(VoidPayment(id=payment))
    assert answer.extra == {"outcome": "approved"}
    assert bank.kinds == ["authorise", "void"]
    found = await the_payment(company)
    assert (found.captured, found.held, found.pending) == (D(0), D(0), ())
    assert [each.code for each in found.operations] == [None, "voided", None]


async def test_a_capture_that_was_done_is_not_overtaken(company: Company, bank: Bank) -> None:
    payment = payment_id(company.tenant, ORDER, 1)
    await company.execute(AUTHORISE)
    bank.after.append(GatewayTimeout())
    with pytest.raises(GatewayTimeout):
        await company.execute(CapturePayment(id=payment, amount="60.00"))
    await company.execute(VoidPayment(id=payment))
    found = await the_payment(company)
    assert (found.captured, found.released, found.pending) == (D(60), D(40), ())
    assert bank.kinds == ["authorise", "capture", "void"]


async def test_what_cannot_be_released_is_taken_as_it_was_asked_for(company: Company, bank: Bank) -> None:
    payment = payment_id(company.tenant, ORDER, 1)
    await company.execute(AUTHORISE)
    bank.before.append(GatewayUnavailable())
    with pytest.raises(GatewayUnavailable):
        await company.execute(CapturePayment(id=payment, amount="100.00"))
    bank.declines[OperationKind.VOID] = "no"
    answer = await company.execute(VoidPayment(id=payment))
    assert answer.extra == {"outcome": "declined", "decline_code": "captured"}
    assert (await the_payment(company)).captured == 100


# Refund


async def test_part_of_it_is_refunded(company: Company, bank: Bank) -> None:
    await (
        company.given(AUTHORISE, capture("60"), refund("10"))
        .when(refund("20", "too late"))
        .then(
            happened(Payment.RefundRequested, amount=D("20.00"), reason="too late"),
            happened(Payment.Refunded, amount=D("20.00"), refunded_after=D("30.00"), reason="too late"),
        )
    )
    assert bank.total(OperationKind.REFUND) == D(30)


async def test_no_more_is_refunded_than_is_captured(company: Company) -> None:
    refusal = await (
        company.given(AUTHORISE, capture("60"), refund("10"))
        .when(refund("50.01"))
        .refused("payments.refund_exceeds_captured")
    )
    assert refusal.data == {"requested": "50.01", "available": "50.00", "currency": "EUR"}


async def test_a_refund_that_the_gateway_declines(company: Company, bank: Bank) -> None:
    bank.declines[OperationKind.REFUND] = "charge_disputed"
    await (
        company.given(AUTHORISE, capture("60"))
        .when(refund("10"))
        .then(
            happened(Payment.RefundRequested),
            happened(Payment.RefundFailed, code="charge_disputed", refunded_after=D(0)),
        )
    )


async def test_refunding_twice_under_one_key_refunds_once(company: Company, bank: Bank) -> None:
    await company.given(AUTHORISE, capture("60")).when(refund("10")).repeated()
    assert bank.total(OperationKind.REFUND) == D(10)


# Expire


def expire(last: Answer) -> ExpireAuthorisation:
    return ExpireAuthorisation(id=last.id)


async def test_an_authorisation_runs_out(company: Company, bank: Bank) -> None:
    company.now, bank.expires_at = NOON, NOON + WEEK
    await company.execute(AUTHORISE)
    company.now = NOON + WEEK
    expiry = ExpireAuthorisation(id=payment_id(company.tenant, ORDER, 1))
    await company.given().when(expiry).then(happened(Payment.AuthorisationExpired, amount=D("100.00")))


async def test_it_does_not_run_out_before(company: Company, bank: Bank) -> None:
    company.now, bank.expires_at = NOON, NOON + WEEK
    await company.given(AUTHORISE).when(expire).refused("payments.authorisation_not_expired")


async def test_running_out_twice_under_one_key(company: Company, bank: Bank) -> None:
    company.now = bank.expires_at = NOON
    await company.given(AUTHORISE).when(expire).repeated()


# Settle


async def test_what_happened_at_the_gateway_is_recorded_once(company: Company, bank: Bank) -> None:
    """Whoever tells, and however often."""
    await company.execute(AUTHORISE)
    bank.stands = Standing(D(40), D(0), (GatewayRefund("re_1", None, D(5)),))
    settle = SettlePayment(id=payment_id(company.tenant, ORDER, 1))
    await (
        company.given()
        .when(settle)
        .then(
            happened(Payment.Captured, amount=D(40)),
            happened(Payment.AuthorisationExpired, amount=D(60)),
            happened(Payment.Refunded, amount=D(5)),
        )
    )
    before = (await the_payment(company)).version
    for key in ("evt_1", "evt_1", "evt_2"):
        await company.execute(settle, key=key)
    assert (await the_payment(company)).version == before


async def test_settling_what_is_settled_records_nothing(company: Company) -> None:
    """With a gateway where nothing happens by itself."""
    first = await company.execute(AUTHORISE)
    answer = await company.execute(SettlePayment(id=first.id))
    assert (answer.version, answer.position, answer.replayed) == (first.version, first.position, True)


async def test_a_declined_payment_does_not_stand_anywhere(company: Company, bank: Bank) -> None:
    bank.declines[OperationKind.AUTHORISE] = "card_declined"
    bank.stands = Standing(D(0), D(0))
    first = await company.execute(AUTHORISE)
    assert (await company.execute(SettlePayment(id=first.id))).version == first.version


async def test_a_standing_that_is_older_than_the_payment_is_passed_over(company: Company, bank: Bank) -> None:
    """Somebody captured while the gateway was asked."""
    payment = (await company.execute(AUTHORISE)).id

    class Slow(Bank):
        async def standing(self, reference: str, currency: str) -> Standing | None:
            await company.execute(CapturePayment(id=payment, amount="100"))
            return Standing(D(0), D(0))

    bank.__class__ = Slow
    await company.execute(SettlePayment(id=payment))
    assert (await the_payment(company)).status is PaymentStatus.CAPTURED


# The gateway fails


async def test_what_the_gateway_could_not_take_is_asked_for_again(company: Company, bank: Bank) -> None:
    bank.before.append(GatewayUnavailable())
    with pytest.raises(GatewayUnavailable):
        await company.execute(AUTHORISE, key="k")
    answer = await company.execute(AUTHORISE, key="k")
    assert (answer.version, answer.extra) == (2, {"outcome": "approved"})
    assert len(bank.done) == 1
    assert bank.asked == list(bank.done)


async def test_an_unknown_outcome_is_asked_about(company: Company, bank: Bank) -> None:
    """By whoever comes next, under whatever key."""
    bank.after.append(GatewayTimeout())
    with pytest.raises(GatewayTimeout):
        await company.execute(AUTHORISE)
    assert (await the_payment(company)).status is PaymentStatus.PENDING
    answer = await company.execute(AUTHORISE)
    assert (answer.version, answer.extra) == (2, {"outcome": "approved"})
    assert len(bank.done) == 1


async def test_what_is_pending_ends_before_anything_else_is_asked_for(company: Company, bank: Bank) -> None:
    await company.execute(AUTHORISE)
    payment = await the_payment(company)
    bank.after.append(GatewayTimeout())
    with pytest.raises(GatewayTimeout):
        await company.execute(CapturePayment(id=payment.id, amount="60"))
    with pytest.raises(CaptureExceedsAuthorised):
        await company.execute(CapturePayment(id=payment.id, amount="60"))
    assert (await the_payment(company)).captured == D(60)


async def test_who_never_gets_a_turn_is_told_so(company: Company, bank: Bank, till: Till) -> None:
    """As when others are always faster, and leave something pending each time."""
    payment = (await company.execute(AUTHORISE)).id
    bank.before.append(GatewayUnavailable())
    with pytest.raises(GatewayUnavailable):
        await company.execute(CapturePayment(id=payment, amount="60"))
    turns: list[object] = []

    async def others_were_faster(*asked: object) -> None:
        turns.append(asked)

    till._settled = others_were_faster  # type: ignore[assignment, method-assign]
    await company.when(CapturePayment(id=payment, amount="1")).refused("payments.operation_pending")
    assert len(turns) == 4
