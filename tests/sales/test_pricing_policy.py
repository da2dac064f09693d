"""What a tenant sells by."""

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest

from domain.sales.pricing_policy import (
    DEFAULT_RATES,
    PricingPolicy,
    Rates,
    ShippingRates,
    Tier,
    pricing_policy_id,
)
from domain.shared.errors import DomainError
from domain.shared.ids import natural_id
from tests.finance.ledger import blank

CHEAP = ShippingRates(Decimal(1), Decimal(2), Decimal("0.1"), Decimal(3), {"DE": ("999 9", "x")})
RATES = Rates({"gold": Decimal("0.5")}, Decimal("0.07"), CHEAP)


def test_until_it_is_set_it_is_the_default():
    policy = blank(PricingPolicy)
    assert policy.rates is DEFAULT_RATES
    assert {tier: str(policy.rates.discounts[tier]) for tier in Tier} == {
        "bronze": "0",
        "silver": "0.05",
        "gold": "0.10",
        "platinum": "0.15",
    }
    assert policy.rates.tax_rate == Decimal("0.20")


def test_what_is_set_holds_from_then_on():
    policy = blank(PricingPolicy)
    policy.set(RATES)
    assert policy.rates == RATES
    terms = policy.terms(Tier.GOLD, country="DE", postal_code="99991")
    assert (terms.discount_rate, terms.tax_rate) == (Decimal("0.5"), Decimal("0.07"))
    assert (terms.shipping_base, terms.free_weight_kg, terms.per_kg) == (
        CHEAP.base,
        CHEAP.free_weight_kg,
        CHEAP.per_kg,
    )
    assert (terms.remote, terms.remote_surcharge) == (True, Decimal(3))


def test_a_tier_that_is_not_named_has_no_discount():
    policy = blank(PricingPolicy)
    policy.set(RATES)
    assert policy.terms(Tier.PLATINUM, country="DE", postal_code="1").discount_rate == 0


@pytest.mark.parametrize(
    ("country", "postal_code", "remote"),
    [
        ("GB", "ZE1 0AA", True),
        ("gb", "iv51 9XX", True),
        (" GB", " B T1", True),
        ("GB", "SW1A 1AA", False),
        ("US", "99501", True),
        ("US", "96701", True),
        ("US", "10001", False),
        ("ES", "35001", True),
        ("FR", "20000", True),
        ("PT", "9000-001", True),
        ("DE", "99501", False),
        ("", "", False),
        ("GB", "", False),
    ],
)
def test_remote_is_told_by_country_and_the_beginning_of_the_code(
    country: str, postal_code: str, remote: bool
):
    policy = blank(PricingPolicy)
    assert policy.is_remote(country, postal_code) is remote
    terms = policy.terms(Tier.BRONZE, country=country, postal_code=postal_code)
    assert (terms.remote, terms.remote_surcharge) == (remote, Decimal(15 if remote else 0))


def test_codes_of_a_policy_may_be_written_freely():
    policy = blank(PricingPolicy)
    policy.set(RATES)
    assert policy.is_remote("De", "99 99")
    assert policy.is_remote("DE", "X1")
    assert not policy.is_remote("DE", "9998")


@pytest.mark.parametrize("rate", ["-0.01", "1.01"])
def test_a_rate_is_a_fraction(rate: str):
    for name, rates in {
        "gold": replace(RATES, discounts={"gold": Decimal(rate)}),
        "tax_rate": replace(RATES, tax_rate=Decimal(rate)),
    }.items():
        with pytest.raises(DomainError) as refusal:
            blank(PricingPolicy).set(rates)
        assert refusal.value.code == "sales.rate_out_of_range"
        assert refusal.value.data == {"name": name, "rate": rate}


@pytest.mark.parametrize("name", ["base", "free_weight_kg", "per_kg", "remote_surcharge"])
def test_a_charge_is_not_below_zero(name: str):
    below = replace(CHEAP, **{name: Decimal("-0.01")})  # type: ignore[arg-type]
    with pytest.raises(DomainError) as refusal:
        blank(PricingPolicy).set(replace(RATES, shipping=below))
    assert refusal.value.code == "sales.charge_negative"
    assert refusal.value.data == {"name": name, "value": "-0.01"}


def test_there_is_one_policy_a_tenant():
    tenant = UUID(int=1)
    assert pricing_policy_id(tenant) == natural_id(tenant, "sales.pricing_policy")
