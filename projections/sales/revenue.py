"""Revenue: what was shipped less what came back, by day, month, customer or sku.

On the day on which it left or came back; goods without tax and without shipping, less discounts. An order's
shipments and its return do not repeat who ordered and in which currency: that is looked up where it was
placed.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal

from domain.shared.money import amount_text
from projections.view import View

RevenueGroup = Literal["day", "month", "customer", "sku"]


@dataclass(frozen=True, slots=True)
class RevenueRow:
    """A day (`2026-02-03`), a month (`2026-02`), a customer or a sku, in a currency: what was shipped, what
    came back, and the first less the second.
    """

    group: str
    currency: str
    shipped: str
    returned: str
    revenue: str


@dataclass(frozen=True, slots=True)
class RevenueSums:
    """What was shipped, what came back, and the first less the second."""

    shipped: str
    returned: str
    revenue: str


@dataclass(frozen=True, slots=True)
class Revenue:
    """Every group that something was shipped to or came back from, in order; totals by currency."""

    group_by: RevenueGroup
    rows: tuple[RevenueRow, ...]
    totals: Mapping[str, RevenueSums]


_SOLD: Final = """
        SELECT order_id, kind, day, amount AS net
          FROM sales_orders
         WHERE later = true AND kind IN ('shipped', 'returned') AND {between}"""
# All that had left comes back at once, so a return is as much of each sku as the order's shipments were.
_SOLD_BY_SKU: Final = """
        SELECT order_id, 'shipped' AS kind, sku, net
          FROM (SELECT order_id, skus, nets FROM sales_orders
                 WHERE later = true AND kind = 'shipped' AND {between})
         ARRAY JOIN skus AS sku, nets AS net
         UNION ALL
        SELECT order_id, 'returned' AS kind, sku, net
          FROM (SELECT order_id, skus, nets FROM sales_orders
                 WHERE later = true AND kind = 'shipped' AND order_id IN (
                       SELECT order_id FROM sales_orders
                        WHERE later = true AND kind = 'returned' AND {between}))
         ARRAY JOIN skus AS sku, nets AS net"""
_REVENUE: Final = """
    WITH sold AS ({sold})
    SELECT {group} AS named, placed.currency AS currency, sumIf(net, kind = 'shipped') AS shipped,
           sumIf(net, kind = 'returned') AS returned
      FROM sold INNER JOIN (
           SELECT order_id, customer_id, currency FROM sales_orders
            WHERE later = false AND order_id IN (SELECT order_id FROM sold)) AS placed
        ON placed.order_id = sold.order_id
     GROUP BY named, currency
     ORDER BY named, currency"""
_GROUPS: Final[Mapping[RevenueGroup, str]] = {
    "day": "toString(day)",
    "month": "substring(toString(day), 1, 7)",
    "customer": "customer_id",
    "sku": "sku",
}
_FILTERS: Final = {"first": "day >= {first:Date32}", "last": "day <= {last:Date32}"}


@dataclass(frozen=True, slots=True)
class _Sums:
    shipped: Decimal
    returned: Decimal

    def texts(self, currency: str) -> tuple[str, str, str]:
        amounts = (self.shipped, self.returned, self.shipped - self.returned)
        shipped, returned, revenue = (amount_text(each, currency) for each in amounts)
        return shipped, returned, revenue


async def revenue(
    view: View, *, group_by: RevenueGroup, first: date | None = None, last: date | None = None
) -> Revenue:
    """What was sold from one day to another, both included; None: from the beginning, to the end.

    Args:
        view: of orders.
        group_by: what each row is about.
        first: shipped or returned from this day on only.
        last: shipped or returned up to this day only.
    """
    wanted = {name: day for name, day in (("first", first), ("last", last)) if day is not None}
    between = " AND ".join(_FILTERS[name] for name in wanted) or "true"
    sold = (_SOLD_BY_SKU if group_by == "sku" else _SOLD).replace("{between}", between)
    rows = await view.rows(_REVENUE.replace("{sold}", sold).replace("{group}", _GROUPS[group_by]), **wanted)
    by_currency: defaultdict[str, list[_Sums]] = defaultdict(list)
    for row in rows:
        by_currency[row["currency"]].append(_Sums(row["shipped"], row["returned"]))
    return Revenue(
        group_by,
        tuple(map(_row, rows)),
        {each: RevenueSums(*_total(by_currency[each]).texts(each)) for each in sorted(by_currency)},
    )


def _row(row: Mapping[str, Any]) -> RevenueRow:
    currency = row["currency"]
    return RevenueRow(row["named"], currency, *_Sums(row["shipped"], row["returned"]).texts(currency))


def _total(sums: Iterable[_Sums]) -> _Sums:
    total = _Sums(Decimal(0), Decimal(0))
    for each in sums:
        total = _Sums(total.shipped + each.shipped, total.returned + each.returned)
    return total
