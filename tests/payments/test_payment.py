"""The rules of a payment."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest

from domain.payments.operation import GatewayRefund, OperationKind, OperationOutcome, Standing
from domain.payments.payment import AT_THE_GATEWAY, Payment, payment_id
from domain.payments.state import PaymentStatus
from domain.shared.errors import DomainError
from domain.shared.ids import natural_id
from domain.shared.money import Money
from eventstore.codec import Codec, StoredFields
from tests.payments.history import (
    NOON,
    ORDER,
    WEEK,
    approve,
    authorised,
    captured,
    names,
    refunded,
    requested,
)

D = Decimal


def refused(step: Callable[[], object]) -> DomainError:
    with pytest.raises(DomainError) as refusal:
        step()
    return refusal.value


def expired() -> Payment:
    payment = authorised()
    payment.expire(at=NOON + WEEK)
    return payment


def voided() -> Payment:
    payment = authorised()
    payment.request_void(operation=uuid4(), at=NOON)
    approve(payment)
    return payment


def declined() -> Payment:
    payment = requested()
    payment.decline(payment.pending[0].id, "card_declined")
    return payment


@pytest.mark.parametrize(
    ("payment", "status"),
    [
        (requested, PaymentStatus.PENDING),
        (declined, PaymentStatus.DECLINED),
        (authorised, PaymentStatus.AUTHORISED),
        (lambda: captured("40"), PaymentStatus.PARTIALLY_CAPTURED),
        (captured, PaymentStatus.CAPTURED),
        (lambda: refunded("40"), PaymentStatus.PARTIALLY_REFUNDED),
        (lambda: refunded("100"), PaymentStatus.REFUNDED),
        (voided, PaymentStatus.VOIDED),
        (expired, PaymentStatus.EXPIRED),
    ],
)
def test_how_it_stands(payment: Callable[[], Payment], status: PaymentStatus) -> None:
    assert payment().status is status


def test_there_is_one_payment_for_each_attempt_of_an_order() -> None:
    tenant = UUID(int=1)
    assert payment_id(tenant, ORDER, 2) == natural_id(tenant, "payments.payment", str(ORDER), "2")


def test_it_is_asked_for_once() -> None:
    payment = requested()
    again: dict[str, Any] = {"order_id": ORDER, "attempt": 1, "method": "card", "token": "t"}
    refusal = refused(
        lambda: payment.request_authorisation(Money(D(1), "EUR"), **again, operation=uuid4(), at=NOON)
    )
    assert (refusal.code, refusal.data) == ("payments.payment_exists", {"id": str(payment.id)})


@pytest.mark.parametrize(("amount", "code"), [("0", "amount_not_positive"), ("-1", "amount_not_positive")])
def test_nothing_is_no_amount(amount: str, code: str) -> None:
    """Neither to be held, nor taken, nor given back."""
    for step in (
        lambda: requested(amount),
        lambda: authorised().request_capture(D(amount), operation=uuid4(), at=NOON),
        lambda: captured().request_refund(D(amount), reason="x", operation=uuid4(), at=NOON),
    ):
        assert refused(step).code == f"payments.{code}"
    assert refused(lambda: captured("1.001")).code == "money.too_many_decimals"


def test_what_is_held_can_be_captured_in_parts() -> None:
    payment = captured("40")
    payment.request_capture(D(60), operation=uuid4(), at=NOON)
    approve(payment)
    assert (payment.captured, payment.held, payment.released) == (D(100), D(0), D(0))
    refusal = refused(lambda: payment.request_capture(D("0.01"), operation=uuid4(), at=NOON))
    assert refusal.code == "payments.capture_exceeds_authorised"
    assert refusal.data == {"requested": "0.01", "available": "0.00", "currency": "EUR"}


def test_where_the_gateway_takes_one_capture_the_rest_is_released_with_it() -> None:
    """A second one is refused by name, not as an amount that is too large."""
    payment = captured("40", several_captures=False)
    assert (payment.captured, payment.held, payment.released) == (D(40), D(0), D(60))
    refusal = refused(lambda: payment.request_capture(D(1), operation=uuid4(), at=NOON))
    assert (refusal.code, refusal.data) == ("payments.single_capture_only", {"captured": "40.00"})


def test_a_capture_that_failed_changes_no_amount() -> None:
    payment = authorised()
    operation = uuid4()
    payment.request_capture(D(40), operation=operation, at=NOON)
    payment.decline(operation, "expired_card")
    assert (payment.captured, payment.held, payment.pending) == (D(0), D(100), ())
    ended = payment.operation(operation)
    assert ended is not None
    assert (ended.outcome, ended.code) == (OperationOutcome.DECLINED, "expired_card")


def test_an_authorisation_holds_until_it_runs_out() -> None:
    payment = authorised()
    last = NOON + WEEK - timedelta(microseconds=1)
    payment.request_capture(D(1), operation=uuid4(), at=last)
    approve(payment)
    refusal = refused(lambda: payment.request_capture(D(1), operation=uuid4(), at=NOON + WEEK))
    assert refusal.code == "payments.authorisation_expired"
    assert refused(lambda: payment.expire(at=last)).code == "payments.authorisation_not_expired"
    payment.expire(at=NOON + WEEK)
    assert (payment.held, payment.released, payment.status) == (D(0), D(99), PaymentStatus.CAPTURED)
    assert refused(lambda: payment.expire(at=NOON + WEEK)).code == "payments.nothing_held"


def test_one_without_an_end_does_not_run_out() -> None:
    payment = authorised(expires_at=None)
    payment.request_capture(D(1), operation=uuid4(), at=NOON + 52 * WEEK)
    approve(payment)
    refusal = refused(lambda: payment.expire(at=NOON + 52 * WEEK))
    assert (refusal.code, refusal.data) == ("payments.authorisation_not_expired", {"expires_at": None})


def test_a_void_releases_what_is_not_captured() -> None:
    payment = captured("40")
    payment.request_void(operation=uuid4(), at=NOON)
    approve(payment)
    assert (payment.captured, payment.held, payment.released) == (D(40), D(0), D(60))
    assert payment.status is PaymentStatus.CAPTURED
    assert refused(lambda: payment.request_void(operation=uuid4(), at=NOON)).code == "payments.nothing_held"


@pytest.mark.parametrize("payment", [declined, captured, voided, expired])
def test_where_nothing_is_held_there_is_nothing_to_void(payment: Callable[[], Payment]) -> None:
    found = payment()
    refusal = refused(lambda: found.request_void(operation=uuid4(), at=NOON))
    assert (refusal.code, refusal.data) == ("payments.nothing_held", {"status": str(found.status)})


def test_a_void_that_failed_releases_nothing() -> None:
    payment = authorised()
    payment.request_void(operation=uuid4(), at=NOON)
    payment.decline(payment.pending[0].id, "already_captured")
    assert (payment.held, payment.status) == (D(100), PaymentStatus.AUTHORISED)


def test_a_void_waits_for_the_authorisation() -> None:
    """It is refused its turn before, and has it after."""
    payment = requested()
    payment.request_void(operation=uuid4(), at=NOON)
    assert [each.kind for each in payment.pending] == [OperationKind.AUTHORISE, OperationKind.VOID]
    assert refused(lambda: payment.approve(payment.pending[1].id)).code == "payments.operation_pending"
    assert (
        refused(lambda: payment.request_void(operation=uuid4(), at=NOON)).code == "payments.operation_pending"
    )
    approve(payment, reference="r-1")
    approve(payment)
    assert (payment.status, payment.released) == (PaymentStatus.VOIDED, D(100))


def test_a_void_that_waits_has_nothing_to_do_when_the_authorisation_is_declined() -> None:
    payment = requested()
    payment.request_void(operation=uuid4(), at=NOON)
    payment.decline(payment.pending[0].id, "card_declined")
    assert names(payment) == ["authorisation_requested", "void_requested", "declined", "voided"]
    assert (payment.status, payment.pending) == (PaymentStatus.DECLINED, ())


@pytest.mark.parametrize(("amount", "events"), [("40", []), ("100", ["void_failed"])])
def test_a_void_waits_for_a_capture(amount: str, events: list[str]) -> None:
    """Of what was all captured nothing is left to be released."""
    payment = authorised()
    payment.request_capture(D(amount), operation=uuid4(), at=NOON)
    payment.request_void(operation=uuid4(), at=NOON)
    refusal = refused(lambda: payment.request_void(operation=uuid4(), at=NOON))
    assert refusal.code == "payments.operation_pending"
    approve(payment)
    assert names(payment)[2:] == ["capture_requested", "void_requested", "captured", *events]
    assert len(payment.pending) == 1 - len(events)
    assert payment.held == 100 - D(amount)


def test_what_is_captured_can_be_refunded_in_parts() -> None:
    payment = refunded("40", of="100")
    payment.request_refund(D(60), reason="late", operation=uuid4(), at=NOON)
    approve(payment)
    assert (payment.refunded, payment.refundable) == (D(100), D(0))
    refusal = refused(lambda: payment.request_refund(D("0.01"), reason="x", operation=uuid4(), at=NOON))
    assert refusal.code == "payments.refund_exceeds_captured"
    assert refusal.data == {"requested": "0.01", "available": "0.00", "currency": "EUR"}


def test_a_refund_that_failed_can_be_tried_again() -> None:
    payment = captured()
    payment.request_refund(D(100), reason="x", operation=uuid4(), at=NOON)
    payment.decline(payment.pending[0].id, "expired_or_canceled_card")
    assert payment.refundable == D(100)


@pytest.mark.parametrize(
    "step",
    [
        lambda payment: payment.request_capture(D(1), operation=uuid4(), at=NOON),
        lambda payment: payment.request_refund(D(1), reason="x", operation=uuid4(), at=NOON),
        lambda payment: payment.agree(Standing(D(0), D(0))),
    ],
)
def test_of_a_declined_payment_there_is_nothing_to_be_had(step: Callable[[Payment], None]) -> None:
    refusal = refused(lambda: step(declined()))
    assert (refusal.code, refusal.data) == ("payments.not_authorised", {"decline_code": "card_declined"})


STEPS: list[Callable[[Payment], None]] = [
    lambda payment: payment.request_capture(D(1), operation=uuid4(), at=NOON),
    lambda payment: payment.request_void(operation=uuid4(), at=NOON),
    lambda payment: payment.request_refund(D(1), reason="x", operation=uuid4(), at=NOON),
    lambda payment: payment.expire(at=NOON + WEEK),
    lambda payment: payment.agree(Standing(D(0), D(0))),
]


@pytest.mark.parametrize("step", STEPS)
def test_while_something_is_pending_nothing_else_is_asked_for(step: Callable[[Payment], None]) -> None:
    payment = captured("40")
    operation = uuid4()
    payment.request_refund(D(10), reason="late", operation=operation, at=NOON)
    refusal = refused(lambda: step(payment))
    assert refusal.code == "payments.operation_pending"
    assert refusal.data == {"operation": str(operation), "kind": "refund"}


@pytest.mark.parametrize("step", STEPS)
def test_there_is_no_payment_before_it_is_asked_for(step: Callable[[Payment], None]) -> None:
    payment = Payment.blank(uuid4())
    assert refused(lambda: step(payment)).data == {"id": str(payment.id)}


def test_an_outcome_is_recorded_once() -> None:
    """Whoever comes second with it, whatever they say, changes nothing."""
    payment = captured("40")
    before = names(payment)
    for each in payment.operations:
        payment.approve(each.id)
        payment.decline(each.id, "late")
    payment.approve(uuid4())
    assert names(payment) == before


def test_what_the_gateway_says_of_itself_changes_nothing_if_it_is_known() -> None:
    payment = refunded("40")
    mine = GatewayRefund("re_1", payment.operations[-1].id, D(40))
    before = names(payment)
    payment.agree(Standing(D(100), D(0), (mine,)))
    assert names(payment) == before


def test_captures_and_releases_at_the_gateway_are_recorded() -> None:
    """As when somebody captured there, where a capture releases the rest."""
    payment = authorised()
    payment.agree(Standing(D(40), D(0)))
    assert (payment.captured, payment.held, payment.released) == (D(40), D(0), D(60))
    assert names(payment)[-2:] == ["captured", "authorisation_expired"]
    payment.agree(Standing(D(40), D(0)))
    assert len(names(payment)) == 4


def test_what_was_captured_at_the_gateway_was_not_released() -> None:
    """The void, or the expiry, came too late; the money is there."""
    payment = voided()
    payment.agree(Standing(D(40), D(0)))
    assert (payment.captured, payment.released, payment.held) == (D(40), D(60), D(0))


def test_a_cancellation_at_the_gateway_is_an_authorisation_that_ended() -> None:
    payment = authorised()
    payment.agree(Standing(D(0), D(0)))
    assert (payment.status, payment.released) == (PaymentStatus.EXPIRED, D(100))


def test_refunds_at_the_gateway_are_recorded_once() -> None:
    payment = captured()
    theirs = GatewayRefund("re_9", None, D(25))
    for _ in range(2):
        payment.agree(Standing(D(100), D(0), (theirs,)))
    assert payment.refunded == D(25)
    assert payment.operation(uuid5(payment.id, "re_9")) is not None
    assert payment.pending_events[-1].reason == AT_THE_GATEWAY  # type: ignore[attr-defined]


def test_a_refund_that_came_back_is_taken_back_before_another_counts() -> None:
    payment = refunded("100")
    mine = payment.operations[-1].id
    failed = GatewayRefund("re_1", mine, D(100), "lost_or_stolen_card")
    for _ in range(2):
        payment.agree(Standing(D(100), D(0), (GatewayRefund("re_2", None, D(100)), failed)))
    assert payment.refunded == D(100)
    assert names(payment)[-2:] == ["refund_failed", "refunded"]
    ended = payment.operation(mine)
    assert ended is not None
    assert ended.code == "lost_or_stolen_card"


def test_a_refund_at_the_gateway_that_failed_there_is_none_of_ours() -> None:
    payment = captured()
    payment.agree(Standing(D(100), D(0), (GatewayRefund("re_9", None, D(25), "unknown"),)))
    assert payment.refunded == D(0)


@pytest.mark.parametrize(
    "standing",
    [
        Standing(D(30), D(60)),
        Standing(D(60), D(41)),
        Standing(D(101), D(0)),
        Standing(D(40), D(60), (GatewayRefund("re_1", None, D(41)),)),
    ],
)
def test_what_cannot_be_is_not_recorded(standing: Standing) -> None:
    """Less captured than before, more than was authorised, more refunded than captured."""
    payment = captured("40")
    before = names(payment)
    assert refused(lambda: payment.agree(standing)).code == "payments.standing_impossible"
    assert names(payment) == before


def test_the_names_in_the_log_are_frozen() -> None:
    assert sorted(event.TOPIC.removeprefix("payments.payment.") for event in Payment.event_types()) == [
        "authorisation_expired",
        "authorisation_requested",
        "authorised",
        "capture_failed",
        "capture_requested",
        "captured",
        "declined",
        "refund_failed",
        "refund_requested",
        "refunded",
        "void_failed",
        "void_requested",
        "voided",
    ]


@pytest.mark.parametrize("payment", [requested, declined, lambda: refunded("40"), expired, voided])
def test_events_and_snapshots_are_what_was_recorded(payment: Callable[[], Payment]) -> None:
    """Through the codec and back."""
    live, codec = payment(), Codec([Payment])
    twin = Payment.blank(live.id)
    recorded: list[Any] = list(live.collect_events())
    for version, each in enumerate(recorded, start=1):
        told = codec.encode(each)
        fields = StoredFields(version, told.type, told.schema_version, told.series, None, told.data)
        codec.decode(live.id, fields).mutate(twin)
    assert twin == live
    kept = codec.decode_state(Payment, live.id, live.version, codec.encode_state(live))
    assert kept.state() == live.state()
