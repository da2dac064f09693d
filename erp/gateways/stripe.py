"""Stripe, by its REST API: payment intents that are confirmed here and captured by hand.

An authorisation is made in two calls. The intent is created first, which holds nothing; then it is confirmed,
which asks the bank. So an intent can be looked for, or created again, without any risk of asking the bank
twice, and how it stands tells what became of a confirmation that was not answered. Each call has an
idempotency key made of the operation: Stripe keeps what it answered for a day at least, and answers so again.

    no answer                  → GatewayTimeout      asked about by reading the intent, or its refunds
    500 to 599                 → GatewayTimeout      Stripe itself calls the outcome indeterminate
    409, 429                   → GatewayUnavailable  nothing was begun
    401, 403                   → GatewayUnavailable  the key does not let us in: an operator has to mend it
    402, 400, 404              → Declined            with Stripe's own code

Capturing a payment more than once takes Stripe's multicapture, which not every account and card has. It is
asked for, and the authorisation says whether it was given; without it the first capture releases the rest.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import httpx

from commands.payments.gateway import (
    Approved,
    Declined,
    GatewayRequest,
    GatewayTimeout,
    GatewayUnavailable,
    Outcome,
)
from domain.payments.operation import GatewayRefund, OperationKind, Standing
from erp.gateways.stripe_amounts import from_stripe, to_stripe

log = logging.getLogger("erp.gateways")

Json = Mapping[str, Any]
Form = dict[str, str]

VERSION: Final = "2024-06-20"
"""Of Stripe's API: answers keep this shape whatever the account's default is."""
KEY_LIFE: Final = timedelta(hours=23)
"""Stripe may forget an idempotency key after 24 hours; by then we no longer rely on it."""
_HOLD: Final = timedelta(days=7)
_INTENTS: Final = "/v1/payment_intents"
_REFUNDS: Final = "/v1/refunds"
_BUSY: Final = frozenset({409, 429})
_LOCKED_OUT: Final = frozenset({401, 403})


class _Refused(Exception):
    """Stripe will not do it, and says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def _utc_now() -> datetime:
    return datetime.now(UTC)


class StripeGateway:
    """An account at Stripe."""

    def __init__(
        self, key: str, *, url: str, timeout_s: float = 10.0, clock: Callable[[], datetime] = _utc_now
    ) -> None:
        self._key = key
        self._url = url
        self._timeout_s = timeout_s
        self._clock = clock
        # Made when it is first needed, since it belongs to the loop that it is used in.
        self._client: httpx.AsyncClient | None = None

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def perform(self, request: GatewayRequest) -> Outcome:
        """Have it done; see `Gateway.perform`."""
        amount = to_stripe(request.amount, request.currency)
        if amount is None:
            return Declined("amount_not_representable")
        try:
            match request.kind:
                case OperationKind.AUTHORISE:
                    return await self._authorise(request, amount)
                case OperationKind.CAPTURE:
                    return await self._capture(request, amount)
                case OperationKind.VOID:
                    return await self._void(request)
                case OperationKind.REFUND:
                    return await self._refund(request, amount)
        except _Refused as refused:
            return Declined(refused.code)

    async def ask(self, request: GatewayRequest) -> Outcome | None:
        """What became of it; see `Gateway.ask`."""
        try:
            match request.kind:
                case OperationKind.AUTHORISE:
                    intent = await self._find(request)
                    return None if intent is None else _authorisation(intent)
                case OperationKind.CAPTURE:
                    return _captured(await self._intent(request), request)
                case OperationKind.VOID:
                    return _voided(await self._intent(request))
                case OperationKind.REFUND:
                    return _refunded(await self._refunds(_reference(request)), request)
        except _Refused as refused:
            return Declined(refused.code)

    async def forestall(self, request: GatewayRequest) -> Outcome:
        """Cancel the intent before it is confirmed; see `Gateway.forestall`."""
        try:
            intent = await self._find(request)
            if intent is None:
                return Declined("no_intent")
            outcome = _authorisation(intent)
            if outcome is None:
                cancelled = f"{_INTENTS}/{intent['id']}/cancel"
                outcome = _authorisation(
                    await self._post(cancelled, {}, key=f"{request.operation}/forestall")
                )
        except _Refused as refused:
            return Declined(refused.code)
        if outcome is None:
            raise GatewayTimeout(f"Stripe left {intent['id']} unconfirmed.")
        return outcome

    async def standing(self, reference: str, currency: str) -> Standing | None:
        """How the payment stands; see `Gateway.standing`."""
        try:
            intent = await self._get(f"{_INTENTS}/{reference}")
            refunds = await self._refunds(reference)
        except _Refused as refused:
            raise GatewayUnavailable(f"Stripe does not show {reference}: {refused.code}.") from None
        return Standing(
            captured=from_stripe(intent["amount_received"], currency),
            held=from_stripe(intent["amount_capturable"], currency),
            refunds=tuple(
                GatewayRefund(
                    id=each["id"],
                    operation=_ours(each),
                    amount=from_stripe(each["amount"], currency),
                    failure=_failure(each),
                )
                for each in refunds
            ),
        )

    # The four operations

    async def _authorise(self, request: GatewayRequest, amount: int) -> Outcome:
        created = await self._create(request, amount)
        confirmed = await self._post(
            f"{_INTENTS}/{created['id']}/confirm",
            {"error_on_requires_action": "true", "expand[]": "latest_charge"},
            key=f"{request.operation}/confirm",
        )
        outcome = _authorisation(confirmed)
        if outcome is None:
            raise GatewayTimeout(f"Stripe left {created['id']} {confirmed['status']}.")
        return outcome

    async def _create(self, request: GatewayRequest, amount: int) -> Json:
        """The intent, which holds nothing before it is confirmed."""
        form = {
            "amount": str(amount),
            "currency": request.currency.lower(),
            "capture_method": "manual",
            "payment_method_types[]": "card",
            "payment_method_options[card][request_multicapture]": "if_available",
            **_card(request.token),
            **_metadata(request),
            "metadata[order]": str(request.order),
        }
        return await self._post(_INTENTS, form, key=f"{request.operation}/create")

    async def _capture(self, request: GatewayRequest, amount: int) -> Outcome:
        form = {"amount_to_capture": str(amount)}
        if request.several_captures:
            form["final_capture"] = "false" if request.amount < request.held else "true"
        await self._post(f"{_INTENTS}/{_reference(request)}/capture", form, key=str(request.operation))
        return Approved(_reference(request))

    async def _void(self, request: GatewayRequest) -> Outcome:
        await self._post(f"{_INTENTS}/{_reference(request)}/cancel", {}, key=str(request.operation))
        return Approved(_reference(request))

    async def _refund(self, request: GatewayRequest, amount: int) -> Outcome:
        form = {"payment_intent": _reference(request), "amount": str(amount), **_metadata(request)}
        if request.reason:
            form["metadata[reason]"] = request.reason[:500]
        refund = await self._post(_REFUNDS, form, key=str(request.operation))
        failure = _failure(refund)
        return Approved(_reference(request)) if failure is None else Declined(failure)

    # Looking

    async def _find(self, request: GatewayRequest) -> Json | None:
        """The intent of an authorisation, whether it was confirmed or not; None when there is none."""
        if self._clock() - request.requested_at < KEY_LIFE:
            amount = to_stripe(request.amount, request.currency)
            if amount is None:
                return None
            found = (await self._create(request, amount))["id"]
        else:
            # By now the search index has it, which it need not have at once.
            query = f"metadata['operation']:'{request.operation}'"
            hits = (await self._get(f"{_INTENTS}/search", query=query))["data"]
            if not hits:
                return None
            found = hits[0]["id"]
        return await self._get(f"{_INTENTS}/{found}", **{"expand[]": "latest_charge"})

    async def _intent(self, request: GatewayRequest) -> Json:
        return await self._get(f"{_INTENTS}/{_reference(request)}")

    async def _refunds(self, reference: str) -> list[Json]:
        found: list[Json] = []
        after: dict[str, str] = {}
        while True:
            page = await self._get(_REFUNDS, payment_intent=reference, limit="100", **after)
            found += page["data"]
            if not page["has_more"]:
                return found
            after = {"starting_after": found[-1]["id"]}

    # HTTP

    async def _get(self, path: str, **query: str) -> Json:
        return await self._send("GET", path, params=query)

    async def _post(self, path: str, form: Form, *, key: str) -> Json:
        return await self._send("POST", path, data=form, headers={"Idempotency-Key": key})

    async def _send(self, method: str, path: str, **what: Any) -> Json:
        if self._client is None:
            self._client = httpx.AsyncClient(
                base_url=self._url,
                timeout=self._timeout_s,
                headers={"Authorization": f"Bearer {self._key}", "Stripe-Version": VERSION},
            )
        try:
            response = await self._client.request(method, path, **what)
            answer = response.json() if response.content else {}
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise GatewayUnavailable(f"Stripe cannot be reached: {type(error).__name__}.") from error
        except (httpx.HTTPError, ValueError) as error:
            raise GatewayTimeout(f"Stripe's answer did not come: {type(error).__name__}.") from error
        if response.is_success and isinstance(answer, dict):
            return answer
        raise _failed(response.status_code, answer)


def _failed(status: int, answer: Any) -> Exception:
    """What an answer that is no success means."""
    error = answer.get("error", {}) if isinstance(answer, dict) else {}
    code = error.get("decline_code") or error.get("code") or error.get("type") or f"http_{status}"
    if status in _BUSY:
        return GatewayUnavailable(f"Stripe is busy: {code}.")
    if status in _LOCKED_OUT:
        log.error("Stripe refuses our key: %s", code)
        return GatewayUnavailable(f"Stripe refuses our key: {code}.")
    if error.get("type") == "idempotency_error":
        # Something else was asked for under this key, so what was done is to be looked at.
        return GatewayTimeout("Stripe has another request under this operation.")
    if 400 <= status < 500:  # noqa: PLR2004 - what Stripe calls content errors
        return _Refused(str(code))
    return GatewayTimeout(f"Stripe failed: {code}.")


def _card(token: str) -> Form:
    """A card token, or a payment method that was stored before."""
    if not token.startswith("tok_"):
        return {"payment_method": token}
    return {"payment_method_data[type]": "card", "payment_method_data[card][token]": token}


def _metadata(request: GatewayRequest) -> Form:
    return {
        "metadata[operation]": str(request.operation),
        "metadata[payment]": str(request.payment),
        "metadata[tenant]": str(request.tenant),
    }


def _reference(request: GatewayRequest) -> str:
    assert request.reference is not None, "only an authorisation has none"
    return request.reference


def _authorisation(intent: Json) -> Outcome | None:
    """What became of an authorisation; None when the bank was not asked."""
    match intent["status"]:
        case "requires_capture" | "succeeded":
            charge = intent.get("latest_charge")
            details = charge.get("payment_method_details") or {} if isinstance(charge, dict) else {}
            card = details.get("card") or {}
            until = card.get("capture_before") or intent["created"] + _HOLD.total_seconds()
            several = (card.get("multicapture") or {}).get("status") == "available"
            return Approved(intent["id"], datetime.fromtimestamp(until, UTC), several)
        case "canceled":
            return Declined(str(intent.get("cancellation_reason") or "canceled"))
        case "requires_action":
            return Declined("authentication_required")
        case "requires_payment_method":
            error = intent.get("last_payment_error") or {}
            return Declined(str(error.get("decline_code") or error.get("code") or "card_declined"))
        case "requires_confirmation":
            return None
        case status:
            raise GatewayTimeout(f"Stripe is not done with {intent['id']}: {status}.")


def _captured(intent: Json, request: GatewayRequest) -> Outcome | None:
    received = from_stripe(intent["amount_received"], request.currency)
    if received >= request.captured + request.amount:
        return Approved(intent["id"])
    return Declined("canceled") if intent["status"] == "canceled" else None


def _voided(intent: Json) -> Outcome | None:
    if intent["status"] == "canceled":
        return Approved(intent["id"])
    return None if intent["amount_capturable"] else Declined("nothing_capturable")


def _refunded(refunds: list[Json], request: GatewayRequest) -> Outcome | None:
    for each in refunds:
        if _ours(each) == request.operation:
            failure = _failure(each)
            return Approved(_reference(request)) if failure is None else Declined(failure)
    return None


def _ours(refund: Json) -> UUID | None:
    """The operation that it was made under."""
    try:
        return UUID((refund.get("metadata") or {}).get("operation", ""))
    except ValueError:
        return None


def _failure(refund: Json) -> str | None:
    """Why no money goes back; None while it does, or may."""
    if refund["status"] not in {"failed", "canceled"}:
        return None
    return str(refund.get("failure_reason") or refund["status"])
