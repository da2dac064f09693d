"""What is to be done about each line of a file, or why nothing can be. Pure.

A sale becomes an order: lines of one sku at one price are one line of it, and a sku that comes at several
prices makes a second order of the same invoice. A cancellation that takes back all of a sale, as far as that
became an order, becomes its return; one that takes back a part of it has no counterpart here, and neither has
one of a sale that is not in the file. An adjustment of quantities becomes one of stock; one of money does
not.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Final

from domain.shared.money import minor_units
from erp.order_import.file import Invoice, Line
from erp.order_import.report import Reason, Refused

_GOODS: Final = re.compile(r"[0-9]{5}[A-Z]{0,3}")
"""All else is a service, a fee, a correction: POST, D, M, BANK CHARGES."""

Content = Mapping[tuple[str, Decimal], Decimal]
"""How much of each sku at each price."""


@dataclass(frozen=True, slots=True)
class OrderedLine:
    """A line of an order, and the lines of the file that it stands for."""

    sku: str
    name: str
    unit_price: Decimal
    of: tuple[Line, ...]

    @property
    def quantity(self) -> Decimal:
        """Of all of them."""
        return sum((each.quantity for each in self.of), Decimal(0))


@dataclass(frozen=True, slots=True)
class Sale:
    """An order to be placed and shipped. `part` counts the orders of an invoice from 1."""

    invoice: Invoice
    part: int
    ordered: tuple[OrderedLine, ...]

    @property
    def lines(self) -> tuple[Line, ...]:
        """Of the file."""
        return tuple(line for each in self.ordered for line in each.of)


@dataclass(frozen=True, slots=True)
class Return:
    """All orders of the invoice `sale` are to be taken back."""

    invoice: Invoice
    sale: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Adjustment:
    """So much more, or less, was counted."""

    invoice: Invoice
    sku: str
    lines: tuple[Line, ...]


Entry = Sale | Return | Adjustment


@dataclass(slots=True)
class Goods:
    """What the file says of an item, and what it takes of it."""

    names: Counter[str] = field(default_factory=Counter)
    first_invoice: str = ""
    lowest_price: Decimal | None = None
    demand: Decimal = Decimal(0)

    @property
    def name(self) -> str:
        """As it is called most often."""
        return self.names.most_common(1)[0][0] if self.names else ""


@dataclass(slots=True)
class Plan:
    """What is to be done, in order of time, and the lines about which nothing can be."""

    entries: list[Entry] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    goods: dict[str, Goods] = field(default_factory=dict)
    lines: int = 0

    @property
    def days(self) -> list[date]:
        """On which something happens, in order."""
        return sorted({entry.invoice.day for entry in self.entries})


def make_plan(invoices: Iterable[Invoice], *, currency: str) -> Plan:
    """The plan of a file whose prices are in `currency`."""
    return _Planner(currency).planned(invoices)


class _Planner:
    def __init__(self, currency: str) -> None:
        self._decimals = minor_units(currency)
        self._plan = Plan()
        self._seen: set[str] = set()
        self._sold: dict[str, list[tuple[str, Content]]] = defaultdict(list)
        """By customer: the invoices that can still be cancelled, and what became an order of them."""

    def planned(self, invoices: Iterable[Invoice]) -> Plan:
        kinds = {"sale": self._sale, "cancel": self._cancel, "adjust": self._adjust}
        for invoice in sorted(invoices, key=lambda each: each.at):
            self._plan.lines += len(invoice.lines)
            if invoice.number in self._seen:
                self._refuse(invoice.lines, Reason.INVOICE_TWICE)
            elif invoice.kind not in kinds:
                self._refuse(invoice.lines, Reason.UNKNOWN_KIND)
            else:
                kinds[invoice.kind](invoice)
            self._seen.add(invoice.number)
        for goods in self._plan.goods.values():
            goods.names.pop("", None)
        return self._plan

    def _refuse(self, lines: Iterable[Line], reason: Reason, detail: str = "") -> None:
        self._plan.refused += [Refused(line, reason, detail) for line in lines]

    def _sale(self, invoice: Invoice) -> None:
        by_price: dict[str, dict[Decimal, list[Line]]] = defaultdict(lambda: defaultdict(list))
        for line in invoice.lines:
            reason = self._against_selling(line)
            if reason is None:
                by_price[sku_of(line)][line.unit_price].append(line)
            else:
                self._refuse([line], reason)
        parts: dict[int, list[OrderedLine]] = defaultdict(list)
        content: dict[tuple[str, Decimal], Decimal] = defaultdict(Decimal)
        for sku, prices in by_price.items():
            for part, (unit_price, lines) in enumerate(prices.items(), 1):
                ordered = OrderedLine(sku, lines[0].description.strip(), unit_price, tuple(lines))
                parts[part].append(ordered)
                content[sku, unit_price] += ordered.quantity
                self._need(invoice, ordered)
        self._plan.entries += [Sale(invoice, part, tuple(lines)) for part, lines in sorted(parts.items())]
        if invoice.customer is not None and content:
            self._sold[invoice.customer].append((invoice.number, content))

    def _against_selling(self, line: Line) -> Reason | None:
        if not _is_goods(line):
            return Reason.NO_GOODS
        if line.quantity <= 0:
            return Reason.QUANTITY_NEGATIVE if line.quantity else Reason.QUANTITY_ZERO
        return self._against_price(line)

    def _against_price(self, line: Line) -> Reason | None:
        if line.unit_price <= 0:
            return Reason.PRICE_NEGATIVE if line.unit_price else Reason.PRICE_ZERO
        if line.unit_price != round(line.unit_price, self._decimals):
            return Reason.PRICE_TOO_FINE
        return None

    def _need(self, invoice: Invoice, ordered: OrderedLine) -> None:
        goods = self._known(invoice, ordered.sku)
        goods.names.update(line.description.strip() for line in ordered.of)
        goods.demand += ordered.quantity
        lowest = goods.lowest_price
        goods.lowest_price = ordered.unit_price if lowest is None else min(lowest, ordered.unit_price)

    def _known(self, invoice: Invoice, sku: str) -> Goods:
        return self._plan.goods.setdefault(sku, Goods(first_invoice=invoice.number))

    def _cancel(self, invoice: Invoice) -> None:
        lines: list[Line] = []
        for line in invoice.lines:
            if not _is_goods(line):
                self._refuse([line], Reason.NO_GOODS)
            elif line.quantity >= 0:
                self._refuse([line], Reason.QUANTITY_POSITIVE)
            else:
                lines.append(line)
        sold = self._sold.get(invoice.customer or "", [])
        wanted: dict[tuple[str, Decimal], Decimal] = defaultdict(Decimal)
        for line in lines:
            wanted[sku_of(line), line.unit_price] -= line.quantity
        whole = next((each for each in reversed(sold) if dict(each[1]) == wanted), None)
        if whole is not None:
            sold.remove(whole)
            self._plan.entries.append(Return(invoice, whole[0], tuple(lines)))
            return
        for line in lines:
            found = next((sale for sale, content in reversed(sold) if _has(content, line)), None)
            if found is None:
                self._refuse([line], Reason.CANCELS_NOTHING)
            else:
                self._refuse([line], Reason.CANCELS_PART, f"of invoice {found}")

    def _adjust(self, invoice: Invoice) -> None:
        for line in invoice.lines:
            if not _is_goods(line) or line.unit_price:
                self._refuse([line], Reason.ADJUSTS_MONEY)
            elif not line.quantity:
                self._refuse([line], Reason.QUANTITY_ZERO)
            else:
                sku = sku_of(line)
                self._known(invoice, sku).demand -= min(line.quantity, Decimal(0))
                self._plan.entries.append(Adjustment(invoice, sku, (line,)))


def sku_of(line: Line) -> str:
    """The item's sku. Capitals and small letters mean the same item: 85123a is 85123A."""
    return line.sku.strip().upper()


def _is_goods(line: Line) -> bool:
    return _GOODS.fullmatch(sku_of(line)) is not None


def _has(content: Content, line: Line) -> bool:
    return content.get((sku_of(line), line.unit_price), Decimal(0)) >= -line.quantity
