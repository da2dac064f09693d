"""The money of an order: held, taken, given back. One step at a time."""

from datetime import timedelta
from typing import Any, Final

from commands.payments import (
    AuthorisePayment,
    CaptureAsKnown,
    ExpireAuthorisation,
    RefundAsKnown,
    VoidPayment,
)
from domain.payments.payment import Payment
from sagas.base import Happened, Input, Step, StepDone, StepRefused, TimedOut
from sagas.order_to_cash.goods import text
from sagas.order_to_cash.memory import LAPSES_MAX, NOTHING_YET, OrderMemory, Paid, Standing

AUTHORISE: Final = "authorise"
VOID: Final = "void"
CAPTURE: Final = "capture"
REFUND: Final = "refund"
EXPIRE: Final = "expire"
STEPS: Final = frozenset({AUTHORISE, VOID, CAPTURE, REFUND, EXPIRE})
LANE: Final = "money"

TIMER: Final = "authorisation"
AGAIN_AFTER: Final = timedelta(minutes=1)
TRIES_MAX: Final = 3
"""How often a gateway that does not answer is asked to hold money; then the order is given up."""
PATIENCE_TIMER: Final = "patience"
PATIENCE: Final = timedelta(hours=1)
"""How long a gateway may be gone that certainly did nothing."""

DECLINED: Final = "payments.declined"
TIMED_OUT: Final = "payments.timed_out"
NO_ANSWER: Final = "gateway_timeout"
EXPIRED: Final = "payments.authorisation_expired"
EXISTS: Final = "payments.payment_exists"
NOT_EXPIRED: Final = "payments.authorisation_not_expired"

Next = tuple[OrderMemory, Step | None]


# What became of it


def learn(memory: OrderMemory, heard: Input) -> OrderMemory:
    """What a step for money came to, what was done to a payment otherwise, and that a hold has run out."""
    match heard:
        case StepDone(seen=Payment() as payment):
            return _seen(memory, heard, payment)
        case StepRefused(step=step) if step in STEPS:
            return _refused(memory, heard)
        case Happened(event=Payment.Captured() | Payment.Refunded() | Payment.RefundFailed()):
            return _told(memory, heard)
        case Happened(event=Payment.AuthorisationExpired()):
            return _told(memory, heard)
        case TimedOut(timer="patience"):
            return _doubted(memory)
        case TimedOut(timer="authorisation"):
            for paid in memory.payments:
                if paid.expires_at is not None and paid.expires_at <= heard.due_at:
                    memory = memory.with_paid(paid.but(expires_at=None, ran_out=True))
    return memory


def _seen(memory: OrderMemory, heard: StepDone, payment: Payment) -> OrderMemory:
    """The payment as it was after the step."""
    if heard.step == AUTHORISE:
        memory = memory.but(asking_until=None)
    memory = _as_it_is(memory, heard.step, payment)
    if heard.extra.get("outcome") != "declined":
        return memory
    paid = memory.paid(payment.id)
    match heard.step:
        case "authorise":
            why = f"The payment was declined: {heard.extra.get('decline_code')}."
            return _given_up(memory, DECLINED, why)
        case "capture":
            return memory.with_paid(paid.but(bad=True)).but(lapses=memory.lapses + 1)
        case "void":
            return memory.with_paid(paid.but(stuck=True))
    return memory.with_paid(paid.but(kept=True))


def _as_it_is(memory: OrderMemory, step: str, payment: Payment) -> OrderMemory:
    """With what is to be seen of a payment, after a step that was about it."""
    known = memory.paid(payment.id)
    if payment.version < known.version:
        return memory
    paid = known.but(
        number=payment.attempt,
        held=payment.held,
        captured=payment.captured,
        refunded=payment.refunded,
        version=payment.version,
        expires_at=payment.expires_at if payment.held and not known.ran_out else None,
        doubtful=False,
    )
    return memory.with_paid(paid) if step == VOID else _with_lapse(memory, known, paid)


def _doubted(memory: OrderMemory) -> OrderMemory:
    """Nobody knows what became of the authorisation, and it was waited for long enough."""
    assert memory.at_payment is not None
    doubted = memory.with_paid(memory.paid(memory.at_payment).but(doubtful=True)).but(asking_until=None)
    return _given_up(doubted, TIMED_OUT, "The payment gateway does not answer.")


def _refused(memory: OrderMemory, heard: StepRefused) -> OrderMemory:
    assert memory.at_payment is not None
    paid = memory.paid(memory.at_payment)
    if heard.step == AUTHORISE:
        return _not_authorised(memory, paid, heard)
    if isinstance(heard.seen, Payment) and heard.seen.version > paid.version:
        # Somebody has done more with it than was heard of here: what is to be done follows from how it is.
        return _as_it_is(memory, heard.step, heard.seen)
    match heard.step:
        case "capture":
            return memory.with_paid(paid.but(bad=True)).but(lapses=memory.lapses + 1)
        case "void":
            return memory.with_paid(paid.but(held=NOTHING_YET, doubtful=False))
        case "expire" if heard.code == NOT_EXPIRED:
            return memory.with_paid(paid.but(expires_at=heard.at + AGAIN_AFTER, ran_out=False))
        case "expire":
            return _with_lapse(memory, paid, paid.but(held=NOTHING_YET))
    return memory.with_paid(paid.but(kept=True))


def _not_authorised(memory: OrderMemory, paid: Paid, heard: StepRefused) -> OrderMemory:
    if heard.code == EXISTS:
        if memory.asking_until is None:
            # Somebody has used this attempt otherwise: there is another.
            return memory
        # It was ours, of an amount that the order had then.
        return memory.with_paid(paid.but(doubtful=True)).but(asking_until=None)
    if heard.code.startswith("payments."):
        return _given_up(memory, heard.code, heard.detail)
    if heard.code == NO_ANSWER:
        return _doubted(memory)
    return memory.but(asking_until=memory.asking_until or heard.at + PATIENCE)


def _told(memory: OrderMemory, happened: Happened) -> OrderMemory:
    """What an event says, unless it is known already."""
    known = memory.paid(happened.stream_id)
    if happened.version <= known.version:
        return memory
    changes: dict[str, Any] = {}
    match happened.event:
        case Payment.Captured() as captured:
            left = known.held - captured.amount - captured.released
            changes = {"captured": captured.captured_after, "held": max(left, NOTHING_YET)}
        case Payment.Refunded() | Payment.RefundFailed() as refunded:
            changes = {"refunded": refunded.refunded_after, "kept": False}
        case Payment.AuthorisationExpired() as expired:
            changes = {"held": max(known.held - expired.amount, NOTHING_YET)}
    return _with_lapse(memory, known, known.but(version=happened.version, **changes))


def _with_lapse(memory: OrderMemory, known: Paid, paid: Paid) -> OrderMemory:
    """With this known of a payment; what was held and is not, without having been taken, is lost."""
    was_held = known.held > 0 and not (known.bad or known.stuck)
    is_lost = was_held and paid.held == 0 and paid.captured == known.captured
    return memory.with_paid(paid).but(lapses=memory.lapses + 1 if is_lost else memory.lapses)


def _given_up(memory: OrderMemory, code: str, why: str) -> OrderMemory:
    """Without money there is no delivery; what has left stays unpaid."""
    if memory.giving_up or not memory.is_open:
        return memory.but(unpaid=True)
    return memory.but(unpaid=True, giving_up=code, why=why)


# What is to be done


def following(memory: OrderMemory) -> Next:
    """What is to be done next about money, if anything."""
    for step in (_expired, _voided, _captured, _refunded):
        memory, found = step(memory)
        if found is not None:
            return memory, found
    return _held(memory)


def authorise(memory: OrderMemory) -> Step:
    """Have what is still to be paid held, by another attempt or by one that nothing is known of yet."""
    number = memory.attempt
    command = AuthorisePayment.model_validate(
        {
            "order_id": memory.order,
            "attempt": number,
            "amount": text(memory.to_hold),
            "currency": memory.currency,
            "method": memory.method,
            "token": memory.token,
        }
    )
    look = (Payment, memory.payment_of(number))
    # Asked again, it waits for the gateway to come back, until patience ends.
    tries_max = TRIES_MAX if memory.asking_until is None else None
    return Step(AUTHORISE, command, look=look, tries_max=tries_max, lane=LANE)


def authorising(memory: OrderMemory) -> OrderMemory:
    """What is known once that was asked for."""
    number = memory.attempt
    payment = memory.payment_of(number)
    return memory.with_paid(memory.paid(payment).but(number=number)).but(at_payment=payment)


def _at(memory: OrderMemory, paid: Paid, name: str, command: Any) -> Next:
    step = Step(name, command, look=(Payment, paid.payment_id), lane=LANE)
    return memory.but(at_payment=paid.payment_id), step


def _voided(memory: OrderMemory) -> Next:
    """Nothing is held that will not be taken."""
    for paid in memory.payments:
        if (paid.doubtful or paid.held > 0) and not paid.stuck and not _is_wanted(memory, paid):
            why = f"order is {memory.standing}, revision {memory.revision}"
            return _at(memory, paid, VOID, VoidPayment(id=paid.payment_id, reason=why))
    return memory, None


def _is_wanted(memory: OrderMemory, paid: Paid) -> bool:
    match memory.standing:
        case Standing.PENDING if paid.doubtful:
            # First it is to be known whether the order can be given up.
            return bool(memory.giving_up)
        case Standing.PENDING:
            return paid is memory.hold and paid.held == memory.to_hold
        case Standing.CONFIRMED:
            return paid is memory.hold and memory.to_hold > 0
        case Standing.CANCELLED:
            return False
        case _:  # returned: the shipping is owed
            return paid is memory.hold and memory.charge_due > 0


def _expired(memory: OrderMemory) -> Next:
    """What has run out is recorded."""
    for paid in memory.payments:
        if paid.ran_out and paid.held > 0:
            return _at(memory, paid, EXPIRE, ExpireAuthorisation(id=paid.payment_id))
    return memory, None


def _captured(memory: OrderMemory) -> Next:
    """What is owed is taken."""
    due, hold = memory.charge_due, memory.hold
    if due <= 0 or hold is None:
        return memory, None
    amount = min(due, hold.held)
    command = CaptureAsKnown(id=hold.payment_id, amount=text(amount), version=hold.version)
    return _at(memory, hold, CAPTURE, command)


def _refunded(memory: OrderMemory) -> Next:
    """What was taken and is not owed is given back."""
    taken = (each for each in memory.payments if each.captured > each.refunded and not each.kept)
    paid = next(taken, None)
    if paid is None or not memory.refund_left:
        return memory, None
    amount = min(memory.refund_left, paid.captured - paid.refunded)
    why = f"order is {memory.standing}"
    command = RefundAsKnown(id=paid.payment_id, amount=text(amount), reason=why, version=paid.version)
    return _at(memory, paid, REFUND, command)


def _held(memory: OrderMemory) -> Next:
    """What is to be delivered, or was, is held first; lost twice, it is given up."""
    if memory.hold is not None or memory.unpaid or not _needs_hold(memory):
        return memory, None
    if memory.lapses > LAPSES_MAX:
        return _given_up(memory, EXPIRED, "The authorisation ran out a second time."), None
    return authorising(memory), authorise(memory)


def _needs_hold(memory: OrderMemory) -> bool:
    match memory.standing:
        case Standing.PENDING:
            return memory.is_reserved and memory.to_hold > 0 and not memory.giving_up
        case Standing.CANCELLED:
            return False
    # A gateway may take once only: the rest is held anew when it is due, or when it was lost.
    is_lost = memory.standing is Standing.CONFIRMED and memory.lapses > 0
    return memory.charge_due > 0 or (is_lost and memory.to_hold > 0)
