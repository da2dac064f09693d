"""Stock as one would keep it on paper: a list of movements, gone through from the start each time."""

from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

Pile = list[list[Decimal]]
"""Quantity and value of each layer, in the order in which goods leave."""


def part(value: Decimal, quantity: Decimal, whole: Decimal) -> Decimal:
    """The value of a part, to the cent."""
    with localcontext() as context:
        context.prec = 100
        return (value * quantity / whole).quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN)


@dataclass
class Record:
    """A movement: what came in (quantity and value of each part), or how much left."""

    day: int
    came: list[tuple[Decimal, Decimal]] = field(default_factory=list)
    left: Decimal = Decimal(0)


@dataclass
class Paper:
    """The paper of one warehouse."""

    averages: bool
    records: list[Record] = field(default_factory=list)
    reserved: dict[str, Decimal] = field(default_factory=dict)
    promised: dict[str, Decimal] = field(default_factory=dict)
    """What was reserved under each id, until that is free again."""
    delivered: dict[str, list[Decimal]] = field(default_factory=dict)
    """Quantity and value of each delivery."""
    left_on: dict[str, int] = field(default_factory=dict)
    """The first day of each delivery."""

    def in_order(self) -> list[Record]:
        return sorted(self.records, key=lambda record: record.day)

    def pile(self, records: list[Record]) -> tuple[Pile, list[tuple[Decimal, Decimal]]]:
        """What is there after these, and what the last of them took."""
        pile: Pile = []
        took: list[tuple[Decimal, Decimal]] = []
        for record in records:
            for quantity, value in record.came:
                if self.averages and pile:
                    pile[0] = [pile[0][0] + quantity, pile[0][1] + value]
                else:
                    pile.append([quantity, value])
            took, left = [], record.left
            while left > 0:
                if pile[0][0] <= left:
                    quantity, value = pile.pop(0)
                else:
                    quantity, value = left, part(pile[0][1], left, pile[0][0])
                    pile[0] = [pile[0][0] - quantity, pile[0][1] - value]
                took.append((quantity, value))
                left -= quantity
        return pile, took

    @property
    def now(self) -> Pile:
        return self.pile(self.in_order())[0]

    @property
    def on_hand(self) -> Decimal:
        return sum((quantity for quantity, _ in self.now), Decimal(0))

    @property
    def available(self) -> Decimal:
        return self.on_hand - sum(self.reserved.values(), Decimal(0))

    def until(self, day: int) -> list[Record]:
        return [record for record in self.in_order() if record.day <= day]

    def on_hand_at(self, day: int) -> Decimal:
        return sum((quantity for quantity, _ in self.pile(self.until(day))[0]), Decimal(0))

    def least_since(self, day: int) -> Decimal:
        records = self.in_order()
        start = len(self.until(day))
        return min(
            sum((quantity for quantity, _ in self.pile(records[:end])[0]), Decimal(0))
            for end in range(start, len(records) + 1)
        )

    def worth_of_surplus(self, day: int, quantity: Decimal) -> Decimal:
        """Like what came last and is there, else like what came last."""
        pile, _ = self.pile(self.until(day))
        came = [each for record in self.until(day) for each in record.came]
        if pile:
            return part(pile[-1][1], quantity, pile[-1][0])
        return part(came[-1][1], quantity, came[-1][0]) if came else Decimal(0)

    def bring(self, day: int, came: list[tuple[Decimal, Decimal]]) -> None:
        self.records.append(Record(day, came=came))

    def take(self, day: int, quantity: Decimal) -> list[tuple[Decimal, Decimal]]:
        """What it is taken from."""
        self.records.append(Record(day, left=quantity))
        return self.pile(self.until(day))[1]
