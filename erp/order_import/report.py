"""Which lines are in the books, and why the others are not."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TextIO
from uuid import UUID

from erp.order_import.file import Line


class Reason(StrEnum):
    """Why nothing can be done about a line, whatever is in the books."""

    NO_GOODS = "no goods"
    QUANTITY_NEGATIVE = "negative quantity in a sale"
    QUANTITY_POSITIVE = "quantity of a cancellation is not negative"
    QUANTITY_ZERO = "quantity is zero"
    PRICE_ZERO = "price is zero"
    PRICE_NEGATIVE = "price is negative"
    PRICE_TOO_FINE = "price is finer than the currency"
    CANCELS_PART = "cancels part of a sale"
    CANCELS_NOTHING = "cancels no sale of this file"
    ADJUSTS_MONEY = "adjusts money"
    INVOICE_TWICE = "invoice comes twice"
    UNKNOWN_KIND = "unknown kind of invoice"


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that is not in the books. `reason`: one of `Reason`, or the code of what refused it."""

    line: Line
    reason: str
    detail: str = ""


@dataclass(slots=True)
class Report:
    """What became of a file. Counted are lines of it, unless the name says otherwise."""

    booked: int = 0
    refused: list[Refused] = field(default_factory=list)
    orders: set[UUID] = field(default_factory=set)
    returned_orders: set[UUID] = field(default_factory=set)
    adjustments: int = 0
    changes: int = 0
    """Commands that were new."""

    @property
    def lines(self) -> int:
        """All of them."""
        return self.booked + len(self.refused)

    def refuse(self, lines: Iterable[Line], reason: str, detail: str) -> None:
        """These are not in the books."""
        self.refused += [Refused(line, reason, detail) for line in lines]

    def summary(self) -> list[str]:
        """For a person: what is in the books, and how many lines are not, by reason."""
        found = f"{len(self.orders):,} orders, {len(self.returned_orders):,} of them returned"
        told = [
            f"orders: {self.booked:,} of {self.lines:,} lines are in the books",
            f"they are {found}, and {self.adjustments:,} adjustments of stock",
        ]
        if not self.changes:
            told.append("nothing is new: all of that was in the books already")
        if self.refused:
            told.append(f"not in the books: {len(self.refused):,} lines")
            told += [f"{count:8,}  {reason}" for reason, count in self.by_reason().most_common()]
        return told

    def by_reason(self) -> Counter[str]:
        """How many lines are not in the books, and why."""
        return Counter(str(each.reason) for each in self.refused)

    def write(self, target: TextIO) -> None:
        """Every line that is not in the books, in the order of the file's time, as NDJSON."""
        in_order = sorted(self.refused, key=lambda one: (one.line.at, one.line.invoice, one.line.number))
        target.writelines(json.dumps(_told(each), ensure_ascii=False) + "\n" for each in in_order)


def _told(refused: Refused) -> dict[str, str | int]:
    line = refused.line
    return {
        "invoice": line.invoice,
        "kind": line.kind,
        "at": line.at.isoformat(sep=" "),
        "line": line.number,
        "sku": line.sku,
        "quantity": f"{line.quantity:f}",
        "unit_price": f"{line.unit_price:f}",
        "description": line.description,
        "reason": refused.reason,
        "detail": refused.detail,
    }
