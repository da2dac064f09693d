"""Doing what a plan says, together with the sagas, which reserve, take the money, and post the vouchers.

Days come one after the other, so that no movement of stock is dated back behind another. Within a day many
orders are under way, each placed, awaited, shipped and awaited again.

Every command has a key made of the invoice and what is done about it, so whatever was done before is not done
again, be it by an import that was interrupted or by one that went through.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from commands.inventory import AdjustStock
from commands.sales import PlaceOrder, ReturnOrder, ShipOrder
from domain.finance.fiscal_calendar import FiscalCalendar, calendar_id
from domain.inventory.stock import Stock, stock_id
from domain.shared.errors import DomainError
from erp.operator import Operator
from erp.order_import.carrying import Carrier, NotPossible, for_all
from erp.order_import.opening import open_years, require_ready, stock_up
from erp.order_import.places import country_code
from erp.order_import.plan import Adjustment, Entry, Plan, Return, Sale
from erp.order_import.report import Report
from erp.order_import.watch import Watch
from eventstore.store import EventStore

ANONYMOUS: Final = "anonymous"
"""The customer of an invoice that names none."""

_UNDER_WAY_MAX: Final = 32
_NOT_SAID: Final = "not said"
_TOKEN: Final = "tok_ok"  # noqa: S105 - the simulated gateway's, and no secret


@dataclass(frozen=True, slots=True)
class Options:
    """How a file is imported.

    Attributes:
        opening_stock: whether what the file sells is received before.
        patience_s: how long the sagas may do nothing at all.
    """

    warehouse: str
    currency: str
    opening_stock: bool
    patience_s: float = 30.0


class OrderImport:
    """The import of one file. `advance` is told how many of its lines are settled."""

    def __init__(
        self,
        operator: Operator,
        store: EventStore,
        tenant: UUID,
        options: Options,
        advance: Callable[[int], object],
    ) -> None:
        self._carrier = Carrier(operator, store, tenant)
        self._watch = Watch(store, tenant, patience_s=options.patience_s)
        self._tenant = tenant
        self._options = options
        self._advance = advance
        self._report = Report()
        self._orders: dict[str, list[UUID]] = {}
        """By invoice: the orders that it became."""
        self._failed: set[str] = set()
        """Invoices of which an order is not in the books."""

    async def run(self, plan: Plan) -> Report:
        """Do what the plan says, and tell what became of each line.

        Raises:
            NotReady: something has to be set up first; nothing has changed.
            Standstill: the sagas do nothing.
            Unavailable: the store went away.
        """
        options = self._options
        await require_ready(self._carrier)
        self._report.refused += plan.refused
        self._advance(len(plan.refused))
        await open_years(self._carrier, plan.days)
        since = await stock_up(
            self._carrier,
            plan,
            warehouse=options.warehouse,
            currency=options.currency,
            receive=options.opening_stock,
        )
        async with self._watch.following(since):
            for _, entries in groupby(plan.entries, key=lambda each: each.invoice.day):
                await self._day(list(entries))
                await self._watch.booked()
        self._report.changes = self._carrier.changes
        return self._report

    async def _day(self, entries: list[Entry]) -> None:
        """Orders are under way together; all else waits until those before it are through."""
        for are_sales, group in groupby(entries, key=lambda each: isinstance(each, Sale)):
            await for_all(group, self._settle, at_once=_UNDER_WAY_MAX if are_sales else 1)

    async def _settle(self, entry: Entry) -> None:
        """See to it that its lines are in the books, or in the report."""
        try:
            await self._require_open(entry.invoice.day)
            match entry:
                case Sale():
                    await self._sell(entry)
                case Return():
                    await self._take_back(entry)
                case Adjustment():
                    await self._adjust(entry)
        except NotPossible as why:
            self._failed.add(entry.invoice.number)
            self._report.refuse(entry.lines, why.reason, why.detail)
        else:
            self._report.booked += len(entry.lines)
        self._advance(len(entry.lines))

    async def _require_open(self, day: date) -> None:
        calendar = await self._carrier.look(FiscalCalendar, calendar_id(self._tenant))
        try:
            calendar.require_open(day)
        except DomainError as error:
            raise NotPossible(error.code, error.detail) from None

    async def _sell(self, sale: Sale) -> None:
        number, day = sale.invoice.number, sale.invoice.day
        placed = await self._carrier.do(PlaceOrder, f"{number}/{sale.part}/place", **self._order(sale))
        decision = await self._watch.decided(placed.id)
        if decision.code:
            raise NotPossible(decision.code, decision.reason)
        await self._carrier.do(ShipOrder, f"{number}/{sale.part}/ship", id=placed.id, shipped_on=day)
        await self._watch.shipped(placed.id)
        self._orders.setdefault(number, []).append(placed.id)
        self._report.orders.add(placed.id)

    def _order(self, sale: Sale) -> dict[str, Any]:
        customer = sale.invoice.customer or ANONYMOUS
        return {
            "customer_id": customer,
            "customer_tier": "bronze",
            "currency": self._options.currency,
            "warehouse": self._options.warehouse,
            "lines": [
                {
                    "sku": each.sku,
                    "name": each.name,
                    "quantity": f"{each.quantity:f}",
                    "unit_price": f"{each.unit_price:f}",
                }
                for each in sale.ordered
            ],
            "shipping_address": {
                "name": customer,
                "line1": _NOT_SAID,
                "city": _NOT_SAID,
                "postal_code": "",
                "country": country_code(sale.invoice.country) or _NOT_SAID,
            },
            "payment": {"method": "card", "token": _TOKEN},
            "placed_on": sale.invoice.day,
        }

    async def _take_back(self, entry: Return) -> None:
        orders = self._orders.get(entry.sale)
        if not orders or entry.sale in self._failed:
            raise NotPossible("its sale is not in the books", f"invoice {entry.sale}")
        number = entry.invoice.number
        for order in orders:
            await self._carrier.do(
                ReturnOrder,
                f"{number}/{order}/return",
                id=order,
                returned_on=entry.invoice.day,
                reason=f"invoice {number}",
            )
            await self._watch.returned(order)
            self._report.returned_orders.add(order)

    async def _adjust(self, entry: Adjustment) -> None:
        (line,) = entry.lines
        what = f"{line.invoice}/{line.number}/adjust"
        if not await self._carrier.is_done(what):
            warehouse = self._options.warehouse
            stock = await self._carrier.look(Stock, stock_id(self._tenant, warehouse, entry.sku))
            counted = stock.on_hand + line.quantity
            if counted < 0:
                raise NotPossible("adjusts below nothing", f"{stock.on_hand:f} of {entry.sku} are on hand")
            await self._carrier.do(
                AdjustStock,
                what,
                warehouse=warehouse,
                sku=entry.sku,
                counted_quantity=f"{counted:f}",
                reason=line.description.strip() or "adjustment",
                reference=line.invoice,
                effective_at=entry.invoice.day,
            )
        self._report.adjustments += 1
