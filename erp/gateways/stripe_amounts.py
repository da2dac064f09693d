"""Amounts as Stripe writes them: whole numbers of a currency's smallest unit, with Stripe's exceptions."""

from decimal import Decimal
from typing import Final

from domain.shared.money import CURRENCIES, in_minor_units

_DECIMALS: Final = {"ISK": 2, "UGX": 2, "MGA": 0}
"""Where Stripe counts otherwise than ISO 4217: two decimals of zeros, and ariary without fifths."""
_ENDING_IN_ZERO: Final = 3
"""With so many decimals the last one has to be 0."""


def to_stripe(amount: Decimal, currency: str) -> int | None:
    """The amount as Stripe takes it; None when it is finer than that."""
    decimals = _DECIMALS.get(currency, CURRENCIES[currency])
    scaled = amount.scaleb(decimals)
    whole = int(scaled)
    if whole != scaled or (decimals == _ENDING_IN_ZERO and whole % 10):
        return None
    return whole


def from_stripe(amount: int, currency: str) -> Decimal:
    """The amount as the books have it."""
    decimals = _DECIMALS.get(currency, CURRENCIES[currency])
    return in_minor_units(Decimal(amount).scaleb(-decimals), currency)
