"""What stock is worth: layers of goods, each with what it cost, exact to the minor unit.

Under FIFO everything that comes in is a layer of its own, and goods leave from the oldest. Under moving
average all goods are one layer, which what comes in is poured into. Only the numbers of layers tell the two
apart, so the arithmetic is the same for both.

A part of a layer takes its part of the value, rounded half-even to the minor unit; the rest of the layer
keeps the rest, so no residue is ever lost, and whoever takes the last goods takes all the value that is left.

DomainError
├── QuantityNotPositive   nothing, or less, cannot move
└── CostNegative          goods may cost nothing, but not less
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import ClassVar, Final

from domain.shared.errors import DomainError
from domain.shared.money import Money, minor_units

NOTHING: Final = Decimal(0)
_ONE: Final = Decimal(1)


class Valuation(StrEnum):
    """Which goods leave first, as far as their cost goes."""

    FIFO = "fifo"
    MOVING_AVERAGE = "moving_average"


class QuantityNotPositive(DomainError):
    """Quantities that move are above zero."""

    code: ClassVar[str] = "inventory.quantity_not_positive"


class CostNegative(DomainError):
    """Goods may cost nothing, but not less."""

    code: ClassVar[str] = "inventory.cost_negative"


@dataclass(frozen=True, slots=True)
class Layer:
    """Goods that came in together, or a part of them, and what they cost; numbered within the stock."""

    layer: int
    quantity: Decimal
    value: Decimal


Layers = tuple[Layer, ...]
"""In the order in which goods leave."""


def plain(quantity: Decimal) -> Decimal:
    """The same quantity in its only form: no zeros after the last decimal, so that 2.50 and 2.5 are alike."""
    shortest = quantity.normalize()
    return shortest if shortest == 0 or shortest.as_tuple().exponent <= 0 else shortest.quantize(_ONE)  # type: ignore[operator]


def quantity_text(quantity: Decimal) -> str:
    """The quantity in plain digits: "12.5"."""
    return f"{plain(quantity):f}"


def require_positive(quantity: Decimal) -> Decimal:
    """The quantity in its plain form.

    Raises:
        QuantityNotPositive: nothing would move.
    """
    if quantity <= 0:
        raise QuantityNotPositive(
            f"A quantity of {quantity_text(quantity)} cannot move.", quantity=quantity_text(quantity)
        )
    return plain(quantity)


def cost(quantity: Decimal, unit_cost: Decimal, currency: str) -> Decimal:
    """What so many cost, rounded half-even to the minor unit.

    Raises:
        DomainError: the cost of one is below zero, or no amount of the currency.
    """
    exact = Money(unit_cost, currency).amount
    if exact < 0:
        raise CostNegative(f"A cost of {exact} {currency} is below zero.", unit_cost=f"{exact:f}")
    return Money(share(exact, quantity, _ONE, currency), currency).amount


def share(value: Decimal, part: Decimal, whole: Decimal, currency: str) -> Decimal:
    """The value of `part`, of which `whole` is worth `value`, rounded half-even to the minor unit."""
    units = minor_units(currency)
    # Fractions, because a quotient of decimals would be rounded twice.
    return Decimal(round(Fraction(value) * Fraction(part) / Fraction(whole) * 10**units)).scaleb(-units)


def quantity_of(layers: Layers) -> Decimal:
    """How much there is in them."""
    return plain(sum((each.quantity for each in layers), NOTHING))


def value_of(layers: Layers) -> Decimal:
    """What they are worth together."""
    return sum((each.value for each in layers), NOTHING)


def numbered(goods: Sequence[tuple[Decimal, Decimal]], valuation: Valuation, layers_made: int) -> Layers:
    """Layers for goods that come in, given as quantity and value; `layers_made`: the last number in use."""
    if valuation is Valuation.MOVING_AVERAGE:
        return tuple(Layer(1, quantity, value) for quantity, value in goods)
    return tuple(
        Layer(number, quantity, value)
        for number, (quantity, value) in enumerate(goods, start=layers_made + 1)
    )


def taken(layers: Layers, quantity: Decimal, currency: str) -> Layers:
    """What leaves when `quantity`, which is there, leaves."""
    used: list[Layer] = []
    for each in layers:
        if quantity == 0:
            break
        if quantity >= each.quantity:
            used.append(each)
            quantity -= each.quantity
        else:
            value = share(each.value, quantity, each.quantity, currency)
            used.append(Layer(each.layer, plain(quantity), value))
            quantity = NOTHING
    return tuple(used)


def without(layers: Layers, used: Layers) -> Layers:
    """What is left when `used` has left."""
    gone = {each.layer: each for each in used}
    left: list[Layer] = []
    for index, each in enumerate(layers):
        if not gone:
            return (*left, *layers[index:])
        part = gone.pop(each.layer, None)
        if part is None:
            left.append(each)
        elif part.quantity < each.quantity:
            left.append(Layer(each.layer, plain(each.quantity - part.quantity), each.value - part.value))
    return tuple(left)


def joined(first: Layers, second: Layers) -> Layers:
    """Both, one after the other. Where they meet, parts of the same layer become one again."""
    if not first or not second or first[-1].layer != second[0].layer:
        return first + second
    end, start = first[-1], second[0]
    met = Layer(end.layer, plain(end.quantity + start.quantity), end.value + start.value)
    return (*first[:-1], met, *second[1:])


def surplus_value(layers: Layers, newest: Layer | None, quantity: Decimal, currency: str) -> Decimal:
    """What goods are worth that a count has found: as those that came last and are still there (under moving
    average: as all), else as those that came last of all; nothing when none ever came.
    """
    like = layers[-1] if layers else newest
    return Decimal(0) if like is None else share(like.value, quantity, like.quantity, currency)
