"""What leaves at a time, and what it is worth. Pure: lines and earlier shipments in, the next one out.

Every amount is that of all that has left by now, this shipment included, less that of what had left before.
So the amounts of all shipments add up to those of the order, to the last minor unit, however it is cut: the
last takes the rest.

    amount of a line   the line's amount, by quantity
    net of a line      its part of the order's net (that is, less its part of the discount), by quantity
    tax                the order's tax, by net
    shipping           the order's shipping, by amount; of an order of gifts, all with the last shipment

DomainError
├── LineUnknown       the order has no such line
└── MoreThanOrdered   less of it is open
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import ClassVar, Final

from domain.sales.pricing import OrderLine, Pricing, plain, require_positive, share
from domain.shared.errors import DomainError
from domain.shared.money import in_minor_units

_ZERO: Final = Decimal(0)


class LineUnknown(DomainError):
    """What is to be shipped was not ordered."""

    code: ClassVar[str] = "sales.line_unknown"


class MoreThanOrdered(DomainError):
    """Not as much of the line is open."""

    code: ClassVar[str] = "sales.more_than_ordered"


@dataclass(frozen=True, slots=True)
class ShippedLine:
    """So much of a sku. `amount` is what it was sold at, `net` the same less its part of the discount."""

    sku: str
    quantity: Decimal
    amount: Decimal
    net: Decimal


@dataclass(frozen=True, slots=True)
class Shipment:
    """What left together. `net` is the sum of the lines', `total` that with tax and shipping."""

    number: int
    lines: tuple[ShippedLine, ...]
    net: Decimal
    tax: Decimal
    shipping: Decimal
    total: Decimal
    shipped_on: date


@dataclass(frozen=True, slots=True)
class ReturnedLine:
    """So much of a sku, of that shipment, came back."""

    sku: str
    quantity: Decimal
    shipment: int


@dataclass(frozen=True, slots=True)
class Sold:
    """An order, as far as shipping it goes."""

    currency: str
    lines: Sequence[OrderLine]
    pricing: Pricing
    shipments: Sequence[Shipment]

    def shipped(self) -> dict[str, Decimal]:
        """What has left already, by sku."""
        gone = {line.sku: _ZERO for line in self.lines}
        for line in _lines_of(self.shipments):
            gone[line.sku] += line.quantity
        return {sku: plain(quantity) for sku, quantity in gone.items()}

    def open_quantities(self) -> dict[str, Decimal]:
        """What has yet to leave, by sku, where there is something."""
        gone = self.shipped()
        left = {line.sku: plain(line.quantity - gone[line.sku]) for line in self.lines}
        return {sku: quantity for sku, quantity in left.items() if quantity}

    def next_shipment(self, quantities: Mapping[str, Decimal], shipped_on: date) -> Shipment:
        """The shipment of these quantities by sku, with what it is worth.

        Raises:
            DomainError: a line is not there, or not as much of it is open.
        """
        self._require_open(quantities)
        before = self.shipped()
        worth = self._worth({sku: before[sku] + quantities.get(sku, _ZERO) for sku in before})
        amounts, nets = _sums(self.shipments)
        lines = tuple(
            ShippedLine(
                sku,
                plain(quantity),
                worth.amounts[sku] - amounts.get(sku, _ZERO),
                worth.nets[sku] - nets.get(sku, _ZERO),
            )
            for sku, quantity in quantities.items()
        )
        net = sum((line.net for line in lines), _ZERO)
        tax = worth.tax - sum((each.tax for each in self.shipments), _ZERO)
        shipping = worth.shipping - sum((each.shipping for each in self.shipments), _ZERO)
        return Shipment(len(self.shipments) + 1, lines, net, tax, shipping, net + tax + shipping, shipped_on)

    def _require_open(self, quantities: Mapping[str, Decimal]) -> None:
        ordered = {line.sku for line in self.lines}
        left = self.open_quantities()
        for sku, quantity in quantities.items():
            if sku not in ordered:
                raise LineUnknown(f"The order has no line of {sku}.", sku=sku)
            require_positive(sku, quantity)
            still_open = left.get(sku, _ZERO)
            if quantity > still_open:
                detail = f"Of {sku} {still_open:f} are open, not {quantity:f}."
                raise MoreThanOrdered(detail, sku=sku, open=f"{still_open:f}", requested=f"{quantity:f}")

    def _worth(self, gone: Mapping[str, Decimal]) -> "_Worth":
        """What these quantities together come to."""
        amounts, nets = {}, {}
        for line, net in zip(self.lines, self._line_nets(), strict=True):
            amounts[line.sku] = share(line.amount, gone[line.sku], line.quantity, self.currency)
            nets[line.sku] = share(net, gone[line.sku], line.quantity, self.currency)
        all_gone = all(gone[line.sku] == line.quantity for line in self.lines)
        return _Worth(
            amounts,
            nets,
            tax=self._part(self.pricing.tax, sum(nets.values(), _ZERO), self.pricing.net, done=all_gone),
            shipping=self._part(
                self.pricing.shipping, sum(amounts.values(), _ZERO), self.pricing.subtotal, done=all_gone
            ),
        )

    def _line_nets(self) -> Iterator[Decimal]:
        """The net of each line: the order's net, dealt out by amount, without losing a minor unit."""
        reached = dealt = _ZERO
        for line in self.lines:
            reached += line.amount
            up_to_here = self._part(self.pricing.net, reached, self.pricing.subtotal, done=True)
            yield up_to_here - dealt
            dealt = up_to_here

    def _part(self, whole: Decimal, part: Decimal, of: Decimal, *, done: bool) -> Decimal:
        if of:
            return share(whole, part, of, self.currency)
        return whole if done else in_minor_units(_ZERO, self.currency)


@dataclass(frozen=True, slots=True)
class _Worth:
    amounts: Mapping[str, Decimal]
    nets: Mapping[str, Decimal]
    tax: Decimal
    shipping: Decimal


def _sums(shipments: Sequence[Shipment]) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """Amounts and nets that have left already, by sku."""
    amounts: dict[str, Decimal] = {}
    nets: dict[str, Decimal] = {}
    for line in _lines_of(shipments):
        amounts[line.sku] = amounts.get(line.sku, _ZERO) + line.amount
        nets[line.sku] = nets.get(line.sku, _ZERO) + line.net
    return amounts, nets


def _lines_of(shipments: Sequence[Shipment]) -> Iterator[ShippedLine]:
    return (line for shipment in shipments for line in shipment.lines)
