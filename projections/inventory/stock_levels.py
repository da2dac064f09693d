"""What is on hand, promised and available in each warehouse, in the order in which stock first came up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from domain.inventory.valuation import quantity_text
from domain.shared.money import amount_text
from projections.inventory.unit_cost import unit_cost_text
from projections.view import View


@dataclass(frozen=True, slots=True)
class StockLevel:
    """An item in a warehouse. `available` is what is on hand and not reserved.

    Attributes:
        unit_cost: rounded to the minor unit; null when nothing is there.
        reorder_point: null where the event that registered the item was discarded for the read side.
    """

    warehouse: str
    sku: str
    name: str
    unit: str
    currency: str
    on_hand: str
    reserved: str
    available: str
    value: str
    unit_cost: str | None
    reorder_point: str | None


@dataclass(frozen=True, slots=True)
class StockLevels:
    """A page of the list; `next_after` is where the next one begins, None after the last one."""

    items: tuple[StockLevel, ...]
    next_after: int | None


_FILTERS: Final = {"sku": "sku = {sku:String}", "warehouse": "warehouse = {warehouse:String}"}
# Without a movement there is no currency: the event that brought the goods was discarded for the read side.
_LEVELS: Final = """
    WITH levels AS (
        SELECT warehouse, sku, min(position) AS first, max(currency) AS kept_in,
               sum(quantity_change) AS on_hand, sum(reserved_change) AS reserved,
               on_hand - reserved AS available, sum(value_change) AS value
          FROM inventory_changes
         WHERE {conditions}
         GROUP BY warehouse, sku
        HAVING first > {after:UInt64} AND kept_in != '')
    SELECT first, warehouse, sku, kept_in, on_hand, reserved, available, value,
           item.sku != '' AS is_known, item.name AS name, item.unit AS unit,
           item.reorder_point AS reorder_point
      FROM levels LEFT ANY JOIN inventory_items AS item ON item.sku = levels.sku
     WHERE {wanted}
     ORDER BY first LIMIT {limit:UInt64}"""
_BELOW: Final[Mapping[bool | None, str]] = {
    None: "true",
    True: "is_known AND available <= reorder_point",
    False: "is_known AND available > reorder_point",
}


async def stock_levels(
    view: View,
    *,
    limit: int,
    after: int = 0,
    sku: str | None = None,
    warehouse: str | None = None,
    below_reorder: bool | None = None,
) -> StockLevels:
    """What is there and what can be promised, item by item and warehouse by warehouse.

    Args:
        view: of changes and items.
        limit: how many at most.
        after: `next_after` of the page before, 0 for the first page.
        sku: of this item only.
        warehouse: in this one only.
        below_reorder: only where what is available has fallen to the item's reorder point or below it; false:
            only where it has not.
    """
    given = {"sku": sku, "warehouse": warehouse}
    filters = {name: value for name, value in given.items() if value is not None}
    sql = _LEVELS.replace("{conditions}", " AND ".join(_FILTERS[name] for name in filters) or "true")
    sql = sql.replace("{wanted}", _BELOW[below_reorder])
    found = await view.rows(sql, after=after, limit=limit + 1, **filters)
    shown = found[:limit]
    return StockLevels(tuple(map(_level, shown)), shown[-1]["first"] if len(found) > limit else None)


def _level(row: Mapping[str, Any]) -> StockLevel:
    on_hand, value, currency = row["on_hand"], row["value"], row["kept_in"]
    return StockLevel(
        warehouse=row["warehouse"],
        sku=row["sku"],
        name=row["name"],
        unit=row["unit"],
        currency=currency,
        on_hand=quantity_text(on_hand),
        reserved=quantity_text(row["reserved"]),
        available=quantity_text(row["available"]),
        value=amount_text(value, currency),
        unit_cost=unit_cost_text(value, on_hand, currency),
        reorder_point=quantity_text(row["reorder_point"]) if row["is_known"] else None,
    )
