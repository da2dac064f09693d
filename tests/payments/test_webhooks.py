"""Payments over HTTP: the routes, and what Stripe posts there by itself."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from time import time
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api.app import create_app
from api.auth import issue_token
from api.payments import PAYMENTS
from api.payments.webhooks import PATH, TOLERANCE_S
from api.ports import ApiSettings
from api.reply import instant
from commands.payments import GatewayTimeout, SettlePayment, Till
from domain.payments.payment import Payment, payment_id
from domain.payments.state import PaymentStatus
from erp.gateways.stripe import StripeGateway
from eventstore.vault import Vault
from tests.api.world import AUTH, MemoryReadSide
from tests.dsl import Company
from tests.payments.history import AUTHORISE, ORDER
from tests.payments.stripe_server import CAPTURE_BEFORE, Account

pytestmark = pytest.mark.integration

SECRET = "whsec_of_nobody"
BY_CARD = AUTHORISE.model_copy(update={"token": "tok_visa"})


@pytest.fixture
def till(stripe: StripeGateway) -> Till:
    """With Stripe as the gateway, and no patience around it."""
    return Till(stripe)


def application(company: Company, secret: str) -> Any:
    async def tenant(_: str) -> UUID:
        return company.tenant

    store: Any = company.store._store
    return create_app(
        settings=ApiSettings(stripe_webhook_secret=secret),
        auth=AUTH,
        bus=company._bus,
        store=store,
        read_side=MemoryReadSide(),
        vault=Vault(store.rows, bytes(32)),
        tenants=tenant,
        contexts=[PAYMENTS],
        checks={},
    )


def client_of(company: Company, *roles: str, secret: str = SECRET) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(application(company, secret), raise_app_exceptions=False)
    token = issue_token(AUTH, tenant="demo", user="alice", roles=roles, ttl_s=60)
    headers = {"Authorization": f"Bearer {token}"} if roles else {}
    return httpx.AsyncClient(transport=transport, base_url="http://erp.test", headers=headers)


@pytest.fixture
async def cashier(company: Company) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(company, "cashier") as client:
        yield client


@pytest.fixture
async def anybody(company: Company) -> AsyncIterator[httpx.AsyncClient]:
    """Without a token, as Stripe comes."""
    async with client_of(company) as client:
        yield client


@pytest.fixture
async def payment(company: Company) -> UUID:
    """An authorised payment of 100 EUR."""
    return (await company.execute(BY_CARD)).id


# Routes


async def test_a_payment_over_http(cashier: httpx.AsyncClient, payment: UUID) -> None:
    """Captured and refunded in parts, the rest voided; and what it looks like then."""
    path = f"/v1/payments/{payment}"
    captured = await cashier.post(f"{path}/capture", json={"amount": "60.00"})
    assert (captured.status_code, captured.headers["location"]) == (200, path)
    assert captured.json()["outcome"] == "approved"
    assert (await cashier.post(f"{path}/void")).json()["version"] == 6
    refunded = await cashier.post(f"{path}/refund", json={"amount": "20", "reason": "broken"})
    shown = await cashier.get(path)
    assert shown.headers["etag"] == refunded.headers["etag"] == '"8"'
    told = shown.json()
    operations = told.pop("operations")
    assert told == {
        "id": str(payment),
        "version": 8,
        "status": "partially_refunded",
        "order_id": str(ORDER),
        "attempt": 1,
        "method": "card",
        "holder": None,
        "currency": "EUR",
        "amount": "100.00",
        "authorised": "100.00",
        "captured": "60.00",
        "refunded": "20.00",
        "capturable": "0.00",
        "refundable": "40.00",
        "several_captures": True,
        "expires_at": instant(datetime.fromtimestamp(CAPTURE_BEFORE, UTC)),
        "decline_code": None,
        "reference": "pi_1",
    }
    assert [(each["kind"], each["amount"], each["outcome"]) for each in operations] == [
        ("authorise", "100.00", "approved"),
        ("capture", "60.00", "approved"),
        ("void", "40.00", "approved"),
        ("refund", "20.00", "approved"),
    ]
    assert "tok_visa" not in shown.text


@pytest.mark.parametrize(
    ("verb", "body", "refusal"),
    [
        ("capture", {"amount": "100.01"}, "422 payments.capture_exceeds_authorised"),
        ("capture", {"amount": "0"}, "422 payments.amount_not_positive"),
        ("capture", {"amount": 1}, "400 invalid_request"),
        ("capture", {}, "400 invalid_request"),
        ("refund", {"amount": "0.01", "reason": "x"}, "422 payments.refund_exceeds_captured"),
        ("refund", {"amount": "0.01"}, "400 invalid_request"),
    ],
)
async def test_refusals(
    cashier: httpx.AsyncClient, payment: UUID, verb: str, body: Any, refusal: str
) -> None:
    answer = await cashier.post(f"/v1/payments/{payment}/{verb}", json=body)
    assert f"{answer.status_code} {answer.json()['code']}" == refusal


async def test_payments_that_are_not_there(cashier: httpx.AsyncClient) -> None:
    for path, code in ((uuid4(), "payments.payment_not_found"), ("x", "not_found")):
        for answer in (
            await cashier.get(f"/v1/payments/{path}"),
            await cashier.post(f"/v1/payments/{path}/void"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, code)


async def test_who_may(company: Company, payment: UUID) -> None:
    """Sales see payments, and do not touch them."""
    async with client_of(company, "sales") as sales:
        assert (await sales.get(f"/v1/payments/{payment}")).status_code == 200
        assert (await sales.post(f"/v1/payments/{payment}/void")).status_code == 403
    async with client_of(company, "storekeeper") as storekeeper:
        assert (await storekeeper.get(f"/v1/payments/{payment}")).status_code == 403


async def test_the_holders_name_is_for_those_who_may_read_it(company: Company) -> None:
    named = {**BY_CARD.model_dump(), "holder": {"subject": "c-1", "name": "Erika Mustermann"}}
    path = f"/v1/payments/{(await company.execute(type(BY_CARD).model_validate(named))).id}"
    async with client_of(company, "cashier") as cashier, client_of(company, "sales") as sales:
        assert (await cashier.get(path)).json()["holder"] == "Erika Mustermann"
        assert (await sales.get(path)).json()["holder"] is None


async def test_a_gateway_that_does_not_answer_is_503(
    cashier: httpx.AsyncClient, account: Account, payment: UUID
) -> None:
    """The same request under the same key goes on where it stood."""
    account.trouble.append("cut")
    headers = {"Idempotency-Key": "till-1"}
    path = f"/v1/payments/{payment}/capture"
    answer = await cashier.post(path, json={"amount": "60"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    (pending,) = [
        each
        for each in (await cashier.get(f"/v1/payments/{payment}")).json()["operations"]
        if each["outcome"] is None
    ]
    assert (pending["kind"], pending["amount"]) == ("capture", "60.00")
    answer = await cashier.post(path, json={"amount": "60"}, headers=headers)
    assert (answer.status_code, answer.json()["outcome"]) == (200, "approved")
    assert account.intents["pi_1"]["amount_received"] == 6000


# Webhooks


def event(intent: dict[str, Any], type_: str, **changes: Any) -> bytes:
    """An event as Stripe posts it."""
    told = {"id": f"evt_{uuid4().hex}", "object": "event", "type": type_, "data": {"object": intent}}
    return json.dumps({**told, **changes}).encode()


def signed(body: bytes, *, secret: str = SECRET, at: float | None = None, more: str = "") -> dict[str, str]:
    """Stripe's headers for this body."""
    signed_at = int(time() if at is None else at)
    digest = hmac.new(secret.encode(), f"{signed_at}.".encode() + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Signature": f"t={signed_at},{more}v1={digest}",
    }


async def posted(client: httpx.AsyncClient, body: bytes, **how: Any) -> httpx.Response:
    return await client.post(PATH, content=body, headers=signed(body, **how))


async def the_payment(company: Company) -> Payment:
    return await company.load(Payment, payment_id(company.tenant, ORDER, 1))


async def test_an_event_ends_what_is_pending(
    company: Company, anybody: httpx.AsyncClient, account: Account
) -> None:
    """The answer to our confirmation was lost; Stripe tells later, by itself."""
    account.trouble.extend([None, "cut"])
    with pytest.raises(GatewayTimeout):
        await company.execute(BY_CARD)
    assert (await the_payment(company)).status is PaymentStatus.PENDING
    body = event(account.intents["pi_1"], "payment_intent.amount_capturable_updated")
    answer = await posted(anybody, body)
    assert (answer.status_code, answer.json()) == (200, {"taken": True})
    assert (await the_payment(company)).status is PaymentStatus.AUTHORISED
    (request,) = [path for path in account.calls() if path.endswith("/confirm")]
    assert request == "/v1/payment_intents/pi_1/confirm"


async def test_a_decline_that_is_told_later(
    company: Company, anybody: httpx.AsyncClient, account: Account
) -> None:
    account.trouble.extend([None, "cut"])
    with pytest.raises(GatewayTimeout):
        await company.execute(BY_CARD.model_copy(update={"token": "tok_chargeDeclined"}))
    await posted(anybody, event(account.intents["pi_1"], "payment_intent.payment_failed"))
    assert (await the_payment(company)).decline_code == "generic_decline"


async def test_a_cancellation_there_ends_the_authorisation(
    company: Company, anybody: httpx.AsyncClient, account: Account, payment: UUID
) -> None:
    """As Stripe does when it has run out. Told twice, or under another id, it happened once."""
    account.cancel(account.intents["pi_1"])
    body = event(account.intents["pi_1"], "payment_intent.canceled")
    for told in (body, body, event(account.intents["pi_1"], "payment_intent.canceled")):
        assert (await posted(anybody, told)).status_code == 200
    found = await the_payment(company)
    assert (found.id, found.status, found.version) == (payment, PaymentStatus.EXPIRED, 3)


async def test_refunds_made_there_and_refunds_that_come_back(
    company: Company, cashier: httpx.AsyncClient, anybody: httpx.AsyncClient, account: Account, payment: UUID
) -> None:
    """Events in the wrong order and twice: how the payment stands is asked for, and not taken from them."""
    await cashier.post(f"/v1/payments/{payment}/capture", json={"amount": "100"})
    await cashier.post(f"/v1/payments/{payment}/refund", json={"amount": "30", "reason": "x"})
    (ours,) = account.refunds
    account.refund({"payment_intent": "pi_1", "amount": "500"})
    charge = {"object": "charge", "metadata": account.intents["pi_1"]["metadata"]}
    for _ in range(2):
        await posted(anybody, event(charge, "charge.refunded"))
    assert str((await the_payment(company)).refunded) == "35.00"
    ours.update(status="failed", failure_reason="lost_or_stolen_card")
    for type_ in ("refund.failed", "charge.refund.updated", "refund.failed"):
        await posted(anybody, event(ours, type_))
    found = await the_payment(company)
    assert (str(found.refunded), found.status) == ("5.00", PaymentStatus.PARTIALLY_REFUNDED)


async def test_who_told_it_is_kept_with_the_event(
    company: Company, anybody: httpx.AsyncClient, account: Account, payment: UUID
) -> None:
    account.cancel(account.intents["pi_1"])
    body = event(account.intents["pi_1"], "payment_intent.canceled", id="evt_1")
    await posted(anybody, body)
    rows = await company.store._store.rows(  # type: ignore[attr-defined]
        "SELECT convert_from(metadata, 'utf8') FROM erp.read_stream(%s, %s, %s, 2, 1)",
        [company.tenant, payment, Payment.TOPIC],
    )
    metadata = json.loads(rows[0][0])
    assert (metadata["actor"], metadata["causation_id"]) == ("stripe", "evt_1")


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "customer.created"},
        {"data": {"object": {"metadata": {}}}},
        {"data": {"object": {"metadata": {"tenant": "x", "payment": "y"}}}},
        {"data": {"object": None}},
        {"data": {"object": {"metadata": {"tenant": 1, "payment": 2}}}},
        {"data": {"object": {"metadata": {"tenant": str(uuid4()), "payment": str(uuid4())}}}},
    ],
)
async def test_what_is_not_about_our_payments_is_passed_over(
    anybody: httpx.AsyncClient, changes: dict[str, Any]
) -> None:
    """With success, for else Stripe would send it again for days."""
    answer = await posted(anybody, event({}, "payment_intent.canceled", **changes))
    assert (answer.status_code, answer.json()) == (200, {"taken": False})


async def test_an_event_without_an_id_is_none(
    anybody: httpx.AsyncClient, account: Account, payment: UUID
) -> None:
    body = event(account.intents["pi_1"], "payment_intent.canceled", id="4711")
    assert (await posted(anybody, body)).json()["errors"][0]["pointer"] == "/id"


async def test_while_stripe_cannot_be_asked_the_event_is_not_taken(
    company: Company, anybody: httpx.AsyncClient, account: Account, payment: UUID
) -> None:
    """So that Stripe sends it again; then it is."""
    account.cancel(account.intents["pi_1"])
    body = event(account.intents["pi_1"], "payment_intent.canceled")
    account.trouble.append(429)
    assert (await posted(anybody, body)).status_code == 503
    assert (await posted(anybody, body)).status_code == 200
    assert (await the_payment(company)).status is PaymentStatus.EXPIRED


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "v1=00",
        "t=,v1=00",
        "t=now,v1=00",
        "t={now},v1=",
        "t={now},v1=ab",
        "t={now},v0={good}",
        "t={later},v1={good}",
        "{good}",
        "t={now}",
    ],
)
async def test_a_signature_that_does_not_hold(
    company: Company, anybody: httpx.AsyncClient, account: Account, payment: UUID, signature: str
) -> None:
    """Nothing is looked at, nothing is asked for."""
    account.cancel(account.intents["pi_1"])
    calls = len(account.log)
    body = event(account.intents["pi_1"], "payment_intent.canceled")
    good = signed(body)
    now = int(time())
    written = signature.format(now=now, later=now + 1, good=good["Stripe-Signature"].rpartition("=")[2])
    answer = await anybody.post(PATH, content=body, headers={**good, "Stripe-Signature": written})
    assert (answer.status_code, answer.json()["code"]) == (400, "signature_invalid")
    assert len(account.log) == calls
    assert (await the_payment(company)).status is PaymentStatus.AUTHORISED


async def test_who_does_not_know_the_secret_signs_nothing(anybody: httpx.AsyncClient) -> None:
    body = event({}, "payment_intent.canceled")
    assert (await posted(anybody, body, secret="whsec_other")).status_code == 400
    tampered = body.replace(b"canceled", b"succeeded")
    answer = await anybody.post(PATH, content=tampered, headers=signed(body))
    assert answer.json()["code"] == "signature_invalid"


@pytest.mark.parametrize(("age_s", "status"), [(TOLERANCE_S - 5, 200), (TOLERANCE_S + 5, 400), (-400, 400)])
async def test_a_signature_is_of_now(anybody: httpx.AsyncClient, age_s: int, status: int) -> None:
    answer = await posted(anybody, event({}, "customer.created"), at=time() - age_s)
    assert answer.status_code == status


async def test_one_of_several_signatures_has_to_hold(anybody: httpx.AsyncClient) -> None:
    """While a secret is rotated Stripe signs with both."""
    answer = await posted(anybody, event({}, "customer.created"), more="v1=00,v0=11, ")
    assert answer.status_code == 200


async def test_without_a_secret_there_is_nothing(company: Company) -> None:
    async with client_of(company, secret="") as client:
        assert (await posted(client, event({}, "customer.created"))).status_code == 404


@pytest.mark.parametrize("body", [b"", b"[]", b"{"])
async def test_what_is_no_event(anybody: httpx.AsyncClient, body: bytes) -> None:
    assert (await posted(anybody, body)).json()["code"] == "invalid_request"


async def test_settling_asks_stripe(company: Company, account: Account, payment: UUID) -> None:
    """What needs no message: anybody may have it asked for."""
    account.capture(account.intents["pi_1"], {"amount_to_capture": "4000", "final_capture": "true"})
    await company.execute(SettlePayment(id=payment))
    found = await the_payment(company)
    assert (str(found.captured), found.status) == ("40.00", PaymentStatus.CAPTURED)
