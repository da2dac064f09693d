"""What stock was worth at the end of a day: the sum of what every movement up to then was worth."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from domain.inventory.valuation import quantity_text
from domain.shared.money import amount_text
from projections.inventory.unit_cost import unit_cost_text
from projections.view import View


@dataclass(frozen=True, slots=True)
class ValuationRow:
    """An item in a warehouse: how much there was, and what it was worth.

    `unit_cost` is rounded to the minor unit, and null when nothing was there.
    """

    warehouse: str
    sku: str
    name: str
    currency: str
    on_hand: str
    value: str
    unit_cost: str | None


@dataclass(frozen=True, slots=True)
class StockValuation:
    """Every stock with movements, in order of warehouse and sku; the totals are values by currency."""

    rows: tuple[ValuationRow, ...]
    totals: Mapping[str, str]


_VALUES: Final = """
    WITH stocks AS (
        SELECT warehouse, sku, currency, sum(quantity_change) AS on_hand, sum(value_change) AS value
          FROM inventory_changes
         WHERE moved = true AND effective_at <= {as_of:Date32}
         GROUP BY warehouse, sku, currency)
    SELECT warehouse, sku, currency, on_hand, value, item.name AS name
      FROM stocks LEFT ANY JOIN inventory_items AS item ON item.sku = stocks.sku
     ORDER BY warehouse, sku, currency"""


async def stock_valuation(view: View, *, as_of: date) -> StockValuation:
    """What is there at the end of `as_of`, and what it is worth."""
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    rows = await view.rows(_VALUES, as_of=as_of)
    for row in rows:
        totals[row["currency"]] += row["value"]
    return StockValuation(
        tuple(map(_row, rows)), {each: amount_text(totals[each], each) for each in sorted(totals)}
    )


def _row(row: Mapping[str, Any]) -> ValuationRow:
    on_hand, value, currency = row["on_hand"], row["value"], row["currency"]
    return ValuationRow(
        warehouse=row["warehouse"],
        sku=row["sku"],
        name=row["name"],
        currency=currency,
        on_hand=quantity_text(on_hand),
        value=amount_text(value, currency),
        unit_cost=unit_cost_text(value, on_hand, currency),
    )
