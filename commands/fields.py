"""What commands are made of: kinds of fields, strict and described exactly in JSON Schema, and a permission.

Nothing is coerced: money is a decimal string, a date is `YYYY-MM-DD`, a truth is true or false.
"""

import re
from collections.abc import Iterable
from datetime import date
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StringConstraints, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from commands.bus import Command
from domain.shared.money import CURRENCIES

# `\d` would let through the digits of every script.
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

# Pydantic's patterns cannot look ahead, so each place of the first digit that is not zero is an alternative.
_FRACTION: Final = "|".join(f"0{{{zeros}}}[1-9][0-9]{{0,{5 - zeros}}}" for zeros in range(6))
_ABOVE_ZERO: Final = rf"^([1-9][0-9]{{0,11}}(\.[0-9]{{1,6}})?|0\.({_FRACTION}))$"

_PRINTABLE: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"


def _known_currency(code: str) -> str:
    if code not in CURRENCIES:
        raise PydanticCustomError("currency", "Input should be an active currency code of ISO 4217")
    return code


def _business_date(value: Any) -> date:
    if type(value) is date:
        return value
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise PydanticCustomError("business_date", "Input should be a date written as YYYY-MM-DD")
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise PydanticCustomError("business_date", "Input should be a date that exists") from None


NaturalKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]
"""Account code, journal, sku, warehouse."""

AmountText = Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,15}(\.[0-9]{1,4})?$")]
"""An amount of money; how many decimals it may have is for its currency to say, see below."""

CostText = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,15}(\.[0-9]{1,4})?$")]
"""An amount of money that is not below zero, of a currency that is known elsewhere."""

QuantityText = Annotated[str, StringConstraints(pattern=_ABOVE_ZERO)]
"""How much of something moves: above zero, up to 12 digits before the point and 6 after it."""

LevelText = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?$")]
"""How much of something there is, which may be nothing; digits as of a quantity."""

CurrencyCode = Annotated[
    str, AfterValidator(_known_currency), WithJsonSchema({"type": "string", "enum": list(CURRENCIES)})
]
"""ISO 4217."""

BusinessDate = Annotated[date, BeforeValidator(_business_date)]
"""A day as the business counts it, without a time zone."""

Flag = StrictBool

ShortText = Annotated[str, StringConstraints(pattern=_PRINTABLE, max_length=200)]
LongText = Annotated[str, StringConstraints(pattern=_PRINTABLE, max_length=1000)]

Reason = Annotated[str, StringConstraints(pattern=_PRINTABLE, min_length=1, max_length=1000)]
"""Why something is done, kept with the events."""

Dimensions = Annotated[
    dict[NaturalKey, ShortText],
    Field(max_length=32, json_schema_extra={"additionalProperties": False}),
]
"""What an amount is analysed by, such as `{"cost_centre": "4711"}`."""


class FixedPermission(Command):
    """A command that always takes the same permission."""

    needs: ClassVar[str]

    @property
    def permission(self) -> str:
        """What the caller must be allowed to do."""
        return self.needs


def require_decimals_of(currency: str, amounts: Iterable[tuple[tuple[str | int, ...], str | None]]) -> None:
    """Make sure that no amount is finer than the currency's minor unit. Each comes with its place.

    Raises:
        ValidationError: naming the place of every amount that is.
    """
    units = CURRENCIES[currency]
    too_fine = [
        InitErrorDetails(
            type=PydanticCustomError(
                "decimals",
                "Input should have at most {minor_units} decimals in {currency}",
                {"minor_units": units, "currency": currency},
            ),
            loc=place,
            input=text,
        )
        for place, text in amounts
        if text is not None and len(text.partition(".")[2]) > units
    ]
    if too_fine:
        raise ValidationError.from_exception_data("amounts", too_fine)
