"""The list of movements: what came, what went, and what became worth something else, in the order in which it
was recorded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, Literal

from domain.inventory.valuation import quantity_text
from domain.shared.money import amount_text
from projections.view import View

MovementKind = Literal[
    "received", "issued", "shipped", "counted", "returned", "transferred_out", "transferred_in", "revalued"
]


@dataclass(frozen=True, slots=True)
class Movement:
    """Goods, or their value, moved: below zero when they left.

    Attributes:
        position: of its event, in the log.
        effective_at: the day on which it moved; `recorded_at` is when that was told.
        on_hand_after: what there was when it was recorded, this included; so is `value_after`.
        order_id: of a delivery and of what comes back from one, where it was for an order.
        counterpart: of a transfer: the other warehouse.
        reason: of a count.
    """

    position: int
    kind: MovementKind
    warehouse: str
    sku: str
    currency: str
    effective_at: date
    recorded_at: datetime
    quantity_change: str
    value_change: str
    on_hand_after: str
    value_after: str
    reference: str
    order_id: str | None
    counterpart: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Movements:
    """A page of the list; `next_after` is where the next one begins, None after the last one."""

    items: tuple[Movement, ...]
    next_after: int | None


# `moved` is said in a form that lets the table be read in its order, and no further than the page goes.
_MOVEMENTS: Final = """
    SELECT position, kind, warehouse, sku, currency, effective_at, recorded_at, quantity_change, value_change,
           on_hand_after, value_after, reference, order_id, counterpart, reason
      FROM inventory_changes
     WHERE moved = true AND position > {after:UInt64}"""
_PAGE: Final = "ORDER BY position LIMIT {limit:UInt64}"
_FILTERS: Final = {
    "sku": "sku = {sku:String}",
    "warehouse": "warehouse = {warehouse:String}",
    "first": "effective_at >= {first:Date32}",
    "last": "effective_at <= {last:Date32}",
}


async def movements(
    view: View,
    *,
    limit: int,
    after: int = 0,
    sku: str | None = None,
    warehouse: str | None = None,
    first: date | None = None,
    last: date | None = None,
) -> Movements:
    """What came in, what left, and what was counted, sent to another warehouse or revalued.

    Args:
        view: of changes.
        limit: how many at most.
        after: `next_after` of the page before, 0 for the first page.
        sku: of this item only.
        warehouse: in this one only.
        first: dated from this day on only.
        last: dated up to this day only.
    """
    given = {"sku": sku, "warehouse": warehouse, "first": first, "last": last}
    wanted = {name: value for name, value in given.items() if value is not None}
    sql = " AND ".join((_MOVEMENTS, *(_FILTERS[name] for name in wanted)))
    found = await view.rows(f"{sql} {_PAGE}", after=after, limit=limit + 1, **wanted)
    shown = found[:limit]
    return Movements(tuple(map(_movement, shown)), shown[-1]["position"] if len(found) > limit else None)


def _movement(row: Mapping[str, Any]) -> Movement:
    currency = row["currency"]
    quantities = {name: quantity_text(row[name]) for name in ("quantity_change", "on_hand_after")}
    amounts = {name: amount_text(row[name], currency) for name in ("value_change", "value_after")}
    return Movement(**{**row, **quantities, **amounts})
