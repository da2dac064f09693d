"""Two warehouses against a plain model on paper: whatever is done in whatever order, dated back or not, they
agree on every quantity, every layer and every cent.
"""

from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from domain.inventory.item import Shelf
from domain.inventory.stock import Stock
from domain.inventory.stock_events import Movement, Revalued
from domain.inventory.valuation import Valuation
from domain.shared.errors import DomainError
from tests.finance.ledger import replayed
from tests.inventory.model import Paper, part
from tests.inventory.shelf import booking, shelf, stock

places = st.sampled_from(["main", "annex"])
days = st.integers(1, 9)
quantities = st.integers(1, 40).map(lambda quarters: Decimal(quarters) / 4)
costs = st.integers(0, 999).map(lambda cents: Decimal(cents) / 100)
orders = st.sampled_from([f"o{number}" for number in range(8)])


class Warehouses(RuleBasedStateMachine):
    """The model is one `Paper` for each warehouse."""

    valuation = Valuation.FIFO

    def __init__(self) -> None:
        super().__init__()
        averages = self.valuation is Valuation.MOVING_AVERAGE
        self.stocks = {name: stock() for name in ("main", "annex")}
        self.papers = {name: Paper(averages) for name in self.stocks}

    def done(self, step: Callable[[], object]) -> bool:
        """Whether the stock lets it happen."""
        try:
            step()
        except DomainError:
            return False
        return True

    def at(self, place: str) -> tuple[Stock, Shelf, Paper]:
        return self.stocks[place], shelf(self.valuation, warehouse=place), self.papers[place]

    def last(self, kept: Stock) -> Movement:
        """What was recorded last, apart from revaluations."""
        return [
            each
            for each in kept.pending_events
            if isinstance(each, Movement) and not isinstance(each, Revalued)
        ][-1]

    @rule(place=places, day=days, quantity=quantities, cost=costs)
    def receive(self, place: str, day: int, quantity: Decimal, cost: Decimal) -> None:
        kept, here, paper = self.at(place)
        kept.receive(here, booking(kept, day), quantity, cost)
        value = (quantity * cost).quantize(Decimal("0.01"))
        assert self.last(kept).value_change == value
        paper.bring(day, [(quantity, value)])

    @rule(place=places, day=days, quantity=quantities)
    def issue(self, place: str, day: int, quantity: Decimal) -> None:
        kept, here, paper = self.at(place)
        allowed = quantity <= min(paper.available, paper.least_since(day))
        assert allowed == self.done(lambda: kept.issue(here, booking(kept, day), quantity))
        if allowed:
            self.took(kept, paper.take(day, quantity))

    def took(self, kept: Stock, taken: list[tuple[Decimal, Decimal]]) -> None:
        assert [(each.quantity, each.value) for each in self.last(kept).layers] == taken
        assert -self.last(kept).value_change == sum(value for _, value in taken)

    @rule(place=places, day=days, counted=st.integers(0, 120).map(lambda quarters: Decimal(quarters) / 4))
    def count(self, place: str, day: int, counted: Decimal) -> None:
        kept, here, paper = self.at(place)
        surplus = counted - paper.on_hand_at(day)
        allowed = -surplus <= paper.least_since(day)
        assert allowed == self.done(lambda: kept.count(here, booking(kept, day), counted, "counted"))
        if not allowed:
            return
        if surplus < 0:
            self.took(kept, paper.take(day, -surplus))
        elif surplus > 0:
            value = paper.worth_of_surplus(day, surplus)
            assert self.last(kept).value_change == value
            paper.bring(day, [(surplus, value)])

    @rule(place=places, day=days, quantity=quantities)
    def transfer(self, place: str, day: int, quantity: Decimal) -> None:
        other = "annex" if place == "main" else "main"
        (here, shelf_here, paper_here), (there, shelf_there, paper_there) = self.at(place), self.at(other)
        allowed = quantity <= min(paper_here.available, paper_here.least_since(day))
        assert allowed == self.done(
            lambda: here.transfer(
                there,
                (shelf_here, shelf_there),
                (booking(here, day), booking(there, day)),
                quantity,
                UUID(int=1),
            )
        )
        if allowed:
            taken = paper_here.take(day, quantity)
            self.took(here, taken)
            paper_there.bring(day, taken)
            assert self.last(here).value_change == -self.last(there).value_change

    @rule(place=places, order=orders, quantity=quantities)
    def reserve(self, place: str, order: str, quantity: Decimal) -> None:
        kept, here, paper = self.at(place)
        is_new = order not in paper.promised
        allowed = quantity <= paper.available if is_new else quantity == paper.promised[order]
        assert allowed == self.done(
            lambda: kept.reserve(here, order, quantity, order_id=order, expires_at=None)
        )
        if allowed and is_new:
            paper.promised[order] = paper.reserved[order] = quantity

    @rule(place=places, order=orders)
    def release(self, place: str, order: str) -> None:
        kept, _, paper = self.at(place)
        assert (order in paper.reserved) == self.done(lambda: kept.release(order, "changed its mind"))
        if paper.reserved.pop(order, None) is not None:
            del paper.promised[order]

    @precondition(lambda self: any(paper.reserved for paper in self.papers.values()))
    @rule(data=st.data(), day=days, quantity=quantities | st.none())
    def ship(self, data: st.DataObject, day: int, quantity: Decimal | None) -> None:
        promises = [(place, order) for place, paper in self.papers.items() for order in paper.reserved]
        place, order = data.draw(st.sampled_from(promises))
        kept, here, paper = self.at(place)
        promised = paper.reserved[order]
        wanted = promised if quantity is None else quantity
        allowed = 0 < wanted <= min(promised, paper.on_hand, paper.least_since(day))
        assert allowed == self.done(lambda: kept.ship(here, booking(kept, day, order), order, quantity))
        if not allowed:
            return
        paper.reserved[order] -= wanted
        if paper.reserved[order] == 0:
            del paper.reserved[order]
        taken = paper.take(day, wanted)
        self.took(kept, taken)
        delivery = paper.delivered.setdefault(order, [Decimal(0), Decimal(0)])
        paper.left_on[order] = min(day, paper.left_on.get(order, day))
        delivery[0] += wanted
        delivery[1] += sum(value for _, value in taken)

    @precondition(lambda self: any(paper.delivered for paper in self.papers.values()))
    @rule(data=st.data(), day=days, quantity=quantities)
    def take_back(self, data: st.DataObject, day: int, quantity: Decimal) -> None:
        deliveries = [(place, order) for place, paper in self.papers.items() for order in paper.delivered]
        place, order = data.draw(st.sampled_from(deliveries))
        kept, here, paper = self.at(place)
        delivery = paper.delivered[order]
        allowed = quantity <= delivery[0] and day >= paper.left_on[order]
        assert allowed == self.done(lambda: kept.take_back(here, booking(kept, day, order), quantity))
        if allowed:
            value = part(delivery[1], quantity, delivery[0])
            assert self.last(kept).value_change == value
            paper.bring(day, [(quantity, value)])
            delivery[0] -= quantity
            delivery[1] -= value

    @invariant()
    def stock_and_paper_agree(self) -> None:
        for place, kept in self.stocks.items():
            paper = self.papers[place]
            assert [[each.quantity, each.value] for each in kept.layers] == paper.now
            assert (kept.on_hand, kept.available) == (paper.on_hand, paper.available)
            assert kept.value == sum(value for _, value in paper.now)
            assert all(each.quantity > 0 and each.value >= 0 for each in kept.layers)

    @invariant()
    def nothing_is_lost(self) -> None:
        """Quantities and values of all movements sum up to what is there, which each of them tells."""
        for kept in self.stocks.values():
            moved = [each for each in kept.pending_events if isinstance(each, Movement)]
            on_hand = value = Decimal(0)
            for each in moved:
                on_hand += each.quantity_change
                value += each.value_change
                assert (each.on_hand_after, each.value_after) == (on_hand, value)
                if not isinstance(each, Revalued):
                    assert sum(layer.quantity for layer in each.layers) == abs(each.quantity_change)
                    assert sum(layer.value for layer in each.layers) == abs(each.value_change)
            assert (kept.on_hand, kept.value) == (on_hand, value)

    def teardown(self) -> None:
        """Replay equals live."""
        for live in self.stocks.values():
            assert replayed(live) == live


class Averages(Warehouses):
    """The same under moving average."""

    valuation = Valuation.MOVING_AVERAGE


TestFifo = Warehouses.TestCase
TestMovingAverage = Averages.TestCase
