"""Stock in memory, for tests of pure rules."""

from datetime import date
from decimal import Decimal
from uuid import uuid4

from domain.inventory.goods import Booking
from domain.inventory.item import Shelf
from domain.inventory.stock import Stock
from domain.inventory.valuation import Layer, Layers, Valuation
from domain.shared.aggregate import Aggregate

REVALUED_ON = date(2026, 2, 1)


def shelf(
    valuation: Valuation = Valuation.FIFO,
    *,
    warehouse: str = "main",
    reorder_point: str = "0",
    currency: str = "EUR",
) -> Shelf:
    """The place of A1."""
    return Shelf(warehouse, "A1", currency, valuation, Decimal(reorder_point))


def stock() -> Stock:
    """One that nothing has happened to."""
    return Stock.blank(uuid4())


def booking(kept: Stock, day: int = 1, reference: str = "") -> Booking:
    """A movement in January 2026, with the past that is still pending."""
    past = [each for each in kept.pending_events if isinstance(each, Aggregate.Event)]
    return Booking(date(2026, 1, day), reference, REVALUED_ON, past)


def stocked(*receipts: tuple[str, str], valuation: Valuation = Valuation.FIFO) -> Stock:
    """Stock that came in on the first, as quantities and costs of one."""
    kept = stock()
    for quantity, unit_cost in receipts:
        kept.receive(shelf(valuation), booking(kept), Decimal(quantity), Decimal(unit_cost))
    return kept


def layers(*told: tuple[int, str, str]) -> Layers:
    """Layers from number, quantity and value."""
    return tuple(Layer(number, Decimal(quantity), Decimal(value)) for number, quantity, value in told)
