"""The file as it stands: NDJSON, an invoice a line.

    {"invoice": "536366", "kind": "sale", "at": "2010-12-01 08:28:00", "customer": "17850",
     "country": "United Kingdom", "lines": [["22633", 6, "1.85", "HAND WARMER UNION JACK"]]}

`kind` is `sale`, `cancel` or `adjust`; a line is sku, quantity, unit price, description; `customer` may be
null. `at` is the shop's own time, without an offset; a number has at most 15 digits before its point and 20
after it.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from erp.imports import MalformedFile

# It becomes part of idempotency keys.
_INVOICE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FIELDS: Final = frozenset({"invoice", "kind", "at", "customer", "country", "lines"})
_LINE_PARTS: Final = 4
_WHOLE_DIGITS_MAX: Final = 15
_DECIMALS_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an invoice. `number` counts from 1 within it."""

    invoice: str
    kind: str
    at: datetime
    number: int
    sku: str
    quantity: Decimal
    unit_price: Decimal
    description: str


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice. `at` is the shop's own time."""

    number: str
    kind: str
    at: datetime
    customer: str | None
    country: str
    lines: tuple[Line, ...]

    @property
    def day(self) -> date:
        """The day of business."""
        return self.at.date()


def read(source: Iterable[str]) -> Iterator[Invoice]:
    """The invoices, in the order of the file.

    Raises:
        MalformedFile: a line is no invoice.
    """
    for number, text in enumerate(source, 1):
        if not text.strip():
            continue
        try:
            yield _invoice(json.loads(text, parse_float=Decimal))
        except (ValueError, TypeError, InvalidOperation, RecursionError) as error:
            detail = f"line {number} is no invoice: {error}"
            raise MalformedFile(detail) from None


def _invoice(said: Any) -> Invoice:
    if not isinstance(said, dict) or set(said) != _FIELDS:
        raise ValueError(f"its fields have to be {', '.join(sorted(_FIELDS))}")
    number, customer = said["invoice"], said["customer"]
    if not isinstance(number, str) or not _INVOICE.fullmatch(number):
        raise ValueError("invoice has to be 1 to 64 letters, digits, points, hyphens and underscores")
    if not _is_text(said["kind"]) or not _is_text(said["country"]):
        raise TypeError("kind and country have to be texts")
    if customer is not None and (not _is_text(customer) or not customer.strip()):
        raise ValueError("customer has to be a text that says something, or null")
    at = datetime.fromisoformat(said["at"])
    if at.tzinfo is not None:
        raise ValueError("at has to be the shop's own time, without an offset")
    lines = said["lines"]
    if not isinstance(lines, list):
        raise TypeError("lines has to be a list")
    found = (_line(number, said["kind"], at, each, line) for each, line in enumerate(lines, 1))
    return Invoice(number, said["kind"], at, customer and customer.strip(), said["country"], tuple(found))


def _line(invoice: str, kind: str, at: datetime, number: int, said: Any) -> Line:
    if not isinstance(said, list) or len(said) != _LINE_PARTS:
        raise ValueError(f"line {number} has to be a list of sku, quantity, unit price, description")
    sku, quantity, unit_price, description = said
    if not _is_text(sku) or not _is_text(description):
        raise TypeError(f"line {number}: sku and description have to be texts")
    return Line(invoice, kind, at, number, sku, _decimal(quantity), _decimal(unit_price), description)


def _is_text(said: Any) -> bool:
    if isinstance(said, str):
        said.encode()  # half a surrogate pair can be said in JSON, and never be written again
        return True
    return False


def _decimal(said: Any) -> Decimal:
    if isinstance(said, bool) or not isinstance(said, int | str | Decimal):
        raise TypeError("quantity and unit price have to be numbers")
    number = Decimal(said)
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError("quantity and unit price have to be finite")  # noqa: TRY004 - NaN is a Decimal too
    if number.adjusted() >= _WHOLE_DIGITS_MAX or exponent < -_DECIMALS_MAX:
        raise ValueError(
            f"quantity and unit price have at most {_WHOLE_DIGITS_MAX} digits before the point and "
            f"{_DECIMALS_MAX} after it"
        )
    return number
