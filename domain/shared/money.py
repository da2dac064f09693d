"""Money: exact decimal amounts of one currency, never rounded, never mixed.

DomainError
└── MoneyError
    ├── UnknownCurrency   not an active code of ISO 4217
    ├── TooManyDecimals   finer than the currency's minor unit: rounding is the caller's decision, never ours
    ├── OutOfRange        NaN, infinite, or more than any ledger books
    └── CurrenciesDiffer  EUR and USD do not add up
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation
from types import MappingProxyType
from typing import ClassVar, Final, Self

from domain.shared.errors import DomainError

# ISO 4217, list one as published on 2026-01-01: active currencies and funds by their number of minor units.
# Codes without a minor unit ("N.A.": metals, bond units, SDR, XTS, XXX) are left out.
_CODES_BY_MINOR_UNITS: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE
        CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD
        HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK
        MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD
        RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH
        USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}

CURRENCIES: Final[Mapping[str, int]] = MappingProxyType(
    dict(sorted((code, units) for units, codes in _CODES_BY_MINOR_UNITS.items() for code in codes.split()))
)
"""Minor units (digits after the decimal point) by currency code, in order of the codes."""

_MINOR_UNIT: Final = {code: Decimal(1).scaleb(-units) for code, units in CURRENCIES.items()}

# An error instead of a rounded result. Amounts of at most 24 digits leave Python's default precision of 28
# room to add ten thousand of them exactly.
_EXACT: Final = Context(prec=24, traps=[Inexact, InvalidOperation])


AMOUNT_LIMIT: Final = Decimal(10) ** 15
"""What a ledger books is below it: amounts have at most 15 digits before the point."""


class MoneyError(DomainError):
    """An amount that cannot be."""


class UnknownCurrency(MoneyError):
    """The code is not an active currency of ISO 4217."""

    code: ClassVar[str] = "money.unknown_currency"


class TooManyDecimals(MoneyError):
    """The amount is finer than the currency's minor unit."""

    code: ClassVar[str] = "money.too_many_decimals"


class OutOfRange(MoneyError):
    """The amount is NaN, infinite, or wider than 24 digits, or more than any ledger books."""

    code: ClassVar[str] = "money.out_of_range"


class CurrenciesDiffer(MoneyError):
    """Amounts of two currencies met."""

    code: ClassVar[str] = "money.currencies_differ"


def is_currency(code: str) -> bool:
    """Whether `code` is an active currency of ISO 4217."""
    return code in CURRENCIES


def minor_units(currency: str) -> int:
    """How many digits follow the decimal point.

    Raises:
        UnknownCurrency: ISO 4217 does not list the code.
    """
    try:
        return CURRENCIES[currency]
    except KeyError:
        raise _unknown(currency) from None


def in_minor_units(amount: Decimal, currency: str) -> Decimal:
    """The same amount with exactly the currency's decimals: 5 EUR as 5.00.

    Raises:
        MoneyError: the currency is unknown, or the amount has no such form.
    """
    unit = _MINOR_UNIT.get(currency)
    if unit is None:
        raise _unknown(currency)
    try:
        exact = amount.quantize(unit, context=_EXACT)
    except Inexact:
        units = CURRENCIES[currency]
        detail = f"{amount} has more decimals than the {units} of {currency}."
        raise TooManyDecimals(detail, amount=str(amount), currency=currency, minor_units=units) from None
    except InvalidOperation:
        raise _out_of_range(amount) from None
    if exact.is_nan():
        raise _out_of_range(amount)
    return exact


def amount_text(amount: Decimal, currency: str) -> str:
    """The amount in plain digits with exactly the currency's decimals: "1130.00"."""
    return f"{in_minor_units(amount, currency):f}"


def within_range(amount: Decimal) -> Decimal:
    """The amount itself, if it is below `AMOUNT_LIMIT`.

    Raises:
        OutOfRange: it is not.
    """
    if amount >= AMOUNT_LIMIT:
        detail = f"{amount:f} is more than any ledger books, which is below {AMOUNT_LIMIT:f}."
        raise OutOfRange(detail, amount=f"{amount:f}")
    return amount


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An amount of one currency, held with exactly its minor units.

    Arithmetic is exact, and refuses to mix currencies.
    """

    amount: Decimal
    currency: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "amount", in_minor_units(self.amount, self.currency))

    @classmethod
    def zero(cls, currency: str) -> Self:
        """Nothing of it."""
        return cls(Decimal(0), currency)

    def __add__(self, other: "Money") -> "Money":
        return Money(self.amount + self._same_currency(other), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.amount - self._same_currency(other), self.currency)

    def __neg__(self) -> "Money":
        return Money(self.amount.copy_negate(), self.currency)

    def __lt__(self, other: "Money") -> bool:
        return self.amount < self._same_currency(other)

    def __le__(self, other: "Money") -> bool:
        return self.amount <= self._same_currency(other)

    def __gt__(self, other: "Money") -> bool:
        return self.amount > self._same_currency(other)

    def __ge__(self, other: "Money") -> bool:
        return self.amount >= self._same_currency(other)

    def __str__(self) -> str:
        return f"{self.amount:f} {self.currency}"

    def _same_currency(self, other: "Money") -> Decimal:
        if other.currency != self.currency:
            detail = f"{self} and {other} are of different currencies."
            raise CurrenciesDiffer(detail, currencies=[self.currency, other.currency])
        return other.amount


def _unknown(currency: str) -> UnknownCurrency:
    return UnknownCurrency(f"{currency} is not an active currency of ISO 4217.", currency=currency)


def _out_of_range(amount: Decimal) -> OutOfRange:
    return OutOfRange(f"{amount} is not an amount of money.", amount=str(amount))
