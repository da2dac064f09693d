"""A server on loopback that answers as Stripe's reference of its API says, as far as payments here use it.

https://docs.stripe.com/api: payment intents (create, confirm, capture, cancel, retrieve, search), refunds
(create, list), idempotent requests, errors. Cards are the tokens of https://docs.stripe.com/testing.
"""

import itertools
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

KEY: Final = "sk_test_of_nobody"
CREATED: Final = int(time.time())
CAPTURE_BEFORE: Final = CREATED + 5 * 86_400

Json = dict[str, Any]

_DECLINES: Final = {
    "tok_chargeDeclined": "generic_decline",
    "tok_chargeDeclinedInsufficientFunds": "insufficient_funds",
    "tok_threeDSecureRequired": "authentication_required",
}
_GOOD: Final = frozenset({"tok_visa", "tok_ok", "pm_card_visa"})
_CREATE: Final = frozenset(
    {
        "amount",
        "currency",
        "capture_method",
        "payment_method",
        "payment_method_types[]",
        "payment_method_data[type]",
        "payment_method_data[card][token]",
        "payment_method_options[card][request_multicapture]",
    }
)


class Refusal(Exception):
    """An error of the API."""

    def __init__(self, status: int, code: str, type_: str = "invalid_request_error", **more: Any) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"error": {"type": type_, "code": code, "message": "No.", **more}}


@dataclass
class Account:
    """The state of an account, and what goes wrong with the next requests.

    Attributes:
        multicapture: whether cards may be captured several times.
        trouble: what happens to the next requests, one each: a status that is answered without doing anything
            (429, 409) or as the result of the call (500), `drop` breaks the connection before anything is
            done and `cut` after it was, `hang` keeps silent after it was, None lets one through.
        log: every request: method, path, parameters, idempotency key.
    """

    multicapture: bool = True
    refund_status: str = "succeeded"
    intents: dict[str, Json] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    refunds: list[Json] = field(default_factory=list)
    kept: dict[str, tuple[tuple[str, Json], int, Json]] = field(default_factory=dict)
    trouble: deque[int | str | None] = field(default_factory=deque)
    log: list[tuple[str, str, Json, str | None]] = field(default_factory=list)
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    url: str = ""

    def calls(self, method: str = "POST") -> list[str]:
        """The paths that were asked for, by this method."""
        return [path for asked, path, _, _ in self.log if asked == method]

    # Payment intents

    def create(self, form: Json) -> Json:
        """Create a PaymentIntent."""
        unknown = [name for name in form if name not in _CREATE and not name.startswith("metadata[")]
        if unknown:
            raise Refusal(400, "parameter_unknown", param=unknown[0])
        token = form.get("payment_method") or form.get("payment_method_data[card][token]", "")
        if token not in _GOOD and token not in _DECLINES:
            raise Refusal(400, "resource_missing", param="payment_method")
        assert form["capture_method"] == "manual"
        made = f"pi_{next(self.ids)}"
        self.tokens[made] = token
        self.intents[made] = {
            "id": made,
            "object": "payment_intent",
            "amount": int(form["amount"]),
            "amount_capturable": 0,
            "amount_received": 0,
            "currency": form["currency"],
            "capture_method": "manual",
            "cancellation_reason": None,
            "created": CREATED,
            "last_payment_error": None,
            "latest_charge": None,
            "metadata": {
                name.removeprefix("metadata[")[:-1]: value
                for name, value in form.items()
                if name.startswith("metadata[")
            },
            "status": "requires_confirmation",
        }
        return self.intents[made]

    def confirm(self, intent: Json) -> Json:
        """Confirm a PaymentIntent."""
        if intent["status"] not in {"requires_confirmation", "requires_payment_method"}:
            raise Refusal(400, "payment_intent_unexpected_state")
        declined = _DECLINES.get(self.tokens[intent["id"]])
        if declined is not None:
            code = declined if declined == "authentication_required" else "card_declined"
            intent["status"] = "requires_payment_method"
            intent["last_payment_error"] = {"type": "card_error", "code": code, "decline_code": declined}
            raise Refusal(402, code, "card_error", decline_code=declined)
        intent["status"] = "requires_capture"
        intent["amount_capturable"] = intent["amount"]
        intent["latest_charge"] = {
            "id": f"ch_{next(self.ids)}",
            "object": "charge",
            "payment_method_details": {
                "type": "card",
                "card": {
                    "capture_before": CAPTURE_BEFORE,
                    "multicapture": {"status": "available" if self.multicapture else "unavailable"},
                },
            },
        }
        return intent

    def capture(self, intent: Json, form: Json) -> Json:
        """Capture a PaymentIntent."""
        amount, final = int(form["amount_to_capture"]), form.get("final_capture", "true") == "true"
        if intent["status"] != "requires_capture":
            raise Refusal(400, "payment_intent_unexpected_state")
        if amount > intent["amount_capturable"]:
            raise Refusal(400, "amount_too_large")
        if "final_capture" in form and not self.multicapture:
            raise Refusal(400, "parameter_invalid", param="final_capture")
        intent["amount_received"] += amount
        intent["amount_capturable"] -= amount
        if final or not intent["amount_capturable"]:
            intent["amount_capturable"] = 0
            intent["status"] = "succeeded"
        return intent

    def cancel(self, intent: Json) -> Json:
        """Cancel a PaymentIntent; what is capturable is released."""
        if intent["status"] in {"succeeded", "canceled"}:
            raise Refusal(400, "payment_intent_unexpected_state")
        intent["status"], intent["amount_capturable"] = "canceled", 0
        return intent

    # Refunds

    def refund(self, form: Json) -> Json:
        """Create a refund."""
        intent, amount = self.intent(form["payment_intent"]), int(form["amount"])
        given = sum(
            each["amount"]
            for each in self.refunds
            if each["payment_intent"] == intent["id"] and each["status"] not in {"failed", "canceled"}
        )
        if amount > intent["amount_received"] - given:
            raise Refusal(400, "charge_already_refunded")
        made = {
            "id": f"re_{next(self.ids)}",
            "object": "refund",
            "amount": amount,
            "payment_intent": intent["id"],
            "metadata": {
                name.removeprefix("metadata[")[:-1]: value
                for name, value in form.items()
                if name.startswith("metadata[")
            },
            "status": self.refund_status,
            **({"failure_reason": "expired_or_canceled_card"} if self.refund_status == "failed" else {}),
        }
        # The most recent ones come first.
        self.refunds.insert(0, made)
        return made

    def listed(self, query: Json) -> Json:
        """List refunds of a PaymentIntent, in pages."""
        found = [each for each in self.refunds if each["payment_intent"] == query["payment_intent"]]
        if "starting_after" in query:
            found = found[[each["id"] for each in found].index(query["starting_after"]) + 1 :]
        page = found[: min(int(query["limit"]), 2)]  # a page is short here, so that tests need few refunds
        return {"object": "list", "data": page, "has_more": len(found) > len(page)}

    def search(self, query: Json) -> Json:
        """Search PaymentIntents by the operation in their metadata."""
        found = [
            each
            for each in self.intents.values()
            if query["query"] == f"metadata['operation']:'{each['metadata'].get('operation')}'"
        ]
        return {"object": "search_result", "data": found, "has_more": False}

    def intent(self, name: str) -> Json:
        """Retrieve a PaymentIntent."""
        if name not in self.intents:
            raise Refusal(404, "resource_missing")
        return self.intents[name]

    # HTTP

    def app(self) -> Starlette:
        """The API."""

        async def answer(request: Request) -> Response:
            form = dict(parse_qsl((await request.body()).decode()) or request.query_params.items())
            key = request.headers.get("idempotency-key")
            self.log.append((request.method, request.url.path, form, key))
            trouble = self.trouble.popleft() if self.trouble else None
            if trouble == "drop":
                return _Broken()
            if request.headers.get("authorization") != f"Bearer {KEY}":
                return JSONResponse({"error": {"type": "invalid_request_error"}}, 401)
            if trouble in (409, 429):
                code = "idempotency_key_in_use" if trouble == 409 else "rate_limit"
                return JSONResponse({"error": {"type": "invalid_request_error", "code": code}}, trouble)
            status, body = self._idempotent(request, form, key, fails=trouble == 500)
            if trouble == "cut":
                return _Broken()
            if trouble == "hang":
                return _Silent()
            return JSONResponse(body, status)

        paths = {
            "/v1/payment_intents": "POST",
            "/v1/payment_intents/search": "GET",
            "/v1/payment_intents/{id}": "GET",
            "/v1/payment_intents/{id}/{verb}": "POST",
            "/v1/refunds": "GET POST",
        }
        return Starlette(
            routes=[Route(path, answer, methods=methods.split()) for path, methods in paths.items()]
        )

    def _idempotent(self, request: Request, form: Json, key: str | None, *, fails: bool) -> tuple[int, Json]:
        """Status and body, the first ones again under the same key; failures are kept too."""
        asked = (request.url.path, form)
        if key in self.kept:
            first, status, body = self.kept[key]
            if first != asked:
                return 400, {"error": {"type": "idempotency_error", "message": "Keys are for one request."}}
            return status, body
        if fails:
            status, body = 500, {"error": {"type": "api_error"}}
        else:
            try:
                status, body = 200, json.loads(json.dumps(self._called(request, form)))
            except Refusal as refusal:
                status, body = refusal.status, refusal.body
        if key is not None:
            self.kept[key] = (asked, status, body)
        return status, body

    def _called(self, request: Request, form: Json) -> Json:
        path, params = request.url.path, request.path_params
        if path == "/v1/refunds":
            return self.refund(form) if request.method == "POST" else self.listed(form)
        if path.endswith("/search"):
            return self.search(form)
        if "id" not in params:
            return self.create(form)
        intent = self.intent(params["id"])
        verbs: dict[str, Callable[[], Json]] = {
            "confirm": lambda: self.confirm(intent),
            "capture": lambda: self.capture(intent, form),
            "cancel": lambda: self.cancel(intent),
        }
        told = verbs[params["verb"]]() if "verb" in params else intent
        charge = told["latest_charge"]
        if charge is not None and form.get("expand[]") != "latest_charge":
            return {**told, "latest_charge": charge["id"]}
        return told


class _Broken(Response):
    """An answer whose connection breaks."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"99")]})
        await send({"type": "http.response.body", "body": b"{", "more_body": False})


class _Silent(Response):
    """An answer that does not come before the client has gone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass


class StripeServer:
    """Serves one account after the other."""

    def __init__(self) -> None:
        self.url = ""
        self._account = Account()
        self._app = self._account.app()

    def opened(self) -> Account:
        """An account with nothing in it, which is served from now on."""
        self._account = Account(url=self.url)
        self._app = self._account.app()
        return self._account

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


@contextmanager
def stripe_server() -> Iterator[StripeServer]:
    """A server on a free port of loopback, for the duration."""
    served = StripeServer()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(served, log_level="critical", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        served.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            yield served
        finally:
            server.should_exit = True
            thread.join(5)
