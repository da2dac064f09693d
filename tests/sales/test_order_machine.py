"""An order against a plain model of it: whatever is done in whatever order, they agree."""

from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domain.sales.order import Order, OrderStatus
from domain.sales.pricing import Terms, price, priced
from domain.shared.errors import DomainError
from tests.finance.ledger import blank, replayed
from tests.sales.goods import DAY, LATER, any_terms, placement, wanted

skus = st.sampled_from(["A", "B", "C", "D"])
counts = st.integers(1, 4)
cents = st.integers(0, 2000)
payments = st.sampled_from([UUID(int=1), UUID(int=2)])


class Life(RuleBasedStateMachine):
    """The model: a status, counts by sku, wanted and sent, and the revision."""

    def __init__(self) -> None:
        super().__init__()
        self.order = blank(Order)
        self.by: Terms | None = None
        # The model.
        self.status = "blank"
        self.wanted: dict[str, tuple[int, int]] = {}
        self.sent: dict[str, int] = {}
        self.revision = 0
        self.paid_by: UUID | None = None

    def done(self, step: Callable[[], object]) -> bool:
        """Whether the order lets it happen; if not, it is as it was."""
        before = self.order.version
        try:
            step()
        except DomainError:
            assert self.order.version == before
            return False
        return True

    @initialize(sku=skus, count=counts, price_in_cents=cents, by=any_terms())
    def place(self, sku: str, count: int, price_in_cents: int, by: Terms) -> None:
        self.by = by
        said = wanted(sku, str(count), str(Decimal(price_in_cents) / 100))
        assert self.done(lambda: self.order.place(placement(), [said], by))
        self.status, self.revision = "pending", 1
        self.wanted[sku] = (count, price_in_cents)

    @rule(sku=skus, count=counts, price_in_cents=cents)
    def add(self, sku: str, count: int, price_in_cents: int) -> None:
        allowed = self.status == "pending" and sku not in self.wanted
        said = wanted(sku, str(count), str(Decimal(price_in_cents) / 100))
        assert allowed == self.done(lambda: self.order.add_line(said))
        if allowed:
            self.wanted[sku] = (count, price_in_cents)
            self.revision += 1

    @rule(sku=skus)
    def remove(self, sku: str) -> None:
        allowed = self.status == "pending" and sku in self.wanted and len(self.wanted) > 1
        assert allowed == self.done(lambda: self.order.remove_line(sku))
        if allowed:
            del self.wanted[sku]
            self.revision += 1

    @rule(revision=st.integers(1, 6), payment=payments)
    def confirm(self, revision: int, payment: UUID) -> None:
        again = self.status == "confirmed" and payment == self.paid_by
        allowed = revision == self.revision and (self.status == "pending" or again)
        assert allowed == self.done(lambda: self.order.confirm(revision, payment))
        if allowed:
            self.status, self.paid_by = "confirmed", payment

    @rule(payment=payments)
    def confirm_what_there_is(self, payment: UUID) -> None:
        self.confirm(self.revision, payment)

    # Seldom drawn, so that most orders live on.
    @rule(dice=st.integers(0, 5))
    def cancel(self, dice: int) -> None:
        if dice:
            return
        allowed = self.status in {"pending", "confirmed"}
        assert allowed == self.done(lambda: self.order.cancel("why"))
        if allowed:
            self.status = "cancelled"

    @rule(parts=st.dictionaries(skus, counts, min_size=1))
    def ship(self, parts: dict[str, int]) -> None:
        left = self.left()
        allowed = self.can_ship() and all(count <= left.get(sku, 0) for sku, count in parts.items())
        assert allowed == self.done(
            lambda: self.order.ship([(sku, Decimal(count)) for sku, count in parts.items()], DAY)
        )
        if allowed:
            self.send(parts)

    @rule()
    def ship_the_rest(self) -> None:
        allowed, left = self.can_ship(), self.left()
        assert allowed == self.done(lambda: self.order.ship(None, DAY))
        if allowed:
            self.send(left)

    @rule()
    def take_back(self) -> None:
        allowed = self.status in {"partially_shipped", "completed"}
        assert allowed == self.done(lambda: self.order.take_back("", LATER))
        if allowed:
            self.status = "returned"

    def can_ship(self) -> bool:
        return self.status in {"confirmed", "partially_shipped"}

    def left(self) -> dict[str, int]:
        found = {sku: count - self.sent.get(sku, 0) for sku, (count, _) in self.wanted.items()}
        return {sku: count for sku, count in found.items() if count}

    def send(self, parts: dict[str, int]) -> None:
        for sku, count in parts.items():
            self.sent[sku] = self.sent.get(sku, 0) + count
        self.status = "partially_shipped" if self.left() else "completed"

    @invariant()
    def it_stands_where_the_model_does(self) -> None:
        assert self.order.status == self.status
        assert self.order.revision == self.revision
        assert self.order.payment_id == self.paid_by
        assert {each.sku: each.quantity for each in self.order.lines} == {
            sku: count for sku, (count, _) in self.wanted.items()
        }

    @invariant()
    def it_comes_to_what_its_lines_come_to_at_its_first_terms(self) -> None:
        if self.by is None:
            return
        lines = [
            priced(wanted(sku, str(count), str(Decimal(each) / 100)), "EUR")
            for sku, (count, each) in self.wanted.items()
        ]
        assert self.order.pricing == price(lines, self.by, "EUR")

    @invariant()
    def what_left_is_worth_no_more_than_the_order(self) -> None:
        pricing = self.order.pricing
        if pricing is None:
            return
        sent = sum(each.total for each in self.order.shipments)
        assert 0 <= sent <= pricing.total
        if self.status == "completed":
            assert sent == pricing.total

    def teardown(self) -> None:
        """Replay equals live."""
        assert self.order.status in OrderStatus
        assert replayed(self.order) == self.order


TestLife = Life.TestCase
