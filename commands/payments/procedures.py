"""Payments step by step, with the gateway between the steps.

    what is asked is recorded → the gateway does it → what became of it is recorded

Wherever a procedure ends early, the operation is left pending. Whoever comes next (the same request again,
another one, a message of the gateway) asks the gateway what became of it before anything else is asked of it,
and has it done if it was not: under the same operation, so that it is done once. But what was not done is not
done any more once a void waits behind it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from uuid import UUID, uuid5

from commands.bus import Answer, Command, Context, Desk, Procedure
from commands.payments.commands import (
    AuthorisePayment,
    CaptureAsKnown,
    CapturePayment,
    RefundAsKnown,
    RefundPayment,
    SettlePayment,
    VoidPayment,
)
from commands.payments.gateway import Approved, Declined, Gateway, GatewayRequest, Outcome
from commands.payments.steps import (
    LookUp,
    RecordOutcome,
    RecordStanding,
    RequestAuthorisation,
    RequestCapture,
    RequestRefund,
    RequestVoid,
)
from domain.payments.errors import OperationPending, PaymentExists
from domain.payments.operation import Operation, OperationKind
from domain.payments.payment import Payment

_TURNS_MAX: Final = 5
"""How often another request may come in between before this one is refused."""
OVERTAKEN: Final = "voided"
"""Why a capture failed of which nobody had an answer when it was to be voided."""


class Till:
    """Carries out the commands of payments by a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def procedures(self) -> Mapping[type[Command], Procedure]:
        """By command."""
        return {
            AuthorisePayment: self.authorise,
            CapturePayment: self.capture,
            CaptureAsKnown: self.capture_as_known,
            VoidPayment: self.void,
            RefundPayment: self.refund,
            RefundAsKnown: self.refund_as_known,
            SettlePayment: self.settle,
        }

    async def authorise(self, command: AuthorisePayment, context: Context, desk: Desk) -> Answer:
        """Have an amount held. The same attempt on the same terms is the same payment, whoever asked first.

        Raises:
            PaymentExists: this attempt was made on other terms.
            GatewayUnavailable, GatewayTimeout: the authorisation is pending.
        """
        payment_id = command.payment(desk.tenant)
        operation = _operation(payment_id, context)
        step = RequestAuthorisation(**command.model_dump(), operation=operation)
        try:
            is_new = not (await desk.execute(step)).replayed
        except PaymentExists:
            payment = await desk.load(Payment, payment_id)
            if not _on_terms(payment, command):
                raise
            operation, is_new = payment.operations[0].id, False
        return await self._ended(payment_id, operation, desk, is_new=is_new)

    async def capture(self, command: CapturePayment, context: Context, desk: Desk) -> Answer:
        """Have some of what is held taken.

        Raises:
            DomainError: see `Payment.request_capture`.
            GatewayUnavailable, GatewayTimeout: the capture is pending, or not even asked for.
        """
        operation = _operation(command.id, context)
        return await self._done(RequestCapture(**command.model_dump(), operation=operation), desk)

    async def capture_as_known(self, command: CaptureAsKnown, context: Context, desk: Desk) -> Answer:
        """The same, if the payment is at this version.

        Raises:
            VersionMismatch: it is not.
        """
        capture = CapturePayment(id=command.id, amount=command.amount)
        return await self.capture(capture, context, desk.only_at(command.version))

    async def void(self, command: VoidPayment, context: Context, desk: Desk) -> Answer:
        """Have what is held released. It may be asked for while the authorisation is pending.

        Raises:
            DomainError: see `Payment.request_void`.
            GatewayUnavailable, GatewayTimeout: the void is pending, or not even asked for.
        """
        operation = _operation(command.id, context)
        return await self._done(RequestVoid(**command.model_dump(), operation=operation), desk)

    async def refund(self, command: RefundPayment, context: Context, desk: Desk) -> Answer:
        """Have some of what was taken given back.

        Raises:
            DomainError: see `Payment.request_refund`.
            GatewayUnavailable, GatewayTimeout: the refund is pending, or not even asked for.
        """
        operation = _operation(command.id, context)
        return await self._done(RequestRefund(**command.model_dump(), operation=operation), desk)

    async def refund_as_known(self, command: RefundAsKnown, context: Context, desk: Desk) -> Answer:
        """The same, if the payment is at this version.

        Raises:
            VersionMismatch: it is not.
        """
        refund = RefundPayment(id=command.id, amount=command.amount, reason=command.reason)
        return await self.refund(refund, context, desk.only_at(command.version))

    async def settle(self, command: SettlePayment, _context: Context, desk: Desk) -> Answer:
        """Have every pending operation ended, then record what happened at the gateway besides.

        Raises:
            DomainError: there is no such payment, or the gateway tells what cannot be.
            GatewayUnavailable, GatewayTimeout: something is still pending.
        """
        payment, _ = await self._settled(command.id, desk)
        if payment.reference is not None:
            standing = await self._gateway.standing(payment.reference, payment.currency)
            if standing is not None:
                step = RecordStanding(id=command.id, version=payment.version, standing=standing)
                return await desk.execute(step, f"standing {payment.version}")
        return await desk.execute(LookUp(id=command.id), "look up")

    async def _done(self, step: RequestCapture | RequestVoid | RequestRefund, desk: Desk) -> Answer:
        """Ask for it once nothing else is pending, and see it to its end."""
        turn = 1
        while True:
            try:
                is_new = not (await desk.execute(step)).replayed
            except OperationPending:
                if turn == _TURNS_MAX:
                    raise
                turn += 1
                await self._settled(step.id, desk)
            else:
                return await self._ended(step.id, step.operation, desk, is_new=is_new)

    async def _ended(self, payment_id: UUID, operation: UUID, desk: Desk, *, is_new: bool) -> Answer:
        """See the operation, and those before it, to their ends; the answer says which end it was."""
        payment, answers = await self._settled(
            payment_id, desk, up_to=operation, new=operation if is_new else None
        )
        answer = answers.get(operation) or await desk.answered(_outcome_of(operation))
        if answer is None:  # somebody else has recorded it
            answer = await desk.execute(LookUp(id=payment_id), "look up")
        ended = payment.operation(operation)
        assert ended is not None
        told = {"outcome": ended.outcome, **({"decline_code": ended.code} if ended.code else {})}
        return replace(answer, replayed=answer.replayed and not is_new, extra={**answer.extra, **told})

    async def _settled(
        self, payment_id: UUID, desk: Desk, *, up_to: UUID | None = None, new: UUID | None = None
    ) -> tuple[Payment, Mapping[UUID, Answer]]:
        """The payment, once its pending operations have ended: all, or those up to one."""
        answers: dict[UUID, Answer] = {}
        is_fresh = new is not None
        while True:
            payment = await (desk.seen if is_fresh else desk.load)(Payment, payment_id)
            pending = payment.pending
            if not pending or (up_to is not None and all(each.id != up_to for each in pending)):
                return payment, answers
            following = pending[0]
            request = _request(payment, following, desk.tenant)
            # How far an earlier request came, nobody knows; a new one has never been sent.
            outcome = None if following.id == new else await self._gateway.ask(request)
            if outcome is None and len(pending) > 1:
                outcome = await self._overtaken(request, _request(payment, pending[1], desk.tenant))
            if outcome is None:
                outcome = await self._gateway.perform(request)
            step = RecordOutcome(id=payment_id, operation=following.id, outcome=outcome)
            answers[following.id] = await desk.execute(step, _outcome_of(following.id))
            is_fresh = not answers[following.id].replayed

    async def _overtaken(self, request: GatewayRequest, void: GatewayRequest) -> Outcome | None:
        """What became of an authorisation by forestalling it, or of a capture by releasing what it was to be
        taken from; None: that was not released.
        """
        if request.kind is OperationKind.AUTHORISE:
            return await self._gateway.forestall(request)
        released = await self._gateway.perform(void)
        told = await self._gateway.ask(request)
        if told is None and isinstance(released, Approved):
            return Declined(OVERTAKEN)
        return told


def _outcome_of(operation: UUID) -> str:
    """The step that records it."""
    return f"outcome {operation}"


def _on_terms(payment: Payment, command: AuthorisePayment) -> bool:
    terms = (payment.amount, payment.currency, payment.method, payment.token)
    return terms == (command.money.amount, command.currency, command.method, command.token)


def _operation(payment_id: UUID, context: Context) -> UUID:
    """The same for a request sent again, so that the gateway does it once."""
    return uuid5(payment_id, context.idempotency_key)


def _request(payment: Payment, operation: Operation, tenant: UUID) -> GatewayRequest:
    assert payment.order_id is not None
    assert operation.requested_at is not None
    is_void = operation.kind is OperationKind.VOID
    return GatewayRequest(
        operation=operation.id,
        kind=operation.kind,
        tenant=tenant,
        payment=payment.id,
        order=payment.order_id,
        amount=payment.held if is_void else operation.amount,
        held=payment.held,
        captured=payment.captured,
        currency=payment.currency,
        method=payment.method,
        token=payment.token,
        reference=payment.reference,
        several_captures=payment.several_captures,
        requested_at=operation.requested_at,
        reason=operation.reason,
    )
