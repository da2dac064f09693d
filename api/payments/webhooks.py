"""What Stripe tells by itself: events, posted here and signed.

Stripe sends an event at least once and in no certain order, so nothing is taken from it but which payment it
is about: how that one stands is then asked of Stripe. The event's id is the idempotency key of that.
"""

import hashlib
import hmac
import re
from time import time
from typing import Any, Final
from uuid import UUID

from api.call import Call
from api.errors import InvalidRequest, NotFound, SignatureInvalid
from api.ports import ApiSettings
from api.reply import Reply, json_reply
from api.routing import Run
from api.strict_json import parse_object
from commands.bus import Context
from commands.payments import SettlePayment
from commands.permissions import Permissions
from domain.payments.errors import PaymentNotFound

PATH: Final = "/v1/payments/webhooks/stripe"
TOLERANCE_S: Final = 300
"""A signature holds for so long, so that nobody can send an old message again later."""

_EVENTS: Final = frozenset(
    {
        "payment_intent.amount_capturable_updated",
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "charge.captured",
        "charge.refunded",
        "charge.refund.updated",
        "refund.created",
        "refund.updated",
        "refund.failed",
    }
)
_EVENT_ID: Final = re.compile(r"evt_[A-Za-z0-9_]{1,200}")


async def stripe_event(call: Call, run: Run, settings: ApiSettings) -> Reply:
    """Take an event of Stripe, signed in `Stripe-Signature`."""
    if not settings.stripe_webhook_secret:
        raise NotFound("There is nothing at this path.")
    body = await call.json_body(settings.body_bytes_max, optional=False)
    signature = call.headers.get(b"stripe-signature", b"")
    require_signed(body, signature, settings.stripe_webhook_secret, now_s=time())
    event, _ = parse_object(body)
    found = _payment_of(event)
    if found is None:
        return json_reply(200, {"taken": False})
    tenant, payment = found
    event_id = str(event.get("id"))
    if not _EVENT_ID.fullmatch(event_id):
        raise InvalidRequest("An event of Stripe has an id.", [("/id", "not the id of an event")])
    context = Context(
        tenant=tenant,
        actor="stripe",
        permissions=Permissions([SettlePayment.needs]),
        idempotency_key=event_id,
        request_hash=hashlib.sha256(f"{PATH}\n{event_id}\n{payment}".encode()).digest(),
        correlation_id=call.correlation_id,
        causation_id=event_id,
    )
    try:
        await run(SettlePayment(id=payment), context)
    except PaymentNotFound:
        return json_reply(200, {"taken": False})
    return json_reply(200, {"taken": True})


def require_signed(body: bytes, signature: bytes, secret: str, *, now_s: float) -> None:
    """Make sure that who knows the secret signed this body, not long ago.

    `t=<seconds>,v1=<hex>[,v1=…]`: HMAC-SHA256 over `<seconds>.<body>`. While a secret is rotated there are
    several signatures, one of which has to hold; other schemes than v1 are passed over.

    Raises:
        SignatureInvalid: they did not.
    """
    items = [item.strip().partition(b"=") for item in signature.split(b",")]
    signed_at = next((value for name, _, value in items if name == b"t"), b"")
    if not re.fullmatch(rb"[0-9]{1,12}", signed_at):
        raise SignatureInvalid("Stripe-Signature is missing or malformed.")
    expected = hmac.new(secret.encode(), signed_at + b"." + body, hashlib.sha256).hexdigest().encode()
    given = [value for name, _, value in items if name == b"v1"]
    if not any(hmac.compare_digest(expected, each) for each in given):
        raise SignatureInvalid("Stripe-Signature does not hold for this body.")
    if abs(now_s - int(signed_at)) > TOLERANCE_S:
        raise SignatureInvalid("Stripe-Signature is not of now.")


def _payment_of(event: dict[str, Any]) -> tuple[UUID, UUID] | None:
    """Tenant and payment that the event is about; None when it is of no interest, or about none of ours."""
    if event.get("type") not in _EVENTS:
        return None
    try:
        metadata = event["data"]["object"]["metadata"]
        return UUID(metadata["tenant"]), UUID(metadata["payment"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
