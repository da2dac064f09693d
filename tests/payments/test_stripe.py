"""Stripe's API, as a server on loopback answers it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from commands.payments import GatewayTimeout, GatewayUnavailable
from commands.payments.gateway import Approved, Declined, GatewayRequest
from domain.payments.operation import GatewayRefund, OperationKind, Standing
from erp.gateways import gateway_of
from erp.gateways.resilient import Patience, Resilient
from erp.gateways.stripe import KEY_LIFE, StripeGateway
from erp.gateways.stripe_amounts import from_stripe, to_stripe
from erp.settings import PaymentsSettings
from tests.payments.requests import ORDER, TENANT, request
from tests.payments.stripe_server import CAPTURE_BEFORE, CREATED, KEY, Account

D = Decimal


def card(amount: str = "100.00", **more: Any) -> GatewayRequest:
    return request(amount=amount, **{"token": "tok_visa", **more})


async def held(stripe: StripeGateway, amount: str = "100.00") -> str:
    """The name of an intent that can be captured."""
    outcome = await stripe.perform(card(amount))
    assert isinstance(outcome, Approved)
    return outcome.reference


def of(reference: str, kind: OperationKind, amount: str, **more: Any) -> GatewayRequest:
    defaults = {"reference": reference, "held": D(100), "token": "tok_visa"}
    return request(kind, amount, **{**defaults, **more})


def capture(reference: str, amount: str, **more: Any) -> GatewayRequest:
    return of(reference, OperationKind.CAPTURE, amount, **more)


def refund(reference: str, amount: str, **more: Any) -> GatewayRequest:
    return of(reference, OperationKind.REFUND, amount, **more)


# Authorise


async def test_an_authorisation_is_created_and_confirmed(stripe: StripeGateway, account: Account) -> None:
    """With manual capture, keys made of the operation, and metadata that lead back to the payment."""
    asked = card("100.10")
    until = datetime.fromtimestamp(CAPTURE_BEFORE, UTC)
    assert await stripe.perform(asked) == Approved("pi_1", until, several_captures=True)
    (_, _, created, create_key), (_, path, confirmed, confirm_key) = account.log
    assert created == {
        "amount": "10010",
        "currency": "eur",
        "capture_method": "manual",
        "payment_method_types[]": "card",
        "payment_method_data[type]": "card",
        "payment_method_data[card][token]": "tok_visa",
        "payment_method_options[card][request_multicapture]": "if_available",
        "metadata[operation]": str(asked.operation),
        "metadata[payment]": str(asked.payment),
        "metadata[tenant]": str(TENANT),
        "metadata[order]": str(ORDER),
    }
    assert (path, confirmed["error_on_requires_action"]) == ("/v1/payment_intents/pi_1/confirm", "true")
    assert (create_key, confirm_key) == (f"{asked.operation}/create", f"{asked.operation}/confirm")


async def test_a_payment_method_that_was_stored_before(stripe: StripeGateway, account: Account) -> None:
    await stripe.perform(card(token="pm_card_visa"))
    assert account.log[0][2]["payment_method"] == "pm_card_visa"


async def test_where_an_account_has_no_multicapture_the_authorisation_says_so(
    stripe: StripeGateway, account: Account
) -> None:
    account.multicapture = False
    outcome = await stripe.perform(card())
    assert isinstance(outcome, Approved)
    assert not outcome.several_captures
    # Stripe knows no `final_capture` then: whatever is not captured is released.
    await stripe.perform(capture(outcome.reference, "40", several_captures=False))
    assert account.log[-1][2] == {"amount_to_capture": "4000"}
    assert await stripe.standing(outcome.reference, "EUR") == Standing(D(40), D(0))


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("tok_chargeDeclined", "generic_decline"),
        ("tok_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("tok_threeDSecureRequired", "authentication_required"),
        ("tok_nobody_knows", "resource_missing"),
    ],
)
async def test_a_decline_has_stripes_code(stripe: StripeGateway, token: str, code: str) -> None:
    """The same whether it is told at once or asked about."""
    asked = card(token=token)
    assert await stripe.perform(asked) == Declined(code)
    assert await stripe.ask(asked) == Declined(code)


async def test_the_same_operation_is_done_once(stripe: StripeGateway, account: Account) -> None:
    asked = card()
    assert await stripe.perform(asked) == await stripe.perform(asked)
    assert len(account.intents) == 1


async def test_what_became_of_an_authorisation(stripe: StripeGateway, account: Account) -> None:
    """None before the bank was asked, for an intent that is not confirmed holds nothing."""
    asked = card()
    assert await stripe.ask(asked) is None
    assert account.intents["pi_1"]["status"] == "requires_confirmation"
    approved = await stripe.perform(asked)
    assert await stripe.ask(asked) == approved
    assert len(account.intents) == 1


@pytest.mark.parametrize(
    ("intent", "outcome"),
    [
        (
            {"status": "succeeded"},
            Approved("pi_1", datetime.fromtimestamp(CREATED, UTC) + timedelta(days=7), False),
        ),
        ({"status": "canceled"}, Declined("canceled")),
        ({"status": "canceled", "cancellation_reason": "abandoned"}, Declined("abandoned")),
        ({"status": "requires_action"}, Declined("authentication_required")),
        ({"status": "requires_payment_method"}, Declined("card_declined")),
    ],
)
async def test_how_an_intent_stands(
    stripe: StripeGateway, account: Account, intent: Any, outcome: Any
) -> None:
    asked = card()
    await stripe.ask(asked)
    account.intents["pi_1"].update(intent)
    assert await stripe.ask(asked) == outcome


async def test_a_payment_that_stripe_is_not_done_with_stays_unknown(
    stripe: StripeGateway, account: Account
) -> None:
    asked = card()
    await stripe.ask(asked)
    account.intents["pi_1"]["status"] = "processing"
    with pytest.raises(GatewayTimeout):
        await stripe.ask(asked)


async def test_what_is_forestalled_is_never_had(stripe: StripeGateway, account: Account) -> None:
    """Neither by a request that was on its way; what was had before stays."""
    asked = card()
    assert await stripe.forestall(asked) == await stripe.forestall(asked) == Declined("canceled")
    assert account.intents["pi_1"]["status"] == "canceled"
    assert isinstance(await stripe.perform(asked), Declined)
    had = card()
    assert await stripe.perform(had) == await stripe.forestall(had)


async def test_what_was_never_begun_need_not_be_forestalled(account: Account) -> None:
    asked = card()
    later = StripeGateway(KEY, url=account.url, clock=lambda: asked.requested_at + KEY_LIFE)
    assert await later.forestall(asked) == Declined("no_intent")
    assert account.intents == {}
    await later.aclose()


async def test_an_intent_that_is_confirmed_meanwhile_is_not_forestalled(
    stripe: StripeGateway, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "cancel", lambda intent: intent)
    with pytest.raises(GatewayTimeout):
        await stripe.forestall(card())


async def test_when_stripe_may_have_forgotten_the_key_the_intent_is_searched_for(account: Account) -> None:
    """Creating it again would make a second one, and hide that the first was confirmed."""
    asked = card()
    today = StripeGateway(KEY, url=account.url)
    approved = await today.perform(asked)
    later = StripeGateway(KEY, url=account.url, clock=lambda: asked.requested_at + KEY_LIFE)
    account.kept.clear()
    assert await later.ask(asked) == approved
    assert await later.ask(replace(asked, operation=uuid4())) is None
    assert len(account.intents) == 1
    for each in (today, later):
        await each.aclose()


# Capture, void, refund


async def test_captures_in_parts(stripe: StripeGateway, account: Account) -> None:
    """All but the last leave the rest held."""
    reference = await held(stripe)
    first = capture(reference, "40")
    assert await stripe.ask(first) is None
    assert await stripe.perform(first) == await stripe.perform(first) == Approved(reference)
    assert await stripe.ask(first) == Approved(reference)
    last = capture(reference, "60", captured=D(40), held=D(60))
    assert await stripe.ask(last) is None
    assert await stripe.perform(last) == await stripe.ask(last) == Approved(reference)
    forms = [form for _, path, form, _ in account.log if path.endswith("/capture")]
    assert [form["final_capture"] for form in forms] == ["false", "false", "true"]
    assert account.intents[reference]["status"] == "succeeded"


async def test_a_capture_that_is_not_to_be_had(stripe: StripeGateway) -> None:
    reference = await held(stripe)
    await stripe.perform(of(reference, OperationKind.VOID, "100"))
    asked = capture(reference, "40")
    assert await stripe.ask(asked) == Declined("canceled")
    assert await stripe.perform(asked) == Declined("payment_intent_unexpected_state")
    assert await stripe.perform(capture("pi_9", "40")) == Declined("resource_missing")
    assert await stripe.ask(capture("pi_9", "40")) == Declined("resource_missing")


async def test_a_void(stripe: StripeGateway, account: Account) -> None:
    """Also of what is left after a capture."""
    reference = await held(stripe)
    await stripe.perform(capture(reference, "40"))
    asked = of(reference, OperationKind.VOID, "60")
    assert await stripe.ask(asked) is None
    assert await stripe.perform(asked) == await stripe.ask(asked) == Approved(reference)
    assert await stripe.standing(reference, "EUR") == Standing(D(40), D(0))
    assert account.log[-1][0] == "GET"


async def test_what_is_captured_meanwhile_is_not_voided(stripe: StripeGateway) -> None:
    reference = await held(stripe)
    await stripe.perform(capture(reference, "100"))
    asked = of(reference, OperationKind.VOID, "100")
    assert await stripe.ask(asked) == Declined("nothing_capturable")
    assert await stripe.perform(asked) == Declined("payment_intent_unexpected_state")


async def test_refunds_in_parts(stripe: StripeGateway, account: Account) -> None:
    """Found among several by the operation in their metadata, over the ends of pages."""
    reference = await held(stripe)
    await stripe.perform(capture(reference, "100"))
    asked = [refund(reference, "20", reason="broken") for _ in range(5)]
    assert await stripe.ask(asked[0]) is None
    for each in asked:
        assert await stripe.perform(each) == await stripe.perform(each) == Approved(reference)
    assert [await stripe.ask(each) for each in asked] == [Approved(reference)] * 5
    assert account.refunds[0]["metadata"]["reason"] == "broken"
    assert await stripe.perform(refund(reference, "1")) == Declined("charge_already_refunded")
    standing = await stripe.standing(reference, "EUR")
    assert standing is not None
    assert {each.operation for each in standing.refunds} == {each.operation for each in asked}


@pytest.mark.parametrize(
    ("status", "code"), [("failed", "expired_or_canceled_card"), ("canceled", "canceled")]
)
async def test_a_refund_that_fails(stripe: StripeGateway, account: Account, status: str, code: str) -> None:
    account.refund_status = status
    reference = await held(stripe)
    await stripe.perform(capture(reference, "100"))
    asked = refund(reference, "20")
    assert await stripe.perform(asked) == await stripe.ask(asked) == Declined(code)


async def test_a_refund_on_its_way_is_one(stripe: StripeGateway, account: Account) -> None:
    account.refund_status = "pending"
    reference = await held(stripe)
    await stripe.perform(capture(reference, "100"))
    assert await stripe.perform(refund(reference, "20")) == Approved(reference)


async def test_how_a_payment_stands(stripe: StripeGateway, account: Account) -> None:
    """With refunds that were made there, by whom we do not know."""
    reference = await held(stripe)
    await stripe.perform(capture(reference, "40"))
    mine = refund(reference, "10")
    await stripe.perform(mine)
    account.refund({"payment_intent": reference, "amount": "500"})
    account.refund({"payment_intent": reference, "amount": "100", "metadata[operation]": "no uuid"})
    account.refunds[0].update(status="failed", failure_reason="unknown")
    assert await stripe.standing(reference, "EUR") == Standing(
        captured=D(40),
        held=D(60),
        refunds=(
            GatewayRefund("re_5", None, D(1), "unknown"),
            GatewayRefund("re_4", None, D(5)),
            GatewayRefund("re_3", mine.operation, D(10)),
        ),
    )
    with pytest.raises(GatewayUnavailable):
        await stripe.standing("pi_9", "EUR")


# What goes wrong


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (409, GatewayUnavailable),
        (429, GatewayUnavailable),
        (500, GatewayTimeout),
        ("drop", GatewayTimeout),
        ("cut", GatewayTimeout),
        ("hang", GatewayTimeout),
    ],
)
@pytest.mark.parametrize("kind", list(OperationKind))
async def test_trouble_is_told_for_what_it_is_and_money_moves_once(
    stripe: StripeGateway, account: Account, kind: OperationKind, trouble: Any, error: Any
) -> None:
    """By itself the adapter tries nothing twice; with patience around it, all comes to one operation."""
    asked = card()
    if kind is not OperationKind.AUTHORISE:
        reference = await held(stripe)
        if kind is OperationKind.REFUND:
            await stripe.perform(capture(reference, "100"))
        asked = of(reference, kind, "40")
    before = [None] if kind is OperationKind.AUTHORISE else []  # the creation goes through
    account.trouble.extend([*before, trouble])
    with pytest.raises(error):
        await stripe.perform(asked)
    again = replace(asked, operation=uuid4())
    if trouble == 500:
        return  # Stripe keeps telling a failure under its key: see below
    account.trouble.extend([*before, trouble])
    patient = Resilient(stripe, Patience(timeout_s=2, pause_s=0.001))
    for each in (asked, again) if kind is OperationKind.AUTHORISE else (asked,):
        outcome = await patient.perform(each)
        assert isinstance(outcome, Approved)
    moved = {
        OperationKind.AUTHORISE: sum(each["amount_capturable"] for each in account.intents.values()),
        OperationKind.CAPTURE: sum(each["amount_received"] for each in account.intents.values()),
        OperationKind.VOID: 4000 * [each["status"] for each in account.intents.values()].count("canceled"),
        OperationKind.REFUND: sum(each["amount"] for each in account.refunds),
    }
    assert moved[kind] == (20_000 if kind is OperationKind.AUTHORISE else 4000)


async def test_a_failure_that_stripe_keeps_telling_is_looked_into(
    stripe: StripeGateway, account: Account
) -> None:
    """Under the same key a 500 is answered again and again: how the payment stands is what counts."""
    reference = await held(stripe)
    asked = capture(reference, "40")
    account.trouble.append(500)
    patient = Resilient(stripe, Patience(timeout_s=2, attempts_max=2, pause_s=0.001))
    with pytest.raises(GatewayTimeout):
        await patient.perform(asked)
    assert account.intents[reference]["amount_received"] == 0
    account.capture(account.intents[reference], {"amount_to_capture": "4000", "final_capture": "false"})
    assert await patient.perform(asked) == Approved(reference)


async def test_a_server_that_is_not_there(account: Account) -> None:
    gateway = StripeGateway(KEY, url="http://127.0.0.1:1", timeout_s=1)
    with pytest.raises(GatewayUnavailable):
        await gateway.perform(card())
    await gateway.aclose()
    await gateway.aclose()


async def test_a_key_that_does_not_let_us_in(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is declined for it: an operator has to mend it, and the log says so without the key."""
    gateway = StripeGateway("sk_wrong", url=account.url)
    with pytest.raises(GatewayUnavailable):
        await gateway.perform(card())
    await gateway.aclose()
    assert "refuses our key" in caplog.text
    assert "sk_wrong" not in caplog.text


async def test_another_request_under_the_same_operation_is_no_outcome(stripe: StripeGateway) -> None:
    asked = card()
    await stripe.perform(asked)
    with pytest.raises(GatewayTimeout):
        await stripe.perform(replace(asked, amount=D(99)))


async def test_the_settings_lead_to_stripe(account: Account) -> None:
    """With patience around it."""
    settings = PaymentsSettings(gateway="stripe", stripe_key=KEY, stripe_url=account.url)
    gateway = gateway_of(settings)
    account.trouble.append(429)
    assert isinstance(await gateway.perform(card()), Approved)
    await gateway._gateway.aclose()  # type: ignore[attr-defined]


async def test_a_confirmation_that_leaves_the_intent_as_it_was_is_no_outcome(
    stripe: StripeGateway, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "confirm", lambda intent: intent)
    with pytest.raises(GatewayTimeout):
        await stripe.perform(card())


# Amounts


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        ("10.50", "EUR", 1050),
        ("500", "JPY", 500),
        ("5", "ISK", 500),
        ("5", "UGX", 500),
        ("5", "MGA", 5),
        ("5.120", "KWD", 5120),
    ],
)
def test_amounts_as_stripe_writes_them(amount: str, currency: str, written: int) -> None:
    assert to_stripe(D(amount), currency) == written
    assert from_stripe(written, currency) == D(amount)


@pytest.mark.parametrize(("amount", "currency"), [("5.124", "KWD"), ("0.5", "MGA")])
async def test_amounts_that_stripe_does_not_take(stripe: StripeGateway, amount: str, currency: str) -> None:
    """They are declined before anybody is asked."""
    assert to_stripe(D(amount), currency) is None
    asked = card(amount, currency=currency)
    assert await stripe.perform(asked) == Declined("amount_not_representable")
    assert await stripe.ask(asked) is None
    assert isinstance(asked.operation, UUID)
