"""Stock in plain Python: all that changed it, and what each report has to say about it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any
from uuid import UUID

from domain.inventory.valuation import quantity_text
from domain.shared.money import CURRENCIES, amount_text
from projections.inventory.movements import Movement
from projections.inventory.stock_levels import StockLevel
from projections.inventory.valuation import StockValuation, ValuationRow
from tests.projections.shelf import Happened

ITEMS = {"A1": ("EUR", "10"), "B 2": ("JPY", "0"), "C-3.x": ("BHD", "2.5")}
"""Currency and reorder point by sku."""
WAREHOUSES = ("main", "north")
RECORDED_AT = datetime(2026, 7, 1, 12, tzinfo=UTC)
NOTHING = Decimal(0)


@dataclass(frozen=True)
class Change:
    """One of the changes of a stock, by how much of what."""

    position: int
    kind: str
    warehouse: str
    sku: str
    day: date | None
    quantity: Decimal = NOTHING
    value: Decimal = NOTHING
    reserved: Decimal = NOTHING
    on_hand_after: Decimal = NOTHING
    value_after: Decimal = NOTHING
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def currency(self) -> str:
        return ITEMS[self.sku][0]

    @property
    def stock(self) -> tuple[str, str]:
        return self.warehouse, self.sku


@dataclass
class Stocks:
    """Of one tenant."""

    tenant: UUID
    events: list[Happened] = field(default_factory=list)
    registered: dict[str, int] = field(default_factory=dict)
    """Items, and the positions of their registration."""
    changes: list[Change] = field(default_factory=list)

    # What happens

    def register(self, sku: str, position: int) -> None:
        currency, reorder_point = ITEMS[sku]
        self.registered[sku] = position
        data = {
            "sku": sku,
            "name": f"Item {sku}, Köln",
            "unit": "pcs",
            "valuation": "fifo",
            "currency": currency,
            "reorder_point": reorder_point,
            "weight_kg": "0.5",
        }
        self._happened(position, "inventory.item.registered", data)

    def move(
        self,
        position: int,
        kind: str,
        stock: tuple[str, str],
        *,
        day: date,
        quantity: Decimal,
        value: Decimal,
    ) -> None:
        """Goods come or go, of a value; of what is shipped, so much was promised."""
        before = [each for each in self.changes if each.stock == stock]
        told: dict[str, Any] = {
            "reference": f"{kind} {position}",
            "order_id": f"o-{position}" if kind in {"shipped", "returned"} else None,
            "counterpart": "elsewhere" if kind.startswith("transferred") else None,
            "reason": "spring" if kind == "counted" else None,
        }
        change = Change(
            position,
            kind,
            *stock,
            day=day,
            quantity=quantity,
            value=value,
            reserved=quantity if kind == "shipped" else NOTHING,
            on_hand_after=sum((each.quantity for each in before), quantity),
            value_after=sum((each.value for each in before), value),
            told=told,
        )
        self.changes.append(change)
        data = {
            "warehouse": change.warehouse,
            "sku": change.sku,
            "currency": change.currency,
            "quantity_change": f"{change.quantity:f}",
            "value_change": amount_text(change.value, change.currency),
            "layers": [{"layer": 1, "quantity": f"{abs(quantity):f}", "value": f"{abs(value):f}"}],
            "effective_at": day,
            "on_hand_after": f"{change.on_hand_after:f}",
            "value_after": amount_text(change.value_after, change.currency),
            # What an event of this type does not tell is not there at all.
            **{name: each for name, each in told.items() if each is not None},
        }
        self._happened(position, f"inventory.stock.{kind}", data)

    def promise(self, position: int, kind: str, stock: tuple[str, str], quantity: Decimal) -> None:
        """Goods are promised, or not any more."""
        reserved = quantity if kind == "reserved" else -quantity
        self.changes.append(Change(position, kind, *stock, day=None, reserved=reserved))
        data = {
            "warehouse": stock[0],
            "sku": stock[1],
            "reservation_id": "r-1",
            "quantity": f"{quantity:f}",
            "order_id": None,
        }
        more: dict[str, Any] = {"expires_at": None} if kind == "reserved" else {"reason": "because"}
        self._happened(position, f"inventory.stock.{kind}", {**data, **more})

    def _happened(self, position: int, kind: str, data: dict[str, Any]) -> None:
        self.events.append(Happened(position, self.tenant, UUID(int=7), position, kind, data))

    # What the reports say

    def stock_levels(self, at: int, *, below_reorder: bool | None = None, **wanted: str) -> list[StockLevel]:
        stocks: dict[tuple[str, str], list[Change]] = defaultdict(list)
        for each in self.changes:
            if each.position <= at:
                stocks[each.stock].append(each)
        levels = [
            self._level(changes, at)
            for changes in stocks.values()
            if any(each.day is not None for each in changes)
        ]
        return [
            each
            for each in levels
            if all(getattr(each, name) == value for name, value in wanted.items())
            and below_reorder in {None, _is_low(each)}
        ]

    def _level(self, changes: Sequence[Change], at: int) -> StockLevel:
        on_hand = sum((each.quantity for each in changes), NOTHING)
        reserved = sum((each.reserved for each in changes), NOTHING)
        value = sum((each.value for each in changes), NOTHING)
        first = changes[0]
        is_known = self.registered[first.sku] <= at
        return StockLevel(
            warehouse=first.warehouse,
            sku=first.sku,
            name=f"Item {first.sku}, Köln" if is_known else "",
            unit="pcs" if is_known else "",
            currency=first.currency,
            on_hand=quantity_text(on_hand),
            reserved=quantity_text(reserved),
            available=quantity_text(on_hand - reserved),
            value=amount_text(value, first.currency),
            unit_cost=_unit_cost(value, on_hand, first.currency),
            reorder_point=ITEMS[first.sku][1] if is_known else None,
        )

    def movements(
        self, at: int, *, first: date = date.min, last: date = date.max, **wanted: str
    ) -> list[Movement]:
        return [
            _movement(each)
            for each in self.changes
            if each.position <= at
            and each.day is not None
            and first <= each.day <= last
            and all(getattr(each, name) == value for name, value in wanted.items())
        ]

    def valuation(self, at: int, as_of: date) -> StockValuation:
        sums: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
        for each in self.changes:
            if each.position <= at and each.day is not None and each.day <= as_of:
                quantity, value = sums.get(each.stock, (NOTHING, NOTHING))
                sums[each.stock] = quantity + each.quantity, value + each.value
        totals: defaultdict[str, Decimal] = defaultdict(Decimal)
        rows = []
        for (warehouse, sku), (quantity, value) in sorted(sums.items()):
            currency = ITEMS[sku][0]
            totals[currency] += value
            rows.append(
                ValuationRow(
                    warehouse=warehouse,
                    sku=sku,
                    name=f"Item {sku}, Köln" if self.registered[sku] <= at else "",
                    currency=currency,
                    on_hand=quantity_text(quantity),
                    value=amount_text(value, currency),
                    unit_cost=_unit_cost(value, quantity, currency),
                )
            )
        return StockValuation(tuple(rows), {each: amount_text(totals[each], each) for each in sorted(totals)})


def _is_low(level: StockLevel) -> bool | str:
    if level.reorder_point is None:
        return "unknown"
    return Decimal(level.available) <= Decimal(level.reorder_point)


def _unit_cost(value: Decimal, quantity: Decimal, currency: str) -> str | None:
    if not quantity:
        return None
    unit = Decimal(1).scaleb(-CURRENCIES[currency])
    # What is added takes the sign off a zero.
    return amount_text((value / quantity).quantize(unit, ROUND_HALF_EVEN) + NOTHING, currency)


def _movement(change: Change) -> Movement:
    assert change.day is not None
    return Movement(
        position=change.position,
        kind=change.kind,  # type: ignore[arg-type]
        warehouse=change.warehouse,
        sku=change.sku,
        currency=change.currency,
        effective_at=change.day,
        recorded_at=RECORDED_AT,
        quantity_change=quantity_text(change.quantity),
        value_change=amount_text(change.value, change.currency),
        on_hand_after=quantity_text(change.on_hand_after),
        value_after=amount_text(change.value_after, change.currency),
        **change.told,
    )
