"""A payment against a plain model of it: whatever is done in whatever order, the inequalities hold."""

from collections.abc import Callable
from decimal import Decimal
from uuid import UUID, uuid4

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.payments.operation import GatewayRefund, OperationKind, Standing
from domain.payments.payment import Payment
from domain.shared.errors import DomainError
from domain.shared.money import Money
from tests.payments.history import NOON, ORDER, WEEK

amounts = st.integers(1, 120)


class Till(RuleBasedStateMachine):
    """The model: whole amounts, and the queue of what is pending."""

    def __init__(self) -> None:
        super().__init__()
        self.payment = Payment.blank(uuid4())
        self.authorised = self.captured = self.refunded = self.held = 0
        self.queue: list[tuple[UUID, str, int]] = []
        self.known = False
        self.several = True
        self.ours: dict[UUID, int] = {}

    def done(self, step: Callable[[], object]) -> bool:
        before = self.payment.version
        try:
            step()
        except DomainError:
            assert self.payment.version == before, "a refusal changes nothing"
            return False
        return True

    @initialize(amount=st.integers(1, 100), several=st.booleans())
    def authorise(self, amount: int, several: bool) -> None:
        operation = uuid4()
        self.payment.request_authorisation(
            Money(Decimal(amount), "EUR"),
            order_id=ORDER,
            attempt=1,
            method="card",
            token="tok_ok",
            operation=operation,
            at=NOON,
        )
        self.queue = [(operation, "authorise", amount)]
        self.several = several

    @rule(amount=amounts, late=st.booleans())
    def capture(self, amount: int, late: bool) -> None:
        operation = uuid4()
        at = NOON + WEEK if late else NOON
        allowed = not self.queue and amount <= self.held and not late
        assert allowed == self.done(
            lambda: self.payment.request_capture(Decimal(amount), operation=operation, at=at)
        )
        if allowed:
            self.queue.append((operation, "capture", amount))

    @rule()
    def void(self) -> None:
        operation = uuid4()
        may_wait = [kind for _, kind, _ in self.queue] in (["authorise"], ["capture"])
        allowed = may_wait or (not self.queue and self.held > 0)
        assert allowed == self.done(lambda: self.payment.request_void(operation=operation, at=NOON))
        if allowed:
            self.queue.append((operation, "void", 0))

    @rule(amount=amounts)
    def refund(self, amount: int) -> None:
        operation = uuid4()
        allowed = not self.queue and amount <= self.captured - self.refunded
        assert allowed == self.done(
            lambda: self.payment.request_refund(Decimal(amount), reason="x", operation=operation, at=NOON)
        )
        if allowed:
            self.queue.append((operation, "refund", amount))

    @precondition(lambda self: self.queue)
    @rule(again=st.booleans())
    def approve(self, again: bool) -> None:
        operation, kind, amount = self.queue.pop(0)
        for _ in range(1 + again):
            self.payment.approve(
                operation, reference="r", expires_at=NOON + WEEK, several_captures=self.several
            )
        if kind == "authorise":
            self.authorised = self.held = amount
        elif kind == "capture":
            self.captured += amount
            self.held = self.held - amount if self.several else 0
            if not self.held:
                self.queue = []
        elif kind == "void":
            self.held = 0
        else:
            self.refunded += amount
            self.ours[operation] = amount

    @precondition(lambda self: self.queue)
    @rule()
    def decline(self) -> None:
        operation, kind, _ = self.queue.pop(0)
        self.payment.decline(operation, "no")
        if kind == "authorise":
            self.queue = []

    @precondition(lambda self: len(self.queue) > 1)
    @rule(approved=st.booleans())
    def jump_the_queue(self, approved: bool) -> None:
        operation = self.queue[1][0]
        step = self.payment.approve if approved else (lambda each: self.payment.decline(each, "no"))
        assert not self.done(lambda: step(operation))

    @rule(late=st.booleans())
    def expire(self, late: bool) -> None:
        allowed = late and not self.queue and self.held > 0
        assert allowed == self.done(lambda: self.payment.expire(at=NOON + WEEK if late else NOON))
        self.held = 0 if allowed else self.held

    @rule(
        captured=st.integers(0, 110),
        held=st.integers(0, 110),
        theirs=st.integers(0, 60),
        failing=st.booleans(),
    )
    def agree(self, captured: int, held: int, theirs: int, failing: bool) -> None:
        """The gateway reports our refunds, perhaps as having come back, and one of its own."""
        kept = {} if failing else dict(self.ours)
        own = [
            GatewayRefund(str(op), op, Decimal(n), "lost" if failing else None) for op, n in self.ours.items()
        ]
        more = [GatewayRefund(f"re_{uuid4()}", None, Decimal(theirs))] if theirs else []
        if self.refunded != sum(self.ours.values()):
            return  # refunds of the gateway's own would have to be reported each time: once is enough
        total = sum(kept.values()) + theirs
        standing = Standing(Decimal(captured), Decimal(held), tuple(more + own))
        allowed = (
            not self.queue
            and self.authorised > 0
            and captured >= self.captured
            and captured + held <= self.authorised
            and total <= captured
        )
        assert allowed == self.done(lambda: self.payment.agree(standing))
        if allowed:
            self.held = min(max(self.held - (captured - self.captured), 0), held)
            self.captured = captured
            self.refunded = total
            self.ours = kept

    @invariant()
    def authorised_captured_refunded(self) -> None:
        payment = self.payment
        assert payment.authorised >= payment.captured + payment.released
        assert payment.captured >= payment.refunded >= 0
        assert payment.held >= 0
        assert payment.released >= 0

    @invariant()
    def as_the_model_has_it(self) -> None:
        payment = self.payment
        found = tuple(map(int, (payment.authorised, payment.captured, payment.refunded, payment.held)))
        assert found == (self.authorised, self.captured, self.refunded, self.held)
        assert [each.id for each in payment.pending] == [operation for operation, _, _ in self.queue]

    def teardown(self) -> None:
        """Replay equals live, and every operation that ended did so once."""
        ended = [each for each in self.payment.operations if each.outcome is not None]
        assert len({each.id for each in ended}) == len(ended)
        assert [each.kind for each in self.payment.operations[:1]] in ([], [OperationKind.AUTHORISE])
        twin = Payment.blank(self.payment.id)
        for happened in self.payment.collect_events():
            happened.mutate(twin)
        assert twin == self.payment


TestTill = Till.TestCase
