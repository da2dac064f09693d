"""The list of orders, in the order in which they were placed.

In two steps, so that millions of orders do not meet in a join: a page of placed orders, then what happened to
just these later. A status is what happened to an order, and what did not.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal
from uuid import UUID

from domain.shared.money import amount_text
from projections.view import View

OrderListStatus = Literal["pending", "confirmed", "partially_shipped", "completed", "cancelled", "returned"]


@dataclass(frozen=True, slots=True)
class ListedOrder:
    """An order without its lines.

    Attributes:
        skus: of its lines, in their order.
        payment_id: null until it is confirmed.
        cancel_reason: null unless it is cancelled; `cancel_code` is the same for programs.
    """

    id: UUID
    status: OrderListStatus
    customer_id: str
    customer_tier: str
    currency: str
    warehouse: str
    placed_on: date
    skus: Sequence[str]
    total: str
    payment_id: UUID | None
    cancel_reason: str | None
    cancel_code: str | None


@dataclass(frozen=True, slots=True)
class ListedOrders:
    """A page of the list; `next_after` is where the next one begins, None after the last one."""

    items: tuple[ListedOrder, ...]
    next_after: int | None


# `later` is said in a form that lets the table be read in its order, and no further than the page goes.
_PLACED: Final = """
    SELECT order_id, kind, position, customer_id, customer_tier, currency, warehouse, day, skus, amount
      FROM sales_orders
     WHERE later = false AND position > {after:UInt64}"""
_PAGE: Final = "ORDER BY position LIMIT {limit:UInt64}"
_LATER: Final = """
    SELECT order_id, kind, skus, amount, payment_id, reason, code
      FROM sales_orders
     WHERE later = true AND position > {after:UInt64} AND order_id IN {orders:Array(UUID)}
     ORDER BY position"""


def _happened_to(*kinds: str) -> str:
    named = ", ".join(f"'{kind}'" for kind in kinds)
    return (
        "(SELECT order_id FROM sales_orders "  # noqa: S608 - kinds of ours
        f"WHERE later = true AND position > {{after:UInt64}} AND kind IN ({named}))"
    )


_OF_STATUS: Final[Mapping[str | None, str]] = {
    None: "true",
    "pending": f"order_id NOT IN {_happened_to('confirmed', 'cancelled')}",
    "confirmed": f"order_id IN {_happened_to('confirmed')}"
    f" AND order_id NOT IN {_happened_to('shipped', 'cancelled')}",
    "partially_shipped": f"order_id IN {_happened_to('shipped')}"
    f" AND order_id NOT IN {_happened_to('completed', 'returned')}",
    "completed": f"order_id IN {_happened_to('completed')} AND order_id NOT IN {_happened_to('returned')}",
    "cancelled": f"order_id IN {_happened_to('cancelled')}",
    "returned": f"order_id IN {_happened_to('returned')}",
}
_BECOMES: Final[Mapping[str, OrderListStatus]] = {
    "confirmed": "confirmed",
    "shipped": "partially_shipped",
    "completed": "completed",
    "cancelled": "cancelled",
    "returned": "returned",
}
_FILTERS: Final = {
    "customer_id": "customer_id = {customer_id:String}",
    "first": "day >= {first:Date32}",
    "last": "day <= {last:Date32}",
}
_CHANGES_LINES: Final = {"line_added", "line_removed"}


async def orders(
    view: View,
    *,
    limit: int,
    after: int = 0,
    status: OrderListStatus | None = None,
    customer_id: str | None = None,
    first: date | None = None,
    last: date | None = None,
) -> ListedOrders:
    """A page of the orders.

    Args:
        view: of orders.
        limit: how many at most.
        after: `next_after` of the page before, 0 for the first page.
        status: those of this status only.
        customer_id: those of this customer only.
        first: those placed from this day on only.
        last: those placed up to this day only.
    """
    given = {"customer_id": customer_id, "first": first, "last": last}
    wanted = {name: value for name, value in given.items() if value is not None}
    conditions = " AND ".join((_OF_STATUS[status], *(_FILTERS[name] for name in wanted)))
    found = await view.rows(f"{_PLACED} AND {conditions} {_PAGE}", after=after, limit=limit + 1, **wanted)
    shown = found[:limit]
    later = await _later(view, shown)
    return ListedOrders(
        tuple(_listed(row, later[row["order_id"]]) for row in shown),
        shown[-1]["position"] if len(found) > limit else None,
    )


async def _later(
    view: View, shown: Sequence[Mapping[str, Any]]
) -> Mapping[UUID, Sequence[Mapping[str, Any]]]:
    """What happened to orders after they were placed, in order."""
    later: defaultdict[UUID, list[Mapping[str, Any]]] = defaultdict(list)
    if shown:
        ids = [str(row["order_id"]) for row in shown]
        for row in await view.rows(_LATER, after=shown[0]["position"], orders=ids):
            later[row["order_id"]].append(row)
    return later


def _listed(placed: Mapping[str, Any], later: Sequence[Mapping[str, Any]]) -> ListedOrder:
    happened = {row["kind"]: row for row in later}
    content = next((row for row in reversed(later) if row["kind"] in _CHANGES_LINES), placed)
    confirmed, cancelled = happened.get("confirmed"), happened.get("cancelled")
    reached = [_BECOMES[row["kind"]] for row in later if row["kind"] in _BECOMES]
    return ListedOrder(
        id=placed["order_id"],
        status=reached[-1] if reached else "pending",
        customer_id=placed["customer_id"],
        customer_tier=placed["customer_tier"],
        currency=placed["currency"],
        warehouse=placed["warehouse"],
        placed_on=placed["day"],
        skus=content["skus"],
        total=amount_text(content["amount"], placed["currency"]),
        payment_id=confirmed["payment_id"] if confirmed else None,
        cancel_reason=cancelled["reason"] if cancelled else None,
        cancel_code=cancelled["code"] if cancelled else None,
    )
