"""Movements that are dated back: recorded now, although goods had moved since the day that they are dated on.

Nothing that was recorded changes. What the stock would be worth had everything been recorded on its day is
found by playing all movements once more in the order of their days, and the difference to what the books say
becomes one revaluation. What came in keeps the value that it came in with, also from another warehouse or a
customer; what left is valued anew, for it left out of other layers.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from domain.inventory.valuation import (
    NOTHING,
    Layer,
    Layers,
    joined,
    plain,
    quantity_of,
    taken,
    value_of,
    without,
)


@dataclass(frozen=True, slots=True)
class Step:
    """A movement of the past: what it added, or how much it took."""

    effective_at: date
    added: Layers
    quantity_taken: Decimal


class Timeline:
    """The stock at the end of a day, and what was recorded for the days after it."""

    def __init__(self, past: Iterable[Step], day: date, currency: str) -> None:
        # Sorting is stable: of one day, what was recorded first comes first.
        steps = sorted(past, key=_day)
        here = bisect_right(steps, day, key=_day)
        self._currency = currency
        self._later = steps[here:]
        self.layers: Layers = ()
        self.newest: Layer | None = None
        """The last layer that came in up to then."""
        for step in steps[:here]:
            self.layers, _ = _after(self.layers, step, currency)
            if step.added:
                self.newest = step.added[-1]

    @property
    def on_hand(self) -> Decimal:
        """How much there was at the end of the day."""
        return quantity_of(self.layers)

    @property
    def least_on_hand(self) -> Decimal:
        """How much there was at the end of the day or at any time since, when there was least."""
        on_hand = least = self.on_hand
        for step in self._later:
            on_hand += quantity_of(step.added) - step.quantity_taken
            least = min(least, on_hand)
        return plain(least)

    def today(self, layers: Layers) -> tuple[Layers, Decimal]:
        """What there would be now had there been `layers` at the end of the day, and what all that there was
        would have been worth when it was worth most, then or at any time since.
        """
        value = value_max = value_of(layers)
        for step in self._later:
            layers, change = _after(layers, step, self._currency)
            value += change
            value_max = max(value_max, value)
        return layers, value_max


def step_in(effective_at: date, added: Layers) -> Step:
    """Something came in."""
    return Step(effective_at, added, NOTHING)


def step_out(effective_at: date, quantity: Decimal) -> Step:
    """Something left."""
    return Step(effective_at, (), quantity)


def _after(layers: Layers, step: Step, currency: str) -> tuple[Layers, Decimal]:
    """What there is after the step, and what it changed in value."""
    used = taken(layers, step.quantity_taken, currency)
    return joined(without(layers, used), step.added), value_of(step.added) - value_of(used)


def _day(step: Step) -> date:
    return step.effective_at
