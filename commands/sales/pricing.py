"""The pricing policy: command and handler."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from commands.bus import Command, Handler, Work
from commands.fields import CostText, FixedPermission, LevelText
from domain.sales.pricing_policy import PricingPolicy, Rates, ShippingRates, pricing_policy_id

RateText = Annotated[str, StringConstraints(pattern=r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$")]
"""A fraction from 0 to 1: "0.15" is 15 %."""

CountryCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
PostalPrefix = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9][A-Z0-9 -]{0,15}$")]


class TierDiscounts(BaseModel):
    """What customers of each tier are let off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    platinum: RateText
    gold: RateText
    silver: RateText
    bronze: RateText


class Shipping(BaseModel):
    """What delivering costs, in the currency of the order, whichever that is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: CostText
    free_weight_kg: LevelText
    per_kg: CostText
    """For each kilogram above `free_weight_kg`."""
    remote_surcharge: CostText
    remote_postal_codes: Annotated[
        dict[CountryCode, Annotated[tuple[PostalPrefix, ...], Field(max_length=1000)]],
        Field(max_length=300, json_schema_extra={"additionalProperties": False}),
    ]
    """How postal codes of remote places begin, by country."""


class SetPricingPolicy(FixedPermission):
    """Set all that orders are priced by from now on. Orders that are there keep their terms."""

    TOPIC = "sales.set_pricing_policy"
    needs = "sales.pricing:write"

    discounts: TierDiscounts
    tax_rate: RateText
    shipping: Shipping


async def set_pricing_policy(command: SetPricingPolicy, work: Work) -> PricingPolicy:
    """See `PricingPolicy.set`."""
    policy = await work.edit(PricingPolicy, pricing_policy_id(work.tenant))
    discounts = {tier: Decimal(rate) for tier, rate in command.discounts.model_dump().items()}
    shipping = command.shipping
    policy.set(
        Rates(
            discounts,
            Decimal(command.tax_rate),
            ShippingRates(
                base=Decimal(shipping.base),
                free_weight_kg=Decimal(shipping.free_weight_kg),
                per_kg=Decimal(shipping.per_kg),
                remote_surcharge=Decimal(shipping.remote_surcharge),
                remote_postal_codes=shipping.remote_postal_codes,
            ),
        )
    )
    return policy


HANDLERS: Final[Mapping[type[Command], Handler]] = {SetPricingPolicy: set_pricing_policy}
