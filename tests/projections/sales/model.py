"""Orders in plain Python: what happened to them, and what each report has to say about it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from domain.shared.money import amount_text
from projections.sales.orders import ListedOrder
from projections.sales.revenue import Revenue, RevenueGroup, RevenueRow, RevenueSums
from tests.projections.shelf import Happened

PAYMENT = UUID(int=17)
NOTHING = Decimal(0)

Nets = Sequence[tuple[str, Decimal]]
"""What goods of each sku make."""


@dataclass(frozen=True)
class Sold:
    """Goods left, or came back."""

    position: int
    kind: str
    day: date
    nets: Nets


@dataclass
class Order:
    """What happened to an order, and at which positions."""

    id: UUID
    customer: str
    currency: str
    placed_on: date
    contents: list[tuple[int, Nets]] = field(default_factory=list)
    """Its lines, and since when they are these."""
    statuses: list[tuple[int, str]] = field(default_factory=list)
    sold: list[Sold] = field(default_factory=list)
    versions: int = 0

    @property
    def placed(self) -> int:
        return self.contents[0][0]

    @property
    def status(self) -> str:
        return self.statuses[-1][1]

    def status_at(self, at: int) -> str:
        return next(status for position, status in reversed(self.statuses) if position <= at)

    def lines_at(self, at: int) -> Nets:
        return next(lines for position, lines in reversed(self.contents) if position <= at)


@dataclass
class Shop:
    """Of one tenant."""

    tenant: UUID
    events: list[Happened] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)

    # What happens

    def place(self, order: Order, lines: Nets, position: int) -> None:
        self.orders.append(order)
        order.contents.append((position, lines))
        order.statuses.append((position, "pending"))
        data = {
            "customer_id": order.customer,
            "customer_tier": "gold",
            "currency": order.currency,
            "warehouse": "main",
            **_content(lines, order.currency),
            "revision": 1,
            "shipping_address": {"subject": order.customer, "key": UUID(int=3), "sealed": "c2VhbGVk"},
            "payment": {"method": "card", "token": "tok_ok"},
            "placed_on": order.placed_on,
        }
        self._happened(order, position, "placed", data)

    def change(self, order: Order, lines: Nets, position: int) -> None:
        kind = "line_added" if len(lines) > len(order.contents[-1][1]) else "line_removed"
        order.contents.append((position, lines))
        self._happened(order, position, kind, _content(lines, order.currency) | {"revision": 2})

    def confirm(self, order: Order, position: int) -> None:
        order.statuses.append((position, "confirmed"))
        self._happened(order, position, "confirmed", {"revision": 1, "payment_id": PAYMENT})

    def cancel(self, order: Order, position: int) -> None:
        data = {"reason": "changed my mind", "code": "customer", "was": order.status}
        order.statuses.append((position, "cancelled"))
        self._happened(order, position, "cancelled", data)

    def ship(self, order: Order, nets: Nets, day: date, position: int, *, last: bool) -> None:
        """With the last shipment it is completed, which is an event of its own right after."""
        order.sold.append(Sold(position, "shipped", day, nets))
        order.statuses.append((position, "partially_shipped"))
        data = {
            "shipment": 1,
            "lines": [
                {"sku": sku, "quantity": "1", "amount": "7", "net": amount_text(net, order.currency)}
                for sku, net in nets
            ],
            **_worth(nets, order.currency),
            "shipping": "1",
            "shipped_on": day,
        }
        self._happened(order, position, "shipped", data)
        if last:
            order.statuses.append((position + 1, "completed"))
            self._happened(order, position + 1, "completed", {})

    def take_back(self, order: Order, day: date, position: int) -> None:
        nets = [each for sold in order.sold for each in sold.nets]
        order.sold.append(Sold(position, "returned", day, nets))
        order.statuses.append((position, "returned"))
        data = {
            "lines": [{"sku": sku, "quantity": "1", "shipment": 1} for sku, _ in nets],
            **_worth(nets, order.currency),
            "returned_on": day,
            "reason": "broken",
        }
        self._happened(order, position, "returned", data)

    def _happened(self, order: Order, position: int, kind: str, data: dict[str, Any]) -> None:
        order.versions += 1
        event = Happened(position, self.tenant, order.id, order.versions, f"sales.order.{kind}", data)
        self.events.append(event)

    # What the reports say

    def listed(
        self,
        at: int,
        *,
        status: str | None = None,
        customer_id: str | None = None,
        first: date = date.min,
        last: date = date.max,
    ) -> list[ListedOrder]:
        return [
            _listed(each, at)
            for each in self.orders
            if each.placed <= at
            and status in {None, each.status_at(at)}
            and customer_id in {None, each.customer}
            and first <= each.placed_on <= last
        ]

    def revenue(
        self, at: int, group_by: RevenueGroup, *, first: date = date.min, last: date = date.max
    ) -> Revenue:
        sums: dict[tuple[str, str], dict[str, Decimal]] = {}
        for order in self.orders:
            for sold in order.sold:
                if sold.position > at or not first <= sold.day <= last:
                    continue
                for sku, net in sold.nets:
                    group = {
                        "day": f"{sold.day}",
                        "month": f"{sold.day:%Y-%m}",
                        "customer": order.customer,
                        "sku": sku,
                    }[group_by]
                    kinds = sums.setdefault(
                        (group, order.currency), {"shipped": NOTHING, "returned": NOTHING}
                    )
                    kinds[sold.kind] += net
        totals: dict[str, dict[str, Decimal]] = defaultdict(lambda: {"shipped": NOTHING, "returned": NOTHING})
        for (_, currency), kinds in sums.items():
            for kind, net in kinds.items():
                totals[currency][kind] += net
        return Revenue(
            group_by,
            tuple(
                RevenueRow(group, currency, *_texts(kinds, currency))
                for (group, currency), kinds in sorted(sums.items())
            ),
            {each: RevenueSums(*_texts(totals[each], each)) for each in sorted(totals)},
        )


def _listed(order: Order, at: int) -> ListedOrder:
    status, lines = order.status_at(at), order.lines_at(at)
    pricing = _content(lines, order.currency)["pricing"]
    was_confirmed = any(each == "confirmed" and position <= at for position, each in order.statuses)
    is_cancelled = status == "cancelled"
    return ListedOrder(
        id=order.id,
        status=status,  # type: ignore[arg-type]
        customer_id=order.customer,
        customer_tier="gold",
        currency=order.currency,
        warehouse="main",
        placed_on=order.placed_on,
        skus=[sku for sku, _ in lines],
        total=pricing["total"],
        payment_id=PAYMENT if was_confirmed else None,
        cancel_reason="changed my mind" if is_cancelled else None,
        cancel_code="customer" if is_cancelled else None,
    )


def _content(lines: Nets, currency: str) -> dict[str, Any]:
    """Lines and what they come to; all amounts are different."""
    subtotal = sum((net for _, net in lines), NOTHING)
    amounts = {"subtotal": subtotal, "discount": subtotal * 2, "tax": subtotal * 3}
    amounts |= {"shipping": subtotal * 4, "total": subtotal * 5}
    pricing = {name: amount_text(amount, currency) for name, amount in amounts.items()}
    return {
        "lines": [
            {"sku": sku, "name": "", "quantity": "1", "amount": "1", "weight_kg": "0"} for sku, _ in lines
        ],
        "pricing": {"discount_rate": "0.1", "tax_rate": "0.2", "weight_kg": "0", "remote": False, **pricing},
    }


def _worth(nets: Nets, currency: str) -> dict[str, str]:
    net = sum((net for _, net in nets), NOTHING)
    return {"net": amount_text(net, currency), "tax": "9", "total": "99"}


def _texts(kinds: dict[str, Decimal], currency: str) -> tuple[str, str, str]:
    shipped, returned = kinds["shipped"], kinds["returned"]
    return (
        amount_text(shipped, currency),
        amount_text(returned, currency),
        amount_text(shipped - returned, currency),
    )
