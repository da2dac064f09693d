"""What an order comes to. Pure: lines and terms in, amounts out.

    subtotal = the sum over the lines of quantity times unit price, each rounded
    discount = subtotal times the discount rate
    tax      = (subtotal - discount) times the tax rate
    shipping = base + so much a kilogram above the free weight + a surcharge for remote places
    total    = subtotal - discount + tax + shipping

Each amount is computed exactly and rounded once, half-even, to the currency's minor unit.

DomainError
├── NoLines               nothing was ordered
├── TooManyLines          more than an order takes
├── DuplicateLine         one sku, two lines
├── QuantityNotPositive   what is ordered or shipped is more than nothing
├── PriceNegative         a price is at least zero
├── CurrencyMismatch      the item is kept in another currency
└── money.OutOfRange      more than any ledger books
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import ClassVar, Final

from domain.shared.errors import DomainError
from domain.shared.money import in_minor_units, minor_units, within_range

LINES_MAX: Final = 1000

_ZERO: Final = Decimal(0)
# Wide enough for any amount times quantity times rate: nothing is rounded before `rounded` does it.
_WIDE: Final = Context(prec=80, rounding=ROUND_HALF_EVEN)


class NoLines(DomainError):
    """An order has at least one line."""

    code: ClassVar[str] = "sales.no_lines"


class TooManyLines(DomainError):
    """An order has at most `LINES_MAX` lines."""

    code: ClassVar[str] = "sales.too_many_lines"


class DuplicateLine(DomainError):
    """Each sku is named once."""

    code: ClassVar[str] = "sales.duplicate_line"


class QuantityNotPositive(DomainError):
    """A quantity is above zero."""

    code: ClassVar[str] = "sales.quantity_not_positive"


class PriceNegative(DomainError):
    """A price is at least zero; zero is a gift."""

    code: ClassVar[str] = "sales.price_negative"


class CurrencyMismatch(DomainError):
    """An item is sold in the currency that it is kept in."""

    code: ClassVar[str] = "sales.currency_mismatch"


@dataclass(frozen=True, slots=True)
class WantedLine:
    """What a customer asks for, not priced yet. `weight_kg` and `currency` are the item's, for one unit."""

    sku: str
    name: str
    quantity: Decimal
    unit_price: Decimal
    weight_kg: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class OrderLine:
    """A line of an order. `amount` is quantity times unit price, `weight_kg` that of one unit."""

    sku: str
    name: str
    quantity: Decimal
    unit_price: Decimal
    amount: Decimal
    weight_kg: Decimal


@dataclass(frozen=True, slots=True)
class Terms:
    """What an order is priced by, for all its life. Rates are fractions: 0.15 is 15 %.

    Attributes:
        shipping_base: what every delivery costs.
        free_weight_kg: up to which weight it costs no more than that.
        per_kg: what each kilogram above costs.
        remote: whether the address is a remote one.
        remote_surcharge: what that costs; zero where it is not.
    """

    discount_rate: Decimal
    tax_rate: Decimal
    shipping_base: Decimal
    free_weight_kg: Decimal
    per_kg: Decimal
    remote: bool
    remote_surcharge: Decimal


@dataclass(frozen=True, slots=True)
class Pricing:
    """What an order comes to, and the rates that were applied."""

    discount_rate: Decimal
    tax_rate: Decimal
    weight_kg: Decimal
    remote: bool
    subtotal: Decimal
    discount: Decimal
    tax: Decimal
    shipping: Decimal
    total: Decimal

    @property
    def net(self) -> Decimal:
        """The goods without tax: what revenue they make."""
        return self.subtotal - self.discount


def priced(line: WantedLine, currency: str) -> OrderLine:
    """The line with its amount.

    Raises:
        DomainError: no such quantity, price or currency can be ordered.
    """
    if line.currency != currency:
        detail = f"{line.sku} is kept in {line.currency}, and the order is in {currency}."
        raise CurrencyMismatch(detail, sku=line.sku, currency=currency, item_currency=line.currency)
    require_positive(line.sku, line.quantity)
    unit_price = in_minor_units(line.unit_price, currency)
    if unit_price < 0:
        detail = f"The price of {line.sku} is {unit_price}, which is below zero."
        raise PriceNegative(detail, sku=line.sku, unit_price=str(unit_price))
    amount = rounded(_WIDE.multiply(line.quantity, unit_price), currency)
    return OrderLine(line.sku, line.name, plain(line.quantity), unit_price, amount, plain(line.weight_kg))


def price(lines: Sequence[OrderLine], terms: Terms, currency: str) -> Pricing:
    """What these lines come to by these terms.

    Raises:
        DomainError: there are none, too many, two of one sku, or they come to more than any ledger books.
    """
    _require_lines(lines)
    subtotal = within_range(sum((line.amount for line in lines), _ZERO))
    discount = rounded(_WIDE.multiply(subtotal, terms.discount_rate), currency)
    net = subtotal - discount
    tax = rounded(_WIDE.multiply(net, terms.tax_rate), currency)
    weight_kg = _ZERO
    for line in lines:
        weight_kg = _WIDE.fma(line.quantity, line.weight_kg, weight_kg)
    shipping = shipping_of(weight_kg, terms, currency)
    return Pricing(
        discount_rate=terms.discount_rate,
        tax_rate=terms.tax_rate,
        weight_kg=plain(weight_kg),
        remote=terms.remote,
        subtotal=in_minor_units(subtotal, currency),
        discount=discount,
        tax=tax,
        shipping=shipping,
        total=within_range(net + tax + shipping),
    )


def shipping_of(weight_kg: Decimal, terms: Terms, currency: str) -> Decimal:
    """What delivering so many kilograms costs."""
    heavy_kg = max(_WIDE.subtract(weight_kg, terms.free_weight_kg), _ZERO)
    charged = _WIDE.fma(heavy_kg, terms.per_kg, terms.shipping_base)
    return rounded(_WIDE.add(charged, terms.remote_surcharge), currency)


def share(whole: Decimal, part: Decimal, of: Decimal, currency: str) -> Decimal:
    """`whole` times `part` by `of`, which is not zero: rising with `part`, and `whole` when that is `of`."""
    return rounded(_WIDE.divide(_WIDE.multiply(whole, part), of), currency)


def rounded(exact: Decimal, currency: str) -> Decimal:
    """The nearest amount in the currency's minor units; of two, the even one.

    Raises:
        MoneyError: the currency is unknown, or no ledger books such an amount.
    """
    unit = Decimal(1).scaleb(-minor_units(currency))
    return within_range(within_range(exact).quantize(unit, context=_WIDE))


def plain(quantity: Decimal) -> Decimal:
    """The same quantity in its only form, without zeros after the last decimal: 2.50 as 2.5."""
    return Decimal(f"{quantity.normalize(_WIDE):f}")


def require_positive(sku: str, quantity: Decimal) -> None:
    """Make sure that it is a quantity.

    Raises:
        QuantityNotPositive: it is none.
    """
    if quantity <= 0:
        detail = f"The quantity of {sku} is {quantity:f}, which is not above zero."
        raise QuantityNotPositive(detail, sku=sku, quantity=f"{quantity:f}")


def require_different(skus: Sequence[str]) -> None:
    """Make sure that each sku is named once.

    Raises:
        DuplicateLine: one is named twice.
    """
    seen: set[str] = set()
    for sku in skus:
        if sku in seen:
            raise DuplicateLine(f"{sku} is named twice: one line per sku.", sku=sku)
        seen.add(sku)


def _require_lines(lines: Sequence[OrderLine]) -> None:
    if not lines:
        raise NoLines("An order has at least one line.")
    if len(lines) > LINES_MAX:
        raise TooManyLines(f"An order has at most {LINES_MAX} lines.", lines=len(lines), lines_max=LINES_MAX)
    require_different([line.sku for line in lines])
