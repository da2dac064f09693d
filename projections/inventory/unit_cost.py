"""What one of many costs."""

from decimal import Decimal
from typing import Final

from domain.inventory.valuation import share
from domain.shared.money import amount_text

_ONE: Final = Decimal(1)


def unit_cost_text(value: Decimal, quantity: Decimal, currency: str) -> str | None:
    """The value of one, of which `quantity` is worth `value`, rounded half-even to the minor unit; None when
    there is nothing.
    """
    return amount_text(share(value, _ONE, quantity, currency), currency) if quantity else None
