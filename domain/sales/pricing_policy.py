"""What a tenant sells by: tier discounts, tax, shipping. One policy a tenant; a default until it is set.

An order takes its terms from the policy when it is placed, and keeps them: what is set later is for others.

DomainError
├── RateOutOfRange   a discount or a tax is between nothing and everything
└── ChargeNegative   what shipping costs, and what weighs nothing extra, is at least zero
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, Final
from uuid import UUID

from domain.sales.pricing import Terms
from domain.shared.aggregate import Aggregate, event
from domain.shared.errors import DomainError
from domain.shared.ids import natural_id


class Tier(StrEnum):
    """How good a customer is."""

    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"
    PLATINUM = "platinum"


class RateOutOfRange(DomainError):
    """A rate is a fraction from 0 to 1."""

    code: ClassVar[str] = "sales.rate_out_of_range"


class ChargeNegative(DomainError):
    """A charge or a weight is at least zero."""

    code: ClassVar[str] = "sales.charge_negative"


@dataclass(frozen=True, slots=True)
class ShippingRates:
    """What delivering costs, in the currency of the order.

    Attributes:
        base: what every delivery costs.
        free_weight_kg: up to which weight it costs no more than that.
        per_kg: what each kilogram above costs.
        remote_surcharge: what a remote place costs on top.
        remote_postal_codes: how postal codes of remote places begin, by country (ISO 3166-1, two letters).
    """

    base: Decimal
    free_weight_kg: Decimal
    per_kg: Decimal
    remote_surcharge: Decimal
    remote_postal_codes: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Rates:
    """All that orders are priced by. `discounts` are by tier; one that is not there has none."""

    discounts: Mapping[str, Decimal]
    tax_rate: Decimal
    shipping: ShippingRates


DEFAULT_RATES: Final = Rates(
    discounts=MappingProxyType(
        {
            Tier.PLATINUM.value: Decimal("0.15"),
            Tier.GOLD.value: Decimal("0.10"),
            Tier.SILVER.value: Decimal("0.05"),
            Tier.BRONZE.value: Decimal(0),
        }
    ),
    tax_rate=Decimal("0.20"),
    shipping=ShippingRates(
        base=Decimal(10),
        free_weight_kg=Decimal(50),
        per_kg=Decimal("0.5"),
        remote_surcharge=Decimal(15),
        remote_postal_codes=MappingProxyType(
            {
                "ES": ("07", "35", "38", "51", "52"),  # Balearic and Canary Islands, Ceuta, Melilla
                "FR": ("20", "97", "98"),  # Corsica, overseas
                "GB": ("BT", "HS", "IM", "IV", "KW", "ZE"),  # Northern Ireland, Highlands and islands, Man
                "PT": ("9",),  # Azores, Madeira
                # Puerto Rico and Virgin Islands, Hawaii and Pacific islands, Alaska
                "US": ("006", "007", "008", "009", "967", "968", "969", "995", "996", "997", "998", "999"),
            }
        ),
    ),
)


class PricingPolicy(Aggregate):
    """The rates that the next order is priced by."""

    TOPIC = "sales.pricing_policy"

    rates: Rates = DEFAULT_RATES

    class Set(Aggregate.Event):
        """The policy took new values, all of them."""

        TOPIC = "sales.pricing_policy.set"
        discounts: Mapping[str, Decimal]
        tax_rate: Decimal
        shipping: ShippingRates

    def set(self, rates: Rates) -> None:
        """Price orders by these from now on.

        Raises:
            DomainError: a rate is no fraction, or a charge is below zero.
        """
        for name, rate in {**rates.discounts, "tax_rate": rates.tax_rate}.items():
            _require_fraction(name, rate)
        for name in ("base", "free_weight_kg", "per_kg", "remote_surcharge"):
            _require_charge(name, getattr(rates.shipping, name))
        self._set(rates.discounts, rates.tax_rate, rates.shipping)

    def terms(self, tier: Tier, *, country: str, postal_code: str) -> Terms:
        """What an order of such a customer to such a place is priced by."""
        rates, shipping = self.rates, self.rates.shipping
        remote = self.is_remote(country, postal_code)
        return Terms(
            discount_rate=rates.discounts.get(tier, Decimal(0)),
            tax_rate=rates.tax_rate,
            shipping_base=shipping.base,
            free_weight_kg=shipping.free_weight_kg,
            per_kg=shipping.per_kg,
            remote=remote,
            remote_surcharge=shipping.remote_surcharge if remote else Decimal(0),
        )

    def is_remote(self, country: str, postal_code: str) -> bool:
        """Whether it costs the surcharge to deliver there. Neither case nor spaces matter."""
        prefixes = self.rates.shipping.remote_postal_codes.get(_bare(country), ())
        return _bare(postal_code).startswith(tuple(map(_bare, prefixes)))

    @event(Set)
    def _set(self, discounts: Mapping[str, Decimal], tax_rate: Decimal, shipping: ShippingRates) -> None:
        self.rates = Rates(discounts, tax_rate, shipping)


def pricing_policy_id(tenant: UUID) -> UUID:
    """The stream of the tenant's policy."""
    return natural_id(tenant, PricingPolicy.TOPIC)


def _bare(text: str) -> str:
    return text.replace(" ", "").upper()


def _require_fraction(name: str, rate: Decimal) -> None:
    if not 0 <= rate <= 1:
        raise RateOutOfRange(f"The rate of {name} is {rate}, not from 0 to 1.", name=name, rate=str(rate))


def _require_charge(name: str, charge: Decimal) -> None:
    if charge < 0:
        raise ChargeNegative(f"{name} is {charge}, which is below zero.", name=name, value=str(charge))
